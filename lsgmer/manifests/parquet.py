"""Utterances, and what is known about their audio, as Parquet rows; the same rows give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lsgmer.audio import AudioFacts
from lsgmer.core.errors import LsgmerError
from lsgmer.manifests.utterance import Utterance

ROWS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("corpus", pa.string(), nullable=False),
        pa.field("speaker", pa.string(), nullable=False),
        pa.field("emotion_raw", pa.string(), nullable=False),
        pa.field("emotion", pa.string(), nullable=False),
        pa.field("split", pa.string()),
        pa.field("session", pa.string()),
        pa.field("dialogue", pa.string()),
        pa.field("turn", pa.int64()),
        pa.field("sex", pa.string()),
        pa.field("audio", pa.string()),
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
        pa.field("text", pa.string()),
        pa.field("tags", pa.list_(pa.string())),
        pa.field("numbers", pa.map_(pa.string(), pa.float64())),
    ]
)
CHANNEL = pa.field("channel", pa.int64())  # a column only where some row has a channel
FACT = "audio_"  # the prefix of the columns of audio facts
FACTS = pa.schema(
    [
        pa.field("audio_sample_rate", pa.int64()),
        pa.field("audio_channels", pa.int64()),
        pa.field("audio_header_frames", pa.int64()),
        pa.field("audio_decoded_frames", pa.int64()),
        pa.field("audio_duration_s", pa.float64()),
        pa.field("audio_rms_db", pa.float64()),
        pa.field("audio_peak", pa.float64()),
        pa.field("audio_clipping_share", pa.float64()),
        pa.field("audio_silence_share", pa.float64()),
        pa.field("audio_sha256", pa.string()),
        pa.field("audio_error", pa.string()),
    ]
)
NAMES = tuple(name.removeprefix(FACT) for name in FACTS.names)


def write_utterances(
    path: Path,
    utterances: Sequence[Utterance],
    metadata: Mapping[str, str],
    facts: Mapping[str, AudioFacts] | None = None,
) -> None:
    """Write one row per utterance, in order, with `metadata` in the schema; `facts` by id add the audio columns."""
    channel = [CHANNEL] if any(utterance.channel is not None for utterance in utterances) else []
    schema = pa.schema([*ROWS, *channel, *(() if facts is None else FACTS)])
    rows = [_row(utterance, None if facts is None else facts.get(utterance.id)) for utterance in utterances]
    table = pa.Table.from_pylist(rows, schema=schema.with_metadata(dict(sorted(metadata.items()))))
    pq.write_table(table, path, compression="zstd", compression_level=3, write_statistics=False)


def read_utterances(path: Path, remedy: str) -> tuple[tuple[Utterance, ...], dict[str, AudioFacts], dict[str, str]]:
    """Return the utterances, the audio facts by id (where file and row have any), and the schema metadata.

    Raises LsgmerError, ending in `remedy`, for a missing or unreadable file or unexpected columns.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else f"not readable Parquet ({error})"
        raise LsgmerError(f"{path}: {reason}; {remedy}") from None
    found, known = set(table.schema.names), {*ROWS.names}
    if not known <= found <= known | {CHANNEL.name, *FACTS.names}:
        raise LsgmerError(f"{path}: its columns are {sorted(found)}, not a manifest's; {remedy}")
    rows = table.to_pylist()
    metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    facts = {row["id"]: _facts(row) for row in rows if row["audio"] is not None and set(FACTS.names) <= found}
    return tuple(_utterance(row) for row in rows), facts, metadata


def _row(utterance: Utterance, facts: AudioFacts | None) -> dict[str, Any]:
    row = utterance.as_row() | {"tags": list(utterance.tags), "numbers": sorted(utterance.numbers.items())}
    return row | {FACT + name: getattr(facts, name) if facts else None for name in NAMES}


def _utterance(row: Mapping[str, Any]) -> Utterance:
    kept = {name: row[name] for name in ROWS.names}
    mended = {"tags": tuple(kept["tags"]), "numbers": dict(kept["numbers"]), "channel": row.get(CHANNEL.name)}
    return Utterance(**kept | mended)


def _facts(row: Mapping[str, Any]) -> AudioFacts:
    return AudioFacts(**{name: row[FACT + name] for name in NAMES})
