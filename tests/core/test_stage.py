"""A stage runs alone, explains its errors with an exit code, and never outlives whoever started it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lsgmer.core.process import end_tree, identity, is_alive
from lsgmer.core.progress import track

ROOT = Path(__file__).parents[2]
STAGE = """
import sys, time
from lsgmer.core.cluster import Runtime
from lsgmer.core.errors import PackagingRefused
from lsgmer.core.sections import Sections
from lsgmer.core.stage import run_stage
class Needs(Sections):
    runtime: Runtime
def body(workspace, params):
    print("started", flush=True)
    what = sys.argv[1]
    if what == "sleep":
        time.sleep(60)
    if what == "refuse":
        raise PackagingRefused("the gate did not pass")
    if what == "full":
        raise OSError(28, "No space left on device", "data/x.npy")
run_stage("demo", body, Needs)
"""


@pytest.fixture
def folder(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "stage.py").write_text(STAGE)
    return tmp_path


def start(folder, what):
    return subprocess.Popen(
        [sys.executable, "stage.py", what], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(folder, what):
    process = start(folder, what)
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def wait_until(condition, limit_s=15):
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def test_an_error_becomes_a_message_and_its_exit_code(folder):
    code, output = finish(folder, "refuse")
    assert code == 4
    assert "demo: error: the gate did not pass" in output
    assert "Traceback" not in output


def test_a_full_disk_says_what_to_do(folder):
    code, output = finish(folder, "full")
    assert code == 1
    assert "data/x.npy" in output
    assert "free some space, then run the same command again" in output


def test_bad_params_are_a_usage_error(folder):
    (folder / "params.yaml").write_text((folder / "params.yaml").read_text().replace("  threads:", "  thread:"))
    code, output = finish(folder, "pass")
    assert code == 2
    assert "runtime.thread: unknown key; did you mean threads?" in output


def test_a_section_that_the_stage_does_not_read_cannot_stop_it(folder):
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace("  epochs:", "  epoch:") + "a_later_section: {key: 1}\n")
    assert finish(folder, "pass") == (0, "started\n")


def test_a_second_run_of_a_stage_is_refused_while_the_first_lives(folder):
    first = start(folder, "sleep")
    try:
        assert first.stdout.readline() == "started\n"
        code, output = finish(folder, "pass")
        assert code == 1
        assert f"is already running here (process {first.pid})" in output
    finally:
        first.kill()
        first.communicate()


def test_a_stage_ends_when_whoever_started_it_is_killed(folder):
    parent = subprocess.Popen(
        [sys.executable, "-c", "import subprocess, sys; subprocess.run([sys.executable, 'stage.py', 'sleep'])"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout.readline() == "started\n"
    child = json.loads((folder / ".lsgmer/scratch/demo.json").read_text())["process"]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not is_alive(child))
    assert finish(folder, "pass")[0] == 0
    parent.stdout.close()


def test_identity_tells_a_process_from_a_later_one_with_its_number():
    process = subprocess.Popen(["sleep", "60"])
    name = identity(process.pid)
    assert is_alive(name)
    assert not is_alive(f"{process.pid}:0.00")
    end_tree(name)
    process.wait()
    assert not is_alive(name)
    end_tree(name)


def test_end_tree_ends_children_too():
    parent = subprocess.Popen(["sh", "-c", "sleep 60 & sleep 60"])
    wait_until(lambda: len(psutil.Process(parent.pid).children()) == 2)
    children = [identity(child.pid) for child in psutil.Process(parent.pid).children()]
    end_tree(identity(parent.pid))
    parent.wait()
    assert not any(is_alive(child) for child in children)


def test_progress_lines_have_the_form_the_flow_reads(capfd):
    assert list(track(iter("abc"), 3, "things")) == list("abc")
    assert "progress things 3/3 eta 0s" in capfd.readouterr().err


def test_the_environment_is_quiet_and_offline_but_can_be_told_otherwise():
    code = "from lsgmer.core.process import apply_environment as a; a(); import os; print(os.environ['HF_HUB_OFFLINE'])"
    plain = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    for given, expected in (({}, "1"), ({"HF_HUB_OFFLINE": "0"}, "0")):
        done = subprocess.run([sys.executable, "-c", code], env={**plain, **given}, capture_output=True, text=True)
        assert done.stdout.strip() == expected
