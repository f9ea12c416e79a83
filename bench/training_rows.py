"""Rows `loader` and `step`: training on cached features; its batches and its step against what they cannot do without.

512 utterances with random features of the sample's sizes: audio (19 to 44, 325), text (4 to 28, 384), batches of 32.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils._python_dispatch import TorchDispatchMode

from bench.paired import Pair, timed
from lsgmer.core.device import set_threads
from lsgmer.core.records import EncoderSpec, Modality, Split
from lsgmer.core.sections import read_sections
from lsgmer.features.store import FeatureSplit, Frames, write_split
from lsgmer.manifests.utterance import Utterance
from lsgmer.params import load_params
from lsgmer.training.params import TrainingSections
from lsgmer.training.trainer import Trainer

ROOT = Path(__file__).parents[1]
COUNT, BATCH = 512, 32
SIZES: dict[Modality, tuple[int, int, int]] = {"audio": (19, 45, 325), "text": (4, 29, 384)}
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "linear", "_scaled_dot_product")


def store(folder: Path, split: Split) -> FeatureSplit:
    """Write one split of random features and return it."""
    random, labels = np.random.default_rng(1), load_params(ROOT / "params.yaml").corpus.label_set
    names = labels.names
    rows = [
        Utterance(f"{split}{i}", "bench", f"{split}{i % 8}", names[i % 4], names[i % 4], split, audio="a", text="t")
        for i in range(COUNT)
    ]
    frames: dict[Modality, Frames | None] = {}
    for name, (low, high, width) in SIZES.items():
        lengths = random.integers(low, high, COUNT)
        pieces = [(i, random.standard_normal((n, width)).astype(np.float32)) for i, n in enumerate(lengths)]
        spec = EncoderSpec(modality=name, kind="precomputed", source="random", dimension=width)
        frames[name] = Frames(spec, lengths.tolist(), pieces)
    label_text = random.standard_normal((len(names), SIZES["text"][2])).astype(np.float32)
    write_split(folder / split, split, rows, labels, frames, label_text, "0" * 64)
    return FeatureSplit.load(folder / split)


class Products(TorchDispatchMode):
    """Notes the operands of every matrix product that runs meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Callable[[], object]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run `func`, and if it is a matrix product, keep it with copies of its operands."""
        if any(func.__name__.startswith(name) for name in PRODUCTS):
            kept = [each.detach().clone() if isinstance(each, torch.Tensor) else each for each in args]
            self.calls.append(lambda: func(*kept, **(kwargs or {})))
        return func(*args, **(kwargs or {}))


def pairs() -> list[Pair]:
    """Return both rows."""
    params = read_sections(ROOT / "params.yaml", TrainingSections)
    set_threads(params.runtime.threads)
    folder = tempfile.TemporaryDirectory(prefix="lsgmer-bench-")
    train, valid = (store(Path(folder.name), split) for split in ("train", "valid"))
    trainer = Trainer(train, valid, params, ("audio", "text"), ROOT)
    settings = params.train

    def feed() -> list[Any]:
        generator = np.random.default_rng(0)
        return list(trainer.train.shuffled(generator, settings.modality_dropout, settings.audio_crop))

    held = [{name: torch.from_numpy(np.array(train.features(name, i))) for name in SIZES} for i in range(COUNT)]
    truth = torch.from_numpy(np.array(train.labels))

    def plain() -> list[Any]:
        batches = []
        for rows in torch.randperm(COUNT).split(BATCH):
            values = {name: pad_sequence([held[int(i)][name] for i in rows], batch_first=True) for name in SIZES}
            lengths = {name: torch.tensor([len(held[int(i)][name]) for i in rows]) for name in SIZES}
            masks = {name: torch.arange(values[name].shape[1]) >= lengths[name][:, None] for name in SIZES}
            batches.append((values, masks, truth[rows]))
        return batches

    batches = feed()
    trainer.model.train()
    with Products() as products:
        trainer._step(*batches[0], 0)
    steps = [timed(lambda batch=batch: trainer._step(*batch, 1)).cpu_s for batch in batches]
    step_ms = 1000 * statistics.median(steps)

    def share() -> dict[str, str]:
        per_batch = 1000 * statistics.median(timed(feed).cpu_s for _ in range(5)) / len(batches)
        return {"loader's share of a step": f"{per_batch / (per_batch + step_ms):.1%} of CPU time"}

    def step() -> None:
        for batch in batches:
            trainer._step(*batch, 1)

    def only_products() -> None:
        with torch.no_grad():
            for _ in batches:
                for call in products.calls:
                    call()

    count = len(batches)
    return [
        Pair(
            "loader",
            f"the training batches of {COUNT} cached utterances: by length, crops, hidden modalities",
            "in memory, shuffled, pad_sequence: no sorting, no crops, nothing hidden",
            feed,
            plain,
            count,
            "batch",
            notes=share,
            holds=folder,
        ),
        Pair(
            "step",
            f"optimiser steps on these batches of {BATCH}: forward, both losses, backward, clipping, AdamW",
            f"the {len(products.calls)} matrix products of one such step alone, same shapes, forward and backward",
            step,
            only_products,
            count,
            "step",
            notes=lambda: {"step": f"{step_ms:.1f} ms of CPU time"},
            holds=folder,
        ),
    ]
