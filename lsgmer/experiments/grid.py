"""`lsgmer experiments run`: runs the stages of experiments/dvc.yaml in several single-threaded processes at once.

DVC runs one stage at a time; here each worker runs `dvc repro --single-item` on one cell after another. The result is
that of a plain `dvc repro experiments/dvc.yaml`, which then finds nothing left to do. With `runtime.cluster` the cells
are computed by its workers, and DVC, on this machine alone, takes what they computed.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from lsgmer.core.device import ONE_THREAD
from lsgmer.core.errors import LsgmerError
from lsgmer.core.process import OWNER, identity
from lsgmer.core.progress import track
from lsgmer.core.workers import Cluster, connected
from lsgmer.experiments import timing
from lsgmer.experiments.plan import FOLDER, Cell, Plan, cell_content, cell_source, load_plan, source_content
from lsgmer.experiments.remote import compute, item_of, last_line, log_of
from lsgmer.params import load_params, parse_params
from lsgmer.workspace import dvc

STOP_S = 30.0
PIPELINE = f"{FOLDER}/dvc.yaml"


def run(root: Path, quick: bool, jobs: int, grid: str | None) -> None:
    """Bring the cells of all grids (or of one, or of the quick grids) up to date in `jobs` processes.

    A cell that fails leaves its log and does not stop the others; finished cells are never run again.
    Raises LsgmerError, naming the failed cells.
    """
    plan = load_plan(root)
    cells = plan.cells(quick, grid)
    if not cells:
        raise LsgmerError(
            f"{FOLDER}/params.yaml: grid {grid or 'quick' if quick else grid} has no cells; fill in its lists"
        )
    check(root, plan, cells)
    with _alone(root), _children() as children:
        began = time.monotonic()
        sources = dict.fromkeys(plan.studies[cell.study].source for cell in cells)
        _bring_up(root, "common", children)
        _prepare(root, list(sources), jobs, children)
        stale = _out_of_date(root)
        todo = [cell for cell in cells if cell.stage in stale]
        print(f"{len(cells) - len(todo)} of {len(cells)} cells are up to date; {len(todo)} to run", flush=True)
        failed: list[Cell] = []
        if todo:
            log_of(root, todo[0]).parent.mkdir(parents=True, exist_ok=True)
            scratch = root / FOLDER / ".lsgmer" / "scratch"
            with connected(load_params(root / "params.yaml").runtime, scratch) as cluster:
                failed = _walk(root, todo, jobs, children, cluster)
                side_by_side = cluster.slots if cluster else jobs
                if cluster:
                    print(f"cells by worker: {cluster.said()}", flush=True)
            seconds = round(time.monotonic() - began, 1)
            timing.note(root, quick, grid, timing.RunTime(cells=len(todo), jobs=side_by_side, seconds=seconds))
    if failed:
        named = "\n".join(f"  {cell.name}: {log_of(root, cell)}" for cell in failed[:5])
        raise LsgmerError(f"{len(failed)} of {len(todo)} cells failed; the others are kept. Their logs:\n{named}")


def check(root: Path, plan: Plan, cells: list[Cell]) -> None:
    """Raise ParamsError unless all parameters of all `cells` are valid: a cell by itself checks only what it reads."""
    sources = {cell.study: cell_source(plan, cell) for cell in cells}
    contents = {study: source_content(root, source) for study, source in sources.items()}
    for cell in {(cell.study, cell.variant): cell for cell in cells}.values():
        parse_params(cell_content(plan, cell, contents[cell.study]), f"{FOLDER}/params.yaml: cell {cell.name}")


@dataclass(slots=True)
class Children:
    """The processes that are running, so that Ctrl-C can end them; `ended` tells workers to start no more."""

    running: set[subprocess.Popen[bytes]] = field(default_factory=set)
    ended: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def repro(self, stage: str, root: Path, log: Path | None) -> int:
        """Bring `stage` up to date with a DVC in its own process group; return its exit code.

        Its output goes to `log` (None: to the screen).
        """
        command = [*dvc.DVC, "--wait-for-lock", "repro", "--single-item", f"{PIPELINE}:{stage}"]
        environment = {**dvc.environment(), **ONE_THREAD, OWNER: identity(os.getpid())}
        with log.open("ab") if log else nullcontext() as output:
            with self.lock:
                if self.ended.is_set():
                    return 1
                process = subprocess.Popen(
                    command, cwd=root, env=environment, stdout=output, stderr=output, start_new_session=True
                )
                self.running.add(process)
            code = process.wait()
        with self.lock:
            self.running.discard(process)
        return code

    def end(self) -> None:
        """Interrupt the running stages and wait: finished epochs are kept, and the next run resumes there.

        It interrupts the stages, not their DVC: a DVC that is ended while it writes leaves an empty dvc.lock, and
        the record of every finished cell is lost. DVC ends by itself once its stage has ended.
        """
        self.ended.set()
        deadline = time.monotonic() + STOP_S
        while self.running and time.monotonic() < deadline:
            for process in list(self.running):
                with suppress(psutil.NoSuchProcess):
                    for stage in psutil.Process(process.pid).children(recursive=True):
                        stage.send_signal(signal.SIGINT)
            time.sleep(0.5)


def _prepare(root: Path, sources: list[str], jobs: int, children: Children) -> None:
    """Bring the features of `sources` up to date, in parallel."""
    with ThreadPoolExecutor(jobs) as pool:
        try:
            list(pool.map(lambda source: _bring_up(root, f"features@{source}", children), sources))
        except BaseException:
            children.end()  # or leaving the pool would wait for what still runs
            raise


def _bring_up(root: Path, stage: str, children: Children) -> None:
    if children.repro(stage, root, None):
        raise LsgmerError(f"stage {stage} of {PIPELINE} failed: see above")


def _out_of_date(root: Path) -> frozenset[str]:
    """Return the stages that DVC would run, without the path of their file."""
    answer = json.loads(dvc.ask(root, "status", PIPELINE, "--json").strip().splitlines()[-1])
    return frozenset(name.rpartition(":")[2] for name in answer)


Waiting = queue.SimpleQueue[Cell | None]  # None: no more
Done = queue.SimpleQueue[tuple[Cell, int] | Exception]  # a cell with DVC's exit code, or why the cluster failed


def _walk(root: Path, todo: list[Cell], jobs: int, children: Children, cluster: Cluster | None) -> list[Cell]:
    """Run `todo` in `jobs` DVC processes, with progress; return the cells that failed. A cluster computes them first.

    Raises LsgmerError when the cluster fails.
    """
    waiting: Waiting = queue.SimpleQueue()
    done: Done = queue.SimpleQueue()

    def work() -> None:
        while cell := waiting.get():
            done.put((cell, children.repro(cell.stage, root, log_of(root, cell))))

    def feed() -> None:
        _feed(root, todo, cluster, waiting, done)
        for _ in range(jobs):
            waiting.put(None)

    for target in (feed, *[work] * min(jobs, len(todo))):
        threading.Thread(target=target, daemon=True).start()
    failed = []
    for _ in track(range(len(todo)), len(todo), "cells"):
        outcome = done.get()
        if isinstance(outcome, Exception):
            raise outcome
        cell, code = outcome
        if code:
            failed.append(cell)
            print(f"{cell.name} failed: {last_line(log_of(root, cell))}", file=sys.stderr, flush=True)
    return failed


def _feed(root: Path, todo: list[Cell], cluster: Cluster | None, waiting: Waiting, done: Done) -> None:
    """Put each cell into `waiting` when DVC can run it: at once, or when a worker has computed it."""
    for cell in todo:
        log_of(root, cell).unlink(missing_ok=True)
    if cluster is None:
        for cell in todo:
            waiting.put(cell)
        return
    try:
        for place, failure in cluster.map(compute, [item_of(root, cell) for cell in todo]):
            if failure:
                done.put((todo[place], 1))
            else:
                waiting.put(todo[place])
    except Exception as error:  # raised again by `_walk`
        done.put(error)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    folder = root / FOLDER / ".lsgmer"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "run.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LsgmerError("`lsgmer experiments run` is already running here; wait for it to end") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _children() -> Iterator[Children]:
    """Yield the processes of a run, and end them however it ends."""
    children = Children()
    try:
        yield children
    finally:
        children.end()
