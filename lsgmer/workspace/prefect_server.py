"""The Prefect server of a workspace: `lsgmer schedule` records the one that it starts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import httpx

from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import Workspace, write_atomically
from lsgmer.core.process import end_tree, is_alive, is_loopback

API = "PREFECT_API_URL"


def answers(url: str) -> bool:
    """Say whether a Prefect API answers at `url`."""
    try:
        found = httpx.get(f"{url.rstrip('/')}/health", timeout=5, trust_env=not is_loopback(url))
        return found.status_code == httpx.codes.OK
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, ImportError):  # a proxy may need a package of its own
        return False


def check_server() -> None:
    """Raise LsgmerError, naming the variable, if the environment names a Prefect API that does not answer."""
    url = os.environ.get(API)
    if url and not answers(url):
        raise LsgmerError(f"{API}={url} does not answer: start that Prefect server, or unset {API} to do without one")


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
