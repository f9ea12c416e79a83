"""Multinomial logistic regression as the baselines use it: the objective's class weights, a penalty chosen on valid."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from lsgmer.core.records import Record
from lsgmer.metrics import OF_COUNTS, confusion
from lsgmer.model.objective import class_weights

Array = np.ndarray[Any, Any]
M = TypeVar("M")
NEVER = -30.0  # the intercept of a class that is absent from training


class Candidate(Record):
    """A penalty's strength 1 / C, and how the model fitted with it did on the validation split."""

    c: float
    score: float
    log_loss: float


@dataclass(frozen=True, slots=True)
class Chosen(Generic[M]):
    """The model with the best penalty on validation, that penalty, and all candidates as they were given."""

    model: M
    c: float
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Logits are values @ coef.T + intercept: coef (C, F), intercept (C,)."""

    coef: Array
    intercept: Array


def choose_penalty(
    candidates: Sequence[float], fit: Callable[[float], M], predict: Callable[[M], Array], truth: Array, metric: str
) -> Chosen[M]:
    """Fit a model with each candidate C and return the best one.

    Args:
        candidates: the values of C to try, at least one.
        fit: returns the model trained with a given C.
        predict: returns a model's probabilities (N, C) on the validation split.
        truth: the validation split's class indices (N,).
        metric: what decides, balanced_accuracy or weighted_f1. Of equal scores the one with the lower log loss is
            chosen; of these the smaller C, which is the stronger penalty.

    """
    fitted = {c: fit(c) for c in candidates}
    found = {c: _measured(c, predict(model), truth, metric) for c, model in fitted.items()}
    best = max(found.values(), key=lambda each: (each.score, -each.log_loss, -each.c))
    return Chosen(fitted[best.c], best.c, tuple(found[c] for c in candidates))


def _measured(c: float, probabilities: Array, truth: Array, metric: str) -> Candidate:
    counts = confusion(truth, probabilities.argmax(1), probabilities.shape[1])
    of_truth = np.maximum(probabilities[np.arange(len(truth)), truth], np.finfo(np.float64).tiny)
    return Candidate(c=c, score=float(OF_COUNTS[metric](counts)), log_loss=float(-np.log(of_truth).mean()))


def fit_logistic(
    values: Any, labels: Array, classes: int, c: float, class_weight_power: float, seed: int
) -> Coefficients:
    """Fit logistic regression (L2, strength 1 / `c`) on `values` (N, F), dense or sparse, and `labels` (N,).

    Class weights are those of LSGMER's own objective, so that a baseline solves the same problem. A class that is
    absent from training gets an intercept of -30: it is never predicted, but still has a probability.
    """
    from sklearn.exceptions import ConvergenceWarning  # takes seconds to import, and only the baselines need it
    from sklearn.linear_model import LogisticRegression

    present = np.unique(labels)
    coef, intercept = np.zeros((classes, values.shape[1])), np.full(classes, NEVER)
    if len(present) == 1:  # nothing to tell apart, which scikit-learn refuses
        intercept[present] = 0.0
        return Coefficients(coef, intercept)
    weights = class_weights(torch.from_numpy(labels), classes, class_weight_power)
    model = LogisticRegression(
        C=c,
        max_iter=2000,
        class_weight={int(label): float(weights[label]) for label in present},
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(values, labels)
    if len(present) == 2:
        coef[present[1]], intercept[present] = model.coef_[0], [0.0, model.intercept_[0]]
    else:
        coef[present], intercept[present] = model.coef_, model.intercept_
    return Coefficients(coef, intercept)


def softmax(logits: Array) -> Array:
    """Return the distributions (N, C) of `logits` (N, C)."""
    exponent = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(exponent / exponent.sum(1, keepdims=True))
