"""Metrics of predictions, pure numpy. N utterances, C labels; labels and predictions are class indices (N,).

`accuracy` is the field's WA, `balanced_accuracy` its UA. Intervals are 95% percentile bootstraps over
utterances, stratified by true class: they describe the speakers measured and say nothing about others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import Record


class Interval(Record):
    """A value with its 95% bootstrap interval; low and high are None where none was computed."""

    value: float
    low: float | None = None
    high: float | None = None


def interval_text(interval: Interval, sign: str = "") -> str:
    """Return "0.812 [0.760, 0.861]": the value and its 95% interval, if it has one."""
    value = f"{interval.value:{sign}.3f}"
    if interval.low is None or interval.high is None:
        return value
    return f"{value} [{interval.low:{sign}.3f}, {interval.high:{sign}.3f}]"


class ModelMetrics(Record):
    """Metrics of one model on one set of utterances. accuracy is the field's WA, balanced_accuracy its UA."""

    n: int
    accuracy: Interval
    balanced_accuracy: Interval
    weighted_f1: Interval
    macro_f1: Interval
    recall: dict[str, float | None]
    confusion: tuple[tuple[int, ...], ...]
    ece: float | None
    mean_consistency: float | None
    selective_accuracy: dict[str, dict[str, float]] = Field(default_factory=dict)  # score -> share answered -> accuracy


Array = np.ndarray[Any, Any]
LEVELS = (0.025, 0.975)
SHARES = {"50%": 0.5, "80%": 0.8}


def confusion(truth: Array, guess: Array, labels: int) -> Array:
    """Return counts (C, C): row = true class, column = predicted class. Raises LsgmerError for no utterances."""
    if not len(truth):
        raise LsgmerError("no utterances to measure; check the split's counts in the validation report")
    return np.bincount(np.asarray(truth) * labels + np.asarray(guess), minlength=labels * labels).reshape(
        labels, labels
    )


def accuracy(truth: Array, guess: Array) -> float:
    """Return the share of utterances predicted right (WA)."""
    return float(_accuracy(confusion(truth, guess, _span(truth, guess))))


def balanced_accuracy(truth: Array, guess: Array) -> float:
    """Return the mean recall over the classes present in `truth` (UA)."""
    return float(_balanced_accuracy(confusion(truth, guess, _span(truth, guess))))


def weighted_f1(truth: Array, guess: Array) -> float:
    """Return the mean F1 of the classes, weighted by how often each is true."""
    return float(_weighted_f1(confusion(truth, guess, _span(truth, guess))))


def macro_f1(truth: Array, guess: Array) -> float:
    """Return the unweighted mean F1 of the classes that are true or predicted at least once."""
    return float(_macro_f1(confusion(truth, guess, _span(truth, guess))))


def recall_per_class(truth: Array, guess: Array, names: Sequence[str]) -> dict[str, float | None]:
    """Return each label's recall by name, None for a class without a true utterance."""
    counts = confusion(truth, guess, len(names))
    support = counts.sum(1)
    return {name: float(counts[i, i] / support[i]) if support[i] else None for i, name in enumerate(names)}


def expected_calibration_error(truth: Array, probabilities: Array, bins: int) -> float:
    """Return ECE: the mean gap between confidence (largest probability) and accuracy over equal-width bins."""
    weights, confidence, right = calibration_bins(truth, probabilities, bins)
    return float((weights * np.abs(confidence - right)).sum())


def calibration_bins(truth: Array, probabilities: Array, bins: int) -> tuple[Array, Array, Array]:
    """Return each bin's share of the utterances, mean confidence and accuracy, all (bins,); 0 in an empty bin.

    Bin i holds confidences in (i / bins, (i + 1) / bins].
    """
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == truth
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights=values, minlength=bins) for values in (confidence, correct)]
    means = [total / np.maximum(counts, 1) for total in sums]
    return counts / counts.sum(), means[0], means[1]


def selective_accuracy(correct: Array, score: Array, share: float) -> float:
    """Return the accuracy of the `share` of the utterances with the highest `score` (N,), rounded up.

    Utterances tied at the threshold count fractionally, so that their order does not matter.
    """
    keep = int(np.ceil(share * len(score) - 1e-9))
    edge = np.sort(score)[len(score) - keep]
    above, at_edge = score > edge, score == edge
    part = (keep - above.sum()) / at_edge.sum()
    return float((correct[above].sum() + part * correct[at_edge].sum()) / keep)


def risk_coverage(correct: Array, score: Array) -> tuple[Array, Array]:
    """Return coverage and error rate, both (N,), when only the 1, 2 .. N utterances of highest `score` are answered."""
    order = np.argsort(-score, kind="stable")
    answered = np.arange(1, len(order) + 1)
    return answered / len(order), np.cumsum(~correct[order].astype(bool)) / answered


def aurc(correct: Array, score: Array) -> float:
    """Return the area under the risk-coverage curve: the mean error rate over all coverages, lower is better.

    Geifman and El-Yaniv's AURC; equal scores keep the utterances' order.
    """
    return float(risk_coverage(correct, score)[1].mean())


def bootstrap_interval(truth: Array, guess: Array, resamples: int, seed: int) -> Interval:
    """Return balanced accuracy with its interval, which always includes the value.

    Each row of the confusion matrix is drawn from a multinomial with the row's own shares, which is the same
    as drawing utterances with replacement within each true class.
    """
    counts = confusion(truth, guess, _span(truth, guess))
    return around(float(_balanced_accuracy(counts)), _balanced_accuracy(_resample(counts, resamples, seed)))


