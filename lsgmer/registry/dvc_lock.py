"""A dvc.lock as evidence: what each stage read and wrote, and whether the same bytes are still there."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lsgmer.core.errors import LsgmerError
from lsgmer.core.hashing import dvc_md5, file_md5
from lsgmer.core.paths import Workspace
from lsgmer.core.sections import lookup, read_yaml

Status = Literal["verified", "missing", "broken"]
HERE = "in the workspace"  # ends the detail of what was verified there, not in DVC's cache


@dataclass(frozen=True, slots=True)
class Recorded:
    """A file or folder (md5 ends in .dir) as a lock records it; `cached` says whether DVC's cache has it too."""

    path: str
    md5: str
    cached: bool

    def check(self, workspace: Workspace) -> tuple[Status, str]:
        """Recompute the md5 in the workspace, else in DVC's cache.

        A file in the workspace that differs although the workspace's own dvc.lock has the same md5 is broken. One
        that a later run has replaced is not: then the cache is checked, and without a copy there it is missing.
        """
        place = workspace.root / self.path
        found = dvc_md5(place) if place.exists() else None
        if found == self.md5:
            return "verified", f"{self.path}: {self.md5} {HERE}"
        if found is not None and self.md5 in _claims(workspace, self.path):
            change = f"changed in the workspace: md5 is {found}, dvc.lock says {self.md5}"
            return "broken", f"{self.path}: {change}{_which(workspace, self)}"
        if self.cached:
            return _check_cache(cache_folder(workspace), self)
        return "missing", f"{self.path}: the workspace has changed since, and there is no copy of {self.md5}"


@dataclass(frozen=True, slots=True)
class Lock:
    """A parsed dvc.lock: its stages, their outputs by path, and the raw data."""

    stages: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, path: Path) -> Lock:
        """Read `path`. Raises LsgmerError when it is not a dvc.lock."""
        stages = read_yaml(path).get("stages")
        if not isinstance(stages, dict) or not all(isinstance(stage, dict) for stage in stages.values()):
            raise LsgmerError(f"{path}: not a dvc.lock: it has no stages")
        return cls(stages)

    @property
    def outs(self) -> dict[str, Recorded]:
        """Every output of every stage, by path."""
        return {o["path"]: _recorded(o, cached=True) for stage in self.stages.values() for o in stage.get("outs", [])}

    @property
    def raw(self) -> dict[str, Recorded]:
        """What the manifest was read from: the corpus folder, whether the sample stage or the user made it."""
        outs, deps = self.outs, self.stages.get("manifest", {}).get("deps", [])
        data = [dep for dep in deps if not dep["path"].startswith(("lsgmer/", "serving/"))]
        return {dep["path"]: outs.get(dep["path"], _recorded(dep, cached=False)) for dep in data}

    def inconsistencies(self) -> list[str]:
        """Describe every stage that read something other than what an earlier stage wrote."""
        outs = self.outs
        return [
            f"stage {name} read {dep['path']} as {dep.get('md5')}, which was written as {outs[dep['path']].md5}"
            for name, stage in self.stages.items()
            for dep in stage.get("deps", [])
            if dep["path"] in outs and dep.get("md5") != outs[dep["path"]].md5
        ]

    def differing_params(self, params: Path) -> list[str]:
        """Return the keys whose values in `params` are not those that the stages ran with."""
        content = read_yaml(params)
        ran: dict[str, Any] = {}
        for stage in self.stages.values():
            ran |= stage.get("params", {}).get("params.yaml", {})
        return sorted(key for key, value in ran.items() if lookup(content, key) != value)


def cache_folder(workspace: Workspace) -> Path:
    """Ask DVC for its cache folder, which a workspace may share with the project."""
    asked = subprocess.run(
        [sys.executable, "-m", "dvc", "cache", "dir"], cwd=workspace.root, capture_output=True, text=True, check=False
    )
    if asked.returncode:
        return workspace.root / ".dvc" / "cache"
    return workspace.root / asked.stdout.strip()


def _check_cache(cache: Path, recorded: Recorded) -> tuple[Status, str]:
    """Recompute the hash of what DVC's cache holds under the recorded md5; for a folder, of every file in it."""
    top = _cached(cache, recorded.md5)
    if not top.is_file():
        return "missing", f"{recorded.path}: neither the workspace nor DVC's cache has {recorded.md5}; try `dvc pull`"
    if file_md5(top) != recorded.md5.removesuffix(".dir"):
        return "broken", f"{recorded.path}: DVC's cache entry {recorded.md5} is not what its name says"
    entries = json.loads(top.read_text()) if recorded.md5.endswith(".dir") else []
    for entry in entries:
        file = _cached(cache, entry["md5"])
        if not file.is_file():
            return "missing", f"{recorded.path}/{entry['relpath']}: not in DVC's cache; try `dvc pull`"
        if file_md5(file) != entry["md5"]:
            return "broken", f"{recorded.path}/{entry['relpath']}: its entry in DVC's cache was changed"
    return "verified", f"{recorded.path}: {recorded.md5} in DVC's cache (the workspace has changed since)"


def _which(workspace: Workspace, recorded: Recorded) -> str:
    """Name the files of a folder that differ, where the cache still has the folder's list."""
    listing = _cached(cache_folder(workspace), recorded.md5)
    if not recorded.md5.endswith(".dir") or not listing.is_file():
        return ""
    folder = workspace.root / recorded.path
    wrong = [e["relpath"] for e in json.loads(listing.read_text()) if not _matches(folder / e["relpath"], e["md5"])]
    return f"; differing: {', '.join(wrong[:5])}" if wrong else "; there are files that do not belong"


def _matches(file: Path, md5: str) -> bool:
    return file.is_file() and file_md5(file) == md5


def _cached(cache: Path, md5: str) -> Path:
    return cache / "files" / "md5" / md5[:2] / md5[2:]


def _claims(workspace: Workspace, path: str) -> set[str]:
    """Return the md5 that the workspace's own dvc.lock gives `path`: as an output or, if no stage makes it, as input.

    A stage that has not run since, such as that of packaging after a rejection, still names the inputs it once had.
    """
    if not workspace.lock.is_file():
        return set()
    stages = Lock.read(workspace.lock).stages.values()
    made, read = (
        {i["md5"] for stage in stages for i in stage.get(kind, []) if i["path"] == path and "md5" in i}
        for kind in ("outs", "deps")
    )
    return made or read


def _recorded(item: dict[str, Any], cached: bool) -> Recorded:
    return Recorded(item["path"], str(item.get("md5")), cached)
