"""A workspace for other parameters: the same source and cache, its own products."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lsgmer.commands.run import choose
from lsgmer.core.errors import LsgmerError
from lsgmer.core.sections import read_yaml
from lsgmer.core.source import source_state
from lsgmer.params import load_params
from lsgmer.workspace import copies, dvc, remote
from tests.flows.fake_pipeline import make_workspace


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a little source of its own, outside git."""
    root = make_workspace(tmp_path / "project")
    for name in ("lsgmer/a.py", "lsgmer/sub/b.py", "serving/web/index.html", "flows/c.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"# {name}\n")
    (root / "requirements.lock").write_text("x==1\n")
    return root


def prepare(project: Path, *overrides: str, folder: str = "workspaces/x") -> Path:
    content, _ = copies.effective(project, None, overrides)
    return copies.prepare(project, project / folder, content).root


def test_it_has_the_source_and_the_parameters_and_leaves_the_project_alone(project: Path) -> None:
    before = (project / "params.yaml").read_bytes()
    root = prepare(project, "train.epochs=3")
    assert load_params(root / "params.yaml").train.epochs == 3
    assert (project / "params.yaml").read_bytes() == before
    assert (root / "lsgmer/sub/b.py").read_text() == "# lsgmer/sub/b.py\n"
    here, there = source_state(project), source_state(root)
    assert there.source_sha256 == here.source_sha256
    dvc.check_workspace(root)


def test_refreshing_follows_the_source_and_touches_nothing_else(project: Path) -> None:
    root = prepare(project)
    untouched = (root / "lsgmer/a.py").stat().st_mtime_ns
    (project / "flows/c.py").write_text("# changed\n")
    (project / "lsgmer/sub/b.py").unlink()
    (project / "lsgmer/sub").rmdir()
    (root / "data").mkdir()
    (root / "data/kept").touch()
    prepare(project)
    assert (root / "flows/c.py").read_text() == "# changed\n"
    assert not (root / "lsgmer/sub").exists()
    assert (root / "lsgmer/a.py").stat().st_mtime_ns == untouched
    assert (root / "data/kept").exists()


@pytest.mark.parametrize(
    ("path", "synthesize", "expected"),
    [
        ("data/raw/sample", ["sample"], "data/raw/sample"),
        ("../corpora/mine", [], "../../../corpora/mine"),
        ("data/raw/mine", [], "../../data/raw/mine"),
        ("/abs/mine", [], "/abs/mine"),
    ],
)
def test_relative_folders_still_lead_to_the_same_place(
    project: Path, path: str, synthesize: list[str], expected: str
) -> None:
    (project / "encoder").mkdir()
    encoders = {"audio": {"source": "encoder"}, "text": {"source": "org/hub-id"}}
    content: dict[str, Any] = {"corpus": {"path": path, "synthesize": synthesize}, "features": encoders}
    found = copies.rebase(content, project, project / "workspaces/x")
    assert found["corpus"]["path"] == expected
    assert found["features"]["audio"]["source"] == "../../encoder"
    assert found["features"]["text"]["source"] == "org/hub-id"
    assert content["corpus"]["path"] == path


def test_the_folders_of_encoders_side_by_side_are_found_again(project: Path) -> None:
    (project / "encoder").mkdir()
    audio = [{"kind": "logmel"}, {"source": "encoder"}, {"source": "package:resemblyzer/pretrained.pt"}]
    content: dict[str, Any] = {
        "corpus": {"path": "/abs/mine", "synthesize": []},
        "features": {"audio": audio, "text": {"kind": "none"}},
    }
    found = copies.rebase(content, project, project / "workspaces/x")["features"]["audio"]
    assert found == [audio[0], {"source": "../../encoder"}, audio[2]]
    assert audio[1] == {"source": "encoder"}


def test_cache_and_remote_are_the_projects(project: Path) -> None:
    (project / ".dvc/config").write_text("[core]\n    remote = local\n['remote \"local\"']\n    url = ../.store\n")
    root = prepare(project)
    ask = [sys.executable, "-m", "dvc"]
    cache = subprocess.run([*ask, "cache", "dir"], cwd=root, capture_output=True, text=True, check=True).stdout.strip()
    assert Path(cache) == project / ".dvc/cache"
    assert f"url = {project / '.store'}" in (root / ".dvc/config.local").read_text()


def test_a_remote_of_this_machine_only_is_known_there_but_not_its_credentials(project: Path) -> None:
    (project / ".dvc/config.local").write_text(
        "[core]\n    remote = store\n['remote \"store\"']\n    url = s3://a/b\n    endpointurl = https://c\n"
        "    secret_access_key = hidden\n"
    )
    root = prepare(project)
    found = remote.read_settings(root / ".dvc")
    assert remote.default_remote(root) == remote.Remote("store", "s3://a/b")
    assert found["'remote \"store\"'"]["endpointurl"] == "https://c"
    assert "hidden" not in (root / ".dvc/config.local").read_text()


def test_what_is_done_already_comes_from_the_shared_cache(project: Path) -> None:
    subprocess.run([*dvc.DVC, "repro", "-q", "make@sample"], cwd=project, env=dvc.environment(), check=True)
    root = prepare(project, "train.epochs=3")
    (root / "fake.py").write_bytes((project / "fake.py").read_bytes())
    output = dvc.ask(root, "repro", "--single-item", "make@sample")
    assert "is cached - skipping run" in output
    assert (root / "data/make/raw.txt").read_text() == "raw"


def test_names_say_what_they_hold(project: Path) -> None:
    content, _ = copies.effective(project, None, ["train.epochs=3"])
    same = copies.default_folder(project, None, ["train.epochs=3"], content)
    assert same.parent == project / "workspaces"
    assert same.name.startswith("set-")
    assert len(same.name) == len("set-") + 8
    assert copies.default_folder(project, Path("my/nemo.yaml"), [], content).name == "nemo"
    assert copies.default_folder(project, Path("nemo.yaml"), ["a.b=1"], content).name == f"nemo-{same.name[4:]}"


def test_it_never_takes_over_a_folder_it_did_not_make(project: Path) -> None:
    (project / "mine").mkdir()
    (project / "mine/thesis.tex").touch()
    for folder, reason in (("mine", "not a workspace"), (".", "of its own"), ("..", "of its own")):
        with pytest.raises(LsgmerError, match=reason):
            prepare(project, folder=folder)


def test_a_workspace_keeps_its_parameters_when_named_again(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = choose(project, None, ["train.epochs=3"], project / "w").root
    assert choose(project, None, [], project / "w").root == root
    assert load_params(root / "params.yaml").train.epochs == 3
    assert "outputs go to" in capsys.readouterr().out
    assert choose(project, None, [], None).root == project
    assert read_yaml(root / "params.yaml")["corpus"]["path"] == "data/raw/sample"
