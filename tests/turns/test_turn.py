"""A turn lasts some time, has a speaker, and lies inside its recording; anything else is an error that says why."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from lsgmer.core.errors import LsgmerError
from lsgmer.core.text import clock
from lsgmer.turns.turn import Turn, demand_inside, in_order, outside


@pytest.mark.parametrize(
    ("start_s", "end_s", "reason"),
    [
        (2.0, 2.0, "is not after start"),
        (2.0, 1.0, "is not after start"),
        (-0.1, 1.0, "start -0.1 is not a number"),
        (float("nan"), 1.0, "start nan is not a number"),
        (0.0, float("inf"), "end inf is not a number"),
        (12_400.0, 15_100_000.0, "not milliseconds"),
    ],
)
def test_impossible_times_are_errors(start_s: float, end_s: float, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Turn(start_s=start_s, end_s=end_s, speaker="agent")


@pytest.mark.parametrize("speaker", ["", " ", " agent", "a\nb", "a\0", "\ud800", "x" * 101])
def test_a_speaker_has_a_name_that_can_be_printed(speaker: str) -> None:
    with pytest.raises(ValidationError, match="speaker"):
        Turn(start_s=0.0, end_s=1.0, speaker=speaker)


def test_turns_are_ordered_by_time_and_may_overlap() -> None:
    late, long, short = (Turn(start_s=a, end_s=b, speaker=s) for a, b, s in [(2, 3, "a"), (1, 3, "b"), (1, 2, "c")])
    assert in_order([late, long, short]) == [short, long, late]


def test_a_turn_outside_its_recording_is_named_with_the_recordings_end() -> None:
    turn = Turn(start_s=9.0, end_s=10.05, speaker="agent", channel=1)
    assert outside(turn, 10.0, 2) is None  # rounding is no fault
    assert "00:09.00-00:10.05 is beyond the end of the recording at 00:09.50" in str(outside(turn, 9.5, 2))
    assert "channel 1 does not exist: the recording has 1" in str(outside(turn, 10.0, 1))
    demand_inside([turn], 10.0, 2)
    with pytest.raises(LsgmerError, match=r"turn 1: .* \(and 1 more turns\)"):
        demand_inside([turn, turn], 5.0, 2)


def test_a_clock_carries_what_it_rounds_up() -> None:
    assert clock(59.999) == "01:00.00"
    assert clock(3599.999) == "1:00:00.00"
