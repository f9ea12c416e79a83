"""The append-only, hash-chained log of what the service answered: one line of JSON per answer, in numbered files.

What it shows: that no line was changed, removed or moved by accident or by hand. What it cannot show: that nobody with
write access to the folder made the whole chain anew, up to the head. `lsgmer audit log` prints the head's number and
hash; noted anywhere else, they prove every line up to there.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lsgmer.core.records import canonical_json
from lsgmer.service.entries import Entry, EventEntry, Inputs
from lsgmer.service.locking import locked
from lsgmer.service.log_format import (
    FORMAT,
    HEAD,
    HEAD_BYTES,
    MOST_BYTES,
    Head,
    LogError,
    log_name,
    log_numbers,
    seal,
    unseal,
)
from lsgmer.service.text_key import TextKey

FILE_BYTES = 64 * 2**20  # of one file of the log
CHAIN_BYTES = 256  # more than seq, time, previous and hash add to an entry
DAMAGED = "see `lsgmer audit log`, then move the folder away to begin a new log"


class PredictionLog:
    """The log in a folder, for any number of threads and processes that append to it at once.

    A line that `append` returned from survives the death of every process (kill -9): it is in the system's memory. It
    survives a power failure only with `sync`, which waits for the disk at each line. The folder and its files can be
    read by their owner only.
    """

    def __init__(self, folder: Path, max_bytes: int = FILE_BYTES, sync: bool = False) -> None:
        """Open the log, or begin one.

        Args:
            folder: the log's own folder; made if needed. The key that words are hashed with is FOLDER.key.
            max_bytes: a file that would grow beyond this is followed by the next one.
            sync: wait for the disk at each line.

        Raises:
            LogError: the folder cannot be written to, or the log in it is too damaged to be continued.

        """
        self.folder, self.max_bytes, self.sync = folder, max_bytes, sync
        self.found: tuple[str, ...] = ()
        self._guard = threading.Lock()  # a file lock is the process's, not the thread's
        self._process = self._head = self._file = -1
        self._number = 0
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._guard:
                self._lock_head()
                with locked(self._head):
                    self._key = TextKey.of(folder)
                    self._current()
        except BaseException as error:
            self._close()
            if isinstance(error, OSError):
                raise self._failed(error) from error
            raise

    def append(self, entry: Entry) -> str:
        """Add `entry` as one line and return the line's hash. When this returns, the answer may be sent.

        Raises:
            LogError: it could not be written, for instance because the disk is full; the log is as it was before.

        """
        content = entry.model_dump(mode="json")
        room = len(canonical_json(content).encode()) + CHAIN_BYTES
        try:
            with self._guard:
                self._lock_head()
                with locked(self._head):
                    head = self._current()
                    if head.size + room > self.max_bytes and not self._is_fresh(head):
                        head = self._next_file(head)
                    return self._write(head, content).hash
        except OSError as error:
            raise self._failed(error) from error

    def inputs(
        self,
        audio: bytes | None,
        text: str | None,
        earlier: Sequence[tuple[str, bool | None]] = (),
        channel: int | None = None,
        speaker: bool = False,
    ) -> Inputs:
        """Return what the log holds of a request: hashes.

        Args:
            audio: the file as it was sent. 25 MiB take some 20 ms to hash: do it outside the event loop.
            text: the words as the model reads them.
            earlier: the earlier utterances of the dialogue, each with whether the same speaker said it.
            channel: which channel of the audio was read.
            speaker: whether a speaker was named.

        """
        return Inputs(
            audio_sha256=None if audio is None else hashlib.sha256(audio).hexdigest(),
            text_hmac=None if text is None else self._key.hash(text),
            earlier=len(earlier),
            earlier_hmac=self._key.hash(canonical_json([list(pair) for pair in earlier])) if earlier else None,
            channel=channel,
            speaker=speaker,
        )

    def close(self) -> None:
        """Close the files; the next `append` opens them again."""
        with self._guard:
            self._close()

    def _close(self) -> None:
        for handle in (self._head, self._file):
            if handle >= 0:
                os.close(handle)
        self._head = self._file = -1

    def _lock_head(self) -> None:
        """Have the head open, in this process: a lock that a fork inherits does not keep its parent out."""
        if self._process != os.getpid() or (self._head >= 0 and not os.fstat(self._head).st_nlink):
            self._close()
            self._process = os.getpid()
        if self._head < 0:
            self._head = self._open(self.folder / HEAD, 0)

    def _current(self) -> Head:
        """Return the head, after putting right what a killed writer left behind. Needs the lock."""
        notes: list[tuple[str, str]] = []
        head = Head.parse(os.pread(self._head, HEAD_BYTES + 1, 0))
        if head is None:
            head = self._rebuild(notes)
        size = self._open_file(head.file)
        if size != head.size:
            head = self._repair(head, size, notes)
        if not head.size:
            head = self._begin_file(head)
        for event, detail in notes:
            head = self._write(head, EventEntry(event=event, detail=detail).model_dump(mode="json"))
        if notes:
            self.found += tuple(f"{event}: {detail}" for event, detail in notes)
        return head

    def _write(self, head: Head, content: dict[str, Any]) -> Head:
        """Append one line after `head`, then move the head."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line, digest = seal({**content, "seq": head.seq + 1, "time": now, "previous": head.hash})
        if len(line) > MOST_BYTES:
            raise LogError(f"{self.folder}: a line of {len(line)} bytes, at most {MOST_BYTES} are allowed")
        try:
            written = os.write(self._file, line)
            if written != len(line):
                raise OSError(None, f"only {written} of {len(line)} bytes could be written: is the disk full?")
            if self.sync:
                os.fsync(self._file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, head.size)
            raise
        return self._move_head(Head(head.file, head.size + len(line), head.seq + 1, digest))

    def _move_head(self, head: Head) -> Head:
        os.pwrite(self._head, head.to_bytes(), 0)
        return head

    def _next_file(self, head: Head) -> Head:
        """Begin the next file. The head moves first: a writer that dies here leaves no file that nobody expects."""
        self._move_head(Head(head.file + 1, 0, head.seq, head.hash))
        return self._current()

    def _begin_file(self, head: Head) -> Head:
        """Write the first line of a file: `previous` in it is the last hash of the file before."""
        return self._write(head, {"kind": "start", "format": FORMAT, "file": head.file})

    def _is_fresh(self, head: Head) -> bool:
        """Return whether the file holds nothing but its first line, so that the next would be no better."""
        first = os.pread(self._file, 4096, 0)
        return first.find(b"\n") + 1 == head.size

    def _repair(self, head: Head, size: int, notes: list[tuple[str, str]]) -> Head:
        """Return the head that fits a file of another size: lines it does not count yet, a torn tail, or lost lines."""
        if size < head.size:
            kept = self._last_line_end(size)
            lost = (
                f"{log_name(head.file)}: {head.size} bytes were written, {size} are left; lines to {head.seq} are lost"
            )
            notes.append(("lost", lost))
            head = Head(head.file, kept, head.seq, head.hash)
        rest = os.pread(self._file, size - head.size, head.size)
        while (end := rest.find(b"\n") + 1) and (line := unseal(rest[:end])) is not None and head.takes(line):
            head, rest = head.after(line, end), rest[end:]
        if rest:
            notes.append(("torn", self._set_aside(head, rest)))
        return self._move_head(head)

    def _set_aside(self, head: Head, rest: bytes) -> str:
        """Move the bytes `rest`, which are no line of this chain, from the end of the file to one of their own."""
        kept = self.folder / f"torn-{head.file:06d}-{head.size}-{hashlib.sha256(rest).hexdigest()[:8]}.bin"
        handle = self._open(kept, 0)
        try:
            os.write(handle, rest)
        finally:
            os.close(handle)
        os.ftruncate(self._file, head.size)
        return f"{log_name(head.file)}: {len(rest)} bytes after line {head.seq} are no line; moved to {kept.name}"

    def _rebuild(self, notes: list[tuple[str, str]]) -> Head:
        """Return the head that the last line of the log gives, where the head itself is missing or unreadable."""
        os.ftruncate(self._head, 0)
        numbers = log_numbers(self.folder)
        for number in reversed(numbers):
            size = self._open_file(number)
            end = self._last_line_end(size)
            if not end:
                continue
            raw = os.pread(self._file, min(end, MOST_BYTES), max(0, end - MOST_BYTES))
            line = unseal(raw[raw.rfind(b"\n", 0, -1) + 1 :])
            if line is None:
                raise LogError(f"{self.folder}: {HEAD} is unreadable and so is the last line; {DAMAGED}")
            notes.append(("rebuilt", f"{HEAD} was missing or unreadable; continued after line {line.seq}"))
            whole = number == numbers[-1]
            return self._move_head(Head(numbers[-1], end if whole else 0, line.seq, line.hash))
        return self._move_head(Head(file=max(numbers, default=1)))

    def _last_line_end(self, size: int) -> int:
        """Return where the last complete line of the open file ends; 0 when there is none."""
        start = max(0, size - MOST_BYTES)
        return start + os.pread(self._file, size - start, start).rfind(b"\n") + 1

    def _open_file(self, number: int) -> int:
        """Have file `number` of the log open; return its size."""
        if self._file >= 0:
            state = os.fstat(self._file)
            if self._number == number and state.st_nlink:
                return state.st_size
            os.close(self._file)
            self._file = -1
        self._file = self._open(self.folder / log_name(number), os.O_APPEND)
        self._number = number
        return os.fstat(self._file).st_size

    def _open(self, path: Path, flags: int) -> int:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)
        if self.sync:
            folder = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return handle

    def _failed(self, error: OSError) -> LogError:
        return LogError(
            f"{self.folder}: cannot be written: {error.strerror or error}; free space, or use another folder"
        )
