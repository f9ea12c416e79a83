"""What a stage costs: time, processor time, peak memory and energy, appended to .lsgmer/costs.jsonl.

What is counted:

- **time** from the start of the stage's process, so imports count, to the end of its work;
- **CPU**: user and system time of the stage's process, of its children that ended, and of those that still run;
- **peak memory**: the largest sum of resident memory over the stage's process and all its descendants, sampled every
  SAMPLE_S seconds, and at least the kernel's own peak of the stage's process. Pages that several processes share, and
  mapped files, count in each: it is an upper bound of what the stage needs;
- **energy**: what the whole machine's counters rose by while the stage's own code ran, see `EnergyMeter`.

DVC's own work around a stage is not in it. No stage reads or hashes these records, so outputs stay the same bytes.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil
from pydantic import ValidationError

from lsgmer.core.energy import EnergyMeter
from lsgmer.core.paths import Workspace
from lsgmer.core.records import Record, Seconds, canonical_json

RUN = "LSGMER_RUN"  # id of the run that a stage belongs to, if a flow started it
SAMPLE_S = 0.25
MIB = 2**20
_STATUS = Path("/proc/self/status")


class StageCost(Record):
    """What one execution of a stage cost. `completed` is false if it failed or was interrupted.

    `load` is the machine's load average (one minute) at the end, `processes` the most that ran at once; an energy in
    joules is None where it was not measured.
    """

    stage: str
    run: str | None
    ended: str
    completed: bool
    wall_s: Seconds
    cpu_s: Seconds
    peak_memory_mib: float
    processes: int
    cpu_energy_j: float | None
    gpu_energy_j: float | None
    load: float


@contextmanager
def recorded(stage: str, workspace: Workspace) -> Iterator[None]:
    """Append the cost of this process, from its start to the end of the `with` block, to the workspace's ledger."""
    energy, memory = EnergyMeter(), MemorySampler()
    completed = False
    try:
        with memory:
            yield
        completed = True
    finally:
        cpu_j, gpu_j = energy.used()
        cost = StageCost(
            stage=stage,
            run=os.environ.get(RUN),
            ended=datetime.now(UTC).isoformat(timespec="seconds"),
            completed=completed,
            wall_s=round(age_s(), 3),
            cpu_s=round(tree_cpu_s(), 3),
            peak_memory_mib=round(memory.peak / MIB, 1),
            processes=memory.processes,
            cpu_energy_j=cpu_j,
            gpu_energy_j=gpu_j,
            load=round(os.getloadavg()[0], 2),
        )
        _append(workspace, cost)


class MemorySampler:
    """Samples the resident memory of this process and all its descendants while it is entered; see the module."""

    def __init__(self) -> None:
        self.peak = 0  # bytes
        self.processes = 1
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    def __enter__(self) -> MemorySampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.peak = max(self.peak, own_peak())

    def _watch(self) -> None:
        me = psutil.Process()
        while True:
            sizes = []
            for process in [me, *me.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    sizes.append(process.memory_info().rss)
            self.peak, self.processes = max(self.peak, sum(sizes)), max(self.processes, len(sizes))
            if self._stop.wait(SAMPLE_S):
                return


def own_peak() -> int:
    """Return the largest resident memory of this process so far, in bytes.

    Linux's VmHWM starts at zero with the program; ru_maxrss there begins at that of the process that started it.
    """
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def age_s() -> Seconds:
    """Return how long this process has existed."""
    return time.time() - psutil.Process().create_time()


def tree_cpu_s() -> Seconds:
    """Return user + system time of this process and its descendants, ended (and waited for) or running."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    total = sum(each.ru_utime + each.ru_stime for each in used)
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            total += sum(process.cpu_times()[:4])  # user, system, and both of the children that it waited for
    return total


def read_costs(workspace: Workspace) -> list[StageCost]:
    """Return the ledger, oldest first. A line that a crash cut off is left out: costs decide nothing."""
    if not workspace.costs.is_file():
        return []
    found = []
    for line in workspace.costs.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValidationError):
            found.append(StageCost.model_validate_json(line))
    return found


def _append(workspace: Workspace, cost: StageCost) -> None:
    try:
        workspace.costs.parent.mkdir(parents=True, exist_ok=True)
        with workspace.costs.open("a", encoding="utf-8") as file:
            file.write(canonical_json(cost.model_dump(mode="json")) + "\n")
    except OSError as error:  # the stage's work is done: it must not fail for this
        print(f"{cost.stage}: what it cost could not be recorded: {error}", file=sys.stderr, flush=True)
