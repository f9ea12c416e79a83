"""The stage that watches for all cells, on a small project of its own."""

from __future__ import annotations

import json

import pytest

from lsgmer.experiments import fingerprint

PIPELINE = """
stages:
  common:
    cmd: python -m lsgmer.experiments.fingerprint
    params:
      - ../params.yaml: [runtime.device, model]
    deps: [../lsgmer/model.py, ../lsgmer/encoders]
    outs: [data/common.json]
"""


@pytest.fixture
def project(tmp_path):
    files = {
        "experiments/dvc.yaml": PIPELINE,
        "params.yaml": "runtime: {device: cpu, seed: 7}\nmodel: {width: 64}\n",
        "lsgmer/model.py": "a = 1\n",
        "lsgmer/encoders/text.py": "b = 1\n",
        "lsgmer/report.py": "c = 1\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def written(root) -> bytes:
    fingerprint.run(root)
    return (root / "experiments" / "data" / "common.json").read_bytes()


def test_it_names_every_dependency_and_parameter_that_cells_share(project):
    found = json.loads(written(project))
    assert set(found["code"]) == {"lsgmer/model.py", "lsgmer/encoders"}
    assert found["params"] == {"runtime.device": "cpu", "model": {"width": 64}}


@pytest.mark.parametrize(
    ("name", "content", "changes"),
    [
        ("lsgmer/model.py", "a = 2\n", True),
        ("lsgmer/encoders/text.py", "b = 2\n", True),
        ("lsgmer/encoders/new.py", "", True),
        ("lsgmer/encoders/table.json", "{}", True),
        ("params.yaml", "runtime: {device: cpu, seed: 7}\nmodel: {width: 32}\n", True),
        ("lsgmer/report.py", "c = 2\n", False),
        ("params.yaml", "runtime: {device: cpu, seed: 8}\nmodel: {width: 64}\n", False),
    ],
)
def test_it_changes_with_what_cells_run_and_with_nothing_else(project, name, content, changes):
    before = written(project)
    (project / name).write_text(content)
    assert (written(project) != before) is changes
