"""The report shows what is known and says what is not."""

from __future__ import annotations

from lsgmer.core.text import markdown_table
from lsgmer.evaluation.records import IncumbentComparison
from lsgmer.evaluation.report import render
from lsgmer.metrics import Interval, interval_text
from lsgmer.model.train_card import Calibration
from tests.stages.test_gate import against, effect, made, model


def test_a_table_survives_bars_in_names():
    assert markdown_table(("a", "b"), [("x|y", "1")]).splitlines() == ["| a | b |", "| --- | --- |", "| x\\|y | 1 |"]


def test_intervals_and_signs():
    assert interval_text(Interval(value=0.5, low=0.25, high=0.75)) == "0.500 [0.250, 0.750]"
    assert interval_text(Interval(value=0.5)) == "0.500"
    assert interval_text(Interval(value=0.1, low=-0.1, high=0.3), "+") == "+0.100 [-0.100, +0.300]"


def test_the_report_says_what_is_known_and_what_is_not():
    plain = render(made(), {})
    assert "No champion yet." in plain
    assert "## By tag" not in plain
    assert "## Notes" not in plain
    assert plain.endswith("\n")
    groups = {"speaker": {"d1": model(0.5, 0.5, 0.5)}}
    full = render(made(groups=groups, notes=("one thing",), incumbent=against(-0.1)), {"d1": "Ada"})
    assert "| Ada | 300 |" in full
    assert "- one thing" in full
    assert "UA minus that of lsgmer:abc: +0.000 [-0.100, +0.100], on 120 utterances of 4 speakers" in full


def test_the_temperature_and_what_it_does_are_shown():
    found = Calibration(temperature=1.5, ece_before=0.15, ece_after=0.03)
    assert "Temperature 1.500" in render(made().model_copy(update={"calibration": found}), {})
    assert "ECE on test 0.150 before, 0.030 after" in render(made().model_copy(update={"calibration": found}), {})
    assert "## Calibration" not in render(made(), {})


def test_a_comparison_that_could_not_be_made_says_why():
    gone = IncumbentComparison(champion="lsgmer:abc", n=0, n_speakers=0, difference=None, reason="its labels are x")
    assert "Not compared with lsgmer:abc" in render(made(incumbent=gone), {})
    assert "its labels are x." in render(made(incumbent=gone), {})


def test_a_class_without_test_utterances_is_told():
    assert "none in test" in render(made(model(0.9, 0.9, classes=2)), {})


def test_robustness_is_a_table_where_it_was_measured():
    found = made().model_copy(update={"robustness": (effect("telephone", -0.12),)})
    assert "| telephone | 32 | 0.900 | 0.800 | 0.680 | -0.120 [-0.220, -0.020] |" in render(found, {})
    assert "## Robustness" not in render(made(), {})
