"""Writing the feature store: what `lsgmer.batching.FeatureSplit` reads, the same bytes for the same features."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from lsgmer.batching import INDEX, LABEL_TEXT, STORE, StoreCard
from lsgmer.lineage import file_sha256
from lsgmer.types import MODALITIES, EncoderSpec, Labels, Modality, Split, Utterance

Array = np.ndarray[Any, Any]
INDEX_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("speaker", pa.string()),
        ("session", pa.string()),
        ("sex", pa.string()),
        ("tags", pa.list_(pa.string())),
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
) -> None:
    """Write one split's store to `folder`, which appears whole or not at all. Raises OSError on a full disk."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _write_index(partial / INDEX, utterances)
        counts = {"utterances": len(utterances)}
        for modality in MODALITIES:
            part = frames.get(modality)
            if part is not None:
                counts[modality] = sum(length > 0 for length in part.lengths)
                counts[f"{modality}_frames"] = _write_frames(partial, modality, part)
        if label_text is not None:
            _save(partial / LABEL_TEXT, label_text)
        card = StoreCard(
            split=split,
            labels=labels,
            encoders={m: part.spec if (part := frames.get(m)) is not None else None for m in MODALITIES},
            manifest_sha256=manifest_sha256,
            files={path.name: file_sha256(path) for path in sorted(partial.iterdir())},
            counts=counts,
        )
        (partial / STORE).write_text(card.to_json(), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_index(path: Path, utterances: Sequence[Utterance]) -> None:
    rows = [{name: getattr(u, name) for name in INDEX_SCHEMA.names} | {"tags": list(u.tags)} for u in utterances]
    content = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), content, compression="zstd")
    path.write_bytes(content.getvalue())


def _write_frames(folder: Path, modality: Modality, part: Frames) -> int:
    """Write MODALITY.npy and MODALITY_offsets.npy; return the number of frames.

    Through plain writes: a full disk under a memory map would end the process with SIGBUS.
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


def _save(path: Path, values: Array) -> None:
    # np.save straight to a full disk raises an OSError without an errno, which nobody could explain.
    content = io.BytesIO()
    np.save(content, values, allow_pickle=False)
    path.write_bytes(content.getvalue())
