"""The section `validate` of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
)

from lsgmer.audio import AudioLimits, limits_in
from lsgmer.core.cluster import ClusterParams
from lsgmer.core.records import Seconds
from lsgmer.core.sections import Part, Section, Sections, Share
from lsgmer.manifests.params import CorpusContents, SplitParams


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

    @property
    def audio_limits(self) -> AudioLimits:
        """What recordings must be like; predictions obey the same."""
        return limits_in(self.model_dump())


class ValidationSections(Sections):
    """The sections that the data checks read."""

    runtime: Part[ClusterParams]
    corpus: Part[CorpusContents]
    manifest: Part[SplitParams]
    validate_: Annotated[ValidateParams, Field(alias="validate")]
