"""One run at a time in a workspace, and no processes left over from a run that was killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil
from filelock import FileLock, Timeout
from pydantic import ValidationError

from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import Workspace, write_atomically
from lsgmer.core.process import end_tree, identity, is_alive
from lsgmer.core.records import Record

_held: dict[Path, FileLock] = {}  # by this process: a scheduled run holds it before the pipeline asks for it


class Busy(LsgmerError):
    """Another run holds the workspace."""


class Holder(Record):
    """flow.json: the run that holds the workspace, its identity and its children's ("pid:create_time")."""

    owner: str
    what: str
    since: str
    children: tuple[str, ...] = ()


def note_path(workspace: Workspace) -> Path:
    """Return the file that holds the Holder."""
    return workspace.scratch / "flow.json"


@contextmanager
def exclusive(workspace: Workspace, what: str) -> Iterator[None]:
    """Hold the workspace's run lock; end what a killed run left running. Raises Busy, naming the holder."""
    path = (workspace.state / "run.lock").resolve()
    if path in _held:
        yield
        return
    workspace.scratch.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Busy(busy_message(workspace)) from None
    _held[path] = lock
    try:
        end_leftovers(workspace)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        write_atomically(note_path(workspace), Holder(owner=identity(os.getpid()), what=what, since=since).to_json())
        yield
    finally:
        note_path(workspace).unlink(missing_ok=True)
        del _held[path]
        lock.release()


def check_free(workspace: Workspace) -> None:
    """Raise Busy when another run holds the workspace; it is cheap, so call it first."""
    path = workspace.state / "run.lock"
    if not path.exists():
        return
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Busy(busy_message(workspace)) from None
    lock.release()


def record_children(workspace: Workspace) -> None:
    """Record every descendant of this process, so that the next run can end those that outlive a kill -9."""
    note = _read(workspace)
    if note is None or note.owner != identity(os.getpid()):
        return
    children = list(note.children)
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            children.append(identity(child.pid))
    alive = tuple(name for name in dict.fromkeys(children) if is_alive(name))
    write_atomically(note_path(workspace), note.model_copy(update={"children": alive}).to_json())


def end_leftovers(workspace: Workspace) -> list[str]:
    """End the recorded children of a run whose process is gone; return their names ("pid:create_time")."""
    note = _read(workspace)
    if note is None or is_alive(note.owner):
        return []
    ended = [name for name in note.children if is_alive(name)]
    for name in ended:
        end_tree(name)
    note_path(workspace).unlink(missing_ok=True)
    return ended


def busy_message(workspace: Workspace) -> str:
    """Say who holds the workspace and what to do."""
    note = _read(workspace)
    who = f"process {note.owner.partition(':')[0]}, {note.what}, since {note.since}" if note else "just started"
    where = f"{workspace.root}: a run is under way here ({who})"
    return f"{where}; one at a time: wait for it or end it, then run this again"


def _read(workspace: Workspace) -> Holder | None:
    try:
        return Holder.model_validate_json(note_path(workspace).read_text())
    except (OSError, ValidationError):
        return None
