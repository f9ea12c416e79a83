"""The client: every address of the service as a method, with the records that lsgmer itself uses as answers."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO
from urllib.parse import quote

from lsgmer.client.jobs import Job, JobStatus
from lsgmer.client.live import Live
from lsgmer.client.transport import ClientError, Transport, parsed, read_key
from lsgmer.conversations.records import Analysis
from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import Seconds, is_unicode
from lsgmer.inference.prediction import Prediction
from lsgmer.turns.turn import Turn

Earlier = str | Mapping[str, str]  # an earlier utterance: its text, or {"text": ..., "speaker": ...}
Audio = Path | bytes  # a file, or a file's bytes
Files = list[tuple[str, tuple[str, BinaryIO]]]


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One utterance of `predict_batch`; the fields are those of `predict`."""

    audio: Audio | None = None
    text: str | None = None
    previous: Sequence[Earlier] = ()
    speaker: str | None = None
    channel: int | str | None = None
    transcribe: bool = False


class Client:
    """A service, by its address. Threads may share one; close it after use, or use it in a `with`.

    Every method raises ClientError where the service refuses or does not answer, and LsgmerError for a file that
    cannot be read. 429 and 503 are tried again for up to `retry_s` seconds, when the service says it makes sense.
    """

    def __init__(self, url: str, key: str | None = None, timeout: Seconds = 90.0, retry_s: Seconds = 60.0) -> None:
        """Connect to nothing yet.

        Args:
            url: of the service, such as http://127.0.0.1:3000.
            key: an API key; without one, that in the environment variable LSGMER_API_KEY, if any.
            timeout: seconds that an answer may take.
            retry_s: seconds in which a request is tried again.

        Raises:
            ParamsError: the address or the key cannot be one.

        """
        self._transport = Transport(url, read_key(key, os.environ.get), timeout, retry_s)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def sends_key_in_the_clear(self) -> bool:
        """Whether others on the way to the service could read the API key."""
        return bool(self._transport.key) and not self._transport.own_machine and self._transport.url.startswith("http:")

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def predict(
        self,
        audio: Audio | None = None,
        text: str | None = None,
        previous: Sequence[Earlier] = (),
        speaker: str | None = None,
        channel: int | str | None = None,
        transcribe: bool = False,
    ) -> Prediction:
        """Return the emotion of an utterance.

        Args:
            audio: a file, or a file's bytes.
            text: the words.
            previous: earlier utterances of the dialogue, earliest first, for models with context.
            speaker: who speaks; the service may remember their audio level (`forget_speaker`).
            channel: of audio with several: 0, 1, ..., left or right; None: what the model was trained with.
            transcribe: whether the service is to write the words where there are none; not every service can.

        """
        if text is not None and not is_unicode(text):
            raise LsgmerError("text: not valid Unicode: it holds half of a pair of surrogates")
        form = {"text": _as_field(text), "speaker": speaker, "channel": None if channel is None else str(channel)}
        if previous:
            form["previous"] = json.dumps(list(previous))
        if transcribe:
            form["transcribe"] = "true"
        fields = {name: value for name, value in form.items() if value}
        files = None if audio is None else (lambda: [("audio", _part(audio, "audio"))])
        content = self._transport.json("POST", "/predict", files=files, data=fields)
        return parsed(Prediction, content, self._transport.url)

    def predict_batch(self, items: Sequence[BatchItem]) -> list[Prediction | ClientError]:
        """Return, for each item in order, the prediction, or why there is none."""
        body = {"items": [_as_json(item) for item in items]}
        content = self._transport.json("POST", "/predict_batch", json=body)
        return [_batch_answer(answer, self._transport.url) for answer in content["answers"]]

    def card(self) -> dict[str, Any]:
        """Return the card of the model that answers."""
        return self._object("/card")

    def lineage(self) -> dict[str, Any]:
        """Return which data, parameters and code made the model that answers, as hashes."""
        return self._object("/lineage")

    def feedback(self, request_id: str, label: str) -> None:
        """Record which emotion is right for an earlier answer, where the service keeps a log."""
        self._transport.json("POST", "/feedback", json={"request_id": request_id, "label": label})

    def forget_speaker(self, speaker: str) -> bool:
        """Delete the audio level that the service remembers of a speaker; return whether there was one."""
        try:
            self._transport.json("DELETE", f"/speakers/{quote(speaker, safe='')}")
        except ClientError as error:
            if error.status == 404:
                return False
            raise
        return True

    def start_analysis(
        self,
        call: Path,
        turns: Path | Sequence[Turn] | None = None,
        speakers: Sequence[str] | None = None,
        transcribe: bool = False,
        negative: Sequence[str] | None = None,
    ) -> Job:
        """Send a call to be analysed, and return the job that does it.

        Args:
            call: the recording; it is sent as it is read, never as a whole in memory.
            turns: who speaks when: a file (.json, .rttm, .srt, .vtt, .csv), or the turns; None: the service finds them.
            speakers: the speakers' names, by channel.
            transcribe: whether the service is to write down the words of turns without any.
            negative: the emotions that count as negative; None: those whose names say so.

        """
        form = {"transcribe": str(transcribe).lower()}
        for name, value in (("speakers", speakers), ("negative", negative)):
            if value is not None:
                form[name] = json.dumps(list(value))
        if turns is not None and not isinstance(turns, Path):
            form["turns"] = json.dumps([turn.model_dump(mode="json") for turn in turns])

        def files() -> Files:
            found = [("audio", _part(call, "call"))]
            return [*found, ("turns", _part(turns, "turns"))] if isinstance(turns, Path) else found

        content = self._transport.json("POST", "/analyze", files=files, data=form)
        return Job(self._transport, str(content["job_id"]))

    def job(self, id: str) -> Job:
        """Return an analysis that was started before, by its id."""
        return Job(self._transport, id)

    def analyze(
        self,
        call: Path,
        turns: Path | Sequence[Turn] | None = None,
        speakers: Sequence[str] | None = None,
        transcribe: bool = False,
        negative: Sequence[str] | None = None,
        progress: Callable[[JobStatus], None] | None = None,
    ) -> Analysis:
        """Return the analysis of a call once it is done. The service then forgets it.

        The arguments are those of `start_analysis`; `progress` is called with each status. Whatever ends the waiting,
        Ctrl-C too, cancels the job.
        """
        job = self.start_analysis(call, turns, speakers, transcribe, negative)
        try:
            return job.wait(progress)
        finally:
            with suppress(ClientError):  # the result, or the reason, is what counts
                job.cancel()

    def live(
        self,
        rate: int,
        channels: int = 1,
        transcribe: bool = False,
        speakers: Sequence[str] = (),
        negative: Sequence[str] | None = None,
    ) -> Live:
        """Connect for a conversation while it is spoken: `rate` in Hz; the others as in `start_analysis`."""
        return Live(self._transport, rate, channels, transcribe, speakers, negative)

    def _object(self, path: str) -> dict[str, Any]:
        content = self._transport.json("GET", path)
        if not isinstance(content, dict):
            raise ClientError(f"{self._transport.url}{path}: the answer is no object; is this an lsgmer service?")
        return content


