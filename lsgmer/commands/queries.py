"""What `lsgmer predict` is asked: files, globs, a text, or the rows of a table, which a corpus's own reader reads."""

from __future__ import annotations

import glob
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lsgmer.core.errors import LsgmerError, ParamsError
from lsgmer.core.records import Seconds
from lsgmer.corpora.base import Unfit, times_of, turn_of
from lsgmer.corpora.paths import AudioFiles
from lsgmer.corpora.tabular import Row, read_rows
from lsgmer.encoders.context import Earlier
from lsgmer.features.dialogues import words_before
from lsgmer.manifests.utterance import Utterance

FIELDS = ("id", "audio", "text", "speaker", "dialogue", "turn", "channel", "start_s", "end_s")
USUAL = {"audio": "file_name"}  # read where the table has no column of the name: Hugging Face's audiofolder
TAB = {"tab": "\t", "\\t": "\t"}
NAMED = 5  # rows that a note names


@dataclass(frozen=True, slots=True)
class TableSource:
    """A table and how to read it: delimiter and sheet as in corpus.*; `columns` maps a field to the table's column."""

    path: Path
    delimiter: str | None = None
    sheet: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Query:
    """One input: its name in the output, and an audio file and/or text.

    `dialogue` and `turn` place it among the others, whose earlier turns a model with context reads. `channel` is
    the one to read of an audio file with several (0, 1, ..., left or right), and `start_s` to `end_s` the cut of it.
    """

    name: str
    audio: Path | None
    text: str | None
    speaker: str | None = None
    dialogue: str | None = None
    turn: int | None = None
    channel: str | None = None
    start_s: Seconds | None = None
    end_s: Seconds | None = None
    problem: str | None = None


def gather(paths: Sequence[str], text: str | None, table: TableSource | None) -> list[Query]:
    """Return what to predict. Raises ParamsError when there is nothing, or when --text comes with several files."""
    if table and (paths or text):
        raise ParamsError("give either files or --table, not both")
    if table:
        return read_table(table)
    files: list[Path] = []
    for pattern in paths:
        found = [Path(pattern)] if Path(pattern).exists() else [Path(p) for p in glob.glob(pattern, recursive=True)]  # noqa: PTH207  (patterns may be absolute)
        files += sorted(p for p in found if not p.is_dir()) or [Path(pattern)]  # an absent file gets its own error
    files = list(dict.fromkeys(files))
    if text and len(files) > 1:
        raise ParamsError("--text goes with one file; for several, use --table with columns audio and text")
    if not files and not text:
        raise ParamsError("nothing to predict: give audio files, --text or --table")
    return [Query(str(file), file, text) for file in files] or [Query("text", None, text)]


def before(sources: Sequence[Query], count: int) -> dict[int, tuple[Earlier, ...]]:
    """Return, by position, the up to `count` utterances of the same dialogue with a lower turn, earliest first."""
    rows = [
        Utterance(str(i), "", q.speaker or f"?{i}", "", "", dialogue=q.dialogue, turn=q.turn, text=q.text)
        for i, q in enumerate(sources)
    ]
    found = words_before(rows, count)
    named = {q.speaker for q in sources} - {None}
    return {
        int(key): lines if named else tuple(Earlier(line.text) for line in lines)  # no names: nobody's mark is known
        for key, lines in found.items()
    }


def table_source(
    path: Path | None, delimiter: str | None = None, sheet: str | None = None, columns: Sequence[str] = ()
) -> TableSource | None:
    """Return what --table, --delimiter, --sheet and --column say. Raises ParamsError where they do not fit."""
    if path is None:
        if delimiter or sheet or columns:
            raise ParamsError("--delimiter, --sheet and --column say how to read a table; give --table too")
        return None
    pairs = [column.partition("=") for column in columns]
    for what, _, name in pairs:
        if what not in FIELDS or not name:
            raise ParamsError(f"--column {what}={name}: write FIELD=NAME, FIELD one of {', '.join(FIELDS)}")
    named = {what: name for what, _, name in pairs}
    mark = TAB.get(delimiter or "", delimiter)
    if mark is not None and len(mark) != 1:
        raise ParamsError(f"--delimiter {delimiter}: one character, or tab")
    return TableSource(path, mark, sheet, named)


def read_table(table: TableSource) -> list[Query]:
    """Read audio (paths relative to the table) and/or text, and the other fields that the table has.

    The same reader as a corpus's; a row that cannot be read becomes a query with its problem. Raises LsgmerError for
    a table that cannot be read, or has no column that is needed.
    """
    header, rows = read_rows(table.path, table.delimiter, table.sheet)
    columns = _columns(table, header)
    files = AudioFiles(table.path.parent)
    queries = [_query(table.path, row, columns, files) for row in rows]
    for what, named in files.notes.items():
        print(f"lsgmer predict: note: {len(named)} x {what}: {', '.join(named[:NAMED])}", file=sys.stderr)
    return queries


def _columns(table: TableSource, header: Sequence[str]) -> dict[str, str]:
    """Return the table's name of each field that it has."""
    absent = [f"{name!r} (--column {what})" for what, name in table.columns.items() if name not in header]
    if absent:
        raise LsgmerError(f"{table.path}: no column {', '.join(absent)}; the table's columns are {', '.join(header)}")
    usual = {what: name for what, name in USUAL.items() if what not in header}
    wanted = {**{what: what for what in FIELDS}, **usual, **table.columns}
    found = {what: name for what, name in wanted.items() if name in header}
    if not {"audio", "text"} & found.keys():
        raise LsgmerError(
            f"{table.path}: needs a column audio or text, has {', '.join(header)}; say which it is, as in "
            f"--column text={header[0]}"
        )
    return found


def _query(path: Path, row: Row, columns: Mapping[str, str], files: AudioFiles) -> Query:
    faults = [fault for column, fault in row.faults.items() if column in columns.values()]
    if problem := row.problem or next(iter(faults), None):
        return Query(row.name, None, None, problem=f"{path}: {row.name}: {problem}")
    cells = {what: cell for what, name in columns.items() if (cell := row.cells.get(name, "").strip())}
    name = cells.get("id") or _sound(cells) or row.name
    try:
        audio = path.parent / files.find(cells["audio"], row.name) if "audio" in cells else None
        turn = turn_of(cells.get("turn"))
        start_s, end_s = times_of({"start_s": cells.get("start_s"), "end_s": cells.get("end_s")})
    except Unfit as reason:
        return Query(name, None, None, problem=f"{path}: {row.name}: {reason}")
    return Query(
        name,
        audio,
        cells.get("text"),
        cells.get("speaker"),
        cells.get("dialogue"),
        turn,
        cells.get("channel"),
        start_s,
        end_s,
    )


def _sound(cells: Mapping[str, str]) -> str | None:
    """Return what names the audio: several rows may be channels or cuts of one file."""
    if "audio" not in cells:
        return None
    cut = f"@{cells['start_s']}" if "start_s" in cells else ""
    return cells["audio"] + cut + (f"#{cells['channel']}" if "channel" in cells else "")
