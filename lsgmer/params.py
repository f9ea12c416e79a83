"""params.yaml as strict frozen models: read once, sections handed down. A typo fails here and names the key."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lsgmer.data_params import (
    OFFICIAL,
    CorpusParams,
    FeaturesParams,
    ManifestParams,
    SampleParams,
    Section,
    Share,
    ValidateParams,
)
from lsgmer.errors import ParamsError


class RuntimeParams(Section):
    """Seed, threads and device: what else decides the bits of a result."""

    seed: NonNegativeInt
    threads: PositiveInt
    device: Literal["auto", "cpu", "cuda"]
    mixed_precision: Literal["no", "fp16", "bf16"]


class ModelParams(Section):
    """Sizes of LSGMER, the decay alpha of its label memory, and which of its parts stand in (docs/results.md).

    `enhancement` none leaves LSE out, `label_decay` 0 the moving average. Late fusion is no model but two:
    experiments average the answers of the audio-only and the text-only one.
    `statistics` says what S(H_m0) pools: the projected frames, or the encoder's own features, standardised by
    utterance.
    """

    width: PositiveInt
    heads: PositiveInt
    layers: NonNegativeInt
    dropout: Share
    label_decay: Share
    label_start: Literal["text", "random"]
    temperature: PositiveFloat
    statistics: Literal["projected", "input"] = "projected"
    enhancement: Literal["labels", "none"] = "labels"
    fusion: Literal["cross", "gated", "concatenation"] = "cross"

    @model_validator(mode="after")
    def _heads_divide_width(self) -> ModelParams:
        if self.width % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide width ({self.width})")
        return self


class ObjectiveParams(Section):
    """Joint Objective Optimization: the weight and gradient path of APC, and the class weights."""

    consistency_weight: NonNegativeFloat
    consistency_gradient: Literal["both", "prediction", "attribution"]
    class_weight_power: NonNegativeFloat
    label_smoothing: Share


class TrainParams(Section):
    """The optimiser, its schedule and early stopping; `select` is the validation metric that chooses the epoch.

    A training step sees a random stretch of an utterance's audio: at least `audio_crop` of its frames, 1 is all.
    """

    epochs: PositiveInt
    patience: PositiveInt
    batch_size: PositiveInt
    learning_rate: PositiveFloat
    weight_decay: NonNegativeFloat
    warmup_share: Share
    max_gradient_norm: PositiveFloat
    modality_dropout: Share
    audio_crop: Share = 1.0
    select: Literal["balanced_accuracy", "weighted_f1"] = "balanced_accuracy"


class ControlsParams(Section):
    """The honest comparison: which controls are trained, and the linear baseline's regularisation."""

    variants: tuple[Literal["audio", "text"], ...]
    linear_c: PositiveFloat


class EvaluateParams(Section):
    """Bootstrap resamples and the number of bins of the expected calibration error."""

    bootstrap: PositiveInt
    ece_bins: PositiveInt
    min_group: PositiveInt


class GateParams(Section):
    """Thresholds of the gate. Null switches a rule off; margins are differences in balanced accuracy."""

    min_balanced_accuracy: Share | None
    min_over_chance: Share | None
    min_over_linear: float | None
    min_class_recall: Share | None
    max_ece: Share | None
    max_subgroup_gap: Share | None
    champion_margin: Share
    min_champion_utterances: PositiveInt


class PackageParams(Section):
    """The Bento's name and the card's statement of purpose."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9_.-]*[a-z0-9])?$")]
    intended_use: str
    limits: tuple[str, ...]


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


def read_yaml(path: Path) -> dict[str, Any]:
    """Read `path` as YAML 1.2, the dialect DVC uses. Raises ParamsError that names the file and line."""
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ParamsError(f"{path}: no such file; give a parameter file with --params") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(content, dict):
        raise ParamsError(f"{path}: expected sections (runtime:, corpus:, ...), found {type(content).__name__}")
    return content


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


def lookup(content: Any, key: str) -> Any:
    """Return the value at "section.key" of nested `content`, None where there is none."""
    for part in key.split("."):
        content = content.get(part) if isinstance(content, dict) else None
    return content


def override(content: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of `content` with each "section.key=value" set; values are YAML. Unknown keys fail on parsing."""
    result: dict[str, Any] = json.loads(json.dumps(content))
    for item in overrides:
        key, equals, raw = item.partition("=")
        if not equals or not key:
            raise ParamsError(f"--set {item}: expected section.key=value, as in --set train.epochs=3")
        *parents, last = key.split(".")
        target: Any = result
        for parent in parents:
            target = target.setdefault(parent, {}) if isinstance(target, dict) else None
            if not isinstance(target, dict):
                raise ParamsError(f"--set {item}: {parent} is not a section")
        try:
            target[last] = YAML(typ="safe", pure=True).load(raw)
        except YAMLError as error:
            raise ParamsError(f"--set {item}: the value is not YAML: {error}") from error
    return result


def explain(item: Any, model: type[BaseModel]) -> str:
    """Turn one pydantic error about `model` into a line that names the key and what is allowed."""
    location = [str(part) for part in item["loc"]]
    key = ".".join(location)
    if item["type"] == "extra_forbidden":
        allowed = _allowed_keys(location[:-1], model)
        close = difflib.get_close_matches(location[-1], allowed, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{key}: unknown key{hint} (allowed: {', '.join(allowed)})"
    if item["type"] == "missing":
        return f"{key}: missing"
    message = item["msg"].removeprefix("Value error, ")
    got = "" if isinstance(item["input"], dict) else f" (got {item['input']!r:.80})"  # a whole section says nothing
    return f"{key or 'params'}: {message}{got}"


def _allowed_keys(location: Sequence[str], model: Any) -> list[str]:
    """Return the keys that the section of `model` at `location` knows; a mapping's own keys are free names."""
    for part in location:
        if get_origin(model) is dict:
            model = get_args(model)[1]
            continue
        known = {info.alias or name: info.annotation for name, info in getattr(model, "model_fields", {}).items()}
        kind = known.get(part)
        kinds = [kind for kind in get_args(kind) if kind is not type(None)]  # of X | None
        model = kinds[0] if len(kinds) == 1 else kind
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return []
    return sorted(info.alias or name for name, info in model.model_fields.items())
