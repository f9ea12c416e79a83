"""What a run cost: each stage's cost beside that of the last time it ran, why others did not run, and the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsgmer.core.costs import StageCost, read_costs
from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import Workspace, write_atomically
from lsgmer.core.records import Record, Seconds, read_record
from lsgmer.core.text import markdown_table

NAME = "costs.json"  # the last run's, in .lsgmer, and a scheduled run's, in runs/ID
UNCHANGED = "skipped: up to date"
RESTORED = "skipped: DVC restored its outputs from the cache"
REJECTED = "skipped: the gate did not pass"
NOT_REACHED = "not reached"
UNRECORDED = "ended without a record, as when it is killed"
SAME, SAME_S = 0.05, 0.5  # a change of time within this share, or these seconds, is "about the same"
COLUMNS = ("stage", "time", "CPU", "peak memory", "last time")
KILO = 1000.0


class StageLine(Record):
    """One stage of a run: what it cost and what it cost when it last completed, or why it did not run."""

    stage: str
    skipped: str | None = None
    cost: StageCost | None = None
    before: StageCost | None = None


class RunCosts(Record):
    """costs.json: what a run cost. `wall_s` and `cpu_s` are of the whole run, DVC and the flow included."""

    run: str
    stages: tuple[StageLine, ...]
    wall_s: Seconds
    cpu_s: Seconds


def gather(
    workspace: Workspace, run: str, order: Sequence[str], skipped: Mapping[str, str], wall_s: Seconds, cpu_s: Seconds
) -> RunCosts:
    """Return the costs of `run`, whose id its stages wrote to the ledger.

    Args:
        workspace: where the run was.
        run: the id of the run.
        order: the stages of dvc.yaml, in running order.
        skipped: of the stages that did not run, why.
        wall_s: how long the run took.
        cpu_s: the processor time of the run's process and all its descendants.

    """
    ledger = read_costs(workspace)
    return RunCosts(
        run=run, stages=tuple(_line(name, run, ledger, skipped) for name in order), wall_s=wall_s, cpu_s=cpu_s
    )


def write(workspace: Workspace, costs: RunCosts) -> None:
    """Keep `costs` as those of the last run."""
    write_atomically(workspace.state / NAME, costs.to_json())


def read(workspace: Workspace, run: str) -> RunCosts | None:
    """Return the costs of `run` if it was the last one, else None."""
    try:
        costs = read_record(workspace.state / NAME, RunCosts, "it is written at the end of a run")
    except LsgmerError:
        return None
    return costs if costs.run == run else None


def table(costs: RunCosts) -> str:
    """Return the costs as aligned text: a line per stage, DVC and the flow, the whole, and the energy."""
    rows = [COLUMNS, *_rows(costs)]
    widths = [max(len(row[i]) for row in rows if len(row) == len(COLUMNS)) for i in range(len(COLUMNS))]
    lines = [_aligned(row, widths) for row in rows]
    return "\n".join([*lines, f"energy: {energy_text(costs)}", _load_text(costs)]).rstrip()


def markdown(costs: RunCosts) -> str:
    """Return the costs as a Markdown table, with the energy in a line below it."""
    rows = [row if len(row) == len(COLUMNS) else (row[0], row[1], "", "", "") for row in _rows(costs)]
    return f"{markdown_table(COLUMNS, rows)}\n\nEnergy: {energy_text(costs)}. {_load_text(costs).capitalize()}".rstrip()


def energy_text(costs: RunCosts) -> str:
    """Return what processors and GPUs used while the stages ran, or "not measured" and why."""
    found = [line.cost for line in costs.stages if line.cost]
    cpu, gpu = ([getattr(cost, name) for cost in found] for name in ("cpu_energy_j", "gpu_energy_j"))
    parts = [
        f"{what} {sum(values) / KILO:.2f} kJ" for what, values in (("CPU", cpu), ("GPU", gpu)) if _complete(values)
    ]
    if parts:
        return ", ".join(parts) + " (the whole machine's, while the stages ran)"
    return "not measured (no RAPL counter that can be read, no GPU that counts)" if found else "not measured"


def change(now: StageCost, before: StageCost) -> str:
    """Return how `now` compares: faster or slower by the clock, with the change of processor time beside it.

    On a busy machine the clock says little: processor time is the fairer of the two.
    """
    share = now.wall_s / before.wall_s - 1 if before.wall_s else 0.0
    cpu = now.cpu_s / before.cpu_s - 1 if before.cpu_s else 0.0
    same = abs(share) < SAME or abs(now.wall_s - before.wall_s) < SAME_S
    word = "about the same" if same else f"{abs(share):.0%} {'slower' if share > 0 else 'faster'}"
    return f"{before.wall_s:.1f} s: {word} (CPU {cpu:+.0%})"


def _complete(values: Sequence[float | None]) -> bool:
    return bool(values) and None not in values


def _line(name: str, run: str, ledger: Sequence[StageCost], skipped: Mapping[str, str]) -> StageLine:
    stage = name.partition("@")[0]  # of a stage with `foreach`
    costs = [cost for cost in ledger if cost.stage == stage]
    mine = [cost for cost in costs if cost.run == run]
    if not mine:
        return StageLine(stage=name, skipped=skipped.get(name, NOT_REACHED))
    earlier = [cost for cost in costs if cost.completed and cost.run != run]
    return StageLine(stage=name, cost=mine[-1], before=earlier[-1] if earlier else None)


def _rows(costs: RunCosts) -> list[tuple[str, ...]]:
    rows = [_row(line) for line in costs.stages]
    found = [line.cost for line in costs.stages if line.cost]
    wall, cpu = (getattr(costs, name) - sum(getattr(cost, name) for cost in found) for name in ("wall_s", "cpu_s"))
    rows.append(("DVC and flow", f"{max(wall, 0):.1f} s", f"{max(cpu, 0):.1f} s", "not measured", ""))
    peak = f"{max(cost.peak_memory_mib for cost in found):.0f} MiB" if found else ""
    return [*rows, ("whole run", f"{costs.wall_s:.1f} s", f"{costs.cpu_s:.1f} s", peak, "")]


def _row(line: StageLine) -> tuple[str, ...]:
    if line.cost is None:
        return line.stage, line.skipped or NOT_REACHED
    cost = line.cost
    last = change(cost, line.before) if line.before else "never completed before"
    return (
        line.stage,
        f"{cost.wall_s:.1f} s",
        f"{cost.cpu_s:.1f} s",
        f"{cost.peak_memory_mib:.0f} MiB",
        last if cost.completed else "failed",
    )


def _load_text(costs: RunCosts) -> str:
    loads = [line.cost.load for line in costs.stages if line.cost]
    return f"load average of the machine: {min(loads):.1f} to {max(loads):.1f}" if loads else ""


def _aligned(row: tuple[str, ...], widths: Sequence[int]) -> str:
    """Align numbers to the right, words to the left."""
    if len(row) < len(widths):
        return f"{row[0].ljust(widths[0])}  {row[1]}"
    cells = [
        cell.rjust(width) if 0 < i < len(widths) - 1 else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
