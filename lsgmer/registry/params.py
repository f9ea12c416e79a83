"""The section `package` of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    Field,
)

from lsgmer.core.sections import Section


class PackageParams(Section):
    """The Bento's name and the card's statement of purpose."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9_.-]*[a-z0-9])?$")]
    intended_use: str
    limits: tuple[str, ...]
