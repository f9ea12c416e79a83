"""The audio levels of speakers that a server has heard. They are personal data: in memory only, bounded, deletable."""

from __future__ import annotations

import hashlib
import math
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lsgmer.features.normalise import Level, RunningLevel

Array = np.ndarray[Any, Any]
ENOUGH = 5  # utterances before a speaker's own level is trusted: docs/decisions/0016-speaker-normalisation.md
MOST = 1000  # utterances of one speaker that are counted; more would change nothing


@dataclass(slots=True)
class _Heard:
    """One speaker: level, digests of the utterances in it, and when the last one came."""

    level: RunningLevel = field(default_factory=RunningLevel)
    utterances: set[bytes] = field(default_factory=set)
    last: float = 0.0


class SpeakerLevels:
    """Levels by speaker: at most `speakers` of them, each forgotten `expire_s` seconds after its last utterance."""

    def __init__(
        self, speakers: int, expire_s: float, clock: Callable[[], float] = time.monotonic, enough: int = ENOUGH
    ) -> None:
        self.speakers, self.expire_s, self.enough, self._clock = speakers, expire_s, enough, clock
        self._heard: OrderedDict[str, _Heard] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def offline(cls) -> SpeakerLevels:
        """Return levels of any number of speakers, for predictions of utterances that are all at hand."""
        return cls(sys.maxsize, math.inf, enough=1)

    def add(self, speaker: str, frames: Array, samples: Array | None = None) -> None:
        """Count an utterance's frames (T, D); the same one counts once.

        `samples`, what the frames were made of, tell whether it is the same: encoded beside others, frames differ in
        their last bits. Without them the frames themselves do.
        """
        if not self.speakers or not len(frames):
            return
        told_by = frames if samples is None else samples
        key = hashlib.blake2b(np.ascontiguousarray(told_by).tobytes(), digest_size=16).digest()
        with self._lock:
            self._forget_old()
            found = self._heard.setdefault(speaker, _Heard())
            if key not in found.utterances and len(found.utterances) < MOST:
                found.level.add(frames)
                found.utterances.add(key)
            found.last = self._clock()
            self._heard.move_to_end(speaker)
            while len(self._heard) > self.speakers:
                self._heard.popitem(last=False)

    def of(self, speaker: str | None) -> tuple[Level | None, int]:
        """Return the speaker's level, None before `enough` utterances, and how many utterances are counted."""
        with self._lock:
            self._forget_old()
            found = self._heard.get(speaker) if speaker is not None else None
            if found is None:
                return None, 0
            count = len(found.utterances)
            return (found.level.level() if count >= self.enough else None), count

    def delete(self, speaker: str) -> bool:
        """Forget a speaker; return whether there was anything to forget."""
        with self._lock:
            self._forget_old()
            return self._heard.pop(speaker, None) is not None

    def __len__(self) -> int:
        """Return how many speakers are known."""
        with self._lock:
            self._forget_old()
            return len(self._heard)

    def _forget_old(self) -> None:
        oldest_allowed = self._clock() - self.expire_s
        for name in [name for name, found in self._heard.items() if found.last < oldest_allowed]:
            del self._heard[name]
