"""Another folder to run in: a copy of the source, its own params.yaml and data/, and the same DVC cache."""

from __future__ import annotations

import configparser
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import Workspace, write_atomically
from lsgmer.core.records import digest
from lsgmer.core.sections import rebase
from lsgmer.core.source import ORIGIN, SOURCE_FILES, SOURCE_FOLDERS, source_state
from lsgmer.params import Params, read_layers
from lsgmer.workspace.remote import portable, read_settings

SETTINGS = ("prefect.toml", ".dvcignore", ".dvc/config")


def effective(root: Path, params_file: Path | None, overrides: Sequence[str]) -> tuple[dict[str, Any], Params]:
    """Return the parameters a run would use, as plain values and checked: `params_file` is laid over params.yaml.

    Raises ParamsError.
    """
    return read_layers(root / "params.yaml", params_file, overrides)


def default_folder(root: Path, params_file: Path | None, overrides: Sequence[str], content: dict[str, Any]) -> Path:
    """Return workspaces/NAME: the parameter file's stem, and 8 hex digits of the values when --set changed any."""
    parts = [params_file.stem] if params_file else ["set"]
    if overrides:
        parts.append(digest(content)[:8])
    return root / "workspaces" / "-".join(parts)


def prepare(root: Path, folder: Path, content: dict[str, Any]) -> Workspace:
    """Make or refresh the workspace `folder` from the project at `root`, with parameters `content`."""
    folder = folder.resolve()
    if folder == root.resolve() or folder in root.resolve().parents:
        raise LsgmerError(f"{folder}: a workspace must be a folder of its own, not one that holds the project")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / ORIGIN).is_file():
        raise LsgmerError(f"{folder}: not empty and not a workspace that lsgmer made; name a new folder")
    write_atomically(folder / ORIGIN, source_state(root).to_json())
    refresh_source(root, folder)
    write_if_changed(folder / ".dvc" / "config.local", dvc_settings(root))
    write_if_changed(folder / "params.yaml", _yaml(rebase(content, root, folder)))
    return Workspace(folder)


def refresh_source(root: Path, folder: Path) -> None:
    """Make the source in `folder` equal to that of `root`; untouched files keep their times."""
    for name in (*SOURCE_FILES, *SETTINGS):
        if (root / name).is_file():
            write_if_changed(folder / name, (root / name).read_bytes())
    for name in SOURCE_FOLDERS:
        _mirror(root / name, folder / name)


def dvc_settings(root: Path) -> str:
    """Return a .dvc/config.local for a workspace outside git that shares the cache and remotes of `root`."""
    known = read_settings(root / ".dvc")
    cache = known.get("cache", {}).get("dir", "cache")
    result = configparser.ConfigParser(interpolation=None)
    result.read_dict({"core": {"no_scm": "true"}, "cache": {"dir": str((root / ".dvc" / cache).resolve())}})
    if remote := known.get("core", {}).get("remote"):
        result["core"]["remote"] = remote
    for name, section in known.items():
        if name.startswith("'remote "):
            result.read_dict({name: portable(section, root / ".dvc")})
    text = io.StringIO()
    result.write(text)
    return text.getvalue()


def write_if_changed(path: Path, content: str | bytes) -> None:
    """Write `content` unless `path` holds it already, so that DVC need not look at the file again."""
    data = content.encode() if isinstance(content, str) else content
    if not path.is_file() or path.read_bytes() != data:
        write_atomically(path, data)


def _mirror(source: Path, target: Path) -> None:
    wanted = {p.relative_to(source) for p in source.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    for name in wanted:
        write_if_changed(target / name, (source / name).read_bytes())
    for path in [p for p in target.rglob("*") if p.is_file() and "__pycache__" not in p.parts]:
        if path.relative_to(target) not in wanted:
            path.unlink()
    for path in sorted((p for p in target.rglob("*") if p.is_dir()), reverse=True):
        if path.name != "__pycache__" and not (source / path.relative_to(target)).is_dir():
            shutil.rmtree(path)


def _yaml(content: dict[str, Any]) -> str:
    text = io.StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.dump(content, text)
    return text.getvalue()
