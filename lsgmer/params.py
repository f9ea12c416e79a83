"""All of params.yaml, for the command line and for overlays; stages read only their own sections."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    Field,
    ValidationError,
    model_validator,
)

from lsgmer.core.errors import ParamsError
from lsgmer.core.sections import RuntimeParams, Section, explain, overlay, override, read_yaml
from lsgmer.corpora.params import OFFICIAL, CorpusParams, SampleParams
from lsgmer.encoders.params import FeaturesParams
from lsgmer.evaluation.params import EvaluateParams, GateParams
from lsgmer.manifests.params import ManifestParams
from lsgmer.model.params import ModelParams, ObjectiveParams
from lsgmer.registry.params import PackageParams
from lsgmer.training.params import ControlsParams, TrainParams
from lsgmer.validation.params import ValidateParams


class Params(Section):
    """All of params.yaml."""

    runtime: RuntimeParams
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
        name, split = self.corpus.name, self.manifest.split
        if split == "official" and name not in OFFICIAL:
            raise ValueError(
                f"manifest.split: official is for corpora that publish a partition ({', '.join(OFFICIAL)}), "
                f"not for {name}; set manifest.split to given, speaker or session"
            )
        if split == "speaker" and name == "meld":
            raise ValueError(
                "manifest.split: speaker would leak in meld, whose joint speakers (Joey and Chandler) are voices of "
                "others too; set manifest.split to official"
            )
        return self

    def sections(self, *names: str) -> dict[str, Any]:
        """Return the named sections as plain JSON values, as a card stores them."""
        return {name: self.model_dump(mode="json", by_alias=True)[name] for name in names}


def parse_params(content: dict[str, Any], source: str) -> Params:
    """Check `content` against the models. Raises ParamsError listing every bad key, with the allowed ones."""
    try:
        return Params.model_validate_json(json.dumps(content, default=str))
    except ValidationError as error:
        lines = [explain(item, Params) for item in error.errors()]
        raise ParamsError(
            f"{source}: " + "\n".join([f"{len(lines)} problem(s)", *(f"  {line}" for line in lines)])
        ) from None


def load_params(path: Path, overrides: Sequence[str] = ()) -> Params:
    """Read `path`, apply `overrides` ("section.key=value") and check the result."""
    return parse_params(override(read_yaml(path), overrides), str(path))


def read_layers(base: Path, file: Path | None, overrides: Sequence[str] = ()) -> tuple[dict[str, Any], Params]:
    """Return the parameters of `base`, `file` over it, and `overrides` over both: as plain values and checked.

    Raises ParamsError for an unreadable file and for every bad key, with the allowed ones.
    """
    content = read_yaml(base)
    if file is not None:
        content = overlay(content, read_yaml(file))
    content = override(content, overrides)
    return content, parse_params(content, str(file or base))
