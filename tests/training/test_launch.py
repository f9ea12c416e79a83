"""Two processes train as one does; when one of them is killed all end, and the next run resumes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lsgmer.core.sections import read_yaml
from tests.support.builders import World, build_world, extract
from tests.support.imports import ROOT

SETTINGS = ("train.accumulation=2", "train.epochs=3", "runtime.threads=1")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return extract(build_world(tmp_path_factory.mktemp("world"), {"train": 32, "valid": 16, "test": 3}, *SETTINGS))


def start(world: World, processes: int, epochs: int = 3) -> subprocess.Popen:
    content = world.params.model_dump(mode="json", by_alias=True)
    content["runtime"]["processes"] = processes
    content["train"]["epochs"] = content["train"]["patience"] = epochs
    world.workspace.params.write_text(json.dumps(content))
    assert read_yaml(world.workspace.params)["runtime"]["processes"] == processes
    return subprocess.Popen(
        [sys.executable, "-m", "lsgmer.stages.train"],
        cwd=world.workspace.root,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def metrics(folder: Path) -> dict[str, float]:
    return json.loads((folder / "card.json").read_text())["valid_metrics"]


def test_two_processes_and_one_give_the_same_metrics(world):
    found = []
    for processes in (1, 2):
        process = start(world, processes)
        output, _ = process.communicate(timeout=200)
        assert process.returncode == 0, output
        found.append(metrics(world.workspace.data("train")))
    assert found[0] == pytest.approx(found[1], abs=0.005)


def test_when_a_rank_is_killed_all_end_and_the_next_run_resumes(world):
    process = start(world, 2, epochs=400)
    stage = psutil.Process(process.pid)
    ranks: list[psutil.Process] = []
    for line in process.stdout:
        if line.startswith("epoch 1:"):
            ranks = [p for p in stage.children(recursive=True) if p.cmdline()[-1] == "lsgmer.stages.train"]
            ranks = [p for p in ranks if p.environ().get("RANK") == "1"]
            ranks[-1].send_signal(signal.SIGKILL)
            break
    assert ranks
    output = process.stdout.read()
    assert process.wait(timeout=120) != 0
    assert "run the same command again to resume" in output
    deadline = time.monotonic() + 30
    while any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in ranks) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [p for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == str(world.workspace.root)]
    again = start(world, 2, epochs=400)
    for line in again.stdout:
        if line.startswith(("resuming after epoch", "epoch 5:")):
            os.killpg(again.pid, signal.SIGKILL)
            break
    assert line.startswith("resuming after epoch")
    again.wait(timeout=30)
