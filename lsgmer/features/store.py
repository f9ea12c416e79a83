"""Write and read the feature store; the same features give the same bytes."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from lsgmer.core.errors import LsgmerError
from lsgmer.core.hashing import file_sha256
from lsgmer.core.records import MODALITIES, EncoderSpec, Labels, Modality, Record, Split, TranscriberSpec, read_record
from lsgmer.features.batch import Item
from lsgmer.features.normalise import Level

if TYPE_CHECKING:
    from lsgmer.manifests.utterance import Utterance

Array = np.ndarray[Any, Any]
STORE = "store.json"
INDEX = "index.parquet"
AUTOMATIC = "automatic"  # column of the index
LABEL_TEXT = "label_text.npy"
BATCHES = "lsgmer-batches/1"  # the rule of features/plan.py, and how its batches are read
LEVELS, LEVEL_ROWS = "audio_levels.npy", "audio_level_rows.npy"


class StoreCard(Record):
    """store.json: what the arrays in the same folder are, what made them, and the sha256 of each file.

    `batches` names the rule by which utterances were encoded together: another one changes values by up to 1e-5.
    """

    format: Literal["lsgmer-features/2"] = "lsgmer-features/2"
    split: Split
    labels: Labels
    encoders: dict[Modality, EncoderSpec | None]
    manifest_sha256: str
    files: dict[str, str]
    counts: dict[str, int]
    normalise: str = "none"
    transcriber: TranscriberSpec | None = None
    batches: str = "alone"


@dataclass(frozen=True, slots=True)
class Automatic:
    """Which utterances (N,) of a split have words that `transcriber` wrote, and for how many it found none."""

    transcriber: TranscriberSpec
    rows: tuple[bool, ...]
    refused: int


@dataclass(frozen=True, slots=True)
class Levels:
    """The audio levels that were removed: of each group (speaker or session), `rows` (N,) says whose is an utterance's.

    `training` is the level of all audio of the training split, which stands in for speakers who are not known.
    """

    groups: tuple[Level, ...]
    rows: Array
    training: Level

    @classmethod
    def load(cls, folder: Path) -> Levels:
        """Read what `save` wrote."""
        levels = np.load(folder / LEVELS, allow_pickle=False)
        training, *groups = (Level(mean, deviation) for mean, deviation in levels)
        return cls(tuple(groups), np.load(folder / LEVEL_ROWS, allow_pickle=False), training)

    def save(self, folder: Path) -> None:
        """Write the levels (1 + G, 2, D), training's first, and each utterance's group."""
        every = (self.training, *self.groups)
        _save(folder / LEVELS, np.stack([np.stack([level.mean, level.deviation]) for level in every]))
        _save(folder / LEVEL_ROWS, self.rows)

    def of(self, row: int) -> Level:
        """Return the level that was removed from an utterance's audio."""
        return self.groups[int(self.rows[row])]


