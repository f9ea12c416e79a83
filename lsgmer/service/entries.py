"""What a prediction log records: predictions, feedback on them, and events. Never audio, words or names of speakers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from lsgmer.core.records import Record

Name = Annotated[str, Field(min_length=1, max_length=256)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# ID:HMAC, where ID names the key that the HMAC was made with (see TextKey).
Hmac = Annotated[str, Field(pattern=r"^[0-9a-f]{8}:[0-9a-f]{64}$")]


class Inputs(Record):
    """What was asked, as hashes. `earlier` counts the earlier utterances of the dialogue; `speaker`: whether named.

    `start_s` and `end_s` are a turn's place in the recording, or in the live session, whose bytes are hashed.
    """

    audio_sha256: Sha256 | None = None
    text_hmac: Hmac | None = None
    earlier: int = 0
    earlier_hmac: Hmac | None = None
    channel: int | None = None
    speaker: bool = False
    start_s: FiniteFloat | None = None
    end_s: FiniteFloat | None = None


class Output(Record):
    """What was answered. `abstained`: the service gave no emotion, because the model was not sure enough.

    `transcribed`: the words that the model read are a machine's, of which the log keeps nothing else.
    """

    emotion: str | None
    probabilities: dict[str, FiniteFloat]
    consistency: FiniteFloat
    abstained: bool = False
    transcribed: bool = False


class PredictionEntry(Record):
    """One answer. `output` is None for a refusal or failure, which the HTTP `status` tells; `key` names the API key."""

    kind: Literal["prediction"] = "prediction"
    request_id: Name
    route: Name
    status: Annotated[int, Field(ge=100, le=599)]
    inputs: Inputs
    output: Output | None = None
    warnings: int = 0
    latency_ms: FiniteFloat
    model_version: Name
    key: Name | None = None


class FeedbackEntry(Record):
    """A label that somebody gave, afterwards, to the request `request_id`."""

    kind: Literal["feedback"] = "feedback"
    request_id: Name
    label: Name
    key: Name | None = None


class EventEntry(Record):
    """Something that happened to the service or to the log itself: started, stopped, torn, lost, rebuilt."""

    kind: Literal["event"] = "event"
    event: Name
    detail: Annotated[str, Field(max_length=4096)] = ""


Entry = PredictionEntry | FeedbackEntry | EventEntry
