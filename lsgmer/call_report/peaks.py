"""What a waveform looks like from afar: the lowest and highest sample of each of a few thousand stretches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lsgmer.audio import blocks, form
from lsgmer.core.records import Seconds

MOST = 4000  # stretches: at the largest zoom, one is about four pixels wide

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Peaks:
    """Lowest and highest samples, (C, N) each: of C channels, in N stretches of equal length; 0 where nothing was read.

    `duration_s` is what was read; the stretches cover the duration that was asked for.
    """

    low: Array
    high: Array
    duration_s: Seconds


def read_peaks(path: Path, duration_s: Seconds, most: int = MOST) -> Peaks:
    """Return the peaks of a recording of `duration_s` seconds; only a block of it is in memory at a time.

    Raises AudioError for what cannot be read.
    """
    rate, channels = form(path)
    frames = max(1, round(duration_s * rate))
    count = min(most, frames)
    low, high = np.zeros((channels, count), np.float32), np.zeros((channels, count), np.float32)
    at = 0
    for block in blocks(path):
        for first, last, place in _pieces(at, len(block), frames, count):
            piece = block[first:last]
            np.minimum(low[:, place], piece.min(axis=0), out=low[:, place])
            np.maximum(high[:, place], piece.max(axis=0), out=high[:, place])
        at += len(block)
    return Peaks(low, high, at / rate)


def _pieces(at: int, length: int, frames: int, count: int) -> Iterator[tuple[int, int, int]]:
    """Yield first and last frame, within a block that starts at `at`, of each stretch that it has a part in."""
    place = min(at * count // frames, count - 1)
    while True:
        end = length if place == count - 1 else min(length, -(-(place + 1) * frames // count) - at)
        start = max(0, -(-place * frames // count) - at)
        if start < end:
            yield start, end, place
        if end >= length:
            return
        place += 1
