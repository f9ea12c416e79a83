"""A penalty is chosen by score, then by log loss, then for being stronger, whatever the order of the candidates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from lsgmer.model.logistic import choose_penalty, fit_logistic, softmax

TRUTH = np.array([0, 0, 1, 1])


def answers(right: int, confidence: float):
    """Probabilities that are right on the first `right` utterances, with this confidence in every one."""
    guess = np.where(np.arange(len(TRUTH)) < right, TRUTH, 1 - TRUTH)
    return np.where(np.eye(2)[guess] > 0, confidence, 1 - confidence)


def choose(given):
    """Choose among models that are their own answers, {C: (right, confidence)}."""
    return choose_penalty(list(given), lambda c: c, lambda c: answers(*given[c]), TRUTH, "balanced_accuracy")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({0.1: (2, 0.9), 1.0: (3, 0.9)}, 1.0),
        ({0.1: (3, 0.6), 1.0: (3, 0.7)}, 1.0),  # right more often than not: more confidence is a lower loss
        ({1.0: (3, 0.7), 0.1: (3, 0.7)}, 0.1),
        ({0.5: (0, 0.9)}, 0.5),
    ],
)
def test_score_then_log_loss_then_the_stronger_penalty(given, expected):
    assert choose(given).c == expected


@settings(max_examples=30, deadline=None)
@given(st.permutations([0.01, 0.1, 1.0, 10.0]), st.lists(st.integers(0, 4), min_size=4, max_size=4))
def test_the_order_of_the_candidates_changes_nothing(order, right):
    given = dict(zip([0.01, 0.1, 1.0, 10.0], [(r, 0.8) for r in right], strict=True))
    assert choose({c: given[c] for c in order}).c == choose(given).c


def test_certainty_that_is_wrong_has_a_finite_loss():
    (found,) = choose({1.0: (0, 1.0)}).candidates
    assert np.isfinite(found.log_loss)


def test_sparse_values_are_fitted_as_dense_ones():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 60)
    values = random.normal(size=(60, 4)) + np.eye(3, 4)[labels]
    dense, sparse = (fit_logistic(given, labels, 3, 1.0, 0.5, 7) for given in (values, csr_matrix(values)))
    ours, theirs = (softmax(values @ each.coef.T + each.intercept) for each in (dense, sparse))
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
