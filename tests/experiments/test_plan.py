"""Every cell has valid parameters, and a typo in the plan is named before anything runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lsgmer.core.errors import ParamsError
from lsgmer.core.sections import read_yaml
from lsgmer.experiments.cell import cell_params, settings_sha256
from lsgmer.experiments.grid import check
from lsgmer.experiments.plan import Cell, Plan, load_plan

ROOT = Path(__file__).parents[2]


@pytest.fixture
def content():
    return read_yaml(ROOT / "experiments" / "params.yaml")


def test_every_cell_of_the_project_has_valid_parameters():
    plan = load_plan(ROOT)
    cells = plan.cells()
    assert len({cell.name for cell in cells}) == len(cells) > 100
    for cell in {(cell.study, cell.variant): cell for cell in cells}.values():
        params = cell_params(ROOT, plan, cell)
        assert params.runtime.seed == cell.seed
        assert params.runtime.threads == 1


def test_quick_is_a_part_of_the_whole():
    plan = load_plan(ROOT)
    assert 0 < len(plan.cells(quick=True)) < len(plan.cells()) / 3
    assert set(plan.cells(quick=True)) <= set(plan.cells())


def test_a_variant_changes_what_it_says_and_nothing_else():
    plan = load_plan(ROOT)
    full, ablated = (cell_params(ROOT, plan, Cell("nemo", "nemo", v, 0, 1)) for v in ("full", "without_lse"))
    assert (full.model.enhancement, ablated.model.enhancement) == ("labels", "none")
    assert ablated.model_copy(update={"model": full.model}) == full


def test_an_unknown_grid_is_named():
    with pytest.raises(ParamsError, match="no grid 'nemu'"):
        load_plan(ROOT).cells(grid="nemu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["studies"]["nemo"].update(source="nowhere"), r"studies\.nemo\.source: 'nowhere' is none of"),
        (lambda c: c["grids"]["nemo"].update(variants=["fool"]), r"grids\.nemo\.variants: \['fool'\] is none of"),
        (lambda c: c["studies"]["nemo_5"].pop("curve"), r"studies\.nemo_5\.curve: missing"),
        (lambda c: c["quick"]["nemo"].update(seeds=[99]), r"quick\.nemo must be a part of grids\.nemo"),
    ],
)
def test_names_must_exist(content, change, message):
    change(content)
    with pytest.raises(ValueError, match=message):
        Plan.model_validate(content, strict=False)


def write(tmp_path, content):
    from ruamel.yaml import YAML

    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "params", tmp_path / "params")
    (tmp_path / "experiments").mkdir()
    with (tmp_path / "experiments" / "params.yaml").open("w") as file:
        YAML(typ="safe", pure=True).dump(content, file)
    return tmp_path


def test_a_typo_names_the_key_and_the_allowed_ones(content, tmp_path):
    content["studies"]["nemo"]["normalize"] = "speaker"
    with pytest.raises(ParamsError, match=r"studies\.nemo\.normalize: unknown key; did you mean normalise\?"):
        load_plan(write(tmp_path, content))


def test_a_variant_that_sets_an_unknown_parameter_is_named(content, tmp_path):
    content["variants"]["full"]["set"] = {"model.widht": 3}
    root = write(tmp_path, content)
    with pytest.raises(ParamsError, match=r"cell nemo-full-0-1: .*\n.*model\.widht: unknown key"):
        cell_params(root, load_plan(root), Cell("nemo", "nemo", "full", 0, 1))


def test_parameters_that_no_cell_reads_are_checked_before_any_cell_runs(content, tmp_path):
    content["variants"]["full"]["set"] = {"gate.max_eec": 0.1}
    root = write(tmp_path, content)
    plan = load_plan(root)
    with pytest.raises(
        ParamsError, match=r"cell \w+-full-\d-\d: .*\n.*gate\.max_eec: unknown key; did you mean max_ece"
    ):
        check(root, plan, plan.cells())


@pytest.mark.parametrize("key", ["corpus", "params"])
def test_an_absolute_path_is_refused_with_the_relative_one(content, tmp_path, key):
    content["sources"]["nemo"][key] = str(tmp_path.resolve() / "elsewhere")
    with pytest.raises(ParamsError, match=rf"sources\.nemo\.{key}: .* is absolute, .*: write elsewhere"):
        load_plan(write(tmp_path, content))


def test_dvc_must_watch_the_corpus_that_is_read(content, tmp_path):
    content["sources"]["nemo"]["corpus"] = "data/elsewhere"
    root = write(tmp_path, content)
    with pytest.raises(ParamsError, match=r"corpus\.path is '../shared/data/nemo'"):
        cell_params(root, load_plan(root), Cell("nemo", "nemo", "full", 0, 1))


def test_a_cell_of_few_utterances_is_another_cell(content, tmp_path):
    root = write(tmp_path, content)
    plan = load_plan(root)
    cells = [Cell("low_data_nemo", study, "full", 0, 1) for study in ("nemo_5", "nemo_10")]
    few, more = (cell_params(root, plan, cell) for cell in cells)
    assert few == more
    assert len({settings_sha256(root, plan, cell) for cell in cells}) == 2
