"""The part `calls` of the section `corpus` of params.yaml: what recordings with turn files beside them mean."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from lsgmer.core.records import channel_number
from lsgmer.core.sections import Section


class EmotionsTable(Section):
    """A table with the emotion of each turn: its path in the corpus folder, and its columns.

    `call` holds the recording, with or without its suffix; either `turn` the number of the turn in its file, from 1,
    or `start_s` where it starts, in seconds.
    """

    table: str
    call: str = "call"
    turn: str | None = None
    start_s: str | None = None
    emotion: str = "emotion"

    @field_validator("table")
    @classmethod
    def _inside(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError("must be a table inside corpus.path, such as emotions.csv")
        return path.as_posix()

    @model_validator(mode="after")
    def _one_key(self) -> EmotionsTable:
        if (self.turn is None) == (self.start_s is None):
            raise ValueError(
                "name the column turn (the number of the turn in its file, from 1) or start_s, one of them"
            )
        return self


class CallsParams(Section):
    """What a corpus of recordings with turn files beside them means.

    `emotions` names a table of the turns' emotions; without it the turn files hold them. `speakers` says who is the
    same person in several calls: `per_call` nobody (names such as agent are roles), `named` who has the same name.
    `channels` gives the channel of each name, where the turn itself does not: 0, 1, ..., left or right.
    """

    emotions: EmotionsTable | None = None
    speakers: Literal["per_call", "named"] = "per_call"
    channels: dict[str, NonNegativeInt] = Field(default_factory=dict)

    @field_validator("channels", mode="before")
    @classmethod
    def _numbered(cls, value: object) -> object:
        return {name: channel_number(one) for name, one in value.items()} if isinstance(value, dict) else value
