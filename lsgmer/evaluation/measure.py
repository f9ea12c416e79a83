"""Fused model, controls and baselines, measured on the test split."""

from __future__ import annotations

import io
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import Workspace, write_atomically
from lsgmer.core.records import MIX, MODALITIES
from lsgmer.evaluation import plots
from lsgmer.evaluation.challenger import BATCH
from lsgmer.evaluation.params import EvaluationSections
from lsgmer.evaluation.records import IncumbentComparison, Metrics, Robustness
from lsgmer.evaluation.report import render
from lsgmer.features.store import FeatureSplit
from lsgmer.inference.outputs import predict_split
from lsgmer.manifests.validated import ValidatedManifest
from lsgmer.metrics import (
    ModelMetrics,
    bootstrap_interval,
    expected_calibration_error,
    paired_bootstrap,
    summarise,
)
from lsgmer.model import checkpoint
from lsgmer.model.ensemble import Ensemble, Model
from lsgmer.model.linear import load_linear
from lsgmer.model.lsgmer import LSGMER
from lsgmer.model.pooling import WeightedLayers
from lsgmer.model.train_card import CARD, Calibration, TrainCard, speaker_digest

Array = np.ndarray[Any, Any]
UNKNOWN = "fused_unknown_speakers"  # the fused model, without its speakers' own audio levels
Groups = dict[str, dict[str, Array]]  # kind -> name -> rows


@dataclass(frozen=True, slots=True)
class Scored:
    """One model's predictions: probabilities (N, C); attribution (N, C) and consistency (N,) if it has them."""

    probabilities: Array
    attribution: Array | None = None
    consistency: Array | None = None

    @property
    def guess(self) -> Array:
        """The predicted class indices (N,)."""
        return np.asarray(self.probabilities.argmax(1))


def check(test: FeatureSplit, card: TrainCard, manifest: ValidatedManifest) -> None:
    """Raise LsgmerError unless this is a non-empty test split of the manifest that the model was trained on."""
    remedy = "run `dvc repro`"
    if test.split != "test":
        raise LsgmerError(f"data/features/test holds the {test.split} split; {remedy}")
    if not len(test):
        raise LsgmerError("the test split has no utterances: nothing to evaluate on; give the corpus a test split")
    if not test.manifest_sha256 == card.manifest_sha256 == manifest.sha256:
        raise LsgmerError(
            f"test features, model and data/validate come from different manifests ({test.manifest_sha256[:12]}, "
            f"{card.manifest_sha256[:12]}, {manifest.sha256[:12]}); {remedy}"
        )


def heard_before(test: FeatureSplit, card: TrainCard) -> list[str]:
    """Return a note if test speakers were seen in training, which only an official split may do."""
    heard = sum(speaker_digest(speaker) in card.seen_speakers for speaker in test.speakers)
    share = f"{heard} of {len(test)} test utterances are of speakers that training knew"
    return [f"NOT SPEAKER-INDEPENDENT: {share}"] if heard else []


def prior(manifest: ValidatedManifest) -> Array:
    """Return the shares (C,) of the labels in the training split, which the majority baseline predicts."""
    names = manifest.labels.names
    labels = [names.index(u.emotion) for u in manifest.utterances if u.split == "train"]
    counts = np.bincount(labels, minlength=len(names))
    return np.asarray(counts / counts.sum())


def score(
    workspace: Workspace, params: EvaluationSections, test: FeatureSplit, guess: Array, notes: list[str]
) -> dict[str, Scored]:
    """Return the predictions of fused, the controls that exist, linear and majority, by name.

    For an utterance with nothing that a model reads, its prediction is `guess` (C,), the label shares in training; a
    note is then added to `notes`. Raises LsgmerError when a checkpoint does not load or has other labels than `test`.
    """
    controls = workspace.data("controls")
    folders = {"fused": workspace.data("train")}
    folders |= {name: controls / name for name in MODALITIES if (controls / name / CARD).is_file()}
    models = {}
    unknown = None
    for name, folder in folders.items():
        model, card = checkpoint.load(folder)
        if card.labels != test.label_set:
            raise LsgmerError(f"{folder}: its labels are {card.labels.names}, the test split's {test.label_set.names}")
        outputs = predict_split(model, test, BATCH, device=params.runtime.device)
        blind = ~outputs.readable
        if blind.any():
            notes.append(f"{name}: {blind.sum()} of {len(test)} utterances have nothing it reads; it guesses there")
        probabilities = np.where(blind[:, None], guess, outputs.probabilities)
        models[name] = Scored(probabilities, outputs.attribution, outputs.consistency)
        if name == "fused":
            notes += mix_weights(model, card) + texts_cut(test, card) + automatic_words(test, card)
        if name == "fused" and test.levels is not None:
            outputs = predict_split(model, speakers_unknown(test), BATCH, device=params.runtime.device)
            unknown = np.where(~outputs.readable[:, None], guess, outputs.probabilities)
    if unknown is not None:
        models[UNKNOWN] = Scored(unknown)
    models["linear"] = Scored(load_linear(controls / "linear").probabilities(test))
    models["majority"] = Scored(np.tile(guess, (len(test), 1)))
    return models


