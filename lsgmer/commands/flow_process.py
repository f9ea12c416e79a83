"""Runs a flow as a child process in its own group: Ctrl-C reaches it only once, and no process is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

from lsgmer.core.errors import ExitCode
from lsgmer.core.paths import Workspace
from lsgmer.core.process import WATCHED, identity
from lsgmer.workspace import dvc
from lsgmer.workspace.lock import end_leftovers
from lsgmer.workspace.prefect_server import end_orphan_server, known_server

STOP_S = 8.0  # a service manager or a script that sends SIGTERM sends SIGKILL soon after


def run_module(workspace: Workspace, module: str, arguments: Sequence[str] = ()) -> int:
    """Run `python -m MODULE ARGUMENTS` in `workspace`, printing its output; return its exit code."""
    environment = {**dvc.environment(), WATCHED: identity(os.getpid())}
    server = known_server(workspace)
    if server:
        environment.setdefault("PREFECT_API_URL", server)
    with _raising_stop():
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=workspace.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return _attend(process)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # what a killed flow leaves in its group, such as its server
            process.wait()
            end_leftovers(workspace)
            end_orphan_server(workspace)


class _Stop(BaseException):
    """SIGINT or SIGTERM came."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@contextlib.contextmanager
def _raising_stop() -> Iterator[None]:
    """Raise _Stop on SIGINT and SIGTERM, also where a shell has SIGINT ignored, as for `command &` in a script."""

    def stop(number: int, _frame: object) -> None:
        raise _Stop(number)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _attend(process: subprocess.Popen[bytes]) -> int:
    """Wait for the child; on a signal let it save its work and stop, on a second one end it at once."""
    try:
        code = process.wait()
    except _Stop as stop:
        print("\nstopping; finished work is kept (press Ctrl-C again to stop at once)", file=sys.stderr, flush=True)
        with contextlib.suppress(subprocess.TimeoutExpired, _Stop):
            process.send_signal(signal.SIGINT)
            process.wait(timeout=STOP_S)
        return stop.exit_code
    if code < 0:
        print(
            f"lsgmer: error: the run was terminated by signal {-code}; finished work is kept: "
            "run the same command again to resume",
            file=sys.stderr,
        )
        return ExitCode.ERROR
    return code
