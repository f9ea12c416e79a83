"""Small whole worlds on disk: recordings, words, feature folders, checkpoints and Bentos, through the real writers."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from lsgmer.audio import Waveform, facts
from lsgmer.core.hashing import file_sha256
from lsgmer.core.paths import Workspace
from lsgmer.core.records import MODALITIES, SPLITS, EncoderSpec, Modality, Split
from lsgmer.encoders.build import AudioEncoder, TextEncoder, build_text
from lsgmer.encoders.logmel import LogMel
from lsgmer.features.store import FeatureSplit, Frames, write_split
from lsgmer.manifests.manifest import Manifest
from lsgmer.manifests.utterance import Utterance
from lsgmer.manifests.validated import ValidationReport, write_validated
from lsgmer.model import checkpoint
from lsgmer.model.linear import fit_linear, save_linear
from lsgmer.model.lsgmer import LSGMER
from lsgmer.model.train_card import CARD, WEIGHTS, TrainCard
from lsgmer.params import Params
from lsgmer.registry.champions import MODEL_CARD, SOURCE
from lsgmer.training.fit import fit
from tests.support import tiny
from tests.support.synthetic import LABELS, SPECS, small_params

RATE = 16000
COUNTS: dict[Split, int] = {"train": 24, "valid": 9, "test": 36}
WORDS = {"angry": "you are not happy", "happy": "glad you came", "neutral": "the dark road home"}
PITCH_HZ = {"angry": 330.0, "happy": 220.0, "neutral": 130.0}


def train_card(**changes: Any) -> TrainCard:
    """A card without a model behind it, for what only reads cards."""
    content: dict[str, Any] = {
        "variant": "audio+text",
        "labels": LABELS,
        "encoders": dict(SPECS),
        "params": small_params().sections("runtime", "model", "objective", "train"),
        "manifest_sha256": "m" * 64,
        "feature_sha256": {},
        "weights_sha256": "w" * 64,
        "seed": 7,
        "parameters": 1,
        "best_epoch": 0,
        "epochs_run": 1,
        "valid_metrics": {},
        "split_counts": {},
        "seen_speakers": (),
        "versions": {},
    }
    return TrainCard(**(content | changes))


def fake_bento(workspace: Workspace, tag: str, weights: bytes = b"weights") -> Path:
    """A Bento folder with what the champion pointer looks at, and no model that would load."""
    folder = bento_folder(workspace, tag)
    (folder / "model").mkdir(parents=True)
    (folder / "model" / WEIGHTS).write_bytes(weights)
    card = train_card(weights_sha256=file_sha256(folder / "model" / WEIGHTS))
    (folder / "model" / CARD).write_text(card.to_json())
    return _papers(folder, tag)


def bento_of(workspace: Workspace, tag: str, model: Path) -> Path:
    """A Bento folder around the checkpoint in `model`, its encoders included."""
    folder = bento_folder(workspace, tag)
    shutil.copytree(model, folder / "model")
    return _papers(folder, tag)


def bento_folder(workspace: Workspace, tag: str) -> Path:
    return workspace.bentos / "bentos" / Path(*tag.split(":")) / SOURCE


def _papers(folder: Path, tag: str) -> Path:
    for name, content in ((MODEL_CARD, f'{{"tag": "{tag}"}}\n'), ("papers/profile.json", "{}\n")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def resave(source: Path, destination: Path, **changes: Any) -> TrainCard:
    """Save the checkpoint in `source` to `destination` with another card."""
    model, card = checkpoint.load(source)
    kept = [name for name in TrainCard.model_fields if name not in ("weights_sha256", "parameters", "format")]
    return checkpoint.save(destination, model, {name: getattr(card, name) for name in kept} | changes)


@dataclass(frozen=True)
class World:
    """A workspace whose validated manifest, recordings and features belong together."""

    workspace: Workspace
    params: Params
    utterances: tuple[Utterance, ...]
    audio: AudioEncoder
    text: TextEncoder
    manifest_sha256: str

    def part(self, split: Split) -> list[Utterance]:
        return [utterance for utterance in self.utterances if utterance.split == split]

    def features(self, split: Split) -> FeatureSplit:
        return FeatureSplit.load(self.workspace.data("features") / split)

    def wave(self, utterance: Utterance) -> Waveform:
        samples, rate = soundfile.read(self.corpus / str(utterance.audio), dtype="float32")
        return Waveform(samples, rate)

    @property
    def corpus(self) -> Path:
        return self.workspace.root / self.params.corpus.path


def utterances(counts: Mapping[Split, int] = COUNTS) -> tuple[Utterance, ...]:
    """Utterances of four speakers per split, tagged; every seventh lacks its audio, every eleventh its words."""
    made = []
    for split, count in counts.items():
        for i in range(count):
            emotion, speaker = LABELS.names[i % len(LABELS)], i // 3 % 4
            made.append(
                Utterance(
                    id=f"{split}-{i:03}",
                    corpus="table",
                    speaker=f"{split}-{speaker}",
                    sex=("female", "male")[speaker % 2],
                    emotion_raw=emotion,
                    emotion=emotion,
                    split=split,
                    audio=None if i % 7 == 6 else f"audio/{split}-{i:03}.wav",
                    text=None if i % 11 == 10 else f"{WORDS[emotion]} {'again ' * (i % 3)}today",
                    tags=("long", "odd")[: i // 3 % 3],
                )
            )
    return tuple(made)


def write_recordings(folder: Path, made: Sequence[Utterance], seed: int = 0) -> None:
    """A buzz per utterance, its pitch by emotion, 0.3 to 0.6 s."""
    random = np.random.default_rng(seed)
    for utterance in made:
        if utterance.audio is None:
            continue
        time = np.arange(int(RATE * random.uniform(0.3, 0.6))) / RATE
        hertz = PITCH_HZ[utterance.emotion] * random.uniform(0.95, 1.05)
        samples = 0.2 * np.sign(np.sin(2 * np.pi * hertz * time)) + 0.01 * random.standard_normal(len(time))
        path = folder / utterance.audio
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples.astype(np.float32), RATE)


def write_features(
    folder: Path,
    split: Split,
    made: Sequence[Utterance],
    values: Mapping[Modality, Sequence[Any]],
    specs: Mapping[Modality, EncoderSpec],
    manifest_sha256: str = "m" * 64,
    label_text: Any = None,
) -> FeatureSplit:
    """Write a split's feature folder from frames (T, D) per utterance, None where it has none."""
    frames = {
        name: Frames(
            specs[name],
            [0 if rows is None else len(rows) for rows in values[name]],
            [(i, rows) for i, rows in enumerate(values[name]) if rows is not None],
        )
        for name in MODALITIES
        if name in specs
    }
    write_split(folder, split, made, LABELS, frames, label_text, manifest_sha256)
    return FeatureSplit.load(folder)


