"""What a transcriber writes, and what it is: records that cards and answers carry. Imports no torch."""

from __future__ import annotations

from lsgmer.core.records import Record, digest


class Transcript(Record):
    """Words that a machine heard; `text` is empty where it heard none that are believed, and `reason` says why.

    Of several pieces, those that are believed are kept, and `reason` says what of the others was left out.
    `mean_log_probability` is over the tokens of all pieces, also where they are not believed; None without speech.
    """

    text: str
    reason: str | None = None
    mean_log_probability: float | None = None


class TranscriberSpec(Record):
    """What writes automatic words: enough to load it again, and to tell whether two are the same.

    `files` are the sha256 of its files by name, or of the weights and settings of a folder.
    """

    kind: str
    source: str | None = None
    revision: str | None = None
    language: str | None = None
    min_log_probability: float
    files: dict[str, str]
    versions: dict[str, str]

    @property
    def fingerprint(self) -> str:
        """The sha256 of every field, the library versions included."""
        return digest(self.model_dump(mode="json"))
