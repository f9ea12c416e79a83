"""How a stage runs: offline and quiet, alone in its workspace, with progress, and never as an orphan."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psutil
from filelock import FileLock, Timeout

from lsgmer.errors import ExitCode, LsgmerError
from lsgmer.params import Params, load_params
from lsgmer.paths import Workspace, write_atomically

Item = TypeVar("Item")

# Set with setdefault: a person who wants the network or telemetry says so in the environment.
ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DVC_NO_ANALYTICS": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}
OWNER = "LSGMER_OWNER"  # "pid:create_time" of the flow that started this, if one did


def apply_environment() -> None:
    """Switch telemetry off and hubs offline unless the environment already says otherwise."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def identity(pid: int) -> str:
    """Return "pid:create_time", which no later process can share. Raises psutil.NoSuchProcess."""
    return f"{pid}:{psutil.Process(pid).create_time():.2f}"


def is_alive(name: str) -> bool:
    """Say whether the process that `identity` named still runs (a zombie does not)."""
    pid, _, _ = name.partition(":")
    try:
        return identity(int(pid)) == name and psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ValueError):
        return False


def end_tree(name: str, grace_s: float = 3.0) -> None:
    """End the process that `identity` named and all its children: SIGTERM, then SIGKILL after `grace_s`."""
    if not is_alive(name):
        return
    top = psutil.Process(int(name.partition(":")[0]))
    processes = [*top.children(recursive=True), top]
    for process in processes:
        _quietly(process.terminate)
    _, stubborn = psutil.wait_procs(processes, timeout=grace_s)
    for process in stubborn:
        _quietly(process.kill)
    psutil.wait_procs(stubborn, timeout=grace_s)


def run_stage(name: str, body: Callable[[Workspace, Params], None]) -> None:
    """Run a stage's `body` in the current folder, with the parameters there, as `guarded` does."""
    guarded(name, lambda workspace: body(workspace, load_params(workspace.params)))


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


def set_threads(count: int) -> None:
    """Fix torch's thread counts and its deterministic algorithms: another count gives other bits."""
    import torch

    torch.set_num_threads(count)
    # The same switch as use_deterministic_algorithms, which imports torch's compiler for it: seconds per stage.
    torch.set_deterministic_debug_mode("error")
    # It would also fill every fresh tensor, for code that reads memory it never wrote: 6% of a training step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def track(items: Iterable[Item], total: int, what: str, start: int = 0) -> Iterator[Item]:
    """Yield `items`, showing progress: a bar on a terminal, otherwise a line every two seconds.

    The line is `progress WHAT DONE/TOTAL ETA`, which the flow turns into a Prefect progress artifact.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track as bar

        yield from bar(items, description=what, total=total, completed=start, console=Console(stderr=True))
        return
    began = shown = time.monotonic()
    done = start
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - shown >= 2 or done == total:
            shown = now
            left = (now - began) / max(done - start, 1) * (total - done)
            print(f"progress {what} {done}/{total} eta {left:.0f}s", file=sys.stderr, flush=True)


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
            _quietly(child.kill)
        os._exit(ExitCode.ERROR)

    if owners:
        threading.Thread(target=watch, daemon=True, name="owner-watch").start()


def _quietly(action: Callable[[], object]) -> None:
    try:
        action()
    except psutil.NoSuchProcess:
        pass


def _remedy(error: OSError, workspace: Workspace) -> str:
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        kept = f"finished work is kept in {workspace.scratch}"
        return f"The disk is full: free some space, then run the same command again; {kept}"
    return "Mend this, then run the same command again"
