"""experiments/params.yaml as strict frozen models: sources, studies, variants, and the grids of cells to run."""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from lsgmer.core.errors import ParamsError
from lsgmer.core.records import MODALITIES, Modality
from lsgmer.core.sections import Section, Share, lookup, merge_layers, override, parse, read_yaml

FOLDER = "experiments"
TRAINED_WITH = ("runtime", "model", "objective", "train", "controls")
LEAKY = "leaky_random_utterances"


class Protocol(Section):
    """How a corpus is split. Only `official` and the leaky one may have a speaker on both sides.

    `official`: the corpus's own train, valid and test. `holdout`: one split by a salted hash of the speaker or
    session. `loso`: leave one speaker (session) out, or k `folds` of them; validation takes the next `valid_groups`
    of the rest. `leaky_random_utterances`: what much of the literature does, for comparison; reports say so.
    """

    kind: Literal["official", "holdout", "loso", "leaky_random_utterances"]
    by: Literal["speaker", "session"] = "speaker"
    folds: PositiveInt | None = None
    valid_groups: PositiveInt = 1
    valid_share: Share = 0.2
    test_share: Share = 0.2
    salt: str = "lsgmer-1"

    @property
    def title(self) -> str:
        """The protocol in words, as every report shows it."""
        return {
            "official": "official split",
            "holdout": f"held-out {self.by}s",
            "loso": f"leave one {self.by} out" if self.folds is None else f"{self.folds} folds of {self.by}s",
            LEAKY: "LEAKY: random split by utterance, speakers on both sides",
        }[self.kind]


class Source(Section):
    """A corpus with its encoders: the project's params.yaml, `params` (an overlay) over it, and `set` over both.

    `corpus` is corpus.path again, because DVC must see it; both are relative to the project.
    """

    params: str
    corpus: str
    protocol: Protocol
    set: dict[str, Any] = Field(default_factory=dict)


class Study(Section):
    """One question about a source: its settings, whether audio is normalised by speaker, and the main metric.

    `per_class` cuts each fold's training part to that many utterances of each class. Studies with the same `curve` are
    one table of the report, a column per size; one without `per_class` is its last column.
    """

    title: str
    source: str
    curve: str | None = None
    per_class: PositiveInt | None = None
    metric: Literal["balanced_accuracy", "weighted_f1"] = "balanced_accuracy"
    normalise: Literal["none", "speaker"] = "none"
    set: dict[str, Any] = Field(default_factory=dict)


class Variant(Section):
    """One row of the table: LSGMER with some settings, or a baseline.

    `late` averages LSGMER on audio and LSGMER on text, `late_tfidf` the first and `tfidf`. `zero_shot` trains nothing.
    """

    title: str
    kind: Literal["lsgmer", "late", "late_tfidf", "linear", "tfidf", "zero_shot", "majority"] = "lsgmer"
    modalities: tuple[Modality, ...] = MODALITIES
    set: dict[str, Any] = Field(default_factory=dict)
    shuffle_labels: bool = False
    keep_fused: bool = False


