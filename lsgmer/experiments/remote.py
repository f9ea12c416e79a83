"""A cell computed by a worker of a cluster, in a process of its own: DVC's run of the cell then takes what it finds."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from lsgmer.core.device import ONE_THREAD
from lsgmer.core.errors import LsgmerError
from lsgmer.core.process import OWNER, identity, our_environment
from lsgmer.core.stage import guarded
from lsgmer.experiments.plan import FOLDER, Cell

POLL_S = 0.3
Item = tuple[str, str, str, int, int]  # the project's root; study, variant, fold, seed


def item_of(root: Path, cell: Cell) -> Item:
    """Return what `compute` needs to know of a cell."""
    return (str(root.absolute()), cell.study, cell.variant, cell.fold, cell.seed)


def compute(session: Path, item: Item) -> None:
    """Compute a cell on a worker, as DVC would run it: one thread, its own process, its output in the cell's log.

    Ends early once `session` is gone: then nobody waits for the cell any more. Raises LsgmerError, with the cell's
    own message.
    """
    root, *given = Path(item[0]), *item[1:]
    cell = Cell("", *item[1:])
    log = log_of(root, cell)
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "lsgmer.experiments.remote", *map(str, given)]
    environment = {**our_environment(), **ONE_THREAD, OWNER: identity(os.getpid()), "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=root / FOLDER, env=environment, stdout=output, stderr=output)
        while process.poll() is None:
            try:
                process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                if not session.is_dir():
                    process.send_signal(signal.SIGINT)  # finished epochs are kept
    if process.returncode:
        raise LsgmerError(f"{cell.name}: {last_line(log)}")


def log_of(root: Path, cell: Cell) -> Path:
    """Return the file with a cell's output."""
    return root / FOLDER / ".lsgmer" / "logs" / f"{cell.name}.log"


def last_line(path: Path) -> str:
    """Return the first line of a log that speaks of an error."""
    lines = [line for line in path.read_text(errors="replace").splitlines() if "error" in line.lower()]
    return lines[0] if lines else "see its log"


def main() -> None:
    """Compute the cell STUDY VARIANT FOLD SEED; the current folder is the project's experiments/."""
    study, variant, fold, seed = sys.argv[1:]
    cell = Cell("", study, variant, int(fold), int(seed))
    guarded(cell.name, lambda workspace: _compute(workspace.root.parent, cell))


def _compute(root: Path, cell: Cell) -> None:
    from lsgmer.experiments import cell as cells  # torch

    target = cells.computed_folder(root, cell)
    if target.is_dir():
        return
    partial = target.with_name(f".{target.name}")
    shutil.rmtree(partial, ignore_errors=True)
    cells.run(root, cell, partial)
    partial.replace(target)


if __name__ == "__main__":
    main()
