"""One small run of the real pipeline, from nothing to a served, audited prediction."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import socket
import struct
import time
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pyarrow.parquet as parquet
import pytest
import soundfile

from lsgmer.core.paths import Workspace
from lsgmer.evaluation.params import PERTURBATIONS
from lsgmer.registry.audit import LINKS, audit
from lsgmer.registry.champions import bento_source
from lsgmer.registry.champions import read as champion_of
from lsgmer.registry.model_card import PackageRecord
from lsgmer.service.prediction_log import PredictionLog
from tests.support.logs import entry
from tests.support.project import Project, processes_in

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def workspace(golden):
    return Workspace(golden[0].root)


@pytest.fixture(scope="module")
def record(workspace):
    return PackageRecord.model_validate_json((workspace.data("package") / "package.json").read_text())


def write_call(folder: Path, audio: Path, text: str) -> Path:
    """Write a call with `audio` on the left and the same backwards on the right; return a table of both and `audio`."""
    samples, rate = soundfile.read(audio, dtype="float32")
    folder.mkdir()
    soundfile.write(folder / "call.wav", np.stack([samples, samples[::-1]], axis=1), rate, subtype="FLOAT")
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("audio", "text", "channel"))
        writer.writerow((audio, text, ""))
        writer.writerows(("call.wav", text, channel) for channel in ("left", "1", "2"))
    return folder / "rows.csv"


def test_it_says_what_it_did_and_what_comes_next(golden, record):
    output = golden[1].output
    for said in ("fused", "audio", "text", "linear", "PASS", record.tag, "make serve"):
        assert said in output
    assert "Traceback" not in output


def test_it_promotes_what_it_packaged(workspace, record):
    assert champion_of(workspace).tag == record.tag


def test_metrics_hold_controls_intervals_and_groups(workspace):
    metrics = json.loads((workspace.data("evaluate") / "metrics.json").read_text())
    assert set(metrics["models"]) == {"fused", "audio", "text", "linear", "majority"}
    fused = metrics["models"]["fused"]["balanced_accuracy"]
    assert fused["low"] <= fused["value"] <= fused["high"]
    assert metrics["models"]["majority"]["balanced_accuracy"]["value"] == pytest.approx(metrics["chance"])
    assert [effect["perturbation"] for effect in metrics["robustness"]] == list(PERTURBATIONS)
    assert all(effect["n"] <= 4 and 0 <= effect["unchanged"] <= 1 for effect in metrics["robustness"])
    predictions = parquet.read_table(workspace.data("evaluate") / "predictions.parquet")
    assert len(predictions) == metrics["models"]["fused"]["n"] == 16


def test_no_speaker_stands_in_two_splits(workspace):
    rows = parquet.read_table(workspace.data("validate") / "validated.parquet").to_pylist()
    speakers = {
        split: {row["speaker"] for row in rows if row["split"] == split} for split in ("train", "valid", "test")
    }
    assert all(speakers.values())
    assert not speakers["train"] & speakers["test"]
    assert not speakers["train"] & speakers["valid"]
    assert not speakers["valid"] & speakers["test"]


def test_a_second_run_does_nothing(golden):
    project, _ = golden
    before = (project.root / "dvc.lock").read_bytes()
    again = project.lsgmer("run")
    assert again.code == 0
    assert "up to date" in again.output
    assert "progress" not in again.output
    assert (project.root / "dvc.lock").read_bytes() == before
    assert project.run("dvc", "status", "dvc.yaml").output.strip().endswith("up to date.")
    everywhere = json.loads(project.run("dvc", "status", "--json").output.strip().splitlines()[-1])
    assert {name.partition(":")[0] for name in everywhere} <= {"experiments/dvc.yaml"}  # studies nobody has run here
    assert "didn't change" in project.run("dvc", "repro").output


def test_the_audit_verifies_every_link(golden, workspace, record):
    report = audit(workspace, record.tag)
    assert {link.name: link.status for link in report.links} == dict.fromkeys(LINKS, "verified"), report.to_text()
    done = golden[0].lsgmer("audit", record.tag, "--json")
    assert done.code == 0
    assert json.loads(done.output) == json.loads(report.to_json())


FLIPS = {
    "weights in the package": ("{bento}/model/model.safetensors", "model"),
    "weights in the workspace": ("data/train/model.safetensors", "model"),
    "features": ("data/features/train/audio.npy", "features"),
    "validated manifest": ("data/validate/validated.parquet", "validated manifest"),
    "a raw file": ("data/raw/sample/audio/train-0001.flac", "raw data"),
    "gate.json": ("data/gate/gate.json", "gate"),
    "gate.json in the package": ("{bento}/papers/gate.json", "gate"),
    "metrics.json": ("data/evaluate/metrics.json", "metrics"),
    "the embedded lock": ("{bento}/papers/dvc.lock", "lock"),
    "the embedded params": ("{bento}/papers/params.yaml", "params"),
    "the card": ("{bento}/papers/model_card.json", "package"),
    "served code": ("{bento}/lsgmer/model/lsgmer.py", "package"),
}


@pytest.mark.parametrize("name", FLIPS)
def test_one_flipped_byte_is_named(workspace, record, name):
    place, broken = FLIPS[name]
    file = workspace.root / place.format(bento=bento_source(workspace, record.tag))
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.chmod(0o644)
    try:
        file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        report = audit(workspace, record.tag)
        assert broken in report.broken, report.to_text()
    finally:
        file.write_bytes(whole)
    assert not audit(workspace, record.tag).broken


@pytest.mark.parametrize("where", ["data/train/model.safetensors", "{bento}/model/model.safetensors"])
def test_one_flipped_byte_in_a_layer_that_learnt_is_named(workspace, record, where):
    file = workspace.root / where.format(bento=bento_source(workspace, record.tag))
    whole = file.read_bytes()
    (size,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + size])
    begin, _ = header["learning.text.model.encoder.layer.0.output.dense.weight"]["data_offsets"]
    place = 8 + size + begin
    file.chmod(0o644)
    try:
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        report = audit(workspace, record.tag)
    finally:
        file.write_bytes(whole)
    assert "model" in report.broken, report.to_text()


def test_a_broken_audit_exits_with_5(golden, workspace, record):
    gate = workspace.data("gate") / "gate.json"
    whole = gate.read_bytes()
    try:
        gate.write_bytes(whole.replace(b"PASS", b"pASS", 1))
        done = golden[0].lsgmer("audit", record.tag)
    finally:
        gate.write_bytes(whole)
    assert done.code == 5
    assert "broken" in done.output


def test_a_logged_answer_is_followed_to_the_raw_data(golden, workspace, record):
    PredictionLog(workspace.predictions).append(entry("request-1", model=record.tag))
    try:
        done = golden[0].lsgmer("audit", "request-1", "--json")
        assert done.code == 0, done.output
        (model,) = json.loads(done.output)["models"]
        assert {link["name"]: link["status"] for link in model["links"]} == dict.fromkeys(LINKS, "verified")
        file = workspace.predictions / "log-000001.jsonl"
        file.write_bytes(file.read_bytes().replace(b'"emotion":"sad"', b'"emotion":"mad"'))
        for target in ("request-1", "log"):
            done = golden[0].lsgmer("audit", target)
            assert (done.code, "broken at log-000001.jsonl, line 2: changed" in done.output) == (5, True), done.output
    finally:
        shutil.rmtree(workspace.predictions)


def test_the_cache_answers_for_what_the_workspace_lost(workspace, record):
    folder = workspace.data("features") / "train"
    aside = workspace.root / "aside"
    shutil.move(folder, aside)
    try:
        report = audit(workspace, record.tag)
    finally:
        shutil.move(aside, folder)
    assert {link.name: link.status for link in report.links}["features"] == "verified", report.to_text()


def test_a_dirty_commit_is_missing_and_not_verified(workspace, record, monkeypatch):
    from lsgmer.registry import audit as module

    class Dirty:
        def __init__(self, lineage):
            self.source = lineage.source.model_copy(update={"dirty": True})

    case = module.Case(workspace, bento_source(workspace, record.tag), record.tag, None, None)
    card = module.ModelCard.model_validate_json((case.root / module.MODEL_CARD).read_text())
    dirty = card.model_copy(update={"lineage": Dirty(card.lineage)})
    assert [f.status for f in module._commit(replace(case, card=dirty))] == ["missing"]


def test_the_champion_is_served_and_answers(golden, workspace, record):
    project: Project = golden[0]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = project.start("lsgmer.cli", "serve", "--port", str(port))
    try:
        url = f"http://127.0.0.1:{port}"
        end = time.monotonic() + 120
        while True:
            try:
                if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                    break
            except httpx.TransportError:
                assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < end
            time.sleep(0.3)
        row = parquet.read_table(workspace.data("validate") / "validated.parquet").slice(0, 1).to_pylist()[0]
        audio = workspace.root / "data/raw/sample" / row["audio"]
        with audio.open("rb") as file:
            answer = httpx.post(f"{url}/predict", files={"audio": file}, data={"text": row["text"]}, timeout=60)
        assert answer.status_code == 200, answer.text
        said = answer.json()
        assert said["model_version"] == record.tag
        assert said["modalities"] == ["audio", "text"]
        assert sum(said["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        rows = write_call(workspace.root / "call", audio, row["text"])
        table = project.lsgmer("predict", "--table", str(rows), "--format", "json")
        offline, left, right, absent = json.JSONDecoder().raw_decode(table.output[table.output.index("[") :])[0]
        assert left["probabilities"] == pytest.approx(offline["probabilities"], abs=1e-6)
        assert right["probabilities"] != pytest.approx(offline["probabilities"], abs=1e-3)
        assert absent["error"].endswith("there is no channel 2; the recording has 2 channels, 0 to 1")
        assert offline["emotion"] == said["emotion"]
        assert offline["probabilities"] == pytest.approx(said["probabilities"], abs=1e-6)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=30)
    assert not [line for line in processes_in(project.root) if "bentoml" in line]
