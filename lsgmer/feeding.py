"""What training reads, batch by batch: shuffled, of similar length, with a modality hidden now and then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lsgmer.batching import FeatureSplit, Item, collate
from lsgmer.errors import LsgmerError
from lsgmer.types import Batch, Modality, ModalityBatch

Array = np.ndarray[Any, Any]
POOL = 8  # batches are sorted by length within pools of this many, so that padding stays small


class Feeder:
    """Batches of the utterances of one part that have at least one of `modalities`, on `device`."""

    def __init__(
        self, part: FeatureSplit, modalities: tuple[Modality, ...], batch_size: int, device: torch.device
    ) -> None:
        self.part, self.modalities, self.batch_size, self.device = part, modalities, batch_size, device
        lengths = np.stack([part.lengths(name) for name in modalities])  # (M, N)
        self.rows = np.flatnonzero(lengths.any(0))
        self.lengths = lengths.sum(0)
        if not len(self.rows):
            raise LsgmerError(f"no {part.split} utterance has {' or '.join(modalities)}")

    @property
    def labels(self) -> Array:
        """The class indices (N,) of the utterances fed, in the part's order."""
        return np.asarray(self.part.labels[self.rows])

    @property
    def steps(self) -> int:
        """The number of batches in one pass."""
        return -(-len(self.rows) // self.batch_size)

    def in_order(self) -> Iterator[tuple[Batch, Tensor]]:
        """Yield (batch, labels (B,)) in the part's order."""
        for rows in _chunks(self.rows, self.batch_size):
            yield self._batch(rows)

    def shuffled(self, generator: np.random.Generator, modality_dropout: float) -> Iterator[tuple[Batch, Tensor]]:
        """Yield (batch, labels (B,)) in an order, and with modalities hidden, drawn from `generator` alone."""
        pools = _chunks(generator.permutation(self.rows), POOL * self.batch_size)
        chunks = [
            chunk
            for pool in pools
            for chunk in _chunks(pool[np.argsort(self.lengths[pool], kind="stable")], self.batch_size)
        ]
        for index in generator.permutation(len(chunks)):
            batch, labels = self._batch(chunks[index])
            yield hide_modalities(batch, modality_dropout, generator), labels

    def _batch(self, rows: Array) -> tuple[Batch, Tensor]:
        items = [self._item(int(row)) for row in rows]
        dimensions = {name: self.part.dimensions[name] for name in self.modalities}
        batch = collate(items, labels_known=False, dimensions=dimensions)
        moved = replace(batch, audio=_to(batch.audio, self.device), text=_to(batch.text, self.device))
        return moved, torch.from_numpy(self.part.labels[rows]).to(self.device)

    def _item(self, row: int) -> Item:
        item = self.part.item(row)
        audio = item.audio if "audio" in self.modalities else None
        return replace(item, audio=audio, text=item.text if "text" in self.modalities else None)


def hide_modalities(batch: Batch, share: float, generator: np.random.Generator) -> Batch:
    """Hide audio or text (evenly) of a `share` of the utterances that have both: the model learns to do with one."""
    if batch.audio is None or batch.text is None:
        return batch
    both = (~batch.audio.is_padding.all(1) & ~batch.text.is_padding.all(1)).cpu().numpy()
    hide = (generator.random(len(both)) < share) & both
    is_audio = generator.random(len(both)) < 0.5
    return replace(batch, audio=_hide(batch.audio, hide & is_audio), text=_hide(batch.text, hide & ~is_audio))


def frame_statistics(part: FeatureSplit, modality: Modality) -> tuple[Tensor, Tensor]:
    """Return the mean and standard deviation (D,) over all frames of `part`, summed in float64."""
    frames = part.flat[modality]
    if not len(frames):
        raise LsgmerError(f"no {part.split} utterance has {modality}; set features.{modality}.kind to none")
    total, squares = np.zeros(frames.shape[1]), np.zeros(frames.shape[1])
    for block in _chunks(frames, 65536):
        wide = np.asarray(block, dtype=np.float64)
        total += wide.sum(0)
        squares += (wide**2).sum(0)
    mean = total / len(frames)
    deviation = np.sqrt(np.maximum(squares / len(frames) - mean**2, 0))
    return torch.from_numpy(mean).float(), torch.from_numpy(deviation).float()


def _hide(given: ModalityBatch, rows: Array) -> ModalityBatch:
    hidden = torch.from_numpy(rows).to(given.is_padding.device)
    return ModalityBatch(given.values, given.is_padding | hidden.unsqueeze(1))


def _to(given: ModalityBatch | None, device: torch.device) -> ModalityBatch | None:
    return None if given is None else ModalityBatch(given.values.to(device), given.is_padding.to(device))


def _chunks(rows: Array, size: int) -> list[Array]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
