"""Stored features split again in memory, so that all folds share one extraction; cut or normalised if asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import MODALITIES, Modality, Split, digest
from lsgmer.features.normalise import levels_of
from lsgmer.features.store import FeatureSplit, Levels

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
        automatic=tuple(whole.automatic[place] for place in places) if whole.automatic else (),
        emotions=tuple(whole.emotions[place] for place in places),
        labels=whole.labels[places],
        flat=flat,
        offsets=offsets,
        sha256=digest([whole.sha256, split, ids]),
        summaries={name: rows[places] for name, rows in whole.summaries.items()},
        levels=None if whole.levels is None else replace(whole.levels, rows=whole.levels.rows[places]),
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
        automatic=chain("automatic"),
        emotions=chain("emotions"),
        labels=np.concatenate([part.labels for part in parts]),
        flat={name: np.concatenate([part.flat[name] for part in parts]) for name in present},
        offsets={name: np.concatenate([[0], np.cumsum(lengths[name])]).astype(np.int64) for name in present},
        sha256=digest([part.sha256 for part in parts]),
        levels=_joined([part.levels for part in parts if part.levels is not None]),
        summaries={name: np.concatenate([part.summaries[name] for part in parts]) for name in first.summaries},
    )


def _joined(levels: Sequence[Levels]) -> Levels | None:
    if not levels:
        return None
    starts = np.cumsum([0, *(len(each.groups) for each in levels)])
    return Levels(
        groups=tuple(level for each in levels for level in each.groups),
        rows=np.concatenate([each.rows + start for each, start in zip(levels, starts, strict=False)]),
        training=levels[0].training,
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


def speaker_normalised(split: FeatureSplit, modality: Modality) -> FeatureSplit:
    """Return `split` with each speaker's frames of `modality` at mean 0 and standard deviation 1 per feature.

    Mean and deviation (D,) are over all frames of the speaker's own utterances in `split`; labels and other speakers
    are not read. The result is in memory, its sha256 derived from the split's. Raises KeyError for a modality that
    the split lacks, and LsgmerError for a split whose levels have been removed already.
    """
    if split.normalise != "none":
        raise LsgmerError(
            f"the source's features.normalise is {split.normalise} already: leave normalise out of the study"
        )
    pieces = ((i, frames) for i in range(len(split)) if (frames := split.features(modality, i)) is not None)
    levels = levels_of(split.speakers, pieces)
    done = split.with_frames(modality, lambda i, frames: levels[split.speakers[i]].remove(frames))
    return replace(done, sha256=digest([split.sha256, "speaker_normalised/2", modality]))
