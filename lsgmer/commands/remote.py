"""`lsgmer predict --url`: the same rows as the local command's, from a service; several requests in flight."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from lsgmer.audio import EMBEDDED, form, lossless_cut
from lsgmer.client import Client, ClientError
from lsgmer.commands.queries import Query, before
from lsgmer.core.errors import LsgmerError, ParamsError
from lsgmer.core.process import native_stderr_off
from lsgmer.core.progress import track
from lsgmer.core.records import channel_number
from lsgmer.encoders.context import Earlier
from lsgmer.inference.prediction import Prediction

IN_FLIGHT = 8  # requests at once: as many as the service predicts together, where its setting is the default
MOONSHINE = "moonshine"  # what --transcribe alone asks for
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its place among the rows, and what is sent. `alias` stands for the speaker, whose name stays here.

    `forgotten`: the alias serves this request only, and the service is told to forget it after.
    """

    place: int
    audio: Path | bytes | None
    text: str | None
    previous: tuple[Mapping[str, str] | str, ...] = ()
    alias: str | None = None
    channel: int | None = None
    forgotten: bool = False
    transcribe: bool = False


@dataclass(frozen=True, slots=True)
class Levels:
    """Whether the model removes speakers' levels from the audio, and whether the service keeps some to do that."""

    removed: bool
    kept: bool


def check(url: str | None, key_file: Path | None, transcriber: str | None) -> None:
    """Raise ParamsError for options that do not go together: a service has keys, and its own transcriber."""
    if key_file is not None and url is None:
        raise ParamsError("--key-file goes with --url")
    if url is not None and transcriber not in (None, MOONSHINE):
        raise ParamsError("--transcriber: a service uses its own (the setting transcribe); give --transcribe")


def connect(url: str, key_file: Path | None) -> Client:
    """Return a client of the service at `url`, with the key in `key_file`, or else in LSGMER_API_KEY."""
    client = Client(url, None if key_file is None else read_key_file(key_file))
    if client.sends_key_in_the_clear:
        print(f"lsgmer: warning: {url}: the API key is sent unencrypted; use https", file=sys.stderr)
    return client


def read_key_file(path: Path) -> str:
    """Return the API key in a file, without the line's end. Raises LsgmerError for none."""
    try:
        key = path.read_text(encoding="ascii").strip()
    except UnicodeDecodeError:
        raise ParamsError(f"--key-file {path}: holds no API key: they are ASCII") from None
    except OSError as error:
        raise ParamsError(f"--key-file {path}: {error.strerror}") from None
    if not key or len(key.split()) != 1:
        raise ParamsError(f"--key-file {path}: write the API key alone on one line")
    return key


def answers(client: Client, sources: Sequence[Query], transcribe: bool = False) -> Iterator[dict[str, Any]]:
    """Yield one row per input, in order, as the local command makes them, with the service's request_id.

    A model that removes speakers' levels is first sent all of a speaker's recordings, as the local command reads them
    first: speaker after speaker under an alias, which the service is then told to forget.
    Raises ClientError where the service does not answer at all.
    """
    card = client.card()
    train = card.get("train", {})
    normalises = train.get("normalise", "none") != "none"
    levels = Levels(normalises, kept=bool(card.get("speakers")))
    silent = {i for i, q in enumerate(sources) if transcribe and q.audio and not (q.text and q.text.strip())}
    earlier: Mapping[int, Sequence[Earlier]] = {}
    if _context(train):
        in_dialogues = [place for place in sorted(silent) if sources[place].dialogue is not None]
        heard = _heard(client, sources, in_dialogues)
        spoken = [replace(q, text=heard[i]) if heard.get(i) else q for i, q in enumerate(sources)]
        earlier = before(spoken, _context(train))
    rows: dict[int, dict[str, Any]] = {}
    total = len(sources)
    found = _rows(client, sources, earlier, silent, levels)
    for place, row in track(found, total, "predict") if total > 1 else found:
        rows[place] = row
    _note_levels(sources, rows, normalises)
    yield from (rows[place] for place in range(total))


def _context(train: Mapping[str, Any]) -> int:
    """Return how many earlier utterances the model with this card reads."""
    text = (train.get("encoders") or {}).get("text") or {}
    return int((text.get("settings") or {}).get("context", 0))


def _heard(client: Client, sources: Sequence[Query], places: Sequence[int]) -> dict[int, str]:
    """Return the words that the service hears in some recordings: later turns of their dialogues are read with them."""
    nothing: Mapping[int, Sequence[Earlier]] = {}
    chosen = [replace(sources[place], speaker=None) for place in places]
    rows = _rows(client, chosen, nothing, set(range(len(chosen))), Levels(False, False))
    shown = track(rows, len(chosen), "transcripts") if chosen else rows
    return {places[i]: row["transcript"]["text"] for i, row in shown if row.get("transcript")}