def texts_cut(test: FeatureSplit, card: TrainCard) -> list[str]:
    """Return a note if some texts of the test split are longer than what the model reads."""
    spec, count = card.encoders.get("text"), test.counts.get("text_cut", 0)
    if spec is None or not count:
        return []
    most = spec.settings.get("max_tokens")
    return [f"text: {count} of {test.counts['text']} test utterances are longer than {most} tokens and were cut there"]


def automatic_words(test: FeatureSplit, card: TrainCard) -> list[str]:
    """Return a note on how many words of the test split a machine wrote, where one was asked to."""
    if test.transcriber is None or card.encoders.get("text") is None:
        return []
    refused = test.counts.get("not_transcribed", 0)
    return [
        f"text: the words of {sum(test.automatic)} of {len(test)} test utterances are automatic "
        f"({test.transcriber.kind}); of {refused} more the words are missing, as none were believed"
    ]


def with_words(manifest: ValidatedManifest, test: FeatureSplit) -> ValidatedManifest:
    """Return the manifest with the words that `test` was made of: true ones, and automatic ones where it has them."""
    automatic = {name: text for name, text, made in zip(test.ids, test.texts, test.automatic, strict=False) if made}
    if not automatic:
        return manifest
    filled = tuple(replace(u, text=automatic[u.id]) if u.id in automatic else u for u in manifest.utterances)
    return replace(manifest, utterances=filled)


def mix_weights(model: Model, card: TrainCard) -> list[str]:
    """Return a note per modality whose layers are mixed: each layer's weight, the mean over an ensemble's members."""
    notes = []
    for name, learnt in sorted(card.learning.items()):
        spec = card.encoders[name]
        if learnt.learns != MIX or spec is None:
            continue
        members = [cast(LSGMER, m) for m in model.members] if isinstance(model, Ensemble) else [model]
        found = [cast(WeightedLayers, member.learning[name]).shares() for member in members]
        shares = np.mean(found, axis=0)
        told = ", ".join(f"{layer}: {share:.3f}" for layer, share in zip(spec.settings["layers"], shares, strict=True))
        notes.append(f"{name}: learnt weights of the encoder's layers: {told}")
    return notes


def speakers_unknown(test: FeatureSplit) -> FeatureSplit:
    """Return `test` as a server sees speakers it does not know: with the training data's level removed, not theirs."""
    levels = test.levels
    if levels is None:
        raise ValueError("the levels of this split were never removed")
    return test.with_frames("audio", lambda i, frames: levels.training.remove(levels.of(i).restore(frames)))


def measure(
    test: FeatureSplit,
    models: dict[str, Scored],
    card: TrainCard,
    params: EvaluationSections,
    against: IncumbentComparison | None,
    robustness: tuple[Robustness, ...],
    notes: list[str],
) -> Metrics:
    """Return every metric that the gate and the report read.

    Args:
        test: the test split, N utterances.
        models: each model's predictions for them, by name; `fused` must be among them.
        card: the fused model's card.
        params: the numbers of bootstrap resamples and calibration bins, the smallest group, and the seed.
        against: the comparison with the champion, None without one.
        robustness: what perturbations do to the fused model.
        notes: what the report should mention; groups that are too small are added.

    """
    truth, seed, resamples = test.labels, params.runtime.seed, params.evaluate.bootstrap
    groups = partition(test, params.evaluate.min_group, notes)
    fused = models["fused"].guess
    rivals = [name for name in ("audio", "text", "linear") if name in models]
    every = np.arange(len(test))
    return Metrics(
        labels=test.label_set.names,
        chance=1 / len(np.unique(truth)),
        n_speakers=len(set(test.speakers)),
        models={name: summary(found, test, every, params) for name, found in models.items()},
        differences={
            f"fused-{name}": paired_bootstrap(truth, fused, models[name].guess, resamples, seed) for name in rivals
        },
        groups={
            kind: {name: summary(models["fused"], test, rows, params) for name, rows in parts.items()}
            for kind, parts in groups.items()
        },
        subgroup_models={
            tag: {
                name: bootstrap_interval(truth[rows], found.guess[rows], resamples, seed)
                for name, found in models.items()
            }
            for tag, rows in groups["tag"].items()
        },
        incumbent=against,
        weights_sha256=card.weights_sha256,
        calibration=calibration_effect(models["fused"], truth, card, params.evaluate.ece_bins),
        notes=tuple(notes),
        transcribed=sum(test.automatic),
        robustness=robustness,
    )


