"""Checkpoints that rebuild themselves: safetensors and one JSON card. `load(folder)` takes nothing else."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file

from lsgmer.batching import FeatureSplit
from lsgmer.errors import LsgmerError
from lsgmer.lineage import file_sha256
from lsgmer.model import LSGMER
from lsgmer.params import ModelParams
from lsgmer.paths import write_atomically
from lsgmer.types import MODALITIES, Modality, TrainCard

WEIGHTS = "model.safetensors"
CARD = "card.json"
LINEAR = "linear.safetensors"
Array = np.ndarray[Any, Any]


def save(folder: Path, model: LSGMER, card: dict[str, Any]) -> TrainCard:
    """Write weights and card to `folder`. `card` holds TrainCard's fields but for weights_sha256 and parameters."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / WEIGHTS)
    complete = TrainCard(
        **card,
        weights_sha256=file_sha256(folder / WEIGHTS),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )
    write_atomically(folder / CARD, complete.to_json())
    return complete


def load_card(folder: Path) -> TrainCard:
    """Return the card in `folder`. Raises LsgmerError when it is absent or not a card."""
    try:
        return TrainCard.model_validate_json((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LsgmerError(f"{folder / CARD}: no readable train card: {error}; run `lsgmer run`") from error


def load(folder: Path) -> tuple[LSGMER, TrainCard]:
    """Rebuild the model in `folder`, in eval mode, on the CPU.

    Raises LsgmerError when the weights are absent, are not what the card says, or do not fit the model.
    """
    card = load_card(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        raise LsgmerError(f"{path}: no such file, though {CARD} stands beside it; run `lsgmer run`")
    if (found := file_sha256(path)) != card.weights_sha256:
        raise LsgmerError(f"{path}: sha256 is {found}, the card says {card.weights_sha256}; restore it or train again")
    dimensions: dict[Modality, int] = {}
    for name in MODALITIES:
        spec = card.encoders.get(name)
        if spec is not None:
            dimensions[name] = spec.dimension
    model = LSGMER(ModelParams.model_validate_json(json.dumps(card.params["model"])), len(card.labels), dimensions)
    try:
        model.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise LsgmerError(f"{path}: does not fit the model its card describes: {error}") from error
    return model.eval(), card


def speaker_digest(speaker: str) -> str:
    """Return 16 hex digits that stand for a speaker in cards: they can be compared, and do not say the name.

    Two corpora that use one name for two people only make the champion comparison leave more out.
    """
    return hashlib.sha256(f"speaker/{speaker}".encode()).hexdigest()[:16]


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


def pooled(split: FeatureSplit) -> Array:
    """Return (N, F): per modality the mean and standard deviation over time, and whether it is there at all."""
    rows = []
    for index in range(len(split)):
        item = split.item(index)
        parts = [_pool(getattr(item, name), split.specs.get(name)) for name in MODALITIES]
        rows.append(np.concatenate(parts))
    return np.stack(rows)


def _pool(frames: Array | None, spec: Any) -> Array:
    if spec is None:
        return np.zeros(0)
    if frames is None:
        return np.zeros(2 * spec.dimension + 1)
    values = np.asarray(frames, dtype=np.float64)
    return np.concatenate([values.mean(0), values.std(0), [1.0]])
