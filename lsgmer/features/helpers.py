"""Batches are encoded by whoever is free: this process and, where there is enough work, helpers on the other cores.

Each batch is computed by one process, with the same number of threads, so its bytes do not depend on which one it was.
"""

from __future__ import annotations

import io
import multiprocessing
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil

from lsgmer.core.device import set_threads
from lsgmer.core.paths import write_atomically
from lsgmer.core.process import end_with_parent
from lsgmer.features.readers import ModalityReader, Readings
from lsgmer.manifests.utterance import Utterance

T = TypeVar("T")
S = TypeVar("S")
Readers = dict[str, ModalityReader]
TRIAL_S = 2.0  # how long this process works alone, to see how much there is to do
WORTH_S = 10.0  # a helper needs seconds to start: not for less work than this


@dataclass(frozen=True, slots=True)
class Task:
    """One batch: the name of the reader that encodes it, the utterances, and the file of the shard."""

    name: str
    utterances: tuple[Utterance, ...]
    file: Path


def encode_all(tasks: Iterable[Task], readers: Readers) -> Iterator[None]:
    """Write the shard of each task, whole or not at all, and yield after each; the next inputs are read meanwhile."""
    for task, loaded in ahead(tasks, lambda task: readers[task.name].load(task.utterances)):
        values = readers[task.name].encode(loaded)
        content = io.BytesIO()
        np.savez(content, lengths=np.array([len(v) for v in values]), flat=np.concatenate(values))
        write_atomically(task.file, content.getvalue())
        yield


def ahead(items: Iterable[T], load: Callable[[T], S]) -> Iterator[tuple[T, S]]:
    """Yield each item with what `load` makes of it, in order; a thread loads the next one meanwhile."""
    with ThreadPoolExecutor(1, thread_name_prefix="load") as pool:
        waiting: deque[tuple[T, Future[S]]] = deque()
        for item in items:
            waiting.append((item, pool.submit(load, item)))
            if len(waiting) > 1:
                first, found = waiting.popleft()
                yield first, found.result()
        for first, found in waiting:
            yield first, found.result()


class Board:
    """Which tasks are taken and which are finished, for several processes."""

    def __init__(self, tasks: Sequence[Task], context: Any) -> None:
        self._tasks = tuple(tasks)
        self._taken = context.Value("q", 0)
        self._finished = context.RawArray("b", max(1, len(self._tasks)))

    def encode(self, end: int, readers: Readers) -> Iterator[None]:
        """Take tasks before `end` until there are none, and encode them; yield after each."""
        mine: deque[int] = deque()

        def take() -> Iterator[Task]:
            while (i := self._take(end)) is not None:
                mine.append(i)
                yield self._tasks[i]

        for _ in encode_all(take(), readers):
            self._finished[mine.popleft()] = 1
            yield

    def finished(self, start: int, end: int) -> int:
        """Return how many of the tasks from `start` to `end` are finished."""
        return bytes(memoryview(self._finished)[start:end]).count(1)

    def unfinished(self, start: int, end: int) -> list[Task]:
        """Return the tasks from `start` to `end` that are not finished."""
        return [self._tasks[i] for i in range(start, end) if not self._finished[i]]

    @property
    def left(self) -> int:
        """How many tasks nobody has taken."""
        return max(0, len(self._tasks) - int(self._taken.value))

    def _take(self, end: int) -> int | None:
        with self._taken.get_lock():
            i = int(self._taken.value)
            if i >= min(end, len(self._tasks)):
                return None
            self._taken.value = i + 1
            return i


class Helpers:
    """Up to `most` processes that encode `tasks` beside this one, each with `threads` threads; a context manager.

    They start only when this process has worked for a while and much is left. A helper that dies loses nothing: what
    it did not finish is done here, where an error is reported as if there were no helpers.
    """

    def __init__(self, tasks: Sequence[Task], readings: Readings, threads: int, most: int) -> None:
        # Not fork: the stage has threads. A fork server imports the stage's modules once, for all helpers.
        self._context = multiprocessing.get_context("forkserver")
        self._board = Board(tasks, self._context)
        self._readings, self._threads, self._most = readings, threads, most
        self._processes: list[Any] = []
        self._place, self._began, self._count = 0, time.monotonic(), 0

    def __enter__(self) -> Helpers:
        """Return the helpers."""
        return self

    def __exit__(self, *error: object) -> None:
        """End those that still run: either nothing is left to do, or something went wrong."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(5)

    def encode_next(self, count: int, readers: Readers) -> Iterator[None]:
        """Encode the next `count` tasks, shared with the helpers; yield once for each, by whoever it is finished."""
        start = self._place
        end = self._place = start + count
        shown = 0
        for _ in self._board.encode(end, readers):
            self._count += 1
            self._start_if_worth_it()
            while shown < self._board.finished(start, end):
                shown += 1
                yield
        while self._board.finished(start, end) < count and self._working():
            time.sleep(0.01)
        for _ in encode_all(self._board.unfinished(start, end), readers):
            pass
        yield from [None] * (count - shown)

    def _start_if_worth_it(self) -> None:
        taken = time.monotonic() - self._began
        if self._processes or not self._most or taken < TRIAL_S or taken / self._count * self._board.left < WORTH_S:
            return
        fits = psutil.virtual_memory().available // max(1, psutil.Process().memory_info().rss)
        for _ in range(min(self._most, self._board.left, int(fits))):
            process = self._context.Process(
                target=_help, args=(self._board, self._readings, self._threads), daemon=True
            )
            process.start()
            self._processes.append(process)
        if self._processes:
            print(f"features: {1 + len(self._processes)} processes encode", flush=True)
        else:
            self._most = 0  # no memory for another one

    def _working(self) -> bool:
        """Return whether helpers still work and none has failed."""
        failed = [process.exitcode for process in self._processes if process.exitcode]
        if failed:
            print(f"features: a helper ended with exit code {failed[0]}: its batches are encoded here", flush=True)
        return not failed and any(process.is_alive() for process in self._processes)


def _help(board: Board, readings: Readings, threads: int) -> None:
    """Encode what is left; the main function of a helper."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the stage ends its helpers itself
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent(0.2)
    set_threads(threads)
    try:
        for _ in board.encode(sys.maxsize, readings.readers()):
            pass
    except Exception as error:  # the stage meets it in the same batch, and reports it as if it were alone
        print(f"features: a helper failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
