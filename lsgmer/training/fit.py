"""The training loop, shared by `train` and `controls`. It has no parameter through which test data could arrive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsgmer.core.errors import LsgmerError
from lsgmer.core.progress import track
from lsgmer.core.records import MODALITIES, Modality, digest
from lsgmer.core.source import library_versions
from lsgmer.features.store import FeatureSplit
from lsgmer.model.ensemble import Ensemble, Model
from lsgmer.model.logistic import softmax
from lsgmer.model.lsgmer import LSGMER
from lsgmer.model.train_card import Member, speaker_digest
from lsgmer.training.calibrate import calibrate, threshold_for, uncalibrated_logits
from lsgmer.training.launch import is_first
from lsgmer.training.loader import Feeder
from lsgmer.training.params import TrainingSections, TrainParams
from lsgmer.training.trainer import History, Progress, Trainer

SECTIONS = ("runtime", "model", "objective", "train")
STATE_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained model at its best epoch, its metrics by epoch, its card's fields, and its scratch state."""

    model: Model
    history: History
    card: dict[str, Any]
    states: tuple[Path, ...]

    def forget(self) -> None:
        """Remove the scratch state; call this once the stage's results are safely on disk."""
        for state in self.states:
            state.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Run:
    """One member's finished training."""

    trainer: Trainer
    model: LSGMER
    progress: Progress
    state: Path


def fit(
    train: FeatureSplit,
    valid: FeatureSplit,
    params: TrainingSections,
    modalities: tuple[Modality, ...],
    scratch: Path,
    on_epoch: Callable[[dict[str, float]], None] = lambda row: None,
    root: Path | None = None,
) -> Fitted:
    """Train LSGMER on `train`, select the epoch by `train.select` on `valid`, stop early.

    Randomness is drawn from (seed, epoch) and each epoch ends with a checkpoint under `scratch`, so that a
    run that was killed resumes from there with bit-identical results. With `train.members` above 1 that many models
    are trained from successive seeds, and the result is their mean.

    Args:
        train: features of the training split.
        valid: features of the validation split, of the same manifest; used to select the epoch only.
        params: the sections that training reads.
        modalities: what the model may read; those without features are left out.
        scratch: folder for the state that an interrupted run resumes from.
        on_epoch: called with each epoch's metrics, including epochs that an earlier, killed run had finished;
            of an ensemble, each row has its `member`, from 0.
        root: what an encoder's folder is relative to, if layers of it should learn (default: the current folder).

    Returns:
        The model of the best epoch, on the CPU in eval mode, and what `checkpoint.save` writes with it.

    Raises:
        LsgmerError: the two splits do not belong together, or have nothing that the model reads.

    """
    check_parts(train, valid)
    chosen = tuple(name for name in MODALITIES if name in modalities and name in train.dimensions)
    count, history = params.train.members, list[dict[str, float]]()
    runs: list[_Run] = []

    def note(row: dict[str, float]) -> None:
        history.append(row | {"member": float(len(runs))} if count > 1 else row)
        on_epoch(history[-1])

    for member in range(count):
        seeded = params.model_copy(
            update={"runtime": params.runtime.model_copy(update={"seed": params.runtime.seed + member})}
        )
        mark = f"member {member + 1} of {count}" if count > 1 else ""
        runs.append(_train(train, valid, seeded, chosen, scratch, note, root or Path.cwd(), mark))
    first = runs[0]
    model: Model = Ensemble([run.model for run in runs]).eval() if count > 1 else first.model
    card = card_fields(train, valid, params, chosen, first.progress)
    card |= {"learning": first.trainer.learning}
    if count > 1:
        card |= {"members": tuple(map(_member, runs)), "valid_metrics": first.trainer.measure(model)}
    card |= _fit_to_valid(model, first.trainer.valid, params.train)
    return Fitted(model.cpu(), history, card, tuple(run.state for run in runs))


def _fit_to_valid(model: Model, valid: Feeder, params: TrainParams) -> dict[str, Any]:
    """Set the temperature of `model`, if asked for, and return what of the card was fitted on the validation split."""
    logits, labels = uncalibrated_logits(model, valid), valid.labels
    calibration = calibrate(logits, labels) if params.calibrate else None
    temperature = 1.0 if calibration is None else calibration.temperature
    model.temperature_scale.fill_(temperature)
    threshold = threshold_for(softmax(logits / temperature), labels, params.abstain_risk)
    return {"calibration": calibration, "abstention": threshold}


