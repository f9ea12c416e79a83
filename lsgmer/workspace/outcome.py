"""The summary at the end of a run: metrics with intervals, the gate's verdict, and what to do next."""

from __future__ import annotations

import os
from pathlib import Path

from lsgmer.core.paths import Workspace
from lsgmer.core.text import markdown_table, number_text
from lsgmer.evaluation.records import GateDecision, Metrics
from lsgmer.metrics import interval_text
from lsgmer.registry import champions
from lsgmer.registry.promotion import packaged_tag, read_gate, read_metrics

UNPACKAGED = (
    "          not packaged; data/gate/report.md has the numbers; "
    "`lsgmer promote --force --reason TEXT` overrides, and is recorded"
)

COLUMNS = ("model", "n", "UA (balanced accuracy)", "WA (accuracy)", "weighted F1", "ECE")


def metric_rows(metrics: Metrics) -> list[tuple[str, ...]]:
    """Return one row per model, fused first, in COLUMNS' order, then one per difference between models."""
    rows: list[tuple[str, ...]] = [
        (
            name,
            str(m.n),
            interval_text(m.balanced_accuracy),
            interval_text(m.accuracy),
            interval_text(m.weighted_f1),
            number_text(m.ece),
        )
        for name, m in sorted(metrics.models.items(), key=lambda item: (item[0] != "fused", item[0]))
    ]
    return rows + [(name, "", interval_text(value, "+"), "", "", "") for name, value in metrics.differences.items()]


def metrics_markdown(metrics: Metrics) -> str:
    """Return the metrics as a Markdown table."""
    return markdown_table(COLUMNS, metric_rows(metrics))


def gate_rows(gate: GateDecision) -> list[dict[str, object]]:
    """Return one dict per gate rule: rule, value, threshold, verdict, reason."""
    return [
        {"rule": r.name, "value": r.value, "threshold": r.threshold, "verdict": r.verdict, "reason": r.reason}
        for r in gate.rules
    ]


def render(workspace: Workspace) -> str:
    """Return the whole summary as text: metrics, verdict, Bento, champion, next command."""
    parts: list[str] = []
    metrics = read_metrics(workspace)
    if metrics is not None:
        parts += [
            _table(metrics),
            f"(95% bootstrap intervals; chance {metrics.chance:.3f}; {metrics.n_speakers} test speakers)",
            "",
        ]
    gate = read_gate(workspace)
    parts += _verdict(gate) if gate is not None else []
    tag = packaged_tag(workspace) if gate is not None and gate.verdict == "PASS" else None
    champion = champions.read(workspace)
    parts += [f"bento     {tag}"] if tag else []
    parts += [f"champion  {champion.tag}{_forced(champion)}" if champion else "champion  none"]
    unpackaged = gate is not None and gate.verdict != "PASS" and packaged_tag(workspace) is None
    return "\n".join(parts + ([UNPACKAGED] if unpackaged else []) + (_next(workspace) if champion else []))


def _forced(champion: champions.Champion) -> str:
    return f" (forced by {champion.forced.by}: {champion.forced.reason})" if champion.forced else ""


def _verdict(gate: GateDecision) -> list[str]:
    failed = [rule for rule in gate.rules if rule.verdict != "PASS"]
    lines = [f"gate      {gate.verdict} ({len(gate.rules) - len(failed)} of {len(gate.rules)} rules pass)"]
    return lines + [f"          {rule.verdict} {rule.name}: {rule.reason}" for rule in failed]


def _next(workspace: Workspace) -> list[str]:
    clips = sorted((workspace.root / "data" / "raw").glob("*/audio/*.flac"))
    clip = os.path.relpath(clips[0]) if clips else "speech.flac"
    elsewhere = workspace.root.resolve() != Path.cwd()
    serve = f"(cd {os.path.relpath(workspace.root)} && lsgmer serve)" if elsewhere else "make serve"
    return [
        f"next      {serve}",
        f"          curl -F audio=@{clip} -F text='I can not believe it' localhost:3000/predict",
    ]


def _table(metrics: Metrics) -> str:
    rows = [COLUMNS, *metric_rows(metrics)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
