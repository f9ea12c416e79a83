"""A project of its own for a test: the source committed in a fresh git repository, with small parameters."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from lsgmer.core.sections import override, read_yaml

ROOT = Path(__file__).parents[2]
# About 60 utterances; the top layer of the text encoder learns, so that the whole chain is tried with such a model.
# The gate's floors are off: with 16 test utterances they would be a coin toss.
GOLDEN = (
    "sample.utterances={train: 32, valid: 12, test: 16}",
    "train.epochs=10",
    "train.patience=10",
    "train.finetune={audio: none, text: last_1}",
    "model.width=32",
    "evaluate.bootstrap=200",
    "evaluate.min_group=2",
    "evaluate.robustness_utterances=4",
    "gate.min_over_chance=null",
    "gate.min_over_linear=null",
    "gate.min_class_recall=null",
    "gate.max_ece=null",
    "gate.max_subgroup_gap=null",
    "gate.min_champion_utterances=8",
)
UNCACHED = ("data/incumbent", "data/package")


@dataclass(frozen=True)
class Done:
    """A finished command."""

    code: int
    output: str


@dataclass(frozen=True)
class Project:
    """A project folder and how to run things in it."""

    root: Path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `python -m ARGUMENTS` in the project, with its own copy of the source, in a new session."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": str(self.root), "PATH": path, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, timeout: float = 280) -> Done:
        """Run `python -m ARGUMENTS` to its end."""
        process = self.start(*arguments)
        try:
            output, _ = process.communicate(timeout=timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return Done(process.returncode, output)

    def lsgmer(self, *arguments: str) -> Done:
        """Run `lsgmer ARGUMENTS`."""
        return self.run("lsgmer.cli", *arguments)

    def change_params(self, *overrides: str) -> None:
        """Edit params.yaml as a person would."""
        content = override(read_yaml(self.root / "params.yaml"), overrides)
        writer = YAML(typ="safe", pure=True)
        writer.default_flow_style = False
        with (self.root / "params.yaml").open("w", encoding="utf-8") as file:
            writer.dump(content, file)

    def commit(self) -> None:
        """Commit everything that git does not ignore."""
        for command in (["add", "-A"], ["commit", "-q", "--allow-empty", "-m", "golden"]):
            git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", *command]
            subprocess.run(git, cwd=self.root, check=True, capture_output=True)

    def locked(self) -> dict[str, str]:
        """Return the md5 that dvc.lock gives each cached out: not of the package, which names the git commit."""
        stages = read_yaml(self.root / "dvc.lock")["stages"]
        outs = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}
        return {path: md5 for path, md5 in outs.items() if path not in UNCACHED}


def make_project(root: Path, overrides: Sequence[str] = GOLDEN, like: Project | None = None) -> Project:
    """Copy what git would commit of this project to `root`, and commit it there with `overrides` in params.yaml.

    With the Prefect database of `like` the first flow starts sooner: making one takes a quarter of a minute.
    """
    for name in sources():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    subprocess.run(["git", "init", "-q", str(root)], check=True, capture_output=True)
    project = Project(root)
    if like:
        shutil.copytree(like.root / ".prefect", root / ".prefect")
    project.change_params(*overrides)
    project.commit()
    return project


def sources() -> list[str]:
    """Return the project's files: tracked ones, and new ones that git does not ignore."""
    asked = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"]
    listed = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split("\0")
    return [name for name in listed if name and (ROOT / name).is_file() and not _left_out(name)]


def _left_out(name: str) -> bool:
    return name.startswith("tests/") or name.endswith("dvc.lock")


def processes_in(root: Path) -> list[str]:
    """Return the command lines of processes that work in `root` (a zombie has no folder any more)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if (entry / "cwd").resolve(strict=True).is_relative_to(root):
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
    return found


def wait_for(condition: Callable[[], bool], limit_s: float) -> bool:
    """Wait until `condition` holds; return whether it did within `limit_s` seconds."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def pids_of(root: Path, module: str) -> list[int]:
    """Return the processes that run `python -m MODULE` in `root`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_text().split("\0")
                if (entry / "cwd").resolve(strict=True) == root and re.search(rf"-m {module}\b", " ".join(command)):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
