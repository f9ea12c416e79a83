"""`lsgmer keys`: make, list and revoke the API keys of the service."""

from __future__ import annotations

import sys
from pathlib import Path

from lsgmer.core.paths import Workspace
from lsgmer.service import keys


def add(name: str) -> None:
    """Make a key and print it, alone on stdout, the only time it is shown."""
    secret = keys.add(Workspace(Path.cwd()).keys, name)
    print(f"key {name}, shown only this once: keep it as you would a password", file=sys.stderr)
    print(secret)


def show() -> None:
    """Print every key's name, when it was made, and whether it is active."""
    found = keys.all_keys(Workspace(Path.cwd()).keys)
    if not found:
        print("no keys; `lsgmer keys add NAME` makes one")
    width = max((len(key.name) for key in found), default=0)
    for key in found:
        print(f"{key.name:<{width}}  made {key.created}  {key.status}")


def revoke(name: str) -> None:
    """Revoke a key for good; a running service refuses it from its next request on."""
    revoked = keys.revoke(Workspace(Path.cwd()).keys, name)
    print(f"key {revoked.name} is revoked; running services refuse it from now on")
