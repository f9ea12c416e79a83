"""A model's outputs, for stored features or raw input: both use one code path, so offline and served are equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lsgmer.core.device import choose_device
from lsgmer.core.records import Modality
from lsgmer.features.batch import Batch, Item, collate, length_buckets, to_device
from lsgmer.model.divergence import jensen_shannon
from lsgmer.model.ensemble import Model
from lsgmer.model.lsgmer import ModelOutput

if TYPE_CHECKING:
    from lsgmer.features.store import FeatureSplit

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Outputs:
    """Model outputs for N utterances: probabilities and attribution (N, C), fused (N, D), consistency (N,), float64.

    `readable` (N,) is False where an utterance has nothing this model reads: its rows are uniform, consistency 0.
    """

    probabilities: Array
    attribution: Array
    fused: Array
    consistency: Array
    readable: Array


def predict_split(
    model: Model, split: FeatureSplit, batch_size: int, rows: Sequence[int] | None = None, device: str = "cpu"
) -> Outputs:
    """Return a model's outputs for stored features.

    Args:
        model: the model; it is moved to `device` and put in eval mode.
        split: the features of N utterances.
        batch_size: how many utterances a batch has; a batch holds utterances of similar length.
        rows: which utterances of `split` to predict, all of them by default.
        device: auto, cpu or cuda.

    Returns:
        The outputs in the order of `rows`. Utterances with nothing that the model reads are not `readable`.

    """
    model = model.eval().to(choose_device(device))
    names = model.names
    rows = range(len(split)) if rows is None else rows
    lengths = np.stack([split.lengths(name) for name in names])[:, list(rows)]  # (M, N)
    readable = np.flatnonzero(lengths.any(0))
    buckets = [readable[bucket].tolist() for bucket in length_buckets(lengths.sum(0)[readable], batch_size)]
    parts = [run_model(model, [_only(split.item(int(rows[i])), names) for i in bucket]) for bucket in buckets]
    return collect_outputs(parts, buckets, len(rows), len(split.label_set))


def consistency(attribution: Array, probabilities: Array) -> Array:
    """Return 1 - JS(q, p) / ln 2 per row, (N,) in [0, 1], of distributions (N, C): 1 where both views agree."""
    divergence = jensen_shannon(torch.from_numpy(attribution), torch.from_numpy(probabilities)).numpy()
    return np.asarray(np.clip(1 - divergence / np.log(2), 0.0, 1.0))


@torch.inference_mode()
def run_model(model: Model, items: Sequence[Item]) -> ModelOutput:
    """Return the model's output for `items`, on the CPU."""
    device = next(model.parameters()).device
    batch = collate(items, labels_known=False)
    moved = Batch(batch.ids, to_device(batch.audio, device), to_device(batch.text, device))
    output = model(moved)
    return ModelOutput(output.logits.cpu(), output.attribution.cpu(), output.fused.cpu())


def collect_outputs(
    parts: Sequence[ModelOutput], rows: Sequence[Sequence[int]], count: int, labels: int | None = None
) -> Outputs:
    """Merge the outputs of batches into those of `count` utterances; `rows` gives each batch's positions."""
    labels = parts[0].logits.shape[1] if parts else int(labels or 1)
    width = parts[0].fused.shape[1] if parts else 0
    probabilities = np.full((count, labels), 1 / labels)
    attribution, fused = probabilities.copy(), np.zeros((count, width))
    readable = np.zeros(count, dtype=bool)
    for part, places in zip(parts, rows, strict=True):
        index = list(places)
        probabilities[index] = part.logits.double().softmax(-1).numpy()
        attribution[index] = _normalised(part.attribution.double().numpy())
        fused[index] = part.fused.double().numpy()
        readable[index] = True
    trust = np.where(readable, consistency(attribution, probabilities), 0.0)
    return Outputs(probabilities, attribution, fused, trust, readable)


def _only(item: Item, names: Sequence[Modality]) -> Item:
    """Drop what the model does not read, so that it is not padded needlessly."""
    return replace(
        item, audio=item.audio if "audio" in names else None, text=item.text if "text" in names else None, label=None
    )


def _normalised(values: Array) -> Array:
    return np.asarray(values / values.sum(-1, keepdims=True))
