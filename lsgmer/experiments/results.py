"""Reads back the cells of a study, seed by seed, for the report's tables and pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet

from lsgmer.core.errors import LsgmerError
from lsgmer.experiments.cell import CARD, FUSED, PREDICTIONS, CellCard, cell_folder, load_card, settings_sha256
from lsgmer.experiments.plan import Cell, Plan

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """One variant with one seed over all of its folds: rows (N,) in the order of their ids.

    `fold` (N,) says which fold tested a row; consistency (N,) is NaN where the variant has none.
    """

    seed: int
    ids: tuple[str, ...]
    truth: Array
    probabilities: Array
    consistency: Array
    fold: Array
    cards: tuple[CellCard, ...]

    @property
    def guess(self) -> Array:
        """The predicted class indices (N,)."""
        return np.asarray(self.probabilities.argmax(1))


@dataclass(frozen=True, slots=True)
class StudyResults:
    """All runs of a study by variant; `missing` cells are not there, `stale` ones were run with other settings."""

    name: str
    runs: dict[str, tuple[Run, ...]]
    missing: int
    stale: int
    seconds: float
    root: Path

    @property
    def cards(self) -> list[CellCard]:
        """Every cell's card."""
        return [card for runs in self.runs.values() for run in runs for card in run.cards]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in logit order."""
        return self.cards[0].labels


def collect(root: Path, plan: Plan, study: str, cells: Sequence[Cell]) -> StudyResults:
    """Read the finished cells of `study`; a variant counts with a seed only when all its folds are there.

    Raises LsgmerError for a cell that cannot be read, or variants that were tested on different utterances.
    """
    wanted = [cell for cell in cells if cell.study == study]
    present = [cell for cell in wanted if (cell_folder(root, cell) / CARD).is_file()]
    cards = {cell: load_card(cell_folder(root, cell)) for cell in present}
    stale = [cell for cell in present if cards[cell].settings_sha256 != settings_sha256(root, plan, cell)]
    usable = defaultdict(list)
    for cell in present:
        if cell not in stale:
            usable[cell.variant, cell.seed].append(cell)
    folds = {cell.fold for cell in wanted}
    runs: dict[str, list[Run]] = defaultdict(list)
    for (variant, seed), found in usable.items():
        if {cell.fold for cell in found} == folds:
            runs[variant].append(_run(root, seed, found, cards))
    _demand_same_rows(study, runs)
    seconds = sum(_seconds(root, cell) for cell in present)
    kept = {variant: tuple(found) for variant, found in runs.items()}
    return StudyResults(study, kept, len(wanted) - len(present), len(stale), seconds, root)


def fused_of(results: StudyResults, variant: str) -> tuple[Array, Array, Array] | None:
    """Return fused features (N, D), their true classes (N,) and label embeddings (C, D) of the variant's first cell.

    It takes a single cell because every model has its own feature space. None if the variant does not `keep_fused`.
    """
    if variant not in results.runs:
        return None
    run = results.runs[variant][0]
    card = min(run.cards, key=lambda card: card.fold)
    path = cell_folder(results.root, Cell("", card.study, card.variant, card.fold, card.seed)) / FUSED
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        fused, labels = arrays["fused"].astype(np.float64), arrays["labels"].astype(np.float64)
    truth = parquet.read_table(path.with_name(PREDICTIONS)).column("label").to_numpy()
    return fused, truth, labels


def _run(root: Path, seed: int, cells: Sequence[Cell], cards: dict[Cell, CellCard]) -> Run:
    rows: list[tuple[str, int, list[float], float, int]] = []
    for cell in sorted(cells):
        table = parquet.read_table(cell_folder(root, cell) / PREDICTIONS).to_pydict()
        trust = table.get("consistency", [float("nan")] * len(table["id"]))
        rows += zip(table["id"], table["label"], table["probabilities"], trust, [cell.fold] * len(trust), strict=True)
    rows.sort(key=lambda row: row[0])
    ids, truth, probabilities, trust, fold = zip(*rows, strict=True)
    if len(set(ids)) < len(ids):
        raise LsgmerError(f"{cells[0].study} {cells[0].variant}: an utterance was tested in two folds")
    arrays = (np.array(truth), np.array(probabilities), np.array(trust), np.array(fold))
    return Run(seed, tuple(ids), *arrays, cards=tuple(cards[cell] for cell in sorted(cells)))


def _demand_same_rows(study: str, runs: dict[str, list[Run]]) -> None:
    tested = {run.ids for found in runs.values() for run in found}
    if len(tested) > 1:
        raise LsgmerError(
            f"{study}: its cells were tested on different utterances ({sorted(map(len, tested))}); "
            "the features changed in between: run `lsgmer experiments run` again"
        )


def _seconds(root: Path, cell: Cell) -> float:
    path = root / "experiments" / ".lsgmer" / "seconds" / cell.name
    return float(path.read_text()) if path.is_file() else 0.0
