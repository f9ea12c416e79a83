"""A table's rows as text cells: CSV, TSV and Parquet are read alike, and malformed rows are reported, not dropped."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsgmer.core.errors import LsgmerError

DELIMITERS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `name` says where it is, `cells` maps column to text; `problem` is set if it could not be split."""

    name: str
    cells: dict[str, str] = field(default_factory=dict)
    problem: str | None = None


def read_rows(path: Path) -> tuple[tuple[str, ...], list[Row]]:
    """Return the header and the rows of `path`, by its suffix: .csv, .tsv or .parquet.

    Rows are numbered as in a spreadsheet: in CSV the header is row 1; in Parquet the first row is row 1.
    Raises LsgmerError for a missing, empty or unreadable table, or a column name used twice.
    """
    if not path.is_file():
        raise LsgmerError(f"{path}: there is no such table; set corpus.path and corpus.table in params.yaml")
    suffix = path.suffix.lower()
    if suffix in DELIMITERS:
        header, rows = _read_csv(path, DELIMITERS[suffix])
    elif suffix == ".parquet":
        header, rows = _read_parquet(path)
    else:
        raise LsgmerError(f"{path}: a table must be .csv, .tsv or .parquet; save it as one of these")
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise LsgmerError(f"{path}: column names must differ; used twice: {', '.join(map(repr, twice))}")
    return header, rows


def _read_csv(path: Path, delimiter: str) -> tuple[tuple[str, ...], list[Row]]:
    # utf-8-sig: spreadsheets put a byte order mark first, which would become part of the first column's name.
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            records = list(_records(csv.reader(file, delimiter=delimiter), path))
    except UnicodeDecodeError as error:
        raise LsgmerError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from None
    if not records or not records[0]:
        raise LsgmerError(f"{path}: empty; its first line must hold the column names")
    header = tuple(name.strip() for name in records[0])
    return header, [_row(number, header, record) for number, record in enumerate(records[1:], start=2) if record]


def _records(reader: Any, path: Path) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise LsgmerError(f"{path}: line {reader.line_num} is not readable as CSV: {error}") from None


def _row(number: int, header: tuple[str, ...], record: list[str]) -> Row:
    if len(record) != len(header):
        problem = f"{len(record)} cells where the header has {len(header)}; quote cells that hold a delimiter"
        return Row(f"row {number}", problem=problem)
    return Row(f"row {number}", dict(zip(header, record, strict=True)))


def _read_parquet(path: Path) -> tuple[tuple[str, ...], list[Row]]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise LsgmerError(f"{path}: not readable as Parquet: {str(error).splitlines()[0]}") from None
    header = tuple(str(name).strip() for name in table.column_names)
    columns = [column.to_pylist() for column in table.columns]
    return header, [
        Row(f"row {number}", dict(zip(header, map(_text, values), strict=True)))
        for number, values in enumerate(zip(*columns, strict=True), start=1)
    ]


def _text(value: Any) -> str:
    """Return a Parquet cell as a CSV would hold it; missing values are empty, 3.0 is 3."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
