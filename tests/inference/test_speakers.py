"""What a server keeps of speakers is bounded, expires, can be deleted, and is theirs alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsgmer.features.normalise import RunningLevel
from lsgmer.inference.speakers import ENOUGH, SpeakerLevels


def frames(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(seed, 1, (6, 2)).astype(np.float32)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_level_counts_once_there_is_enough_of_it():
    levels, expected = SpeakerLevels(3, 60), RunningLevel()
    for seed in range(ENOUGH):
        assert levels.of("a") == (None, seed)
        levels.add("a", frames(seed))
        expected.add(frames(seed))
    level, count = levels.of("a")
    assert count == ENOUGH
    assert level.mean == pytest.approx(expected.level().mean)
    assert levels.of("b") == (None, 0)
    assert levels.of(None) == (None, 0)


def test_the_same_utterance_counts_once():
    levels = SpeakerLevels(3, 60, enough=1)
    for _ in range(10):
        levels.add("a", frames(1))
    levels.add("a", frames(2))
    assert levels.of("a")[1] == 2
    assert levels.of("a")[0].mean == pytest.approx(np.concatenate([frames(1), frames(2)]).mean(0), abs=1e-6)


def test_the_same_recording_counts_once_also_when_others_were_encoded_beside_it():
    levels, samples = SpeakerLevels(3, 60, enough=1), frames(7)[:, 0]
    levels.add("a", frames(1), samples)
    levels.add("a", frames(1) * np.float32(1 + 1e-6), samples)
    assert levels.of("a")[1] == 1
    levels.add("a", frames(1), samples[1:])
    assert levels.of("a")[1] == 2


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 50)), max_size=40), st.integers(0, 3))
def test_no_more_speakers_are_kept_than_allowed_the_latest_of_them(calls, most):
    levels = SpeakerLevels(most, 60, enough=1)
    for name, seed in calls:
        levels.add(name, frames(seed))
    latest = list(dict.fromkeys(name for name, _ in reversed(calls)))[:most]
    assert len(levels) == len(latest)
    assert all(levels.of(name)[1] > 0 for name in latest)


def test_a_speaker_is_forgotten_after_a_while_without_speech():
    clock = Clock()
    levels = SpeakerLevels(3, 60, clock, enough=1)
    levels.add("a", frames(1))
    clock.now = 50
    levels.add("b", frames(2))
    clock.now = 100
    assert levels.of("a") == (None, 0)
    assert levels.of("b")[1] == 1
    assert len(levels) == 1


def test_a_speaker_can_be_deleted():
    levels = SpeakerLevels(3, 60, enough=1)
    levels.add("a", frames(1))
    assert levels.delete("a")
    assert not levels.delete("a")
    assert levels.of("a") == (None, 0)
