"""What a transcriber writes."""

from __future__ import annotations

from lsgmer.core.records import Record


class Transcript(Record):
    """Words that a machine heard; `text` is empty where it heard none that are believed, and `reason` says why.

    Of several pieces, those that are believed are kept, and `reason` says what of the others was left out.
    `mean_log_probability` is over the tokens of all pieces, also where they are not believed; None without speech.
    """

    text: str
    reason: str | None = None
    mean_log_probability: float | None = None
