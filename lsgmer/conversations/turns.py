"""The turns of a recording: those that were given, or those that voice activity finds on each channel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lsgmer.audio import length
from lsgmer.conversations.recording import Recording, Survey
from lsgmer.core.records import Record, Seconds
from lsgmer.core.text import clock
from lsgmer.speech.silero import Silero
from lsgmer.speech.voice_activity import Span, TurnFinder
from lsgmer.turns.turn import Turn, demand_inside, in_order

Array = np.ndarray[Any, Any]
LEAK_DB = 24.0  # a channel that is so much quieter than another one during a turn only carries the other's voice
ALONE = "speaker"
SIDES = ("left", "right")


class Found(Record):
    """The turns of a recording, its duration, who speaks on which channel, and what a reader should know."""

    turns: tuple[Turn, ...]
    duration_s: Seconds
    speakers: dict[str, int | None]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Names:
    """What the speakers are called: `given` by channel, or the channels' own names."""

    channels: int
    given: Sequence[str] = ()

    def of(self, channel: int) -> str:
        """Return the name of who speaks on `channel`."""
        if channel < len(self.given):
            return self.given[channel]
        if self.channels == 1:
            return ALONE
        return SIDES[channel] if self.channels == len(SIDES) else f"channel {channel}"

    @property
    def all(self) -> dict[str, int]:
        """Every name and its channel."""
        return {self.of(channel): channel for channel in range(self.channels)}


def is_leak(samples: Array, channel: int) -> bool:
    """Return whether `channel` of samples (N, channels), a turn, only carries what is spoken on another one."""
    power = np.square(samples, dtype=np.float64).mean(axis=0)
    return bool(power[channel] * 10 ** (LEAK_DB / 10) < power.max())


def place_turns(turns: Sequence[Turn], recording: Recording, names: Names) -> Found:
    """Return given turns, on the channel of their speaker where `names` say it and the turn does not.

    Raises LsgmerError for turns outside of the recording.
    """
    survey = Survey(recording.channels)
    for _ in recording.blocks(survey):
        pass
    duration = survey.frames / recording.sample_rate
    demand_inside(turns, duration, recording.channels)
    by_name = {name: channel for name, channel in names.all.items() if recording.channels > 1}
    placed = [turn if turn.channel is not None else _on(turn, by_name.get(turn.speaker)) for turn in turns]
    speakers: dict[str, int | None] = {}
    for turn in placed:
        speakers.setdefault(turn.speaker, turn.channel)
    return Found(
        turns=tuple(in_order(placed)),
        duration_s=duration,
        speakers=speakers,
        warnings=_shortened(recording, survey),
    )


def find_turns(
    recording: Recording, names: Names, model: Silero, progress: Callable[[float], None] = lambda share: None
) -> Found:
    """Return the turns that are spoken on each channel; `progress` gets the share that was listened to.

    Channels that hold the same sound count as one. A turn on one channel that is another's voice, leaking, is none.
    """
    survey = Survey(recording.channels)
    finders = [TurnFinder(model, recording.sample_rate) for _ in range(recording.channels)]
    spans: list[list[Span]] = [[] for _ in finders]
    promised = length(recording.path) or math.inf
    for block in recording.blocks(survey):
        for channel, finder in enumerate(finders):
            spans[channel] += finder.feed(np.ascontiguousarray(block[:, channel]))
        progress(min(1.0, survey.frames / promised))
    for channel, finder in enumerate(finders):
        spans[channel] += finder.finish()
    warnings = list(_shortened(recording, survey))
    duration = survey.frames / recording.sample_rate
    if recording.channels == 1 or survey.alike:
        if survey.alike:
            warnings.append(f"audio: all {recording.channels} channels hold the same: speakers cannot be told apart")
        name = Names(1, names.given).of(0)
        turns = [turn_at(span, name, None, duration) for span in spans[0]]
        return Found(turns=tuple(turns), duration_s=duration, speakers={name: None}, warnings=tuple(warnings))
    found = []
    for channel, own in enumerate(spans):
        kept = [turn_at(span, names.of(channel), channel, duration) for span in own]
        heard = [turn for turn in kept if not is_leak(recording.frames(turn.start_s, turn.end_s), channel)]
        if len(heard) < len(kept):
            warnings.append(
                f"audio: {len(kept) - len(heard)} turns on channel {channel} were left out: another channel's voice is "
                f"there {LEAK_DB:g} dB louder at the same time"
            )
        if not heard:
            warnings.append(f"audio: nobody speaks on channel {channel}")
        found += heard
    return Found(turns=tuple(in_order(found)), duration_s=duration, speakers=dict(names.all), warnings=tuple(warnings))


def turn_at(span: Span, speaker: str, channel: int | None, duration: Seconds) -> Turn:
    """Return a span that was found as a turn, in whole milliseconds."""
    end = min(span.end_s, duration)
    return Turn(start_s=round(span.start_s, 3), end_s=round(end, 3), speaker=speaker, channel=channel)


def _on(turn: Turn, channel: int | None) -> Turn:
    return turn.model_copy(update={"channel": channel})


def _shortened(recording: Recording, survey: Survey) -> tuple[str, ...]:
    """Return a warning where the recording ends before its header says so."""
    promised = length(recording.path)
    missing = 0.0 if promised is None else (promised - survey.frames) / recording.sample_rate
    if missing <= 0.1:
        return ()
    end = clock(survey.frames / recording.sample_rate)
    return (f"audio: truncated: the header promises {missing:.1f} s more; what there is, up to {end}, was analysed",)
