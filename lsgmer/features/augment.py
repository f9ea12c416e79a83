"""Perturbed copies of training utterances: made of the training split alone, so that no other split can hold any."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lsgmer.audio import Waveform
from lsgmer.core.errors import LsgmerError
from lsgmer.features.perturbations import AUDIO, TEXT
from lsgmer.manifests.utterance import Utterance

MARK = "~"  # between the id of an utterance and the name of what was done to its copy


class Augmentation:
    """The copies of `train`, one for each perturbation that finds something to change; `names` may be empty."""

    def __init__(self, train: Sequence[Utterance], names: Sequence[str]) -> None:
        unknown = [name for name in names if name not in AUDIO and name not in TEXT]
        if unknown:
            known = ", ".join([*AUDIO, *TEXT])
            raise LsgmerError(f"features.augment: no perturbation is called {', '.join(unknown)}; there are {known}")
        taken = {u.id for u in train}
        self._vocabulary = sorted({word for u in train if u.text for word in u.text.split()})
        self._made: dict[str, tuple[str, str]] = {}
        copies: list[Utterance] = []
        for name in names:
            for u in train:
                if u.audio if name in AUDIO else (u.text or "").strip():
                    copies.append(replace(u, id=f"{u.id}{MARK}{name}"))
                    self._made[copies[-1].id] = (u.id, name)
        if clash := taken & self._made.keys():
            raise LsgmerError(f"features.augment: the id {min(clash)!r} is also that of a copy; rename the utterance")
        self.copies = tuple(copies)

    def origin(self, utterance: Utterance) -> str:
        """Return the id of the utterance, or of the one that it is a copy of."""
        return self._made.get(utterance.id, (utterance.id, ""))[0]

    def group(self, utterance: Utterance, name: str) -> str:
        """Return whose level a copy shares: that of the copies of speaker or session `name` made in the same way."""
        made = self._made.get(utterance.id)
        return name if made is None else f"{name}{MARK}{made[1]}"

    def changes_sound(self, utterance: Utterance) -> bool:
        """Return whether the utterance is a copy whose recording is perturbed."""
        return self._made.get(utterance.id, ("", ""))[1] in AUDIO

    def sound(self, utterance: Utterance, wave: Waveform) -> Waveform:
        """Return the recording of the utterance, perturbed if it is a copy for which that is asked."""
        name = self._made.get(utterance.id, ("", ""))[1]
        return AUDIO[name](wave, _chance(utterance)) if name in AUDIO else wave

    def words(self, utterance: Utterance) -> str:
        """Return the words of the utterance, perturbed if it is a copy for which that is asked."""
        name, text = self._made.get(utterance.id, ("", ""))[1], str(utterance.text)
        return TEXT[name](text, _chance(utterance), self._vocabulary) if name in TEXT else text


def _chance(utterance: Utterance) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(utterance.id.encode()))
