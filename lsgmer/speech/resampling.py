"""Resampling of a stream that arrives in pieces: the same samples as of the whole, however it is cut."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lsgmer.audio import Waveform, resample

Array = np.ndarray[Any, Any]
MARGIN_S = 0.004  # more than torchaudio's windowed sinc reaches: 6 periods of the lower rate, of 8 kHz at least


class StreamResampler:
    """Turns pieces of mono float32 samples at `source` Hz into pieces at `target` Hz, a few milliseconds later."""

    def __init__(self, source: int, target: int) -> None:
        self.source, self.target = source, target
        common = math.gcd(source, target)
        self._step = source // common  # input samples after which input and output coincide again
        self._gain = target // common
        self._margin = math.ceil(max(MARGIN_S * source, 8 * source / min(source, target)) / self._step)  # in steps
        self._held = np.zeros(self._margin * self._step, np.float32)

    def feed(self, samples: Array) -> Array:
        """Return what can be resampled once `samples` (N,) have arrived, which may be nothing."""
        if self.source == self.target:
            return samples
        self._held = np.concatenate([self._held, samples])
        return self._take((len(self._held) // self._step) - 2 * self._margin)

    def finish(self) -> Array:
        """Return the rest, as if silence followed: ceil(N * target / source) samples altogether."""
        if self.source == self.target:
            return np.zeros(0, np.float32)
        left = len(self._held) - self._margin * self._step
        missing = (math.ceil(left / self._step) + 2 * self._margin) * self._step - len(self._held)
        self._held = np.concatenate([self._held, np.zeros(missing, np.float32)])
        return self._take(math.ceil(left / self._step))[: math.ceil(left * self.target / self.source)]

    def _take(self, steps: int) -> Array:
        if steps <= 0:
            return np.zeros(0, np.float32)
        edge = self._margin * self._gain
        found = resample(Waveform(self._held[: (steps + 2 * self._margin) * self._step], self.source), self.target)
        self._held = self._held[steps * self._step :]
        return found.samples[edge : edge + steps * self._gain]
