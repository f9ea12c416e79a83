"""How a stage runs: one at a time in a workspace, with only the parameters it reads, never as an orphan process."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from lsgmer.core.costs import recorded
from lsgmer.core.errors import ExitCode, LsgmerError
from lsgmer.core.paths import Workspace, write_atomically
from lsgmer.core.process import OWNER, apply_environment, end_tree, identity, is_alive, is_rank, unless_gone
from lsgmer.core.sections import G, read_sections


def run_stage(name: str, body: Callable[[Workspace, G], None], needs: type[G]) -> None:
    """Run a stage in the current folder, a workspace, with the sections of params.yaml that it reads.

    An LsgmerError or OSError raised by `body` becomes a message on stderr and an exit code: see `guarded`.

    Args:
        name: the stage's name in dvc.yaml, used for its lock file and its messages.
        body: the stage itself; called with the workspace and the parsed sections.
        needs: the Sections model of what the stage reads; all other sections are ignored.

    Raises:
        SystemExit: the stage failed or was interrupted.

    """
    guarded(name, lambda workspace: body(workspace, read_sections(workspace.params, needs)))


def guarded(name: str, body: Callable[[Workspace], None]) -> None:
    """Run `body` in the current folder; if it fails, print why and exit with the error's code.

    Holds the stage's lock (ending an orphan that still holds it), also for the ranks that it starts, stops when
    whoever started the stage is gone, records what it cost (lsgmer/core/costs.py), and turns an LsgmerError or an
    OSError, such as a full disk, into a message and an exit code.
    """
    apply_environment()
    workspace = Workspace.here()
    try:
        # A rank's lock is held by the stage that started it, which also counts what its ranks cost.
        with nullcontext() if is_rank() else _stage_lock(workspace, name):
            _watch_owner()
            with nullcontext() if is_rank() else recorded(name, workspace):
                body(workspace)
    except LsgmerError as error:
        print(f"{name}: error: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
    except OSError as error:
        print(f"{name}: error: {error}. {_remedy(error, workspace)}", file=sys.stderr, flush=True)
        sys.exit(ExitCode.ERROR)
    except KeyboardInterrupt:
        print(f"{name}: interrupted; run the same command again to resume", file=sys.stderr, flush=True)
        sys.exit(130)


@contextmanager
def _stage_lock(workspace: Workspace, name: str) -> Iterator[None]:
    """Hold STAGE.lock; STAGE.json names the holder and its owners, which tells an orphan apart from a live run."""
    workspace.scratch.mkdir(parents=True, exist_ok=True)
    lock = FileLock(workspace.scratch / f"{name}.lock")
    note = workspace.scratch / f"{name}.json"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _end_orphan(note, name)
        lock.acquire(timeout=10)
    try:
        write_atomically(note, json.dumps({"process": identity(os.getpid()), "owners": _owners()}))
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def _end_orphan(note: Path, name: str) -> None:
    try:
        holder = json.loads(note.read_text())
    except (OSError, ValueError):
        time.sleep(1)
        return
    if all(is_alive(owner) for owner in holder["owners"]):
        raise LsgmerError(
            f"stage {name} is already running here (process {holder['process'].partition(':')[0]}); "
            "wait for it or end it, then run this again"
        )
    print(f"{name}: ending process {holder['process']}, left over from a killed run", file=sys.stderr, flush=True)
    end_tree(holder["process"])


def _owners() -> list[str]:
    """Return the processes without which this stage should end: its parent (DVC or a shell) and its flow."""
    owners = [identity(os.getppid())] if os.getppid() > 1 else []
    if os.environ.get(OWNER):
        owners.append(os.environ[OWNER])
    return owners


def _watch_owner() -> None:
    """End this process when its parent or its flow is gone; finished work is in scratch, so nothing is lost."""
    owners = _owners()

    def watch() -> None:
        while all(is_alive(owner) for owner in owners):
            time.sleep(0.5)
        for child in psutil.Process().children(recursive=True):
            unless_gone(child.kill)
        os._exit(ExitCode.ERROR)

    if owners:
        threading.Thread(target=watch, daemon=True, name="owner-watch").start()


def _remedy(error: OSError, workspace: Workspace) -> str:
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        kept = f"finished work is kept in {workspace.scratch}"
        return f"The disk is full: free some space, then run the same command again; {kept}"
    return "Fix this, then run the same command again"
