"""Turns in RTTM (NIST's Rich Transcription Time Marked, RT-09 plan): a line per turn of the type SPEAKER."""

from __future__ import annotations

from collections.abc import Iterator

from lsgmer.core.errors import LsgmerError
from lsgmer.turns.found import LINE_END, Found, seconds

MISSING = "<NA>"
# Types that are not turns: they are what they say, and are passed over.
OTHER = {
    *("SEGMENT", "NOSCORE", "NO_RT_METADATA", "LEXEME", "NON-LEX", "NON-SPEECH", "FILLER", "EDIT", "IP", "CB"),
    *("A/P", "SPKR-INFO", "SU", "SU_BREAK"),
}
FORM = "SPEAKER file channel start duration <NA> <NA> name <NA> <NA>"


def read(content: str) -> list[Found]:
    """Return what every SPEAKER line says; RTTM counts channels from 1, and one channel for all says nothing.

    Raises LsgmerError if the file holds the turns of several recordings.
    """
    found = list(_lines(content))
    files = sorted({item.fields["file"] for item in found if item.problem is None})
    if len(files) > 1:
        raise LsgmerError(
            f"RTTM: holds the turns of {len(files)} recordings ({', '.join(files[:3])}, ...); give each its own file"
        )
    channels = {item.fields["channel"] for item in found if item.problem is None}
    first = 0 if 0 in channels else 1  # some programs count from 0
    return [_without_file(item, first, several=len(channels) > 1) for item in found]


def _without_file(item: Found, first: int, several: bool) -> Found:
    if item.problem is not None:
        return item
    fields = {name: value for name, value in item.fields.items() if name != "file"}
    return Found(item.place, {**fields, "channel": fields["channel"] - first if several else None})


def _lines(content: str) -> Iterator[Found]:
    for number, line in enumerate(LINE_END.split(content), start=1):
        parts = line.split()
        if not parts or line.lstrip().startswith(";") or parts[0].upper() in OTHER:
            continue
        place = f"line {number}"
        try:
            yield Found(place, _fields(parts))
        except ValueError as problem:
            yield Found(place, problem=str(problem))


def _fields(parts: list[str]) -> dict[str, object]:
    if parts[0].upper() != "SPEAKER":
        raise ValueError(f"{parts[0][:40]!r} is no type of RTTM line; a turn is written {FORM}")
    if not 8 <= len(parts) <= 10:
        raise ValueError(f"{len(parts)} fields where a turn has 10: {FORM}; a name may not hold spaces")
    if not (parts[2].isascii() and parts[2].isdigit() and len(parts[2]) <= 4):
        raise ValueError(f"channel {parts[2][:40]!r} is not a whole number from 1")
    start, lasts = seconds(parts[3], "start"), seconds(parts[4], "duration")
    if not lasts > 0:
        raise ValueError(f"duration {lasts} s is not more than 0; correct or remove the line")
    name = None if parts[7] == MISSING else parts[7]
    # RTTM has milliseconds or finer; the sum of two of them is not to end in 0.000000000001.
    return {
        "file": parts[1],
        "channel": int(parts[2]),
        "start_s": start,
        "end_s": round(start + lasts, 6),
        "speaker": name,
    }
