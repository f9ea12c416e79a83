"""A table's rows as text cells: every format is read alike; malformed rows are reported, never merged or dropped."""

from __future__ import annotations

import datetime
import gzip
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import is_unicode

DELIMITERS = (",", ";", "\t", "|")
TEXTS = {".csv": ",", ".tsv": "\t"}  # the delimiter that wins where the header suits several
READ = ".csv, .tsv, .jsonl, .parquet or .xlsx (a text format also as .gz)"
MOST_BYTES = 4 * 2**30  # of a table that was compressed
MOST_LINES = 100  # that a cell in quotation marks may go on for
MOST_ITEMS, MOST_DEPTH = 32, 8  # of a list, and of lists in lists, that become columns
UNCLOSED = 'a quotation mark (") opens a cell that it does not close; remove or double it'
BOTH = "a cell holds a line end and a delimiter; remove one of them, so that it is surely one row"
UTF16 = (b"\xff\xfe", b"\xfe\xff")
LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `name` says where it is, `cells` maps column to text; `problem` is set if it could not be split.

    `faults` maps a column whose cell is nothing that a person would write as text to the reason.
    """

    name: str
    cells: dict[str, str] = field(default_factory=dict)
    problem: str | None = None
    faults: dict[str, str] = field(default_factory=dict)


Table = tuple[tuple[str, ...], list[Row]]


def read_rows(path: Path, delimiter: str | None = None, sheet: str | None = None) -> Table:
    """Return the header and the rows of `path`, by its suffix.

    Rows are numbered as in a spreadsheet: in CSV, TSV and XLSX the header is row 1; in JSONL and Parquet the first row
    is row 1. Cells keep their surrounding space, which readers strip: a damaged text is mended first.

    Args:
        path: .csv, .tsv, .jsonl (each also .gz), .parquet or .xlsx.
        delimiter: of a .csv or .tsv; None: the one that the header line suits.
        sheet: of an .xlsx; None: the first.

    Raises:
        LsgmerError: for a missing, empty or unreadable table, or a column name used twice.

    """
    if not path.is_file():
        raise LsgmerError(f"{path}: there is no such table; set corpus.path and corpus.table in params.yaml")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = bool(suffixes) and suffixes[-1] == ".gz"
    kind = (suffixes[-2:-1] if packed else suffixes[-1:])[0:1]
    suffix = kind[0] if kind else ""
    if suffix in TEXTS:
        header, rows = _read_delimited(path, _text_of(path, packed), delimiter, TEXTS[suffix])
    elif suffix in (".jsonl", ".ndjson"):
        header, rows = _read_jsonl(_text_of(path, packed))
    elif suffix == ".parquet" and not packed:
        header, rows = _read_parquet(path)
    elif suffix == ".xlsx" and not packed:
        header, rows = _read_xlsx(path, sheet)
    else:
        raise LsgmerError(f"{path}: a table must be {READ}; save it as one of these")
    if not header:
        raise LsgmerError(f"{path}: empty; it must hold column names and rows")
    _demand_different(header, path)
    return header, rows


def _demand_different(names: tuple[str, ...], path: Path) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise LsgmerError(f"{path}: column names must differ; used twice: {', '.join(map(repr, twice))}")


def _text_of(path: Path, packed: bool) -> str:
    """Return a text file's content without a byte order mark. Raises LsgmerError for another encoding than UTF-8."""
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, EOFError) as error:
        raise LsgmerError(f"{path}: not readable{' as gzip' if packed else ''}: {error}") from None
    if len(content) > MOST_BYTES:
        raise LsgmerError(f"{path}: more than {MOST_BYTES // 2**30} GiB of text; save it as Parquet, or in parts")
    if content.startswith(UTF16):
        raise LsgmerError(f"{path}: UTF-16; save it as UTF-8 (in a spreadsheet: CSV UTF-8)")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LsgmerError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from None


def _read_delimited(path: Path, text: str, delimiter: str | None, usual: str) -> Table:
    lines = LINE_END.split(text)
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines or not lines[0].strip():
        raise LsgmerError(f"{path}: empty; its first line must hold the column names")
    mark = delimiter or _sniffed(lines[0], usual)
    quotes = mark != "\t" or _quotes_consistently(lines, mark)
    records = _records(lines, mark, quotes)
    first = next(records)
    if isinstance(first, str):
        raise LsgmerError(f"{path}: row 1, the column names: {first}")
    header = tuple(name.strip() for name in first)
    return header, [_row(f"row {number}", header, found) for number, found in enumerate(records, start=2) if found]


