"""Trains a variant on a fold's train and valid splits, and only then predicts its test split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import Modality
from lsgmer.experiments.baselines import BASELINES, Baseline, BaselineParams, tfidf
from lsgmer.experiments.folds import Fold
from lsgmer.experiments.plan import Variant
from lsgmer.experiments.resplit import select, shuffled_labels
from lsgmer.features.store import FeatureSplit
from lsgmer.inference.outputs import consistency, predict_split
from lsgmer.model.logistic import Candidate
from lsgmer.training.fit import fit

Array = np.ndarray[Any, Any]
BATCH = 64


@dataclass(frozen=True, slots=True)
class Answers:
    """A variant's predictions on the test split: probabilities (N, C), and what only LSGMER has (None otherwise)."""

    probabilities: Array
    attribution: Array | None = None
    consistency: Array | None = None
    fused: Array | None = None
    label_embeddings: Array | None = None
    history: tuple[dict[str, float], ...] = ()
    best_epoch: int | None = None
    parameters: int = 0
    c: float | None = None
    candidates: tuple[Candidate, ...] = ()


def answer(
    whole: FeatureSplit,
    fold: Fold,
    variant: Variant,
    params: BaselineParams,
    scratch: Path,
    encoders: Path | None = None,
) -> Answers:
    """Train `variant` on the fold's train and valid splits; only then predict its test split, once.

    An encoder in a folder, whose layers should learn, is relative to `encoders`.
    """
    train, valid = select(whole, fold.train, "train"), select(whole, fold.valid, "valid")
    if variant.shuffle_labels:
        train = shuffled_labels(train, params.runtime.seed)
        valid = shuffled_labels(valid, params.runtime.seed)
    if variant.kind in BASELINES:
        return _baseline(whole, fold, BASELINES[variant.kind](train, valid, params))
    groups: list[tuple[Modality, ...]] = [variant.modalities]
    if variant.kind == "late":
        groups = [(name,) for name in variant.modalities]
    elif variant.kind == "late_tfidf":
        groups = [("audio",)]
    made = [_lsgmer(whole, fold, train, valid, params, group, scratch, encoders) for group in groups]
    if variant.kind == "late_tfidf":
        made.append(_baseline(whole, fold, tfidf(train, valid, params)))
    return made[0] if len(made) == 1 else _averaged(made)


def _baseline(whole: FeatureSplit, fold: Fold, made: Baseline) -> Answers:
    found = made.predict(select(whole, fold.test, "test"))
    return Answers(found, c=made.c, candidates=made.candidates)


def _lsgmer(
    whole: FeatureSplit,
    fold: Fold,
    train: FeatureSplit,
    valid: FeatureSplit,
    params: BaselineParams,
    modalities: tuple[Modality, ...],
    scratch: Path,
    encoders: Path | None,
) -> Answers:
    if not any(name in whole.dimensions for name in modalities):
        raise LsgmerError(f"the features have no {' and no '.join(modalities)}: leave this variant out of the grid")
    fitted = fit(train, valid, params, modalities, scratch, root=encoders)
    outputs = predict_split(fitted.model, select(whole, fold.test, "test"), BATCH)
    readable, prior = outputs.readable[:, None], np.bincount(train.labels, minlength=len(train.label_set)) / len(train)
    return Answers(
        probabilities=np.where(readable, outputs.probabilities, prior),
        attribution=outputs.attribution,
        consistency=outputs.consistency,
        fused=outputs.fused,
        label_embeddings=fitted.model.label_embeddings.numpy(),
        history=tuple(fitted.history),
        best_epoch=int(fitted.card["best_epoch"]),
        parameters=sum(parameter.numel() for parameter in fitted.model.parameters()),
    )


def _averaged(made: list[Answers]) -> Answers:
    """Late fusion: average the predictions of separately trained models; the attributions too, if all have one."""
    probabilities = np.mean([found.probabilities for found in made], axis=0)
    attributions = [found.attribution for found in made if found.attribution is not None]
    attribution = np.mean(attributions, axis=0) if len(attributions) == len(made) else None
    return Answers(
        probabilities=probabilities,
        attribution=attribution,
        consistency=None if attribution is None else consistency(attribution, probabilities),
        parameters=sum(found.parameters for found in made),
        c=made[-1].c,
        candidates=made[-1].candidates,
    )
