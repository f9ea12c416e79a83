"""The flow `retrain`, run on a schedule: pulls new data, runs the pipeline, keeps its records, reports failures."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Failed

from flows import records
from flows.pipeline import pipeline, quiet
from flows.pull import update_imports
from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import Workspace
from lsgmer.core.process import apply_environment
from lsgmer.workspace.lock import Busy, exclusive


@flow(name="retrain")
def retrain(root: str = ".", webhook: str | None = None, pull: bool = False) -> State[Any]:
    """Retrain `root`. Ends as `pipeline` does, or Cancelled "Refused" when another run holds the workspace.

    `pull` is for a machine with a fresh clone: outputs that dvc.lock records come from the remote.

    A failure, a rejection and a refusal each leave a line in .lsgmer/events.log; the first two call `webhook`.
    """
    apply_environment()
    quiet()
    workspace, started = Workspace(Path(root).resolve()), records.now()
    run_id = f"{started:%Y%m%dT%H%M%SZ}-{str(flow_run.id or '').replace('-', '')[-8:]}"
    updated: list[str] = []
    try:
        with exclusive(workspace, "scheduled run"):
            state = _attempt(workspace, updated, pull, run_id)
            record = records.write(workspace, run_id, started, str(state.name), str(state.message or ""), updated)
    except Busy as busy:
        state = Cancelled(name="Refused", message=str(busy))
        record = records.write(workspace, run_id, started, "Refused", str(busy), updated)
    except BaseException as error:
        record = records.write(workspace, run_id, started, "Interrupted", repr(error), updated)
        records.log_event(workspace, record)
        raise
    _tell(workspace, record, webhook)
    return state


def _attempt(workspace: Workspace, updated: list[str], pull: bool, run_id: str) -> State[Any]:
    """Pull new data and run the pipeline as a subflow; return the state to end in."""
    try:
        updated += update_imports(str(workspace.root))
    except LsgmerError as error:
        return Failed(message=str(error))
    state: State[Any] = pipeline(str(workspace.root), pull, run_id, return_state=True)
    if state.is_failed() or state.is_crashed():
        reason = state.result(raise_on_failure=False)
        if isinstance(reason, Exception) and not isinstance(reason, LsgmerError):
            traceback.print_exception(reason)
        return Failed(message=str(reason))
    # Prefect would replace the subflow's own state by "All states completed", so return a copy of it.
    return State(type=state.type, name=state.name, message=state.message)


def _tell(workspace: Workspace, record: records.RunRecord, webhook: str | None) -> None:
    first = record.message.partition("\n")[0]  # what follows in a failure's message was printed when it happened
    print(f"run {record.id}: {record.state}. {first}", file=sys.stderr, flush=True)
    if record.state in ("Completed", "Unchanged"):
        return
    records.log_event(workspace, record)
    if webhook and record.state != "Refused":
        records.call_webhook(webhook, record)
