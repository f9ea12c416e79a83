"""Tasks that pull data from outside this machine. They may fail for reasons out there, so only they are retried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows import stage_process
from lsgmer.core.errors import LsgmerError
from lsgmer.core.sections import read_yaml
from lsgmer.workspace.dvc import PIPELINE, busy
from lsgmer.workspace.remote import check_settings, explain, redact

RETRY_DELAYS_S = [5.0, 60.0]


def is_outside(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Say whether a failure came from outside this machine, so that a retry may help."""
    return isinstance(state.result(raise_on_failure=False), stage_process.OutsideFailed)


def tracked(root: Path) -> list[Path]:
    """Return the .dvc files under data/, sorted."""
    return sorted((root / "data").rglob("*.dvc")) if (root / "data").is_dir() else []


def imports(root: Path) -> list[Path]:
    """Return the .dvc files under data/ that came from `dvc import` or `dvc import-url`: only those have a source."""
    return [path for path in tracked(root) if read_yaml(path).get("deps")]


def absent(root: Path) -> list[Path]:
    """Return the .dvc files under data/ whose data is missing, as in a fresh clone."""
    return [
        path
        for path in tracked(root)
        if any(not (path.parent / out["path"]).exists() for out in read_yaml(path).get("outs", []))
    ]


OUTSIDE: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "retries": len(RETRY_DELAYS_S),
    "retry_delay_seconds": RETRY_DELAYS_S,
    "retry_condition_fn": is_outside,
}


@task(**OUTSIDE)
def update_imports(root: str) -> list[str]:
    """Pull what changed at the source of every import; return the imports' names.

    Raises OutsideFailed for what a retry may mend, and LsgmerError for what only a person can, such as credentials.
    """
    return _pull(["update"], imports(Path(root)), Path(root))


@task(**OUTSIDE)
def fetch_absent(root: str) -> list[str]:
    """Pull data that DVC tracks but that is missing here; return the names. Raises as `update_imports` does."""
    return _pull(["pull"], absent(Path(root)), Path(root))


@task(**OUTSIDE)
def fetch_outputs(root: str) -> None:
    """Pull the outputs that dvc.lock records, as in a fresh clone; raises as `update_imports` does.

    What the remote does not have is left out with a warning: its stage runs then.
    """
    _pull(["pull", "--allow-missing"], [Path(root) / PIPELINE], Path(root))


def _pull(command: list[str], files: list[Path], root: Path) -> list[str]:
    names = [path.relative_to(root).as_posix() for path in files]
    if not names:
        return []
    check_settings(root)
    what = f"dvc {command[0]}"
    print(f"{what}: {', '.join(names)}", flush=True)
    info = get_run_logger().info
    try:
        stage_process.run([*command, *names], root, lambda line: info(redact(line)), what)
    except stage_process.StageFailed as error:
        if busy(str(error)):
            raise
        raise _failure(redact(str(error)), what) from None  # the cause is not redacted
    return names


def _failure(told: str, what: str) -> LsgmerError:
    """Return the error for DVC's own message: what is wrong with the remote if that is known."""
    problem = explain(told)
    if problem is None:
        return stage_process.OutsideFailed(f"new data did not arrive: {told}")
    text = f"{what}: {problem.text}\n{told.partition(chr(10))[2]}"
    return stage_process.OutsideFailed(text) if problem.outside else LsgmerError(text)
