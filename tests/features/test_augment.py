"""Copies are of training utterances, named after what was done to them, and never of what cannot change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lsgmer.audio import Waveform
from lsgmer.core.errors import LsgmerError
from lsgmer.features.augment import Augmentation
from lsgmer.manifests.utterance import Utterance

SPOKEN = Utterance("a", "c", "ann", "sad", "sad", "train", audio="a.wav", text="Well, I never!")
WRITTEN = replace(SPOKEN, id="b", audio=None)
WAVE = Waveform(np.sin(np.arange(8000) / 9).astype(np.float32) * 0.1, 16000)


def test_there_is_a_copy_for_each_perturbation_that_finds_something_to_change():
    made = Augmentation([SPOKEN, WRITTEN], ["gain_down_12_db", "capitals"])
    assert [u.id for u in made.copies] == ["a~gain_down_12_db", "a~capitals", "b~capitals"]
    assert {(u.speaker, u.emotion, u.split) for u in made.copies} == {("ann", "sad", "train")}
    quiet, loud, _ = made.copies
    np.testing.assert_allclose(made.sound(quiet, WAVE).samples, WAVE.samples * 10 ** (-12 / 20), atol=1e-7)
    assert (made.words(quiet), made.words(loud)) == (SPOKEN.text, "WELL, I NEVER!")
    assert made.sound(loud, WAVE) is WAVE
    assert made.sound(SPOKEN, WAVE) is WAVE
    assert [made.origin(u) for u in (SPOKEN, *made.copies)] == ["a", "a", "a", "b"]
    assert [made.group(u, "ann") for u in (SPOKEN, quiet)] == ["ann", "ann~gain_down_12_db"]


def test_chance_depends_on_the_utterance_alone():
    first, again = (Augmentation(part, ["noise_10_db"]) for part in ([SPOKEN], [replace(SPOKEN, id="z"), SPOKEN]))
    np.testing.assert_array_equal(
        first.sound(first.copies[0], WAVE).samples, again.sound(again.copies[1], WAVE).samples
    )
    assert not np.array_equal(again.sound(again.copies[0], WAVE).samples, again.sound(again.copies[1], WAVE).samples)


def test_without_names_there_are_no_copies():
    assert Augmentation([SPOKEN], []).copies == ()


def test_what_cannot_be_done_is_refused():
    with pytest.raises(LsgmerError, match=r"no perturbation is called echo; there are gain_down_12_db"):
        Augmentation([SPOKEN], ["echo"])
    with pytest.raises(LsgmerError, match="is also that of a copy"):
        Augmentation([SPOKEN, replace(SPOKEN, id="a~mp3")], ["mp3"])
