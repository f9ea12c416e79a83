"""Analyses of calls as JSON, CSV and text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lsgmer.commands.texts import csv_text, json_text
from lsgmer.conversations.records import Analysis, TimelineTurn
from lsgmer.core.text import clock

FIELDS = ("index", "start_s", "end_s", "speaker", "channel", "emotion", "abstained", "consistency")
WORDS = 60  # characters of a turn's words in the table


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one call: its analysis, or the error."""

    source: str
    analysis: Analysis | None
    error: str | None = None


def as_json(outcomes: Sequence[Outcome]) -> str:
    """Return a list with one object per call: source, error, and the fields of its analysis."""
    rows = [
        {
            "source": outcome.source,
            "error": outcome.error,
            **({} if outcome.analysis is None else outcome.analysis.model_dump(mode="json")),
        }
        for outcome in outcomes
    ]
    return json_text(rows)


def as_csv(outcomes: Sequence[Outcome]) -> str:
    """Return one row per turn, a column per label's probability; a call that failed is one row with its error."""
    return csv_text([row for outcome in outcomes for row in _rows(outcome)])


def as_table(outcomes: Sequence[Outcome]) -> str:
    """Return each call as text: what it is, who spoke how, the turns, and where the mood was bad or turned."""
    return "\n".join("\n".join(_lines(outcome)) + "\n" for outcome in outcomes)


def _rows(outcome: Outcome) -> Iterator[dict[str, object]]:
    if outcome.analysis is None:
        yield {"source": outcome.source, "error": outcome.error}
        return
    for turn in outcome.analysis.timeline:
        yield {
            "source": outcome.source,
            **{name: getattr(turn, name) for name in FIELDS},
            "text": turn.text,
            "automatic": turn.automatic,
            "modalities": "+".join(turn.modalities),
            "model_version": outcome.analysis.model_version,
            "warnings": "; ".join(turn.warnings),
            "error": turn.error,
            **{f"p_{name}": value for name, value in (turn.probabilities or {}).items()},
        }


def _lines(outcome: Outcome) -> Iterator[str]:
    analysis = outcome.analysis
    if analysis is None:
        yield f"{outcome.source}: error, see below"
        return
    yield (
        f"{outcome.source}: {clock(analysis.duration_s)}, {len(analysis.timeline)} turns ({analysis.turns_from}), "
        f"{analysis.model_version}"
    )
    for speaker in analysis.speakers:
        told = f"{clock(speaker.speech_s)} in {speaker.turns} turns"
        yield f"  {_plain(speaker.name)}: {told}{_shares(speaker.shares)}"
    yield from _aligned([("time", "speaker", "emotion", "prob.", "words"), *map(_cells, analysis.timeline)])
    summary = analysis.summary
    for point in summary.turning_points:
        yield (
            f"  turns at {clock(point.at_s)}: {_plain(point.speaker)}, {point.before} to {point.after}, "
            f"{point.change:+.0%} negative"
        )
    for moment in summary.most_negative:
        emotion = moment.emotion or "not sure"
        yield f"  negative at {clock(moment.start_s)}: {_plain(moment.speaker)}, {emotion}, {moment.negativity:.0%}"


def _shares(shares: Mapping[str, float] | None) -> str:
    ordered = sorted((shares or {}).items(), key=lambda pair: -pair[1])
    return "".join(f", {name} {value:.0%}" for name, value in ordered)


def _cells(turn: TimelineTurn) -> tuple[str, ...]:
    emotion = turn.emotion or ("(not sure)" if turn.abstained else "-")
    top = f"{max(turn.probabilities.values()):.2f}" if turn.probabilities else "-"
    words = turn.error or turn.text or ""
    shown = words if len(words) <= WORDS else words[: WORDS - 1] + "…"
    return clock(turn.start_s), _plain(turn.speaker), emotion, top, _plain(shown)


def _aligned(lines: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _plain(text: str) -> str:
    """Return `text` without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
