"""What POST /analyze accepts: the recording of a call, with or without its turns; it goes to the disk as it arrives."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from lsgmer.conversations.summary import negative_labels
from lsgmer.core.errors import LsgmerError
from lsgmer.service.jobs import JobRequest
from lsgmer.turns.files import FORMS, MOST_CHARACTERS, decoded, read_turns
from lsgmer.turns.turn import Turn
from serving.form import FORM_TYPES, SPEAKER, settings
from serving.guard import Refusal

FIELDS = ("audio", "turns", "turns_format", "speakers", "negative", "transcribe")
HOW = "send a form with the field audio (a file), as in curl -F audio=@call.flac [-F turns=@call.rttm]"
YES, NO = ("true", "1", "yes", "on"), ("", "false", "0", "no", "off")
PIECE = 1 << 20


async def read_call(
    request: Request, place: Path, labels: Sequence[str], can_transcribe: bool
) -> tuple[JobRequest, str]:
    """Write the recording of a request to the file `place`; return what is asked, and the recording's sha256.

    Args:
        request: its body is bounded by the guard.
        place: the new file.
        labels: the model's emotions.
        can_transcribe: whether the service can write words.

    Raises:
        Refusal: a field is missing, unknown or wrong.

    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM_TYPES[0]:
        raise Refusal(415, f"content type {kind or 'none'} is not understood; {HOW}")
    try:
        form = await request.form(max_files=2, max_fields=8, max_part_size=MOST_CHARACTERS)
    except HTTPException as error:
        raise Refusal(400, f"the form cannot be read: {error.detail}; {HOW}") from error
    async with _Closing(form):
        _demand_known(form)
        audio = form.get("audio")
        if not isinstance(audio, UploadFile) or not audio.size:
            raise Refusal(400, f"audio: there is no recording; {HOW}")
        asked = JobRequest(
            turns=await _turns(form),
            speakers=_names(form.get("speakers")),
            negative=_negative(form.get("negative"), labels),
            transcribe=_transcribe(form.get("transcribe"), can_transcribe),
        )
        return asked, await asyncio.to_thread(_copy, audio.file, place)


class _Closing:
    """Closes the files of a form, which are then gone from the disk."""

    def __init__(self, form: FormData) -> None:
        self.form = form

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *error: object) -> None:
        await self.form.close()


def _demand_known(form: FormData) -> None:
    if unknown := sorted(set(form) - set(FIELDS)):
        raise Refusal(400, f"unknown field(s) {', '.join(unknown)[:200]}; known are {', '.join(FIELDS)}")
    for name in form:
        if len(form.getlist(name)) > 1:
            raise Refusal(400, f"{name}: given {len(form.getlist(name))} times; send one")


def _copy(source: IO[bytes], place: Path) -> str:
    source.seek(0)
    with place.open("xb") as file:
        place.chmod(0o600)
        shutil.copyfileobj(source, file, PIECE)
    with place.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _turns(form: FormData) -> tuple[Turn, ...] | None:
    given, form_name = form.get("turns"), form.get("turns_format")
    if given is None or given == "":
        return None
    name = str(form_name or "json")
    if isinstance(given, UploadFile):
        name = str(form_name or given.filename or "json")
        if (given.size or 0) > MOST_CHARACTERS:
            raise Refusal(413, f"turns: more than {MOST_CHARACTERS} bytes")
        content = await given.read()
    else:
        content = given.encode(errors="surrogatepass")
    try:
        turns = tuple(await asyncio.to_thread(lambda: read_turns(decoded(content, "turns"), name)))
    except LsgmerError as error:
        said = str(error) if str(error).startswith("turns") else f"turns: {error}"
        raise Refusal(400, f"{said} (turns_format: {', '.join(FORMS)})") from error
    if len(turns) > settings().max_turns:
        raise Refusal(413, f"turns: {len(turns)}, at most {settings().max_turns} are allowed (max_turns)")
    return turns


def _names(given: Any) -> tuple[str, ...]:
    names = _strings("speakers", given, '["agent", "customer"]') or ()
    for name in names:
        if not SPEAKER.fullmatch(name) or name != name.strip():
            raise Refusal(400, "speakers: a name is of at most 128 letters, digits, spaces and . _ @ : + -")
    if len(set(names)) < len(names):
        raise Refusal(400, "speakers: two have the same name; each channel needs its own")
    return names


def _negative(given: Any, labels: Sequence[str]) -> tuple[str, ...] | None:
    names = _strings("negative", given, '["angry", "sad"]')
    if names is None:
        return None
    try:
        return negative_labels(labels, names)
    except LsgmerError as error:
        raise Refusal(400, str(error)) from error


def _strings(name: str, given: Any, example: str) -> tuple[str, ...] | None:
    if given is None or given == "":
        return None
    try:
        found = json.loads(given) if isinstance(given, str) else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found) or len(found) > 64:
        raise Refusal(400, f"{name}: not a JSON list of texts, as in {example}")
    return tuple(found)


def _transcribe(given: Any, possible: bool) -> bool:
    said = given.strip().lower() if isinstance(given, str) else "" if given is None else "?"
    if said in NO:
        return False
    if said not in YES:
        raise Refusal(400, "transcribe: true or false")
    if not possible:
        raise Refusal(
            409, "transcribe: this service writes no words; start it with --set transcribe=moonshine, or leave it out"
        )
    return True
