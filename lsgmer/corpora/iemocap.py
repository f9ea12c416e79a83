"""IEMOCAP, as USC releases it: SessionN/dialog/{EmoEvaluation,transcriptions}/*.txt and SessionN/sentences/wav.

Every labelled turn becomes an utterance or is rejected by its id. No audio is cut: each turn has its own file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import Seconds
from lsgmer.corpora.base import Unfit, as_named, label_of, mend
from lsgmer.corpora.params import CorpusParams
from lsgmer.manifests.utterance import CorpusReading, Note, RejectedRow, Utterance

NUMBER = r"(-?\d+(?:\.\d+)?)"
TURN = re.compile(rf"\[{NUMBER} - {NUMBER}\]\t(\S+)\t(\w+)\t\[{NUMBER}, {NUMBER}, {NUMBER}\]\s*")
VOTE = re.compile(r"C-E\d+:\t([^\t]*)")  # an evaluator's words; C-F1 and C-M1 are the actors rating themselves
SAID = re.compile(r"([^\s\[]+)\s*\[[^\]]*\]:(.*)")
# The speaker is the letter of the last part; the letter after the session says who wore the sensors.
ID = re.compile(r"(Ses(\d\d)[FM]_(impro|script)\w*)_([FM])\d+")
KINDS = {"impro": "improvised", "script": "scripted"}
SEXES = {"F": "female", "M": "male"}
UNDECIDED = "xxx"
SCALE = (1.0, 5.0)  # of valence, activation and dominance


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of an EmoEvaluation file; `numbers` are on a scale of 1 to 5, `votes` the evaluators' words."""

    id: str
    start_s: Seconds
    end_s: Seconds
    word: str
    numbers: dict[str, float]
    votes: tuple[str, ...]


@dataclass(slots=True)
class _Found:
    utterances: list[Utterance] = field(default_factory=list)
    rejected: list[RejectedRow] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    off_scale: list[str] = field(default_factory=list)
    by_plurality: list[str] = field(default_factory=list)


def read(params: CorpusParams, root: Path) -> CorpusReading:
    """Read the release in folder `root` (IEMOCAP_full_release); some of its sessions are enough.

    Raises LsgmerError when there is no session, or one without evaluations.
    """
    sessions = sorted(folder for folder in root.glob("Session[1-9]") if folder.is_dir())
    if not sessions:
        raise LsgmerError(f"{root}: no Session1 ... Session5 here; set corpus.path to the folder IEMOCAP_full_release")
    found = _Found()
    for session in sessions:
        files = sorted((session / "dialog" / "EmoEvaluation").glob("Ses*.txt"))  # neither ._Ses* nor sub-folders
        if not files:
            raise LsgmerError(f"{session}: no dialog/EmoEvaluation/Ses*.txt; unpack the release again")
        for file in files:
            _read_dialogue(file, session, params, found)
    notes = (
        Note("text mended: Windows-1252 characters in a file read as Latin-1", tuple(found.mended)),
        Note("valence, activation or dominance outside 1 to 5, kept as published", tuple(found.off_scale)),
        Note(f"undecided ({UNDECIDED}), labelled by corpus.by_plurality", tuple(found.by_plurality)),
    )
    return CorpusReading(tuple(found.utterances), tuple(found.rejected), tuple(note for note in notes if note.rows))


def parse_turns(content: str) -> tuple[list[Turn], list[str]]:
    """Return the turns of an EmoEvaluation file in its order, and the lines that begin one but cannot be read."""
    turns: list[Turn] = []
    unreadable: list[str] = []
    for line in content.split("\n"):  # not splitlines, for which U+0085 ends a line
        matched = TURN.fullmatch(line)
        if matched:
            start, end, name, word, *numbers = matched.groups()
            named = dict(zip(("valence", "activation", "dominance"), map(float, numbers), strict=True))
            turns.append(Turn(name, float(start), float(end), word, named, ()))
        elif line.startswith("["):
            unreadable.append(line.strip())
        elif turns and (vote := VOTE.match(line)):
            words = tuple(word.strip() for word in vote[1].split(";") if word.strip())
            last = turns.pop()
            turns.append(Turn(last.id, last.start_s, last.end_s, last.word, last.numbers, (*last.votes, *words)))
    return turns, unreadable


