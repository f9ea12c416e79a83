"""A tiny model packaged and served for real, for the session fixtures `packaged` and `served` of tests/conftest.py."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import torch
from ruamel.yaml import YAML

from lsgmer.core.hashing import dvc_md5, file_sha256
from lsgmer.core.paths import Workspace
from lsgmer.core.sections import read_yaml
from lsgmer.encoders.build import build_audio, build_text
from lsgmer.evaluation.records import GateDecision, Metrics, RuleResult
from lsgmer.metrics import Interval, ModelMetrics
from lsgmer.model import checkpoint
from lsgmer.model.lsgmer import LSGMER
from lsgmer.params import Params, load_params
from lsgmer.registry.champions import bento_folder
from lsgmer.registry.model_card import PackageRecord
from lsgmer.registry.trial import serve_command

ROOT = Path(__file__).parents[2]
RULE = RuleResult(name="min_class_recall", value=0.5, threshold=0.3, verdict="PASS", reason="0.50 is at least 0.30")


def write_model(workspace: Workspace, params: Params) -> str:
    """Write a random model, with context and without speakers' levels, to data/train; return its weights' sha256."""
    audio, text = build_audio(params.features.audio, workspace.root), build_text(params.features.text, workspace.root)
    assert audio is not None
    assert text is not None
    torch.manual_seed(11)
    labels = params.corpus.label_set
    model = LSGMER(params.model, len(labels), {"audio": audio.spec.dimension, "text": text.spec.dimension})
    card = {
        "variant": "fused",
        "labels": labels,
        "encoders": {"audio": audio.spec, "text": text.spec},
        "params": params.sections("runtime", "model", "objective", "train"),
        "manifest_sha256": file_sha256(workspace.data("validate") / "validated.parquet"),
        "feature_sha256": {"train": "0" * 64, "valid": "1" * 64},
        "seed": 11,
        "best_epoch": 1,
        "epochs_run": 1,
        "valid_metrics": {"balanced_accuracy": 0.5},
        "split_counts": {"train": 8, "valid": 4},
        "seen_speakers": ("0123456789abcdef",),
        "versions": {"torch": "2"},
        "normalise": "speaker",
    }
    return checkpoint.save(workspace.data("train"), model, card).weights_sha256


def write_gate(workspace: Workspace, weights_sha256: str, rule: RuleResult = RULE) -> None:
    """Write data/gate for these weights and the metrics that lie in data/evaluate."""
    decision = GateDecision(
        verdict=rule.verdict,
        rules=(rule,),
        metrics_sha256=file_sha256(workspace.data("evaluate") / "metrics.json"),
        weights_sha256=weights_sha256,
    )
    workspace.data("gate").mkdir(parents=True, exist_ok=True)
    (workspace.data("gate") / "gate.json").write_text(decision.to_json())


def write_metrics(workspace: Workspace, names: tuple[str, ...]) -> None:
    """Write a plausible data/evaluate/metrics.json."""
    half = Interval(value=0.5, low=0.4, high=0.6)
    confusion = tuple(tuple(5 if i == j else 2 for j in range(len(names))) for i in range(len(names)))
    fused = ModelMetrics(
        n=44,
        accuracy=half,
        balanced_accuracy=half,
        weighted_f1=half,
        macro_f1=half,
        recall=dict.fromkeys(names, 0.5),
        confusion=confusion,
        ece=0.1,
        mean_consistency=0.8,
    )
    metrics = Metrics(
        labels=names, chance=1 / len(names), n_speakers=3, models={"fused": fused}, differences={}, groups={}
    )
    workspace.data("evaluate").mkdir(parents=True, exist_ok=True)
    (workspace.data("evaluate") / "metrics.json").write_text(metrics.to_json())


def write_lock(workspace: Workspace) -> None:
    """Write the dvc.lock that DVC would have written for the data folders as they are."""

    def stage(name: str, *deps: str) -> dict[str, object]:
        out = {"path": f"data/{name}", "hash": "md5", "md5": dvc_md5(workspace.data(name))}
        return {"cmd": f"python -m lsgmer.{name}", "deps": [{"path": dep} for dep in deps], "outs": [out]}

    validate = read_yaml(workspace.params)["validate"]
    stages = {
        "validate": {**stage("validate"), "params": {"params.yaml": {"validate": validate}}},
        "train": stage("train", "data/validate"),
        "evaluate": stage("evaluate", "data/train"),
        "gate": stage("gate", "data/evaluate", "data/train"),
        "package": {"cmd": "python -m lsgmer.stages.package", "deps": [{"path": "data/gate"}], "outs": []},
        "elsewhere": {"cmd": "true", "outs": [{"path": "data/raw/other", "md5": "0" * 32}]},
    }
    with workspace.lock.open("wb") as file:
        YAML(typ="safe", pure=True).dump({"schema": "2.0", "stages": stages}, file)


def make_workspace(root: Path) -> Workspace:
    """Make a workspace whose stages up to the gate are done, with a model that passed."""
    workspace = Workspace(root)
    root.mkdir(parents=True, exist_ok=True)
    for folder in ("lsgmer", "serving", "flows"):
        if (ROOT / folder).is_dir():
            shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", "dvc.yaml", "pyproject.toml", "requirements.lock"):
        shutil.copyfile(ROOT / name, root / name)
    written = workspace.params.read_text()
    assert "  speakers: 0 " in written
    workspace.params.write_text(written.replace("  speakers: 0 ", "  speakers: 2 "))
    params = load_params(workspace.params, ["features.text.context=2"])
    workspace.data("validate").mkdir(parents=True)
    (workspace.data("validate") / "validated.parquet").write_bytes(b"stands for the manifest")
    (workspace.data("validate") / "profile.json").write_text("{}\n")
    weights = write_model(workspace, params)
    write_metrics(workspace, params.corpus.label_set.names)
    write_gate(workspace, weights)
    write_lock(workspace)
    return workspace


def run_package(workspace: Workspace) -> subprocess.CompletedProcess[str]:
    """Run the package stage as DVC does."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(workspace.root)}
    command = [sys.executable, "-m", "lsgmer.stages.package"]
    return subprocess.run(command, cwd=workspace.root, env=environment, capture_output=True, text=True, timeout=240)


