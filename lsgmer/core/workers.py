"""A map over work items on a Dask cluster: results through the shared folder, a lost worker's items run again.

Dask's protocol between the processes is pickle, so a scheduler is trusted as much as this program (docs/scaling.md);
what a worker sends back is two strings. Dask is imported here and in lsgmer.core.shard alone, and only where a cluster
is asked for.
"""

from __future__ import annotations

import logging
import queue
import shutil
import socket
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from lsgmer.core.cluster import NONE, ClusterParams, tls_files
from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import write_atomically
from lsgmer.core.shard import difference, fingerprint, perform

POLL_S = 2.0
CONNECT_S = 10.0
FIRST_WORKER_S = 20.0  # how long to wait for a first worker of a cluster that is running already
WORKER_S = 60.0  # how long to wait for workers that start here, or for one that replaces the last
Item = TypeVar("Item")


class Cluster:
    """A cluster that is connected: `session` is its folder in the shared file system, removed when it is left."""

    def __init__(self, client: Any, session: Path) -> None:
        self._client = client
        self._beacon = session / "beacon"
        self._known: set[str] = set()
        self._looked = self._peopled = time.monotonic()
        self.session = session
        self.shares: Counter[str] = Counter()  # by worker: how many items it finished
        write_atomically(self._beacon, "")

    @property
    def slots(self) -> int:
        """How many items run at the same time."""
        return sum(self._client.nthreads().values())

    @property
    def workers(self) -> int:
        """How many workers there are."""
        return len(self._client.nthreads())

    def said(self) -> str:
        """Return how many items each worker finished, in words."""
        return ", ".join(f"{worker} {count}" for worker, count in sorted(self.shares.items())) or "none"

    def check(self) -> None:
        """Raise LsgmerError unless every worker has this code, these libraries and this folder."""
        try:
            answers = self._client.run(difference, str(self._beacon), fingerprint())
        except ImportError as error:
            raise LsgmerError(
                f"a worker cannot import lsgmer ({error}): start it in the project's folder with its .venv/bin/dask"
            ) from error
        for worker, problem in answers.items():
            if problem:
                raise LsgmerError(f"worker {worker}: {problem}")
        wide = [worker for worker, threads in self._client.nthreads().items() if threads > 1]
        if wide:
            raise LsgmerError(f"worker {wide[0]} runs several items in one process: start it with --nthreads 1")

    def map(self, task: Callable[[Path, Item], None], items: Sequence[Item]) -> Iterator[tuple[int, str | None]]:
        """Run `task(session, item)` for every item on some worker; yield (place, why it failed or None) as they end.

        Args:
            task: a module-level function that writes its result to a file, whole or not at all. It can run twice.
            items: what each call gets; small and plain, since Dask sends it.

        Yields:
            The item's place in `items`, with the message of an LsgmerError or OSError that `task` raised.

        Raises:
            LsgmerError: the scheduler or all workers are gone, a worker has other code, or an item ended several
                workers.

        """
        tasks = [task] * len(items)
        shared = [(str(self._beacon), fingerprint())] * len(items)
        futures = self._client.map(perform, tasks, items, shared, pure=False)
        places = {future.key: place for place, future in enumerate(futures)}
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for future in futures:
            future.add_done_callback(ended.put)
        try:
            for _ in items:
                future = self._next(ended)
                worker, failure = self._result(future)
                future.release()  # or it would run again once its worker is gone
                self.shares[worker] += 1
                yield places[future.key], failure or None
        finally:
            with suppress(Exception):  # the cluster may be gone
                self._client.cancel([future for future in futures if future.status == "pending"])

    def _next(self, ended: queue.SimpleQueue[Any]) -> Any:
        while True:
            if time.monotonic() - self._looked > POLL_S:
                self._look()
            with suppress(queue.Empty):
                return ended.get(timeout=POLL_S)

    def _result(self, future: Any) -> tuple[str, str]:
        """Return what `perform` returned; where its worker is gone meanwhile, once it has run again."""
        from concurrent.futures import CancelledError

        from distributed import KilledWorker

        while True:
            try:
                worker, failure = future.result(timeout=POLL_S)
                return str(worker), str(failure)
            except TimeoutError:
                self._look()
            except CancelledError as error:
                raise LsgmerError(_lost(self._client)) from error
            except KilledWorker as error:
                raise LsgmerError(
                    f"an item ended {error.allowed_failures + 1} workers one after another, perhaps for lack of "
                    "memory: give workers more, or start fewer on a machine"
                ) from None

    def _look(self) -> None:
        """Report workers that are gone; raise LsgmerError when all of them are, for long."""
        try:
            now = set(self._client.nthreads())
        except (OSError, TimeoutError) as error:
            raise LsgmerError(_lost(self._client)) from error
        self._looked = time.monotonic()
        for gone in sorted(self._known - now):
            print(f"cluster: worker {gone} is gone; what it had not finished runs again", file=sys.stderr, flush=True)
        self._known = now
        if now:
            self._peopled = self._looked
        elif self._looked - self._peopled > WORKER_S:
            raise LsgmerError(f"the cluster has had no worker for {WORKER_S:.0f} s; start one: dask worker ADDRESS")


