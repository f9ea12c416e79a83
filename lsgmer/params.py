"""All of params.yaml, for the command line and for overlays; stages read only their own sections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    Field,
    model_validator,
)

from lsgmer.core.cluster import Runtime
from lsgmer.core.sections import Sections, merge_layers, override, parse, read_yaml
from lsgmer.corpora.params import CorpusParams, SampleParams, demand_split_fits
from lsgmer.encoders.params import FeaturesParams
from lsgmer.evaluation.params import EvaluateParams, GateParams
from lsgmer.manifests.params import ManifestParams
from lsgmer.model.params import ModelParams, ObjectiveParams
from lsgmer.registry.params import PackageParams
from lsgmer.training.params import ControlsParams, TrainParams
from lsgmer.validation.params import ValidateParams


class Params(Sections):
    """All of params.yaml."""

    runtime: Runtime
    corpus: CorpusParams
    sample: SampleParams
    manifest: ManifestParams
    validate_: Annotated[ValidateParams, Field(alias="validate")]
    features: FeaturesParams
    model: ModelParams
    objective: ObjectiveParams
    train: TrainParams
    controls: ControlsParams
    evaluate: EvaluateParams
    gate: GateParams
    package: PackageParams

    @model_validator(mode="after")
    def _split_fits_the_corpus(self) -> Params:
        demand_split_fits(self.corpus, self.manifest)
        return self


def parse_params(content: dict[str, Any], source: str) -> Params:
    """Check `content` against the models. Raises ParamsError listing every bad key, with the allowed ones."""
    return parse(content, Params, source)


def load_params(path: Path, overrides: Sequence[str] = ()) -> Params:
    """Read `path`, apply `overrides` ("section.key=value") and check the result."""
    return parse_params(override(read_yaml(path), overrides), str(path))


def read_layers(base: Path, file: Path | None, overrides: Sequence[str] = ()) -> tuple[dict[str, Any], Params]:
    """Return the parameters of `base`, overlaid by `file` and then by `overrides`, as plain values and checked.

    Raises ParamsError for an unreadable file and for every bad key, with the allowed ones.
    """
    content = merge_layers(base, file, overrides)
    return content, parse_params(content, str(file or base))
