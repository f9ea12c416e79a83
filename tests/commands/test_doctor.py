"""The doctor finds what is wrong, and names the remedy."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest

from lsgmer.commands import doctor
from lsgmer.core.errors import ExitCode, LsgmerError
from lsgmer.core.paths import Workspace
from lsgmer.core.sections import override, read_yaml
from lsgmer.workspace import remote
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


def test_an_absent_extra_is_broken_only_where_params_use_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"moonshine-voice": "0.1.0", "onnxruntime": "1.0"}
    monkeypatch.setattr(doctor, "_installed", lambda name: versions.get(name))
    params = override(read_yaml(PROJECT / "params.yaml"), ["features.audio=[{kind: logmel}, {kind: moonshine}]"])
    (tmp_path / "params.yaml").write_text(json.dumps(params))
    here, there = Workspace(PROJECT), Workspace(tmp_path)
    assert [check.health for place in (here, there) for check in doctor.moonshine(place)] == ["ok", "ok"]
    del versions["onnxruntime"]
    (unused,), (used,) = doctor.moonshine(here), doctor.moonshine(there)
    assert (unused.health, used.health) == ("note", "broken")
    assert used.detail.startswith("onnxruntime not installed; ")
    assert used.detail.endswith("pip install 'lsgmer[moonshine]'")


def test_credentials_in_the_settings_of_a_remote_are_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "dvc.yaml").touch()
    config, here = tmp_path / ".dvc/config.local", Workspace(tmp_path)
    config.write_text("[core]\n    remote = a\n['remote \"a\"']\n    url = s3://b/c\n")
    (finding,) = doctor.data_versions(here)
    assert (finding.health, finding.detail) == ("ok", "a: s3://b/c")
    monkeypatch.setattr(remote, "find_spec", lambda _: None)
    (finding,) = doctor.data_versions(here)
    assert (finding.health, "needs dvc-s3: pip install 'lsgmer[s3]'" in finding.detail) == ("broken", True)
    for line in ("secret_access_key = x", "endpointurl = https://ford:x@host"):
        config.write_text(f"[core]\n    remote = a\n['remote \"a\"']\n    url = s3://b/c\n    {line}\n")
        with pytest.raises(LsgmerError, match=f"config.local: remote a: {line.partition(' ')[0]}: no credentials"):
            list(doctor.data_versions(here))


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


def test_a_prefect_server_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    (finding,) = [check for check in doctor.examine(Workspace(tmp_path)) if check.name == "prefect_server"]
    assert (finding.health, "PREFECT_API_URL=http://127.0.0.1:9/api does not answer" in finding.detail) == (
        "broken",
        True,
    )
