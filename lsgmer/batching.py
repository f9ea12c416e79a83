"""The feature store's reader, and padded batches of it. Padding is a mask, never zeros that pretend to be data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as parquet
import torch
from pydantic import ValidationError

from lsgmer.errors import LsgmerError
from lsgmer.lineage import file_sha256
from lsgmer.types import MODALITIES, Batch, EncoderSpec, Labels, Modality, ModalityBatch, Record, Split

Array = np.ndarray[Any, Any]
STORE = "store.json"
INDEX = "index.parquet"
LABEL_TEXT = "label_text.npy"


class StoreCard(Record):
    """store.json: what the arrays beside it are, what made them, and the sha256 of each file."""

    format: Literal["lsgmer-features/1"] = "lsgmer-features/1"
    split: Split
    labels: Labels
    encoders: dict[Modality, EncoderSpec | None]
    manifest_sha256: str
    files: dict[str, str]
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Item:
    """One utterance's features: audio (T, D_audio) and text (T, D_text) float32, None where it has none."""

    id: str
    audio: Array | None = None
    text: Array | None = None
    label: int | None = None

    def features(self, modality: Modality) -> Array | None:
        """Return the features (T, D) of `modality`, or None; no frames at all count as none."""
        values = self.audio if modality == "audio" else self.text
        return values if values is not None and len(values) else None


@dataclass(frozen=True, slots=True)
class FeatureSplit:
    """One split of the feature store, memory-mapped: N utterances, in the manifest's order.

    `labels` (N,) int64 are indices into `label_set`; `flat` and `offsets` hold frames i of a modality in
    flat[offsets[i]:offsets[i + 1]]; `label_text` (C, D_text) is None without a text encoder. `sha256` is
    store.json's, which holds that of every other file.
    """

    split: Split
    ids: tuple[str, ...]
    speakers: tuple[str, ...]
    sessions: tuple[str | None, ...]
    sexes: tuple[str | None, ...]
    tags: tuple[tuple[str, ...], ...]
    emotions: tuple[str, ...]
    labels: Array
    label_set: Labels
    specs: dict[Modality, EncoderSpec | None]
    flat: dict[Modality, Array]
    offsets: dict[Modality, Array]
    label_text: Array | None
    manifest_sha256: str
    sha256: str

    @classmethod
    def load(cls, folder: Path) -> FeatureSplit:
        """Map the store in `folder`. Raises LsgmerError if a file is absent or not the one store.json names."""
        card = _read_card(folder)
        rows = parquet.read_table(folder / INDEX).to_pydict()
        present = [m for m in MODALITIES if card.encoders.get(m) is not None]
        emotions = tuple(rows["emotion"])
        return cls(
            split=card.split,
            ids=tuple(rows["id"]),
            speakers=tuple(rows["speaker"]),
            sessions=tuple(rows["session"]),
            sexes=tuple(rows["sex"]),
            tags=tuple(tuple(tags) for tags in rows["tags"]),
            emotions=emotions,
            labels=np.array([card.labels.index(name) for name in emotions], dtype=np.int64),
            label_set=card.labels,
            specs={m: card.encoders.get(m) for m in MODALITIES},
            flat={m: np.load(folder / f"{m}.npy", mmap_mode="r", allow_pickle=False) for m in present},
            offsets={m: np.load(folder / f"{m}_offsets.npy", allow_pickle=False) for m in present},
            label_text=np.load(folder / LABEL_TEXT, allow_pickle=False) if LABEL_TEXT in card.files else None,
            manifest_sha256=card.manifest_sha256,
            sha256=file_sha256(folder / STORE),
        )

    def __len__(self) -> int:
        """Return the number of utterances N."""
        return len(self.ids)

    @property
    def dimensions(self) -> dict[Modality, int]:
        """The feature size D of each modality that the store was made with."""
        return {m: spec.dimension for m, spec in self.specs.items() if spec is not None}

    def lengths(self, modality: Modality) -> Array:
        """Return the number of frames of each utterance (N,) int64; 0 where it has none."""
        if modality not in self.offsets:
            return np.zeros(len(self), dtype=np.int64)
        return np.diff(self.offsets[modality])

    def has(self, modality: Modality) -> Array:
        """Return (N,) bool: which utterances have `modality`."""
        return self.lengths(modality) > 0

    def features(self, modality: Modality, i: int) -> Array | None:
        """Return the frames (T, D) of utterance `i` as a read-only view, or None where it has none."""
        if modality not in self.offsets:
            return None
        start, end = self.offsets[modality][i : i + 2]
        return self.flat[modality][start:end] if end > start else None

    def item(self, i: int) -> Item:
        """Return utterance `i` with its features and label."""
        return Item(self.ids[i], self.features("audio", i), self.features("text", i), int(self.labels[i]))


def collate(
    items: Sequence[Item], labels_known: bool = True, dimensions: Mapping[Modality, int] | None = None
) -> Batch:
    """Pad `items` to one Batch.

    An item without a modality becomes a row that is padding throughout. A modality that no item has is
    None, unless `dimensions` gives its size D: then every row of it is padding (T = 1). Raises LsgmerError
    for no items, or where labels should be known and one is not.
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


def length_buckets(lengths: Sequence[int] | Array, batch_size: int) -> list[list[int]]:
    """Return every index once, in groups of at most `batch_size` of similar length, shortest first.

    Ties keep their order, so the plan depends on the lengths alone.
    """
    order = np.argsort(np.asarray(lengths, dtype=np.int64), kind="stable").tolist()
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def batches(store: FeatureSplit, batch_size: int, order: Sequence[int] | None = None) -> Iterator[Batch]:
    """Yield labelled batches of the utterances in `order` (default: the store's), each in turn."""
    order = range(len(store)) if order is None else order
    for start in range(0, len(order), batch_size):
        yield collate([store.item(int(i)) for i in order[start : start + batch_size]], True, store.dimensions)


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


def _read_card(folder: Path) -> StoreCard:
    """Read store.json and check every file against its sha256 there."""
    remedy = "run `dvc repro features`"
    try:
        card = StoreCard.model_validate_json((folder / STORE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise LsgmerError(f"{folder / STORE}: no such file; {remedy}") from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise LsgmerError(f"{folder / STORE}: not a feature store: {error}; {remedy}") from error
    for name, expected in card.files.items():
        file = folder / name
        if not file.is_file():
            raise LsgmerError(f"{file}: no such file, though {STORE} names it; {remedy}")
        if file_sha256(file) != expected:
            raise LsgmerError(f"{file}: changed since it was written (sha256 differs from {STORE}); {remedy}")
    return card