def random_features(
    folder: Path, split: Split, made: Sequence[Utterance], seed: int = 0, learnable: float = 2.0
) -> FeatureSplit:
    """Write a random feature folder of tests.synthetic's sizes, in which feature `label` is raised."""
    random = np.random.default_rng(seed)

    def frames(size: int, utterance: Utterance) -> Any:
        values = random.normal(size=(random.integers(1, 8), size)).astype(np.float32)
        values[:, LABELS.index(utterance.emotion)] += learnable
        return values

    values: dict[Modality, list[Any]] = {
        "audio": [frames(SPECS["audio"].dimension, u) if u.audio else None for u in made],
        "text": [frames(SPECS["text"].dimension, u) if u.text else None for u in made],
    }
    return write_features(folder, split, made, values, SPECS)


def random_model(folder: Path, features: FeatureSplit, params: Params, seed: int = 0, **changes: Any) -> LSGMER:
    """Save a model that learned nothing, for the features' sizes, with the card that training would write."""
    torch.manual_seed(seed)
    modalities: tuple[Modality, ...] = changes.pop("modalities", MODALITIES)
    made = LSGMER(params.model, len(features.label_set), {m: features.dimensions[m] for m in modalities}).eval()
    card = train_card(
        variant="+".join(modalities),
        labels=features.label_set,
        encoders={m: features.specs[m] if m in modalities else None for m in MODALITIES},
        params=params.sections("runtime", "model", "objective", "train"),
        manifest_sha256=features.manifest_sha256,
    ).model_dump()
    fields = {name: value for name, value in card.items() if name not in ("weights_sha256", "parameters", "format")}
    checkpoint.save(folder, made, fields | {"labels": features.label_set, **changes})
    return made


