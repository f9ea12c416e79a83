"""The types that all rooms share: records, labels, encoder specs. Imports neither torch nor pandas."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lsgmer.core.errors import LsgmerError

Seconds = float
Split = Literal["train", "valid", "test"]
Modality = Literal["audio", "text"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
MODALITIES: tuple[Modality, ...] = ("audio", "text")
SIDES = {"left": 0, "right": 1}
SIDE_BY_SIDE = "side_by_side"  # the kind of an EncoderSpec that holds those of several encoders


def canonical_json(value: Any) -> str:
    """Return `value` as canonical JSON: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """Return the sha256 (64 hex digits) of `value`'s canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


class Record(BaseModel):
    """Base of everything that is written to JSON: strict about keys, frozen once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def to_json(self) -> str:
        """Return indented JSON that ends in a newline; the same bytes for the same content."""
        return json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


R = TypeVar("R", bound=Record)


class Label(Record):
    """One emotion: its name and a short description, which initialises the label embedding."""

    name: Annotated[str, Field(min_length=1)]
    description: Annotated[str, Field(min_length=1)]


class Labels(Record):
    """The ordered emotions of a corpus. Order matters: index i is logit i everywhere."""

    items: tuple[Label, ...]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Labels:
        if len(set(self.names)) != len(self.items) or len(self.items) < 2:
            raise ValueError(f"labels need at least two distinct names, got {list(self.names)}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The label names, in logit order."""
        return tuple(item.name for item in self.items)

    def index(self, name: str) -> int:
        """Return the logit index of `name`. Raises ValueError for an unknown name."""
        return self.names.index(name)

    def __len__(self) -> int:
        """Return the number of labels C."""
        return len(self.items)


class EncoderSpec(Record):
    """What made a feature: enough to rebuild the encoder, and nothing that can differ without changing the feature."""

    modality: Modality
    kind: str
    source: str | None = None
    revision: str | None = None
    layer: int | None = None
    dimension: int
    sample_rate: int | None = None
    settings: dict[str, Any] = {}
    weights_sha256: str | None = None
    versions: dict[str, str] = {}

    @property
    def parts(self) -> tuple[EncoderSpec, ...]:
        """The specs of encoders that run side by side; for every other kind, this spec alone."""
        if self.kind != SIDE_BY_SIDE:
            return (self,)
        return tuple(EncoderSpec.model_validate(part) for part in self.settings["parts"])

    @property
    def fingerprint(self) -> str:
        """The cache key: sha256 of every field, the library versions included."""
        return digest(self.model_dump(mode="json"))


class TranscriberSpec(Record):
    """What writes automatic words: enough to load it again, and to tell whether two are the same.

    `files` are the sha256 of its files by name, or of the weights and settings of a folder. Of n tokens, words of a
    mean log-probability under `min_log_probability` + `doubt` / n are not believed.
    """

    kind: str
    source: str | None = None
    revision: str | None = None
    language: str | None = None
    min_log_probability: float
    doubt: float
    files: dict[str, str]
    versions: dict[str, str]

    @property
    def fingerprint(self) -> str:
        """The sha256 of every field, the library versions included."""
        return digest(self.model_dump(mode="json"))


MIX = "mix"  # LearningSpec.learns of layers that are only weighted


class LearningSpec(Record):
    """The layers of an encoder that are part of the model: enough to rebuild them, without their weights.

    `learns` is the value of train.finetune, or mix; `below` what they read (a hidden state's number, tokens,
    convolutions, layers); `top` the encoder's number of layers up to its output, or that are mixed; `config` the
    transformer's own, with its model_type.
    """

    learns: str
    below: int | str
    top: int
    dimension: int
    config: dict[str, Any]


def read_record(path: Path, kind: type[R], remedy: str, failure: type[LsgmerError] = LsgmerError) -> R:
    """Read the JSON file `path` as a `kind`.

    Args:
        path: the JSON file.
        kind: the class of Record that it should hold.
        remedy: what the user can do about a missing or bad file; ends the error message.
        failure: the class of exception to raise.

    Raises:
        LsgmerError: as `failure`; the file is missing or not a `kind`. The message says what is wrong with it.

    """
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise failure(f"{path}: no such file; {remedy}") from None
    except (OSError, ValueError) as error:
        raise failure(f"{path}: not readable as {kind.__name__}: {first_problem(error)}; {remedy}") from None


def first_problem(error: Exception) -> str:
    """Return one line about `error`; for a pydantic error, the first bad field and what is wrong with it."""
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        return f"{place + ': ' if place else ''}{problem['msg']}{more}"
    return str(error).splitlines()[0]


def is_unicode(text: str) -> bool:
    """Return whether `text` can be written as UTF-8: JSON may hold half of a pair of surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def channel_number(given: object) -> int:
    """Return the number of the channel that `given` names: 0, 1, ..., left or right. Raises ValueError.

    >>> channel_number("Right"), channel_number(" 0"), channel_number("2.0")
    (1, 0, 2)
    """
    text = str(given).strip().lower()
    if text in SIDES:
        return SIDES[text]
    whole = text.removesuffix(".0")  # a column of numbers with gaps is read as decimals
    if isinstance(given, bool) or not (whole.isascii() and whole.isdigit() and len(whole) <= 4):
        raise ValueError(
            f"channel {str(given)[:20]!r} is not a channel: give 0 (left), 1 (right), 2, ..., left or right"
        )
    return int(whole)
