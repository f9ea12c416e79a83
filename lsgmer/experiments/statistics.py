"""The statistics of a table of variants: mean and deviation, paired bootstrap against `full`, Holm over the table.

The bootstrap draws utterances with replacement within each true class, the same draw for both variants and all seeds,
so it is conditional on the speakers and on the trained models; the deviation over seeds shows what training adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lsgmer import metrics
from lsgmer.metrics import OF_COUNTS, Interval

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """A variant minus the reference: the interval, and the two-sided p-value of no difference."""

    interval: Interval
    p: float


def draw(truth: Array, resamples: int, seed: int) -> Array:
    """Return how often each utterance (N,) is drawn in each bootstrap sample, (R, N); class totals are kept."""
    generator = np.random.default_rng(seed)
    drawn = np.zeros((resamples, len(truth)), dtype=np.float64)
    for label in np.unique(truth):
        rows = np.flatnonzero(truth == label)
        drawn[:, rows] = generator.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=resamples)
    return drawn


def scores(drawn: Array, truth: Array, guess: Array, labels: int, metric: str) -> Array:
    """Return `metric` of the predictions `guess` (N,) in each bootstrap sample, (R,)."""
    cells = np.zeros((len(truth), labels * labels))
    cells[np.arange(len(truth)), truth * labels + guess] = 1
    return OF_COUNTS[metric]((drawn @ cells).reshape(-1, labels, labels))


def score(truth: Array, guess: Array, labels: int, metric: str) -> float:
    """Return `metric` of the predictions `guess` (N,)."""
    return float(scores(np.ones((1, len(truth))), truth, guess, labels, metric)[0])


def difference(
    drawn: Array, truth: Array, ours: Sequence[Array], theirs: Sequence[Array], labels: int, metric: str
) -> Difference:
    """Return the mean `metric` over `ours` minus that over `theirs`, which hold each seed's predictions (N,)."""

    def over_seeds(weights: Array, guesses: Sequence[Array]) -> Array:
        return np.asarray(np.mean([scores(weights, truth, guess, labels, metric) for guess in guesses], axis=0))

    def gap(weights: Array) -> Array:
        return over_seeds(weights, ours) - over_seeds(weights, theirs)

    return around(float(gap(np.ones((1, len(truth))))[0]), gap(drawn))


def around(value: float, drawn: Array) -> Difference:
    """Return `value` with the 95% percentile interval of its resamples (R,), and p = twice the smaller tail.

    The tails count the value itself (Davison and Hinkley, 1997), so p is never 0.
    """
    tails = [(1 + (drawn <= 0).sum()) / (1 + len(drawn)), (1 + (drawn >= 0).sum()) / (1 + len(drawn))]
    return Difference(metrics.around(value, drawn), min(1.0, 2 * float(min(tails))))


def holm(values: Sequence[float]) -> list[float]:
    """Return Holm's step-down adjustment of p-values (Holm, 1979), in the given order."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    adjusted, floor = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        floor = max(floor, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = floor
    return adjusted


def spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and the sample standard deviation (n - 1); None for a single value."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None
