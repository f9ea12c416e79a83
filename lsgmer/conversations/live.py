"""A conversation while it is spoken: the turns that are over, from samples as they arrive, as in its recording."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lsgmer.audio import Waveform
from lsgmer.conversations.analyze import FOREIGN, Estimator, earlier_turns, estimate, spoken, usable
from lsgmer.conversations.records import SpeakerSummary, Summary, TimelineTurn
from lsgmer.conversations.summary import speaker_summaries, summarise
from lsgmer.conversations.turns import Names, is_leak, turn_at
from lsgmer.core.records import Seconds
from lsgmer.inference.speakers import SpeakerLevels
from lsgmer.speech.rejection import all_doubtful
from lsgmer.speech.silero import Silero
from lsgmer.speech.transcribe import Transcriber
from lsgmer.speech.voice_activity import Span, TurnFinder
from lsgmer.turns.turn import Turn

Array = np.ndarray[Any, Any]
KEPT_S = 1.0  # of audio before what is being spoken, which a turn that begins there may need
FULL_SCALE = 32_768


@dataclass(frozen=True, slots=True)
class Said:
    """A turn that is over and its samples (N,) float32."""

    turn: Turn
    wave: Waveform


class Listener:
    """Finds the turns in interleaved 16-bit samples of all channels, and keeps only the audio that may be needed."""

    def __init__(self, voices: Silero, sample_rate: int, names: Names) -> None:
        self.sample_rate, self.names = sample_rate, names
        self._finders = [TurnFinder(voices, sample_rate) for _ in range(names.channels)]
        self._held: Array = np.zeros((0, names.channels), np.float32)
        self._first = 0  # the number of the first frame that is held

    @property
    def heard_s(self) -> Seconds:
        """How much has arrived."""
        return (self._first + len(self._held)) / self.sample_rate

    def feed(self, pcm: bytes) -> list[Said]:
        """Return the turns that are over, by their end. Raises ValueError unless `pcm` has whole frames."""
        frames = np.frombuffer(pcm, "<i2").reshape(-1, self.names.channels).astype(np.float32) / FULL_SCALE
        self._held = np.concatenate([self._held, frames])
        found = [(span, i) for i, finder in enumerate(self._finders) for span in finder.feed(frames[:, i].copy())]
        said = self._said(found)
        self._forget()
        return said

    def finish(self) -> list[Said]:
        """Return the turns that are being spoken when the conversation ends."""
        return self._said([(span, i) for i, finder in enumerate(self._finders) for span in finder.finish()])

    def _said(self, found: Sequence[tuple[Span, int]]) -> list[Said]:
        said = []
        for span, channel in sorted(found, key=lambda one: (one[0].end_s, one[0].start_s, one[1])):
            several = self.names.channels > 1
            turn = turn_at(span, self.names.of(channel), channel if several else None, self.heard_s)
            first, last = (round(edge * self.sample_rate) - self._first for edge in (turn.start_s, turn.end_s))
            samples = self._held[max(0, first) : last]
            if several and (is_leak(samples, channel) or (channel and not (samples[:, 0] - samples[:, channel]).any())):
                continue
            said.append(Said(turn, Waveform(np.ascontiguousarray(samples[:, channel]), self.sample_rate)))
        return said

    def _forget(self) -> None:
        needed = min(
            finder.judged_s if finder.speaking_since_s is None else finder.speaking_since_s for finder in self._finders
        )
        spare = round((needed - KEPT_S) * self.sample_rate) - self._first
        if spare > 0:
            self._held, self._first = self._held[spare:].copy(), self._first + spare


class LiveConversation:
    """Estimates each turn when it is over. Levels of speakers are those of what was heard so far."""

    def __init__(
        self, estimator: Estimator, listener: Listener, transcriber: Transcriber | None, negative: Sequence[str]
    ) -> None:
        self.estimator, self.listener, self.transcriber = estimator, listener, transcriber
        self.negative = negative
        self.timeline: list[TimelineTurn] = []
        self._turns: list[tuple[Seconds, Seconds, int, Turn]] = []  # by start
        self._levels = SpeakerLevels.offline()
        self._heard = self._believed = 0  # turns that a machine wrote words for, and whose words are believed

    def hear(self, pcm: bytes) -> list[TimelineTurn]:
        """Return the entries of the turns that are over once `pcm` has arrived. Raises ValueError, as `feed` does."""
        return [self._entry(said) for said in self.listener.feed(pcm)]

    def finish(self) -> list[TimelineTurn]:
        """Return the entries of the last turns."""
        return [self._entry(said) for said in self.listener.finish()]

    @property
    def summary(self) -> Summary:
        """The summary of what was said so far."""
        return summarise(self.timeline, self.listener.heard_s, self.negative)

    @property
    def speakers(self) -> tuple[SpeakerSummary, ...]:
        """Who speaks, and how."""
        several = self.listener.names.channels > 1
        names = {name: channel if several else None for name, channel in self.listener.names.all.items()}
        return speaker_summaries(self.timeline, names)

    def _entry(self, said: Said) -> TimelineTurn:
        index, turn, remarks = len(self.timeline), said.turn, dict[int, str]()
        predictor = self.estimator.predictor
        if self.transcriber is not None and "text" in predictor.modalities:
            transcript = self.transcriber.transcribe(said.wave)
            self._heard += transcript.mean_log_probability is not None
            self._believed += bool(transcript.text)
            if transcript.text and all_doubtful(self._believed, self._heard):
                remarks[index] = FOREIGN
            elif transcript.text:
                turn = turn.model_copy(update={"text": transcript.text, "automatic": True})
            if transcript.reason:
                remarks[index] = f"transcript: {transcript.reason}"
        insort(self._turns, (turn.start_s, turn.end_s, index, turn))
        ordered = [one[3] for one in self._turns]
        place = next(i for i, one in enumerate(self._turns) if one[2] == index)
        item = spoken(turn, earlier_turns(ordered, place, predictor.context))
        if "audio" in predictor.modalities:
            item = replace(item, audio=said.wave)
        if predictor.normalises and item.audio is not None:
            self.estimator.enrol([item], self._levels)
        (entry,) = estimate(self.estimator, {index: turn}, {index: usable(item, predictor)}, remarks, self._levels)
        self.timeline.append(entry)
        return entry
