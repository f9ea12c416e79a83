"""What POST /predict accepts, its limits, and why a request is refused. Nothing heavy is imported here."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from typing import Any

import bentoml
from pydantic import Field
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from lsgmer.core.records import channel_number
from lsgmer.encoders.context import Earlier

MAX_UPLOAD_BYTES = 25 * 2**20
MAX_AUDIO_S = 60.0
MAX_CHANNELS = 8
MAX_SAMPLE_RATE = 192_000
MAX_TEXT_CHARACTERS = 10_000
MAX_PREVIOUS = 32
FIELDS = ("audio", "text", "previous", "speaker", "channel")
HOW_PREVIOUS = 'send ["a text", {"text": "another", "speaker": "name"}], earliest first'
HOW = "send the form fields audio (a file) and/or text, as in curl -F audio=@speech.flac -F text='the words'"
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
SPEAKER = re.compile(r"[\w .@:+-]{1,128}")
ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Refusal(Exception):
    """A request that cannot be answered: the HTTP status and a reason that names the field."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class PredictRequest(bentoml.IODescriptor):  # type: ignore[misc]
    """An audio file, the words that were said, or both."""

    # Path, not Path | None: BentoML 1.4 recognises a file by the bare type, and fails on Optional[Path] in Python 3.11.
    audio: Path = Field(  # type: ignore[assignment]
        None, description="Speech: WAV, FLAC, OGG, Opus or MP3, at most 60 s and 25 MiB."
    )
    text: str | None = Field(
        None,
        description="The words, at most 10,000 characters. Empty counts as absent. Of words that are "
        "more than the model reads, the end is cut; `warnings` in the answer says so.",
    )
    previous: str | None = Field(
        None,
        description="Earlier utterances of the dialogue, earliest first, at most 32: a JSON list of texts, or of "
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

    @classmethod
    async def from_http_request(cls, request: Request, serde: Any) -> PredictRequest:
        """Read the form ourselves.

        BentoML's own reading turns the text 42 into a number, fetches an audio field that looks like an
        address, and answers a malformed form with 500. It would also wrap a refusal raised here in a list,
        so a refusal travels in the request's state to `predict`, which answers it.
        """
        try:
            return cls(**await _read_fields(request))
        except Refusal as refusal:
            request.state.refusal = refusal
            return cls()


def request_id(request: Request) -> str:
    """Return the caller's X-Request-ID if it is a plain name of at most 128 characters, else a new uuid."""
    given = request.headers.get("x-request-id", "")
    return given if ID.fullmatch(given) else str(uuid.uuid4())


def clean_text(text: str | None) -> str | None:
    """Return `text` without surrounding space, None when nothing is left. Raises Refusal when it is unusable."""
    stripped = (text or "").strip()
    if len(stripped) > MAX_TEXT_CHARACTERS:
        raise Refusal(413, f"text: {len(stripped)} characters, at most {MAX_TEXT_CHARACTERS} are allowed")
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


def read_previous(given: str | None, speaker: str | None) -> tuple[Earlier, ...]:
    """Return the earlier utterances in `given`, a JSON list; `speaker` says the words themselves. Raises Refusal."""
    if not (given or "").strip():
        return ()
    try:
        lines = json.loads(str(given))
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"previous: not JSON: {error}; {HOW_PREVIOUS}") from error
    if not isinstance(lines, list):
        raise Refusal(400, f"previous: not a list; {HOW_PREVIOUS}")
    if len(lines) > MAX_PREVIOUS:
        raise Refusal(413, f"previous: {len(lines)} utterances, at most {MAX_PREVIOUS} are allowed")
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


async def _read_fields(request: Request) -> dict[str, Any]:
    declared = request.headers.get("content-length", "0")
    _check_size(int(declared) if declared.isdigit() else 0)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in FORMS:
        try:
            form = await request.form(max_files=4, max_fields=16)
        except HTTPException as error:
            raise Refusal(400, f"the form cannot be read: {error.detail}; {HOW}") from error
        return await _from_form(form)
    body = await request.body()
    if not body.strip():
        return {}
    if kind != "application/json":
        raise Refusal(415, f"content type {kind or 'none'} is not understood; {HOW}")
    return _from_json(body)


async def _from_form(form: FormData) -> dict[str, Any]:
    unknown = sorted(set(form) - set(FIELDS))
    if unknown:
        raise Refusal(400, f"unknown field(s) {', '.join(unknown)}; {HOW}")
    for name in form:
        if len(form.getlist(name)) > 1:
            raise Refusal(400, f"{name}: given {len(form.getlist(name))} times; send one per request")
    given: dict[str, Any] = {"audio": await _audio(form.get("audio"))}
    for name in ("text", "previous", "speaker", "channel"):
        given[name] = await _text(name, form.get(name))
    return {name: value for name, value in given.items() if value is not None}


async def _audio(value: UploadFile | str | None) -> bytes | None:
    if isinstance(value, str):
        if value.strip():
            raise Refusal(400, "audio: is text, not a file; with curl, write audio=@speech.flac")
        return None
    if value is None or (not value.size and not value.filename):  # a browser's empty file field
        return None
    _check_size(value.size or 0)
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
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the body is not JSON: {error}") from error
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


def _check_size(size: int) -> None:
    if size > MAX_UPLOAD_BYTES:
        raise Refusal(413, f"the upload has {size / 2**20:.1f} MiB, at most {MAX_UPLOAD_BYTES // 2**20} are allowed")
