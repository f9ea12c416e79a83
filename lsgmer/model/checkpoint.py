"""Self-contained checkpoints: safetensors weights and one JSON card. `load(folder)` needs nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lsgmer.core.errors import LsgmerError
from lsgmer.core.hashing import file_sha256
from lsgmer.core.paths import write_atomically
from lsgmer.core.records import MIX, MODALITIES, LearningSpec, Modality
from lsgmer.model.ensemble import Ensemble, Model
from lsgmer.model.lsgmer import LSGMER
from lsgmer.model.params import ModelParams
from lsgmer.model.pooling import WeightedLayers
from lsgmer.model.train_card import CARD, WEIGHTS, TrainCard, load_card

ADDED = ("temperature_scale", ".level_mean", ".level_deviation")  # older checkpoints lack these: their values are set


def save(folder: Path, model: Model, card: dict[str, Any]) -> TrainCard:
    """Write weights and card to `folder`. `card` holds TrainCard's fields except weights_sha256 and parameters."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / WEIGHTS)
    complete = TrainCard(
        **card,
        weights_sha256=file_sha256(folder / WEIGHTS),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )
    write_atomically(folder / CARD, complete.to_json())
    return complete


def load(folder: Path) -> tuple[Model, TrainCard]:
    """Rebuild the model in `folder`, in eval mode, on the CPU.

    Raises LsgmerError when the weights are missing, do not match the card, or do not fit the model.
    """
    card = load_card(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        raise LsgmerError(f"{path}: no such file, though {CARD} is there; run `lsgmer run`")
    if (found := file_sha256(path)) != card.weights_sha256:
        raise LsgmerError(f"{path}: sha256 is {found}, the card says {card.weights_sha256}; restore it or train again")
    model = Ensemble([_member(card) for _ in card.members]) if card.members else _member(card)
    try:
        later = {name: value for name, value in model.state_dict().items() if name.endswith(ADDED)}
        model.load_state_dict({**later, **load_file(path)})
    except (RuntimeError, SafetensorError) as error:
        raise LsgmerError(f"{path}: does not fit the model its card describes: {error}") from error
    return model.eval(), card


def _member(card: TrainCard) -> LSGMER:
    """Return an LSGMER as `card` describes it, with weights yet to be loaded."""
    learning = {name: _rebuild(spec, name) for name, spec in card.learning.items()}
    dimensions: dict[Modality, int] = {}
    for name in MODALITIES:
        spec = card.encoders.get(name)
        if spec is not None:
            dimensions[name] = card.learning[name].dimension if name in learning else spec.dimension
    params = ModelParams.model_validate_json(json.dumps(card.params["model"]))
    return LSGMER(params, len(card.labels), dimensions, learning)


def _rebuild(spec: LearningSpec, modality: Modality) -> torch.nn.Module:
    if spec.learns == MIX:
        return WeightedLayers(spec.top, spec.dimension)
    from lsgmer.encoders.learning import rebuild  # transformers, which frozen features do without

    return rebuild(spec, modality)
