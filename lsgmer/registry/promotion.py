"""Whether a packaged model may be promoted: what the gate said, and what was champion before."""

from __future__ import annotations

import json
from typing import TypeVar

from pydantic import ValidationError

from lsgmer.core.errors import ExitCode, LsgmerError
from lsgmer.core.paths import Workspace
from lsgmer.core.records import Record
from lsgmer.evaluation.records import GateDecision, Metrics
from lsgmer.registry import champions

R = TypeVar("R", bound=Record)


def read_metrics(workspace: Workspace) -> Metrics | None:
    """Return evaluate's metrics, or None before there are any."""
    return read_record(workspace, "evaluate", "metrics.json", Metrics)


def read_gate(workspace: Workspace) -> GateDecision | None:
    """Return the gate's decision, or None before there is one."""
    return read_record(workspace, "gate", "gate.json", GateDecision)


def packaged_tag(workspace: Workspace) -> str | None:
    """Return the Bento tag that data/package names, or None when nothing is packaged."""
    path = workspace.data("package") / "package.json"
    return str(json.loads(path.read_text())["tag"]) if path.is_file() else None


def to_promote(workspace: Workspace) -> str | None:
    """Return the packaged tag when its gate passed and it never was champion: a run ended before it could be.

    A tag that was champion once is left alone: somebody went back to an older one on purpose.
    """
    tag = packaged_tag(workspace)
    if tag is None or verdict_code(workspace) or any(past.tag == tag for past in champions.history(workspace)):
        return None
    return tag


def verdict_code(workspace: Workspace) -> ExitCode:
    """Return DONE when the gate's verdict is PASS, otherwise REJECTED (a HOLD is not served either)."""
    gate = read_gate(workspace)
    return ExitCode.REJECTED if gate is not None and gate.verdict != "PASS" else ExitCode.DONE


def read_record(workspace: Workspace, stage: str, name: str, kind: type[R]) -> R | None:
    """Return what `stage` wrote to its file `name`, or None before it has."""
    path = workspace.data(stage) / name
    if not path.is_file():
        return None
    try:
        return kind.model_validate_json(path.read_text())
    except ValidationError as error:
        raise LsgmerError(
            f"{path}: not what {stage} writes ({error.error_count()} problems); run `lsgmer run`"
        ) from error