def plurality(votes: Sequence[str]) -> str | None:
    """Return the word with more votes than any other, or None for a tie."""
    ranked = Counter(votes).most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def _read_dialogue(file: Path, session: Path, params: CorpusParams, found: _Found) -> None:
    source = file.relative_to(session.parent).as_posix()
    turns, unreadable = parse_turns(file.read_text(encoding="latin-1"))
    found.rejected += [RejectedRow(source, line, "not readable as a turn") for line in unreadable]
    texts = _texts(session / "dialog" / "transcriptions" / file.name)
    order = sorted(turns, key=lambda turn: (turn.start_s, turn.end_s, turn.id))  # turns overlap, so by start
    places = {id(turn): place for place, turn in enumerate(order)}
    seen: set[str] = set()
    for turn in turns:
        try:
            if turn.id in seen:
                raise Unfit("its id was used before in this file")
            seen.add(turn.id)
            utterance = _utterance(turn, places[id(turn)], file.stem, session, params, texts)
        except Unfit as reason:
            found.rejected.append(RejectedRow(source, turn.id, str(reason)))
            continue
        found.utterances.append(utterance)
        written = (texts or {})[turn.id]
        if written != mend(written):
            found.mended.append(turn.id)
        if any(not SCALE[0] <= value <= SCALE[1] for value in turn.numbers.values()):
            found.off_scale.append(turn.id)
        if "by_plurality" in utterance.tags:
            found.by_plurality.append(turn.id)


def _utterance(
    turn: Turn, place: int, dialogue: str, session: Path, params: CorpusParams, texts: dict[str, str] | None
) -> Utterance:
    """Return the turn as an utterance. Raises Unfit."""
    matched = ID.fullmatch(turn.id)
    if not matched:
        raise Unfit("its id is not of the form Ses01F_impro01_F000")
    if matched[1] != dialogue:
        raise Unfit(f"its id says dialogue {matched[1]}, but it stands in {dialogue}.txt")
    if session.name != f"Session{int(matched[2])}":
        raise Unfit(f"its id says session {int(matched[2])}, but it stands in {session.name}")
    word, tags = turn.word, {KINDS[matched[3]]}
    if word == UNDECIDED and (chosen := params.by_plurality.get(plurality(turn.votes) or "")):
        word = chosen
        tags.add("by_plurality")
    return Utterance(
        emotion=label_of(word, params),  # first: a turn left out on purpose is not a defect, whatever else it lacks
        id=turn.id,
        corpus=params.name,
        speaker=f"Ses{matched[2]}_{matched[4]}",
        emotion_raw=turn.word,
        session=session.name,
        dialogue=dialogue,
        turn=place,
        sex=SEXES[matched[4]],
        audio=_audio(turn.id, dialogue, session),
        text=_text(turn.id, dialogue, texts),
        tags=tuple(sorted(tags)),
        numbers=turn.numbers,
    )


def _audio(name: str, dialogue: str, session: Path) -> str:
    """Return the turn's file relative to the corpus folder. Raises Unfit when it is missing or elsewhere."""
    within = Path("sentences", "wav", dialogue, f"{name}.wav")
    found = as_named(session / within)
    if found:
        return found.relative_to(session.parent).as_posix()
    elsewhere = [other.name for other in sorted(session.parent.glob("Session[1-9]")) if as_named(other / within)]
    if elsewhere:
        raise Unfit(f"its audio stands in {elsewhere[0]}, not in {session.name}")
    raise Unfit(f"no audio: {session.name}/sentences/wav has no such file")


def _texts(path: Path) -> dict[str, str] | None:
    """Return each turn's words, decoded as Latin-1, or None without a file. Bare `M:` lines are not turns."""
    if not path.is_file():
        return None
    lines = (SAID.fullmatch(line.rstrip("\r")) for line in path.read_text(encoding="latin-1").split("\n"))
    texts: dict[str, str] = {}
    for line in lines:
        if line:
            texts.setdefault(line[1], line[2])
    return texts


def _text(name: str, dialogue: str, texts: dict[str, str] | None) -> str:
    """Return the words with single spaces. Raises Unfit without any: in the release every labelled turn has some."""
    if texts is None:
        raise Unfit(f"no transcript: transcriptions/{dialogue}.txt is missing")
    words = " ".join(mend(texts.get(name, "")).split())
    if not words:
        raise Unfit(f"no transcript: transcriptions/{dialogue}.txt has no words for it")
    return words
