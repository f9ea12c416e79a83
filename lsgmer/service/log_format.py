"""The prediction log on disk: its files, its lines, and the head, which says where the log ends.

A line is canonical JSON whose last field is `hash`: the sha256 of the line's other bytes. `previous` is the hash of the
line before, also from one file to the next, and `seq` counts lines. So nothing can be changed, removed or moved without
a line that no longer fits. The head is a file of fixed size beside the log. It holds the number and hash of the last
line that was acknowledged, which makes lines removed at the end show as well, and it is the lock of all writers.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import canonical_json

FORMAT = "lsgmer-prediction-log/1"
GENESIS = "0" * 64  # `previous` of the first line
HEAD = "head.json"
HEAD_BYTES = 192
MOST_BYTES = 2**20  # of one line
SEAL = 76  # bytes of ,"hash":"...64 digits..."} and the end of the line
LOG_NAME = re.compile(r"log-(\d{6,12})\.jsonl")
HEAD_FORM = re.compile(rb'\{"file":(\d{1,12}),"hash":"([0-9a-f]{64})","seq":(\d{1,18}),"size":(\d{1,18})\} *\n')


class LogError(LsgmerError):
    """The prediction log cannot be read or written."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line whose own hash is right, and what it says."""

    seq: int
    previous: str
    hash: str
    content: dict[str, Any]

    @property
    def kind(self) -> str:
        """prediction, feedback, event, or start: the first line of a file."""
        return str(self.content.get("kind"))


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the log: the file that is written, its size in bytes, and the last line's number and hash."""

    file: int = 1
    size: int = 0
    seq: int = 0
    hash: str = GENESIS

    def to_bytes(self) -> bytes:
        """Return the head as it is on disk, always of the same size."""
        record = {"file": self.file, "hash": self.hash, "seq": self.seq, "size": self.size}
        return canonical_json(record).encode().ljust(HEAD_BYTES - 1) + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> Head | None:
        """Return the head in `data`, or None when these are not exactly the bytes of one."""
        found = HEAD_FORM.fullmatch(data)
        if found is None:
            return None
        file, digest, seq, size = found.groups()
        head = cls(int(file), int(size), int(seq), digest.decode())
        return head if head.to_bytes() == data else None

    def after(self, line: Line, size: int) -> Head:
        """Return the head after `line`, `size` bytes long, was added."""
        return Head(self.file, self.size + size, line.seq, line.hash)

    def takes(self, line: Line) -> bool:
        """Return whether `line` is the one after this head."""
        return line.seq == self.seq + 1 and line.previous == self.hash


def seal(content: dict[str, Any]) -> tuple[bytes, str]:
    """Return the line that holds `content`, and its hash."""
    body = canonical_json(content).encode()
    digest = hashlib.sha256(body).hexdigest()
    return b'%s,"hash":"%s"}\n' % (body[:-1], digest.encode()), digest


def unseal(raw: bytes) -> Line | None:
    """Return the line in `raw`, or None when its own hash does not match its bytes."""
    body, tail = raw[:-SEAL] + b"}", raw[-SEAL:]
    digest = hashlib.sha256(body).hexdigest()
    if len(raw) <= SEAL or tail != b',"hash":"%s"}\n' % digest.encode():
        return None
    try:
        content = json.loads(body)
        return Line(int(content["seq"]), str(content["previous"]), digest, content)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def log_name(number: int) -> str:
    """Return the name of the log's file `number`.

    >>> log_name(7)
    'log-000007.jsonl'
    """
    return f"log-{number:06d}.jsonl"


def log_numbers(folder: Path) -> tuple[int, ...]:
    """Return the numbers of the log's files in `folder`, ascending."""
    found = (LOG_NAME.fullmatch(path.name) for path in folder.iterdir())
    return tuple(sorted(int(match[1]) for match in found if match))