@dataclass(frozen=True, slots=True)
class FeatureSplit:
    """One split of the feature store, memory-mapped: N utterances, in the manifest's order.

    `labels` (N,) int64 are indices into `label_set`. For each modality, the frames of utterance i are
    flat[offsets[i]:offsets[i + 1]]. `texts` are the words as the corpus has them, which only baselines read.
    `label_text` (C, D_text) is None without a text encoder. `summaries` (N, 2 D) are the mean and deviation over time
    of the encoder's frames, for a modality that is stored below the layers that learn; NaN where the utterance lacks
    it. `normalise` says whose audio level was removed, `levels` which. `counts` are store.json's, of the split as it
    was extracted: how many utterances have each modality and, as `text_cut`, how many texts were too long. `automatic`
    (N,) says whose words `transcriber` wrote; both are empty where it was not asked for. `sha256` is store.json's,
    which in turn holds that of every other file.
    """

    split: Split
    ids: tuple[str, ...]
    speakers: tuple[str, ...]
    sessions: tuple[str | None, ...]
    sexes: tuple[str | None, ...]
    tags: tuple[tuple[str, ...], ...]
    texts: tuple[str | None, ...]
    emotions: tuple[str, ...]
    labels: Array
    label_set: Labels
    specs: dict[Modality, EncoderSpec | None]
    flat: dict[Modality, Array]
    offsets: dict[Modality, Array]
    label_text: Array | None
    manifest_sha256: str
    sha256: str
    summaries: dict[Modality, Array] = field(default_factory=dict)
    normalise: str = "none"
    levels: Levels | None = None
    counts: dict[str, int] = field(default_factory=dict)
    automatic: tuple[bool, ...] = ()
    transcriber: TranscriberSpec | None = None

    @classmethod
    def load(cls, folder: Path) -> FeatureSplit:
        """Map the store in `folder`. Raises LsgmerError for a file that is missing or has changed."""
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
            texts=tuple(rows["text"]),
            emotions=emotions,
            labels=np.array([card.labels.index(name) for name in emotions], dtype=np.int64),
            label_set=card.labels,
            specs={m: card.encoders.get(m) for m in MODALITIES},
            flat={m: np.load(folder / f"{m}.npy", mmap_mode="r", allow_pickle=False) for m in present},
            offsets={m: np.load(folder / f"{m}_offsets.npy", allow_pickle=False) for m in present},
            label_text=np.load(folder / LABEL_TEXT, allow_pickle=False) if LABEL_TEXT in card.files else None,
            manifest_sha256=card.manifest_sha256,
            sha256=file_sha256(folder / STORE),
            normalise=card.normalise,
            counts=card.counts,
            automatic=tuple(rows.get(AUTOMATIC, ())),
            transcriber=card.transcriber,
            levels=Levels.load(folder) if card.normalise != "none" else None,
            summaries={
                m: np.load(folder / f"{m}_summary.npy", allow_pickle=False)
                for m in present
                if f"{m}_summary.npy" in card.files
            },
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

    def with_frames(self, modality: Modality, change: Callable[[int, Array], Array]) -> FeatureSplit:
        """Return the split, in memory, with the frames (T, D) of each utterance i replaced by `change`(i, frames)."""
        flat, starts = np.array(self.flat[modality], dtype=np.float32), self.offsets[modality]
        for i in np.flatnonzero(self.has(modality)).tolist():
            frames = flat[starts[i] : starts[i + 1]]
            frames[:] = change(i, frames)
        return replace(self, flat={**self.flat, modality: flat})

    def item(self, i: int) -> Item:
        """Return utterance `i` with its features and label."""
        return Item(self.ids[i], self.features("audio", i), self.features("text", i), int(self.labels[i]))


