"""One cell of a grid in experiments/dvc.yaml: a variant on a fold with a seed, measured on the fold's test split."""

from __future__ import annotations

import io
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from lsgmer.core.device import set_threads
from lsgmer.core.hashing import file_sha256
from lsgmer.core.paths import write_atomically
from lsgmer.core.records import SPLITS, Record, Split, digest, read_record
from lsgmer.core.sections import parse
from lsgmer.core.stage import guarded
from lsgmer.encoders.params import FeaturesParams
from lsgmer.experiments.answers import Answers, answer
from lsgmer.experiments.baselines import BaselineParams
from lsgmer.experiments.folds import Fold, Unit, fold_of
from lsgmer.experiments.plan import FOLDER, Cell, Plan, cell_content, cell_source, load_plan, source_content
from lsgmer.experiments.resplit import few_per_class, join, speaker_normalised
from lsgmer.features.store import STORE, FeatureSplit
from lsgmer.model.logistic import Candidate

Array = np.ndarray[Any, Any]
CARD, PREDICTIONS, FUSED = "cell.json", "predictions.parquet", "fused.npz"


class CellParams(BaselineParams):
    """What a cell reads of its parameters; `features` only identifies the extraction that it was given."""

    features: FeaturesParams


class CellCard(Record):
    """cell.json: what a cell is, its data, and its training curve; its predictions are in predictions.parquet.

    `c` is a logistic regression's penalty, chosen on the validation split from `candidates`. `settings_sha256` covers
    every setting that affects the predictions, so that a report can leave out stale cells.
    """

    format: Literal["lsgmer-cell/1"] = "lsgmer-cell/1"
    study: str
    variant: str
    fold: int
    seed: int
    protocol: str
    labels: tuple[str, ...]
    counts: dict[Split, int]
    shared_speakers: int
    parameters: int
    best_epoch: int | None
    history: tuple[dict[str, float], ...]
    c: float | None = None
    candidates: tuple[Candidate, ...] = ()
    manifest_sha256: str
    feature_sha256: str
    settings_sha256: str


def run(root: Path, cell: Cell, folder: Path | None = None) -> None:
    """Train and measure `cell`, and write its results to `folder`, or experiments/data/cells/NAME.

    Raises LsgmerError.
    """
    plan, started = load_plan(root), time.monotonic()
    params, study, variant = cell_params(root, plan, cell), plan.studies[cell.study], plan.variants[cell.variant]
    set_threads(params.runtime.threads)
    whole, units = read_source(root / FOLDER / "data" / "features" / study.source)
    if study.normalise == "speaker" and "audio" in whole.dimensions:
        whole = speaker_normalised(whole, "audio")
    protocol = plan.sources[study.source].protocol
    fold = fold_of(units, protocol, cell.fold)
    if study.per_class is not None:  # validation stays whole
        fold = replace(fold, train=few_per_class(whole.labels, fold.train, study.per_class, cell.seed))
    scratch = root / FOLDER / ".lsgmer" / "scratch" / "cells" / cell.name
    sources = root / FOLDER / ".lsgmer" / "sources" / study.source  # where the source was encoded
    answers = answer(whole, fold, variant, params, scratch, sources)
    card = CellCard(
        study=cell.study,
        variant=cell.variant,
        fold=cell.fold,
        seed=cell.seed,
        protocol=protocol.title,
        labels=whole.label_set.names,
        counts={split: len(fold.of(split)) for split in SPLITS},
        shared_speakers=len(fold.shared_speakers),
        parameters=answers.parameters,
        best_epoch=answers.best_epoch,
        history=answers.history,
        c=answers.c,
        candidates=answers.candidates,
        manifest_sha256=whole.manifest_sha256,
        feature_sha256=whole.sha256,
        settings_sha256=settings_sha256(root, plan, cell),
    )
    write(folder or cell_folder(root, cell), card, whole, fold, answers, variant.keep_fused)
    shutil.rmtree(scratch, ignore_errors=True)
    seconds = root / FOLDER / ".lsgmer" / "seconds" / cell.name
    write_atomically(seconds, f"{time.monotonic() - started:.1f}\n")
    right = answers.probabilities.argmax(1) == whole.labels[fold.test]
    print(f"{cell.name}: accuracy {right.mean():.3f} on {len(right)} test utterances", flush=True)


def cell_params(root: Path, plan: Plan, cell: Cell) -> CellParams:
    """Return the parameters a cell trains with: its source's, then its study's, then its variant's, then the seed."""
    content = cell_content(plan, cell, source_content(root, cell_source(plan, cell)))
    return parse(CellParams.pick(content), CellParams, f"{FOLDER}/params.yaml: cell {cell.name}")


