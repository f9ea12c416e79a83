"""kill -9 at any time: the next run goes on, ends in the same bytes, and nothing is left over."""

from __future__ import annotations

import os
import re
import signal

import pytest

from tests.pipeline.project import Project, make_project, pids_of, processes_in, wait_for

pytestmark = pytest.mark.timeout(500)


def kill_when(project: Project, stage: str, victim: str, trace: str) -> str:
    """Start `lsgmer run`; when STAGE has left `trace` in scratch, kill -9 `victim`. Return what was printed."""
    process = project.start("lsgmer.cli", "run")
    scratch = project.root / ".lsgmer" / "scratch"
    try:
        assert wait_for(lambda: bool(list(scratch.glob(trace))), 240), f"{stage} left no {trace}"
        for pid in pids_of(project.root, victim):
            os.kill(pid, signal.SIGKILL)
        output, _ = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return output


def test_killed_runs_resume_to_the_same_bytes(golden, tmp_path):
    project = make_project(tmp_path / "project")
    killed = [
        kill_when(project, "features", "lsgmer.features", "features/*/*"),
        kill_when(project, "features", "flows.pipeline", "features/*/*"),
        kill_when(project, "train", "lsgmer.train", "fit-audio-text/*.safetensors"),
        kill_when(project, "train", "flows.pipeline", "fit-audio-text/*.safetensors"),
    ]
    assert wait_for(lambda: not processes_in(project.root), 15), processes_in(project.root)
    done = project.lsgmer("run")
    assert done.code == 0, [*killed, done.output]
    assert re.search(r"resuming after epoch [1-6]", done.output), done.output
    assert project.locked() == golden[0].locked()
    assert not processes_in(project.root)
