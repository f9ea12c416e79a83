"""The Prefect server of a workspace: `lsgmer schedule` records the one that it starts."""

from __future__ import annotations

import json
from pathlib import Path

from lsgmer.core.paths import Workspace, write_atomically
from lsgmer.core.process import end_tree, is_alive


def note_path(workspace: Workspace) -> Path:
    """Return the file that names the server: {"process", "owner", "url"}."""
    return workspace.state / "server.json"


def note_server(workspace: Workspace, process: str, owner: str, url: str) -> None:
    """Record a server: its own and its owner's identity ("pid:create_time"), and its API's address."""
    write_atomically(note_path(workspace), json.dumps({"process": process, "owner": owner, "url": url}))


def known_server(workspace: Workspace) -> str | None:
    """Return the address of the running server whose owner is alive, else None."""
    note = _read(workspace)
    return note["url"] if note and is_alive(note["process"]) and is_alive(note["owner"]) else None


def end_orphan_server(workspace: Workspace) -> None:
    """End a server whose `lsgmer schedule` was killed."""
    note = _read(workspace)
    if note and not is_alive(note["owner"]):
        end_tree(note["process"])
        note_path(workspace).unlink(missing_ok=True)


def _read(workspace: Workspace) -> dict[str, str]:
    try:
        return dict(json.loads(note_path(workspace).read_text()))
    except (OSError, ValueError):
        return {}
