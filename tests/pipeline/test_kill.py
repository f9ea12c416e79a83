"""kill -9 at any time: the next run goes on, ends in the same bytes, and nothing is left over."""

from __future__ import annotations

import os
import re
import signal

import pytest

from tests.support.project import Project, make_project, pids_of, processes_in, wait_for

pytestmark = [pytest.mark.timeout(500), pytest.mark.slow]


def kill_when(project: Project, stage: str, victim: str, trace: str) -> str:
    """Start `lsgmer run`; while STAGE runs and has left `trace` in scratch, kill -9 VICTIM. Return what was printed."""
    process = project.start("lsgmer.cli", "run")
    scratch = project.root / ".lsgmer" / "scratch"
    try:
        under_way = wait_for(lambda: bool(pids_of(project.root, stage)) and bool(list(scratch.glob(trace))), 200)
        for pid in pids_of(project.root, victim):
            os.kill(pid, signal.SIGKILL)
        output, _ = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert under_way, f"{stage} left no {trace}: {output}"
    assert process.returncode not in (0, None), output
    return output


FEATURES = ("lsgmer.stages.features", "features/*/*")
TRAIN = ("lsgmer.stages.train", "fit-audio-text/*.safetensors")
FLOW = "flows.pipeline"


@pytest.mark.parametrize(
    "kills",
    [
        [(FEATURES, FEATURES[0]), (TRAIN, FLOW)],
        [(FEATURES, FLOW), (TRAIN, TRAIN[0])],
    ],
    ids=["the features' process, then the flow", "the flow, then the training process"],
)
def test_killed_runs_resume_to_the_same_bytes(golden, tmp_path, kills):
    project = make_project(tmp_path / "project", like=golden[0])
    killed = [kill_when(project, stage, victim, trace) for (stage, trace), victim in kills]
    assert wait_for(lambda: not processes_in(project.root), 15), processes_in(project.root)
    done = project.lsgmer("run")
    assert done.code == 0, [*killed, done.output]
    assert re.search(r"resuming after epoch [1-6]", done.output), done.output
    assert project.locked() == golden[0].locked()
    assert not processes_in(project.root)
