"""Bootstrap intervals and Holm's adjustment keep their laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsgmer.experiments.statistics import around, difference, draw, holm, score, scores, spread
from lsgmer.metrics import OF_COUNTS, balanced_accuracy, weighted_f1

TRUTH = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 2])


def test_holm_by_hand():
    # Sorted .01 .02 .03 .04 times 4 3 2 1 = .04 .06 .06 .04, made monotone: .04 .06 .06 .06.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_a_p_and_keeps_their_order(values):
    adjusted = holm(values)
    assert all(a >= p for a, p in zip(adjusted, values, strict=True))
    order = np.argsort(values, kind="stable")
    assert all(np.diff(np.array(adjusted)[order]) >= 0)
    assert max(adjusted) <= 1


def test_a_draw_keeps_every_class_total():
    drawn = draw(TRUTH, 50, 1)
    assert drawn.shape == (50, 10)
    for label in range(3):
        assert (drawn[:, label == TRUTH].sum(1) == (label == TRUTH).sum()).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_scores_of_each_sample_are_those_of_its_utterances(seed):
    guess = np.random.default_rng(seed).integers(0, 3, len(TRUTH))
    drawn = draw(TRUTH, 5, seed)
    for metric, plain in (("balanced_accuracy", balanced_accuracy), ("weighted_f1", weighted_f1)):
        found = scores(drawn, TRUTH, guess, 3, metric)
        for weights, value in zip(drawn.astype(int), found, strict=True):
            assert value == pytest.approx(plain(np.repeat(TRUTH, weights), np.repeat(guess, weights)))
        assert score(TRUTH, guess, 3, metric) == pytest.approx(plain(TRUTH, guess))


def test_the_same_predictions_differ_by_nothing():
    guess = [np.array([0, 1, 0, 1, 1, 2, 0, 2, 2, 1])]
    found = difference(draw(TRUTH, 200, 0), TRUTH, guess, guess, 3, "balanced_accuracy")
    assert (found.interval.value, found.interval.low, found.interval.high, found.p) == (0, 0, 0, 1)


def test_a_clear_gap_is_significant_and_has_its_sign():
    truth = np.repeat([0, 1], 100)
    worse = np.where(np.arange(200) % 2 == 0, truth, 1 - truth)
    found = difference(draw(truth, 999, 0), truth, [worse], [truth], 2, "balanced_accuracy")
    assert found.interval.value == pytest.approx(-0.5)
    assert found.interval.high < -0.3
    assert found.p == pytest.approx(2 / 1000)


def test_seeds_are_averaged():
    right, wrong = TRUTH, (TRUTH + 1) % 3
    found = difference(draw(TRUTH, 50, 0), TRUTH, [right, wrong], [right], 3, "accuracy")
    assert found.interval.value == pytest.approx(-0.5)


def test_p_counts_both_tails():
    assert around(0.1, np.array([-1.0, 1, 1, 1])).p == pytest.approx(2 * 2 / 5)
    assert around(0.0, np.array([-1.0, 1])).p == 1.0


def test_spread():
    assert spread([0.4, 0.6]) == (pytest.approx(0.5), pytest.approx(0.2 / 2**0.5))
    assert spread([0.4]) == (0.4, None)


def test_every_metric_of_counts_is_there():
    assert {"accuracy", "balanced_accuracy", "weighted_f1", "macro_f1"} == set(OF_COUNTS)
