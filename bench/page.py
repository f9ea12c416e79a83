"""The measured parts of docs/performance.md: tables and plot, between markers; the rest of the page is hand-written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lsgmer.core.text import markdown_table

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "performance" / "growth.svg"
STAGES = ("manifest", "validate", "features", "train", "controls", "evaluate", "package", "DVC")
SIZES = {"text": (1_000, 10_000, 100_000), "audio": (1_000, 10_000)}
PLANNED = 10_000_000
Row = Mapping[str, Any]


def put(page: str, name: str, content: str) -> str:
    """Return `page` with `content` between the markers `name`. Raises ValueError if the page lacks them."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
    if len(pattern.findall(page)) != 1:
        raise ValueError(f"{PAGE}: needs the markers {start} and {end} once; put them where the table belongs")
    return pattern.sub(lambda _: f"{start}\n{content.strip()}\n{end}", page)


def paired_table(rows: Sequence[Row], missing: Mapping[str, str]) -> str:
    """Return the table of paired comparisons; a row that could not be measured says why."""
    header = ("row", "what", "control", "ours: wall, CPU", "control: wall, CPU", "CPU ratio", "more")
    cells = [
        (
            row["name"],
            row["what"],
            row["control_is"],
            _side(row["ours"]),
            _side(row["control"]),
            "{:.2f} ({:.2f} to {:.2f})".format(row["cpu_ratio"], *row["cpu_ratio_range"]),
            _more(row),
        )
        for row in rows
    ]
    cells += [(name, f"not measured: {why}", "", "", "", "", "") for name, why in missing.items()]
    return markdown_table(header, cells)


def _side(side: Row) -> str:
    peak = "" if side["peak_mib"] is None else f", {side['peak_mib']:.0f} MiB"
    return f"{_seconds(side['wall_s'])}, {_seconds(side['cpu_s'])}{peak}"


def _more(row: Row) -> str:
    around = row["environment"]
    per = f"{1000 * row['ours']['cpu_s'] / row['count']:.3g} ms of CPU per {row['unit']}" if row["count"] > 1 else ""
    notes = [f"{name}: {value}" for name, value in row["notes"].items()]
    where = (
        f"{row['repeats']} pairs, {around['torch_threads']} thread(s), {around['cores']} cores, load {around['load']}"
    )
    return "; ".join(filter(None, [per, *notes, where, around["at"][:10]]))


def _seconds(value: float) -> str:
    return f"{1000 * value:.1f} ms" if value < 1 else f"{value:.1f} s"


def whole(results: Sequence[Row]) -> list[Row]:
    """Return `results` without DVC's part where not all stages ran: it would be that of a few stages only."""
    kept = []
    for each in results:
        stages = {name: cost for name, cost in each["stages"].items() if name != "DVC" or "package" in each["stages"]}
        kept.append({**each, "stages": stages})
    return kept


def growth_table(results: Sequence[Row]) -> str:
    """Return CPU seconds, wall seconds and peak memory per stage and size, with the command for what is missing."""
    parts = []
    for kind, sizes in SIZES.items():
        found = {each["utterances"]: each["stages"] for each in whole(results) if each["kind"] == kind}
        header = (kind, *(f"{size:,}" for size in sizes), "per 1,000 more", "from")
        rows = [
            (stage, *(_cell(found.get(size, {}).get(stage)) for size in sizes), *_growth(found, stage))
            for stage in STAGES
        ]
        parts.append(markdown_table(header, rows))
        for size in sizes:
            absent = [stage for stage in STAGES if stage not in found.get(size, {})]
            if absent:
                parts.append(
                    f"Not measured: {kind}, {size:,}: {', '.join(absent)}; `python -m bench.growth {kind} {size}` does."
                )
    return "\n\n".join(parts)


def _cell(cost: Row | None) -> str:
    if cost is None:
        return "not measured"
    peak = "" if cost["peak_memory_mib"] is None else f", {cost['peak_memory_mib']:.0f} MiB"
    load = f" (load {cost['load']:.0f})" if "load" in cost else ""
    return f"{cost['cpu_s']:.1f} s CPU, {cost['wall_s']:.0f} s{load}{peak}"


def slope(found: Mapping[int, Mapping[str, Row]], stage: str, what: str) -> tuple[float, float, list[int]] | None:
    """Return (per utterance, fixed, sizes) of `what` by the two largest sizes at which `stage` was measured."""
    sizes = sorted(size for size, stages in found.items() if stages.get(stage, {}).get(what) is not None)[-2:]
    if len(sizes) < 2:
        return None
    low, high = (found[size][stage][what] for size in sizes)
    each = (high - low) / (sizes[1] - sizes[0])
    return each, low - each * sizes[0], sizes


def _growth(found: Mapping[int, Mapping[str, Row]], stage: str) -> tuple[str, str]:
    cpu, memory = slope(found, stage, "cpu_s"), slope(found, stage, "peak_memory_mib")
    if cpu is None:
        return "not measured", ""
    text = f"{1000 * cpu[0]:.2f} s CPU"
    if memory is not None:
        text += f", {1000 * memory[0]:.1f} MiB"
    return text, " and ".join(f"{size:,}" for size in cpu[2])


def plan_table(results: Sequence[Row]) -> str:
    """Return what 10 million utterances of text would cost by the measured slopes, without the fixed part."""
    found = {each["utterances"]: each["stages"] for each in whole(results) if each["kind"] == "text"}
    rows = []
    for stage in STAGES:
        cpu, memory, disk = (slope(found, stage, name) for name in ("cpu_s", "peak_memory_mib", "disk_mib"))
        if cpu is None:
            rows.append((stage, "not measured", "", "", ""))
            continue
        hours = f"{max(cpu[0], 0) * PLANNED / 3600:.1f} h"
        gib = [f"{max(each[0], 0) * PLANNED / 1024:.1f} GiB" if each else "not measured" for each in (memory, disk)]
        rows.append((stage, hours, *gib, f"slope from {' to '.join(f'{size:,}' for size in cpu[2])}"))
    return markdown_table(("stage", "CPU time", "peak memory, as it is", "its outputs on disk", "measured"), rows)


def draw(results: Sequence[Row], path: Path = PLOT) -> None:
    """Draw CPU time and peak memory of every stage over the number of utterances, both axes logarithmic."""
    figure = Figure(figsize=(9, 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for number, stage in enumerate(STAGES):
        for kind, style in (("text", "-"), ("audio", ":")):
            points = [
                (each["utterances"], each["stages"][stage])
                for each in whole(results)
                if each["kind"] == kind and stage in each["stages"]
            ]
            for axes, what in ((left, "cpu_s"), (right, "peak_memory_mib")):
                known = [(size, cost[what]) for size, cost in points if cost[what] is not None]
                if known:
                    label = stage if kind == "text" else None
                    axes.plot(
                        *zip(*known, strict=True),
                        style,
                        marker="os"[kind == "audio"],
                        markersize=4,
                        color=f"C{number}",
                        label=label,
                    )
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlabel="utterances")
    left.set(ylabel="CPU time (s)", title="circles: text; squares: audio + text")
    right.set(ylabel="peak memory (MiB)", title="of the stage's processes together")
    figure.legend(*left.get_legend_handles_labels(), fontsize=8, loc="outside right upper")
    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context({"svg.hashsalt": path.name}):
        figure.savefig(path, format="svg", metadata={"Date": None})
