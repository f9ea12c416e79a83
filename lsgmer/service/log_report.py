"""Reading a prediction log: whether its chain is whole, and if not, where it breaks first; the lines of a request."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lsgmer.core.records import Record
from lsgmer.service.locking import locked
from lsgmer.service.log_format import HEAD, HEAD_BYTES, MOST_BYTES, Head, Line, LogError, log_name, log_numbers, unseal

BLOCK_BYTES = 2**22  # searched at once
Reason = Literal["changed", "removed", "swapped", "torn", "missing"]


class Break(Record):
    """The first line that does not fit, by file and number in that file, and why."""

    file: str
    line: int
    reason: Reason
    detail: str


class Found(Record):
    """A line of the log, where it is, and what it says."""

    file: str
    line: int
    content: dict[str, Any]


class LogReport(Record):
    """What `verify` found. Counts, times and models are of the lines before the break, or of all when there is none.

    `set_aside` are the files with what a killed writer left of a line: nothing that was acknowledged.
    """

    folder: str
    files: int
    lines: int
    kinds: dict[str, int]
    models: dict[str, int]
    first: str | None
    last: str | None
    seq: int
    hash: str
    set_aside: tuple[str, ...]
    broken: Break | None

    def to_text(self) -> str:
        """Return the report for people, the first broken line at its end."""
        shown = [("lines", f"{self.lines} verified, in {self.files} file(s)"), ("kinds", _counts(self.kinds))]
        shown += [("times", f"{self.first} to {self.last}"), ("models", _counts(self.models))]
        note = "noted elsewhere, it proves every line up to it"
        shown.append(("head" if self.broken is None else "last good", f"line {self.seq}, {self.hash}: {note}"))
        if self.set_aside:
            shown.append(("set aside", f"{', '.join(self.set_aside)}: parts of lines that were never acknowledged"))
        lines = [f"prediction log {self.folder}", *(f"  {name:<9}  {text}" for name, text in shown)]
        if self.broken is None:
            return "\n".join([*lines, "the chain is whole"])
        place = f"{self.broken.file}, line {self.broken.line}"
        return "\n".join([*lines, f"broken at {place}: {self.broken.reason}: {self.broken.detail}"])


class _Raw(NamedTuple):
    """A line as it is on disk; None for a file that is missing. `end` is where it ends in its file."""

    file: int
    number: int
    bytes: bytes | None
    end: int

    def breaks(self, reason: Reason, detail: str) -> Break:
        return Break(file=log_name(self.file), line=self.number, reason=reason, detail=detail)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The log at one moment, so that it can be read while it is written: the head, and the files with their sizes."""

    folder: Path
    head: Head | None
    why: str
    sizes: dict[int, int]

    @classmethod
    def take(cls, folder: Path) -> _Snapshot:
        if not folder.is_dir():
            raise LogError(f"{folder}: no prediction log here; the service begins one when it starts")
        try:
            handle = os.open(folder / HEAD, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            sizes = _sizes(folder)
            if not sizes:
                raise LogError(f"{folder}: no prediction log here: it holds no {HEAD} and no log files") from None
            return cls(folder, None, "it is not there", sizes)
        try:
            with locked(handle, shared=True):
                data = os.pread(handle, HEAD_BYTES + 1, 0)
                return cls(folder, Head.parse(data), "it was changed", _sizes(folder))
        finally:
            os.close(handle)

    def lines(self) -> Iterator[_Raw]:
        """Yield every line, file after file, and a mark where a file is missing."""
        for number in range(1, max(self.sizes, default=0) + 1):
            if number not in self.sizes:
                yield _Raw(number, 1, None, 0)
                continue
            end, line = 0, 0
            with (self.folder / log_name(number)).open("rb") as file:
                while raw := file.readline(min(MOST_BYTES + 1, self.sizes[number] - end)):
                    end, line = end + len(raw), line + 1
                    yield _Raw(number, line, raw, end)


@dataclass(slots=True)
class _Tally:
    """What the lines so far say."""

    lines: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    times: list[str] = field(default_factory=list)

    def add(self, line: Line) -> None:
        self.lines += 1
        self.kinds[line.kind] += 1
        if "model_version" in line.content:
            self.models[str(line.content["model_version"])] += 1
        self.times = [*self.times[:1], str(line.content.get("time"))]


def verify(folder: Path) -> LogReport:
    """Follow the chain of the log in `folder` from its first line to its head, one line in memory at a time.

    The log may be written meanwhile: what is there at the start is verified.

    Raises:
        LogError: there is no log in `folder`. Whatever is wrong with one is the report's `broken`.

    """
    log, tally = _Snapshot.take(folder), _Tally()
    broken, end = _follow(log, tally)
    return LogReport(
        folder=str(folder),
        files=len(log.sizes),
        lines=tally.lines,
        kinds=dict(tally.kinds),
        models=dict(tally.models),
        first=tally.times[0] if tally.times else None,
        last=tally.times[-1] if tally.times else None,
        seq=end.seq,
        hash=end.hash,
        set_aside=tuple(sorted(path.name for path in folder.glob("torn-*.bin"))),
        broken=broken,
    )


def find(folder: Path, request_id: str) -> tuple[Found, ...]:
    """Return every line about the request, oldest first; callers may choose ids, so several requests can share one.

    The lines are as they are on disk, changed ones included: `verify` says whether to trust them. Raises LogError when
    there is no log.
    """
    wanted = json.dumps(request_id, ensure_ascii=False)[1:-1].encode(errors="backslashreplace")
    found = []
    for number, size in sorted(_Snapshot.take(folder).sizes.items()):
        for place, raw in _mentions(folder / log_name(number), size, wanted):
            try:
                content = json.loads(raw)
            except (ValueError, RecursionError):
                continue
            if isinstance(content, dict) and content.get("request_id") == request_id:
                found.append(Found(file=log_name(number), line=place, content=content))
    return tuple(found)


def _mentions(path: Path, size: int, wanted: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and bytes of the lines that hold `wanted`; blocks without it are only counted, which is fast."""
    number, rest = 1, b""
    with path.open("rb") as file:
        while block := file.read(min(BLOCK_BYTES, size - file.tell())):
            lines, end, rest = (rest + block).rpartition(b"\n")
            if wanted in lines:
                yield from ((i, line) for i, line in enumerate(lines.split(b"\n"), start=number) if wanted in line)
            number += lines.count(b"\n") + len(end)
    if wanted in rest:
        yield number, rest


def _follow(log: _Snapshot, tally: _Tally) -> tuple[Break | None, Head]:
    """Return the first break, and the head that the lines before it make."""
    here, recorded = Head(), log.head
    known = recorded == here
    lines = log.lines()
    for raw in lines:
        if raw.bytes is None:
            return raw.breaks("missing", "the file is not there; put it back"), here
        line = unseal(raw.bytes)
        if line is None:
            return _unreadable(raw, raw.bytes, here, recorded), here
        if line.seq != here.seq + 1:
            return _out_of_order(raw, line, here, next(lines, None)), here
        if line.previous != here.hash:
            detail = "it was written after another line than the one before it; one of the two was written anew"
            return raw.breaks("changed", detail), here
        here = Head(raw.file, raw.end, line.seq, line.hash)
        if recorded is not None and recorded.seq == here.seq:
            known = recorded in (here, Head(here.file + 1, 0, here.seq, here.hash))
            if not known:
                return raw.breaks("changed", f"{HEAD} recorded another line {here.seq}: {recorded.hash}"), here
        tally.add(line)
    return _end(log, here, known), here


def _unreadable(raw: _Raw, data: bytes, here: Head, recorded: Head | None) -> Break:
    """Say what is wrong with a line whose own hash does not match."""
    if data.endswith(b"\n") or len(data) > MOST_BYTES:
        return raw.breaks("changed", "its bytes do not have the hash that it ends with")
    if recorded is None or here.seq >= recorded.seq:
        detail = "incomplete and never acknowledged: a writer was killed; the next opening moves it aside"
        return raw.breaks("torn", detail)
    return raw.breaks("torn", "its end was cut off after it had been acknowledged")


def _out_of_order(raw: _Raw, line: Line, here: Head, following: _Raw | None) -> Break:
    """Say whether lines are missing before `line`, or whether it was moved here."""
    after = unseal(following.bytes) if following is not None and following.bytes is not None else None
    if line.seq > here.seq + 1 and (after is None or after.seq == line.seq + 1):
        missing = (
            f"lines {here.seq + 1} to {line.seq - 1} are" if line.seq > here.seq + 2 else f"line {here.seq + 1} is"
        )
        return raw.breaks("removed", f"{missing} missing before line {line.seq}")
    return raw.breaks("swapped", f"line {line.seq} of the log is where line {here.seq + 1} belongs")


def _end(log: _Snapshot, here: Head, known: bool) -> Break | None:
    """Compare the end of the lines with the recorded head."""
    if log.head is None:
        why: Reason = "missing" if log.why == "it is not there" else "changed"
        detail = f"{log.why}, so that nobody can say whether lines were removed at the end"
        return Break(file=HEAD, line=1, reason=why, detail=detail)
    if known:
        return None
    last = max(log.sizes, default=0)
    if log.head.file > last and log.head.size:
        return Break(file=log_name(last + 1), line=1, reason="missing", detail="the file is not there; put it back")
    if here.seq < log.head.seq:
        number = sum(1 for raw in log.lines() if raw.file == last) + 1
        detail = f"lines {here.seq + 1} to {log.head.seq} are missing at the end"
        return Break(file=log_name(last), line=number, reason="removed", detail=detail)
    return Break(file=HEAD, line=1, reason="changed", detail="it names a line that the log does not have")


def _sizes(folder: Path) -> dict[int, int]:
    return {number: (folder / log_name(number)).stat().st_size for number in log_numbers(folder)}


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