def paired_bootstrap(truth: Array, guess: Array, other: Array, resamples: int, seed: int) -> Interval:
    """Return balanced accuracy of `guess` minus that of `other`, with an interval from the same resamples of both.

    Each utterance adds +1, -1 or 0 to the difference; within a true class the resampled counts are multinomial.
    """
    outcome = (np.asarray(guess) == truth).astype(np.int64) - (np.asarray(other) == truth)  # (N,) in -1, 0, 1
    counts = confusion(truth, outcome + 1, max(_span(truth), 3))[:, :3]
    return around(float(_gain(counts)), _gain(_resample(counts, resamples, seed)))


def summarise(
    truth: Array,
    probabilities: Array,
    names: Sequence[str],
    *,
    consistency: Array | None = None,
    bins: int = 10,
    resamples: int = 1000,
    seed: int = 0,
) -> ModelMetrics:
    """Return all metrics of a model's predictions on one set of utterances.

    Args:
        truth: the true class indices (N,).
        probabilities: the predicted probabilities (N, C).
        names: the C label names, in the order of the columns of `probabilities`.
        consistency: the model's consistency score of each utterance (N,), where it has one.
        bins: how many equal-width bins the calibration error has.
        resamples: how many bootstrap resamples to draw; with 0, values have no intervals.
        seed: the seed of the bootstrap.

    Raises:
        LsgmerError: there are no utterances.

    """
    guess = probabilities.argmax(1)
    counts = confusion(truth, guess, len(names))
    drawn = _resample(counts, resamples, seed) if resamples else None

    def interval(metric: Callable[[Array], Array]) -> Interval:
        value = float(metric(counts))
        return Interval(value=value) if drawn is None else around(value, metric(drawn))

    return ModelMetrics(
        n=len(truth),
        accuracy=interval(_accuracy),
        balanced_accuracy=interval(_balanced_accuracy),
        weighted_f1=interval(_weighted_f1),
        macro_f1=interval(_macro_f1),
        recall=recall_per_class(truth, guess, names),
        confusion=tuple(tuple(row) for row in counts.tolist()),
        ece=expected_calibration_error(truth, probabilities, bins),
        mean_consistency=None if consistency is None else float(consistency.mean()),
        selective_accuracy=_selective(
            guess == truth, {"probability": probabilities.max(1), "consistency": consistency}
        ),
    )


def _selective(correct: Array, scores: dict[str, Array | None]) -> dict[str, dict[str, float]]:
    return {
        name: {label: selective_accuracy(correct, score, share) for label, share in SHARES.items()}
        for name, score in scores.items()
        if score is not None
    }


def _resample(counts: Array, resamples: int, seed: int) -> Array:
    """Draw counts (R, C, K) of bootstrap samples from `counts` (C, K), each row keeping its own total."""
    generator = np.random.default_rng(seed)
    drawn = np.zeros((resamples, *counts.shape), dtype=np.int64)
    for row, values in enumerate(counts):
        if total := int(values.sum()):
            drawn[:, row] = generator.multinomial(total, values / total, size=resamples)
    return drawn


def around(value: float, drawn: Array) -> Interval:
    """Return `value` with the 95% percentile interval of its resamples (R,), which always includes it."""
    low, high = np.quantile(drawn, LEVELS)
    return Interval(value=value, low=min(float(low), value), high=max(float(high), value))


def _span(*values: Array) -> int:
    """Return the number of classes that the indices in `values` need."""
    return 1 + max((int(np.max(part)) for part in values if len(part)), default=0)


def _accuracy(counts: Array) -> Array:
    return np.asarray(np.trace(counts, axis1=-2, axis2=-1) / counts.sum((-2, -1)))


def _balanced_accuracy(counts: Array) -> Array:
    hits, support = _diagonal(counts), counts.sum(-1)
    return np.asarray((hits / np.maximum(support, 1)).sum(-1) / (support > 0).sum(-1))


def _gain(counts: Array) -> Array:
    """Return the balanced accuracy gained, from counts (..., C, 3) of lost, equal and won utterances."""
    support = counts.sum(-1)
    return np.asarray(((counts[..., 2] - counts[..., 0]) / np.maximum(support, 1)).sum(-1) / (support > 0).sum(-1))


def _f1(counts: Array) -> tuple[Array, Array]:
    """Return F1 per class (..., C), 0 where a class is neither true nor predicted, and how often it is either."""
    mass = counts.sum(-1) + counts.sum(-2)
    return 2 * _diagonal(counts) / np.maximum(mass, 1), mass


def _weighted_f1(counts: Array) -> Array:
    scores, _ = _f1(counts)
    support = counts.sum(-1)
    return np.asarray((scores * support).sum(-1) / support.sum(-1))


def _macro_f1(counts: Array) -> Array:
    scores, mass = _f1(counts)
    return np.asarray(scores.sum(-1) / (mass > 0).sum(-1))


def _diagonal(counts: Array) -> Array:
    return np.diagonal(counts, axis1=-2, axis2=-1)


# Each metric as a function of confusion counts (..., C, C), for many resamples at once.
OF_COUNTS: dict[str, Callable[[Array], Array]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "weighted_f1": _weighted_f1,
    "macro_f1": _macro_f1,
}