def _sniffed(line: str, usual: str) -> str:
    """Return the delimiter that divides the header `line` into most names; `usual` where several do."""
    counts = {mark: len(_split(line, mark) or ()) for mark in (usual, *DELIMITERS)}
    return max(counts, key=lambda mark: counts[mark])


def _quotes_consistently(lines: Sequence[str], mark: str) -> bool:
    """Return whether every cell that starts with a quotation mark also ends with one, as a program would write it."""
    return all(_split(line, mark) is not None for line in lines if '"' in line)


def _records(lines: Sequence[str], mark: str, quotes: bool) -> Iterator[list[str] | str]:
    """Yield each row's cells, or why it has none; an empty list for an empty line.

    A cell in quotation marks may go on in the next lines, unless one of these is a row by itself: then a mark that was
    never closed would take other rows in, so its row is given up, and the lines after it are rows again.
    """
    at, width = 0, len(_split(lines[0], mark) or ())
    while at < len(lines):
        line = lines[at]
        at += 1
        if not line.strip():
            yield []
        elif not quotes or '"' not in line:
            yield line.split(mark)
        elif (cells := _split(line, mark)) is not None:
            yield cells
        else:
            found, more = _continued(lines, at, mark, width)
            at += more
            yield from found


def _continued(lines: Sequence[str], at: int, mark: str, width: int) -> tuple[list[list[str] | str], int]:
    """Return the row that starts in the line before `at`, or why there is none, and how many more lines it takes.

    A further line that could be a row of its own is rejected as one too, for nobody can say which it is.
    """
    whole, doubtful = lines[at - 1], 0
    for more, line in enumerate(lines[at : at + MOST_LINES], start=1):
        if (full := len(_split(line, mark) or ()) == width) and line.count('"') % 2 == 0:
            break
        whole, doubtful = f"{whole}\n{line}", doubtful + full
        cells = _split(whole, mark)
        if cells is not None:
            if any("\n" in cell and mark in cell for cell in cells):
                return [BOTH] * (1 + doubtful), more
            return [cells], more
    return [UNCLOSED], 0


def _split(line: str, mark: str) -> list[str] | None:
    """Return the cells of a row; None where a quotation mark that opens a cell is not closed at the cell's end."""
    cells, at = [], 0
    while True:
        if line.startswith('"', at):
            end = at + 1
            while True:
                end = line.find('"', end)
                if end < 0:
                    return None
                if line.startswith('"', end + 1):
                    end += 2
                    continue
                break
            if end + 1 < len(line) and not line.startswith(mark, end + 1):
                return None
            cells.append(line[at + 1 : end].replace('""', '"'))
            at = end + 1
        else:
            end = line.find(mark, at)
            cells.append(line[at:] if end < 0 else line[at:end])
            at = len(line) if end < 0 else end
        if at >= len(line):
            return cells
        at += len(mark)


def _row(name: str, header: tuple[str, ...], record: list[str] | str) -> Row:
    if isinstance(record, str):
        return Row(name, problem=record)
    if len(record) != len(header):
        problem = f"{len(record)} cells where the header has {len(header)}; quote cells that hold a delimiter"
        return Row(name, problem=problem)
    return Row(name, dict(zip(header, record, strict=True)))


