"""A summary's shares are shares of speech, its moments are the worst, and its turning points real turns."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsgmer.conversations.records import TimelineTurn
from lsgmer.conversations.summary import negative_labels, shares, speaker_summaries, summarise
from lsgmer.core.errors import LsgmerError

LABELS = ("angry", "happy")


def turn(index: int, angry: float | None, speaker: str = "left", seconds: float = 2.0) -> TimelineTurn:
    start = 10.0 * index
    return TimelineTurn(
        index=index,
        start_s=start,
        end_s=start + seconds,
        speaker=speaker,
        channel=0,
        text=None,
        emotion=None if angry is None else LABELS[angry < 0.5],
        probabilities=None if angry is None else {"angry": angry, "happy": 1 - angry},
        error="too short" if angry is None else None,
    )


def timeline(values: Sequence[float | None]) -> list[TimelineTurn]:
    return [turn(i, value) for i, value in enumerate(values)]


@given(st.lists(st.none() | st.floats(0, 1), max_size=40))
def test_shares_are_shares(values: list[float | None]) -> None:
    found = summarise(timeline(values), 400.0, ["angry"])
    judged = [value for value in values if value is not None]
    assert (found.shares is None) == (not judged)
    for window in [found.shares, *(window.shares for window in found.over_time)]:
        assert window is None or sum(window.values()) == pytest.approx(1)
    assert [moment.negativity for moment in found.most_negative] == sorted(judged, reverse=True)[:5]


def test_long_turns_weigh_more() -> None:
    assert shares([turn(0, 1.0, seconds=3.0), turn(1, 0.0, seconds=1.0)]) == pytest.approx(
        {"angry": 0.75, "happy": 0.25}
    )


def test_a_lasting_change_is_one_turning_point() -> None:
    (point,) = summarise(timeline([0.1] * 6 + [0.9] * 6), 120.0, ["angry"]).turning_points
    assert (point.turn, point.at_s, point.before, point.after) == (6, 60.0, "happy", "angry")
    assert point.change == pytest.approx(0.8)


@pytest.mark.parametrize("values", [[0.5] * 20, [0.1, 0.9] * 10, [0.1] * 5 + [0.9] + [0.1] * 5, [0.1, 0.9]])
def test_no_change_and_a_single_outburst_are_none(values: list[float]) -> None:
    assert summarise(timeline(values), 200.0, ["angry"]).turning_points == ()


def test_speakers_turn_by_themselves_and_silent_ones_are_listed() -> None:
    turns = [turn(i, 0.1 if i < 12 else 0.9, "left" if i % 2 else "right") for i in range(24)]
    assert {point.speaker for point in summarise(turns, 240.0, ["angry"]).turning_points} == {"left", "right"}
    found = speaker_summaries(turns, {"left": 0, "right": 1, "third": 2})
    assert [(one.name, one.turns, one.speech_s) for one in found] == [
        ("left", 12, 24.0),
        ("right", 12, 24.0),
        ("third", 0, 0.0),
    ]
    assert found[2].shares is None


def test_without_negative_labels_nothing_is_said_about_them() -> None:
    found = summarise(timeline([0.1] * 6 + [0.9] * 6), 120.0, [])
    assert (found.turning_points, found.most_negative) == ((), ())


def test_negative_labels_are_known_or_named() -> None:
    assert negative_labels(["neutral", "Anger", "sad", "joy"]) == ("Anger", "sad")
    assert negative_labels(["calm", "tense"], ["tense"]) == ("tense",)
    with pytest.raises(LsgmerError, match="tense"):
        negative_labels(["calm"], ["tense"])
