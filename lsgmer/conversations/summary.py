"""A conversation in few numbers: shares of emotions, how they move, where the mood turns, and the worst moments."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from lsgmer.conversations.records import Moment, SpeakerSummary, Summary, TimelineTurn, TurningPoint, Window
from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import Seconds

# Words for emotions that corpora name differently: which of a model's labels are negative, unless a request says it.
NEGATIVE = frozenset(
    (
        *(
            "anger",
            "angry",
            "ang",
            "annoyed",
            "annoyance",
            "bored",
            "boredom",
            "contempt",
            "disgust",
            "disgusted",
            "dis",
        ),
        *("afraid", "fear", "fearful", "fea", "frustrated", "frustration", "fru", "sad", "sadness"),
    )
)
MOMENTS = 5
WINDOWS = 12  # of a conversation
SHORTEST_WINDOW_S = 30.0
AROUND = 3  # turns of a speaker before and from a turning point on, whose means are compared
LASTING = 0.3  # change of the mean probability of negative emotions that counts as a turning point


def negative_labels(labels: Sequence[str], given: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return which of a model's labels are negative: those `given`, or those whose names are known to be.

    Raises LsgmerError for a given one that the model does not have.
    """
    if given is None:
        return tuple(name for name in labels if name.lower() in NEGATIVE)
    if unknown := sorted(set(given) - set(labels)):
        raise LsgmerError(f"negative: {', '.join(unknown)}: the model's emotions are {', '.join(labels)}")
    return tuple(name for name in labels if name in set(given))


def summarise(timeline: Sequence[TimelineTurn], duration_s: Seconds, negative: Sequence[str]) -> Summary:
    """Return the summary of a timeline, of which turns without an estimate count as nothing."""
    judged = [turn for turn in timeline if turn.probabilities is not None]
    bad = {turn.index: _negativity(turn, negative) for turn in judged}
    worst = sorted(judged, key=lambda turn: (-bad[turn.index], turn.index))[:MOMENTS] if negative else []
    points = [point for turns in _by_speaker(judged).values() for point in _turning_points(turns, bad)]
    return Summary(
        shares=shares(judged),
        over_time=tuple(_windows(judged, duration_s)),
        turning_points=tuple(sorted(points, key=lambda point: point.at_s)) if negative else (),
        most_negative=tuple(
            Moment(
                speaker=turn.speaker,
                start_s=turn.start_s,
                end_s=turn.end_s,
                turn=turn.index,
                emotion=turn.emotion,
                negativity=bad[turn.index],
            )
            for turn in worst
        ),
        negative_labels=tuple(negative),
    )


def speaker_summaries(timeline: Sequence[TimelineTurn], names: Mapping[str, int | None]) -> tuple[SpeakerSummary, ...]:
    """Return one summary for each of `names`, which gives each speaker's channel, also for who never spoke."""
    spoken = _by_speaker(timeline)
    return tuple(
        SpeakerSummary(
            name=name,
            channel=channel,
            turns=len(spoken.get(name, ())),
            speech_s=sum(turn.duration_s for turn in spoken.get(name, ())),
            shares=shares(spoken.get(name, ())),
        )
        for name, channel in names.items()
    )


def shares(turns: Iterable[TimelineTurn]) -> dict[str, float] | None:
    """Return each emotion's share of the time that was judged: probabilities, weighted by duration. None for none."""
    judged = [(turn.probabilities, turn.duration_s) for turn in turns if turn.probabilities is not None]
    total = sum(duration for _, duration in judged)
    if not judged or not total:
        return None
    return {
        name: sum(probabilities[name] * duration for probabilities, duration in judged) / total for name in judged[0][0]
    }


def _negativity(turn: TimelineTurn, negative: Sequence[str]) -> float:
    return min(1.0, math.fsum((turn.probabilities or {}).get(name, 0.0) for name in negative))


def _by_speaker(turns: Iterable[TimelineTurn]) -> dict[str, list[TimelineTurn]]:
    found: dict[str, list[TimelineTurn]] = {}
    for turn in turns:
        found.setdefault(turn.speaker, []).append(turn)
    return found


def _windows(turns: Sequence[TimelineTurn], duration_s: Seconds) -> Iterable[Window]:
    """Yield, window by window and speaker by speaker, the shares of the turns that begin there."""
    length = max(SHORTEST_WINDOW_S, duration_s / WINDOWS)
    for number in range(math.ceil(duration_s / length)):
        start, end = number * length, min((number + 1) * length, duration_s)
        inside = [turn for turn in turns if start <= turn.start_s < end]
        for speaker, own in _by_speaker(inside).items():
            if found := shares(own):
                yield Window(start_s=start, end_s=end, speaker=speaker, shares=found)


def _turning_points(turns: Sequence[TimelineTurn], bad: Mapping[int, float]) -> Iterable[TurningPoint]:
    """Yield where the mean negativity of AROUND turns differs most from that of the AROUND before: local extremes."""
    values = [bad[turn.index] for turn in turns]
    places = range(AROUND, len(turns) - AROUND + 1)
    changes = {i: (sum(values[i : i + AROUND]) - sum(values[i - AROUND : i])) / AROUND for i in places}
    for i, change in changes.items():
        near = [changes[j] for j in range(i - AROUND, i + AROUND + 1) if j in changes and j != i]
        first = all(abs(changes[j]) < abs(change) for j in range(i - AROUND, i) if j in changes)
        if abs(change) >= LASTING and first and all(abs(other) <= abs(change) for other in near):
            before, after = shares(turns[i - AROUND : i]) or {}, shares(turns[i : i + AROUND]) or {}
            yield TurningPoint(
                speaker=turns[i].speaker,
                at_s=turns[i].start_s,
                turn=turns[i].index,
                before=max(before, key=lambda name: before[name]),
                after=max(after, key=lambda name: after[name]),
                change=change,
            )
