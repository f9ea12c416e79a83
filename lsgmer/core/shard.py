"""What a worker of a cluster runs: one item, after checking that it would give the same bytes as who asks."""

from __future__ import annotations

import platform
import socket
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from lsgmer.core.errors import LsgmerError
from lsgmer.core.hashing import file_sha256
from lsgmer.core.process import apply_environment
from lsgmer.core.records import digest
from lsgmer.core.source import library_versions

PACKAGE = Path(__file__).parents[1]
Item = TypeVar("Item")
Fingerprint = dict[str, str]


def perform(task: Callable[[Path, Item], None], item: Item, shared: tuple[str, Fingerprint]) -> tuple[str, str]:
    """Run one item on a worker; return the worker, and why the item failed ("" if it did not)."""
    apply_environment()
    beacon, expected = shared
    where = f"{socket.gethostname()} {_worker_name()}"
    try:
        if problem := difference(beacon, expected):
            raise LsgmerError(problem)
        task(Path(beacon).parent, item)
    except (LsgmerError, OSError) as error:
        return where, f"{where}: {error}"
    return where, ""


def _worker_name() -> str:
    from distributed import get_worker

    return str(get_worker().name)


def difference(beacon: str, expected: Fingerprint) -> str | None:
    """Return why this process would not give the same bytes as the one that asks, or None."""
    mine = fingerprint()
    other = [
        f"{name} {mine.get(name)} (asked for by {expected[name]})"
        for name in expected
        if mine.get(name) != expected[name]
    ]
    if other:
        return f"differs from the machine that asks: {', '.join(other)}; give it the same code and requirements.lock"
    if not Path(beacon).is_file():
        return f"does not see {Path(beacon).parent}: mount the project's folder there, at the same path"
    return None


@lru_cache(maxsize=1)
def fingerprint() -> Fingerprint:
    """Return what must be the same everywhere: Python, the libraries, and the digest of this package's code."""
    files = sorted(PACKAGE.rglob("*.py"))
    code = digest({file.relative_to(PACKAGE).as_posix(): file_sha256(file) for file in files})
    version = ".".join(platform.python_version_tuple()[:2])
    return {"Python": version, **library_versions(), "code": code[:12], "machine": platform.machine()}
