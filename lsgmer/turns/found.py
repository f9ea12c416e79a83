"""What a file says of one turn, before it is known to be one; shared by the readers of all formats."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lsgmer.core.records import channel_number, is_unicode
from lsgmer.turns.turn import UNNAMED, Turn

# Each field of a turn and the names that files have for it.
NAMES = {
    "start_s": ("start_s", "start"),
    "end_s": ("end_s", "end"),
    "speaker": ("speaker",),
    "channel": ("channel",),
    "text": ("text",),
    "automatic": ("automatic",),
    "emotion": ("emotion",),
}
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
LINE_END = re.compile(r"\r\n|\r|\n")
CLOSE = 0.85  # how alike a column is to a known name for it to be a slip of the pen


@dataclass(frozen=True, slots=True)
class Found:
    """One entry of a file: `place` is where it is, `fields` what it says by Turn's names, or `problem` why nothing."""

    place: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None


def turn_of(fields: Mapping[str, Any]) -> Turn:
    """Return the turn that `fields` describe: numbers or their text; an empty text says nothing. Raises ValueError."""
    channel = None if _empty(fields.get("channel")) else channel_number(fields["channel"])
    speaker = fields.get("speaker")
    if isinstance(speaker, bool) or not isinstance(speaker, str | int | None):
        raise ValueError(f"speaker is a {type(speaker).__name__}, not a name")
    name = words(None if speaker is None else str(speaker), "speaker")
    return Turn(
        start_s=seconds(fields.get("start_s"), "start"),
        end_s=seconds(fields.get("end_s"), "end"),
        speaker=name or (UNNAMED if channel is None else f"channel {channel}"),
        channel=channel,
        text=words(fields.get("text"), "text"),
        automatic=_truth(fields.get("automatic")),
    )


def seconds(value: Any, name: str) -> float:
    """Return a number of seconds. Raises ValueError for what is none; Turn checks that it is finite and positive."""
    if _empty(value):
        raise ValueError(f"no {name}; give it in seconds, such as 12.4")
    if isinstance(value, str) and NUMBER.fullmatch(value.strip()):
        return float(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise ValueError(f"{name} {str(value)[:40]!r} is not a number of seconds; write it as 12.4, with a point")


def words(value: Any, name: str) -> str | None:
    """Return a text on one line, without space around it; None for an empty one. Raises ValueError."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{name} is a {type(value).__name__}; give a text in quotation marks")
    if not is_unicode(value):
        raise ValueError(f"{name} holds half a character (a lone surrogate); save it as UTF-8 again")
    return " ".join(value.split()) or None


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _truth(value: Any) -> bool:
    word = "false" if _empty(value) else str(value).strip().lower()
    if word not in ("true", "false"):
        raise ValueError(f"automatic {str(value)[:40]!r} is not true or false")
    return word == "true"


def fields_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `given` says by Turn's names. Raises ValueError for a field given twice, or nearly a known name."""
    known = {name: field_name for field_name, names in NAMES.items() for name in names}
    fields: dict[str, Any] = {}
    for key, value in given.items():
        name = known.get(key.strip().lower())
        if name is None:
            demand_no_slip(key, known)
        elif name in fields:
            raise ValueError(f"{' and '.join(NAMES[name])} both say when it is; leave one out")
        else:
            fields[name] = value
    return fields


def demand_no_slip(key: str, known: Iterable[str]) -> None:
    """Raise ValueError if `key` is not a known name but looks like a mistyped one, whose content would be lost."""
    near = difflib.get_close_matches(key.strip().lower()[:60], list(known), n=1, cutoff=CLOSE)
    if near:
        raise ValueError(f"{key[:40]!r} is not a field of a turn; rename it to {near[0]!r}, or to something else")
