"""`lsgmer schedule`: retrain on a schedule until Ctrl-C."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from lsgmer.commands.flow_process import run_module
from lsgmer.core.errors import ParamsError
from lsgmer.core.paths import Workspace
from lsgmer.params import load_params
from lsgmer.workspace import dvc

CRON_FIELDS = 5


def schedule(cron: str | None, every_s: float | None, timezone: str, webhook: str | None) -> int:
    """Serve the retraining flow in the current folder; return its exit code. Raises ParamsError for bad options."""
    if (cron is None) == (every_s is None):
        raise ParamsError('give either --cron "0 3 * * 1" or --every SECONDS')
    if cron is not None and not cron.strip().startswith("@") and len(cron.split()) != CRON_FIELDS:
        raise ParamsError(
            f'--cron "{cron}": has {len(cron.split())} fields, not {CRON_FIELDS}: minute, hour, day of the month, '
            'month, day of the week, as in "0 3 * * 1". Without a minute between runs, use --every SECONDS'
        )
    if every_s is not None and every_s < 1:
        raise ParamsError(f"--every {every_s:g}: must be at least 1 second")
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ParamsError(f"--timezone {timezone}: unknown; write it as in Europe/Warsaw or UTC") from None
    workspace = Workspace(Path.cwd())
    load_params(workspace.params)
    dvc.check_workspace(workspace.root)
    arguments = ["--timezone", timezone]
    arguments += ["--cron", cron] if cron else ["--every", str(every_s)]
    arguments += ["--webhook", webhook] if webhook else []
    return run_module(workspace, "flows.schedule", arguments)
