"""Training batches: shuffled, of utterances of similar length, with random crops and hidden modalities."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import Modality
from lsgmer.features.batch import Batch, Item, ModalityBatch, collate, to_device
from lsgmer.features.store import FeatureSplit

Array = np.ndarray[Any, Any]
POOL = 8  # batches are sorted by length within pools of this many, so that padding stays small


class Feeder:
    """Batches, on `device`, of the utterances of one split that have at least one of `modalities`."""

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
        """The class indices (N,) of these utterances, in the split's order."""
        return np.asarray(self.part.labels[self.rows])

    @property
    def steps(self) -> int:
        """The number of batches in one pass."""
        return -(-len(self.rows) // self.batch_size)

    def in_order(self, rank: int = 0, processes: int = 1) -> Iterator[tuple[Batch, Tensor]]:
        """Yield (batch, labels (B,)) in the split's order: all batches, or every `processes`-th from `rank` on."""
        for rows in chunks(self.rows, self.batch_size)[rank::processes]:
            yield self._batch(rows)

    def sample(self, count: int) -> Iterator[tuple[Batch, Tensor]]:
        """Yield batches of about `count` utterances, spread evenly over the split."""
        for rows in chunks(self.rows[:: max(1, len(self.rows) // count)], self.batch_size):
            yield self._batch(rows)

    def shuffled(
        self, generator: np.random.Generator, modality_dropout: float, audio_crop: float = 1.0
    ) -> Iterator[tuple[Batch, Tensor]]:
        """Yield (batch, labels (B,)): the order, hidden modalities and crops are drawn from `generator` alone.

        With `audio_crop` below 1, each utterance's audio is a random stretch of at least that share of its frames.
        """
        pools = chunks(generator.permutation(self.rows), POOL * self.batch_size)
        batches = [
            rows
            for pool in pools
            for rows in chunks(pool[np.argsort(self.lengths[pool], kind="stable")], self.batch_size)
        ]
        for index in generator.permutation(len(batches)):
            batch, labels = self._batch(batches[index], lambda frames: crop(frames, audio_crop, generator))
            yield hide_modalities(batch, modality_dropout, generator), labels

    def _batch(self, rows: Array, shorten: Callable[[Array], Array] = lambda frames: frames) -> tuple[Batch, Tensor]:
        items = [self._item(int(row)) for row in rows]
        items = [item if item.audio is None else replace(item, audio=shorten(item.audio)) for item in items]
        dimensions = {name: self.part.dimensions[name] for name in self.modalities}
        batch = collate(items, labels_known=False, dimensions=dimensions)
        moved = replace(batch, audio=to_device(batch.audio, self.device), text=to_device(batch.text, self.device))
        return moved, torch.from_numpy(self.part.labels[rows]).to(self.device)

    def _item(self, row: int) -> Item:
        item = self.part.item(row)
        audio = item.audio if "audio" in self.modalities else None
        return replace(item, audio=audio, text=item.text if "text" in self.modalities else None)


def divide(batch: Batch, labels: Tensor, count: int) -> list[tuple[Batch, Tensor]]:
    """Return (batch, labels) in at most `count` pieces, each padded only as far as it needs."""
    if count == 1:
        return [(batch, labels)]
    size = -(-len(labels) // count)
    starts = range(0, len(labels), size)
    return [(_rows(batch, slice(start, start + size)), labels[start : start + size]) for start in starts]


def _rows(batch: Batch, rows: slice) -> Batch:
    return Batch(batch.ids[rows], _trim(batch.audio, rows), _trim(batch.text, rows))


def _trim(given: ModalityBatch | None, rows: slice) -> ModalityBatch | None:
    if given is None:
        return None
    longest = max(1, int((~given.is_padding[rows]).sum(1).max()))
    return ModalityBatch(given.values[rows, :longest], given.is_padding[rows, :longest])


def crop(frames: Array, least: float, generator: np.random.Generator) -> Array:
    """Return a random stretch of `frames` (T, D); its share is uniform on [least, 1]; nothing is drawn for 1."""
    if least >= 1:
        return frames
    length = max(1, round(len(frames) * generator.uniform(least, 1)))
    start = int(generator.integers(len(frames) - length + 1))
    return frames[start : start + length]


def hide_modalities(batch: Batch, share: float, generator: np.random.Generator) -> Batch:
    """Hide audio or text, equally often, for a `share` of the utterances that have both, to learn from either alone."""
    if batch.audio is None or batch.text is None:
        return batch
    both = (~batch.audio.is_padding.all(1) & ~batch.text.is_padding.all(1)).cpu().numpy()
    hide = (generator.random(len(both)) < share) & both
    is_audio = generator.random(len(both)) < 0.5
    return replace(batch, audio=_hide(batch.audio, hide & is_audio), text=_hide(batch.text, hide & ~is_audio))


def _hide(given: ModalityBatch, rows: Array) -> ModalityBatch:
    hidden = torch.from_numpy(rows).to(given.is_padding.device)
    return ModalityBatch(given.values, given.is_padding | hidden.unsqueeze(1))


def chunks(rows: Array, size: int) -> list[Array]:
    """Return `rows` in order, in pieces of at most `size`."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]
