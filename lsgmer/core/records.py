"""What every room's nouns are made of: records, labels, encoder specs. Imports neither torch nor pandas."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    pass

Seconds = float
Split = Literal["train", "valid", "test"]
Modality = Literal["audio", "text"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
MODALITIES: tuple[Modality, ...] = ("audio", "text")


def canonical_json(value: Any) -> str:
    """Return `value` as JSON with one spelling: sorted keys, no spaces, no NaN."""
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


class Label(Record):
    """One emotion: its name and a short description, which starts the label embedding."""

    name: Annotated[str, Field(min_length=1)]
    description: Annotated[str, Field(min_length=1)]


class Labels(Record):
    """The ordered emotions of a corpus. Order is meaning: index i is logit i everywhere."""

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
    """What made a feature: enough to make it again, and nothing that may differ without changing it."""

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
    def fingerprint(self) -> str:
        """The cache key: sha256 of every field, the library versions included."""
        return digest(self.model_dump(mode="json"))
