"""What POST /predict and /predict_batch accept, and why a request is refused. Nothing heavy is imported here."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import bentoml
from pydantic import Field
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from lsgmer.core.records import channel_number, is_unicode
from lsgmer.encoders.context import Earlier
from lsgmer.service.settings import ServiceSettings, read_settings
from serving.guard import Refusal

FIELDS = ("audio", "text", "previous", "speaker", "channel", "transcribe")
HOW_PREVIOUS = 'send ["a text", {"text": "another", "speaker": "name"}], earliest first'
HOW_FEEDBACK = 'send {"request_id": "the id of an answer", "label": "the right emotion"}'
MAX_ID = 256
HOW_BATCH = 'send {"items": [{"text": "the words"}, {"audio": "base64 of a file"}]} as application/json'
HOW = "send the form fields audio (a file) and/or text, as in curl -F audio=@speech.flac -F text='the words'"
FORM_TYPES = ("multipart/form-data", "application/x-www-form-urlencoded")
SPEAKER = re.compile(r"[\w .@:+-]{1,128}")


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one utterance, checked but for the audio, which is still encoded."""

    audio: bytes | None = None
    text: str | None = None
    previous: tuple[Earlier, ...] = ()
    speaker: str | None = None
    channel: int | None = None
    transcribe: bool = False


@cache
def settings() -> ServiceSettings:
    """Return the settings of this process."""
    return read_settings()


class PredictRequest(bentoml.IODescriptor):  # type: ignore[misc]
    """An audio file, the words that were said, or both."""

    # Path, not Path | None: BentoML 1.4 recognises a file by the bare type, and fails on Optional[Path] in Python 3.11.
    audio: Path = Field(None, description="Speech: WAV, FLAC, OGG, Opus or MP3.")  # type: ignore[assignment]
    text: str | None = Field(
        None,
        description="The words. Empty counts as absent. Of words that are "
        "more than the model reads, the end is cut; `warnings` in the answer says so.",
    )
    previous: str | None = Field(
        None,
        description="Earlier utterances of the dialogue, earliest first: a JSON list of texts, or of "
        '{"text": ..., "speaker": ...}. Read by models that were trained with context.',
    )
    speaker: str | None = Field(
        None,
        description="Who speaks, to tell whose the earlier utterances are; and, by models that were trained with "
        "features.normalise, to remove the speaker's own audio level.",
    )

    channel: str | None = Field(
        None, description="Which channel of the audio to read: 0, 1, ..., left or right. Without it all are mixed."
    )

    transcribe: str | None = Field(
        None,
        description="true: where no words are given, and the model reads some, a machine writes them from the audio; "
        "`transcript` in the answer says what it heard.",
    )

    @classmethod
    async def from_http_request(cls, request: Request, serde: Any) -> PredictRequest:
        """Leave the form to `read_form`, which `predict` calls.

        BentoML's own reading turns the text 42 into a number, fetches an audio field that looks like an address,
        answers a malformed form with 500, and writes the upload to a file that a killed process leaves behind.
        """
        return cls()


def clean_text(text: str | None) -> str | None:
    """Return `text` without surrounding space, None when nothing is left. Raises Refusal when it is unusable."""
    stripped = (text or "").strip()
    most = settings().max_text_characters
    if len(stripped) > most:
        raise Refusal(413, f"text: {len(stripped)} characters, at most {most} are allowed (max_text_characters)")
    try:
        stripped.encode()
    except UnicodeEncodeError as error:
        raise Refusal(400, f"text: not valid Unicode ({error.reason} at character {error.start})") from error
    return stripped or None


def read_speaker(given: str | None) -> str | None:
    """Return the speaker's name, None for none. Raises Refusal for one that is not a plain name."""
    name = (given or "").strip()
    if name and not SPEAKER.fullmatch(name):
        raise Refusal(400, "speaker: at most 128 letters, digits, spaces and . _ @ : + - are allowed")
    return name or None


def read_channel(given: str | None) -> int | None:
    """Return the number of the channel to read, None for all. Raises Refusal for what is no channel."""
    try:
        return channel_number(given) if (given or "").strip() else None
    except ValueError as error:
        raise Refusal(400, f"channel: {error}") from error


