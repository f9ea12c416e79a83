"""Each perturbation does what its name says, by as much as it says, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsgmer.audio import Waveform
from lsgmer.evaluation.params import PERTURBATIONS
from lsgmer.features.perturbations import AUDIO, TEXT, WORD_ERRORS, pink_noise

RATE = 16_000


def speech(seconds: float = 1.5, level: float = 0.2) -> Waveform:
    time = np.arange(int(seconds * RATE)) / RATE
    sound = sum(np.sin(2 * np.pi * pitch * time) / pitch * 200 for pitch in (200, 1000, 6000))
    return Waveform((level * sound * np.sin(np.pi * 3 * time) ** 2).astype(np.float32), RATE)


def chance() -> np.random.Generator:
    return np.random.default_rng(3)


def power(wave: Waveform, low: float = 0, high: float = RATE) -> float:
    spectrum = np.abs(np.fft.rfft(wave.samples)) ** 2
    frequencies = np.fft.rfftfreq(len(wave.samples), 1 / RATE)
    return float(spectrum[(frequencies >= low) & (frequencies < high)].sum()) / len(wave.samples)


def test_the_gate_knows_every_name():
    assert (*AUDIO, *TEXT) == PERTURBATIONS


@pytest.mark.parametrize("name", AUDIO)
def test_it_is_the_same_for_the_same_seed_finite_and_in_range(name):
    first, again = AUDIO[name](speech(), chance()), AUDIO[name](speech(), chance())
    np.testing.assert_array_equal(first.samples, again.samples)
    assert first.sample_rate == RATE
    assert np.isfinite(first.samples).all()
    assert np.abs(first.samples).max() <= 1.1
    assert first.samples.dtype == np.float32
    assert not np.array_equal(first.samples, speech().samples)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("telephone", 1.5), ("narrow_band", 1.5), ("mp3", 1.5), ("opus", 1.5), ("leading_silence", 2.5),
     ("slower_10", 1.5 / 0.9), ("faster_10", 1.5 / 1.1)],
)  # fmt: skip
def test_it_lasts_as_long_as_it_should(name, seconds):
    assert AUDIO[name](speech(), chance()).duration_s == pytest.approx(seconds, abs=0.05)


@given(st.floats(0, 40), st.integers(0, 100))
def test_noise_is_as_far_under_the_speech_as_asked(snr_db, seed):
    clean = speech(level=0.02)
    noisy = pink_noise(snr_db)(clean, np.random.default_rng(seed))
    noise = Waveform(noisy.samples - clean.samples, RATE)
    assert 10 * np.log10(power(clean) / power(noise)) == pytest.approx(snr_db, abs=0.5)
    assert power(noise, 100, 200) == pytest.approx(power(noise, 1000, 2000), rel=0.6), "equal power in each octave"


def test_gain_changes_the_level_alone_and_narrow_bands_lack_the_top():
    quiet = AUDIO["gain_down_12_db"](speech(), chance())
    np.testing.assert_allclose(quiet.samples, speech().samples * 10 ** (-12 / 20), atol=1e-7)
    for name in ("narrow_band", "telephone"):
        found = AUDIO[name](speech(), chance())
        assert power(found, 5000) < 0.05 * power(speech(), 5000)
        assert power(found, 100, 3000) == pytest.approx(power(speech(), 100, 3000), rel=0.1)
    cut = AUDIO["clipping"](speech(), chance()).samples
    assert np.abs(cut).max() == pytest.approx(np.abs(speech().samples).max() / 3)


def test_words_are_lost_changed_and_added_as_often_as_it_says():
    words = [f"w{i}" for i in range(3000)]
    found = TEXT["word_errors_15"](" ".join(words), chance(), ["other"]).split()
    lost = len(set(words) - set(found))
    added = found.count("other")
    assert lost == pytest.approx(2 / 3 * WORD_ERRORS * len(words), rel=0.15)
    assert added == pytest.approx(2 / 3 * WORD_ERRORS * len(words), rel=0.15)
    assert [word for word in found if word != "other"] == sorted(
        set(words) & set(found), key=lambda word: int(word[1:])
    )


def test_case_and_punctuation():
    text = "I can't - really, I can't... GO!"
    assert TEXT["plain_text"](text, chance(), []) == "i can't really i can't go"
    assert TEXT["capitals"](text, chance(), []) == text.upper()


@given(st.text(max_size=30).filter(str.strip), st.integers(0, 50))
def test_there_are_always_words_left(text, seed):
    for change in TEXT.values():
        assert change(text, np.random.default_rng(seed), ["other"]).strip()
