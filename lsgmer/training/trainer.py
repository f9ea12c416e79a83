"""One training run, an epoch at a time; its state can be saved and resumed with bit-identical results."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lsgmer.core.device import choose_device
from lsgmer.core.records import MIX, Modality
from lsgmer.features.batch import Batch
from lsgmer.features.store import FeatureSplit
from lsgmer.metrics import balanced_accuracy, weighted_f1
from lsgmer.model.ensemble import Model
from lsgmer.model.lsgmer import LSGMER
from lsgmer.model.objective import JointObjective, class_weights
from lsgmer.model.pooling import WeightedLayers
from lsgmer.training.loader import Feeder, divide
from lsgmer.training.lora import merge_lora
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
    """Model, optimiser and schedule of one run. accelerate places it and sets the precision.

    On several processes, all draw the same batches; each computes its pieces of a batch, and their gradients are
    summed, so that a step is the same as on one process that computes all pieces.
    """

    def __init__(
        self,
        train: FeatureSplit,
        valid: FeatureSplit,
        params: TrainingSections,
        modalities: tuple[Modality, ...],
        root: Path,
    ) -> None:
        runtime, self.params = params.runtime, params
        choose_device(runtime.device)  # a clear error where there is no GPU
        self.accelerator = Accelerator(cpu=runtime.device == "cpu", mixed_precision=runtime.mixed_precision)
        self.rank, self.processes = self.accelerator.process_index, self.accelerator.num_processes
        self.pieces = max(params.train.accumulation, self.processes)
        device, size = self.accelerator.device, params.train.batch_size
        self.train, self.valid = Feeder(train, modalities, size, device), Feeder(valid, modalities, size, device)
        torch.manual_seed(runtime.seed)
        model, self.learning = start_model(train, params, modalities, root)
        self.model = self.accelerator.prepare_model(model, evaluation_mode=True)  # not wrapped: see `_reduce`
        # With millions of weights the plain optimiser takes a third of a step; the fused one has other bits.
        fused = any(spec.learns != MIX for spec in self.learning.values()) or None
        groups, decay = _groups(self._bare(), params), params.train.weight_decay
        optimiser = torch.optim.AdamW(groups, weight_decay=decay, fused=fused)
        self.optimiser = self.accelerator.prepare_optimizer(optimiser)
        labels, classes = torch.from_numpy(self.train.labels), len(train.label_set)
        weights = class_weights(labels, classes, params.objective.class_weight_power)
        self.objective = JointObjective(params.objective, weights).to(device)
        self.best: dict[str, Tensor] = {}
        self.average = WeightAverage(self._bare(), params.train.average_decay)
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
        with self.average.applied(self._bare()):
            row |= self._measure()
            progress.rows.append(row)
            too_early = progress.best_epoch < self.first_choice
            if too_early or self._quality(row) > self._quality(progress.rows[progress.best_epoch]):
                progress.best_epoch = progress.epoch
                self.best = {name: value.detach().cpu().clone() for name, value in self._bare().state_dict().items()}
        progress.epoch += 1
        return row

    def finish(self) -> LSGMER:
        """Return the model of the best epoch in eval mode, in full precision, as it is served.

        What lora learnt becomes part of the weights.
        """
        model: LSGMER = self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        model.load_state_dict(self.best)
        model.eval()
        for name, spec in self.learning.items():
            if spec.learns == "lora":
                merge_lora(model.learning[name])
        return model

    def measure(self, model: Model) -> dict[str, float]:
        """Return the validation metrics of `model`, computed by this process alone."""
        return self._row([self._judge(model, *pair) for pair in self.valid.in_order()])

    def save(self, path: Path, progress: Progress) -> None:
        """Write all that a resumed run needs to `path`, atomically, as safetensors; delete older states there.

        On several processes, the first one writes, and the others wait for it.
        """
        if self.rank == 0:
            self._write(path, progress)
        self.accelerator.wait_for_everyone()

    def _write(self, path: Path, progress: Progress) -> None:
        tensors = {f"model.{k}": v for k, v in self._bare().state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        tensors |= {f"average.{k}": v for k, v in self.average.values.items()}
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
        self.average.restore(_part(tensors, "average."))
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
        factor = schedule(step, total_steps, self.params.train.warmup_share)
        for group in self.optimiser.param_groups:
            group["lr"] = group["base_rate"] * factor
        self.optimiser.zero_grad()
        sums = torch.zeros(3, dtype=torch.float64)
        weights = self.objective.class_weights[labels].sum()
        for number, (piece, truth) in enumerate(divide(batch, labels, self.pieces)):
            if number % self.processes != self.rank:
                continue
            if self.pieces > 1:  # the same noise, whichever process computes the piece
                torch.manual_seed(_noise_seed(self.params.runtime.seed, step, number))
            parts = self.objective(self.model(piece), truth)
            share = self.objective.class_weights[truth].sum() / weights if self.pieces > 1 else 1.0
            parts = parts.scaled(share, len(truth) / len(labels), self.params.objective.consistency_weight)
            self.accelerator.backward(parts.total)
            sums += torch.stack([parts.total, parts.classification, parts.consistency]).detach().double().cpu()
        sums = self._reduce(sums)
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.params.train.max_gradient_norm)
        self.optimiser.step()
        self._bare().memory.update()
        self.average.update(self._bare())
        return sums.numpy()

    def _reduce(self, sums: Tensor) -> Tensor:
        """Sum gradients over all processes, in place, and return the sum of `sums`."""
        if self.processes == 1:
            return sums
        learnt = [p for p in self.model.parameters() if p.requires_grad]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in learnt])
        torch.distributed.all_reduce(flat)
        for parameter, gradient in zip(learnt, torch.split(flat, [p.numel() for p in learnt]), strict=True):
            parameter.grad = gradient.view_as(parameter)
        moved = sums.to(flat.device)
        torch.distributed.all_reduce(moved)
        return moved.cpu()

    @torch.no_grad()
    def _measure(self) -> dict[str, float]:
        """Return the validation split's loss, accuracy and balanced accuracy, and the metric that selects."""
        self.model.eval()
        mine = self.valid.in_order(self.rank, self.processes)
        found = [self._judge(self.model, *pair) for pair in mine]
        shares = [found] if self.processes == 1 else gather_object([found])
        count = -(-len(self.valid.labels) // self.valid.batch_size)
        return self._row([shares[i % self.processes][i // self.processes] for i in range(count)])

    @torch.no_grad()
    def _judge(self, model: torch.nn.Module, batch: Batch, labels: Tensor) -> tuple[Any, float]:
        """Return a batch's predicted labels (B,) and its summed loss."""
        output = model(batch)
        loss = float(self.objective(output, labels).total) * len(labels)
        return output.logits.argmax(-1).cpu().numpy(), loss

    def _row(self, batches: Sequence[tuple[Any, float]]) -> dict[str, float]:
        """Return the metrics of the validation split from what `_judge` found, in order."""
        guess, truth = np.concatenate([predicted for predicted, _ in batches]), self.valid.labels
        loss = sum(loss for _, loss in batches)
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


class WeightAverage:
    """The moving average of the weights over the steps, A_t = decay A_(t-1) + (1 - decay) W_t; nothing for decay 0.

    The decay grows with the steps, as (1 + t) / (10 + t) at most, so that the start is soon forgotten.
    """

    def __init__(self, model: LSGMER, decay: float) -> None:
        self.decay = decay
        self.values = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad} if decay else {}
        if decay:
            self.values["steps"] = torch.zeros((), dtype=torch.int64)

    @torch.no_grad()
    def update(self, model: LSGMER) -> None:
        """Move the average towards the weights of `model`."""
        if not self.decay:
            return
        self.values["steps"] += 1
        steps = int(self.values["steps"])
        decay = min(self.decay, (1 + steps) / (10 + steps))
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                self.values[name].lerp_(parameter, 1 - decay)

    @contextmanager
    def applied(self, model: LSGMER) -> Iterator[None]:
        """Put the average into `model` for a while."""
        own = {n: p.detach().clone() for n, p in model.named_parameters() if n in self.values}
        self._put(model, self.values)
        try:
            yield
        finally:
            self._put(model, own)

    def restore(self, values: dict[str, Tensor]) -> None:
        """Set the average to saved `values`."""
        for name, value in values.items():
            self.values[name].copy_(value)

    @torch.no_grad()
    def _put(self, model: LSGMER, values: dict[str, Tensor]) -> None:
        for name, parameter in model.named_parameters():
            if name in values:
                parameter.copy_(values[name])


def _groups(model: LSGMER, params: TrainingSections) -> list[dict[str, Any]]:
    """Return the optimiser's groups: the head, then the learning layers by depth, each with its `base_rate`."""
    train = params.train
    encoders = [learning for learning in model.learning.values() if not isinstance(learning, WeightedLayers)]
    layers = {id(p) for learning in encoders for p in learning.parameters()}
    head = [p for p in model.parameters() if id(p) not in layers]
    groups = [{"params": head, "lr": train.learning_rate, "base_rate": train.learning_rate}]
    for learning in encoders:
        by_depth: dict[int, list[Tensor]] = {}
        for _, parameter, depth in cast(Any, learning).depths():
            by_depth.setdefault(depth, []).append(parameter)
        for depth, found in sorted(by_depth.items()):
            rate = train.encoder_learning_rate * train.layer_decay**depth
            groups.append({"params": found, "lr": rate, "base_rate": rate})
    return groups


def _noise_seed(seed: int, step: int, piece: int) -> int:
    return int(np.random.default_rng([seed, step, piece]).integers(2**62))


def schedule(step: int, total: int, warmup_share: float) -> float:
    """Return the learning rate's factor at `step` of `total`: linear warm-up, then a cosine to zero."""
    warmup = max(1.0, total * warmup_share)
    if step < warmup:
        return (step + 1) / warmup
    return float(0.5 * (1 + np.cos(np.pi * (step - warmup) / max(1.0, total - warmup))))


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
