"""SIGTERM and SIGINT stop a run and a schedule quickly, also where the shell has them ignore SIGINT."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.flows.fake_pipeline import finish, lsgmer, set_knobs, wait_for
from tests.flows.test_retrain_flow import runs, spare_the_migrations


def in_background(folder: Path, *arguments: str, server: str = "") -> subprocess.Popen[str]:
    """Start `lsgmer ARGUMENTS &` in a script that writes its process to lsgmer.pid and its exit code to its output."""
    command = f"{sys.executable} -m lsgmer.cli {' '.join(arguments)} & echo $! > lsgmer.pid; wait $!; echo code $?"
    environment = {**os.environ, **({"PREFECT_API_URL": server} if server else {})}
    return subprocess.Popen(
        ["sh", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_in_the_background_of_a_script_stops(done: Path, server: str, number: int, code: int) -> None:
    set_knobs(done, sleep_s=90)
    (done / "train.pid").unlink()
    script = in_background(done, "run", server=server)
    train = psutil.Process(int(wait_for(done / "train.pid", script)))
    began = time.monotonic()
    os.kill(int(wait_for(done / "lsgmer.pid")), number)
    _, output = finish(script)
    assert time.monotonic() - began < 10
    assert f"code {code}" in output
    assert not psutil.wait_procs([train], timeout=5)[1]
    assert not (done / ".lsgmer/scratch/flow.json").exists()


def test_a_schedule_in_the_background_of_a_script_stops_with_its_run(done: Path, server: str) -> None:
    set_knobs(done, sleep_s=90)
    (done / "train.pid").unlink()
    spare_the_migrations(done)
    script = in_background(done, "schedule", "--every", "3")
    train = psutil.Process(int(wait_for(done / "train.pid", script)))
    top = psutil.Process(int(wait_for(done / "lsgmer.pid")))
    family = top.children(recursive=True)
    began = time.monotonic()
    top.terminate()
    _, output = finish(script)
    assert time.monotonic() - began < 10, output
    assert "code 143" in output
    assert not psutil.wait_procs([train, *family], timeout=5)[1]
    assert not (done / ".lsgmer/server.json").exists()
    assert output.count("next runs: ") == 1
    before = runs(done)
    time.sleep(4)
    assert runs(done) == before


def test_a_prefect_address_that_does_not_answer_is_named(done: Path) -> None:
    set_knobs(done, sleep_s=1)
    code, output = finish(lsgmer(done, "run", server="http://127.0.0.1:9/api"))
    assert code == 1
    assert output.splitlines()[-1].startswith("lsgmer: error: PREFECT_API_URL=http://127.0.0.1:9/api does not answer")
    assert "Traceback" not in output


def test_a_failed_stage_is_printed_once_and_a_proxy_is_not_asked_for_this_machine(
    done: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody answers
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("no_proxy", "example.org")
    set_knobs(done, exit_code=1, message="the roof is on fire")
    code, output = finish(lsgmer(done, "run", server=server))
    assert code == 1
    assert output.count("the roof is on fire") == 1
    assert output.splitlines()[-1].startswith("lsgmer run: error: stage train failed; fix what its last lines say")