def _read_jsonl(text: str) -> Table:
    found: list[tuple[str, dict[str, Any] | str]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            found.append((f"row {number}", f"not JSON: {error}"))
            continue
        found.append((f"row {number}", value if isinstance(value, dict) else "not a JSON object"))
    return _from_objects(found)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object. Raises ValueError for a key that is given twice, of which one would be lost."""
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"key {twice[0]!r} is given more than once")
    return dict(pairs)


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _read_parquet(path: Path) -> Table:
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        _demand_different(tuple(file.schema_arrow.names), path)
        table = file.read(columns=[name for name in _leaves(file.schema_arrow) if name is not None])
    except (pyarrow.ArrowException, OSError) as error:
        raise LsgmerError(f"{path}: not readable as Parquet: {str(error).splitlines()[0]}") from None
    recordings = [column.name for column in file.schema_arrow if _is_recording(column)]
    found = []
    for number, row in enumerate(table.to_pylist(), start=1):
        places = {name: f"{path.name}#{name}#{number}" for name in recordings}
        inside = {name: {**(row.get(name) or {}), "place": place} for name, place in places.items()}
        found.append((f"row {number}", {**row, **inside}))
    header, rows = _from_objects(found)
    for name in recordings:  # the column itself means the recording: lsgmer.audio reads it in place
        header = tuple(name if column == f"{name}.place" else column for column in header)
        for made in rows:
            made.cells[name] = made.cells.pop(f"{name}.place")
    return header or tuple(str(name).strip() for name in table.column_names), rows


def _leaves(schema: Any) -> Iterator[str]:
    """Yield the columns to read: of embedded recordings ({bytes, path}) all but the bytes, which can be gigabytes."""
    for column in schema:
        if _is_recording(column):
            yield from (f"{column.name}.{name}" for name in _fields(column) if name != "bytes")
        else:
            yield column.name


def _is_recording(column: Any) -> bool:
    """Return whether a Parquet column is Hugging Face's Audio: a struct of bytes and path."""
    return {"bytes", "path"} <= set(_fields(column))


def _fields(column: Any) -> list[str]:
    import pyarrow

    kind = column.type
    return [kind.field(i).name for i in range(kind.num_fields)] if pyarrow.types.is_struct(kind) else []


def _read_xlsx(path: Path, sheet: str | None) -> Table:
    import zipfile

    import openpyxl

    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise LsgmerError(f"{path}: not readable as a workbook: {error}") from None
    try:
        if sheet is not None and sheet not in book.sheetnames:
            raise LsgmerError(f"{path}: has no sheet {sheet!r} (corpus.sheet); it has {', '.join(book.sheetnames)}")
        lines = [list(line) for line in book[sheet or book.sheetnames[0]].iter_rows(values_only=True)]
    finally:
        book.close()
    if not lines:
        return (), []
    names = [_text(value)[0].strip() for value in lines[0]]
    while names and not names[-1]:
        names.pop()
    filled = [(number, line) for number, line in enumerate(lines[1:], start=2) if any(v is not None for v in line)]
    made = []
    for number, line in filled:
        extra = sum(value is not None for value in line[len(names) :])
        problem = f"{len(names) + extra} cells where the header has {len(names)}" if extra else None
        made.append((f"row {number}", problem or dict(zip(names, line, strict=False))))
    _, rows = _from_objects(made)
    return tuple(names), [_completed(row, names) for row in rows]


def _completed(row: Row, names: Sequence[str]) -> Row:
    return row if row.problem else Row(row.name, {name: row.cells.get(name, "") for name in names}, None, row.faults)


def _from_objects(found: Sequence[tuple[str, Mapping[str, Any] | str]]) -> Table:
    """Return header and rows of objects; what is nested gets dotted names, such as `supervisions.0.text`."""
    flat: list[tuple[str, dict[str, Any] | str]] = []
    header: dict[str, None] = {}
    for name, value in found:
        if isinstance(value, str):
            flat.append((name, value))
            continue
        leaves = dict(_flattened(value))
        header |= dict.fromkeys(leaves)
        flat.append((name, leaves))
    rows = []
    for name, leaves_or_problem in flat:
        if isinstance(leaves_or_problem, str):
            rows.append(Row(name, problem=leaves_or_problem))
            continue
        cells, faults = dict.fromkeys(header, ""), {}
        for column, value in leaves_or_problem.items():
            cells[column], fault = _text(value)
            if fault:
                faults[column] = f"column {column!r} holds {fault}"
        rows.append(Row(name, cells, None, faults))
    return tuple(header), rows


def _flattened(value: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, leaf) of nested mappings and lists; a list also stays whole under its own name."""
    for key, inner in value.items():
        name = f"{prefix}{str(key).strip()}"
        if isinstance(inner, Mapping) and depth < MOST_DEPTH:
            yield from _flattened(inner, f"{name}.", depth + 1)
        elif isinstance(inner, list) and depth < MOST_DEPTH:
            yield name, inner
            items = {str(i): item for i, item in enumerate(inner[:MOST_ITEMS])}
            yield from _flattened(items, f"{name}.", depth + 1)
        else:
            yield name, inner


def _text(value: Any) -> tuple[str, str | None]:
    """Return a cell as a person would write it, and why it cannot be written so (None where it can).

    Missing values are empty, 3.0 is 3, bytes are decoded, true and false are words, dates are ISO 8601.
    """
    if value is None or value != value:
        return "", None
    if isinstance(value, str):
        return (value, None) if value.isascii() or is_unicode(value) else ("", "half a character (a lone surrogate)")
    if isinstance(value, bool):
        return ("true" if value else "false"), None
    if isinstance(value, int):
        return str(value), None
    if isinstance(value, float):
        return ("", "an infinite number") if math.isinf(value) else (_number(value), None)
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8"), None
        except UnicodeDecodeError:
            return "", f"{len(value)} bytes that are not UTF-8 text"
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat(), None
    if isinstance(value, list):
        return "", f"a list of {len(value)} where a text is expected; name one of its items, as in column.0"
    return "", f"a value of type {type(value).__name__}; save it as text"
