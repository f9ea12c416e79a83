"""One training run, an epoch at a time; its state can be saved and resumed with bit-identical results."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lsgmer.core.device import choose_device
from lsgmer.core.records import Modality
from lsgmer.features.batch import Batch
from lsgmer.features.store import FeatureSplit
from lsgmer.metrics import balanced_accuracy, weighted_f1
from lsgmer.model.lsgmer import LSGMER
from lsgmer.model.objective import JointObjective, class_weights
from lsgmer.training.loader import Feeder
from lsgmer.training.params import TrainingSections
from lsgmer.training.start import start_model

History = list[dict[str, float]]


@dataclass(slots=True)
class Progress:
    """How far a run has got: epochs done, the best of them (-1: none yet), and every epoch's metrics."""

    epoch: int = 0
    best_epoch: int = -1
    rows: History = field(default_factory=list)


class Trainer:
    """Model, optimiser and schedule of one run. accelerate places it and sets the precision."""

    def __init__(
        self, train: FeatureSplit, valid: FeatureSplit, params: TrainingSections, modalities: tuple[Modality, ...]
    ) -> None:
        runtime, self.params = params.runtime, params
        choose_device(runtime.device)  # a clear error where there is no GPU
        self.accelerator = Accelerator(cpu=runtime.device == "cpu", mixed_precision=runtime.mixed_precision)
        device, size = self.accelerator.device, params.train.batch_size
        self.train, self.valid = Feeder(train, modalities, size, device), Feeder(valid, modalities, size, device)
        torch.manual_seed(runtime.seed)
        model = start_model(train, params, modalities)
        optimiser = torch.optim.AdamW(
            model.parameters(), lr=params.train.learning_rate, weight_decay=params.train.weight_decay
        )
        self.model, self.optimiser = self.accelerator.prepare(model, optimiser)
        labels, classes = torch.from_numpy(self.train.labels), len(train.label_set)
        weights = class_weights(labels, classes, params.objective.class_weight_power)
        self.objective = JointObjective(params.objective, weights).to(device)
        self.best: dict[str, Tensor] = {}
        # With few validation speakers the metric can spike while the learning rate still rises: select no epoch then.
        self.first_choice = min(math.ceil(params.train.warmup_share * params.train.epochs), params.train.epochs - 1)

    def epoch(self, progress: Progress) -> dict[str, float]:
        """Train the next epoch, measure it on the validation split, and return its row of metrics."""
        generator = np.random.default_rng([self.params.runtime.seed, progress.epoch])
        torch.manual_seed(int(generator.integers(2**62)))
        self.model.train()
        sums, first = np.zeros(3), progress.epoch * self.train.steps
        feed = self.train.shuffled(generator, self.params.train.modality_dropout, self.params.train.audio_crop)
        for step, (batch, labels) in enumerate(feed):
            sums += self._step(batch, labels, first + step)
        names = ("train_loss", "train_classification", "train_consistency")
        row = {"epoch": float(progress.epoch), **dict(zip(names, (sums / self.train.steps).tolist(), strict=True))}
        row |= self._measure()
        progress.rows.append(row)
        too_early = progress.best_epoch < self.first_choice
        if too_early or self._quality(row) > self._quality(progress.rows[progress.best_epoch]):
            progress.best_epoch = progress.epoch
            self.best = {name: value.detach().cpu().clone() for name, value in self._bare().state_dict().items()}
        progress.epoch += 1
        return row

    def best_model(self) -> LSGMER:
        """Return the model of the best epoch, on the CPU, in eval mode."""
        model = self._bare().cpu()
        model.load_state_dict(self.best)
        return model.eval()

    def save(self, path: Path, progress: Progress) -> None:
        """Write all that a resumed run needs to `path`, atomically, as safetensors; delete older states there."""
        tensors = {f"model.{k}": v for k, v in self._bare().state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": v for k, v in moments.items()}
        scaler = self.accelerator.scaler
        notes = {
            "epoch": progress.epoch,
            "best_epoch": progress.best_epoch,
            "rows": progress.rows,
            "scaler": {} if scaler is None else scaler.state_dict(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        for stale in path.parent.glob("*.safetensors"):
            if stale != path:
                stale.unlink()
        part = path.with_suffix(".part")
        whole = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        save_file(whole, part, {"notes": json.dumps(notes)})
        part.replace(path)

    def restore(self, path: Path) -> Progress:
        """Restore the state at `path` and return its progress; without one, return the progress of a new run."""
        if not path.is_file():
            return Progress()
        with safe_open(path, framework="pt") as file:
            notes = json.loads(file.metadata()["notes"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        self._bare().load_state_dict(_part(tensors, "model."))
        self.best = _part(tensors, "best.")
        state = self.optimiser.state_dict()
        for name, value in _part(tensors, "optimiser.").items():
            index, _, moment = name.partition(".")
            state["state"].setdefault(int(index), {})[moment] = value
        self.optimiser.load_state_dict(state)
        if self.accelerator.scaler is not None and notes["scaler"]:
            self.accelerator.scaler.load_state_dict(notes["scaler"])
        return Progress(notes["epoch"], notes["best_epoch"], notes["rows"])

    def _step(self, batch: Batch, labels: Tensor, step: int) -> Any:
        """Take one optimiser step and return (total, classification, consistency)."""
        total_steps = self.train.steps * self.params.train.epochs
        rate = self.params.train.learning_rate * schedule(step, total_steps, self.params.train.warmup_share)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        parts = self.objective(self.model(batch), labels)
        self.optimiser.zero_grad()
        self.accelerator.backward(parts.total)
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.params.train.max_gradient_norm)
        self.optimiser.step()
        self._bare().memory.update()
        return np.array([part.item() for part in (parts.total, parts.classification, parts.consistency)])

    @torch.no_grad()
    def _measure(self) -> dict[str, float]:
        """Return the validation split's loss, accuracy and balanced accuracy, and the metric that selects."""
        self.model.eval()
        predicted, loss = [], 0.0
        for batch, labels in self.valid.in_order():
            output = self.model(batch)
            loss += float(self.objective(output, labels).total) * len(labels)
            predicted.append(output.logits.argmax(-1).cpu().numpy())
        guess, truth = np.concatenate(predicted), self.valid.labels
        row = {
            "valid_loss": loss / len(truth),
            "valid_accuracy": float((guess == truth).mean()),
            "valid_balanced_accuracy": float(balanced_accuracy(truth, guess)),
        }
        if self.params.train.select == "weighted_f1":
            row["valid_weighted_f1"] = weighted_f1(truth, guess)
        return row

    def _quality(self, row: dict[str, float]) -> tuple[float, float]:
        """Return what an epoch is selected by, higher is better: the metric, then minus the loss."""
        return row[f"valid_{self.params.train.select}"], -row["valid_loss"]

    def _bare(self) -> LSGMER:
        model: LSGMER = self.accelerator.unwrap_model(self.model)
        return model


def schedule(step: int, total: int, warmup_share: float) -> float:
    """Return the learning rate's factor at `step` of `total`: linear warm-up, then a cosine to zero."""
    warmup = max(1.0, total * warmup_share)
    if step < warmup:
        return (step + 1) / warmup
    return float(0.5 * (1 + np.cos(np.pi * (step - warmup) / max(1.0, total - warmup))))


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
