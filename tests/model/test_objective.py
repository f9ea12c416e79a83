"""The consistency term is a Jensen-Shannon divergence, and class weights average to one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr

from lsgmer.model.lsgmer import ModelOutput
from lsgmer.model.objective import JointObjective, attribution_prediction_consistency, class_weights
from tests.support.synthetic import small_params

rows = st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3).filter(lambda row: sum(row) > 0.1)


def distribution(row):
    return torch.tensor([[value / sum(row) for value in row]], dtype=torch.float64)


def divergence(left, right):
    """JS by SciPy's own terms: its `jensenshannon` takes a root, which rounding can make one of a negative number.

    Both sides of each term are doubled, as half of the smallest number is 0.
    """
    both = left + right
    return (rel_entr(2 * left, both) + rel_entr(2 * right, both)).sum(-1) / 4


@settings(max_examples=60, deadline=None)
@given(rows, rows)
@example([1.0, 1.0, 0.0], [1.0, 0.9999999999999999, 0.0])  # rounding makes the divergence less than zero
@example([0.0, 0.0, 1.0], [0.0, 5e-324, 1.0])  # whose mean is 0
def test_consistency_is_the_jensen_shannon_divergence(left, right):
    q, p = distribution(left), distribution(right)
    found = attribution_prediction_consistency(q, p).item()
    assert found == pytest.approx(divergence(q[0].numpy(), p[0].numpy()), abs=1e-7)
    assert found == pytest.approx(attribution_prediction_consistency(p, q).item(), abs=1e-12)
    assert -1e-12 <= found <= math.log(2) + 1e-12


@settings(max_examples=30, deadline=None)
@given(rows)
def test_equal_distributions_give_zero(row):
    assert attribution_prediction_consistency(distribution(row), distribution(row)).item() == pytest.approx(
        0, abs=1e-12
    )


def test_disjoint_distributions_give_ln_2():
    q, p = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert attribution_prediction_consistency(q, p).item() == pytest.approx(math.log(2))


def output() -> ModelOutput:
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]], requires_grad=True)
    raw = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]], requires_grad=True)
    made = ModelOutput(logits, raw.softmax(-1), torch.zeros(2, 4))
    made.attribution.retain_grad()
    return made


def test_total_is_weighted_cross_entropy_plus_weighted_consistency():
    objective = JointObjective(
        small_params("objective.consistency_weight=0.5").objective, torch.tensor([1.0, 2.0, 1.0])
    )
    made = output()
    parts = objective(made, torch.tensor([0, 1]))
    p = made.logits.detach().softmax(-1).numpy()
    expected = (-np.log(p[0, 0]) - 2 * np.log(p[1, 1])) / 3  # torch divides by the sum of the weights
    assert parts.classification.item() == pytest.approx(expected, rel=1e-5)
    consistency = divergence(made.attribution.detach().numpy(), p).mean()
    assert parts.consistency.item() == pytest.approx(consistency, rel=1e-4)
    assert parts.total.item() == pytest.approx(expected + 0.5 * consistency, rel=1e-4)


@pytest.mark.parametrize(
    ("path", "reaches_q", "reaches_p"), [("both", 1, 1), ("prediction", 0, 1), ("attribution", 1, 0)]
)
def test_the_gradient_of_consistency_goes_where_params_say(path, reaches_q, reaches_p):
    objective = JointObjective(small_params(f"objective.consistency_gradient={path}").objective, torch.ones(3))
    made = output()
    parts = objective(made, torch.tensor([0, 1]))
    if parts.consistency.requires_grad:
        parts.consistency.backward()
    got_q = made.attribution.grad is not None and bool(made.attribution.grad.abs().sum() > 0)
    got_p = made.logits.grad is not None and bool(made.logits.grad.abs().sum() > 0)
    assert (got_q, got_p) == (bool(reaches_q), bool(reaches_p))


def test_class_weights_by_hand():
    labels = torch.tensor([0, 0, 0, 0, 1])  # frequencies 4 and 1, power 0.5: ratio 1 to 2
    weights = class_weights(labels, 3, 0.5)
    assert weights[1] / weights[0] == pytest.approx(2.0)
    assert weights[labels].mean() == pytest.approx(1.0)
    assert weights[2] == 0
    assert class_weights(labels, 2, 0.0).tolist() == [1.0, 1.0]
