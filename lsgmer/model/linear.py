"""The linear baseline: multinomial logistic regression on pooled features."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays

from lsgmer.core.records import MODALITIES
from lsgmer.metrics import balanced_accuracy
from lsgmer.model.objective import class_weights

if TYPE_CHECKING:
    from lsgmer.features.store import FeatureSplit

Array = np.ndarray[Any, Any]
LINEAR = "linear.safetensors"


@dataclass(frozen=True, slots=True)
class Linear:
    """Multinomial logistic regression on pooled features: mean, scale (F,), coef (C, F), intercept (C,)."""

    mean: Array
    scale: Array
    coef: Array
    intercept: Array

    def probabilities(self, split: FeatureSplit) -> Array:
        """Return (N, C) class probabilities for every utterance of `split`."""
        logits = (pooled(split) - self.mean) / self.scale @ self.coef.T + self.intercept
        exponent = np.exp(logits - logits.max(1, keepdims=True))
        return np.asarray(exponent / exponent.sum(1, keepdims=True))


def save_linear(folder: Path, linear: Linear) -> None:
    """Write the linear baseline to `folder` as safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("mean", "scale", "coef", "intercept")
    save_arrays({name: np.ascontiguousarray(getattr(linear, name)) for name in names}, folder / LINEAR)


def load_linear(folder: Path) -> Linear:
    """Read the linear baseline from `folder`."""
    return Linear(**load_arrays(folder / LINEAR))


@dataclass(frozen=True, slots=True)
class ChosenLinear:
    """The baseline with the penalty that does best on valid: its C, and every candidate's balanced accuracy there."""

    linear: Linear
    c: float
    scores: dict[float, float]


def choose_linear(
    train: FeatureSplit, valid: FeatureSplit, candidates: Sequence[float], class_weight_power: float, seed: int
) -> ChosenLinear:
    """Fit the linear baseline with each C of `candidates` on `train`, and choose by balanced accuracy on `valid`.

    Ties go to the lower log loss, as between epochs of the model that it is compared with.
    """
    found = {c: fit_linear(train, c, class_weight_power, seed) for c in candidates}
    scores: dict[float, float] = {}
    losses: dict[float, float] = {}
    for c, linear in found.items():
        probabilities = linear.probabilities(valid)
        scores[c] = float(balanced_accuracy(valid.labels, probabilities.argmax(1)))
        right = probabilities[np.arange(len(valid)), valid.labels]
        losses[c] = float(-np.log(np.maximum(right, np.finfo(np.float64).tiny)).mean())
    best = max(found, key=lambda c: (scores[c], -losses[c]))
    return ChosenLinear(found[best], best, scores)


def fit_linear(train: FeatureSplit, c: float, class_weight_power: float, seed: int) -> Linear:
    """Fit multinomial logistic regression (L2, strength 1 / `c`) on standardised pooled features.

    Class weights are those of LSGMER's own objective, so that the baseline solves the same problem. A class that is
    absent from training gets an intercept of -30: it is never predicted, but still has a probability.
    """
    from sklearn.exceptions import ConvergenceWarning  # takes seconds to import, and only this baseline needs it
    from sklearn.linear_model import LogisticRegression

    values = pooled(train)
    mean, scale = values.mean(0), values.std(0)
    scale[scale < 1e-8] = 1.0
    weights = class_weights(torch.from_numpy(train.labels), len(train.label_set), class_weight_power)
    model = LogisticRegression(
        C=c,
        max_iter=2000,
        class_weight={int(label): float(weights[label]) for label in np.unique(train.labels)},
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((values - mean) / scale, train.labels)
    coef = np.zeros((len(train.label_set), values.shape[1]))
    intercept = np.full(len(train.label_set), -30.0)
    if len(model.classes_) == 2:
        coef[model.classes_[1]], intercept[model.classes_] = model.coef_[0], [0.0, model.intercept_[0]]
    else:
        coef[model.classes_], intercept[model.classes_] = model.coef_, model.intercept_
    return Linear(mean, scale, coef, intercept)


def pooled(split: FeatureSplit) -> Array:
    """Return (N, F): per modality the mean and standard deviation over time, and whether it is present."""
    rows = []
    for index in range(len(split)):
        item = split.item(index)
        parts = [
            _summary(split.summaries[name][index])
            if name in split.summaries
            else _pool(getattr(item, name), split.specs.get(name))
            for name in MODALITIES
        ]
        rows.append(np.concatenate(parts))
    return np.stack(rows)


def _summary(row: Array) -> Array:
    """Return a stored summary (2 D,) as `_pool` would: zeros where it is NaN, and whether it is there."""
    present = not np.isnan(row).any()
    return np.append(np.nan_to_num(row.astype(np.float64)), float(present))


def _pool(frames: Array | None, spec: Any) -> Array:
    if spec is None:
        return np.zeros(0)
    if frames is None:
        return np.zeros(2 * spec.dimension + 1)
    values = np.asarray(frames, dtype=np.float64)
    return np.concatenate([values.mean(0), values.std(0), [1.0]])
