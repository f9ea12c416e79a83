"""The linear baseline: multinomial logistic regression on pooled features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays

from lsgmer.core.records import MODALITIES
from lsgmer.model.logistic import Chosen, choose_penalty, fit_logistic, softmax

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
        return softmax((pooled(split) - self.mean) / self.scale @ self.coef.T + self.intercept)


def save_linear(folder: Path, linear: Linear) -> None:
    """Write the linear baseline to `folder` as safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("mean", "scale", "coef", "intercept")
    save_arrays({name: np.ascontiguousarray(getattr(linear, name)) for name in names}, folder / LINEAR)


def load_linear(folder: Path) -> Linear:
    """Read the linear baseline from `folder`."""
    return Linear(**load_arrays(folder / LINEAR))


def fit_linear(train: FeatureSplit, c: float, class_weight_power: float, seed: int) -> Linear:
    """Fit `fit_logistic` with penalty 1 / `c` on standardised pooled features."""
    return _fit(pooled(train), train, c, class_weight_power, seed)


def choose_linear(
    train: FeatureSplit,
    valid: FeatureSplit,
    candidates: Sequence[float],
    class_weight_power: float,
    seed: int,
    metric: str,
) -> Chosen[Linear]:
    """Fit the linear baseline on `train` with each C of `candidates`; choose on `valid`, by `choose_penalty`.

    A fixed penalty is no fair baseline: on MELD, C = 1 has .500 weighted F1 and C = 0.001 .602.
    """
    values = pooled(train)
    return choose_penalty(
        candidates,
        lambda c: _fit(values, train, c, class_weight_power, seed),
        lambda model: model.probabilities(valid),
        valid.labels,
        metric,
    )


def _fit(values: Array, train: FeatureSplit, c: float, class_weight_power: float, seed: int) -> Linear:
    mean, scale = values.mean(0), values.std(0)
    scale[scale < 1e-8] = 1.0
    labels, classes = train.labels, len(train.label_set)
    found = fit_logistic((values - mean) / scale, labels, classes, c, class_weight_power, seed)
    return Linear(mean, scale, found.coef, found.intercept)


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
