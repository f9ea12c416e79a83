"""Serve `retrain` on a schedule: `python -m flows.schedule`. Starts a Prefect server unless one is running."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

from flows.watch import watch_parent
from lsgmer.core.errors import LsgmerError, ParamsError
from lsgmer.core.paths import Workspace
from lsgmer.core.process import apply_environment, end_tree, identity, interrupt_on_signals
from lsgmer.workspace.prefect_server import API, answers, end_orphan_server, known_server, note_path, note_server

START_S = 180.0
PORT = 4200  # Prefect's own default; another one when it is taken


@contextlib.contextmanager
def server(workspace: Workspace) -> Iterator[str]:
    """Yield the address of a Prefect API that answers: the environment's, or one started here, ended on exit."""
    given = os.environ.get(API)
    if given and answers(given):
        yield given
        return
    if given:
        print(f"{API}={given} does not answer; starting a server here", file=sys.stderr, flush=True)
    end_orphan_server(workspace)
    if known_server(workspace):
        raise LsgmerError(f"{workspace.root}: `lsgmer schedule` is already running here; stop it first")
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    log = workspace.scratch / "server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if name != API}
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=workspace.root, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    name = identity(process.pid)
    note_server(workspace, name, identity(os.getpid()), url)
    try:
        _wait(process, url, str(log))
        yield url
    finally:
        end_tree(name)
        process.wait()
        note_path(workspace).unlink(missing_ok=True)


def free_port() -> int:
    """Return Prefect's default port, or another free one on this machine."""
    for port in (PORT, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise LsgmerError("no free port on 127.0.0.1")


def serve(cron: str | None, every_s: float | None, timezone: str, webhook: str | None) -> None:
    """Serve `retrain` until interrupted, one run at a time; the server cancels an overlapping one."""
    import prefect
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.deployments.runner import RunnerDeployment
    from prefect.schedules import Cron, Interval
    from prefect.types.entrypoint import EntrypointType

    from flows.pipeline import quiet
    from flows.retrain import retrain

    try:
        schedule = Cron(cron, timezone=timezone) if cron else Interval(every_s or 0, timezone=timezone)
        deployment = retrain.to_deployment(
            name="scheduled",
            schedules=[schedule],
            parameters={"webhook": webhook},
            concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
    except ValueError as error:
        raise ParamsError(f"not a schedule: {error}") from error
    quiet()
    times = next_runs(cast(Any, deployment).schedules[0].schedule)
    when = f"{cron} ({timezone})" if cron else f"every {every_s:g} s"
    print(f"retraining {when}; state and logs: {os.environ[API].removesuffix('/api')}; Ctrl-C stops it", flush=True)
    print(f"next runs: {', '.join(f'{time:%a %Y-%m-%d %H:%M:%S %Z}' for time in times)}", flush=True)
    prefect.serve(cast(RunnerDeployment, deployment), print_starting_message=False, limit=2)


def next_runs(schedule: Any, count: int = 3) -> list[datetime]:
    """Return the next times of a Prefect schedule, as its server will compute them."""
    from prefect.server.schemas.schedules import CronSchedule, IntervalSchedule

    kind: Any = CronSchedule if hasattr(schedule, "cron") else IntervalSchedule
    found = kind.model_validate(schedule.model_dump(mode="json"))
    return list(asyncio.run(found.get_dates(count, start=datetime.now(UTC))))


def main() -> int:
    """Parse the arguments that `lsgmer schedule` passes, start what is needed and serve."""
    parser = argparse.ArgumentParser(prog="python -m flows.schedule")
    parser.add_argument("--cron")
    parser.add_argument("--every", type=float)
    parser.add_argument("--timezone", default="UTC")
    parser.add_argument("--webhook")
    given = parser.parse_args()
    apply_environment()
    interrupt_on_signals()
    watch_parent()
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # the runs' own console lines stay
    os.environ.setdefault("PREFECT_RUNNER_POLL_FREQUENCY", "2")
    try:
        with server(Workspace.here()) as url:
            os.environ[API] = url  # before prefect is imported, and for the runs that it starts
            serve(given.cron, given.every, given.timezone, given.webhook)
    except LsgmerError as error:
        print(f"lsgmer schedule: error: {error}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, SystemExit):
        print("lsgmer schedule: stopped", file=sys.stderr)
    return 0


def _wait(process: subprocess.Popen[bytes], url: str, log: str) -> None:
    deadline = time.monotonic() + START_S
    print("starting a Prefect server (half a minute the first time)", flush=True)
    while not answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise LsgmerError(f"the Prefect server did not start; see {log}")
        time.sleep(0.3)


if __name__ == "__main__":
    sys.exit(main())
