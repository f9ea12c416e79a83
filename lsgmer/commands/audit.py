"""`lsgmer audit`: of a package, of the log of predictions, or of one request from its line back to the raw data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lsgmer.core.errors import ExitCode, LsgmerError, ParamsError
from lsgmer.core.paths import Workspace
from lsgmer.service.log_format import LogError
from lsgmer.service.log_report import Found, LogReport, find, verify

if TYPE_CHECKING:
    from lsgmer.registry.audit import AuditReport

LOG = "log"  # what `lsgmer audit` takes for the log of predictions


def audit(target: str, as_json: bool, folder: Path | None) -> int:
    """Print the audit of `target`; return DONE or BROKEN.

    Args:
        target: a Bento's tag or folder, `log`, or the id of a request in the log.
        as_json: print one JSON object instead of text.
        folder: the log's folder; None: the workspace's own.

    Raises:
        LsgmerError: there is nothing of that name to audit, or the Bento that answered the request is gone.

    """
    workspace = Workspace(Path.cwd())
    where = folder or workspace.predictions
    if target == LOG:
        log = verify(where)
        _print(log.to_json() if as_json else log.to_text())
        return ExitCode.BROKEN if log.broken else ExitCode.DONE
    no_package = _why_no_package(workspace, target)
    if no_package is not None:
        return _request(workspace, target, _lines(where, target, no_package), where, as_json)
    if folder is not None:
        raise ParamsError(f"{target} is a package: --folder goes with `lsgmer audit log` and with the id of a request")
    report = _examine(workspace, target)
    _print(report.to_json() if as_json else report.to_text())
    return ExitCode.BROKEN if report.broken else ExitCode.DONE


def _examine(workspace: Workspace, target: str) -> AuditReport:
    from lsgmer.registry.audit import audit as examine  # which imports numpy

    return examine(workspace, target)


def _why_no_package(workspace: Workspace, target: str) -> LsgmerError | None:
    from lsgmer.registry.audit import locate

    try:
        locate(workspace, target)
    except LsgmerError as error:
        return error
    return None


def _lines(folder: Path, request_id: str, no_package: LsgmerError) -> tuple[Found, ...]:
    """Return the lines about the request. Raises LsgmerError when there are none, saying why it is no package."""
    try:
        found = find(folder, request_id)
    except LogError:
        raise no_package from None
    if not found:
        broken = ", which is broken: see `lsgmer audit log`" if verify(folder).broken else ""
        raise LsgmerError(f"{no_package}; and no request has that id in the log {folder}{broken}")
    return found


def _request(workspace: Workspace, request_id: str, lines: Sequence[Found], folder: Path, as_json: bool) -> int:
    """Audit a request: its lines, the log's chain, and every model that answered it, back to the raw data."""
    log, models, gone = verify(folder), [], []
    for tag in dict.fromkeys(str(line.content["model_version"]) for line in lines if "model_version" in line.content):
        try:
            models.append(_examine(workspace, tag))
        except LsgmerError as error:
            gone.append(error)
    _print(_as_json(request_id, lines, log, models) if as_json else _as_text(request_id, lines, log, models))
    if log.broken or any(model.broken for model in models):
        return ExitCode.BROKEN
    if gone:
        raise gone[0]
    return ExitCode.DONE


def _as_json(request_id: str, lines: Sequence[Found], log: LogReport, models: Sequence[AuditReport]) -> str:
    content = {
        "request_id": request_id,
        "lines": [line.model_dump(mode="json") for line in lines],
        "log": log.model_dump(mode="json"),
        "models": [model.model_dump(mode="json") for model in models],
    }
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _as_text(request_id: str, lines: Sequence[Found], log: LogReport, models: Sequence[AuditReport]) -> str:
    shown = [f"request {request_id}"]
    for line in lines:
        shown += [f"  {line.file}, line {line.line}", *_fields(line.content)]
    return "\n".join([*shown, "", log.to_text(), *(f"\n{model.to_text()}" for model in models)])


def _fields(content: dict[str, object]) -> list[str]:
    """Return a line per field that has a value, a level deep: the inputs and the output are records of their own."""
    rows: list[tuple[str, object]] = []
    for name, value in content.items():
        inner = value.items() if name in ("inputs", "output") and isinstance(value, dict) else ()
        rows += [(f"{name}.{key}", part) for key, part in inner] or [(name, value)]
    kept = [(name, value) for name, value in rows if value is not None and name not in ("request_id", "previous")]
    width = max((len(name) for name, _ in kept), default=0)
    return [f"    {name:<{width}}  {json.dumps(value, ensure_ascii=False)}" for name, value in kept]


def _print(text: str) -> None:
    print(text, end="" if text.endswith("\n") else "\n")
