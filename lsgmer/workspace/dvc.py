"""What DVC says about the pipeline: which stages there are, in what order, and which are out of date."""

from __future__ import annotations

import graphlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lsgmer.core.errors import LsgmerError
from lsgmer.core.process import our_environment
from lsgmer.core.sections import read_yaml

DVC = (sys.executable, "-m", "dvc")
GATE = "gate"  # the stage whose verdict decides what comes after it
PACKAGE = "package"  # the stage that only a passing verdict lets run
PIPELINE = "dvc.yaml"
_BUSY = re.compile(r"is busy|blocked by|another DVC process|[Uu]nable to acquire lock")
_PID = re.compile(r"PID[s]?:?\s*(\d+)")


@dataclass(frozen=True, slots=True)
class StageGraph:
    """The stages of dvc.yaml in an order in which they can run, and the direct needs of each."""

    order: tuple[str, ...]
    needs: dict[str, frozenset[str]]

    def after(self, stages: Iterable[str]) -> tuple[str, ...]:
        """Return `stages` and everything downstream of them, in running order."""
        reached = set(stages)
        for name in self.order:
            if self.needs[name] & reached:
                reached.add(name)
        return tuple(name for name in self.order if name in reached)


def environment() -> dict[str, str]:
    """Return the environment of DVC and its stages: offline, unbuffered, `python` meaning this interpreter."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**our_environment(), "PATH": path, "PYTHONUNBUFFERED": "1"}


def check_workspace(root: Path) -> None:
    """Raise LsgmerError unless `root` is a workspace: a folder with dvc.yaml that DVC knows."""
    if not (root / PIPELINE).is_file():
        raise LsgmerError(f"{root}: no dvc.yaml here; run lsgmer from the project's folder or from a workspace")
    if not (root / ".dvc").is_dir():
        raise LsgmerError(f"{root}: DVC is not set up here; run `dvc init` (with --no-scm outside git)")


def ask(root: Path, *arguments: str) -> str:
    """Run `dvc ARGUMENTS` in `root` and return what it prints. Raises LsgmerError with DVC's reason."""
    mend_lock(root)
    done = subprocess.run([*DVC, *arguments], cwd=root, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        output = done.stderr + done.stdout
        raise LsgmerError(busy(output) or f"dvc {' '.join(arguments)} failed: {last_lines(output)}")
    return done.stdout


def mend_lock(root: Path) -> None:
    """Remove DVC's lock file if a killed process left it truncated: every later dvc command would fail on it.

    DVC writes the file in place, so while another DVC runs it may be incomplete for a moment: look again first.
    """
    path = root / ".dvc" / "tmp" / "rwlock"
    for _ in range(5):
        try:
            json.loads(path.read_text())
        except FileNotFoundError:
            return
        except ValueError:
            time.sleep(0.1)
        else:
            return
    print(f"removing {path}: a DVC process that was killed left it half written", file=sys.stderr)
    path.unlink(missing_ok=True)


def unclean(root: Path) -> frozenset[str]:
    """Return the stages of `root`'s dvc.yaml that DVC reports as out of date. Takes about two seconds."""
    return frozenset(json.loads(ask(root, "status", PIPELINE, "--json").strip().splitlines()[-1]))


def read_graph(root: Path) -> StageGraph:
    """Ask DVC for the graph of `root`'s dvc.yaml, foreach and matrix expanded, imports left out."""
    dot = ask(root, "dag", "--dot", PIPELINE)
    names = [name for name in re.findall(r'^"([^"]+)";$', dot, re.MULTILINE) if not name.endswith(".dvc")]
    edges = re.findall(r'^"([^"]+)" -> "([^"]+)";$', dot, re.MULTILINE)
    needs = {name: frozenset(a for a, b in edges if b == name and a in names) for name in names}
    declared = list(read_yaml(root / PIPELINE).get("stages", {}))
    return StageGraph(order=_ordered(needs, declared), needs=needs)


def survey(root: Path) -> tuple[StageGraph, tuple[str, ...]]:
    """Return the stage graph and the stages to run, in order: those out of date and all downstream of them."""
    with ThreadPoolExecutor() as pool:  # two dvc commands of two seconds each
        plan, todo = pool.submit(read_graph, root), pool.submit(unclean, root)
        return plan.result(), plan.result().after(todo.result())


def _ordered(needs: dict[str, frozenset[str]], declared: list[str]) -> tuple[str, ...]:
    """Sort topologically; stages that are ready at the same time keep the order of dvc.yaml."""
    sorter = graphlib.TopologicalSorter(needs)
    sorter.prepare()
    order: list[str] = []
    ready: list[str] = []
    while sorter.is_active():
        ready += sorter.get_ready()
        ready.sort(key=lambda name: (declared.index(name.partition("@")[0]), name))
        order.append(ready.pop(0))
        sorter.done(order[-1])
    return tuple(order)


def busy(output: str) -> str | None:
    """Return a clear message when DVC's `output` says that another DVC is running here, else None."""
    if not _BUSY.search(output):
        return None
    holder = _PID.search(output)
    who = f" (process {holder.group(1)})" if holder else ""
    return f"another DVC command is running in this workspace{who}; wait for it to end, then run this again"


def last_lines(output: str, count: int = 12) -> str:
    """Return the last `count` lines of `output` that are not blank."""
    return "\n".join([line for line in output.splitlines() if line.strip()][-count:])
