"""What a scheduled run leaves: records in runs/ID/, a line in the event log, and a webhook call."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import UTC, datetime

import httpx

from lsgmer.core.paths import Workspace, write_atomically
from lsgmer.core.process import is_loopback
from lsgmer.core.records import Record
from lsgmer.core.source import SourceState, source_state
from lsgmer.registry import champions
from lsgmer.registry.promotion import packaged_tag, read_gate, read_metrics, verdict_code
from lsgmer.workspace import costs, outcome

WEBHOOK_TIMEOUT_S = 10.0
FINISHED = ("Completed", "Rejected", "Unchanged")  # only then do metrics and verdict belong to this run


class RunRecord(Record):
    """run.json: how one scheduled run went. `champion` is the tag served after it."""

    id: str
    state: str
    message: str
    started: str
    ended: str
    bento: str | None
    champion: str | None
    updated: tuple[str, ...]
    source: SourceState


def now() -> datetime:
    """Return the current time in UTC, without microseconds."""
    return datetime.now(UTC).replace(microsecond=0)


def write(
    workspace: Workspace, run_id: str, started: datetime, state: str, message: str, updated: list[str]
) -> RunRecord:
    """Write runs/ID/: run.json, report.md, dvc.lock, params.yaml, costs.json, a finished run's metrics and verdict."""
    champion = champions.read(workspace)
    finished = state in FINISHED
    record = RunRecord(
        id=run_id,
        state=state,
        message=message,
        started=started.isoformat(),
        ended=now().isoformat(),
        bento=packaged_tag(workspace) if finished and not verdict_code(workspace) else None,
        champion=champion.tag if champion else None,
        updated=tuple(updated),
        source=source_state(workspace.root),
    )
    folder = workspace.runs / run_id
    folder.mkdir(parents=True, exist_ok=True)
    papers = [workspace.lock, workspace.params]
    if finished:
        papers += [workspace.data("evaluate") / "metrics.json", workspace.data("gate") / "gate.json"]
    if record.bento:
        papers.append(workspace.data("package") / "package.json")
    spent = costs.read(workspace, run_id)
    if spent is not None:
        write_atomically(folder / costs.NAME, spent.to_json())
    for paper in papers:
        if paper.is_file():
            shutil.copyfile(paper, folder / paper.name)
    write_atomically(folder / "report.md", _report(workspace, record, spent))
    write_atomically(folder / "run.json", record.to_json())
    return record


def log_event(workspace: Workspace, record: RunRecord) -> None:
    """Append one JSON line to .lsgmer/events.log."""
    workspace.state.mkdir(parents=True, exist_ok=True)
    line = {"at": record.ended, "run": record.id, "state": record.state, "message": record.message}
    with (workspace.state / "events.log").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def call_webhook(url: str, record: RunRecord) -> bool:
    """POST the record as JSON; return whether the webhook accepted it. A failure is reported, but never fatal."""
    try:
        content, proxy = record.model_dump(mode="json"), not is_loopback(url)
        httpx.post(url, json=content, timeout=WEBHOOK_TIMEOUT_S, trust_env=proxy).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        print(f"retrain: the webhook {url} did not accept the message: {error}", file=sys.stderr, flush=True)
        return False
    return True


def _report(workspace: Workspace, record: RunRecord, spent: costs.RunCosts | None) -> str:
    lines = [f"# Run {record.id}: {record.state}", "", record.message, ""]
    lines += [f"{record.started} to {record.ended}; champion after it: {record.champion or 'none'}", ""]
    lines += [costs.markdown(spent), ""] if spent is not None else []
    metrics, gate = read_metrics(workspace), read_gate(workspace)
    if record.state in FINISHED and metrics is not None and gate is not None:
        lines += [outcome.metrics_markdown(metrics), "", f"Gate: {gate.verdict}", ""]
        lines += [f"- {r.verdict} {r.name}: {r.reason}" for r in gate.rules]
    return "\n".join(lines) + "\n"
