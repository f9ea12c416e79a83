"""Turns in JSON and in tables (CSV, TSV), by the names of their fields."""

from __future__ import annotations

import csv
import json
from collections import Counter
from typing import Any

from lsgmer.core.errors import LsgmerError
from lsgmer.turns.found import LINE_END, NAMES, Found, fields_of

LISTS = ("turns", "segments")  # the key that holds the list; transcribers say segments
DELIMITERS = (",", ";", "\t", "|")


def read_json(content: str) -> list[Found]:
    """Return what every object says. Raises LsgmerError for what is not JSON, or not a list of turns."""
    try:
        value = json.loads(content, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise LsgmerError(f"JSON: not readable: {error or 'nested too deeply'}; give a list of turns") from None
    if isinstance(value, dict):
        keys = [key for key in LISTS if key in value]
        if len(keys) != 1:
            raise LsgmerError('JSON: an object must hold the list of turns once, as {"turns": [...]}')
        value = value[keys[0]]
    if not isinstance(value, list):
        raise LsgmerError('JSON: not a list of turns; give [{"start_s": 0.5, "end_s": 2.1, "speaker": "agent"}, ...]')
    return [_described(f"turn {number}", item) for number, item in enumerate(value, start=1)]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"key {twice[0][:40]!r} is given more than once in one object")
    return dict(pairs)


def _described(place: str, item: Any) -> Found:
    if not isinstance(item, dict):
        return Found(place, problem=f"is a {type(item).__name__}, not an object with start_s, end_s and speaker")
    try:
        return Found(place, fields_of(item))
    except ValueError as problem:
        return Found(place, problem=str(problem))


def read_delimited(content: str, usual: str) -> list[Found]:
    """Return what every row says. `usual` is the delimiter where the header suits several.

    Raises LsgmerError for a missing column of times, or a quotation mark that is never closed.
    """
    lines = LINE_END.split(content)
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        return []
    mark = max((usual, *DELIMITERS), key=lambda delimiter: first.count(delimiter))
    header: list[str] | None = None
    found: list[Found] = []
    reader = csv.reader((line + "\n" for line in lines), delimiter=mark, strict=True)
    before = 0
    try:
        for cells in reader:
            place, before = f"line {before + 1}", reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = _header(cells)
                continue
            found.append(_row(place, header, cells, mark))
    except csv.Error as error:
        raise LsgmerError(
            f'table: line {before + 1}: {error}; close or double the quotation marks (") from there on'
        ) from None
    return found


def _header(cells: list[str]) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise LsgmerError(f"table: line 1: column {twice[0][:40]!r} is there twice; rename one")
    try:
        fields = fields_of(dict.fromkeys(names))
    except ValueError as problem:
        raise LsgmerError(f"table: line 1: {problem}") from None
    missing = [" or ".join(NAMES[name]) for name in ("start_s", "end_s") if name not in fields]
    if missing:
        raise LsgmerError(
            f"table: line 1: no column {', '.join(missing)}; the columns are {', '.join(names)[:200]}: "
            "the first line must name them, and times are in seconds"
        )
    return names


def _row(place: str, header: list[str], cells: list[str], mark: str) -> Found:
    if any("\n" in cell and mark in cell for cell in cells):  # perhaps two marks of two rows: see decision 0019
        return Found(place, problem="a cell holds a line end and a delimiter; remove one, so that it is surely one row")
    if len(cells) != len(header):
        problem = f"{len(cells)} cells where the header has {len(header)}; quote cells that hold a delimiter"
        return Found(place, problem=problem)
    return Found(place, fields_of(dict(zip(header, cells, strict=True))))
