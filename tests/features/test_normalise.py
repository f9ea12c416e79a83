"""Levels are those of a group's own frames, however they come; removing one and restoring it changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lsgmer.features.normalise import Level, RunningLevel, levels_of

PIECES = st.lists(
    st.integers(0, 6).flatmap(lambda n: arrays(np.float32, (n, 3), elements=st.floats(-100, 100, width=32))),
    min_size=1,
    max_size=6,
)


@given(PIECES, st.randoms())
def test_pieces_in_any_order_give_the_level_of_all_frames(pieces, random):
    whole = np.concatenate(pieces).astype(np.float64)
    if not len(whole):
        return
    random.shuffle(pieces)
    running = RunningLevel()
    for piece in pieces:
        running.add(piece)
    assert running.count == len(whole)
    assert running.level().mean == pytest.approx(whole.mean(0), abs=1e-9)
    assert running.level().deviation == pytest.approx(whole.std(0), abs=1e-6)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.floats(0.01, 10), st.floats(-10, 10))
def test_a_shift_and_a_gain_of_a_groups_audio_disappear(seed, gain, shift):
    frames = np.random.default_rng(seed).normal(0, 1, (30, 4)).astype(np.float32)
    moved = (frames * gain + shift).astype(np.float32)
    plain, other = (levels_of(["a"], [(0, values)])["a"].remove(values) for values in (frames, moved))
    assert plain == pytest.approx(other, abs=2e-3)
    assert plain.mean(0) == pytest.approx(0, abs=1e-5)
    assert plain.std(0) == pytest.approx(1, abs=1e-5)


def test_other_groups_are_not_read():
    random = np.random.default_rng(1)
    pieces = [(row, random.normal(row, 1, (5, 2)).astype(np.float32)) for row in range(6)]
    alone = levels_of(["a"] * 6, pieces[:3])["a"]
    among = levels_of(["a", "a", "a", "b", "b", "b"], pieces)
    assert np.array_equal(among["a"].mean, alone.mean)
    assert not np.allclose(among["b"].mean, alone.mean)


@given(arrays(np.float32, (5, 3), elements=st.floats(-50, 50, width=32)))
def test_what_was_removed_can_be_restored_and_what_is_constant_becomes_zero(frames):
    level = Level(frames.astype(np.float64).mean(0), frames.astype(np.float64).std(0))
    assert level.restore(level.remove(frames)) == pytest.approx(frames, abs=1e-3)
    constant = np.full((4, 3), 7.25, dtype=np.float32)
    assert not levels_of([0], [(0, constant)])[0].remove(constant).any()
