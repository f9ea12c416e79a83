"""What corpus readers share: labels from a corpus's own words, cells with numbers, repaired text, names of files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from lsgmer.core.records import SPLITS, Seconds, Split
from lsgmer.corpora.params import CorpusParams
from lsgmer.manifests.utterance import LEFT_OUT

SHOWN = 40  # how many characters of a bad cell a reason quotes


class Unfit(Exception):
    """Why a row is rejected. The reason names no row, so that equal reasons can be counted."""


def label_of(raw: str, params: CorpusParams) -> str:
    """Return the label of the word `raw`. Raises Unfit for an unknown word and for one that is left out."""
    names = params.label_set.names
    mapped = params.label_map.get(raw, raw if raw in names else "")
    if mapped is None:
        raise Unfit(f"emotion {raw!r} {LEFT_OUT}")
    if not mapped:
        known = ", ".join(sorted({*params.label_map, *names}))
        raise Unfit(f"unknown emotion {raw[:SHOWN]!r}; known are {known} (add it to corpus.label_map)")
    return mapped


def split_named(cell: str | None, hint: str = "") -> Split | None:
    """Return the split that `cell` names, None for an empty one. Raises Unfit, with `hint`, for any other word."""
    if not cell:
        return None
    if cell not in SPLITS:
        raise Unfit(f"split {cell[:SHOWN]!r} is not one of {', '.join(SPLITS)}{hint}")
    return cell


def times_of(cell: Mapping[str, str | None]) -> tuple[Seconds | None, Seconds | None]:
    """Return start and end of a cut from the cells start_s and end_s. Raises Unfit for no seconds, or an empty cut."""
    start_s, end_s = seconds_of(cell["start_s"], "start_s"), seconds_of(cell["end_s"], "end_s")
    if end_s is not None and end_s <= (start_s or 0.0):
        raise Unfit(f"end_s {end_s} is not after start_s {start_s or 0.0}")
    return start_s, end_s


def seconds_of(cell: str | None, field: str) -> Seconds | None:
    """Return the seconds in `cell`, None for an empty one. Raises Unfit for what is no number of 0 or more."""
    if cell is None:
        return None
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise Unfit(f"{field} {cell[:SHOWN]!r} is not a number of seconds, 0 or more")
    return value


def turn_of(cell: str | None) -> int | None:
    """Return the whole number in `cell`, None for an empty one. Raises Unfit."""
    if cell is None:
        return None
    try:
        return int(cell)
    except ValueError:
        raise Unfit(f"turn {cell[:SHOWN]!r} is not a whole number") from None


# U+0081, 8D, 8F, 90 and 9D are not characters in cp1252; they are kept, and validation quarantines the row.
MENDED = {byte: bytes([byte]).decode("cp1252", errors="ignore") or chr(byte) for byte in range(0x80, 0xA0)}


def mend(text: str) -> str:
    """Return `text` with each C1 control (U+0080 to U+009F, never written on purpose) as the cp1252 character it was.

    Call this before stripping or splitting: Python takes U+0085, cp1252's ellipsis, for a space.
    """
    return text.translate(MENDED)


def as_named(path: Path) -> Path | None:
    """Return the file `path`, or the one beside it whose name differs in case only (`.WAV`); None without any."""
    if path.is_file():
        return path
    if not path.parent.is_dir():
        return None
    others = sorted(other for other in path.parent.iterdir() if other.name.lower() == path.name.lower())
    return next((other for other in others if other.is_file()), None)
