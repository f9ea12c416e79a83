"""The limits and switches of the running service: each is an environment variable LSGMER_NAME, with a sane default."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
)

from lsgmer.core.errors import ParamsError
from lsgmer.core.records import first_problem

PREFIX = "LSGMER_SERVICE_"
WORKER_CORES, WORKER_BYTES, MOST_WORKERS = 2, 2 * 2**30, 8
OFF = "off"


class ServiceSettings(BaseModel):
    """What one service process accepts. `lsgmer serve --set NAME=VALUE` sets the variable LSGMER_SERVICE_NAME."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_upload_mib: PositiveFloat = Field(25.0, description="body of a request, declared or streamed: 413")
    max_body_mib: PositiveFloat = Field(256.0, description="bodies of all requests in progress together: 503")
    max_audio_s: PositiveFloat = Field(60.0, description="seconds of a recording: 422")
    max_channels: PositiveInt = Field(8, description="channels of a recording: 422")
    max_sample_rate: PositiveInt = Field(192_000, description="Hz of a recording: 422")
    max_decoded_mib: PositiveFloat = Field(128.0, description="of a recording with all its channels, decoded: 422")
    max_text_characters: PositiveInt = Field(10_000, description="characters of a text: 413")
    max_previous: NonNegativeInt = Field(32, description="earlier utterances of a request: 413")
    max_items: PositiveInt = Field(32, description="items of POST /predict_batch: 413")
    max_requests: PositiveInt = Field(64, description="requests in progress: 503 with Retry-After")
    max_waiting: PositiveInt = Field(256, description="utterances that wait for the model: 503 with Retry-After")
    max_waiting_mib: PositiveFloat = Field(256.0, description="of decoded audio that waits for the model: 503")
    requests_per_minute: NonNegativeInt = Field(0, description="of one key (or one address): 429; 0: any number")
    workers: NonNegativeInt = Field(
        0, description="processes that answer, each with these limits; 0: by cores and memory"
    )
    batch_items: PositiveInt = Field(8, description="utterances that are predicted together at most")
    body_s: PositiveFloat = Field(30.0, description="seconds in which a body must arrive: 408")
    decode_s: PositiveFloat = Field(10.0, description="seconds that decoding a recording may take: 422")
    answer_s: PositiveFloat = Field(60.0, description="seconds that an answer may take: 504")
    abstain: bool = Field(False, description="give no emotion where the model is less sure than its card demands")
    max_call_mib: PositiveFloat = Field(512.0, description="recording of a call, POST /analyze, kept on disk: 413")
    max_call_s: PositiveFloat = Field(4 * 3600.0, description="seconds of a call: the job fails")
    max_turns: PositiveInt = Field(5000, description="given turns of a call: 413")
    call_upload_s: PositiveFloat = Field(600.0, description="seconds in which a call must arrive: 408")
    max_jobs: PositiveInt = Field(16, description="calls that wait or are analysed: 503 with Retry-After")
    job_hours: PositiveFloat = Field(24.0, description="hours that a finished analysis can be fetched")
    max_live: PositiveInt = Field(4, description="live sessions at once: 503 with Retry-After")
    max_live_s: PositiveFloat = Field(4 * 3600.0, description="seconds of audio of a live session, which then ends")
    live_idle_s: PositiveFloat = Field(60.0, description="seconds without a message after which a live session ends")
    jobs: Path | None = Field(None, description="folder of the analyses; without one they do not survive a restart")
    transcribe: str = Field(
        OFF, description="what writes words that are asked for: off, moonshine (English), a Whisper model's folder"
    )
    keys: Path | None = Field(None, description="file of API keys; without one only this machine is answered")
    log: Path | None = Field(None, description="folder of the prediction log; without one nothing is logged")
    log_sync: bool = Field(False, description="wait for the disk at each line of the log: it survives a power failure")

    @field_validator("transcribe", mode="before")
    @classmethod
    def _nothing_is_off(cls, given: str | None) -> str:
        return given or OFF

    @property
    def transcribes(self) -> bool:
        """Whether words are written where they are asked for."""
        return self.transcribe != OFF

    @property
    def max_upload_bytes(self) -> int:
        """The largest body of a request, in bytes."""
        return int(self.max_upload_mib * 2**20)

    @property
    def max_call_bytes(self) -> int:
        """The largest body of POST /analyze, in bytes."""
        return int(self.max_call_mib * 2**20)

    @property
    def max_body_bytes(self) -> int:
        """The largest sum of the bodies that are held at once, in bytes."""
        return int(self.max_body_mib * 2**20)


def workers_for(cores: int, free_bytes: int, keeps_levels: bool) -> int:
    """Return how many processes suit a machine: each takes a core to predict, one for all else, and some memory.

    One where speakers' levels are kept, which are in the memory of a process.
    """
    return 1 if keeps_levels else max(1, min(cores // WORKER_CORES, free_bytes // WORKER_BYTES, MOST_WORKERS))


def read_settings(environment: Mapping[str, str] = os.environ) -> ServiceSettings:
    """Return the settings in `environment`. Raises ParamsError, naming the variable, for a bad value or name."""
    given = {
        name.removeprefix(PREFIX).lower(): value or None  # an empty variable switches a file off
        for name, value in environment.items()
        if name.startswith(PREFIX)
    }
    try:
        return ServiceSettings.model_validate(given)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        known = "" if name in ServiceSettings.model_fields else f"; known are {', '.join(ServiceSettings.model_fields)}"
        raise ParamsError(f"{PREFIX}{name.upper()}: {first_problem(error)}{known}") from None


def as_environment(assignments: Iterable[str]) -> dict[str, str]:
    """Return NAME=VALUE pairs as environment variables, after checking them. Raises ParamsError."""
    found: dict[str, str] = {}
    for assignment in assignments:
        name, sign, value = assignment.partition("=")
        if not sign:
            raise ParamsError(f"--set {assignment}: write NAME=VALUE, as in --set max_audio_s=30")
        found[PREFIX + name.strip().upper()] = value.strip()
    read_settings(found)
    return found


def table() -> str:
    """Return every setting with its default and what it bounds, one a line."""
    rows = [(name, str(field.default), field.description or "") for name, field in ServiceSettings.model_fields.items()]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {said}" for name, value, said in rows)
