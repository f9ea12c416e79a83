"""Items and padded batches. Padding is a mask, never zeros that pretend to be data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import Modality

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class ModalityBatch:
    """Padded features of one modality: values (B, T, D) and is_padding (B, T), True where padded.

    An utterance without this modality is a row that is padding throughout.
    """

    values: Tensor
    is_padding: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """What the model reads. `labels` (B,) are class indices, or None when they are not known."""

    ids: tuple[str, ...]
    audio: ModalityBatch | None
    text: ModalityBatch | None
    labels: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One utterance's features: audio (T, D_audio) and text (T, D_text) float32, None where it has none."""

    id: str
    audio: Array | None = None
    text: Array | None = None
    label: int | None = None

    def features(self, modality: Modality) -> Array | None:
        """Return the features (T, D) of `modality`, or None; zero frames count as None."""
        values = self.audio if modality == "audio" else self.text
        return values if values is not None and len(values) else None


def collate(
    items: Sequence[Item], labels_known: bool = True, dimensions: Mapping[Modality, int] | None = None
) -> Batch:
    """Pad `items` to one Batch.

    An item without a modality becomes a row that is padding throughout.

    Args:
        items: the utterances (B), in the order of the batch's rows.
        labels_known: whether every item must have a label; if not, the batch has none.
        dimensions: the feature size D of each modality that must be present. A modality that no item has is
            None in the batch, unless its size is given here: then every row of it is padding (T = 1).

    Returns:
        The batch on the CPU, float32; T is the longest item's in each modality.

    Raises:
        LsgmerError: there are no items, or labels should be known and one is not.

    """
    if not items:
        raise LsgmerError("an empty batch cannot be collated; give at least one item")
    labels = None
    if labels_known:
        known = [item.label for item in items if item.label is not None]
        if len(known) < len(items):
            raise LsgmerError(f"no label for {[item.id for item in items if item.label is None][:5]}")
        labels = torch.tensor(known, dtype=torch.int64)
    sizes = dimensions or {}
    return Batch(
        ids=tuple(item.id for item in items),
        audio=_pad([item.features("audio") for item in items], sizes.get("audio")),
        text=_pad([item.features("text") for item in items], sizes.get("text")),
        labels=labels,
    )


def to_device(given: ModalityBatch | None, device: torch.device) -> ModalityBatch | None:
    """Return `given` on `device`; None stays None."""
    return None if given is None else ModalityBatch(given.values.to(device), given.is_padding.to(device))


def length_buckets(lengths: Sequence[int] | Array, batch_size: int) -> list[list[int]]:
    """Return every index once, in groups of at most `batch_size` of similar length, shortest first.

    Ties keep their order, so the plan depends on the lengths alone.
    """
    order = np.argsort(np.asarray(lengths, dtype=np.int64), kind="stable").tolist()
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def _pad(rows: Sequence[Array | None], dimension: int | None) -> ModalityBatch | None:
    """Pad rows (T_i, D) to values (B, T, D) float32 and is_padding (B, T)."""
    present = [row for row in rows if row is not None]
    if not present and dimension is None:
        return None
    width = present[0].shape[1] if present else int(dimension or 0)
    longest = max((len(row) for row in present), default=1)
    values = np.zeros((len(rows), longest, width), dtype=np.float32)
    is_padding = np.ones((len(rows), longest), dtype=bool)
    for i, row in enumerate(rows):
        if row is not None:
            values[i, : len(row)] = row
            is_padding[i, : len(row)] = False
    return ModalityBatch(torch.from_numpy(values), torch.from_numpy(is_padding))
