"""The section `manifest` of params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    PositiveInt,
    field_validator,
)

from lsgmer.core.records import Label, Labels
from lsgmer.core.sections import CorpusFolder, Section, Share

LEAKY = ("random", "utterance", "utterances", "random_utterance", "random_utterances", "leaky_random_utterances")


class CorpusContents(CorpusFolder):
    """What is required of any corpus. With `features_only` rows need neither audio nor text."""

    features_only: bool = False
    labels: tuple[Label, ...]
    expected_counts: dict[str, PositiveInt]

    @property
    def label_set(self) -> Labels:
        """The ordered labels."""
        return Labels(items=self.labels)


class SplitParams(Section):
    """The kind of split, which decides which validation rules apply."""

    split: Literal["text", "given", "speaker", "session", "official"]

    @field_validator("split", mode="before")
    @classmethod
    def _no_leak(cls, value: object) -> object:
        if isinstance(value, str) and value.lower().replace("-", "_") in LEAKY:
            raise ValueError(
                "a random split by utterance puts the same speakers on both sides (worth about 12 points of "
                "accuracy on IEMOCAP), so no stage of the pipeline offers it; set manifest.split to speaker or "
                "session. To measure the leak, run a study with `protocol: {kind: leaky_random_utterances}` in "
                "experiments/params.yaml: every report of it is marked LEAKY"
            )
        return value


class ManifestParams(SplitParams):
    """How utterances are assigned to splits.

    `given` takes the corpus's own split. `speaker` and `session` assign each speaker or session by a
    salted hash, so that none changes split when data is added. `official` is the partition published with the
    corpus: shared speakers are reported as warnings, not errors. `text` assigns what was said by a salted hash, for
    corpora of one or two speakers, which cannot be divided by speaker: shared speakers are warnings there too.
    """

    salt: str
    valid_share: Share
    test_share: Share
