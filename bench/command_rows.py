"""Rows `help`, `repro` and `run`: what the commands cost when there is nothing to do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench.paired import NotMeasured, Pair

ROOT = Path(__file__).parents[1]
FINISHED = ROOT / "workspaces" / "bench"
MAKE = "lsgmer run --workspace workspaces/bench --set train.epochs=2"
TYPER = "import typer; app = typer.Typer(rich_markup_mode=None)\n" + "".join(
    f"@app.command()\ndef c{i}(a: str = '', b: int = 0) -> None:\n    'Do something.'\n" for i in range(20)
)


def command(arguments: list[str], folder: Path) -> Callable[[], None]:
    """Return an action that runs `python ARGUMENTS` in `folder` and fails if it does."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])

    def run() -> None:
        environment = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode not in (0, 3):  # 3: up to date, and the gate had not passed
            raise NotMeasured(f"{' '.join(arguments)} failed: {done.stdout[-300:]}{done.stderr[-300:]}")

    return run


def help_pairs() -> list[Pair]:
    """Return the row `help`."""
    ours = command(["-m", "lsgmer.cli", "--help"], ROOT)
    control = command(["-c", f"{TYPER}app()", "--help"], ROOT)
    return [Pair("help", "lsgmer --help", "a typer app of 20 empty commands", ours, control)]


def idle_pairs() -> list[Pair]:
    """Return the rows `run` and `repro`, on a workspace in which everything is up to date."""
    if not (FINISHED / "dvc.lock").is_file():
        raise NotMeasured(f"needs a finished workspace: {MAKE}")
    status = command(["-m", "dvc", "status"], FINISHED)
    repro = command(["-m", "dvc", "repro"], FINISHED)
    run = command(["-m", "lsgmer.cli", "run"], FINISHED)
    return [
        Pair("run", "lsgmer run, nothing to do", "dvc repro, nothing to do", run, repro),
        Pair("repro", "dvc repro, nothing to do", "dvc status", repro, status),
    ]
