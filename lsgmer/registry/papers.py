"""The records of a package: read, checked against each other and against dvc.lock, composed into the final card."""

from __future__ import annotations

import copy
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lsgmer.audio import limits_in
from lsgmer.core.errors import PackagingRefused
from lsgmer.core.hashing import dvc_md5, file_sha256
from lsgmer.core.paths import Workspace
from lsgmer.core.records import channel_number
from lsgmer.core.source import source_state
from lsgmer.evaluation.records import GateDecision, Metrics
from lsgmer.model.train_card import CARD, WEIGHTS, TrainCard
from lsgmer.registry.model_card import Forced, Lineage, ModelCard
from lsgmer.registry.params import PackageParams

STAGES = ("train", "gate", "evaluate", "validate")  # whose outputs the package holds
REMEDY = "run `dvc repro`, which updates them, or restore the changed file"


@dataclass(frozen=True, slots=True)
class Papers:
    """The records that go into the Bento's papers/ folder, by file name, and the model card composed from them."""

    card: ModelCard
    files: dict[str, bytes]


def collect(workspace: Workspace, params: PackageParams, forced: Forced | None) -> Papers:
    """Read and check every record that goes into a package, and compose its model card.

    Args:
        workspace: the workspace whose data/ holds the trained, evaluated and gated model.
        params: the package's name, intended use and limits.
        forced: who overrides the gate and why; None where it must have passed.

    Returns:
        The card, and the contents of the Bento's papers/ folder by file name.

    Raises:
        PackagingRefused: the gate's verdict is not PASS and not `forced`; or, forced or not, a record is missing or a
            hash in one does not match.

    """
    sources = {
        "gate.json": workspace.data("gate") / "gate.json",
        "metrics.json": workspace.data("evaluate") / "metrics.json",
        "profile.json": workspace.data("validate") / "profile.json",
    }
    files = {name: _read(path) for name, path in sources.items()}
    gate = _parse(GateDecision, files["gate.json"], sources["gate.json"])
    metrics = _parse(Metrics, files["metrics.json"], sources["metrics.json"])
    train = _parse(TrainCard, _read(workspace.data("train") / CARD), workspace.data("train") / CARD)
    refuse_unless_passed(gate, forced)
    _check_hashes(workspace, gate, train, files["metrics.json"])
    lock = _read_lock(workspace.lock)
    _check_lock(workspace, lock)
    recorded = upstream(lock, "package")
    files["dvc.lock"] = dump_yaml(recorded)
    ran_with = params_of(recorded)
    files["params.yaml"] = dump_yaml(ran_with)
    lineage = Lineage(
        lock_sha256=_sha256(files["dvc.lock"]),
        params_sha256=_sha256(files["params.yaml"]),
        gate_sha256=_sha256(files["gate.json"]),
        metrics_sha256=_sha256(files["metrics.json"]),
        weights_sha256=train.weights_sha256,
        train_card_sha256=file_sha256(workspace.data("train") / CARD),
        profile_sha256=_sha256(files["profile.json"]),
        manifest_sha256=train.manifest_sha256,
        source=source_state(workspace.root),
    )
    channel = ran_with.get("corpus", {}).get("channel")
    card = ModelCard(
        name=params.name,
        train=train,
        metrics=metrics,
        gate=gate,
        lineage=lineage,
        intended_use=params.intended_use,
        limits=params.limits,
        forced=forced,
        speakers=params.speakers,
        speaker_hours=params.speaker_hours,
        audio_limits=limits_in(ran_with["validate"]) if "validate" in ran_with else None,
        transcribes=params.transcribe or (train.transcriber is not None and train.transcriber.kind == "moonshine"),
        channel=None if channel is None else channel_number(channel),
    )
    files["model_card.json"] = card.to_json().encode()
    return Papers(card, files)


def refuse_unless_passed(gate: GateDecision, forced: Forced | None) -> None:
    """Raise PackagingRefused, naming the rules, unless the verdict is PASS or somebody has overridden it."""
    if gate.verdict == "PASS" or forced is not None:
        return
    rules = [f"{rule.name} {rule.verdict}: {rule.reason}" for rule in gate.rules if rule.verdict != "PASS"]
    raise PackagingRefused(
        f"the gate's verdict is {gate.verdict}, so this model is not packaged ({'; '.join(rules)}). "
        "See data/gate/report.md; `lsgmer promote --force --reason` packages it anyway and records the reason"
    )


