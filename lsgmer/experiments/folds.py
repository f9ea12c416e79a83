"""Folds: which utterances train, validate and test. Only an official or a leaky protocol may share speakers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lsgmer.core.errors import LsgmerError, ParamsError
from lsgmer.core.records import SPLITS, Split
from lsgmer.experiments.plan import LEAKY, Protocol
from lsgmer.manifests.params import ManifestParams
from lsgmer.manifests.splits import split_of

Array = np.ndarray[Any, Any]
LEAKY_FOLDS = 5
SHOWN = 5  # names that a message lists


@dataclass(frozen=True, slots=True)
class Unit:
    """What a protocol may use of an utterance: its speaker, its session, and the corpus's own split."""

    speaker: str
    session: str | None
    split: Split | None


@dataclass(frozen=True, slots=True)
class Fold:
    """Rows (N,) of each split; `shared_speakers` are the test speakers who are in train or valid too."""

    train: Array
    valid: Array
    test: Array
    shared_speakers: tuple[str, ...] = ()

    def of(self, split: Split) -> Array:
        """Return the rows of one split."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[split]


def folds(units: Sequence[Unit], protocol: Protocol) -> list[Fold]:
    """Return the protocol's folds over `units`: each row is in one split of every fold, in `loso` in test exactly once.

    Raises LsgmerError when a split is empty, a session is missing, or a speaker would be on both sides.
    """
    made = [_fold(units, parts, protocol) for parts in _KINDS[protocol.kind](units, protocol)]
    return made


def fold_of(units: Sequence[Unit], protocol: Protocol, number: int) -> Fold:
    """Return fold `number`. Raises ParamsError, which says how many there are, for one that does not exist."""
    made = folds(units, protocol)
    if not 0 <= number < len(made):
        raise ParamsError(f"fold {number} does not exist: {protocol.title} gives folds 0 to {len(made) - 1} here")
    return made[number]


def _official(units: Sequence[Unit], protocol: Protocol) -> list[list[Split]]:
    bare = sum(unit.split is None for unit in units)
    if bare:
        raise LsgmerError(
            f"protocol official: {bare} utterances have no split of the corpus's own; use loso or holdout"
        )
    return [[unit.split or "train" for unit in units]]


def _holdout(units: Sequence[Unit], protocol: Protocol) -> list[list[Split]]:
    shares = {"valid_share": protocol.valid_share, "test_share": protocol.test_share}
    params = ManifestParams(split=protocol.by, salt=protocol.salt, **shares)
    return [[split_of(name, params) for name in _names(units, protocol)]]


def _loso(units: Sequence[Unit], protocol: Protocol) -> list[list[Split]]:
    names = _names(units, protocol)
    groups = sorted(set(names))
    count = protocol.folds or len(groups)
    if not protocol.valid_groups + 2 <= count <= len(groups):
        raise LsgmerError(
            f"protocol loso: {len(groups)} {protocol.by}s in {count} folds, of which {protocol.valid_groups} validate "
            "and one tests, leave nothing to train on, or empty folds; change folds or valid_groups"
        )
    place = {name: index % count for index, name in enumerate(groups)}
    divided: list[list[Split]] = []
    for test in range(count):
        valid = {(test + step) % count for step in range(1, protocol.valid_groups + 1)}
        parts = {
            name: "test" if fold == test else "valid" if fold in valid else "train" for name, fold in place.items()
        }
        divided.append([_split(parts[name]) for name in names])
    return divided


def _leaky(units: Sequence[Unit], protocol: Protocol) -> list[list[Split]]:
    count = protocol.folds or LEAKY_FOLDS
    place = np.random.default_rng(len(units)).permutation(len(units)) % count
    return [
        ["test" if p == test else "valid" if p == (test + 1) % count else "train" for p in place]
        for test in range(count)
    ]


_KINDS = {"official": _official, "holdout": _holdout, "loso": _loso, LEAKY: _leaky}


def _fold(units: Sequence[Unit], parts: Sequence[Split], protocol: Protocol) -> Fold:
    rows = {
        split: np.array([row for row, part in enumerate(parts) if part == split], dtype=np.int64) for split in SPLITS
    }
    empty = [split for split in SPLITS if not len(rows[split])]
    if empty:
        raise LsgmerError(f"protocol {protocol.kind}: a fold has no {' or '.join(empty)} utterances; change its shares")
    heard = {units[row].speaker for split in ("train", "valid") for row in rows[_split(split)]}
    shared = tuple(sorted(heard & {units[row].speaker for row in rows["test"]}))
    chosen_on = {units[row].speaker for row in rows["valid"]} & {units[row].speaker for row in rows["train"]}
    if (shared or chosen_on) and protocol.kind not in ("official", LEAKY):
        both = sorted({*shared, *chosen_on})
        raise LsgmerError(
            f"protocol {protocol.kind} by {protocol.by}: {len(both)} speakers would be on both sides, such as "
            f"{', '.join(both[:SHOWN])}; divide by speaker, or correct the sessions"
        )
    return Fold(rows["train"], rows["valid"], rows["test"], shared)


def _names(units: Sequence[Unit], protocol: Protocol) -> list[str]:
    if protocol.by == "speaker":
        return [unit.speaker for unit in units]
    nameless = sum(unit.session is None for unit in units)
    if nameless:
        raise LsgmerError(
            f"protocol by session: {nameless} utterances have none; name its column in corpus.columns.session"
        )
    return [str(unit.session) for unit in units]


def _split(name: str) -> Split:
    return next(split for split in SPLITS if split == name)
