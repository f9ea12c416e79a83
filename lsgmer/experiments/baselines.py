"""What LSGMER is compared with in a study: the training shares, linear models, TF-IDF, and no training at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lsgmer.core.errors import LsgmerError
from lsgmer.experiments.tfidf import choose_tfidf
from lsgmer.features.store import FeatureSplit
from lsgmer.model.linear import choose_linear
from lsgmer.model.logistic import Candidate, softmax
from lsgmer.training.params import ControlsParams, TrainingSections

Array = np.ndarray[Any, Any]


class BaselineParams(TrainingSections):
    """What a baseline reads of a cell's parameters."""

    controls: ControlsParams


@dataclass(frozen=True, slots=True)
class Baseline:
    """A trained baseline: `predict` returns probabilities (N, C); the penalty C and its candidates if it has them."""

    predict: Callable[[FeatureSplit], Array]
    c: float | None = None
    candidates: tuple[Candidate, ...] = ()


def majority(train: FeatureSplit, valid: FeatureSplit, params: BaselineParams) -> Baseline:
    """Answer every utterance with the training split's share of each class."""
    prior = np.bincount(train.labels, minlength=len(train.label_set)) / len(train)
    return Baseline(lambda split: np.tile(prior, (len(split), 1)))


def linear(train: FeatureSplit, valid: FeatureSplit, params: BaselineParams) -> Baseline:
    """Logistic regression on pooled features, its penalty chosen on `valid`, as in the stage `controls`."""
    power, seed, metric = params.objective.class_weight_power, params.runtime.seed, params.train.select
    chosen = choose_linear(train, valid, params.controls.linear_c, power, seed, metric)
    return Baseline(chosen.model.probabilities, chosen.c, chosen.candidates)


def tfidf(train: FeatureSplit, valid: FeatureSplit, params: BaselineParams) -> Baseline:
    """Logistic regression on TF-IDF of the words, its penalty chosen on `valid`."""
    power, seed, metric = params.objective.class_weight_power, params.runtime.seed, params.train.select
    chosen = choose_tfidf(train, valid, params.controls.linear_c, power, seed, metric)
    return Baseline(chosen.model.probabilities, chosen.c, chosen.candidates)


def zero_shot(train: FeatureSplit, valid: FeatureSplit, params: BaselineParams) -> Baseline:
    """Answer with the model's attribution before any training: softmax(cos(mean token, label's description) / tau).

    It learns nothing from `train` and `valid`. An utterance without text features gets equal shares. Raises
    LsgmerError without embeddings of the label descriptions, which only a text encoder makes.
    """
    if train.label_text is None:
        raise LsgmerError("label descriptions have no embedding: zero-shot needs a text encoder")
    labels, temperature = _unit(np.asarray(train.label_text, dtype=np.float64)), params.model.temperature

    def predict(split: FeatureSplit) -> Array:
        found = np.full((len(split), len(labels)), 1 / len(labels))
        rows = np.flatnonzero(split.has("text"))
        if len(rows):
            means = np.stack([_mean_token(split, int(row)) for row in rows])
            found[rows] = softmax(_unit(means) @ labels.T / temperature)
        return found

    return Baseline(predict)


def _mean_token(split: FeatureSplit, row: int) -> Array:
    """Return the mean of an utterance's token embeddings (D,), as the encoder came."""
    if "text" in split.summaries:
        summary = split.summaries["text"][row]
        return np.asarray(summary[: len(summary) // 2], dtype=np.float64)
    return np.asarray(np.asarray(split.features("text", row), dtype=np.float64).mean(0))


def _unit(values: Array) -> Array:
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12))


BASELINES: dict[str, Callable[[FeatureSplit, FeatureSplit, BaselineParams], Baseline]] = {
    "majority": majority,
    "linear": linear,
    "tfidf": tfidf,
    "zero_shot": zero_shot,
}