def build_world(root: Path, counts: Mapping[Split, int] = COUNTS, *overrides: str) -> World:
    """Recordings, validated manifest, a tiny text encoder under `root`; no features, no models yet."""
    workspace = Workspace(root)
    params = small_params(
        "corpus.name=table", "corpus.path=data/raw/table", "corpus.synthesize=[]",
        "features.audio={kind: logmel, n_mels: 8, hop_ms: 20.0}",
        "features.text.source=encoders/text", "features.text.sha256=null", "features.text.max_tokens=16",
        "evaluate.bootstrap=200", "evaluate.min_group=5", "gate.min_champion_utterances=20", *overrides,
    )  # fmt: skip
    made = utterances(counts)
    write_recordings(root / params.corpus.path, made)
    tiny.save_roberta(root / "encoders" / "text")
    text = build_text(params.features.text, root)
    assert text is not None
    sha256 = write_manifest(workspace, params, made)
    return World(workspace, params, made, LogMel(8, params.features.audio.hop_ms), text, sha256)


def write_manifest(workspace: Workspace, params: Params, made: Sequence[Utterance]) -> str:
    """Write data/validate as a passing validation does; return the sha256 of validated.parquet."""
    manifest = Manifest(tuple(sorted(made, key=lambda u: u.id)), LABELS, "table")
    corpus = workspace.root / params.corpus.path
    known = {u.id: facts(corpus / u.audio) for u in made if u.audio}
    report = ValidationReport(
        passed=True, expectations=(), summary={}, quarantined={}, manifest_hash=manifest.content_hash
    )
    return str(write_validated(workspace.data("validate"), manifest, known, report).validated_sha256)


def extract(world: World) -> World:
    """Write the world's feature folders, one utterance at a time."""
    specs: dict[Modality, EncoderSpec] = {"audio": world.audio.spec, "text": world.text.spec}
    label_text = np.stack(
        [values.mean(0) for values in world.text.encode([label.description for label in LABELS.items])]
    )
    for split in SPLITS:
        made = world.part(split)
        values: dict[Modality, list[Any]] = {
            "audio": [world.audio.encode([world.wave(u)])[0] if u.audio else None for u in made],
            "text": [world.text.encode([u.text])[0] if u.text else None for u in made],
        }
        folder = world.workspace.data("features") / split
        write_features(folder, split, made, values, specs, world.manifest_sha256, label_text)
    return world


def train(world: World, shuffled: bool = False) -> World:
    """Train fused model and controls on the world's features; `shuffled`: fused alone, on meaningless labels."""
    train_part, valid_part = world.features("train"), world.features("valid")
    if shuffled:
        order = np.random.default_rng(3).permutation(len(train_part))
        train_part = replace(train_part, labels=np.roll(train_part.labels, 1)[order], sha256="shuffled")
    kinds = {"train": MODALITIES, "controls/audio": ("audio",), "controls/text": ("text",)}
    for name, modalities in kinds.items() if not shuffled else [("train", MODALITIES)]:
        fitted = fit(train_part, valid_part, world.params, modalities, world.workspace.scratch)
        checkpoint.save(world.workspace.data(name), fitted.model, fitted.card)
        fitted.forget()
    if not shuffled:
        save_linear(
            world.workspace.data("controls/linear"), fit_linear(train_part, 1.0, 0.5, world.params.runtime.seed)
        )
    return world
