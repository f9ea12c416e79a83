"""Where things are in a workspace: the folder that holds dvc.yaml, params.yaml and data/."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lsgmer.core.errors import LsgmerError


@dataclass(frozen=True, slots=True)
class Workspace:
    """One workspace. Stages run with it as the current folder, so `Workspace.here()` is what they use."""

    root: Path

    @classmethod
    def here(cls) -> Workspace:
        """Return the workspace of the current folder."""
        return cls(Path.cwd())

    def data(self, stage: str) -> Path:
        """Return the output folder of `stage`: data/STAGE."""
        return self.root / "data" / stage

    @property
    def params(self) -> Path:
        """The parameters that DVC watches."""
        return self.root / "params.yaml"

    @property
    def lock(self) -> Path:
        """DVC's record of which inputs made which outputs."""
        return self.root / "dvc.lock"

    @property
    def state(self) -> Path:
        """Local state that git ignores: champion pointer, promotion log, locks, scratch."""
        return self.root / ".lsgmer"

    @property
    def scratch(self) -> Path:
        """Unfinished work that can be resumed; safe to delete when nothing is running."""
        return self.state / "scratch"

    @property
    def costs(self) -> Path:
        """What each execution of a stage cost, one JSON line each."""
        return self.state / "costs.jsonl"

    @property
    def champion(self) -> Path:
        """The pointer to the model that is served."""
        return self.state / "champion.json"

    @property
    def predictions(self) -> Path:
        """The log of what the service answered."""
        return self.state / "predictions"

    @property
    def jobs(self) -> Path:
        """The service's analyses of calls."""
        return self.state / "jobs"

    @property
    def keys(self) -> Path:
        """The hashes of the API keys that the service accepts."""
        return self.state / "keys.json"

    @property
    def bentos(self) -> Path:
        """The project-local BentoML store (BENTOML_HOME)."""
        return self.root / ".bentoml"

    @property
    def reports(self) -> Path:
        """Reports for people, with timestamps; nothing downstream reads them."""
        return self.root / "reports"

    @property
    def runs(self) -> Path:
        """One folder of records per scheduled run."""
        return self.root / "runs"


def check_output(path: Path, option: str) -> None:
    """Raise LsgmerError unless `path`, given with `option`, can be written: call it before work that takes long."""
    if path.is_dir():
        raise LsgmerError(f"{option} {path}: is a folder; name a file")
    if not path.parent.is_dir():
        raise LsgmerError(f"{option} {path}: there is no folder {path.parent}; make it, or name another file")
    if not os.access(path.parent, os.W_OK):
        raise LsgmerError(f"{option} {path}: {path.parent} cannot be written to; name another file")


def write_atomically(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, never part of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
