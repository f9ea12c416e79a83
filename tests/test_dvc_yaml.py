"""The pipeline file against the code: what a stage imports and reads is what DVC watches."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from lsgmer.core.sections import read_yaml
from lsgmer.experiments.cell import CellParams
from lsgmer.experiments.features import SourceParams
from lsgmer.params import Params
from lsgmer.registry.bento import code_to_serve
from lsgmer.registry.papers import STAGES as PACKAGED
from tests.support.imports import ROOT, closure

STAGES = {name: stage.get("do", stage) for name, stage in read_yaml(ROOT / "dvc.yaml")["stages"].items()}
STUDIES = read_yaml(ROOT / "experiments" / "dvc.yaml")["stages"]
OWN = ("lsgmer/stages/", "lsgmer/experiments/")  # rooms whose files are stages: each depends on its own


def module_of(stage) -> str:
    return stage["cmd"].split("python -m ")[1].split()[0]


def watched_by(dep: str, files: set[str]) -> set[str]:
    return {file for file in files if file == dep or file.startswith(f"{dep}/")}


def is_only_a_docstring(file: str) -> bool:
    if not file.endswith("__init__.py"):
        return False
    body = ast.parse((ROOT / file).read_text()).body
    return len(body) == 1 and isinstance(body[0], ast.Expr)


def needed_by(*modules: str) -> set[str]:
    found = set().union(*map(closure, modules)) - {"lsgmer/__init__.py"}  # a docstring and the version
    return {file for file in found if not is_only_a_docstring(file)}


def needed_by_stage(name: str) -> set[str]:
    served = code_to_serve(ROOT) if name == "package" else []  # copied into the Bento, whatever packaging imports
    return needed_by(module_of(STAGES[name])) | {file for file in served if not is_only_a_docstring(file)}


@pytest.mark.parametrize("name", STAGES)
def test_deps_cover_what_the_stage_imports(name):
    stage = STAGES[name]
    missing = needed_by(module_of(stage)).difference(
        *(watched_by(d, needed_by(module_of(stage))) for d in stage["deps"])
    )
    assert not missing, f"dvc.yaml: stage {name} imports these, and DVC does not watch them: {sorted(missing)}"


@pytest.mark.parametrize("name", STAGES)
def test_deps_exist_and_watch_nothing_else(name):
    needed = needed_by_stage(name)
    for dep in STAGES[name]["deps"]:
        if dep.startswith(("lsgmer", "serving", "flows")):
            assert (ROOT / dep).exists(), f"dvc.yaml: stage {name} depends on {dep}, which is not there"
            assert watched_by(dep, needed), f"{name} does not use {dep}"


@pytest.mark.parametrize("name", STAGES)
def test_deps_on_code_are_rooms_and_the_stage_itself(name):
    for dep in (d for d in STAGES[name]["deps"] if d.startswith("lsgmer/")):
        single = (ROOT / dep).is_file() and dep.count("/") == 1  # lsgmer/audio.py and lsgmer/metrics.py
        assert single or (ROOT / dep).is_dir() or dep == f"lsgmer/stages/{name}.py", dep


@pytest.mark.parametrize("name", STAGES)
def test_the_stage_reads_the_sections_that_dvc_watches(name):
    needs = importlib.import_module(module_of(STAGES[name])).Needs
    assert sorted(needs.keys()) == sorted(STAGES[name].get("params", []))


@pytest.mark.parametrize("name", STUDIES)
def test_the_studies_watch_what_their_stages_import(name):
    stage = STUDIES[name].get("do", STUDIES[name])
    modules, watched = [module_of(stage)], deps_on_code(stage)
    if "data/common.json" in (*stage["deps"], *stage["outs"]):  # one stage watches for all cells
        assert name == "common" or not watched
        modules, watched = (
            ["lsgmer.experiments.fingerprint", "lsgmer.experiments.cell"],
            deps_on_code(STUDIES["common"]),
        )
    needed = needed_by(*modules)
    assert {dep for dep in watched if not (ROOT / dep).exists()} == set()
    assert needed.difference(*(watched_by(dep, needed) for dep in watched)) == set()
    assert {dep for dep in watched if not watched_by(dep, needed)} == set()
    assert {
        dep for dep in watched if (ROOT / dep).is_file() and dep.count("/") > 1 and not dep.startswith(OWN)
    } == set()


def test_the_studies_depend_on_every_parameter_they_read():
    (shared,) = (given["../params.yaml"] for given in STUDIES["common"]["params"])
    assert {*CellParams.model_fields} - {key.split(".")[0] for key in shared} == {"features"}  # of its source
    given = next(given["../params.yaml"] for given in STUDIES["features"]["do"]["params"] if "../params.yaml" in given)
    assert sorted(SourceParams.keys()) == sorted(given)


def deps_on_code(stage) -> set[str]:
    return {dep.removeprefix("../") for dep in stage["deps"] if dep.startswith("../lsgmer")}


def test_the_stages_read_every_section_there_is():
    sections = {info.alias or field for field, info in Params.model_fields.items()}
    assert {key.split(".")[0] for stage in STAGES.values() for key in stage.get("params", [])} == sections
    assert {*read_yaml(ROOT / "params.yaml")} == sections


def test_only_evaluate_reads_the_test_features():
    readers = {name for name, stage in STAGES.items() if "data/features/test" in stage["deps"]}
    assert readers == {"evaluate"}
    for name in ("train", "controls"):
        features = {dep for dep in STAGES[name]["deps"] if dep.startswith("data/features")}
        assert features == {"data/features/train", "data/features/valid"}


def test_packaging_reads_the_data_that_it_declares():
    declared = [dep for dep in STAGES["package"]["deps"] if dep.startswith("data/")]
    assert sorted(declared) == sorted(f"data/{name}" for name in PACKAGED)


def test_one_name_four_places():
    files = {path.stem for path in Path(ROOT / "lsgmer" / "stages").glob("*.py")} - {"__init__"}
    assert files == {*STAGES}
    for name, stage in STAGES.items():
        assert module_of(stage) == f"lsgmer.stages.{name}"
        own = {key.split(".")[0] for key in stage.get("params", [])}
        assert name in own or name == "incumbent", name  # which reads no parameter
        outs = [out if isinstance(out, str) else next(iter(out)) for out in stage["outs"]]
        folder = "data/raw/sample" if name == "sample" else f"data/{name}"
        assert all(out == folder or out.startswith(f"{folder}/") for out in outs), name