def cell_folder(root: Path, cell: Cell) -> Path:
    """Return the folder of a cell's results."""
    return root / FOLDER / "data" / "cells" / cell.name


def computed_folder(root: Path, cell: Cell) -> Path:
    """Return where a cluster's worker puts a cell's results: its name says which code, features and settings."""
    plan, folder = load_plan(root), root / FOLDER / "data"
    made_of = [folder / "common.json"]
    made_of += [folder / "features" / plan.studies[cell.study].source / split / STORE for split in SPLITS]
    key = digest([settings_sha256(root, plan, cell), *map(file_sha256, made_of)])
    return root / FOLDER / ".lsgmer" / "computed" / f"{cell.name}-{key[:16]}"


def adopt(root: Path, cell: Cell) -> bool:
    """Move what a cluster's worker computed for exactly this cell to its place; return whether there was any."""
    computed = computed_folder(root, cell)
    if not computed.is_dir():
        return False
    shutil.rmtree(cell_folder(root, cell), ignore_errors=True)
    cell_folder(root, cell).parent.mkdir(parents=True, exist_ok=True)
    computed.replace(cell_folder(root, cell))
    print(f"{cell.name}: computed by a worker of the cluster", flush=True)
    return True


def settings_sha256(root: Path, plan: Plan, cell: Cell) -> str:
    """Return the digest of a cell's settings: parameters, protocol, variant, normalisation, training size and fold."""
    study, params = plan.studies[cell.study], cell_params(root, plan, cell)
    chosen = {
        "params": params.sections(*CellParams.model_fields),
        "protocol": plan.sources[study.source].protocol.model_dump(mode="json"),
        "variant": plan.variants[cell.variant].model_dump(mode="json", exclude={"title"}),
        "normalise": study.normalise,
        "per_class": study.per_class,
        "fold": cell.fold,
    }
    return digest(chosen)


def read_source(folder: Path) -> tuple[FeatureSplit, list[Unit]]:
    """Return all utterances of a prepared source, and what a protocol may use of each."""
    parts = [FeatureSplit.load(folder / split) for split in SPLITS]
    whole = join(parts)
    splits = [part.split for part in parts for _ in range(len(part))]
    return whole, [Unit(*row) for row in zip(whole.speakers, whole.sessions, splits, strict=True)]


def write(folder: Path, card: CellCard, whole: FeatureSplit, fold: Fold, answers: Answers, keep_fused: bool) -> None:
    """Write cell.json, predictions.parquet and, if `keep_fused`, fused.npz to `folder`; the same bytes every time."""
    floats = pa.list_(pa.float32())
    columns: dict[str, Any] = {
        "id": pa.array([whole.ids[row] for row in fold.test]),
        "speaker": pa.array([whole.speakers[row] for row in fold.test]),
        "label": pa.array(whole.labels[fold.test], pa.int64()),
        "probabilities": pa.array(answers.probabilities.tolist(), floats),
    }
    if answers.attribution is not None and answers.consistency is not None:
        columns["attribution"] = pa.array(answers.attribution.tolist(), floats)
        columns["consistency"] = pa.array(answers.consistency.tolist(), pa.float32())
    content = io.BytesIO()
    parquet.write_table(pa.table(columns), content, compression="zstd")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / PREDICTIONS, content.getvalue())
    if keep_fused and answers.fused is not None and answers.label_embeddings is not None:
        content = io.BytesIO()
        np.savez(content, fused=answers.fused.astype(np.float16), labels=answers.label_embeddings)
        write_atomically(folder / FUSED, content.getvalue())
    write_atomically(folder / CARD, card.to_json())


def load_card(folder: Path) -> CellCard:
    """Read cell.json. Raises LsgmerError when it is missing or not a cell's."""
    return read_record(folder / CARD, CellCard, "run `lsgmer experiments run`")


def _run_or_adopt(root: Path, cell: Cell) -> None:
    if not adopt(root, cell):
        run(root, cell)


def main() -> None:
    """Run the cell STUDY VARIANT FOLD SEED; the current folder is the project's experiments/."""
    study, variant, fold, seed = sys.argv[1:]
    cell = Cell("", study, variant, int(fold), int(seed))  # the grid only names DVC's stage
    guarded(cell.name, lambda workspace: _run_or_adopt(workspace.root.parent, cell))


if __name__ == "__main__":
    main()
