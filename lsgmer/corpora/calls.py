"""Bring your own: recordings of conversations, each with a file of the same name that says who speaks when.

Each turn becomes an utterance, cut out of the recording; its emotion is in the turn file or in a table for all calls.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lsgmer.core.errors import LsgmerError, ParamsError
from lsgmer.core.text import cut_text
from lsgmer.corpora.base import Unfit, label_of
from lsgmer.corpora.call_params import CallsParams
from lsgmer.corpora.emotions import Emotions
from lsgmer.corpora.params import CorpusParams
from lsgmer.corpora.paths import AUDIO, files_below, not_read
from lsgmer.manifests.utterance import CorpusReading, Note, RejectedRow, Utterance
from lsgmer.turns.files import FORMS, Entry, decoded, read_entries
from lsgmer.turns.turn import UNNAMED, Turn

TURN_FILES = tuple(f".{form}" for form in FORMS)
UNLABELLED = "has no emotion; give it one, or set corpus.label_map {'': null} to leave such turns out"


@dataclass(frozen=True, slots=True)
class Call:
    """One recording and the file with its turns, relative to the corpus folder; `name` is both without suffix."""

    name: str
    audio: str
    turns: str


def read(params: CorpusParams, root: Path) -> CorpusReading:
    """Read every recording in `root` and below it that has a turn file of the same name beside it.

    An utterance's session and dialogue are its call, its turn the place among the call's turns by time, from 0. One bad
    turn is rejected with its place; a recording without turns that can be read is rejected as a whole.

    Raises ParamsError without `params.calls`; LsgmerError when there is no recording, or the table of emotions cannot
    be read.
    """
    given = params.calls
    if given is None:
        raise ParamsError("corpus calls needs corpus.calls, which says where emotions, speakers and channels come from")
    found = sorted(files_below(root), key=lambda path: path.as_posix())
    if not any(path.suffix.lower() in AUDIO for path in found):
        raise LsgmerError(
            f"{root}: no recording in it ({', '.join(AUDIO)}); set corpus.path to the folder of the calls"
        )
    emotions = Emotions.read(root, given.emotions) if given.emotions else Emotions()
    calls, rejected, notes = _calls(found, given)
    utterances: list[Utterance] = []
    for call in calls:
        try:
            entries = read_entries(decoded((root / call.turns).read_bytes(), call.turns), call.turns)
        except (LsgmerError, OSError) as problem:
            rejected.append(RejectedRow(call.turns, "the whole file", str(problem)))
            continue
        kept, bad = _turns(call, entries, params, given, emotions)
        utterances += kept
        rejected += bad
    rejected += emotions.rejected
    notes = [*notes, *not_read(found, ""), *emotions.notes()]
    return CorpusReading(tuple(utterances), tuple(rejected), tuple(notes))


def _calls(found: Sequence[PurePosixPath], given: CallsParams) -> tuple[list[Call], list[RejectedRow], list[Note]]:
    """Pair recordings with turn files. Returns the calls, the recordings without turns, and a note of spare files."""
    turns: dict[str, list[str]] = defaultdict(list)
    table = given.emotions.table if given.emotions else None
    for path in found:
        if path.suffix.lower() in TURN_FILES and path.as_posix() != table:
            turns[path.with_suffix("").as_posix()].append(path.as_posix())
    calls: dict[str, Call] = {}
    rejected: list[RejectedRow] = []
    for path in (path for path in found if path.suffix.lower() in AUDIO):
        name, files = path.with_suffix("").as_posix(), turns.get(path.with_suffix("").as_posix(), [])
        reason = None
        if name in calls:
            reason = f"{name} is already the name of {calls[name].audio}: keep one of the two"
        elif not files:
            reason = f"no turn file of the same name beside it ({', '.join(TURN_FILES)})"
        elif len(files) > 1:
            reason = f"{len(files)} turn files of the same name beside it; keep the one that is right"
        if reason:
            rejected.append(RejectedRow(path.parent.as_posix(), path.name, reason))
        else:
            calls[name] = Call(name, path.as_posix(), files[0])
    recordings = {path.with_suffix("").as_posix() for path in found if path.suffix.lower() in AUDIO}
    spare = tuple(file for name, files in turns.items() if name not in recordings for file in files)
    what = "not read: no recording of the same name beside it"
    return list(calls.values()), rejected, [Note(what, spare)] if spare else []


def _turns(
    call: Call, entries: Sequence[Entry], params: CorpusParams, given: CallsParams, emotions: Emotions
) -> tuple[list[Utterance], list[RejectedRow]]:
    """Return the call's turns as utterances, by time, and the entries that are none."""
    words = emotions.of(call.name, call.audio, entries)
    rejected = [
        RejectedRow(call.turns, f"{entry.place} (turn {entry.number})", entry.problem)
        for entry in entries
        if entry.problem is not None
    ]
    utterances: list[Utterance] = []
    ids: set[str] = set()
    for place, (entry, turn) in enumerate(_by_time(entries)):
        try:
            emotion = _emotion(entry, words.get(entry.number, []))
            utterance = _utterance(call, turn, place, emotion, params, given)
            if utterance.id in ids:
                raise Unfit("is another turn of the same speaker from the same time on; correct one of the two")
        except Unfit as reason:
            where = f"{cut_text(turn.start_s, turn.end_s)} ({call.turns} {entry.place}, turn {entry.number})"
            rejected.append(RejectedRow(call.audio, where, str(reason)))
        else:
            ids.add(utterance.id)
            utterances.append(utterance)
    return utterances, rejected


