"""Stored features split again in memory, so that all folds share one extraction; cut or normalised if asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import MODALITIES, Modality, Split, digest
from lsgmer.features.store import FeatureSplit

Array = np.ndarray[Any, Any]


def select(whole: FeatureSplit, rows: Sequence[int] | Array, split: Split) -> FeatureSplit:
    """Return utterances `rows` of `whole`, in that order, as the split `split`.

    Frames are copied, so the result holds no others. Its `sha256` is a digest of whole's, the split and the ids.
    """
    places = [int(row) for row in rows]
    flat: dict[Modality, Array] = {}
    offsets: dict[Modality, Array] = {}
    for name in whole.offsets:
        starts, lengths = whole.offsets[name][:-1][places], whole.lengths(name)[places]
        pieces = [whole.flat[name][s : s + n] for s, n in zip(starts, lengths, strict=True) if n]
        flat[name] = np.concatenate(pieces) if pieces else np.zeros((0, whole.flat[name].shape[1]), np.float32)
        offsets[name] = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = tuple(whole.ids[place] for place in places)
    return replace(
        whole,
        split=split,
        ids=ids,
        speakers=tuple(whole.speakers[place] for place in places),
        sessions=tuple(whole.sessions[place] for place in places),
        sexes=tuple(whole.sexes[place] for place in places),
        tags=tuple(whole.tags[place] for place in places),
        texts=tuple(whole.texts[place] for place in places),
        emotions=tuple(whole.emotions[place] for place in places),
        labels=whole.labels[places],
        flat=flat,
        offsets=offsets,
        sha256=digest([whole.sha256, split, ids]),
    )


def join(parts: Sequence[FeatureSplit]) -> FeatureSplit:
    """Return all utterances of `parts`, one after another. Raises LsgmerError when they are not of one extraction."""
    first = parts[0]
    for part in parts[1:]:
        if (part.manifest_sha256, part.label_set, part.specs) != (first.manifest_sha256, first.label_set, first.specs):
            raise LsgmerError(f"{part.split} and {first.split} features come from different runs; extract them again")

    def chain(name: str) -> tuple[Any, ...]:
        return tuple(value for part in parts for value in getattr(part, name))

    present = [name for name in MODALITIES if name in first.offsets]
    lengths = {name: np.concatenate([part.lengths(name) for part in parts]) for name in present}
    return replace(
        first,
        ids=chain("ids"),
        speakers=chain("speakers"),
        sessions=chain("sessions"),
        sexes=chain("sexes"),
        tags=chain("tags"),
        texts=chain("texts"),
        emotions=chain("emotions"),
        labels=np.concatenate([part.labels for part in parts]),
        flat={name: np.concatenate([part.flat[name] for part in parts]) for name in present},
        offsets={name: np.concatenate([[0], np.cumsum(lengths[name])]).astype(np.int64) for name in present},
        sha256=digest([part.sha256 for part in parts]),
    )


def few_per_class(labels: Array, rows: Array, per_class: int, seed: int) -> Array:
    """Return `per_class` of `rows` for each class of `labels` (N,), all of a class that has fewer, in their order.

    Each class's rows are shuffled by (seed, class) and the first ones taken, so that fewer are a subset of more.
    """
    kept: list[int] = []
    for label in np.unique(labels[rows]):
        own = rows[labels[rows] == label]
        order = np.random.default_rng([seed, int(label)]).permutation(len(own))
        kept += own[order[:per_class]].tolist()
    wanted = set(kept)
    return np.array([row for row in rows.tolist() if row in wanted], dtype=np.int64)


def shuffled_labels(part: FeatureSplit, seed: int) -> FeatureSplit:
    """Return `part` with its labels shuffled: nothing but chance can be learnt from it, unless data leaks."""
    order = np.random.default_rng(seed).permutation(len(part))
    emotions = tuple(part.emotions[row] for row in order)
    return replace(part, labels=part.labels[order], emotions=emotions, sha256=digest([part.sha256, "shuffled", seed]))


SMALLEST = 1e-6  # a feature that varies less than this within a speaker is not scaled


def speaker_normalised(split: FeatureSplit, modality: Modality) -> FeatureSplit:
    """Return `split` with each speaker's frames of `modality` at mean 0 and standard deviation 1 per feature.

    Mean and deviation (D,) are over all frames of the speaker's own utterances in `split`, in float64; labels and
    other speakers are not read. Features that are constant within a speaker become 0. The result is in memory, its
    sha256 derived from the split's. Raises KeyError for a modality that the split lacks.
    """
    frames = np.array(split.flat[modality], dtype=np.float32)
    speaker_of_frame = np.repeat(np.asarray(split.speakers, dtype=object), split.lengths(modality))
    for speaker in sorted(set(split.speakers)):
        rows = speaker_of_frame == speaker
        if rows.any():
            frames[rows] = _standardised(frames[rows].astype(np.float64))
    sha256 = digest([split.sha256, "speaker_normalised/1", modality])
    return replace(split, flat={**split.flat, modality: frames}, sha256=sha256)


def _standardised(values: Array) -> Array:
    """Return values (T, D) minus their mean, divided by their standard deviation unless it is tiny."""
    deviation = values.std(axis=0)
    centred = values - values.mean(axis=0)
    return np.asarray(centred / np.where(deviation > SMALLEST, deviation, 1.0))