def read_transcribe(given: str | None) -> bool:
    """Return whether words are asked for. Raises Refusal for anything but true and false, and where none are made."""
    asked = (given or "").strip().lower()
    if asked not in ("", "true", "false"):
        raise Refusal(400, "transcribe: true or false")
    if asked == "true" and not settings().transcribes:
        raise Refusal(
            409,
            "transcribe: this service transcribes nothing (transcribe=off); send the words as text, or leave it out",
        )
    return asked == "true"


def read_previous(given: str | None, speaker: str | None) -> tuple[Earlier, ...]:
    """Return the earlier utterances in `given`, a JSON list; `speaker` says the words themselves. Raises Refusal."""
    if not (given or "").strip():
        return ()
    try:
        lines = json.loads(str(given))
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"previous: not JSON: {error}; {HOW_PREVIOUS}") from error
    return earlier_lines(lines, speaker)


def earlier_lines(lines: Any, speaker: str | None) -> tuple[Earlier, ...]:
    """Return the earlier utterances in a list of texts and objects. Raises Refusal."""
    if not isinstance(lines, list):
        raise Refusal(400, f"previous: not a list; {HOW_PREVIOUS}")
    if len(lines) > settings().max_previous:
        most = settings().max_previous
        raise Refusal(413, f"previous: {len(lines)} utterances, at most {most} are allowed (max_previous)")
    return tuple(_earlier(line, i, speaker) for i, line in enumerate(lines))


def _earlier(line: Any, place: int, speaker: str | None) -> Earlier:
    fields = {"text": line} if isinstance(line, str) else line
    if not isinstance(fields, dict) or set(fields) - {"text", "speaker"} or not isinstance(fields.get("text"), str):
        raise Refusal(400, f"previous[{place}]: neither a text nor an object with text; {HOW_PREVIOUS}")
    who = fields.get("speaker")
    if who is not None and not isinstance(who, str):
        raise Refusal(400, f"previous[{place}].speaker: not a text; {HOW_PREVIOUS}")
    try:
        text, name = clean_text(fields["text"]), read_speaker(who)
    except Refusal as refusal:
        raise Refusal(refusal.status, f"previous[{place}].{refusal.reason}") from refusal
    return Earlier(text or "", None if name is None or speaker is None else name == speaker)


async def read_form(request: Request) -> Fields:
    """Return the fields of a request to /predict: a form or a JSON object. Raises Refusal."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in FORM_TYPES:
        try:
            form = await request.form(max_files=4, max_fields=16)
        except HTTPException as error:
            raise Refusal(400, f"the form cannot be read: {error.detail}; {HOW}") from error
        return checked(await _from_form(form))
    body = await request.body()
    if not body.strip():
        return checked({})
    if kind != "application/json":
        raise Refusal(415, f"content type {kind or 'none'} is not understood; {HOW}")
    return checked(_from_json(body))


async def read_batch(request: Request) -> list[Fields | Refusal]:
    """Return, for each item of a request to /predict_batch, its fields or why it is refused. Raises Refusal for all."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, f"content type {kind or 'none'} is not understood; {HOW_BATCH}")
    content = parsed(await request.body())
    items = content.get("items") if isinstance(content, dict) and set(content) == {"items"} else None
    if not isinstance(items, list) or not items:
        raise Refusal(400, f"items: not a list with something in it; {HOW_BATCH}")
    if len(items) > settings().max_items:
        raise Refusal(413, f"items: {len(items)}, at most {settings().max_items} are allowed (max_items)")
    return [_batch_item(item) for item in items]


async def read_feedback(request: Request) -> tuple[str, str]:
    """Return the id of an answer, and the label that is said to be right. Raises Refusal."""
    content = parsed(await request.body())
    if not isinstance(content, dict) or set(content) != {"request_id", "label"}:
        raise Refusal(400, f"not an object with request_id and label; {HOW_FEEDBACK}")
    about, label = content["request_id"], content["label"]
    if not isinstance(about, str) or not 0 < len(about) <= MAX_ID or not is_unicode(about):
        raise Refusal(400, f"request_id: not the id of an answer; {HOW_FEEDBACK}")
    if not isinstance(label, str):
        raise Refusal(400, f"label: not a text; {HOW_FEEDBACK}")
    return about, label


