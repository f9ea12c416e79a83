"""What is found in a conversation: a timeline of turns and a summary. Imports no torch, for clients."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lsgmer.core.records import Modality, Record, Seconds
from lsgmer.turns.turn import Turn


class TimelineTurn(Record):
    """A turn and what the model says of it; the fields from `emotion` to `context_used` are those of a Prediction.

    `error` is why nothing could be estimated: `emotion` and `probabilities` are then None. `automatic`: the words
    were transcribed by a machine.
    """

    index: int
    start_s: Seconds
    end_s: Seconds
    speaker: str
    channel: int | None
    text: str | None
    automatic: bool = False
    emotion: str | None = None
    abstained: bool = False
    probabilities: dict[str, float] | None = None
    attribution: dict[str, float] | None = None
    consistency: float | None = None
    modalities: tuple[Modality, ...] = ()
    contribution: dict[Modality, float] = Field(default_factory=dict)
    context_used: int | None = None
    normalised_by: Literal["speaker", "training"] | None = None
    warnings: tuple[str, ...] = ()
    error: str | None = None

    @property
    def duration_s(self) -> Seconds:
        """How long it lasts."""
        return self.end_s - self.start_s

    @property
    def turn(self) -> Turn:
        """The turn without what the model says: as it is given to another analysis."""
        return Turn.model_validate({name: getattr(self, name) for name in Turn.model_fields})


class SpeakerSummary(Record):
    """One speaker: `shares` of their speech by emotion, in time weighted by the probabilities; None without any."""

    name: str
    channel: int | None
    turns: int
    speech_s: Seconds
    shares: dict[str, float] | None


class Window(Record):
    """The shares of a speaker's emotions in a stretch of the conversation in which the speaker spoke."""

    start_s: Seconds
    end_s: Seconds
    speaker: str
    shares: dict[str, float]


class TurningPoint(Record):
    """A turn from which on a speaker sounds lastingly more or less negative; `change` is in probability, -1 to 1.

    `before` and `after` are the emotions with the largest shares in the turns before and from there on.
    """

    speaker: str
    at_s: Seconds
    turn: int
    before: str
    after: str
    change: float


class Moment(Record):
    """A turn, and the probability of all negative emotions together."""

    speaker: str
    start_s: Seconds
    end_s: Seconds
    turn: int
    emotion: str | None
    negativity: float


class Summary(Record):
    """The whole conversation. `shares` are of all speech; without negative labels there are no points and moments."""

    shares: dict[str, float] | None
    over_time: tuple[Window, ...]
    turning_points: tuple[TurningPoint, ...]
    most_negative: tuple[Moment, ...]
    negative_labels: tuple[str, ...]


class Analysis(Record):
    """A conversation, analysed. Times are seconds from the start of the recording."""

    duration_s: Seconds
    sample_rate: int
    channels: int
    turns_from: Literal["given", "voice activity"]
    model_version: str
    speakers: tuple[SpeakerSummary, ...]
    timeline: tuple[TimelineTurn, ...]
    summary: Summary
    warnings: tuple[str, ...] = ()
