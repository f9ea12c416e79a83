"""Predictions for utterances of the manifest from their recordings and words, instead of from stored features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lsgmer.audio import decode
from lsgmer.core.progress import track
from lsgmer.features.dialogues import words_before
from lsgmer.inference.predictor import Input, Predictor
from lsgmer.inference.speakers import SpeakerLevels
from lsgmer.manifests.utterance import Utterance

Array = np.ndarray[Any, Any]
CHUNK = 64  # utterances decoded at a time, so that memory stays small


def readable(utterance: Utterance, predictor: Predictor) -> bool:
    """Return whether the utterance has something that the model reads."""
    words, reads = Input(text=utterance.text).words, predictor.modalities
    return bool(("audio" in reads and utterance.audio) or ("text" in reads and words))


class RawReader:
    """Predicts from raw speech and words as a server does that knows every speaker's audio level."""

    def __init__(
        self,
        predictor: Predictor,
        corpus: Path,
        everything: Sequence[Utterance],
        spoken: Sequence[Utterance],
        name: str,
    ) -> None:
        """Prepare.

        Args:
            predictor: what predicts.
            corpus: the folder that audio paths are relative to.
            everything: all utterances of the manifest, among which are the earlier ones of each dialogue.
            spoken: those from which a model that normalises learns each speaker's level.
            name: what progress is shown as.

        """
        self._predictor, self._corpus, self._name = predictor, corpus, name
        self._levels = SpeakerLevels.offline()
        self._before = words_before(everything, predictor.context) if predictor.context else {}
        starts = range(0, len(spoken), CHUNK) if predictor.normalises else range(0)
        for start in track(starts, len(starts), f"{name} levels") if starts else ():
            predictor.enrol([self.input(u) for u in spoken[start : start + CHUNK]], self._levels)

    def input(self, utterance: Utterance) -> Input:
        """Return the utterance with its recording decoded."""
        wave = None
        if utterance.audio and "audio" in self._predictor.modalities:
            wave = decode(self._corpus / utterance.audio, utterance.start_s, utterance.end_s, utterance.channel)
        by_session = self._predictor.card.normalise == "session"
        who = utterance.session if by_session else utterance.speaker
        return Input(wave, utterance.text, previous=self._before.get(utterance.id, ()), speaker=who)

    def guess(
        self, utterances: Sequence[Utterance], change: Callable[[Utterance, Input], Input] | None = None
    ) -> Array:
        """Return the predicted class indices (N,), of each utterance's input after `change`, if any.

        Progress is shown where nothing is changed: who asks for many changes shows how far these are.
        """
        names, found = self._predictor.card.labels, list[int]()
        starts = range(0, len(utterances), CHUNK)
        for start in starts if change else track(starts, len(starts), self._name):
            items = [self.input(u) for u in utterances[start : start + CHUNK]]
            if change:
                items = [change(u, item) for u, item in zip(utterances[start : start + CHUNK], items, strict=True)]
            answers = self._predictor.predict(items, levels=self._levels, learn=False)
            found += [names.index(str(answer.emotion)) for answer in answers]
        return np.array(found, dtype=np.int64)


def with_audio(item: Input, change: Callable[[Any], Any]) -> Input:
    """Return the input with its recording changed."""
    return item if item.audio is None else replace(item, audio=change(item.audio))


def with_text(item: Input, change: Callable[[str], str]) -> Input:
    """Return the input with its words changed."""
    return item if item.words is None else replace(item, text=change(item.words))
