"""Which code made something: the state of the source tree and the versions of the libraries."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from importlib import metadata
from pathlib import Path

from lsgmer.core.hashing import file_sha256
from lsgmer.core.records import Record, digest


class SourceState(Record):
    """Which code ran: git commit and dirty flag (None: no git), and a digest of the source files."""

    commit: str | None
    dirty: bool | None
    source_sha256: str


SOURCE_FOLDERS = ("lsgmer", "serving", "flows")
SOURCE_FILES = ("dvc.yaml", "pyproject.toml", "requirements.lock")
VERSIONED = ("torch", "torchaudio", "transformers", "numpy", "scikit-learn", "accelerate", "safetensors", "soundfile")
ORIGIN = Path(".lsgmer/origin.json")  # in a workspace with a copied source tree: the state of the original


def library_versions(names: tuple[str, ...] = VERSIONED) -> dict[str, str]:
    """Return the installed version of each library that can change the bits of a result."""
    return {name: metadata.version(name) for name in names}


def source_files(root: Path) -> list[Path]:
    """Return the files that make up the program, sorted: code, web page and pipeline, without tests."""
    found = [root / name for name in SOURCE_FILES if (root / name).is_file()]
    for folder in SOURCE_FOLDERS:
        found += [p for p in (root / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    return sorted(found)


def source_state(root: Path) -> SourceState:
    """Return the commit, dirty flag and digest of the source under `root`; commit is None without git."""
    content = digest({file.relative_to(root).as_posix(): file_sha256(file) for file in source_files(root)})
    if (root / ORIGIN).is_file():
        origin = SourceState.model_validate_json((root / ORIGIN).read_text())
        changed = origin.source_sha256 != content
        return SourceState(commit=origin.commit, dirty=changed or origin.dirty, source_sha256=content)
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--", *SOURCE_FOLDERS, *SOURCE_FILES)
    if commit is None or changes is None:
        return SourceState(commit=None, dirty=None, source_sha256=content)
    return SourceState(commit=commit, dirty=bool(changes), source_sha256=content)


def commit_state(root: Path, commit: str) -> str | None:
    """Return the digest of the source at `commit`, computed as in `source_state`; None if the commit is unknown."""
    origin = root / ORIGIN
    where = Path(__file__).parents[2] if origin.is_file() else root
    if _git(where, "cat-file", "-e", f"{commit}^{{commit}}") is None:
        return None
    archive = subprocess.run(
        ["git", "-C", str(where), "archive", "--format=tar", commit, "--", *_present(where, commit)],
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {member.name: tar.extractfile(member) for member in tar.getmembers() if member.isfile()}
        return digest({name: hashlib.sha256(file.read()).hexdigest() for name, file in files.items() if file})


def _present(root: Path, commit: str) -> list[str]:
    """Return which of the source's folders and files `commit` has: git archive fails on a missing one."""
    names = _git(root, "ls-tree", "--name-only", commit, "--", *SOURCE_FOLDERS, *SOURCE_FILES)
    return (names or "").splitlines()


def _git(root: Path, *arguments: str) -> str | None:
    """Return git's answer, or None without git, a repository or a commit."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
