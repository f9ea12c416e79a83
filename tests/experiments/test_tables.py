"""The mean of several seeds is an ensemble's answer, and it is not one of the compared rows."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lsgmer.experiments.plan import Study
from lsgmer.experiments.results import Run, StudyResults
from lsgmer.experiments.tables import averaged, rows_of

TRUTH = np.array([0, 1, 2] * 10)
STUDY = Study(title="x", source="x")


def run(seed: int, parameters: int = 10) -> Run:
    probabilities = np.random.default_rng(seed).dirichlet([1, 1, 1], len(TRUTH))
    card = SimpleNamespace(parameters=parameters, labels=("a", "b", "c"))
    ids = tuple(f"u{row:02}" for row in range(len(TRUTH)))
    return Run(seed, ids, TRUTH, probabilities, np.zeros(len(TRUTH)), np.zeros(len(TRUTH)), (card,))


def rows(**runs: list[Run]):
    kept = {variant: tuple(found) for variant, found in runs.items()}
    return rows_of(StudyResults("x", kept, 0, 0, 0.0, None), STUDY)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=5))
def test_the_mean_of_seeds_is_a_distribution_of_each_utterance(seeds):
    runs = [run(seed) for seed in seeds]
    mean = averaged(runs)
    np.testing.assert_allclose(mean.probabilities.sum(1), 1)
    np.testing.assert_allclose(mean.probabilities[4], np.mean([each.probabilities[4] for each in runs], axis=0))
    np.testing.assert_array_equal(averaged(runs[::-1]).guess, mean.guess)


def test_equal_seeds_have_themselves_as_their_mean():
    np.testing.assert_allclose(averaged([run(3), run(3)]).probabilities, run(3).probabilities)


def test_each_network_with_several_seeds_has_such_a_row_and_no_other():
    found = rows(full=[run(1), run(2)], late=[run(3)], linear=[run(4, 0), run(5, 0)])
    assert [(row.variant, row.averaged) for row in found] == [("full", 0), ("full", 2), ("late", 0), ("linear", 0)]
    assert [len(row.runs) for row in found] == [2, 1, 1, 2]


def test_it_is_compared_with_the_single_seeds_and_does_not_count_as_a_test():
    alone = rows(full=[run(1), run(2)], late=[run(3)])
    both = rows(full=[run(1), run(2)], late=[run(3), replace(run(3), seed=4)])
    assert next(row.p_holm for row in alone if row.variant == "late") == next(
        row.p_holm for row in both if row.variant == "late"
    )
    mean = next(row for row in both if row.variant == "full" and row.averaged)
    assert mean.p_holm is None
    assert mean.gap is not None
