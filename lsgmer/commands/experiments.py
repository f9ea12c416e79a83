"""`lsgmer experiments`: run the studies of experiments/params.yaml, and report their results."""

from __future__ import annotations

import sys
from pathlib import Path

from lsgmer.core.device import cores
from lsgmer.core.errors import LsgmerError, ParamsError
from lsgmer.core.process import interrupt_on_signals
from lsgmer.experiments.plan import FOLDER, load_plan


def run(root: Path, quick: bool, jobs: int | None, grid: str | None) -> None:
    """Bring the cells up to date. Raises LsgmerError outside the project, or when a cell fails."""
    from lsgmer.experiments import grid as grids
    from lsgmer.workspace.dvc import check_workspace

    check_workspace(root)
    interrupt_on_signals()
    try:
        grids.run(root, quick, jobs or cores(), grid)
    except KeyboardInterrupt:
        print("\nstopped: finished cells and epochs are kept; the same command resumes there", file=sys.stderr)
        sys.exit(130)
    print("\nnext  lsgmer experiments report" + (" --quick" if quick else ""))


def report(root: Path, quick: bool, grid: str | None, out: Path, picture: str) -> None:
    """Write the report of all finished cells to `out`, its pictures next to it, and say which cells are missing."""
    from lsgmer.experiments import report as reports
    from lsgmer.experiments import timing

    if picture not in ("png", "svg"):
        raise ParamsError(f"--pictures {picture}: must be png or svg")
    plan = load_plan(root)
    cells = plan.cells(quick, grid)
    if not cells:
        raise LsgmerError(f"{FOLDER}/params.yaml: grid {grid} has no cells; fill in its lists")
    options = [
        " --quick" if quick else "",
        f" --grid {grid}" if grid else "",
        f" --out {out}",
        f" --pictures {picture}",
    ]
    command = "lsgmer experiments report" + "".join(options)
    notes = reports.write(root, plan, cells, root / out, picture, command, timing.last(root, quick, grid))
    for note in notes:
        print(f"incomplete: {note}")
    print(f"wrote {out} and its pictures in {out.with_suffix('')}/")
