"""Audio level by speaker: the mean and deviation of a speaker's own frames, without labels, and frames rid of them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
SMALLEST = 1e-6  # a feature that varies less than this is not scaled


@dataclass(frozen=True, slots=True)
class Level:
    """Mean and standard deviation of each feature over frames, both (D,) float64."""

    mean: Array
    deviation: Array

    def remove(self, frames: Array) -> Array:
        """Return frames (T, D) float32 at mean 0 and deviation 1; a constant feature becomes 0."""
        return np.asarray((frames.astype(np.float64) - self.mean) / self._scale, dtype=np.float32)

    def restore(self, frames: Array) -> Array:
        """Return frames (T, D) float32 as they were before `remove`, up to rounding."""
        return np.asarray(frames.astype(np.float64) * self._scale + self.mean, dtype=np.float32)

    @property
    def _scale(self) -> Array:
        return np.where(self.deviation > SMALLEST, self.deviation, 1.0)


class RunningLevel:
    """A level that frames are added to: the same, up to rounding, in whatever order and pieces they come.

    Chan, Golub and LeVeque's update of count, mean and sum of squared distances (1983).
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean: Array = np.zeros(0)
        self._squares: Array = np.zeros(0)

    def add(self, frames: Array) -> None:
        """Add frames (T, D)."""
        if not len(frames):
            return
        wide = frames.astype(np.float64)
        mean = wide.mean(0)
        squares = ((wide - mean) ** 2).sum(0)
        if not self.count:
            self.count, self._mean, self._squares = len(frames), mean, squares
            return
        total = self.count + len(frames)
        apart = mean - self._mean
        self._mean = self._mean + apart * len(frames) / total
        self._squares = self._squares + squares + apart**2 * self.count * len(frames) / total
        self.count = total

    def level(self) -> Level:
        """Return the level of all frames so far."""
        return Level(self._mean, np.sqrt(self._squares / max(self.count, 1)))


def levels_of(groups: Sequence[Hashable], pieces: Iterable[tuple[int, Array]]) -> dict[Hashable, Level]:
    """Return each group's level over the frames (T, D) of its rows; `pieces` are (row, frames), `groups` (N,)."""
    running: dict[Hashable, RunningLevel] = {}
    for row, frames in pieces:
        running.setdefault(groups[row], RunningLevel()).add(frames)
    return {group: found.level() for group, found in running.items()}
