"""The flow on a real Prefect server and real DVC: every end state, and what is left behind."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from pathlib import Path
from unittest.mock import patch

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.states import exception_to_failed_state
from prefect.utilities.asyncutils import run_coro_as_sync

from flows import stage_process
from flows.pipeline import pipeline, report
from lsgmer.commands.run import nothing_to_do
from lsgmer.core.paths import Workspace
from lsgmer.registry import champions
from tests.flows.fake_pipeline import finish, lsgmer, set_knobs, wait_for


def gone(pid: int) -> bool:
    try:
        psutil.Process(pid).wait(timeout=15)
    except psutil.NoSuchProcess:
        return True
    return not psutil.pid_exists(pid)


def when_training(root: Path, act: object) -> threading.Thread:
    """Call `act(pid of train)` in a thread as soon as train runs."""
    (root / "train.pid").unlink(missing_ok=True)
    thread = threading.Thread(target=lambda: act(int(wait_for(root / "train.pid"))), daemon=True)  # type: ignore[operator]
    thread.start()
    return thread


def test_first_run_completes_and_promotes(first_run: tuple[Path, State]) -> None:
    root, state = first_run
    assert (state.type, state.name) == ("COMPLETED", "Completed"), state.message
    champion = champions.read(Workspace(root))
    assert champion is not None
    assert champion.tag in str(state.message)
    assert not (root / ".lsgmer/scratch/flow.json").exists()


def test_artifacts_show_metrics_and_verdict(first_run: tuple[Path, State]) -> None:
    with get_client(sync_client=True) as client:
        artifacts = {a.key: a for a in client.read_artifacts()}
    assert "| fused | 10 | 0.800 [0.700, 0.900]" in str(artifacts["metrics"].data)
    assert '"rule": "floor"' in str(artifacts["gate"].data)


def test_command_with_nothing_to_do_says_so_without_prefect(done: Path) -> None:
    code, output = finish(lsgmer(done, "run", server="http://127.0.0.1:9/api"))  # where nobody answers
    assert code == 0
    assert "everything is up to date" in output
    assert "gate      PASS" in output


def test_model_that_does_not_pass_is_not_packaged(done: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = champions.read(Workspace(done))
    (done / "verdict.txt").write_text("HOLD")
    state = pipeline(str(done), run="rejected", return_state=True)
    assert (state.type, state.name) == ("COMPLETED", "Rejected")
    assert "HOLD" in str(state.message)
    assert "floor: 0.8 against 0.9" in str(state.message)
    output = capfd.readouterr().out
    assert "4/5 gate" in output
    assert "5/5 package" not in output
    assert champions.read(Workspace(done)) == before
    assert report(state, Workspace(done), "rejected") == 3
    shown = capfd.readouterr().out
    assert re.search("^package +skipped: the gate did not pass$", shown, re.MULTILINE)
    assert re.search("^train +skipped: up to date$", shown, re.MULTILINE)
    assert re.search(r"^gate +\d+\.\d s +\d+\.\d s +\d+ MiB  \d+\.\d s: .+ \(CPU [+-]\d+%\)$", shown, re.MULTILINE), (
        shown
    )
    assert nothing_to_do(Workspace(done))  # asked again, it stays rejected at once


def test_run_killed_before_promotion_promotes_next_time(done: Path) -> None:
    (done / ".lsgmer/champion.json").unlink()
    (done / ".lsgmer/promotions.jsonl").unlink()
    state = pipeline(str(done), return_state=True)
    assert (state.type, state.name) == ("COMPLETED", "Completed")
    assert champions.read(Workspace(done)) is not None


@pytest.mark.parametrize(("code", "expected"), [(1, 1), (4, 4), (77, 1)])
def test_failing_stage_says_why_and_passes_a_documented_exit_code_on(
    tmp_path: Path, code: int, expected: int, capsys: pytest.CaptureFixture[str]
) -> None:
    command = "import sys; print('no such voice: Zaphod'); print('failed to run: x, exited with %d'); sys.exit(255)"
    with (
        patch.object(stage_process, "DVC", (sys.executable, "-c", command % code)),
        pytest.raises(stage_process.StageFailed) as caught,
    ):
        stage_process.repro("train", tmp_path, print)
    state = run_coro_as_sync(exception_to_failed_state(caught.value))
    assert report(state, Workspace(tmp_path)) == expected
    error = capsys.readouterr().err
    assert "stage train failed" in error
    assert "no such voice: Zaphod" in error


def test_killed_dvc_child_fails_and_leaves_nothing(done: Path, capfd: pytest.CaptureFixture[str]) -> None:
    set_knobs(done, sleep_s=60)
    pids: list[int] = []

    def kill(pid: int) -> None:
        pids.append(pid)
        stage_process = next(p for p in psutil.Process(pid).parents() if "dvc" in p.cmdline())
        stage_process.kill()

    when_training(done, kill)
    state = pipeline(str(done), return_state=True)
    assert state.type == "FAILED"
    assert gone(pids[0])
    report(state, Workspace(done))
    assert "terminated by signal 9" in capfd.readouterr().err
    set_knobs(done)
    assert pipeline(str(done), return_state=True).is_completed()


def test_interrupt_ends_the_stage_and_is_cancelled(done: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background of a script inherit it ignored
    set_knobs(done, sleep_s=60)
    pids: list[int] = []

    def interrupt(pid: int) -> None:
        pids.append(pid)
        os.kill(os.getpid(), signal.SIGINT)

    when_training(done, interrupt)
    state = pipeline(str(done), return_state=True)
    assert state.type == "CANCELLED"
    assert gone(pids[0])
    assert report(state, Workspace(done)) == 130


def test_command_refuses_a_second_run_and_survives_kill_and_interrupt(done: Path, server: str) -> None:
    set_knobs(done, sleep_s=90)
    (done / "train.pid").unlink()
    first = lsgmer(done, "run", server=server)
    train = int(wait_for(done / "train.pid", first))
    code, output = finish(lsgmer(done, "run", server=server))
    assert code == 1
    assert "a run is under way here" in output

    flow = next(p for p in psutil.Process(first.pid).children() if "flows.pipeline" in p.cmdline())
    family = [p.pid for p in flow.children(recursive=True)]
    flow.kill()
    code, output = finish(first)
    assert code == 1
    assert "terminated by signal 9" in output
    assert all(gone(pid) for pid in [train, *family])

    (done / "train.pid").unlink()
    second = lsgmer(done, "run", server=server)
    train = int(wait_for(done / "train.pid", second))
    second.send_signal(signal.SIGINT)
    code, output = finish(second)
    assert code == 130
    assert "run the same command again to resume" in output
    assert gone(train)