def calibration_effect(fused: Scored, truth: Array, card: TrainCard, bins: int) -> Calibration | None:
    """Return the fused model's temperature and its ECE on the test split before and after; None without one."""
    if card.calibration is None:
        return None
    temperature = card.calibration.temperature
    return Calibration(
        temperature=temperature,
        ece_before=expected_calibration_error(truth, uncalibrated(fused.probabilities, temperature), bins),
        ece_after=expected_calibration_error(truth, fused.probabilities, bins),
    )


def uncalibrated(probabilities: Array, temperature: float) -> Array:
    """Return probabilities (N, C) as they were before `temperature` was applied."""
    powered = np.maximum(probabilities, np.finfo(np.float64).tiny) ** temperature
    return np.asarray(powered / powered.sum(1, keepdims=True))


def summary(found: Scored, test: FeatureSplit, rows: Array, params: EvaluationSections) -> ModelMetrics:
    """Return the metrics of one model on `rows` of the test split."""
    return summarise(
        test.labels[rows],
        found.probabilities[rows],
        test.label_set.names,
        consistency=None if found.consistency is None else found.consistency[rows],
        bins=params.evaluate.ece_bins,
        resamples=params.evaluate.bootstrap,
        seed=params.runtime.seed,
    )


def partition(test: FeatureSplit, smallest: int, notes: list[str]) -> Groups:
    """Return the rows by sex, speaker (digest) and tag; groups under `smallest` are left out, with a note."""
    found: dict[str, dict[str, list[int]]] = {kind: defaultdict(list) for kind in ("sex", "speaker", "tag")}
    for row, (sex, speaker, tags) in enumerate(zip(test.sexes, test.speakers, test.tags, strict=True)):
        if sex:
            found["sex"][sex].append(row)
        found["speaker"][speaker_digest(speaker)].append(row)
        for tag in sorted(set(tags)):
            found["tag"][tag].append(row)
    for kind, parts in found.items():
        small = [rows for rows in parts.values() if len(rows) < smallest]
        if small:
            count = sum(len(rows) for rows in small)
            notes.append(f"{kind}: {len(small)} groups of fewer than {smallest} utterances left out ({count} in all)")
    return {
        kind: {name: np.array(rows) for name, rows in sorted(parts.items()) if len(rows) >= smallest}
        for kind, parts in found.items()
    }


def write(
    out: Path,
    test: FeatureSplit,
    models: dict[str, Scored],
    metrics: Metrics,
    params: EvaluationSections,
) -> None:
    """Write metrics.json, predictions.parquet, report.md and plots/ to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "metrics.json", metrics.to_json())
    content = io.BytesIO()
    parquet.write_table(predictions(test, models), content, compression="zstd")
    write_atomically(out / "predictions.parquet", content.getvalue())
    speakers = {speaker_digest(speaker): speaker for speaker in test.speakers}
    write_atomically(out / "report.md", render(metrics, speakers))
    fused, names, folder = models["fused"], metrics.labels, out / "plots"
    plots.confusion_matrix(folder / "confusion.png", np.array(metrics.models["fused"].confusion), names)
    ece = metrics.models["fused"].ece
    plots.reliability(folder / "reliability.png", test.labels, fused.probabilities, params.evaluate.ece_bins, ece)
    if metrics.calibration is not None:
        raw = uncalibrated(fused.probabilities, metrics.calibration.temperature)
        plots.reliability(
            folder / "reliability_before.png",
            test.labels,
            raw,
            params.evaluate.ece_bins,
            metrics.calibration.ece_before,
        )
    shown = {name: found for name, found in metrics.models.items() if name != "majority"}
    plots.class_recall(folder / "recall.png", shown, names)
    scores = {"probability": fused.probabilities.max(1), "consistency": fused.consistency}
    known = {name: score for name, score in scores.items() if score is not None}
    plots.risk_by_coverage(folder / "risk_coverage.png", fused.guess == test.labels, known)


def predictions(test: FeatureSplit, models: dict[str, Scored]) -> pa.Table:
    """Return one row per utterance: id, speaker, split, emotion; per model label and probabilities; q, consistency."""
    names, floats = np.array(test.label_set.names), pa.list_(pa.float32())
    columns: dict[str, Any] = {"id": test.ids, "speaker": test.speakers, "split": [test.split] * len(test)}
    columns = {name: pa.array(values, pa.string()) for name, values in (columns | {"emotion": test.emotions}).items()}
    for name, found in models.items():
        columns[f"{name}_emotion"] = pa.array(names[found.guess].tolist(), pa.string())
        columns[f"{name}_probabilities"] = pa.array(found.probabilities.tolist(), floats)
    fused = models["fused"]
    if fused.attribution is not None and fused.consistency is not None:
        columns["attribution"] = pa.array(fused.attribution.tolist(), floats)
        columns["consistency"] = pa.array(fused.consistency.tolist(), pa.float32())
    return pa.table(columns)