class Grid(Section):
    """Studies x variants x folds x seeds: the matrix of one stage in experiments/dvc.yaml."""

    studies: tuple[str, ...]
    variants: tuple[str, ...]
    folds: tuple[NonNegativeInt, ...]
    seeds: tuple[NonNegativeInt, ...]


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One training run, or one baseline; its results are in data/cells/NAME."""

    grid: str
    study: str
    variant: str
    fold: int
    seed: int

    @property
    def name(self) -> str:
        """STUDY-VARIANT-FOLD-SEED, as DVC names the stage."""
        return f"{self.study}-{self.variant}-{self.fold}-{self.seed}"

    @property
    def stage(self) -> str:
        """The DVC stage, GRID@NAME."""
        return f"{self.grid}@{self.name}"


class Plan(Section):
    """All of experiments/params.yaml."""

    sources: dict[str, Source]
    studies: dict[str, Study]
    variants: dict[str, Variant]
    grids: dict[str, Grid]
    quick: dict[str, Grid]

    @model_validator(mode="after")
    def _names_exist(self) -> Plan:
        for name, study in self.studies.items():
            if study.source not in self.sources:
                raise ValueError(f"studies.{name}.source: {study.source!r} is none of {sorted(self.sources)}")
            if study.per_class is not None and study.curve is None:
                raise ValueError(f"studies.{name}.curve: missing; a study with per_class is a part of a curve")
        for where, grids in (("grids", self.grids), ("quick", self.quick)):
            for name, grid in grids.items():
                for kind, known in (("studies", self.studies), ("variants", self.variants)):
                    if unknown := sorted(set(getattr(grid, kind)) - known.keys()):
                        raise ValueError(f"{where}.{name}.{kind}: {unknown} is none of {sorted(known)}")
        for name, grid in self.quick.items():
            if not {*_product(name, grid)} <= {*_product(name, self.grids[name])}:
                raise ValueError(f"quick.{name} must be a part of grids.{name}")
        return self

    def cells(self, quick: bool = False, grid: str | None = None) -> list[Cell]:
        """Return the cells of all grids (or of one), in the order of the file; with `quick`, of the quick grids."""
        grids = self.quick if quick else self.grids
        if grid is not None and grid not in self.grids:
            raise ParamsError(f"there is no grid {grid!r} in {FOLDER}/params.yaml; it has {', '.join(self.grids)}")
        return [cell for name, given in grids.items() if grid in (None, name) for cell in _product(name, given)]


def load_plan(root: Path) -> Plan:
    """Read experiments/params.yaml of the project at `root`. Raises ParamsError that names the key."""
    path = root / FOLDER / "params.yaml"
    plan = parse(read_yaml(path), Plan, str(path))
    for name, source in plan.sources.items():
        for key, value in (("corpus", source.corpus), ("params", source.params)):
            if Path(value).is_absolute():
                relative = Path(os.path.relpath(value, root.resolve())).as_posix()
                raise ParamsError(
                    f"{path}: sources.{name}.{key}: {value} is absolute, and {FOLDER}/dvc.yaml watches paths relative "
                    f"to the project: write {relative}" + (", and so in its corpus.path" if key == "corpus" else "")
                )
    return plan


def source_content(root: Path, source: Source) -> dict[str, Any]:
    """Return the plain parameters of a source: params.yaml, its overlay, its settings. Raises ParamsError."""
    content = merge_layers(root / "params.yaml", root / source.params, _settings(source.set))
    found = lookup(content, "corpus.path")
    if found != source.corpus:
        raise ParamsError(
            f"{source.params}: corpus.path is {found!r}, {FOLDER}/params.yaml says {source.corpus!r}: "
            "both must name one folder, since DVC watches the second"
        )
    return content


def cell_content(plan: Plan, cell: Cell, content: dict[str, Any]) -> dict[str, Any]:
    """Return `content`, its source's parameters, with the settings of the cell's study, its variant and its seed."""
    study, variant = plan.studies[cell.study], plan.variants[cell.variant]
    settings = [*_settings(study.set), *_settings(variant.set), f"runtime.seed={cell.seed}", "runtime.threads=1"]
    return override(content, settings)


def cell_settings(root: Path, source: Source) -> dict[str, Any]:
    """Return the settings of `source` that its cells depend on: its protocol, and its own training parameters.

    They are stored with the source's features, so that DVC runs the cells again when they change.
    """
    overlay = read_yaml(root / source.params)
    return {
        "protocol": source.protocol.model_dump(mode="json"),
        "overlay": {name: overlay[name] for name in TRAINED_WITH if name in overlay},
        "set": source.set,
    }


def cell_source(plan: Plan, cell: Cell) -> Source:
    """Return the source of a cell's study."""
    return plan.sources[plan.studies[cell.study].source]


def _settings(given: dict[str, Any]) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in given.items()]


def _product(name: str, grid: Grid) -> list[Cell]:
    parts = (grid.studies, grid.variants, grid.folds, grid.seeds)
    return [Cell(name, *combination) for combination in itertools.product(*parts)]
