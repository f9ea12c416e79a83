"""Processes by identity, and the environment they run in: offline and without telemetry."""

from __future__ import annotations

import ipaddress
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

import psutil

OFFLINE = "HF_HUB_OFFLINE"
# Defaults only: whoever wants the network or telemetry sets the variable in the environment.
ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DVC_NO_ANALYTICS": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    OFFLINE: "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}

NO_PROXY = ("NO_PROXY", "no_proxy")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
OWNER = "LSGMER_OWNER"  # "pid:create_time" of the flow that started this process, if one did
RANK = "RANK"  # torchrun's: which of several training processes this is
WATCHED = "LSGMER_PARENT"  # identity of the command that started a flow: the flow stops when that is gone


def apply_environment() -> None:
    """Switch telemetry off and hubs offline unless the environment already says otherwise; see `without_proxy`."""
    os.environ.update(our_environment())


def our_environment() -> dict[str, str]:
    """Return this process's environment with what `apply_environment` would set."""
    return without_proxy({**ENVIRONMENT, **os.environ})


def without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` in which a proxy is never asked for this machine itself: its servers would not be reached.

    Both spellings are set to the same list, because libraries differ in which one they prefer.
    """
    known = [environment.get(name, "") for name in NO_PROXY]
    hosts = [host.strip() for text in known for host in text.split(",") if host.strip()]
    every = ",".join(dict.fromkeys([*hosts, *LOOPBACK]))
    return {**environment, **dict.fromkeys(NO_PROXY, every)}


def is_loopback(url: str) -> bool:
    """Return whether `url` is on this machine: then no proxy may be asked for it."""
    try:
        return urlsplit(url).hostname in LOOPBACK
    except ValueError:
        return False


def is_own_address(host: str) -> bool:
    """Return whether `host`, a name or an address, is only ever this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def native_stderr_off() -> Iterator[None]:
    """Drop what C libraries write to stderr meanwhile, such as libmpg123's notes on a faulty MP3. For one thread."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def drop_native_lines(start: bytes) -> None:
    """From now on drop the lines that begin with `start` from this process's stderr, whichever library writes them.

    For a server, whose threads decode at the same time: `native_stderr_off` would drop what others write meanwhile.
    """
    kept = os.dup(2)
    reader, writer = os.pipe()
    os.dup2(writer, 2)
    os.close(writer)

    def copy() -> None:
        with os.fdopen(reader, "rb") as lines, os.fdopen(kept, "wb", buffering=0) as out:
            for line in lines:
                if not line.startswith(start):
                    out.write(line)

    threading.Thread(target=copy, name="stderr", daemon=True).start()


def end_with_parent(poll_s: float = 1.0) -> None:
    """From now on end this process, as SIGTERM does, once its parent is gone: nobody else would stop it."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(poll_s)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def interrupt_on_signals() -> None:
    """Make SIGINT and SIGTERM interrupt this process, whatever it inherited: a shell has `command &` ignore SIGINT."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def is_rank() -> bool:
    """Return whether torchrun started this process, as one of several that train together."""
    return RANK in os.environ


def identity(pid: int) -> str:
    """Return "pid:create_time", which no later process can share. Raises psutil.NoSuchProcess."""
    return f"{pid}:{psutil.Process(pid).create_time():.2f}"


def is_alive(name: str) -> bool:
    """Return whether the process that `identity` named is still running (a zombie is not)."""
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
        unless_gone(process.terminate)
    _, stubborn = psutil.wait_procs(processes, timeout=grace_s)
    for process in stubborn:
        unless_gone(process.kill)
    psutil.wait_procs(stubborn, timeout=grace_s)


def unless_gone(action: Callable[[], object]) -> None:
    """Call `action` on a process; do nothing if the process is gone."""
    try:
        action()
    except psutil.NoSuchProcess:
        pass
