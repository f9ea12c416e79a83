"""The model before its first step: feature statistics of the training split, label embeddings from descriptions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import Modality
from lsgmer.features.store import FeatureSplit
from lsgmer.model.lsgmer import LSGMER
from lsgmer.model.pooling import utterance_statistics
from lsgmer.training.loader import Feeder, chunks
from lsgmer.training.params import TrainingSections


def start_model(train: FeatureSplit, params: TrainingSections, modalities: tuple[Modality, ...]) -> LSGMER:
    """Return a new model with the training split's feature statistics and the label memory that `params` ask for.

    Label embeddings from text need the text modality; without it they are random.
    """
    model = LSGMER(params.model, len(train.label_set), {name: train.dimensions[name] for name in modalities})
    for name in modalities:
        model.stream(name).standardise(*frame_statistics(train, name))
        if (pooling := model.stream(name).pooling) is not None:
            pooling.standardise(*pooled_statistics(train, name))
    if params.model.label_start == "text" and "text" in modalities and train.label_text is not None:
        model.start_labels(torch.from_numpy(np.array(train.label_text)))
    return model


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


def pooled_statistics(part: FeatureSplit, modality: Modality) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (3 D,) of `utterance_statistics` over the utterances that have `modality`."""
    feeder = Feeder(part, (modality,), 256, torch.device("cpu"))
    given = [getattr(batch, modality) for batch, _ in feeder.in_order()]
    values = torch.cat([utterance_statistics(each.values, each.is_padding) for each in given]).double()
    return values.mean(0).float(), values.std(0, correction=0).float()