def _rows(
    client: Client,
    sources: Sequence[Query],
    earlier: Mapping[int, Sequence[Earlier]],
    silent: Collection[int],
    levels: Levels,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows with their places: speaker by speaker where the service is to know their levels."""
    run = uuid4().hex[:12]  # no speaker of this run is one that the service knows
    aliases: dict[str, str] = {}
    rounds: dict[str | None, list[int]] = {None: []}
    for place, source in enumerate(sources):
        if source.speaker is not None:
            aliases.setdefault(source.speaker, f"{run}.{len(aliases)}")
        levelled = levels.removed and levels.kept and source.speaker is not None and source.audio is not None
        rounds.setdefault(source.speaker if levelled else None, []).append(place)

    def asked(place: int) -> Asked | str:
        source, lines = sources[place], earlier.get(place, ())
        alias = aliases.get(source.speaker or "", f"{run}.row{place}")
        marked = any(line.same_speaker is not None for line in lines)
        needed = marked or (levels.removed and source.speaker is not None and source.audio is not None)
        try:
            found = _asked(source, place, alias if needed else None, lines, levels.removed and source.speaker is None)
            return replace(found, transcribe=place in silent)
        except LsgmerError as error:
            return str(error)

    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="request") as pool:
        try:
            for speaker, places in rounds.items():
                if speaker is not None:
                    for _ in _in_flight(pool, places, asked, lambda item: _enrol(client, item)):
                        pass  # the service learns the speaker's level
                for place, row in _in_flight(pool, places, asked, lambda item: _answer(client, item)):
                    yield place, {"source": sources[place].name, **row}
                if speaker is not None:
                    client.forget_speaker(aliases[speaker])
        finally:
            pool.shutdown(cancel_futures=True)


def _in_flight(
    pool: ThreadPoolExecutor,
    places: Iterable[int],
    prepare: Callable[[int], Asked | str],
    ask: Callable[[Asked], dict[str, Any]],
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of `places`, in order. Files are read in this thread, no more of them than are sent at once."""
    waiting: deque[tuple[int, Future[dict[str, Any]] | str]] = deque()

    def oldest() -> tuple[int, dict[str, Any]]:
        place, row = waiting.popleft()
        return place, {"error": row} if isinstance(row, str) else row.result()

    for place in places:
        item = prepare(place)
        waiting.append((place, item if isinstance(item, str) else pool.submit(ask, item)))
        if len(waiting) >= IN_FLIGHT:
            yield oldest()
    while waiting:
        yield oldest()


def _asked(source: Query, place: int, alias: str | None, lines: Sequence[Earlier], unnamed: bool) -> Asked:
    """Return the request for one row. Raises LsgmerError for a row or a file that cannot be read."""
    if source.problem:
        raise LsgmerError(source.problem)
    audio: Path | bytes | None = None
    channel = None if source.channel is None or source.audio is None else _channel(source.channel)
    if source.audio is not None:
        with native_stderr_off():
            if source.start_s is not None or source.end_s is not None or EMBEDDED.search(source.audio.name):
                audio, channel = lossless_cut(source.audio, source.start_s, source.end_s, channel), None
            else:
                form(source.audio)  # what is no audio need not be sent
                audio = source.audio
    previous = tuple(_line(line, alias) for line in lines)
    return Asked(place, audio, source.text, previous, alias, channel, forgotten=alias is not None and unnamed)


def _line(line: Earlier, alias: str | None) -> Mapping[str, str] | str:
    if line.same_speaker is None or alias is None:
        return line.text
    return {"text": line.text, "speaker": alias if line.same_speaker else f"{alias}.other"}


def _channel(given: str) -> int:
    try:
        return channel_number(given)
    except ValueError as error:
        raise ParamsError(str(error)) from None


def _enrol(client: Client, item: Asked) -> dict[str, Any]:
    return _answer(client, replace(item, transcribe=False))


def _answer(client: Client, item: Asked) -> dict[str, Any]:
    """Return the fields of the answer, or the error."""
    try:
        found: Prediction = client.predict(
            item.audio, item.text, item.previous, item.alias, item.channel, item.transcribe
        )
        if item.forgotten and found.normalised_by is not None and item.alias is not None:
            client.forget_speaker(item.alias)
            found = found.model_copy(update={"enrolled": 0})  # as for a speaker without a name
    except ClientError as error:
        return {"error": error.reason + (f" (request {error.request_id})" if error.request_id else "")}
    except LsgmerError as error:
        return {"error": str(error)}
    return {"error": None, **found.model_dump(mode="json")}


def _note_levels(sources: Sequence[Query], rows: Mapping[int, Mapping[str, Any]], normalises: bool) -> None:
    """Say where the service did not use a speaker's own level, as the local command would have."""
    named = {place for place, source in enumerate(sources) if source.speaker is not None and source.audio is not None}
    other = sum(rows[place].get("normalised_by") == "training" for place in named) if normalises else 0
    if other:
        print(
            f"lsgmer predict: note: {other} of {len(named)} recordings with a speaker: the service used the level of "
            "the training data, since it keeps no speakers' levels (package.speakers) or heard too little of theirs; "
            "predicted locally, they differ",
            file=sys.stderr,
        )
