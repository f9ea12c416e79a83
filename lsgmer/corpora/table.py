"""Bring your own: a table (CSV, TSV, JSONL, XLSX, Parquet) with a row per utterance, and audio in the same folder."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from pathlib import Path

from lsgmer.audio import EMBEDDED
from lsgmer.core.errors import LsgmerError, ParamsError
from lsgmer.core.records import Seconds, channel_number
from lsgmer.corpora.base import Unfit, label_of, split_named, times_of, turn_of
from lsgmer.corpora.params import ColumnParams, CorpusParams
from lsgmer.corpora.paths import AudioFiles
from lsgmer.corpora.tabular import Row, read_rows
from lsgmer.manifests.utterance import CorpusReading, Note, RejectedRow, Utterance


def read(params: CorpusParams, root: Path) -> CorpusReading:
    """Read `params.table` in folder `root`; every row becomes an utterance or a rejected row with its reason.

    Audio paths are relative to the table's folder and must stay inside `root`; validation checks
    whether the files exist and decode. Raises LsgmerError for a missing or unreadable table or column.
    """
    table, columns = params.table, params.columns
    if table is None or columns is None:
        raise ParamsError(f"corpus {params.name} needs corpus.table and corpus.columns")
    path = root / table
    header, rows = read_rows(path, params.delimiter, params.sheet)
    if columns.audio is None and columns.text is None and not params.features_only:
        raise ParamsError(
            "corpus.columns: neither audio nor text names a column; at least one must, "
            "or corpus.features_only must say that the features are precomputed"
        )
    _demand_columns(columns, header, path)
    utterances: list[Utterance] = []
    rejected: list[RejectedRow] = []
    first_row: dict[str, str] = {}
    files = AudioFiles(root)
    for row in rows:
        try:
            utterance = _utterance(row, params, columns, table, files)
            if utterance.id in first_row:
                raise Unfit(f"id {utterance.id!r} is already that of {first_row[utterance.id]}")
        except Unfit as reason:
            rejected.append(RejectedRow(source=table, row=row.name, reason=str(reason)))
        else:
            first_row[utterance.id] = row.name
            utterances.append(utterance)
    notes = tuple(Note(what, tuple(rows)) for what, rows in files.notes.items())
    return CorpusReading(tuple(utterances), tuple(rejected), notes)


def _demand_columns(columns: ColumnParams, header: tuple[str, ...], path: Path) -> None:
    wanted = {field: name for field, name in columns.model_dump().items() if name is not None}
    missing = [f"{name!r} (corpus.columns.{field})" for field, name in wanted.items() if name not in header]
    if missing:
        raise LsgmerError(
            f"{path}: no column {', '.join(missing)}; the table's columns are {', '.join(header)}. "
            "Name the right ones under corpus.columns, or null for what the table does not have"
        )


def _utterance(row: Row, params: CorpusParams, columns: ColumnParams, table: str, files: AudioFiles) -> Utterance:
    """Return the row as an utterance. Raises Unfit."""
    if row.problem:
        raise Unfit(row.problem)
    cell = _cells(row, columns)
    emotion_raw = _demand(cell, "emotion", columns)
    speaker = _demand(cell, "speaker", columns)
    audio, text = cell["audio"], cell["text"]
    if audio is None and text is None and not params.features_only:
        raise Unfit("neither audio nor text")
    if audio is not None:
        audio = _inside(files.find(_inside(audio, table), row.name), "")
    start_s, end_s = times_of(cell) if audio is not None else (None, None)
    channel = _channel(cell["channel"]) if audio is not None else None
    return Utterance(
        id=cell["id"] or _generated_id(audio, start_s, channel, row.name),
        corpus=params.name,
        speaker=speaker,
        emotion_raw=emotion_raw,
        emotion=label_of(emotion_raw, params),
        split=split_named(cell["split"]),
        session=cell["session"],
        dialogue=cell["dialogue"],
        turn=turn_of(cell["turn"]),
        sex=cell["sex"],
        audio=audio,
        start_s=start_s,
        end_s=end_s,
        text=text,
        tags=tuple(sorted({tag.strip() for tag in (cell["tags"] or "").split(";")} - {""})),
        channel=channel,
    )


def _cells(row: Row, columns: ColumnParams) -> dict[str, str | None]:
    """Return each field's cell; None where it is empty or the table has no such column. Raises Unfit for no text."""
    names = columns.model_dump()
    for name in names.values():
        if name in row.faults:
            raise Unfit(row.faults[name])
    return {field: (row.cells[name].strip() or None) if name else None for field, name in names.items()}


def _demand(cell: Mapping[str, str | None], field: str, columns: ColumnParams) -> str:
    value = cell[field]
    if value is None:
        raise Unfit(f"no {field}: column {getattr(columns, field)!r} is empty")
    return value


def _inside(audio: str, table: str) -> str:
    """Return the audio's path relative to the corpus folder, normalised. Raises Unfit when it leads outside."""
    if "\0" in audio:
        raise Unfit("audio path holds a NUL character")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(Path(table).as_posix()), audio))
    if posixpath.isabs(path) or path == ".." or path.startswith("../"):
        raise Unfit(
            f"audio {audio!r} lies outside the corpus folder, where DVC would not version it; "
            "move it in and give its path relative to the table"
        )
    return path


def _channel(cell: str | None) -> int | None:
    try:
        return None if cell is None else channel_number(cell)
    except ValueError as error:
        raise Unfit(str(error)) from None


def _generated_id(audio: str | None, start_s: Seconds | None, channel: int | None, row: str) -> str:
    """Return an id that is stable when rows are added: the audio's path without suffix, start of the cut, channel."""
    if audio is None:
        return row.replace(" ", "-")
    whole = audio if EMBEDDED.search(audio) else posixpath.splitext(audio)[0]
    stem = whole if start_s is None else f"{whole}@{start_s:.3f}"
    return stem if channel is None else f"{stem}#{channel}"
