"""Whether a packaged model may be promoted: the gate's verdict, and whether it was champion before."""

from __future__ import annotations

import json

from lsgmer.core.errors import ExitCode
from lsgmer.core.paths import Workspace
from lsgmer.core.records import read_record
from lsgmer.evaluation.records import GateDecision, Metrics
from lsgmer.registry import champions


def read_metrics(workspace: Workspace) -> Metrics | None:
    """Return evaluate's metrics, or None before there are any."""
    path = workspace.data("evaluate") / "metrics.json"
    return read_record(path, Metrics, "run `lsgmer run`") if path.is_file() else None


def read_gate(workspace: Workspace) -> GateDecision | None:
    """Return the gate's decision, or None before there is one."""
    path = workspace.data("gate") / "gate.json"
    return read_record(path, GateDecision, "run `lsgmer run`") if path.is_file() else None


def packaged_tag(workspace: Workspace) -> str | None:
    """Return the Bento tag that data/package names, or None when nothing is packaged."""
    path = workspace.data("package") / "package.json"
    return str(json.loads(path.read_text())["tag"]) if path.is_file() else None


def to_promote(workspace: Workspace) -> str | None:
    """Return the packaged tag when its gate passed and it was never champion, else None.

    Usually the present run has just packaged it; otherwise an earlier run ended before it could promote it. A tag
    that was champion before is left alone: somebody went back to an older one on purpose.
    """
    tag = packaged_tag(workspace)
    if tag is None or verdict_code(workspace) or any(past.tag == tag for past in champions.history(workspace)):
        return None
    return tag


def verdict_code(workspace: Workspace) -> ExitCode:
    """Return DONE when the gate's verdict is PASS, otherwise REJECTED (a HOLD is not served either)."""
    gate = read_gate(workspace)
    return ExitCode.REJECTED if gate is not None and gate.verdict != "PASS" else ExitCode.DONE
