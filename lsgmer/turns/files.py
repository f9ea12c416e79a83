"""Read turns from a file's content: RTTM, SRT, WebVTT, JSON, CSV or TSV."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath

from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import first_problem
from lsgmer.turns import rttm, subtitles, tables
from lsgmer.turns.found import Found, turn_of, words
from lsgmer.turns.turn import Turn, in_order

READERS: dict[str, Callable[[str], list[Found]]] = {
    "rttm": rttm.read,
    "srt": subtitles.read_srt,
    "vtt": subtitles.read_vtt,
    "json": tables.read_json,
    "csv": lambda content: tables.read_delimited(content, ","),
    "tsv": lambda content: tables.read_delimited(content, "\t"),
}
FORMS = tuple(READERS)
MOST_TURNS = 20_000  # of one recording: a turn every 8 seconds for two days
MOST_CHARACTERS = 32 * 2**20
SHOWN = 5  # how many faults of a file an error lists


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a file, the `number`-th from 1: its turn, or the `problem` that it has instead; `place` is where.

    `emotion` is the word that JSON and tables may have for the turn.
    """

    number: int
    place: str
    turn: Turn | None = None
    problem: str | None = None
    emotion: str | None = None


def read_turns(content: str, form: str) -> list[Turn]:
    """Return the turns in `content`, by start, end and speaker; turns of different speakers may overlap.

    Args:
        content: the file's text; a byte order mark and all line ends are accepted.
        form: one of FORMS, or a file's name, whose suffix says it.

    Raises:
        LsgmerError: for an unknown form, a file without turns, and for each faulty turn: line, reason and remedy.

    """
    entries = read_entries(content, form)
    faults = [f"{entry.place}: {entry.problem}" for entry in entries if entry.problem]
    if faults:
        more = f" (and {len(faults) - SHOWN} more faults)" if len(faults) > SHOWN else ""
        raise LsgmerError(f"turns ({form_of(form)}): {'; '.join(faults[:SHOWN])}{more}")
    return in_order(entry.turn for entry in entries if entry.turn is not None)


def read_entries(content: str, form: str) -> list[Entry]:
    """Return every entry of `content` in the file's order, the faulty ones with their problem.

    Raises LsgmerError for an unknown form, and for what makes the whole file unreadable.
    """
    kind = form_of(form)
    if len(content) > MOST_CHARACTERS:
        raise LsgmerError(f"turns ({kind}): more than {MOST_CHARACTERS:,} characters; give one recording's turns")
    found = READERS[kind](content.removeprefix("\ufeff"))
    if not found:
        raise LsgmerError(f"turns ({kind}): no turn; give the file of this recording, or leave it out")
    if len(found) > MOST_TURNS:
        raise LsgmerError(f"turns ({kind}): {len(found):,} turns, of {MOST_TURNS:,} at most; give one recording's")
    first: dict[tuple[object, ...], str] = {}
    return [_entry(number, item, first) for number, item in enumerate(found, start=1)]


def _entry(number: int, item: Found, first: dict[tuple[object, ...], str]) -> Entry:
    """Return the entry. `first` holds where each turn before it is, so that none counts twice."""
    problem = item.problem
    if problem is None:
        try:
            turn = turn_of(item.fields)
            emotion = words(item.fields.get("emotion"), "emotion")
        except ValueError as error:
            problem = first_problem(error).removeprefix("Value error, ")
        else:
            key = (turn.start_s, turn.end_s, turn.speaker, turn.channel)
            if key not in first:
                first[key] = item.place
                return Entry(number, item.place, turn, None, emotion)
            problem = f"is the same turn as that of {first[key]}; remove one"
    return Entry(number, item.place, problem=problem)


def form_of(name: str) -> str:
    """Return the form that `name` (a form, or a file's name) says. Raises LsgmerError.

    >>> form_of("call-03.RTTM"), form_of("webvtt")
    ('rttm', 'vtt')
    """
    word = (PurePath(name).suffix or name).lower().removeprefix(".")
    form = "vtt" if word == "webvtt" else word
    if form not in READERS:
        raise LsgmerError(f"turns: {name[:80]!r} is none of {', '.join(FORMS)}; save the turns as one of these")
    return form


def decoded(content: bytes, name: str) -> str:
    """Return a turn file's text without a byte order mark. Raises LsgmerError, with `name`, unless it is UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LsgmerError(
            f"{name}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8 (Save as, encoding UTF-8)"
        ) from None
