"""One thread that predicts: it takes what waits as a batch, and long work never delays more than one batch."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from lsgmer.core.errors import LsgmerError

if TYPE_CHECKING:
    from lsgmer.inference.prediction import Prediction
    from lsgmer.inference.predictor import Input

LONG_S = 15.0  # audio of this length is predicted alone, between batches of shorter utterances
PATIENCE = 8  # batches that go before work in the background does

T = TypeVar("T")


class Busy(Exception):
    """More utterances wait, or more of their audio, than may."""


class Closed(Exception):
    """The service is stopping and takes nothing more."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    item: Input
    answer: Future[Prediction]


@dataclass(frozen=True, slots=True)
class _Task:
    """Work for the thread that predicts, which nothing else may do at the same time."""

    work: Callable[[], Any]
    result: Future[Any]


class Batches:
    """Predicts items from any number of requests, several at a time.

    Batches are formed from what waits while the one before is predicted: nobody waits for a batch to fill.
    """

    def __init__(
        self,
        predict: Callable[[Sequence[Input]], list[Prediction]],
        most_items: int,
        most_waiting: int,
        most_bytes: float,
    ) -> None:
        self._predict, self._most_items = predict, most_items
        self._most_waiting, self._most_bytes = most_waiting, most_bytes
        self._short: deque[_Waiting] = deque()
        self._long: deque[_Waiting | _Task] = deque()
        self._background: deque[_Task] = deque()
        self._passed = 0  # batches since background work was last done
        self._changed = threading.Condition()
        self._closed = self._long_is_next = False
        self._thread = threading.Thread(target=self._run, name="predict", daemon=True)
        self._thread.start()

    async def predict(self, items: Sequence[Input]) -> list[Prediction | LsgmerError]:
        """Return, for each item, its prediction or why there is none. Raises Busy or Closed before taking any."""
        waiting = [_Waiting(item, Future()) for item in items]
        with self._changed:
            if self._closed:
                raise Closed
            queued = (*self._short, *self._long, *waiting)
            held = sum(_bytes(one.item) for one in queued if isinstance(one, _Waiting))
            if len(self) + len(waiting) > self._most_waiting or held > self._most_bytes:
                raise Busy
            for one in waiting:
                (self._long if _seconds(one.item) > LONG_S else self._short).append(one)
            self._changed.notify()
        answers = await asyncio.gather(*(asyncio.wrap_future(one.answer) for one in waiting), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, LsgmerError):
                raise answer
        return [
            answer for answer in answers if not isinstance(answer, BaseException) or isinstance(answer, LsgmerError)
        ]

    def run(self, work: Callable[[], T], background: bool) -> Future[T]:
        """Let the thread that predicts do `work`: as soon as a long utterance, or when nobody waits, or waits long.

        Raises Closed when the service is stopping.
        """
        task = _Task(work, Future())
        with self._changed:
            if self._closed:
                raise Closed
            (self._background if background else self._long).append(task)
            self._changed.notify()
        return task.result

    def close(self) -> None:
        """Take nothing more, predict what waits, and return."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def __len__(self) -> int:
        """Return how many items wait."""
        return len(self._short) + len(self._long)

    def _run(self) -> None:
        while batch := self._take():
            if isinstance(batch, _Task):
                _do(batch)
                continue
            taken = [one for one in batch if one.answer.set_running_or_notify_cancel()]  # not those who went away
            try:
                answers = self._predict([one.item for one in taken])
            except Exception:
                for one in taken:
                    self._alone(one)
            else:
                for one, answer in zip(taken, answers, strict=True):
                    one.answer.set_result(answer)

    def _alone(self, one: _Waiting) -> None:
        try:
            (answer,) = self._predict([one.item])
        except Exception as error:
            one.answer.set_exception(error)
        else:
            one.answer.set_result(answer)

    def _take(self) -> list[_Waiting] | _Task | None:
        """Wait for work: short and long utterances take turns. None when closed and all is done."""
        with self._changed:
            while not len(self):
                if self._background and not self._closed:
                    self._passed = 0
                    return self._background.popleft()
                if self._closed:
                    self._give_up()
                    return None
                self._changed.wait()
            if self._background and self._passed >= PATIENCE:
                self._passed = 0
                return self._background.popleft()
            self._passed += 1
            if self._long and (self._long_is_next or not self._short):
                self._long_is_next = False
                first = self._long.popleft()
                return first if isinstance(first, _Task) else [first]
            self._long_is_next = True
            return [self._short.popleft() for _ in range(min(self._most_items, len(self._short)))]

    def _give_up(self) -> None:
        """Tell those who left work for the background that it will not be done."""
        for task in self._background:
            task.result.set_exception(Closed())
        self._background.clear()


def _do(task: _Task) -> None:
    if not task.result.set_running_or_notify_cancel():
        return
    try:
        task.result.set_result(task.work())
    except Exception as error:
        task.result.set_exception(error)


def _seconds(item: Input) -> float:
    return 0.0 if item.audio is None else item.audio.duration_s


def _bytes(item: Input) -> int:
    return 0 if item.audio is None else item.audio.samples.nbytes
