"""Studies of one curve become one table, a column per size, with each part's gain, and one picture."""

from __future__ import annotations

import pytest

from lsgmer.core.errors import LsgmerError
from lsgmer.experiments.plan import load_plan
from tests.experiments.test_plan import content, write  # noqa: F401 (a fixture)
from tests.experiments.test_report import render, write_cell

WRONG = {"few_5": 10, "few_20": 4, "whole": 2}  # of 40 utterances in each of two folds
VARIANTS = ("full", "without_lse", "tfidf")


@pytest.fixture
def project(content, tmp_path):  # noqa: F811
    """Two sizes and the whole training part; without LSE there are ten errors more in a fold at size 5 only."""
    study = {"title": "Words", "source": "nemo", "curve": "words"}
    content["studies"] = {
        "few_20": {**study, "per_class": 20},
        "few_5": {**study, "per_class": 5},
        "whole": {**study, "title": "All words"},
    }
    grid = {"studies": [*content["studies"]], "variants": [*VARIANTS], "folds": [0, 1], "seeds": [1, 2]}
    zero = {"studies": ["whole"], "variants": ["zero_shot"], "folds": [0, 1], "seeds": [1]}
    content["grids"], content["quick"] = {"nemo": grid, "zero": zero}, {}
    root = write(tmp_path, content)
    return root, load_plan(root)


def fill(root, plan):
    for cell in plan.cells():
        wrong = WRONG[cell.study] + 10 * (cell.variant == "without_lse" and cell.study == "few_5")
        write_cell(root, plan, cell, 20 if cell.variant == "zero_shot" else wrong)


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_sizes_are_columns_from_none_to_all(project):
    root, plan = project
    fill(root, plan)
    text, notes = render(root, plan)
    assert notes == []
    section = text.split("## Learning curve: Words")[1]
    lines = [cells_of(line) for line in section.splitlines() if line.startswith("| ")]
    table = {line[0]: line[1:] for line in lines}
    assert table["variant"] == ["0", "5", "20", "all"]
    assert table["full"] == ["", "0.750 ± 0.000", "0.900 ± 0.000", "0.950 ± 0.000"]
    assert table["zero-shot attribution"][0].startswith("0.500")
    assert table["zero-shot attribution"][1:] == ["", "", ""]
    assert table["seeds"] == ["", "2", "2", "2"]
    gain = table["gain: Label signal enhancement (LSE)"]
    assert gain[1].startswith("+0.250 [+0.")
    assert gain[2] == "+0.000 [+0.000, +0.000]"
    assert (root / "out" / "r" / "words-low-data.png").is_file()


def test_a_study_of_few_utterances_has_no_section_of_its_own(project):
    root, plan = project
    fill(root, plan)
    text, _ = render(root, plan)
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## All words",
        "## Learning curve: Words",
    ]


def test_a_curve_of_different_test_utterances_is_refused(project):
    root, plan = project
    one = plan.grids["nemo"].model_copy(update={"studies": ("few_5",), "folds": (0,)})
    two = plan.grids["nemo"].model_copy(update={"studies": ("few_20",)})
    plan = plan.model_copy(update={"grids": {"nemo": one, "other": two}})
    fill(root, plan)
    with pytest.raises(LsgmerError, match="curve words: its studies were tested on different utterances"):
        render(root, plan)


def test_without_the_full_model_there_is_a_curve_without_gains(project):
    root, plan = project
    grid = plan.grids["nemo"].model_copy(update={"variants": ("tfidf",)})
    plan = plan.model_copy(update={"grids": {"nemo": grid}})
    fill(root, plan)
    section = render(root, plan)[0].split("## Learning curve: Words")[1]
    assert "| TF-IDF + linear | 0.750" in section
    assert "gain:" not in section


def test_all_is_no_column_when_it_has_none_of_the_variants(project):
    root, plan = project
    grid = plan.grids["nemo"].model_copy(update={"studies": ("few_5", "few_20")})
    plan = plan.model_copy(update={"grids": {**plan.grids, "nemo": grid}})
    fill(root, plan)
    section = render(root, plan)[0].split("## Learning curve: Words")[1]
    assert "| variant | 0 | 5 | 20 |\n" in section