def read_record(workspace: Workspace) -> PackageRecord:
    """Return data/package/package.json."""
    return PackageRecord.model_validate_json((workspace.data("package") / "package.json").read_text())


@dataclass(frozen=True)
class Served:
    """A running server: its address, what it serves, the workspace it came from, its log and its process."""

    url: str
    record: PackageRecord
    workspace: Workspace
    source: Path
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def labels(self) -> tuple[str, ...]:
        """The model's emotions."""
        return load_params(self.workspace.params).corpus.label_set.names

    def post(self, **fields: object) -> httpx.Response:
        """POST /predict with httpx's files=, data=, headers= ..."""
        return httpx.post(f"{self.url}/predict", timeout=60, **fields)  # type: ignore[arg-type]


@contextmanager
def serve(workspace: Workspace, record: PackageRecord, folder: Path, **settings: str) -> Iterator[Served]:
    """Run a real `bentoml serve` of the packaged Bento on a free port; end its whole process group after.

    `settings` are environment variables; answers are logged in FOLDER/predictions.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "server.log"
    environment = {
        **os.environ,
        "BENTOML_HOME": str(workspace.bentos),
        "BENTOML_DO_NOT_TRACK": "True",
        "LSGMER_SERVICE_LOG": str(folder / "predictions"),
        "LSGMER_SERVICE_JOBS": str(folder / "jobs"),
        **settings,
    }
    command = serve_command(bento_folder(workspace, record.tag), "127.0.0.1", port)
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    name, version = record.tag.split(":")
    try:
        wait_until_ready(url, process, log)
        source = workspace.bentos / "bentos" / name / version / "src"
        yield Served(url, record, workspace, source, folder / "predictions", process)
    finally:
        end_group(process)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process started in a session of its own, and everything it started."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait(5)


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server answers /readyz; fail with its log when it ends or takes over 200 s."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.3)
    pytest.fail(f"the server did not start:\n{log.read_text()[-3000:]}")
