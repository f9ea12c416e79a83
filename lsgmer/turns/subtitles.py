"""Turns in subtitles: SRT, and WebVTT with its voice tags. The name of a speaker may also precede the words.

Sources: the W3C's WebVTT (blocks, cue times, the voice span) and SubRip's form as players read it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lsgmer.core.errors import LsgmerError
from lsgmer.turns.found import LINE_END, Found

ARROW = "-->"
TIME = re.compile(r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})", re.ASCII)
NO_CUE = re.compile(r"(NOTE|STYLE|REGION)(\s|$)")  # WebVTT's blocks that hold no words
VOICE = re.compile(r"<v(?:\.[^\s<>]*)?[ \t]([^<>]+)>", re.IGNORECASE)
TAG = re.compile(r"</?[A-Za-z0-9][^<>]*>|</?>|\{\\[^{}]*\}")
# A name before a colon: up to three words without the marks that end or divide sentences.
PREFIX = re.compile(r"\s*[-–—]?\s*([^\W_][^\s:,;!?\"<>]*(?: [^\s:,;!?\"<>]+){0,2}):(?:\s+|$)(.*)", re.DOTALL)
LONGEST = 40  # characters of a name before a colon


@dataclass(frozen=True, slots=True)
class Cue:
    """One cue: where it is, its times in seconds, and its lines of text; or why it is none."""

    place: str
    start_s: float = 0.0
    end_s: float = 0.0
    lines: tuple[str, ...] = ()
    problem: str | None = None


def read_srt(content: str) -> list[Found]:
    """Return what every cue says."""
    return _named(list(_cues(LINE_END.split(content), 0)), voices=False)


def read_vtt(content: str) -> list[Found]:
    """Return what every cue says. Raises LsgmerError if the file does not begin as WebVTT does."""
    lines = LINE_END.split(content)
    if not re.match(r"WEBVTT(\s|$)", lines[0]):
        raise LsgmerError("WebVTT: line 1: does not say WEBVTT; add that line and an empty one, or give it as SRT")
    header = next((at for at, line in enumerate(lines) if not line.strip()), len(lines))
    if any(ARROW in line for line in lines[:header]):
        raise LsgmerError("WebVTT: an empty line must follow the header, before the first cue; add it")
    return _named(list(_cues(lines[header:], header)), voices=True)


def _cues(lines: Sequence[str], skipped: int) -> Iterator[Cue]:
    """Yield the cues among `lines`, before which the file has `skipped` others."""
    block: list[str] = []
    for number, line in enumerate([*lines, ""], start=skipped + 1):
        if line.strip():
            block.append(line)
        elif block:
            if not NO_CUE.match(block[0]) or any(ARROW in inner for inner in block[:2]):
                yield _cue(block, number - len(block))
            block = []


def _cue(block: list[str], first: int) -> Cue:
    arrows = [at for at, line in enumerate(block) if ARROW in line]
    if not arrows:
        return Cue(f"line {first}", problem="words without times; an empty line ends a cue: remove the one above")
    place = f"line {first + arrows[0]}"
    if arrows[0] > 1:
        return Cue(place, problem="more than one line before the times of a cue; add an empty line above its number")
    if len(arrows) > 1:
        return Cue(f"line {first + arrows[1]}", problem="a second time in one cue; add an empty line before the cue")
    before, _, after = block[arrows[0]].partition(ARROW)
    try:
        start_s, end_s = _time(before), _time((after.split() or [""])[0])
    except ValueError as problem:
        return Cue(place, problem=str(problem))
    return Cue(place, start_s, end_s, tuple(block[arrows[0] + 1 :]))


def _time(text: str) -> float:
    """Return seconds. Raises ValueError."""
    match = TIME.fullmatch(text.strip())
    if match is None or int(match[2]) > 59 or int(match[3]) > 59:
        raise ValueError(f"time {text.strip()[:40]!r} is not hours:minutes:seconds; write it as 00:01:02.500")
    thousandths = int(match[4].ljust(3, "0"))
    return (int(match[1] or 0) * 3_600_000 + int(match[2]) * 60_000 + int(match[3]) * 1000 + thousandths) / 1000


def _named(cues: Sequence[Cue], voices: bool) -> list[Found]:
    """Return the cues with their speakers: by voice tags where there are any, else by names before a colon.

    A colon makes a name only if at least half of the cues have one so. The cue after a named one goes on with the same
    speaker: a long turn is cut into several cues, of which the first has the name.
    """
    good = [cue for cue in cues if cue.problem is None]
    tagged = voices and any(VOICE.search(line) for cue in good for line in cue.lines)
    prefixed = not tagged and 2 * sum(_prefix(" ".join(cue.lines)) is not None for cue in good) >= max(1, len(good))
    found: list[Found] = []
    current: str | None = None
    for cue in cues:
        if cue.problem is not None:
            found.append(Found(cue.place, problem=cue.problem))
            continue
        parts: list[tuple[str | None, str]] = [(None, "\n".join(cue.lines))]
        if tagged:
            parts = _voices("\n".join(cue.lines))
        elif prefixed:
            parts = _prefixed(cue.lines, current)
            current = parts[-1][0]
        times = {"start_s": cue.start_s, "end_s": cue.end_s}
        found += [Found(cue.place, {**times, "speaker": who, "text": plain(said)}) for who, said in parts]
    return found


def _voices(text: str) -> list[tuple[str | None, str]]:
    """Return who says what in one cue; several voices in one cue share its times."""
    pieces = VOICE.split(text)  # before, name, words, name, words, ...
    voiced = [(plain(name), said) for name, said in zip(pieces[1::2], pieces[2::2], strict=True)]
    return _merged([*([(None, pieces[0])] if plain(pieces[0]) or not voiced else []), *voiced])


def _prefixed(lines: Sequence[str], current: str | None) -> list[tuple[str | None, str]]:
    parts: list[tuple[str | None, str]] = []
    for line in lines or ("",):
        named = _prefix(line)
        parts.append(named or (parts[-1][0] if parts else current, line))
    return _merged(parts)


def _merged(parts: Sequence[tuple[str | None, str]]) -> list[tuple[str | None, str]]:
    """Return the parts with each speaker once, in order of appearance."""
    said: dict[str | None, list[str]] = {}
    for who, text in parts:
        said.setdefault(who, []).append(text)
    return [(who, "\n".join(texts)) for who, texts in said.items()]


def _prefix(line: str) -> tuple[str, str] | None:
    """Return the name before a colon and the words after it; None where there is no such name."""
    match = PREFIX.fullmatch(plain(line))
    return (match[1], match[2]) if match and len(match[1]) <= LONGEST else None


def plain(text: str) -> str:
    r"""Return the words alone, on one line.

    >>> plain("<i>Yes</i> &amp;\nno")
    'Yes & no'
    """
    return " ".join(html.unescape(TAG.sub("", text)).split())
