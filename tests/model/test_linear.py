"""The linear baseline weighs classes as the objective does and never predicts an absent class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lsgmer.model.linear import fit_linear
from tests.support.synthetic import items, split


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
