"""The flow `pipeline`: walks the stages of dvc.yaml, one task each. DVC says what, Prefect says when."""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger, task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed

from flows import stage_process
from flows.console import Console
from flows.pull import fetch_absent, fetch_outputs
from flows.watch import watch_parent
from lsgmer.core.costs import RUN, age_s, tree_cpu_s
from lsgmer.core.errors import ExitCode, LsgmerError
from lsgmer.core.paths import Workspace
from lsgmer.core.process import apply_environment, interrupt_on_signals
from lsgmer.core.progress import PROGRESS
from lsgmer.features.links import refresh_links
from lsgmer.registry import champions
from lsgmer.registry.promotion import packaged_tag, read_gate, read_metrics, to_promote, verdict_code
from lsgmer.workspace import costs, dvc, outcome
from lsgmer.workspace.lock import exclusive

PULL = "--pull"
INTERRUPTED = "interrupted; everything finished so far is kept: run the same command again to resume"


@task(cache_policy=NO_CACHE, task_run_name="{name}")
def stage(name: str, position: str, root: str) -> bool:
    """Run one DVC stage; return whether DVC did anything. Raises StageFailed with the stage's last lines."""
    logger, console, progress = get_run_logger(), Console(name, position), _Progress(name)

    def on_line(line: str) -> None:
        logger.info(line)
        console.line(line)
        progress.line(line)

    console.start()
    try:
        changed = stage_process.repro(name, Path(root), on_line)
    except BaseException as error:
        console.end("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        if isinstance(error, stage_process.StageFailed):
            error.shown = True
        raise
    console.end("done" if changed else "was up to date: checked")
    return changed


@task(cache_policy=NO_CACHE)
def promote(root: str, tag: str) -> None:
    """Move the champion pointer to `tag`, as the last step of a run."""
    champions.promote(Workspace(Path(root)), tag)


@task(cache_policy=NO_CACHE)
def publish(root: str) -> None:
    """Show metrics and the gate's verdict as Prefect artifacts; the same numbers are in data/."""
    workspace = Workspace(Path(root))
    metrics, gate = read_metrics(workspace), read_gate(workspace)
    if metrics is not None:
        create_markdown_artifact(outcome.metrics_markdown(metrics), key="metrics", description="95% intervals")
    if gate is not None:
        create_table_artifact(outcome.gate_rows(gate), key="gate", description=f"Verdict: {gate.verdict}")


@flow(name="pipeline")
def pipeline(root: str = ".", pull: bool = False, run: str | None = None) -> State[Any]:
    """Bring `root` up to date. Ends Completed, Completed "Rejected", Completed "Unchanged", Cancelled or Failed.

    With `pull`, outputs that dvc.lock records come from the remote rather than from running their stages. `run` names
    the run in the records of what it costs.
    """
    workspace = Workspace(Path(root).resolve())
    with exclusive(workspace, "pipeline"):
        try:
            return walk(workspace, pull, run or new_run())
        except KeyboardInterrupt:
            return Cancelled(message=INTERRUPTED)


def new_run() -> str:
    """Return a name for a run: its start and its process."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}"


def walk(workspace: Workspace, pull: bool, run: str) -> State[Any]:
    """Run what is out of date, in order; stop before packaging unless the gate passed; promote last."""
    began, used = time.monotonic(), tree_cpu_s()
    os.environ[RUN] = run  # the stages read it
    dvc.check_workspace(workspace.root)
    fetch_absent(str(workspace.root))
    if pull:
        fetch_outputs(str(workspace.root))
    refresh_links(workspace)
    plan, todo = dvc.survey(workspace.root)
    skipped = {name: costs.UNCHANGED for name in plan.order if name not in todo}
    try:
        changed = _run_stages(workspace, plan, todo, skipped)
    finally:
        whole = time.monotonic() - began, tree_cpu_s() - used
        costs.write(workspace, costs.gather(workspace, run, plan.order, skipped, *whole))
    return _conclude(workspace, changed)


def _run_stages(workspace: Workspace, plan: dvc.StageGraph, todo: Sequence[str], skipped: dict[str, str]) -> bool:
    """Run the stages `todo`; return whether DVC did anything. Adds to `skipped` those that did not run, and why."""
    packaging = plan.after({dvc.PACKAGE})
    changed = False
    for name in todo:
        if name in packaging and verdict_code(workspace):
            skipped[name] = costs.REJECTED
            continue
        skipped[name] = costs.UNRECORDED  # unless it gets to the end of it
        place = f"{plan.order.index(name) + 1}/{len(plan.order)}"
        did = stage.with_options(name=name)(name, place, str(workspace.root))
        skipped[name] = costs.RESTORED if did else costs.UNCHANGED  # unless the ledger has its cost
        changed |= did
    return changed


def _conclude(workspace: Workspace, changed: bool) -> State[Any]:
    root = str(workspace.root)
    rejected = bool(verdict_code(workspace))
    tag = to_promote(workspace)
    if tag:
        promote(root, tag)
    if changed or tag:
        publish(root)
    if rejected:
        gate = read_gate(workspace)
        reasons = "; ".join(f"{r.name}: {r.reason}" for r in gate.rules if r.verdict != "PASS") if gate else ""
        return Completed(name="Rejected", message=f"{gate.verdict if gate else ''} {reasons}")
    if not changed and not tag:
        return Completed(name="Unchanged", message="every stage was up to date")
    return Completed(message=f"packaged and promoted {packaged_tag(workspace)}")


class _Progress:
    """Turns a stage's progress lines into one Prefect progress artifact, updated at most every two seconds."""

    def __init__(self, name: str) -> None:
        self.name, self.shown = name, 0.0
        self.artifact: UUID | None = None

    def line(self, text: str) -> None:
        found = PROGRESS.match(text)
        now = time.monotonic()
        if not found or (now - self.shown < 2 and found["done"] != found["total"]):
            return
        self.shown = now
        share = 100 * int(found["done"]) / max(int(found["total"]), 1)
        if self.artifact is None:
            created = create_progress_artifact(share, key=f"progress-{_key(self.name)}", description=found["what"])
            self.artifact = created if isinstance(created, UUID) else None
        else:
            update_progress_artifact(self.artifact, progress=share, description=found["what"])


def _key(name: str) -> str:
    """Spell a stage's name as an artifact key: lower-case letters, digits and dashes."""
    return "".join(c if c.isalnum() else "-" for c in name.lower())


def main() -> int:
    """Run the flow in the current folder, with `--pull` if given; return the exit code of the README's table."""
    apply_environment()
    quiet()
    interrupt_on_signals()
    workspace, run = Workspace.here(), new_run()
    try:
        with exclusive(workspace, "lsgmer run"):
            watch_parent()
            state = pipeline(pull=PULL in sys.argv[1:], run=run, return_state=True)
    except KeyboardInterrupt:
        print(f"lsgmer run: {INTERRUPTED}", file=sys.stderr)
        return 130
    except LsgmerError as error:
        print(f"lsgmer run: error: {error}", file=sys.stderr)
        return error.exit_code
    return report(state, workspace, run)


def report(state: State[Any], workspace: Workspace, run: str = "") -> int:
    """Print how a run ended, what the run named `run` cost, and the summary; return its exit code."""
    if state.is_cancelled():
        print(f"lsgmer run: {state.message}", file=sys.stderr)
        return 130
    if not state.is_completed():
        error = state.result(raise_on_failure=False)
        if isinstance(error, Exception) and not isinstance(error, LsgmerError):
            traceback.print_exception(error)
        told = error.reason if isinstance(error, stage_process.StageFailed) and error.shown else error
        print(f"\nlsgmer run: error: {told if isinstance(error, Exception) else state.message}", file=sys.stderr)
        return error.exit_code if isinstance(error, LsgmerError) else ExitCode.ERROR
    found = costs.read(workspace, run)
    if found is not None:
        # What is printed counts Prefect's start as well: this process is the run's own.
        print("\n" + costs.table(found.model_copy(update={"wall_s": age_s(), "cpu_s": tree_cpu_s()})))
    print(f"\n{outcome.render(workspace)}")
    return ExitCode.REJECTED if state.name == "Rejected" else ExitCode.DONE


def quiet() -> None:
    """Keep Prefect's own lines off the console: ours say the same more readably, and its API has the full log."""
    for name in ("", *logging.root.manager.loggerDict):
        for handler in logging.getLogger(name).handlers:
            if handler.name == "console":
                handler.addFilter(lambda record: record.levelno >= logging.CRITICAL)


if __name__ == "__main__":
    sys.exit(main())
