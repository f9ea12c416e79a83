"""What was said before an utterance in the same dialogue. Imports no torch, so that a service can read a request."""

from __future__ import annotations

from dataclasses import dataclass

MARKS = {True: "same:", False: "other:"}  # before an earlier utterance: the same speaker said it, or another


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier utterance of the same dialogue: its words, and whether the same speaker said it (None: not known)."""

    text: str
    same_speaker: bool | None = None

    @property
    def marked(self) -> str:
        """The words after their mark; without one where it is not known who said them."""
        return self.text if self.same_speaker is None else f"{MARKS[self.same_speaker]} {self.text}"
