"""What the pipeline refuses, and that nothing is lost when it does."""

from __future__ import annotations

import csv
import json
import random
import shutil

import pytest

from lsgmer.core.paths import Workspace
from lsgmer.registry.champions import read as champion_of
from tests.support.project import Project, make_project

pytestmark = pytest.mark.timeout(400)


def test_a_gate_floor_of_099_rejects_and_packages_nothing(golden, tmp_path):
    project, _ = golden
    folder = tmp_path / "strict"
    done = project.lsgmer("run", "--set", "gate.min_balanced_accuracy=0.99", "--workspace", str(folder))
    assert done.code == 3, done.output
    assert "0.99" in done.output
    assert json.loads((folder / "data/gate/gate.json").read_text())["verdict"] == "REJECT"
    assert not (folder / "data/package/package.json").exists()
    assert champion_of(Workspace(folder)) is None
    again = project.run("lsgmer.stages.package")  # the project's own package is untouched
    assert again.code == 0, again.output


def test_packaging_by_hand_refuses_with_4(golden, tmp_path):
    project, _ = golden
    copy = Project(tmp_path / "copy")
    shutil.copytree(project.root, copy.root, symlinks=True)
    gate = copy.root / "data/gate/gate.json"
    decision = json.loads(gate.read_text())
    decision["verdict"] = "REJECT"
    decision["rules"][0] |= {"verdict": "REJECT", "reason": "too low"}
    gate.write_text(json.dumps(decision))
    done = copy.run("lsgmer.stages.package")
    assert done.code == 4
    assert decision["rules"][0]["name"] in done.output


@pytest.mark.slow
def test_a_challenger_trained_on_shuffled_labels_is_refused_by_the_champion_rule_alone(golden, tmp_path):
    copy = Project(tmp_path / "copy")
    shutil.copytree(golden[0].root, copy.root, symlinks=True)
    champion = champion_of(Workspace(copy.root)).tag
    shutil.copytree(copy.root / "data/raw/sample", copy.root / "data/raw/shuffled")
    shuffle_training_labels(copy.root / "data/raw/shuffled/utterances.csv")
    copy.change_params(
        "corpus.name=table", "corpus.path=data/raw/shuffled", "corpus.synthesize=[]", "validate.max_rejected_share=0.5"
    )
    done = copy.lsgmer("run")
    assert done.code == 3, done.output
    rules = {r["name"]: r["verdict"] for r in json.loads((copy.root / "data/gate/gate.json").read_text())["rules"]}
    assert {name for name, verdict in rules.items() if verdict != "PASS"} == {"champion"}
    assert champion_of(Workspace(copy.root)).tag == champion


def shuffle_training_labels(table) -> None:
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    train = [row for row in rows if row["split"] == "train"]
    emotions = [row["emotion"] for row in train]
    random.Random(1).shuffle(emotions)
    for row, emotion in zip(train, emotions, strict=True):
        row["emotion"] = emotion
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_typo_in_params_fails_at_once_and_names_the_key(tmp_path):
    project = make_project(tmp_path / "project")
    text = (project.root / "params.yaml").read_text()
    (project.root / "params.yaml").write_text(text.replace("epochs:", "epoch:"))
    done = project.lsgmer("run")
    assert done.code == 2
    assert "train.epoch: unknown key; did you mean epochs?" in done.output