def upstream(lock: dict[str, Any], target: str) -> dict[str, Any]:
    """Return `lock` with only the stages upstream of `target`, which itself is left out."""
    stages: dict[str, Any] = lock["stages"]
    wanted = [f"data/{name}" for name in STAGES]
    kept: set[str] = set()
    while wanted:
        path = wanted.pop()
        for name, stage in stages.items():
            made = [out["path"] for out in stage.get("outs", [])]
            if name not in kept and name != target and any(_overlap(path, out) for out in made):
                kept.add(name)
                wanted += [dep["path"] for dep in stage.get("deps", [])]
    return {**lock, "stages": {name: stages[name] for name in sorted(kept)}}


def params_of(lock: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that the stages of `lock` ran with, by section, as params.yaml had them at that time."""
    result: dict[str, Any] = {}
    for stage in lock["stages"].values():
        for key, value in stage.get("params", {}).get("params.yaml", {}).items():
            *parents, last = key.split(".")
            target = result
            for parent in parents:
                target = target.setdefault(parent, {})
            if isinstance(value, dict) and isinstance(target.get(last), dict):
                target[last] = {**target[last], **value}
            else:
                target[last] = copy.deepcopy(value)
    return result


def dump_yaml(content: dict[str, Any]) -> bytes:
    """Return `content` as YAML in one canonical form: sorted keys, block style."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = True  # type: ignore[assignment]
    stream = io.BytesIO()
    yaml.dump(content, stream)
    return stream.getvalue()


def _check_hashes(workspace: Workspace, gate: GateDecision, train: TrainCard, metrics: bytes) -> None:
    """Raise PackagingRefused unless file, train card and gate name the same weights, metrics and manifest."""
    weights = workspace.data("train") / WEIGHTS
    manifest = workspace.data("validate") / "validated.parquet"
    for path in (weights, manifest):
        if not path.is_file():
            raise PackagingRefused(f"{path}: no such file; {REMEDY}")
    claims = [
        (str(weights), file_sha256(weights), "the train card", train.weights_sha256),
        (str(weights), file_sha256(weights), "gate.json", gate.weights_sha256),
        ("data/evaluate/metrics.json", _sha256(metrics), "gate.json", gate.metrics_sha256),
        (str(manifest), file_sha256(manifest), "the train card", train.manifest_sha256),
    ]
    wrong = [f"{what} is {found}, {who} says {said}" for what, found, who, said in claims if found != said]
    if wrong:
        raise PackagingRefused(f"hashes do not match: {'; '.join(wrong)}; {REMEDY}")


def _check_lock(workspace: Workspace, lock: dict[str, Any]) -> None:
    """Raise PackagingRefused unless the folders are as dvc.lock records them."""
    recorded = {out["path"]: out.get("md5") for stage in lock["stages"].values() for out in stage.get("outs", [])}
    wrong = []
    for name in STAGES:
        found, said = dvc_md5(workspace.data(name)), recorded.get(f"data/{name}")
        if found != said:
            wrong.append(f"data/{name} is {found}, dvc.lock says {said or 'nothing'}")
    if wrong:
        raise PackagingRefused(f"hashes do not match: {'; '.join(wrong)}; {REMEDY}")


def _read_lock(path: Path) -> dict[str, Any]:
    try:
        lock = YAML(typ="safe", pure=True).load(_read(path))
        if isinstance(lock["stages"], dict):
            return dict(lock)
    except (YAMLError, KeyError, TypeError):
        pass
    raise PackagingRefused(f"{path}: not a dvc.lock; {REMEDY}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PackagingRefused(f"{path}: cannot be read ({error.strerror}); {REMEDY}") from error


def _parse(kind: Any, content: bytes, path: Path) -> Any:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise PackagingRefused(f"{path}: not a {kind.__name__}: {error}; {REMEDY}") from error


def _overlap(path: str, out: str) -> bool:
    return path == out or path.startswith(f"{out}/") or out.startswith(f"{path}/")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