INDEX_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("speaker", pa.string()),
        ("session", pa.string()),
        ("sex", pa.string()),
        ("tags", pa.list_(pa.string())),
        ("text", pa.string()),
        ("emotion", pa.string()),
        ("split", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Frames:
    """One modality of one split: frames per utterance `lengths` (N,), and (row, frames (T, D)) in any order."""

    spec: EncoderSpec
    lengths: Sequence[int]
    pieces: Iterable[tuple[int, Array]]


def write_split(
    folder: Path,
    split: Split,
    utterances: Sequence[Utterance],
    labels: Labels,
    frames: Mapping[Modality, Frames | None],
    label_text: Array | None,
    manifest_sha256: str,
    summaries: Mapping[Modality, Frames] | None = None,
    normalise: str = "none",
    levels: Levels | None = None,
    text_cut: int = 0,
    automatic: Automatic | None = None,
) -> None:
    """Write one split of the feature store to `folder`, which appears whole or not at all.

    Args:
        folder: where the store goes, such as data/features/train; whatever was there is replaced.
        split: which split this is.
        utterances: the split's N utterances, in the order of the rows.
        labels: the ordered labels of the corpus.
        frames: each modality's features; None, or no entry, for a modality without an encoder.
        label_text: the label descriptions' embeddings (C, D_text), or None.
        manifest_sha256: the hash of the validated manifest that `utterances` come from.
        summaries: one frame (1, 2 D) per utterance of each modality that is stored below the layers that learn.
        normalise: whose audio level has been removed from `frames`: none, speaker or session.
        levels: the levels that were removed; None for none.
        text_cut: how many texts were longer than the encoder reads.
        automatic: whose words are automatic; None where nobody's are.

    Raises:
        OSError: the disk is full.

    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _write_index(partial / INDEX, utterances, automatic)
        counts = {"utterances": len(utterances)} | ({"text_cut": text_cut} if text_cut else {})
        if automatic is not None:
            counts |= {"transcribed": sum(automatic.rows), "not_transcribed": automatic.refused}
        for modality in MODALITIES:
            part = frames.get(modality)
            if part is not None:
                counts[modality] = sum(length > 0 for length in part.lengths)
                counts[f"{modality}_frames"] = _write_frames(partial, modality, part)
        for modality, part in (summaries or {}).items():
            _save(partial / f"{modality}_summary.npy", _rows(part))
        if levels is not None:
            levels.save(partial)
        if label_text is not None:
            _save(partial / LABEL_TEXT, label_text)
        card = StoreCard(
            split=split,
            labels=labels,
            encoders={m: part.spec if (part := frames.get(m)) is not None else None for m in MODALITIES},
            manifest_sha256=manifest_sha256,
            files={path.name: file_sha256(path) for path in sorted(partial.iterdir())},
            counts=counts,
            normalise=normalise,
            transcriber=None if automatic is None else automatic.transcriber,
            batches=BATCHES,
        )
        (partial / STORE).write_text(card.to_json(), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_index(path: Path, utterances: Sequence[Utterance], automatic: Automatic | None) -> None:
    rows = [{name: getattr(u, name) for name in INDEX_SCHEMA.names} | {"tags": list(u.tags)} for u in utterances]
    table = pa.Table.from_pylist(rows, schema=INDEX_SCHEMA)
    if automatic is not None:
        table = table.append_column(AUTOMATIC, pa.array(automatic.rows, pa.bool_()))
    content = io.BytesIO()
    parquet.write_table(table, content, compression="zstd")
    path.write_bytes(content.getvalue())


def _write_frames(folder: Path, modality: Modality, part: Frames) -> int:
    """Write MODALITY.npy and MODALITY_offsets.npy; return the number of frames.

    Uses plain writes: with a memory map, a full disk would kill the process with SIGBUS.
    """
    offsets = np.concatenate([[0], np.cumsum(part.lengths, dtype=np.int64)]).astype(np.int64)
    shape = (int(offsets[-1]), part.spec.dimension)
    with (folder / f"{modality}.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        for row, values in part.pieces:
            file.seek(start + int(offsets[row]) * shape[1] * 4)
            file.write(np.ascontiguousarray(values, dtype="<f4").tobytes())
    _save(folder / f"{modality}_offsets.npy", offsets)
    return shape[0]


def _rows(part: Frames) -> Array:
    """Return the single frame of every utterance as (N, D), NaN where there is none."""
    rows = np.full((len(part.lengths), part.spec.dimension), np.nan, dtype=np.float32)
    for row, values in part.pieces:
        rows[row] = values[0]
    return rows


def _save(path: Path, values: Array) -> None:
    # np.save straight to a full disk raises an OSError without an errno, which does not say what is wrong.
    content = io.BytesIO()
    np.save(content, values, allow_pickle=False)
    path.write_bytes(content.getvalue())


def _read_card(folder: Path) -> StoreCard:
    """Read store.json and check every file against its sha256 there."""
    remedy = "run `dvc repro features`"
    card = read_record(folder / STORE, StoreCard, remedy)
    for name, expected in card.files.items():
        file = folder / name
        if not file.is_file():
            raise LsgmerError(f"{file}: no such file, though {STORE} names it; {remedy}")
        if file_sha256(file) != expected:
            raise LsgmerError(f"{file}: changed since it was written (sha256 differs from {STORE}); {remedy}")
    return card
