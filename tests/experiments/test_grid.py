"""A study of one's own, from parameters alone: a table, precomputed features and words, sessions left out in turn."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from ruamel.yaml import YAML

from lsgmer.core.sections import read_yaml
from tests.support.project import make_project, pids_of, processes_in, wait_for

SESSIONS, ROWS = 4, 120
EMOTIONS = ("ang", "hap", "neu", "sad")


def dump(path, content):
    with path.open("w") as file:
        YAML(typ="safe", pure=True).dump(content, file)


def write_corpus(folder):
    """120 rows in 4 sessions of two speakers: eight numbers of audio each, in which the label shows."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(3)
    labels = random.integers(0, 4, ROWS)
    ids = [f"Ses{row % SESSIONS + 1:02}_{row:03}" for row in range(ROWS)]
    frame = pd.DataFrame(
        {
            "id": ids,
            "emotion": [EMOTIONS[label] for label in labels],
            "session": [row % SESSIONS + 1 for row in range(ROWS)],
            "speaker": [f"{row % SESSIONS + 1}{'FM'[row // SESSIONS % 2]}" for row in range(ROWS)],
        }
    )
    frame.to_csv(folder / "rows.csv", index=False)
    values = random.normal(size=(ROWS, 8)) + 5 * np.eye(8)[labels]
    parquet.write_table(pa.table({"id": ids, "values": values.tolist()}), folder / "audio.parquet")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = make_project(tmp_path_factory.mktemp("study") / "project", ["train.epochs=8", "train.patience=8"])
    root = project.root
    write_corpus(root.parent / "corpus")
    labels = [{"name": name, "description": name} for name in EMOTIONS]
    corpus = {"name": "table", "path": "../corpus", "synthesize": [], "table": "rows.csv", "features_only": True}
    corpus |= {"columns": {"id": "id", "emotion": "emotion", "speaker": "speaker", "session": "session"}}
    corpus |= {"labels": labels, "label_map": {}, "expected_counts": {}}
    audio = {"kind": "precomputed", "source": "audio.parquet"}
    dump(root / "params" / "own.yaml", {"corpus": corpus, "features": {"audio": audio, "text": {"kind": "none"}}})
    plan = read_yaml(root / "experiments" / "params.yaml")
    source = {"params": "params/own.yaml", "corpus": "../corpus", "protocol": {"kind": "loso", "by": "session"}}
    plan["sources"] = {"own": source}
    plan["studies"] = {"own": {"title": "Own table", "source": "own"}}
    empty = {"studies": [], "variants": [], "folds": [], "seeds": []}
    own = {"studies": ["own"], "variants": ["full", "without_lse", "linear"], "folds": [0, 1, 2, 3], "seeds": [1]}
    plan["grids"] = {**dict.fromkeys(plan["grids"], empty), "own": own}
    plan["quick"] = {"own": {**own, "variants": ["linear"], "folds": [0, 1]}}
    dump(root / "experiments" / "params.yaml", plan)
    project.commit()
    return project


def test_a_study_runs_from_parameters_alone(project):
    done = project.lsgmer("experiments", "run", "--quick", "--jobs", "2")
    assert done.code == 0, done.output
    assert "0 of 2 cells are up to date; 2 to run" in done.output


def test_what_is_finished_is_not_run_again_and_ctrl_c_loses_nothing(project):
    process = project.start("lsgmer.cli", "experiments", "run", "--jobs", "2")
    lock = project.root / "experiments" / "dvc.lock"
    assert wait_for(lambda: "own-full" in lock.read_text(), 200)
    process.send_signal(signal.SIGTERM)  # as Ctrl-C; a process that was started in the background ignores SIGINT
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "finished cells and epochs are kept" in output
    assert wait_for(lambda: not processes_in(project.root), 20)
    assert "own-full" in lock.read_text()
    killed = project.start("lsgmer.cli", "experiments", "run", "--jobs", "2")
    assert wait_for(lambda: bool(pids_of(project.root / "experiments", "lsgmer.experiments.cell")), 60)
    killed.kill()
    killed.communicate()
    assert wait_for(lambda: not processes_in(project.root), 30), "orphans stay after kill -9"
    done = project.lsgmer("experiments", "run", "--jobs", "2")
    assert done.code == 0, done.output
    assert "0 of 12 cells" not in done.output


