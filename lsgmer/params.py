"""params.yaml as strict frozen models: read once, sections handed down. A typo fails here and names the key."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
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

from lsgmer.errors import ParamsError
from lsgmer.types import Label, Labels, Seconds

Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A section of params.yaml: unknown keys and wrong types are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RuntimeParams(Section):
    """Seed, threads and device: what else decides the bits of a result."""

    seed: NonNegativeInt
    threads: PositiveInt
    device: Literal["auto", "cpu", "cuda"]
    mixed_precision: Literal["no", "fp16", "bf16"]


class ColumnParams(Section):
    """The table's column for each field; null where it has none."""

    id: str | None = None
    audio: str | None = None
    text: str | None = None
    emotion: str = "emotion"
    speaker: str = "speaker"
    session: str | None = None
    dialogue: str | None = None
    turn: str | None = None
    sex: str | None = None
    start_s: str | None = None
    end_s: str | None = None
    split: str | None = None
    tags: str | None = None


class CorpusParams(Section):
    """Which corpus, where, and what its labels mean.

    `path` is the folder DVC versions; the table and all audio lie inside it. `synthesize` is what the
    sample stage makes: ["sample"] for the sample corpus, [] for any other.
    """

    name: Literal["sample", "table"]
    path: str
    synthesize: tuple[Literal["sample"], ...]
    table: str
    columns: ColumnParams
    labels: tuple[Label, ...]
    label_map: dict[str, str | None]
    expected_counts: dict[str, PositiveInt]

    @property
    def label_set(self) -> Labels:
        """The ordered labels."""
        return Labels(items=self.labels)

    @model_validator(mode="after")
    def _consistent(self) -> CorpusParams:
        names = set(Labels(items=self.labels).names)
        unknown = {raw: to for raw, to in self.label_map.items() if to is not None and to not in names}
        if unknown:
            raise ValueError(
                f"label_map leads to labels that are not in `labels`: {unknown}; labels are {sorted(names)}"
            )
        if self.synthesize != (("sample",) if self.name == "sample" else ()):
            raise ValueError("synthesize must be [sample] when name is sample, and [] otherwise")
        return self


class SampleParams(Section):
    """The synthetic corpus. Shares are of each split and add up to 1."""

    seed: NonNegativeInt
    utterances: dict[Literal["train", "valid", "test"], PositiveInt]
    shares: dict[Literal["congruent", "voice_only", "text_only", "contradictory"], Share]

    @model_validator(mode="after")
    def _shares_add_up(self) -> SampleParams:
        if abs(sum(self.shares.values()) - 1) > 1e-9:
            raise ValueError(f"shares add up to {sum(self.shares.values())}, not 1")
        return self


class ManifestParams(Section):
    """How utterances get their split. `given` takes the corpus's own; the others are sticky by salted hash."""

    split: Literal["given", "speaker", "session"]
    salt: str
    valid_share: Share
    test_share: Share


class ValidateParams(Section):
    """Limits of the data checks, and how much may be rejected before validation fails."""

    min_duration_s: Seconds
    max_duration_s: Seconds
    max_silence_share: Share
    max_clipping_share: Share
    min_sample_rate: PositiveInt
    min_class_share: Share
    min_split_share: Share
    max_rejected_share: Share
    processes: NonNegativeInt


class AudioEncoderParams(Section):
    """`logmel` needs no weights; `speech_lstm` reads the LSTM of an installed package, its `layers` (1 to 3, null: the
    last) and, with `prosody`, the logmel frames beside them, of speech brought to `level_dbfs` (null: raised to -30
    where it is quieter, as the original does); `transformers` loads HuBERT, WavLM or wav2vec 2.0 from a folder or hub
    id.
    """  # noqa: D205

    kind: Literal["none", "logmel", "speech_lstm", "transformers"]
    source: str | None = None
    revision: str | None = None
    layer: int | None = None
    n_mels: PositiveInt = 64
    hop_ms: PositiveFloat = 20.0
    layers: tuple[PositiveInt, ...] | None = None
    prosody: bool = False
    level_dbfs: float | None = None
    sha256: str | None = None


class TextEncoderParams(Section):
    """`transformers` loads BERT, RoBERTa or MiniLM from `package:NAME/FOLDER`, a folder or a hub id."""

    kind: Literal["none", "transformers"]
    source: str | None = None
    revision: str | None = None
    layer: int | None = None
    max_tokens: PositiveInt = 128
    sha256: str | None = None


class FeaturesParams(Section):
    """Encoders, and how many seconds of audio or texts go through them at once."""

    audio: AudioEncoderParams
    text: TextEncoderParams
    batch_size: PositiveInt

    @model_validator(mode="after")
    def _some_modality(self) -> FeaturesParams:
        if self.audio.kind == "none" and self.text.kind == "none":
            raise ValueError("audio.kind and text.kind are both none: nothing to learn from")
        return self


class ModelParams(Section):
    """Sizes of LSGMER and the decay alpha of its label memory.

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
    """The optimiser, its schedule and early stopping on the validation part's balanced accuracy.

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
        lines = [_explain(item) for item in error.errors()]
        raise ParamsError(
            f"{source}: " + "\n".join([f"{len(lines)} problem(s)", *(f"  {line}" for line in lines)])
        ) from None


def load_params(path: Path, overrides: Sequence[str] = ()) -> Params:
    """Read `path`, apply `overrides` ("section.key=value") and check the result."""
    return parse_params(override(read_yaml(path), overrides), str(path))


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


def _explain(item: Any) -> str:
    """Turn one pydantic error into a line that names the key and what is allowed."""
    location = [str(part) for part in item["loc"]]
    key = ".".join(location)
    if item["type"] == "extra_forbidden":
        allowed = _allowed_keys(location[:-1])
        close = difflib.get_close_matches(location[-1], allowed, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{key}: unknown key{hint} (allowed: {', '.join(allowed)})"
    if item["type"] == "missing":
        return f"{key}: missing"
    return f"{key or 'params'}: {item['msg']} (got {item['input']!r:.80})"


def _allowed_keys(location: Sequence[str]) -> list[str]:
    """Return the keys that the section at `location` knows."""
    model: Any = Params
    for part in location:
        for name, info in model.model_fields.items():
            if part == (info.alias or name):
                model = info.annotation
                break
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return []
    return sorted(info.alias or name for name, info in model.model_fields.items())
