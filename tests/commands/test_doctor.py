"""The doctor finds what is wrong, and names the remedy."""

from __future__ import annotations

import shutil
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest

from lsgmer.commands import doctor
from lsgmer.core.errors import ExitCode
from lsgmer.core.paths import Workspace
from tests.flows.fake_pipeline import PROJECT


def test_this_project_is_well(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(PROJECT)
    code = doctor.doctor()
    output = capsys.readouterr().out
    assert code == ExitCode.DONE, output
    for name in ("python", "versions", "params", "device", "threads", "offline", "espeak", "disk", "dvc remote", "git"):
        assert f"  {name} " in output


def test_versions_are_compared_with_the_lock(tmp_path: Path) -> None:
    pins = [f"{name}=={metadata.version(name)}" for name in doctor.CHECKED]
    (tmp_path / "requirements.lock").write_text(" \\\n".join([*pins, ""]))
    assert [f.health for f in doctor.versions(Workspace(tmp_path))] == ["ok", "ok"]
    pins[pins.index(f"torch=={metadata.version('torch')}")] = "torch==1.0"
    (tmp_path / "requirements.lock").write_text("\n".join(pins))
    _, finding = doctor.versions(Workspace(tmp_path))
    assert finding.health == "broken"
    assert "(lock: 1.0)" in finding.detail


def test_pins_follow_the_markers_of_this_python() -> None:
    lock = "a==1 ; python_full_version >= '3.0' \\\n    --hash=x\na==2 ; python_full_version < '3.0' \\\nb_c==3\n"
    assert doctor.pins(lock) == {"a": "1", "b-c": "3"}


def test_every_problem_is_reported_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_text("train: {epoch: 3}\n")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1))
    broken = {f.name for f in doctor.examine(Workspace(tmp_path)) if f.health == "broken"}
    assert {"parameters", "disk", "data_versions"} <= broken


def test_changed_switches_are_noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    doctor.apply_environment()
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    (finding,) = doctor.switches(Workspace(tmp_path))
    assert (finding.health, "HF_HUB_OFFLINE=0" in finding.detail) == ("note", True)
