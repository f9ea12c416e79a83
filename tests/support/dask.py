"""A Dask scheduler and workers on loopback, started by the commands of docs/scaling.md."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.project import ROOT, wait_for

LOOPBACK = ("--host", "127.0.0.1", "--no-dashboard")


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def cluster(workers: int, folder: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Yield the address and the processes of workers that nobody starts again; what they spill goes to `folder`."""
    address = f"tcp://127.0.0.1:{free_port()}"
    worker = ("worker", address, *LOOPBACK, "--no-nanny", "--nthreads", "1", "--local-directory", str(folder))
    from distributed import Client  # an optional extra

    with ExitStack() as stack:
        started = [_start("scheduler", *LOOPBACK, "--port", address.rpartition(":")[2])]
        started += [_start(*worker) for _ in range(workers)]
        for process in started:
            stack.callback(process.wait)
            stack.callback(process.kill)
        assert wait_for(lambda: _listens(address), 60)
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)
        yield address, started[1:]


def _listens(address: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=5).close()
    except OSError:
        return False
    return True


def _start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
