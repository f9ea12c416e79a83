"""Runs a flow as a child process in its own group: Ctrl-C reaches it only once, and no process is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from lsgmer.core.errors import ExitCode
from lsgmer.core.paths import Workspace
from lsgmer.core.process import WATCHED, identity
from lsgmer.workspace import dvc
from lsgmer.workspace.lock import end_leftovers
from lsgmer.workspace.prefect_server import end_orphan_server, known_server

STOP_S = 60.0


def run_module(workspace: Workspace, module: str, arguments: Sequence[str] = ()) -> int:
    """Run `python -m MODULE ARGUMENTS` in `workspace`, printing its output; return its exit code."""
    environment = {**dvc.environment(), WATCHED: identity(os.getpid())}
    server = known_server(workspace)
    if server:
        environment.setdefault("PREFECT_API_URL", server)
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=workspace.root,
        env=environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _attend(process)
    finally:
        signal.signal(signal.SIGTERM, previous)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # what a killed flow leaves in its group, such as its Prefect server
        process.wait()
        end_leftovers(workspace)
        end_orphan_server(workspace)


def _attend(process: subprocess.Popen[bytes]) -> int:
    """Wait for the child; on Ctrl-C let it save its work and stop, on a second Ctrl-C end it at once."""
    try:
        code = process.wait()
    except KeyboardInterrupt:
        print("\nstopping; finished work is kept (press Ctrl-C again to stop at once)", file=sys.stderr, flush=True)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            process.wait(timeout=STOP_S)
        return 130
    if code < 0:
        print(
            f"lsgmer: error: the run was terminated by signal {-code}; finished work is kept: "
            "run the same command again to resume",
            file=sys.stderr,
        )
        return ExitCode.ERROR
    return code