def _by_time(entries: Sequence[Entry]) -> Iterator[tuple[Entry, Turn]]:
    timed = [(entry, entry.turn) for entry in entries if entry.turn is not None]
    yield from sorted(timed, key=lambda item: (item[1].start_s, item[1].end_s, item[1].speaker))


def _emotion(entry: Entry, words: Sequence[str]) -> str:
    """Return the turn's word for the emotion, "" for none. Raises Unfit where turn file and table differ."""
    found = sorted({*words, *([entry.emotion] if entry.emotion else [])})
    if len(found) > 1:
        raise Unfit(f"has {len(found)} emotions: {' and '.join(map(repr, found[:3]))}; keep the right one")
    return found[0] if found else ""


def _utterance(call: Call, turn: Turn, place: int, emotion: str, params: CorpusParams, given: CallsParams) -> Utterance:
    """Return the turn as an utterance. Raises Unfit."""
    if not emotion and "" not in params.label_map:
        raise Unfit(UNLABELLED)
    return Utterance(
        id=f"{call.name}@{turn.start_s:.3f}/{turn.speaker}",
        corpus=params.name,
        speaker=_speaker(call, turn, given),
        emotion_raw=emotion,
        emotion=label_of(emotion, params),
        session=call.name,
        dialogue=call.name,
        turn=place,
        audio=call.audio,
        start_s=turn.start_s,
        end_s=turn.end_s,
        text=turn.text,
        channel=_channel(turn, given),
    )


def _speaker(call: Call, turn: Turn, given: CallsParams) -> str:
    if given.speakers == "per_call":
        return f"{call.name}/{turn.speaker}"
    if turn.speaker in (UNNAMED, f"channel {turn.channel}"):
        raise Unfit("its file does not name the speaker; name all, or set corpus.calls.speakers to per_call")
    return turn.speaker


def _channel(turn: Turn, given: CallsParams) -> int | None:
    """Return the turn's channel: its own, else its speaker's. Raises Unfit for two, and for a name without one."""
    if turn.speaker not in given.channels:
        if given.channels and turn.channel is None:
            raise Unfit(f"speaker {turn.speaker!r} has no channel; add it to corpus.calls.channels")
        return turn.channel
    usual = given.channels[turn.speaker]
    if turn.channel not in (None, usual):
        raise Unfit(f"is on channel {turn.channel}, but corpus.calls.channels says {usual} for {turn.speaker!r}")
    return usual