def test_dvc_finds_nothing_left_to_do(project):
    done = project.run("dvc", "repro", "experiments/dvc.yaml")
    assert done.code == 0, done.output
    assert "Running stage" not in done.output
    assert "12 of 12 cells are up to date; 0 to run" in project.lsgmer("experiments", "run").output


def test_where_cells_run_makes_none_stale(project):
    project.change_params("runtime.cluster=local:2")
    done = project.run("dvc", "status", "experiments/dvc.yaml")
    assert "up to date" in done.output, done.output


def test_a_changed_variant_runs_alone_on_a_cluster_where_a_worker_is_killed(project):
    path = project.root / "experiments" / "params.yaml"
    plan = read_yaml(path)
    plan["variants"]["linear"]["set"] = {"controls.linear_c": 0.5}
    dump(path, plan)
    stale = project.lsgmer("experiments", "report")
    assert "4 are of other settings" in stale.output
    experiments = project.root / "experiments"
    process = project.start("lsgmer.cli", "experiments", "run", "--jobs", "2")
    assert wait_for(lambda: bool(pids_of(experiments, "lsgmer.experiments.remote")), 120)
    worker = psutil.Process(pids_of(experiments, "lsgmer.experiments.remote")[0]).parent()
    worker.kill()
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert "8 of 12 cells are up to date; 4 to run" in output
    assert "cells by worker: " in output
    assert wait_for(lambda: not processes_in(project.root), 20)


def test_a_cell_of_the_cluster_is_that_of_this_machine(project):
    experiments = project.root / "experiments"
    cell = experiments / "data" / "cells" / "own-linear-0-1"
    assert not list((experiments / ".lsgmer" / "computed").iterdir())  # all were taken
    found = {file.name: file.read_bytes() for file in cell.iterdir()}
    shutil.rmtree(cell)
    arguments = [sys.executable, "-m", "lsgmer.experiments.cell", "own", "linear", "0", "1"]
    environment = {**os.environ, "PYTHONPATH": str(project.root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(arguments, cwd=experiments, env=environment, capture_output=True, text=True, check=True)
    assert "computed by a worker" not in done.stdout
    assert {file.name: file.read_bytes() for file in cell.iterdir()} == found


def test_the_report_has_every_variant_with_intervals_and_pictures(project):
    done = project.lsgmer("experiments", "report", "--out", "docs/mine.md", "--pictures", "svg")
    assert done.code == 0, done.output
    text = (project.root / "docs" / "mine.md").read_text()
    assert "Protocol: **leave one session out**. 120 test utterances, 4 classes" in text
    for title in ("full", "without LSE", "linear on pooled features"):
        line = next(line for line in text.splitlines() if line.startswith(f"| {title} |"))
        ua = float(line.split("|")[3].split("±")[0])
        assert ua > 0.7
    assert "Label signal enhancement (LSE)" in text
    assert "Incomplete" not in text
    assert re.search(r"`lsgmer experiments run` last ran \d+ of them, \d+ side by side, in \d+\.\d minutes", text)
    pictures = {path.name for path in (project.root / "docs" / "mine").iterdir()}
    assert pictures == {f"own-{what}.svg" for what in ("confusion", "curves", "trust", "space")}
    again = project.lsgmer("experiments", "report", "--out", "docs/mine.md", "--pictures", "svg")
    assert again.code == 0
    assert (project.root / "docs" / "mine.md").read_text() == text


def test_a_cell_that_fails_is_named_and_stops_no_other(project):
    path = project.root / "experiments" / "params.yaml"
    plan = read_yaml(path)
    plan["grids"]["own"]["variants"] = ["text", "majority"]
    plan["grids"]["own"]["folds"] = [0, 7]
    plan["quick"] = {}
    dump(path, plan)
    done = project.lsgmer("experiments", "run")
    assert done.code == 1
    assert "the features have no text: leave this variant out of the grid" in done.output
    assert "fold 7 does not exist: leave one session out gives folds 0 to 3 here" in done.output
    assert "3 of 4 cells failed; the others are kept" in done.output


def test_one_run_at_a_time(project):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from filelock import FileLock; l = FileLock('run.lock'); l.acquire();"
            " print('held', flush=True); time.sleep(60)",
        ],
        cwd=project.root / "experiments" / ".lsgmer",
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline().strip() == "held"
        done = project.lsgmer("experiments", "run")
        assert done.code == 1
        assert "already running here" in done.output
    finally:
        holder.kill()
        holder.wait()
    assert not pids_of(project.root, "lsgmer.experiments.cell")
