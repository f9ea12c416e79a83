"""The pipeline file against the code: what a stage imports is what DVC watches."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from lsgmer.core.sections import read_yaml
from lsgmer.experiments.cell import SECTIONS
from lsgmer.params import Params

ROOT = Path(__file__).parents[1]
STAGES = {name: stage.get("do", stage) for name, stage in read_yaml(ROOT / "dvc.yaml")["stages"].items()}
STUDIES = read_yaml(ROOT / "experiments" / "dvc.yaml")["stages"]
NOT_WATCHED = {"lsgmer/__init__.py"}  # a docstring and the version


def file_of(module: str) -> Path | None:
    base = ROOT / Path(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def imported(file: Path) -> set[str]:
    """Every module of ours that `file` imports, lazily or not."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    ours = {name for name in found if name.split(".")[0] in ("lsgmer", "serving", "flows")}
    parents = {".".join(name.split(".")[:depth]) for name in ours for depth in range(1, name.count(".") + 1)}
    return ours | parents


def closure(module: str) -> set[str]:
    """Every file of ours that running `module` may execute, relative to the root."""
    seen: set[Path] = set()
    todo = [module, *(".".join(module.split(".")[:depth]) for depth in range(1, module.count(".") + 1))]
    while todo:
        file = file_of(todo.pop())
        if file and file not in seen:
            seen.add(file)
            todo += imported(file)
    return {file.relative_to(ROOT).as_posix() for file in seen} - NOT_WATCHED


@pytest.mark.parametrize("name", STAGES)
def test_deps_cover_what_the_stage_imports(name):
    stage = STAGES[name]
    module = stage["cmd"].split("python -m ")[1].split()[0]
    deps = stage["deps"]
    missing = {file for file in closure(module) if not any(file == d or file.startswith(f"{d}/") for d in deps)}
    assert not missing, f"dvc.yaml: stage {name} imports these, and DVC does not watch them: {sorted(missing)}"


@pytest.mark.parametrize("name", STAGES)
def test_deps_exist_and_watch_nothing_else(name):
    module = STAGES[name]["cmd"].split("python -m ")[1].split()[0]
    needed = closure(module)
    for dep in STAGES[name]["deps"]:
        if dep.startswith(("lsgmer", "serving", "flows")):
            assert (ROOT / dep).exists(), f"dvc.yaml: stage {name} depends on {dep}, which is not there"
            assert any(f == dep or f.startswith(f"{dep}/") for f in needed), f"{name} does not use {dep}"


@pytest.mark.parametrize("name", STUDIES)
def test_the_studies_watch_what_their_stages_import(name):
    stage = STUDIES[name].get("do", STUDIES[name])
    modules, watched = [stage["cmd"].split("python -m ")[1].split()[0]], deps_on_code(stage)
    if "data/common.json" in (*stage["deps"], *stage["outs"]):  # one stage watches for all cells
        assert name == "common" or not watched
        modules, watched = (
            ["lsgmer.experiments.fingerprint", "lsgmer.experiments.cell"],
            deps_on_code(STUDIES["common"]),
        )
    needed = set().union(*map(closure, modules))
    assert {d for d in watched if not (ROOT / d).exists()} == set()
    assert {f for f in needed if not any(f == d or f.startswith(f"{d}/") for d in watched)} == set()
    assert {d for d in watched if not any(f == d or f.startswith(f"{d}/") for f in needed)} == set()


def test_the_cells_depend_on_every_parameter_they_train_with():
    (shared,) = (given["../params.yaml"] for given in STUDIES["common"]["params"])
    assert {*SECTIONS} - {key.split(".")[0] for key in shared} == set()


def deps_on_code(stage) -> set[str]:
    return {dep.removeprefix("../") for dep in stage["deps"] if dep.startswith("../lsgmer")}


@pytest.mark.parametrize("name", STAGES)
def test_params_are_sections_that_exist(name):
    sections = {info.alias or field for field, info in Params.model_fields.items()}
    for key in STAGES[name].get("params", []):
        assert key.split(".")[0] in sections


def test_only_evaluate_reads_the_test_features():
    readers = {name for name, stage in STAGES.items() if "data/features/test" in stage["deps"]}
    assert readers == {"evaluate"}
    for name in ("train", "controls"):
        features = {dep for dep in STAGES[name]["deps"] if dep.startswith("data/features")}
        assert features == {"data/features/train", "data/features/valid"}


def test_one_name_four_places():
    for name, stage in STAGES.items():
        outs = [out if isinstance(out, str) else next(iter(out)) for out in stage["outs"]]
        folder = "data/raw/sample" if name == "sample" else f"data/{name}"
        assert all(out == folder or out.startswith(f"{folder}/") for out in outs), name
