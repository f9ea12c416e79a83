"""A real PostgreSQL server of its own: in a temporary folder, run by a user without privileges, stopped after."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.s3 import free_port

UNPRIVILEGED = "nobody"  # PostgreSQL refuses to run as root
NAME = "lsgmer"


def programs() -> Path | None:
    """Return the folder of `initdb` and `postgres`, which Debian keeps off the path; None where there is none."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(folders, key=lambda folder: int(folder.parent.name), default=None)


@contextmanager
def serve() -> Iterator[str]:
    """Make an empty cluster and start it on loopback; yield postgresql+asyncpg://USER:PASSWORD@HOST:PORT/DATABASE."""
    binaries = programs()
    assert binaries, "PostgreSQL is not installed"
    user: dict[str, Any] = {"user": UNPRIVILEGED, "extra_groups": []} if os.geteuid() == 0 else {}
    top = Path(tempfile.mkdtemp(prefix="lsgmer-postgres-"))  # pytest's folders are closed to other users
    password, port = secrets.token_hex(16), free_port()
    (top / "password").write_text(password)
    if user:
        for path in (top / "password", top):
            shutil.chown(path, UNPRIVILEGED)
    cluster = str(top / "cluster")
    settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off", "timezone": "UTC"}
    make = [binaries / "initdb", "-D", cluster, "-U", NAME, "-A", "scram-sha-256", "--no-sync", "-E", "UTF8"]
    start = [binaries / "postgres", "-D", cluster, "-p", str(port), *(f"--{k}={v}" for k, v in settings.items())]
    process = None
    try:
        made = subprocess.run(
            [*make, f"--pwfile={top / 'password'}"], cwd=top, capture_output=True, text=True, check=False, **user
        )
        assert made.returncode == 0, made.stdout + made.stderr
        with (top / "log").open("w") as log:
            process = subprocess.Popen(start, cwd=top, stdout=log, stderr=log, start_new_session=True, **user)
        ready, end = [binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], time.monotonic() + 60
        while subprocess.run(ready, check=False).returncode:
            assert process.poll() is None, (top / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.1)
        yield f"postgresql+asyncpg://{NAME}:{password}@127.0.0.1:{port}/postgres"
    finally:
        if process:
            process.send_signal(2)  # fast: it ends the sessions that are left
            process.wait(timeout=30)
        shutil.rmtree(top, ignore_errors=True)
