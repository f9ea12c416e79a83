"""Small features in memory, and parameters to train on them: for tests that need no store on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lsgmer.core.records import EncoderSpec, Label, Labels, Split
from lsgmer.features.batch import Batch, Item, collate
from lsgmer.features.store import FeatureSplit
from lsgmer.model.lsgmer import LSGMER
from lsgmer.model.params import ModelParams
from lsgmer.params import Params, load_params

ROOT = Path(__file__).parents[2]
AUDIO, TEXT = 6, 5
LABELS = Labels(items=tuple(Label(name=name, description=name) for name in ("angry", "happy", "neutral")))
SPECS = {
    "audio": EncoderSpec(modality="audio", kind="logmel", dimension=AUDIO, sample_rate=16000),
    "text": EncoderSpec(modality="text", kind="transformers", dimension=TEXT),
}


def small_params(*overrides: str) -> Params:
    """The project's own params, made small enough to train in a second."""
    small = (
        "model.width=8",
        "model.heads=2",
        "model.dropout=0.2",
        "train.epochs=4",
        "train.batch_size=8",
        "train.learning_rate=0.01",
        "train.weight_decay=0.01",
    )
    return load_params(ROOT / "params.yaml", [*small, "runtime.device=cpu", *overrides])


def model_params(**changes: Any) -> ModelParams:
    return ModelParams(**{**small_params("model.dropout=0.0").model.model_dump(), **changes})


def items(count: int, seed: int = 0, longest: int = 7, absent: float = 0.0) -> list[Item]:
    """Random utterances of random lengths; each lacks one modality with probability `absent`."""
    random = np.random.default_rng(seed)
    made = []
    for index in range(count):
        gone = random.choice(["audio", "text"]) if random.random() < absent else None
        frames = {
            name: None if name == gone else random.normal(size=(random.integers(1, longest + 1), size)).astype("f4")
            for name, size in (("audio", AUDIO), ("text", TEXT))
        }
        made.append(Item(f"u{index}", frames["audio"], frames["text"], int(random.integers(len(LABELS)))))
    return made


def batch(count: int, seed: int = 0, absent: float = 0.0) -> Batch:
    return collate(items(count, seed, absent=absent), True, {"audio": AUDIO, "text": TEXT})


def split(name: Split, made: list[Item], speakers: list[str] | None = None) -> FeatureSplit:
    """A feature split in memory, as FeatureSplit.load would return it."""

    def flat(modality: str, size: int) -> tuple[Any, Any]:
        rows = [item.features(modality) for item in made]
        kept = [np.zeros((0, size), "f4") if row is None else row for row in rows]
        return np.concatenate(kept), np.cumsum([0, *map(len, kept)])

    audio, text = flat("audio", AUDIO), flat("text", TEXT)
    return FeatureSplit(
        split=name,
        ids=tuple(f"{name}-{item.id}" for item in made),
        speakers=tuple(speakers or [f"{name}-{index % 3}" for index in range(len(made))]),
        sessions=(None,) * len(made),
        sexes=tuple(("female", "male")[index % 2] for index in range(len(made))),
        tags=((),) * len(made),
        texts=tuple(None if item.text is None else f"{LABELS.names[item.label]} again" for item in made),
        emotions=tuple(LABELS.names[item.label] for item in made),
        labels=np.array([item.label for item in made]),
        label_set=LABELS,
        specs=dict(SPECS),
        flat={"audio": audio[0], "text": text[0]},
        offsets={"audio": audio[1], "text": text[1]},
        label_text=np.random.default_rng(9).normal(size=(len(LABELS), TEXT)).astype("f4"),
        manifest_sha256="m" * 64,
        sha256=f"{name}-{len(made)}",
    )


def learnable(name: Split, count: int, seed: int) -> FeatureSplit:
    """A split whose label shows in both modalities: feature `label` is raised."""
    made = items(count, seed)
    for item in made:
        item.audio[:, item.label] += 2.0
        item.text[:, item.label] += 2.0
    return split(name, made)


def model(seed: int = 0, **changes: Any) -> LSGMER:
    torch.manual_seed(seed)
    made = LSGMER(model_params(**changes), len(LABELS), {"audio": AUDIO, "text": TEXT})
    return made.eval()
