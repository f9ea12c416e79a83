"""Paired comparisons: two ways to do the same, run in turn in one process environment, wall clock and CPU time.

A module of rows has a function `pairs() -> list[Pair]`. `measure` runs both sides once to warm up, then `repeats` times
in turn, swapping who begins, and keeps the medians. CPU time is that of this process and of its children that ended.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

REPEATS = 5
MIB = 2**20


class NotMeasured(Exception):
    """A row cannot be measured here; the message says why and gives the command that would."""


@dataclass(frozen=True)
class Sample:
    """One execution: seconds by the clock, seconds of CPU, and the peak memory in MiB where it was asked for."""

    wall_s: float
    cpu_s: float
    peak_mib: float | None = None


@dataclass(frozen=True)
class Pair:
    """One row: `ours` against `control`, each of which does the same work once and may return its own Sample.

    `what` and `control_is` say in words what each side does, `count` how many `unit`s one execution handles, `notes`
    gives more numbers (name -> text) once both have run, and `holds` keeps alive what they need, such as a folder.
    """

    name: str
    what: str
    control_is: str
    ours: Callable[[], object]
    control: Callable[[], object]
    count: int = 1
    unit: str = "run"
    repeats: int = REPEATS
    warm_up: bool = True
    notes: Callable[[], Mapping[str, str]] = field(default=dict)
    holds: object = None


def measure(pair: Pair) -> dict[str, Any]:
    """Run `pair` and return its row for JSON: medians of both sides, the median of the paired ratios, the load."""
    sides = {"ours": pair.ours, "control": pair.control}
    if pair.warm_up:
        for action in sides.values():
            action()
    found: dict[str, list[Sample]] = {name: [] for name in sides}
    for turn in range(pair.repeats):
        for name in sides if turn % 2 == 0 else reversed(sides):
            found[name].append(timed(sides[name]))
    ratios = [a.cpu_s / b.cpu_s for a, b in zip(found["ours"], found["control"], strict=True)]
    return {
        "name": pair.name,
        "what": pair.what,
        "control_is": pair.control_is,
        "count": pair.count,
        "unit": pair.unit,
        "repeats": pair.repeats,
        **{name: asdict(_median(samples)) for name, samples in found.items()},
        "cpu_ratio": statistics.median(ratios),
        "cpu_ratio_range": [min(ratios), max(ratios)],
        "notes": dict(pair.notes()),
        "environment": environment(),
    }


def timed(action: Callable[[], object]) -> Sample:
    """Run `action` once; what it returns counts if it is a Sample, else its time in this process environment."""
    began, before = time.perf_counter(), cpu_s()
    result = action()
    return result if isinstance(result, Sample) else Sample(time.perf_counter() - began, cpu_s() - before)


def cpu_s() -> float:
    """Return user + system seconds of this process and its children that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def environment() -> dict[str, Any]:
    """Return what a number depends on besides the code: time, machine, threads, load."""
    import torch

    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "omp_threads": os.environ.get("OMP_NUM_THREADS", "not set"),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }


def text_of(row: Mapping[str, Any]) -> str:
    """Return one line about a row, for the console."""
    parts = []
    for side in ("ours", "control"):
        peak = row[side]["peak_mib"]
        memory = "" if peak is None else f", {peak:.0f} MiB"
        parts.append(f"{side} {row[side]['wall_s']:.3f} s, {row[side]['cpu_s']:.3f} s CPU{memory}")
    notes = "".join(f"; {name}: {value}" for name, value in row["notes"].items())
    return f"{row['name']}: {'; '.join(parts)}; CPU ratio {row['cpu_ratio']:.2f}{notes}"


def _median(samples: list[Sample]) -> Sample:
    peaks = [sample.peak_mib for sample in samples if sample.peak_mib is not None]
    return Sample(
        statistics.median(sample.wall_s for sample in samples),
        statistics.median(sample.cpu_s for sample in samples),
        statistics.median(peaks) if len(peaks) == len(samples) else None,
    )
