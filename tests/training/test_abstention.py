"""The threshold below which a service gives no emotion: the risk it promises on validation, and as low as it can be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsgmer.training.calibrate import threshold_for


def with_top(tops: list[float], right: list[bool]) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities of two classes whose first is the larger, and labels."""
    probabilities = np.array([[top, 1 - top] for top in tops])
    return probabilities, np.array([0 if good else 1 for good in right])


CASES = st.lists(st.tuples(st.sampled_from([0.55, 0.6, 0.7, 0.8, 0.9, 0.99]), st.booleans()), min_size=1, max_size=40)


@given(CASES, st.sampled_from([0.01, 0.1, 0.25, 0.5]))
def test_the_risk_is_kept_and_no_lower_threshold_keeps_it(cases, risk):
    tops, right = np.array([top for top, _ in cases]), np.array([good for _, good in cases])
    found = threshold_for(*with_top(tops.tolist(), right.tolist()), risk)
    wrong_at = {float(t): float((~right[tops >= t]).mean()) for t in set(tops.tolist())}
    fitting = [t for t, share in wrong_at.items() if share <= risk]
    if found is None:
        assert not fitting
    else:
        assert found.threshold == pytest.approx(min(fitting))
        assert found.coverage == pytest.approx(float((tops >= found.threshold).mean()))
        assert (found.n, found.risk) == (len(cases), risk)


def test_it_never_abstains_where_all_is_right_and_always_where_all_is_wrong():
    tops = [0.6, 0.9, 0.7]
    assert threshold_for(*with_top(tops, [True] * 3), 0.1).coverage == 1
    assert threshold_for(*with_top(tops, [False] * 3), 0.1) is None