def _train(
    train: FeatureSplit,
    valid: FeatureSplit,
    params: TrainingSections,
    chosen: tuple[Modality, ...],
    scratch: Path,
    on_epoch: Callable[[dict[str, float]], None],
    root: Path,
    mark: str,
) -> _Run:
    """Train one model to its end; `mark` says which of several it is."""
    trainer = Trainer(train, valid, params, chosen, root)
    key = digest([STATE_FORMAT, train.sha256, valid.sha256, params.sections(*SECTIONS), chosen, library_versions()])
    folder = "-".join(["fit", *chosen, *mark.split()])
    state = scratch / folder / f"{key[:16]}.safetensors"
    progress = trainer.restore(state)
    for row in progress.rows:
        on_epoch(row)
    if progress.epoch and is_first():
        print(f"{mark}: resuming".removeprefix(": ") + f" after epoch {progress.epoch}", flush=True)
    total, what = params.train.epochs, f"{'+'.join(chosen)} {mark}".rstrip()
    epochs = range(progress.epoch, total)
    for _ in track(epochs, total, f"train {what}", start=progress.epoch) if is_first() else epochs:
        if progress.epoch - 1 - progress.best_epoch >= params.train.patience:
            break
        on_epoch(trainer.epoch(progress))
        trainer.save(state, progress)
    return _Run(trainer, trainer.finish(), progress, state)


def _member(run: _Run) -> Member:
    return Member(
        seed=run.trainer.params.runtime.seed,
        best_epoch=run.progress.best_epoch,
        epochs_run=run.progress.epoch,
        valid_metrics=_valid_metrics(run.progress),
    )


def check_parts(train: FeatureSplit, valid: FeatureSplit) -> None:
    """Raise LsgmerError unless these are non-empty, disjoint train and valid splits of one extraction."""
    if (train.split, valid.split) != ("train", "valid"):
        raise LsgmerError(f"fit reads the train and valid splits only, got {train.split} and {valid.split}")
    if shared := sorted(set(train.ids) & set(valid.ids)):
        raise LsgmerError(f"train and valid share {len(shared)} utterances, such as {shared[:3]}; rebuild the manifest")
    if (
        train.manifest_sha256 != valid.manifest_sha256
        or train.label_set != valid.label_set
        or train.specs != valid.specs
        or train.transcriber != valid.transcriber
    ):
        raise LsgmerError("train and valid features come from different runs; run `dvc repro features`")
    if not len(train) or not len(valid):
        raise LsgmerError(f"nothing to learn from: {len(train)} training and {len(valid)} validation utterances")


def card_fields(
    train: FeatureSplit,
    valid: FeatureSplit,
    params: TrainingSections,
    modalities: tuple[Modality, ...],
    progress: Progress,
) -> dict[str, Any]:
    """Return TrainCard's fields, except those about the weights, which `checkpoint.save` adds."""
    return {
        "variant": "+".join(modalities),
        "labels": train.label_set,
        "encoders": {name: train.specs.get(name) if name in modalities else None for name in MODALITIES},
        "params": params.sections(*SECTIONS),
        "manifest_sha256": train.manifest_sha256,
        "feature_sha256": {"train": train.sha256, "valid": valid.sha256},
        "seed": params.runtime.seed,
        "best_epoch": progress.best_epoch,
        "epochs_run": progress.epoch,
        "valid_metrics": _valid_metrics(progress),
        "split_counts": {"train": len(train), "valid": len(valid)},
        "seen_speakers": tuple(sorted({speaker_digest(s) for s in (*train.speakers, *valid.speakers)})),
        "versions": library_versions(),
        "normalise": train.normalise if "audio" in modalities else "none",
        **(_automatic(train, valid) if "text" in modalities else {}),
    }


def _automatic(*splits: FeatureSplit) -> dict[str, Any]:
    """Return what wrote words that were missing, and for how many utterances of each split; nothing without it."""
    if splits[0].transcriber is None:
        return {}
    return {"transcriber": splits[0].transcriber, "transcribed": {one.split: sum(one.automatic) for one in splits}}


def _valid_metrics(progress: Progress) -> dict[str, float]:
    row = progress.rows[progress.best_epoch]
    return {name: value for name, value in row.items() if name.startswith("valid_")}