def _batch_item(item: Any) -> Fields | Refusal:
    try:
        if not isinstance(item, dict) or set(item) - set(FIELDS):
            raise Refusal(400, f"not an object with {', '.join(FIELDS)}; {HOW_BATCH}")
        given = dict(item)
        for name in ("text", "speaker", "audio"):
            if not isinstance(given.get(name, ""), str):
                raise Refusal(400, f"{name}: not a text; {HOW_BATCH}")
        if "channel" in given:
            if isinstance(given["channel"], bool) or not isinstance(given["channel"], int | str):
                raise Refusal(400, "channel: 0, 1, ..., left or right")
            given["channel"] = str(given["channel"])
        if not isinstance(given.get("transcribe", False), bool):
            raise Refusal(400, "transcribe: true or false")
        given["transcribe"] = str(given.get("transcribe", False))
        if "audio" in given:
            given["audio"] = _decoded(given["audio"])
        previous = given.pop("previous", None)
        found = checked(given)
        return found if previous is None else replace(found, previous=earlier_lines(previous, found.speaker))
    except Refusal as refusal:
        return refusal


def _decoded(audio: str) -> bytes:
    try:
        return base64.b64decode(audio, validate=True)
    except ValueError as error:  # binascii.Error is one
        raise Refusal(400, f"audio: not base64: {error}; {HOW_BATCH}") from error


def checked(given: Mapping[str, Any]) -> Fields:
    """Return the raw fields, checked. Raises Refusal."""
    text, who, channel = clean_text(given.get("text")), read_speaker(given.get("speaker")), given.get("channel")
    which, audio = read_channel(channel), given.get("audio")
    if audio is None and text is None:
        raise Refusal(400, f"neither audio nor text was given; {HOW}")
    if audio is None and which is not None:
        raise Refusal(400, "channel: there is no audio to read it from; send audio, or leave channel out")
    asked = read_transcribe(given.get("transcribe"))
    if asked and audio is None:
        raise Refusal(400, "transcribe: there is no audio to transcribe; send audio, or leave transcribe out")
    return Fields(audio, text, read_previous(given.get("previous"), who), who, which, asked)


def parsed(body: bytes) -> Any:
    """Return the JSON in `body`. Raises Refusal, also for a body nested so deeply that it cannot be read."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the body is not JSON: {error}") from error


async def _from_form(form: FormData) -> dict[str, Any]:
    unknown = sorted(set(form) - set(FIELDS))
    if unknown:
        raise Refusal(400, f"unknown field(s) {', '.join(unknown)}; {HOW}")
    for name in form:
        if len(form.getlist(name)) > 1:
            raise Refusal(400, f"{name}: given {len(form.getlist(name))} times; send one per request")
    given: dict[str, Any] = {"audio": await _audio(form.get("audio"))}
    for name in ("text", "previous", "speaker", "channel", "transcribe"):
        given[name] = await _text(name, form.get(name))
    return {name: value for name, value in given.items() if value is not None}


async def _audio(value: UploadFile | str | None) -> bytes | None:
    if isinstance(value, str):
        if value.strip():
            raise Refusal(400, "audio: is text, not a file; with curl, write audio=@speech.flac")
        return None
    if value is None or (not value.size and not value.filename):  # a browser's empty file field
        return None
    return await value.read()


async def _text(name: str, value: UploadFile | str | None) -> str | None:
    if isinstance(value, UploadFile):
        try:
            value = (await value.read()).decode()
        except UnicodeDecodeError as error:
            raise Refusal(400, f"{name}: the file is not UTF-8 text") from error
    return _unquoted(value) if value else None


def _unquoted(text: str) -> str:
    """Undo the quotes of BentoML's own client, which sends text as a JSON string."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        try:
            return str(json.loads(text))
        except ValueError:
            return text
    return text


def _from_json(body: bytes) -> dict[str, Any]:
    content = parsed(body)
    texts = ("text", "speaker")
    if (
        not isinstance(content, dict)
        or set(content) - {*texts, "previous"}
        or not all(isinstance(content.get(name, ""), str) for name in texts)
    ):
        raise Refusal(
            400,
            f'a JSON body may only be {{"text": "the words", "previous": [...], "speaker": "name"}}; for audio, {HOW}',
        )
    if "previous" in content:
        content["previous"] = json.dumps(content["previous"])
    return content
