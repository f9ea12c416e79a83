"""The linear baseline weighs classes as the objective does, and its penalty is the best on validation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lsgmer.metrics import balanced_accuracy, weighted_f1
from lsgmer.model.linear import choose_linear, fit_linear
from tests.support.synthetic import items, learnable, split


def skewed(counts: tuple[int, int, int]):
    """A training part with `counts` utterances of each label, which nothing in the features tells apart."""
    labels = np.repeat(np.arange(3), counts).tolist()
    made = zip(items(sum(counts), seed=3), labels, strict=True)
    return split("train", [replace(item, label=label) for item, label in made])


@pytest.mark.parametrize(("power", "expected"), [(0.0, (0.8, 0.15, 0.05)), (1.0, (1 / 3, 1 / 3, 1 / 3))])
def test_linear_weighs_classes_as_the_objective_does(power, expected):
    part = skewed((320, 60, 20))
    linear = fit_linear(part, 1e-4, power, 7)
    np.testing.assert_allclose(linear.probabilities(part).mean(0), expected, atol=0.02)


def test_a_class_absent_from_training_is_never_predicted():
    part = skewed((30, 30, 0))
    probabilities = fit_linear(part, 1.0, 0.5, 7).probabilities(part)
    assert probabilities[:, 2].max() < 1e-9
    np.testing.assert_allclose(probabilities.sum(1), 1)


CANDIDATES = (1e-4, 1e-2, 1.0)


@pytest.mark.parametrize(("metric", "of"), [("balanced_accuracy", balanced_accuracy), ("weighted_f1", weighted_f1)])
def test_the_penalty_is_the_best_on_validation(metric, of):
    train, valid = learnable("train", 40, 1), learnable("valid", 60, 2)
    chosen = choose_linear(train, valid, CANDIDATES, 0.5, 7, metric)
    assert tuple(each.c for each in chosen.candidates) == CANDIDATES
    for each in chosen.candidates:
        probabilities = fit_linear(train, each.c, 0.5, 7).probabilities(valid)
        assert each.score == pytest.approx(of(valid.labels, probabilities.argmax(1)))
        loss = -np.log(probabilities[np.arange(len(valid)), valid.labels]).mean()
        assert each.log_loss == pytest.approx(loss)
    best = max(chosen.candidates, key=lambda each: (each.score, -each.log_loss))
    assert chosen.c == best.c
    alone = fit_linear(train, chosen.c, 0.5, 7)
    np.testing.assert_array_equal(chosen.model.coef, alone.coef)


def test_training_utterances_of_one_class_are_enough():
    part = skewed((9, 0, 0))
    assert (choose_linear(part, part, CANDIDATES, 0.5, 7, "weighted_f1").model.probabilities(part)[:, 0] > 0.99).all()
