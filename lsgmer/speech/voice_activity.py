"""Where somebody speaks in a channel: found as audio arrives, so that live and recorded calls have equal turns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lsgmer.core.records import Seconds
from lsgmer.speech.resampling import StreamResampler
from lsgmer.speech.silero import CONTEXT, FRAME, SAMPLE_RATE, Silero, State

Array = np.ndarray[Any, Any]
FRAME_S = FRAME / SAMPLE_RATE
MOST_FRAMES = 2048  # in one pass of the model: a minute


@dataclass(frozen=True, slots=True)
class TurnRules:
    """When probabilities of speech become a turn. Times in seconds.

    A turn begins at a frame of at least `begins` and ends with the last frame of at least `goes_on` that `pause_s` of
    others follow. `before_s` and `after_s` of what surrounds it belong to it. Shorter ones than `shortest_s` are none;
    one of `longest_s` is cut where a voice is least likely in its last `cut_within_s`.
    """

    begins: float = 0.5
    goes_on: float = 0.35
    pause_s: Seconds = 0.4
    shortest_s: Seconds = 0.25
    longest_s: Seconds = 15.0
    cut_within_s: Seconds = 5.0
    before_s: Seconds = 0.15
    after_s: Seconds = 0.15


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a channel, in seconds from its start."""

    start_s: Seconds
    end_s: Seconds


class TurnFinder:
    """Finds the turns of one channel in samples at `sample_rate` Hz that arrive piece by piece."""

    def __init__(self, model: Silero, sample_rate: int, rules: TurnRules | None = None) -> None:
        self.model, self.rules = model, rules or TurnRules()
        self._resampler = StreamResampler(sample_rate, SAMPLE_RATE)
        self._waiting = np.zeros(0, np.float32)
        self._before = torch.zeros(CONTEXT)
        self._state: State | None = None
        self._frames = 0  # that were judged
        self._start: int | None = None  # the turn's first frame, while somebody speaks
        self._last = 0  # its last frame with a voice
        self._likely: list[float] = []  # of its frames
        self._free_s = 0.0  # where the turn before ended

    @property
    def speaking_since_s(self) -> Seconds | None:
        """Where the turn began that is not over yet; None where nobody speaks. Earlier audio is not needed any more."""
        return None if self._start is None else self._begin_s(self._start)

    @property
    def judged_s(self) -> Seconds:
        """How much of the channel has been judged."""
        return self._frames * FRAME_S

    def feed(self, samples: Array) -> list[Span]:
        """Return the turns that are over once `samples` (N,), float32 in [-1, 1], have arrived."""
        self._waiting = np.concatenate([self._waiting, self._resampler.feed(samples)])
        return self._judge(len(self._waiting) // FRAME)

    def finish(self) -> list[Span]:
        """Return what remains when nothing more comes, the turn that is being spoken included."""
        rest = np.concatenate([self._waiting, self._resampler.finish()])
        end_s = self.judged_s + len(rest) / SAMPLE_RATE
        frames = -(-len(rest) // FRAME)
        self._waiting = np.pad(rest, (0, frames * FRAME - len(rest)))
        found = self._judge(frames)
        if self._start is not None:
            found += self._ended()
        return [Span(one.start_s, min(one.end_s, end_s)) for one in found if one.start_s < end_s]

    def _judge(self, count: int) -> list[Span]:
        found: list[Span] = []
        for first in range(0, count, MOST_FRAMES):
            size = min(MOST_FRAMES, count - first) * FRAME
            samples = torch.from_numpy(np.ascontiguousarray(self._waiting[first * FRAME : first * FRAME + size]))
            probabilities, self._state = self.model(samples, self._before, self._state)
            self._before = samples[-CONTEXT:]
            for probability in probabilities.tolist():
                found += self._hear(probability)
        self._waiting = self._waiting[count * FRAME :]
        return found

    def _hear(self, probability: float) -> list[Span]:
        """Take in the next frame, and return the turn that it ended, if any."""
        frame, rules = self._frames, self.rules
        self._frames += 1
        if self._start is None:
            if probability >= rules.begins:
                self._start, self._last, self._likely = frame, frame, [probability]
            return []
        self._likely.append(probability)
        if probability >= rules.goes_on:
            self._last = frame
        elif (frame - self._last) * FRAME_S >= rules.pause_s:
            return self._ended()
        if (frame + 1 - self._start) * FRAME_S >= rules.longest_s:
            return self._cut(self._start)
        return []

    def _ended(self) -> list[Span]:
        start, self._start = self._start, None
        if start is None or (self._last + 1 - start) * FRAME_S < self.rules.shortest_s:
            return []
        found = Span(self._begin_s(start), (self._last + 1) * FRAME_S + self.rules.after_s)
        self._free_s = found.end_s
        return [found]

    def _cut(self, start: int) -> list[Span]:
        """End the turn that began at `start` where a voice was least likely of late, and begin the next one there."""
        within = round(self.rules.cut_within_s / FRAME_S)
        tail = self._likely[-within:]
        cut = self._frames - len(tail) + int(np.argmin(tail))
        found = Span(self._begin_s(start), cut * FRAME_S)
        self._free_s, self._likely = found.end_s, self._likely[cut - start :]
        self._start, self._last = cut, max(cut, self._last)
        return [found]

    def _begin_s(self, frame: int) -> Seconds:
        return max(self._free_s, frame * FRAME_S - self.rules.before_s, 0.0)


def find_spans(
    pieces: Iterable[Array], sample_rate: int, model: Silero | None = None, rules: TurnRules | None = None
) -> list[Span]:
    """Return the turns in the samples (N,) of one channel, which may come in any pieces."""
    finder = TurnFinder(model or Silero.load(), sample_rate, rules)
    return [*(span for piece in pieces for span in finder.feed(piece)), *finder.finish()]
