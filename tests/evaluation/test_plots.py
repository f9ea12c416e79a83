"""Plots are the same bytes for the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from lsgmer.evaluation import plots
from tests.stages.test_gate import NAMES, model

TRUTH = np.repeat([0, 1, 2], 10)
PROBABILITIES = np.random.default_rng(0).dirichlet([1, 1, 1], 30)


def draw(folder):
    found = model(0.9, 0.4, 0.7, per_class=10)
    absent = model(0.9, 0.9, classes=2)
    plots.confusion_matrix(folder / "confusion.png", np.array(found.confusion), NAMES)
    plots.class_recall(folder / "recall.png", {"fused": found, "audio": absent}, NAMES)
    plots.reliability(folder / "reliability.png", TRUTH, PROBABILITIES, 10, None)
    correct = PROBABILITIES.argmax(1) == TRUTH
    plots.risk_by_coverage(folder / "risk.png", correct, {"probability": PROBABILITIES.max(1)})
    scores = {"full": {"5": (0.3, 0.02), "all": (0.6, 0.0)}, "linear": {"all": (0.5, 0.01)}}
    plots.low_data(folder / "low-data.png", ["5", "all"], scores, 0.2, "UA", "few utterances")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_plots_are_the_same_bytes_and_name_no_program(tmp_path):
    first = draw(tmp_path / "a")
    assert len(first) == 5
    assert first == draw(tmp_path / "b")
    assert all(content.startswith(b"\x89PNG") and b"Software" not in content for content in first.values())


@pytest.mark.parametrize("count", [1, 3])
def test_few_utterances_still_draw(tmp_path, count):
    plots.reliability(tmp_path / "r.png", TRUTH[:count], PROBABILITIES[:count], 10, 0.1)
    plots.risk_by_coverage(tmp_path / "c.png", np.ones(count, bool), {"consistency": np.ones(count)})
    assert (tmp_path / "c.png").is_file()
