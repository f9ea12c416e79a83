"""Metrics against hand-computed cases, sklearn's values, and the laws they must keep."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from lsgmer import metrics
from lsgmer.core.errors import LsgmerError

NAMES = ("angry", "happy", "neutral")


@st.composite
def predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """True classes (N,) and probabilities (N, 3)."""
    count = draw(st.integers(1, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    return random.integers(0, 3, count), random.dirichlet([0.5] * 3, count)


def one_hot(guess: np.ndarray) -> np.ndarray:
    return np.eye(3)[guess]


def test_by_hand():
    truth = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    guess = np.array([0, 0, 0, 1, 1, 0, 2, 2])
    assert metrics.accuracy(truth, guess) == 6 / 8
    assert metrics.balanced_accuracy(truth, guess) == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)
    f1 = [6 / 8, 2 / 4, 1.0]  # 2 tp / (true + predicted)
    assert metrics.macro_f1(truth, guess) == pytest.approx(sum(f1) / 3)
    assert metrics.weighted_f1(truth, guess) == pytest.approx((4 * f1[0] + 2 * f1[1] + 2 * f1[2]) / 8)
    assert metrics.confusion(truth, guess, 3).tolist() == [[3, 1, 0], [1, 1, 0], [0, 0, 2]]
    assert metrics.recall_per_class(truth, guess, NAMES) == {"angry": 0.75, "happy": 0.5, "neutral": 1.0}


def test_a_class_that_is_not_there_has_no_recall_and_does_not_count():
    truth, guess = np.array([0, 0, 1]), np.array([0, 2, 1])
    assert metrics.recall_per_class(truth, guess, NAMES) == {"angry": 0.5, "happy": 1.0, "neutral": None}
    assert metrics.balanced_accuracy(truth, guess) == 0.75


def test_calibration_by_hand():
    truth = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1, 0], [0.9, 0.1, 0], [0.9, 0.1, 0], [0.4, 0.6, 0]])
    # bin (0.8, 1]: confidence 0.9, accuracy 2/3, 3 of 4; bin (0.4, 0.6]: confidence 0.6, accuracy 1
    expected = 0.75 * abs(0.9 - 2 / 3) + 0.25 * abs(0.6 - 1)
    assert metrics.expected_calibration_error(truth, probabilities, 5) == pytest.approx(expected)
    assert metrics.expected_calibration_error(truth, one_hot(truth), 10) == 0


def test_selective_accuracy_by_hand():
    correct = np.array([True, True, False, False])
    assert metrics.selective_accuracy(correct, np.array([0.9, 0.8, 0.3, 0.2]), 0.5) == 1.0
    assert metrics.selective_accuracy(correct, np.array([0.9, 0.1, 0.8, 0.2]), 0.5) == 0.5
    assert metrics.selective_accuracy(correct, np.full(4, 0.7), 0.5) == 0.5, "ties count in part"
    assert metrics.selective_accuracy(correct, np.array([0.9, 0.8, 0.3, 0.2]), 1.0) == 0.5


def test_risk_coverage_by_hand():
    coverage, risk = metrics.risk_coverage(np.array([True, False, True]), np.array([0.5, 0.1, 0.9]))
    assert coverage.tolist() == pytest.approx([1 / 3, 2 / 3, 1])
    assert risk.tolist() == pytest.approx([0, 0, 1 / 3])


@settings(max_examples=60, deadline=None)
@given(predictions())
def test_equals_sklearn(case):
    truth, probabilities = case
    guess = probabilities.argmax(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sklearn warns of classes predicted but never true
        balanced = reference.balanced_accuracy_score(truth, guess)
    assert metrics.accuracy(truth, guess) == pytest.approx(reference.accuracy_score(truth, guess))
    assert metrics.balanced_accuracy(truth, guess) == pytest.approx(balanced)
    for average, ours in (("macro", metrics.macro_f1), ("weighted", metrics.weighted_f1)):
        assert ours(truth, guess) == pytest.approx(reference.f1_score(truth, guess, average=average, zero_division=0))


@settings(max_examples=40, deadline=None)
@given(predictions(), st.randoms(use_true_random=False))
def test_order_does_not_matter_intervals_included(case, random):
    truth, probabilities = case
    order = list(range(len(truth)))
    random.shuffle(order)
    options = {"resamples": 50, "seed": 3}
    trust = probabilities.min(1)
    plain = metrics.summarise(truth, probabilities, NAMES, consistency=trust, **options)
    moved = metrics.summarise(truth[order], probabilities[order], NAMES, consistency=trust[order], **options)
    left, right = plain.model_dump(), moved.model_dump()
    for name in ("ece", "mean_consistency"):  # float sums in another order
        assert left.pop(name) == pytest.approx(right.pop(name))
    assert left == right


@settings(max_examples=60, deadline=None)
@given(predictions(), st.integers(0, 100))
def test_intervals_contain_the_value_and_stay_in_range(case, seed):
    found = metrics.summarise(*case, NAMES, resamples=60, seed=seed)
    for interval in (found.accuracy, found.balanced_accuracy, found.weighted_f1, found.macro_f1):
        assert 0 <= interval.low <= interval.value <= interval.high <= 1


@settings(max_examples=40, deadline=None)
@given(predictions())
def test_identical_predictions_differ_by_exactly_nothing(case):
    truth, guess = case[0], case[1].argmax(1)
    assert metrics.paired_bootstrap(truth, guess, guess, 50, 1).model_dump() == {"value": 0, "low": 0, "high": 0}


@settings(max_examples=40, deadline=None)
@given(predictions(), st.integers(0, 100))
def test_the_paired_difference_is_the_difference_and_changes_sign(case, seed):
    truth, guess = case[0], case[1].argmax(1)
    other = np.random.default_rng(seed).integers(0, 3, len(truth))
    found = metrics.paired_bootstrap(truth, guess, other, 50, seed)
    gap = metrics.balanced_accuracy(truth, guess) - metrics.balanced_accuracy(truth, other)
    assert found.value == pytest.approx(gap)
    assert found.low <= found.value <= found.high
    assert metrics.paired_bootstrap(truth, other, guess, 50, seed).value == pytest.approx(-gap)


def test_pairing_makes_the_interval_narrower_than_two_apart():
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 300)
    guess = np.where(random.random(300) < 0.7, truth, (truth + 1) % 3)
    other = guess.copy()
    other[:20] = (truth[:20] + 1) % 3
    paired = metrics.paired_bootstrap(truth, guess, other, 1000, 1)
    alone = metrics.bootstrap_interval(truth, guess, 1000, 1)
    assert paired.high - paired.low < (alone.high - alone.low) / 1.5


def test_the_bootstrap_agrees_with_drawing_utterances():
    """Multinomial rows of the confusion matrix against the same thing done utterance by utterance."""
    random = np.random.default_rng(5)
    truth = np.repeat([0, 1, 2], [60, 25, 15])
    guess = np.where(random.random(100) < 0.6, truth, random.integers(0, 3, 100))
    values = []
    for _ in range(1500):
        rows = np.concatenate([random.choice(np.flatnonzero(truth == c), (truth == c).sum()) for c in range(3)])
        values.append(metrics.balanced_accuracy(truth[rows], guess[rows]))
    found = metrics.bootstrap_interval(truth, guess, 4000, 1)
    assert (found.low, found.high) == pytest.approx(np.quantile(values, metrics.LEVELS), abs=0.02)


def test_a_perfect_model_has_no_uncertainty_and_seeds_repeat():
    truth = np.array([0, 1, 2, 0])
    found = metrics.summarise(truth, one_hot(truth), NAMES)
    assert found.macro_f1.model_dump() == {"value": 1, "low": 1, "high": 1}
    assert found == metrics.summarise(truth, one_hot(truth), NAMES)
    assert found.selective_accuracy == {"probability": {"50%": 1.0, "80%": 1.0}}
    assert metrics.summarise(truth, one_hot(truth), NAMES, resamples=0).accuracy.low is None


def test_a_thousand_resamples_of_3000_take_less_than_a_second():
    random = np.random.default_rng(0)
    truth, probabilities = random.integers(0, 7, 3000), random.dirichlet([1] * 7, 3000)
    began = time.perf_counter()
    metrics.summarise(truth, probabilities, [str(i) for i in range(7)], resamples=1000)
    metrics.paired_bootstrap(truth, probabilities.argmax(1), random.integers(0, 7, 3000), 1000, 0)
    assert time.perf_counter() - began < 1


def test_nothing_to_measure_is_an_error():
    with pytest.raises(LsgmerError, match="no utterances"):
        metrics.summarise(np.array([], dtype=int), np.zeros((0, 3)), NAMES)
