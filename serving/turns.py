"""The turns of a conversation, estimated by the service's model among its other work, and each of them logged."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lsgmer.inference.prediction import Prediction
from lsgmer.inference.predictor import Input, Predictor
from lsgmer.inference.speakers import SpeakerLevels
from lsgmer.turns.turn import Turn
from serving.answers import Answers


@dataclass(frozen=True, slots=True)
class Turns:
    """An Estimator for one conversation, `name`; its answers are logged as NAME/INDEX.

    With `background`, requests go first. `audio_sha256` is of the whole recording; None where there is none, and the
    log then has the hash of each turn's 16-bit samples.
    """

    answers: Answers
    name: str
    route: str
    key: str | None
    background: bool
    audio_sha256: str | None = None

    @property
    def predictor(self) -> Predictor:
        """The model that is served."""
        return self.answers.predictor

    def enrol(self, items: Sequence[Input], levels: SpeakerLevels) -> None:
        """Add the audio of `items` to their speakers' levels."""
        self.answers.enrol(items, levels, self.background)

    def predict(self, turns: Mapping[int, Turn], items: Sequence[Input], levels: SpeakerLevels) -> list[Prediction]:
        """Return a prediction for each turn, once all are in the log."""
        started = time.perf_counter()
        found = self.answers.turns(items, levels, self.background)
        latency_ms = 1000 * (time.perf_counter() - started)
        for (index, turn), item, answer in zip(turns.items(), items, found, strict=True):
            self._log(f"{self.name}/{index}", turn, item, answer, latency_ms)
        return found

    def _log(self, name: str, turn: Turn, item: Input, answer: Prediction, latency_ms: float) -> None:
        log = self.answers.log
        if log is None:
            return
        lines = [(line.text, line.same_speaker) for line in item.previous]
        inputs = log.inputs(None, item.words, lines, turn.channel, speaker=True)
        place = {"audio_sha256": self._sha256(item), "start_s": turn.start_s, "end_s": turn.end_s}
        inputs = inputs.model_copy(update=place)
        log.append(self.answers.entry(name, self.route, self.key, inputs, answer, latency_ms))

    def _sha256(self, item: Input) -> str | None:
        if self.audio_sha256 is not None or item.audio is None:
            return self.audio_sha256
        return hashlib.sha256((item.audio.samples * 2**15).astype(np.dtype("<i2")).tobytes()).hexdigest()
