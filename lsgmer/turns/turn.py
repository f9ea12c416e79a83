"""One turn of a conversation: when it begins and ends, who speaks, on which channel, and the words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import Record, Seconds
from lsgmer.core.text import clock, cut_text

UNNAMED = "speaker"  # the name of a speaker whom the file does not name
MOST_S = 48 * 3600.0  # no conversation is longer; a larger time is in milliseconds or samples
MOST_NAME, MOST_TEXT = 100, 20_000  # characters of a name, and of the words of one turn
SLACK_S = 0.1  # how far a turn may end after the recording does: subtitles and diarisation round


class Turn(Record):
    """One turn: `start_s` to `end_s` in seconds from the start of the recording, `speaker`, `channel` from 0.

    `channel` is None where the turn is in the mix of all channels; `text` holds the words, None where they are not
    known; `automatic` says that a machine transcribed them.
    """

    start_s: Annotated[Seconds, Field(strict=True)]
    end_s: Annotated[Seconds, Field(strict=True)]
    speaker: Annotated[str, Field(max_length=MOST_NAME)]
    channel: Annotated[int, Field(ge=0, le=9999)] | None = None
    text: Annotated[str, Field(max_length=MOST_TEXT)] | None = None
    automatic: bool = False

    @field_validator("speaker")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value.strip() or value != value.strip() or not value.isprintable():
            raise ValueError(f"speaker {value[:40]!r} is not a name: give printable characters without space around")
        return value

    @model_validator(mode="after")
    def _lasts(self) -> Turn:
        for name, value in (("start", self.start_s), ("end", self.end_s)):
            if not math.isfinite(value) or value < 0:
                raise ValueError(f"{name} {value} is not a number of seconds, 0 or more")
            if value > MOST_S:
                raise ValueError(f"{name} {value} s is more than {MOST_S / 3600:.0f} h; give seconds, not milliseconds")
        if self.end_s <= self.start_s:
            raise ValueError(f"end {self.end_s} s is not after start {self.start_s} s; correct one of them")
        return self


def in_order(turns: Iterable[Turn]) -> list[Turn]:
    """Return the turns by start, end and speaker."""
    return sorted(turns, key=lambda turn: (turn.start_s, turn.end_s, turn.speaker))


def outside(turn: Turn, duration_s: Seconds, channels: int) -> str | None:
    """Return why `turn` is not in a recording of `duration_s` seconds and `channels` channels; None if it is."""
    if turn.start_s >= duration_s or turn.end_s > duration_s + SLACK_S:
        return (
            f"{cut_text(turn.start_s, turn.end_s)} is beyond the end of the recording at {clock(duration_s)}; "
            "give the turns of this recording"
        )
    if turn.channel is not None and turn.channel >= channels:
        return f"channel {turn.channel} does not exist: the recording has {channels}, counted from 0"
    return None


def demand_inside(turns: Sequence[Turn], duration_s: Seconds, channels: int) -> None:
    """Raise LsgmerError, which names the first, unless all turns are in a recording of this length and channels."""
    faults = [f"turn {n}: {why}" for n, turn in enumerate(turns, 1) if (why := outside(turn, duration_s, channels))]
    if faults:
        raise LsgmerError(faults[0] + (f" (and {len(faults) - 1} more turns)" if len(faults) > 1 else ""))