def _part(source: Audio, name: str) -> tuple[str, BinaryIO]:
    """Return a file as httpx sends it. Only its suffix is sent: a name may say whose recording it is."""
    if isinstance(source, bytes):
        return name, BytesIO(source)
    try:
        return name + source.suffix, source.open("rb")
    except OSError as error:
        raise LsgmerError(f"{source}: unreadable: {error.strerror}") from None


def _as_field(text: str | None) -> str | None:
    """Return `text` for a form, where the service takes quotes around it for those of a JSON string."""
    return json.dumps(text) if text and len(text) > 1 and text[0] == text[-1] == '"' else text


def _as_json(item: BatchItem) -> dict[str, Any]:
    found: dict[str, Any] = {"text": item.text, "speaker": item.speaker, "channel": item.channel}
    if item.previous:
        found["previous"] = list(item.previous)
    if item.transcribe:
        found["transcribe"] = True
    if item.audio is not None:
        with _part(item.audio, "audio")[1] as file:
            found["audio"] = base64.b64encode(file.read()).decode()
    return {name: value for name, value in found.items() if value is not None}


def _batch_answer(answer: dict[str, Any], url: str) -> Prediction | ClientError:
    if answer.get("status") == 200:
        return parsed(Prediction, answer, url)
    return ClientError(str(answer.get("error")), answer.get("status"), answer.get("request_id"))
