"""Runs a DVC stage as a subprocess in its own process group: passes on its output line by line, leaves no orphan."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from lsgmer.core.errors import ExitCode, LsgmerError
from lsgmer.core.paths import Workspace
from lsgmer.core.process import OWNER, identity
from lsgmer.workspace.dvc import DVC, busy, environment
from lsgmer.workspace.lock import record_children

UNCHANGED = re.compile(r"^Stage '.+' didn't change", re.MULTILINE)
_EXITED = re.compile(r"exited with (-?\d+)")
GRACE_S = 10.0


class StageFailed(LsgmerError):
    """A stage failed. The message ends with the stage's last lines; exit_code is the stage's own, if documented.

    `shown` says that these lines are on the screen already: then only `reason`, the first line, is to be printed.
    """

    shown = False

    @property
    def reason(self) -> str:
        """What happened, without the stage's last lines."""
        return str(self).partition("\n")[0]


class OutsideFailed(LsgmerError):
    """Something outside this machine (a remote, an import's source) did not answer; a retry may help."""


def repro(stage: str, root: Path, on_line: Callable[[str], None]) -> bool:
    """Run `dvc repro --single-item STAGE` in `root`. Returns whether DVC did anything. Raises StageFailed."""
    output = run(["repro", "--single-item", stage], root, on_line, f"stage {stage}")
    return not UNCHANGED.search(output)


def run(arguments: list[str], root: Path, on_line: Callable[[str], None], what: str) -> str:
    """Run `dvc ARGUMENTS` and return the end of its output. Its process group is always ended afterwards."""
    lines: deque[str] = deque(maxlen=200)
    process = subprocess.Popen(
        [*DVC, *arguments],
        cwd=root,
        env={**environment(), OWNER: identity(os.getpid())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        record_children(Workspace(root))
        for line in _lines(process):
            lines.append(line)
            on_line(line)
        code = process.wait()
    finally:
        end_group(process)
    output = "\n".join(lines)
    if code:
        raise _failure(what, code, output)
    return output


def end_group(process: subprocess.Popen[str]) -> None:
    """End the process group that `process` leads: the stage first, so that DVC can clean up after itself.

    Then SIGTERM to what is left, then SIGKILL after GRACE_S seconds.
    """
    deadline = time.monotonic() + GRACE_S
    with contextlib.suppress(psutil.NoSuchProcess, subprocess.TimeoutExpired):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.terminate()
        process.wait(timeout=GRACE_S / 2)
    signal_group(process.pid, signal.SIGTERM)
    while _group_lives(process) and time.monotonic() < deadline:
        time.sleep(0.1)
    signal_group(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=GRACE_S)


def signal_group(group: int, number: signal.Signals) -> bool:
    """Send `number` to a process group; return False when it is gone."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _group_lives(process: subprocess.Popen[str]) -> bool:
    process.poll()  # reaps the leader, so that a zombie does not count as a living group
    try:
        os.killpg(process.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    """Yield lines until the process ends, even if something it started still holds the pipe open."""
    assert process.stdout is not None  # noqa: S101  (it was opened as a pipe)
    stream, lines = process.stdout, queue.SimpleQueue[str | None]()

    def read() -> None:
        with contextlib.suppress(ValueError, OSError):
            for line in stream:
                lines.put(line.rstrip("\r\n"))
        lines.put(None)

    threading.Thread(target=read, daemon=True, name="dvc-output").start()
    while True:
        try:
            line = lines.get(timeout=0.5)
        except queue.Empty:
            if process.poll() is not None:
                return
            continue
        if line is None:
            return
        yield line


def _failure(what: str, code: int, output: str) -> StageFailed:
    tail = "\n".join([line for line in output.splitlines() if line.strip()][-15:])
    if code < 0:
        reason = f"was terminated by signal {-code}; work so far is kept: run the same command again to resume"
    else:
        reason = busy(output) or "failed; fix what its last lines say, then run the same command again"
    error = StageFailed(f"{what} {reason}\n{tail}")
    exited = _EXITED.search(output)
    if exited and int(exited[1]) in set(ExitCode):
        error.exit_code = ExitCode(int(exited[1]))
    return error