@contextmanager
def connected(params: ClusterParams, scratch: Path) -> Iterator[Cluster | None]:
    """Yield the cluster of `runtime.cluster`, its workers checked; None where that is none.

    Args:
        params: which cluster.
        scratch: a folder of the workspace, which all workers must see at the same path.

    Raises:
        LsgmerError: Dask is not installed, the scheduler does not answer, it has no workers, or a worker has other
            code, other libraries or another file system.

    """
    if params.cluster == NONE:
        yield None
        return
    session = scratch.absolute() / f"cluster-{uuid.uuid4().hex[:12]}"
    with ExitStack() as stack:
        client = stack.enter_context(_client(params, scratch))
        stack.callback(shutil.rmtree, session, ignore_errors=True)  # first: what still runs ends once it is gone
        cluster = Cluster(client, session)
        cluster.check()
        yield cluster


@contextmanager
def _client(params: ClusterParams, scratch: Path) -> Iterator[Any]:
    """Yield a Dask client with at least one worker."""
    try:
        import distributed
    except ImportError as error:
        raise LsgmerError(
            f"runtime.cluster is {params.cluster}, which needs Dask: pip install 'lsgmer[cluster]', or set it to none"
        ) from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what it says is said here, in words
    count = params.local_workers
    with ExitStack() as stack:
        if count:
            local = distributed.LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                host="127.0.0.1",
                protocol="tls://",  # other users of this machine can reach the port
                security=distributed.Security.temporary(),
                dashboard_address=None,
                local_directory=str(scratch.absolute() / "dask"),
                silence_logs=logging.CRITICAL,
            )
            client = stack.enter_context(distributed.Client(stack.enter_context(local), set_as_default=False))
        else:
            try:
                url = urlsplit(params.address)  # Dask itself would try again until the timeout
                socket.create_connection((url.hostname, url.port), timeout=CONNECT_S).close()
                client = stack.enter_context(
                    distributed.Client(
                        params.address,
                        security=_security(params.address),
                        timeout=CONNECT_S,
                        set_as_default=False,
                        name="lsgmer",
                    )
                )
            except (OSError, TimeoutError) as error:
                raise LsgmerError(
                    f"runtime.cluster: no scheduler answers at {params.address} ({error}); start it as docs/scaling.md "
                    "says, or set runtime.cluster to none"
                ) from error
        try:
            client.wait_for_workers(count or 1, timeout=WORKER_S if count else FIRST_WORKER_S)
        except TimeoutError as error:
            raise LsgmerError(
                f"the scheduler at {params.address} has no workers; start some: dask worker {params.address}"
            ) from error
        yield client


def _security(address: str) -> Any:
    import distributed

    files = tls_files(address)
    if files is None:
        return None
    return distributed.Security(
        tls_ca_file=str(files.authority),
        tls_client_cert=str(files.certificate),
        tls_client_key=str(files.key),
        require_encryption=True,
    )


def _lost(client: Any) -> str:
    address = client.scheduler.address if client.scheduler else "?"
    return f"the scheduler at {address} is gone; finished work is kept: start it, then run the same command again"
