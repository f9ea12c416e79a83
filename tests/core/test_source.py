"""Hashes equal DVC's and git's, and the state of the source says what ran."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lsgmer.core.hashing import dvc_md5, file_md5, file_sha256
from lsgmer.core.source import commit_state, source_state

ROOT = Path(__file__).parents[2]


def git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path):
    for name in ("lsgmer", "serving", "flows"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text(f"# {name}\n")
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    return tmp_path


def test_file_hashes_by_hand(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert file_sha256(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()
    assert file_md5(tmp_path / "x") == dvc_md5(tmp_path / "x") == "900150983cd24fb0d6963f7d28e17f72"


def test_a_folder_hashes_as_dvc_does(tmp_path):
    folder = tmp_path / "folder"
    for name in ("b.txt", "a/c.txt", "a b/ü.txt", "a.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--no-scm", "-q"], cwd=tmp_path, check=True)
    subprocess.run([*dvc, "add", "-q", "folder"], cwd=tmp_path, check=True)
    assert f"md5: {dvc_md5(folder)}\n" in (tmp_path / "folder.dvc").read_text()


def test_without_git_there_is_no_commit(project):
    state = source_state(project)
    assert (state.commit, state.dirty) == (None, None)
    assert len(state.source_sha256) == 64


def test_commit_dirty_flag_and_digest(project):
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-qm", "x")
    clean = source_state(project)
    assert clean.commit
    assert clean.dirty is False
    assert commit_state(project, clean.commit) == clean.source_sha256
    (project / "data.txt").write_text("not source")
    assert source_state(project) == clean
    (project / "lsgmer" / "a.py").write_text("# changed\n")
    changed = source_state(project)
    assert (changed.commit, changed.dirty) == (clean.commit, True)
    assert changed.source_sha256 != clean.source_sha256
    assert commit_state(project, clean.commit) == clean.source_sha256
    assert commit_state(project, "0" * 40) is None


def test_a_copy_keeps_its_origin_and_shows_changes(project, tmp_path):
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-qm", "x")
    origin = source_state(project)
    copy = tmp_path / "copy"
    for name in ("lsgmer", "serving", "flows"):
        shutil.copytree(project / name, copy / name)
    shutil.copy(project / "dvc.yaml", copy)
    (copy / ".lsgmer").mkdir()
    (copy / ".lsgmer" / "origin.json").write_text(origin.to_json())
    assert source_state(copy) == origin
    (copy / "flows" / "a.py").write_text("# changed\n")
    assert source_state(copy).dirty is True


def test_the_projects_own_commit_can_be_recomputed():
    if source_state(ROOT).commit is None:
        pytest.skip("this copy of the project is no git checkout")
    state = source_state(ROOT)
    if not state.dirty:
        assert commit_state(ROOT, state.commit) == state.source_sha256
    else:
        assert commit_state(ROOT, state.commit) is not None
