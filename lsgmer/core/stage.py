"""How a stage runs: alone in its workspace, with its own parameters, and never as an orphan."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from lsgmer.core.errors import ExitCode, LsgmerError
from lsgmer.core.paths import Workspace, write_atomically
from lsgmer.core.process import OWNER, apply_environment, end_tree, identity, is_alive, unless_gone
from lsgmer.core.sections import G, read_sections


def run_stage(name: str, body: Callable[[Workspace, G], None], needs: type[G]) -> None:
    """Run a stage's `body` in the current folder, with the sections of params.yaml that `needs` names."""
    guarded(name, lambda workspace: body(workspace, read_sections(workspace.params, needs)))


def guarded(name: str, body: Callable[[Workspace], None]) -> None:
    """Run `body` in the current folder and exit with its code.

    Holds the stage's lock (ending an orphan that still holds it), watches that whoever started the stage
    is alive, and turns an LsgmerError or a full disk into a message and an exit code.
    """
    apply_environment()
    workspace = Workspace.here()
    try:
        with _stage_lock(workspace, name):
            _watch_owner()
            body(workspace)
    except LsgmerError as error:
        print(f"{name}: error: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
    except OSError as error:
        print(f"{name}: error: {error}. {_remedy(error, workspace)}", file=sys.stderr, flush=True)
        sys.exit(ExitCode.ERROR)
    except KeyboardInterrupt:
        print(f"{name}: interrupted; run the same command again to go on", file=sys.stderr, flush=True)
        sys.exit(130)


@contextmanager
def _stage_lock(workspace: Workspace, name: str) -> Iterator[None]:
    """Hold STAGE.lock; STAGE.json names the holder and its owner, so that an orphan can be told from a run."""
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
            f"stage {name} already runs here (process {holder['process'].partition(':')[0]}); "
            "wait for it, or end it, then run this again"
        )
    print(f"{name}: ending a leftover of a killed run (process {holder['process']})", file=sys.stderr, flush=True)
    end_tree(holder["process"])


def _owners() -> list[str]:
    """Return who must be alive for this stage to make sense: its parent (DVC or a shell) and its flow."""
    owners = [identity(os.getppid())] if os.getppid() > 1 else []
    if os.environ.get(OWNER):
        owners.append(os.environ[OWNER])
    return owners


def _watch_owner() -> None:
    """End this process when its parent or its flow is gone: work so far is in scratch, nothing is lost."""
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
    return "Mend this, then run the same command again"
