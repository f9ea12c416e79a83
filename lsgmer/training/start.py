"""The model before its first step: feature statistics of the training split, label embeddings from descriptions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import MIX, LearningSpec, Modality
from lsgmer.features.store import FeatureSplit
from lsgmer.model.lsgmer import LSGMER
from lsgmer.model.pooling import WeightedLayers, utterance_statistics
from lsgmer.training.loader import Feeder, chunks
from lsgmer.training.lora import add_lora
from lsgmer.training.params import TrainingSections

SAMPLE = 512  # utterances that the layers that learn are run on for their statistics


def start_model(
    train: FeatureSplit, params: TrainingSections, modalities: tuple[Modality, ...], root: Path
) -> tuple[LSGMER, dict[Modality, LearningSpec]]:
    """Return a new model with the training split's feature statistics, and what its learning layers are.

    Label embeddings from text need the text modality; without it they are random. Encoder layers that learn start
    with their pretrained weights; a folder source is relative to `root`. Raises LsgmerError: see `start_learning`.
    """
    learning, specs = _learning(train, params, modalities, root)
    dimensions = {name: specs[name].dimension if name in specs else train.dimensions[name] for name in modalities}
    model = LSGMER(params.model, len(train.label_set), dimensions, learning)
    for name in modalities:
        stream = model.stream(name)
        frames = sampled_statistics(model, train, name) if name in specs else frame_statistics(train, name)
        stream.standardise(*frames)
        if name == "audio" and train.levels is not None:
            stream.level_mean.copy_(torch.from_numpy(train.levels.training.mean))
            stream.level_deviation.copy_(torch.from_numpy(train.levels.training.deviation))
        if stream.pooling is not None:
            stream.pooling.standardise(*pooled_statistics(model, train, name, SAMPLE if name in specs else None))
    if params.model.label_start == "text" and "text" in modalities and train.label_text is not None:
        label_text = torch.from_numpy(np.array(train.label_text))
        if "text" in specs and specs["text"].learns == MIX:
            label_text = label_text.reshape(len(label_text), specs["text"].top, -1).mean(1)  # as the weights start
        model.start_labels(label_text)
    return model, specs


def _learning(
    train: FeatureSplit, params: TrainingSections, modalities: tuple[Modality, ...], root: Path
) -> tuple[dict[Modality, nn.Module], dict[Modality, LearningSpec]]:
    layers: dict[Modality, nn.Module] = {}
    specs: dict[Modality, LearningSpec] = {}
    for name in modalities:
        learns, spec = getattr(params.train.finetune, name), train.specs[name]
        if spec is not None and spec.settings.get("mix"):
            count = len(spec.settings["layers"])
            mixed = LearningSpec(learns=MIX, below="layers", top=count, dimension=spec.dimension // count, config={})
            layers[name], specs[name] = WeightedLayers(count, mixed.dimension), mixed
            continue
        if spec is None or (learns == "none" and "below" not in spec.settings):
            continue
        from lsgmer.encoders.learning import describe, start_learning  # transformers: seconds to import

        found = start_learning(spec, learns, root)
        if params.train.gradient_checkpointing:
            found.checkpoint_gradients()
        layers[name], specs[name] = found, describe(found, learns)
        if learns == "lora":
            add_lora(found, name, params.train.lora_rank)
    return layers, specs


@torch.no_grad()
def sampled_statistics(model: LSGMER, part: FeatureSplit, modality: Modality) -> tuple[Tensor, Tensor]:
    """Return mean and deviation (D,) over the frames of a sample of `part`, as the layers that learn start out."""
    frames = []
    for values, is_padding in _frames(model, part, modality, SAMPLE):
        frames.append(values[~is_padding].double())
    flat = torch.cat(frames)
    return flat.mean(0).float(), flat.std(0, correction=0).float()


def _frames(
    model: LSGMER, part: FeatureSplit, modality: Modality, count: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield frames (B, T, D) and is_padding (B, T) of about `count` utterances, or of all."""
    feeder = Feeder(part, (modality,), 256 if count is None else 16, torch.device("cpu"))
    model.eval()
    for batch, _ in feeder.in_order() if count is None else feeder.sample(count):
        values, is_padding, _ = model.frames(modality, getattr(batch, modality))
        yield values, is_padding


def frame_statistics(part: FeatureSplit, modality: Modality) -> tuple[Tensor, Tensor]:
    """Return the mean and standard deviation (D,) over all frames of `part`, summed in float64."""
    frames = part.flat[modality]
    if not len(frames):
        raise LsgmerError(f"no {part.split} utterance has {modality}; set features.{modality}.kind to none")
    total, squares = np.zeros(frames.shape[1]), np.zeros(frames.shape[1])
    for block in chunks(frames, 65536):
        wide = np.asarray(block, dtype=np.float64)
        total += wide.sum(0)
        squares += (wide**2).sum(0)
    mean = total / len(frames)
    deviation = np.sqrt(np.maximum(squares / len(frames) - mean**2, 0))
    return torch.from_numpy(mean).float(), torch.from_numpy(deviation).float()


@torch.no_grad()
def pooled_statistics(
    model: LSGMER, part: FeatureSplit, modality: Modality, count: int | None
) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (3 D,) of `utterance_statistics` over the utterances that have `modality`.

    With `count`, over a sample of about that many.
    """
    given = _frames(model, part, modality, count)
    values = torch.cat([utterance_statistics(values, is_padding) for values, is_padding in given]).double()
    return values.mean(0).float(), values.std(0, correction=0).float()
