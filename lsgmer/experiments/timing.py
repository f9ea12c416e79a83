"""Wall-clock time of the last run of a grid: `lsgmer experiments run` records it, the report shows it."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from lsgmer.core.paths import write_atomically
from lsgmer.core.records import Record
from lsgmer.experiments.plan import FOLDER


class RunTime(Record):
    """The last run that had something to do: `cells` run in `jobs` parallel processes, features included."""

    cells: int
    jobs: int
    seconds: float


def note(root: Path, quick: bool, grid: str | None, took: RunTime) -> None:
    """Keep `took` for the report of the same grid."""
    write_atomically(_path(root, quick, grid), took.to_json())


def last(root: Path, quick: bool, grid: str | None) -> RunTime | None:
    """Return how long the last run of this grid took; None when none ran here."""
    try:
        return RunTime.model_validate_json(_path(root, quick, grid).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


def _path(root: Path, quick: bool, grid: str | None) -> Path:
    return root / FOLDER / ".lsgmer" / "runs" / f"{'quick' if quick else 'full'}-{grid or 'all'}.json"
