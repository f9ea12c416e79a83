"""The section `package` of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
)

from lsgmer.core.sections import Section


class PackageParams(Section):
    """The Bento's name, the card's statement of purpose, and how many speakers' audio levels the service may keep.

    Levels are personal data: none are kept for `speakers` 0; else in memory only, for `speaker_hours` after a speaker's
    last utterance, and `DELETE /speakers/NAME` forgets one. Only a model with `features.normalise` uses them.
    With `transcribe`, the Bento's requirements hold what the service's setting transcribe=moonshine needs; those of a
    model that was trained on Moonshine's words always do.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9_.-]*[a-z0-9])?$")]
    intended_use: str
    limits: tuple[str, ...]
    speakers: NonNegativeInt = 0
    speaker_hours: PositiveFloat = 24.0
    transcribe: bool = False
