"""IEMOCAP's layout, quirk by quirk: what is read, and what is rejected by its id and reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsgmer.core.errors import LsgmerError
from lsgmer.corpora.iemocap import parse_turns, plurality
from lsgmer.corpora.params import CorpusParams
from lsgmer.corpora.readers import read_corpus
from lsgmer.manifests.utterance import CorpusReading, RejectedRow, is_left_out
from lsgmer.params import read_layers
from tests.support.iemocap_release import DIALOGUES, LABELLED, Release, Turn, evaluation

ROOT = Path(__file__).parents[2]


def params(name: str = "iemocap4", *overrides: str) -> CorpusParams:
    return read_layers(ROOT / "params.yaml", ROOT / "params" / f"{name}.yaml", overrides)[1].corpus


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return Release(tmp_path / "IEMOCAP_full_release").write()


def read(release: Release, name: str = "iemocap4", *overrides: str) -> CorpusReading:
    reading = read_corpus(params(name, *overrides), release.root)
    assert len(reading.utterances) + len(reading.rejected) >= LABELLED
    return reading


def defects(reading: CorpusReading) -> list[RejectedRow]:
    return [row for row in reading.rejected if not is_left_out(row)]


def test_every_labelled_turn_is_read_or_left_out_on_purpose(release: Release) -> None:
    reading = read(release)
    assert {u.id: (u.emotion_raw, u.emotion) for u in reading.utterances} == {
        "Ses01F_impro01_F000": ("neu", "neutral"),
        "Ses01F_impro01_M001": ("hap", "happy"),
        "Ses01F_script01_1_M000": ("ang", "angry"),
        "Ses01F_script01_1_F000": ("sad", "sad"),
        "Ses05M_script01_1_F000": ("exc", "happy"),
        "Ses05M_script01_1b_F000": ("neu", "neutral"),
    }
    assert {row.row: row.reason for row in reading.rejected} == {
        "Ses01F_impro01_M000": "emotion 'fru' is left out by corpus.label_map",
        "Ses01F_impro01_F001": "emotion 'xxx' is left out by corpus.label_map",
        "Ses05M_script01_1b_M000": "emotion 'oth' is left out by corpus.label_map",
    }
    assert not defects(reading)


def test_a_turn_has_all_that_the_release_says(release: Release) -> None:
    found = {u.id: u for u in read(release).utterances}["Ses05M_script01_1b_F000"]
    assert (found.speaker, found.sex, found.session, found.dialogue) == (
        "Ses05_F",  # not M, who wore the sensors
        "female",
        "Session5",
        "Ses05M_script01_1b",
    )
    assert found.text == "It was a cloudy night."  # of script01_1b, not of script01_1
    assert found.audio == "Session5/sentences/wav/Ses05M_script01_1b/Ses05M_script01_1b_F000.wav"
    assert (found.start_s, found.end_s, found.tags) == (None, None, ("scripted",))
    assert found.numbers == {"valence": 2.5, "activation": 2.5, "dominance": 2.5}
    assert found.corpus == "iemocap"


def test_turns_are_counted_by_time_whatever_is_left_out(release: Release) -> None:
    turns = {u.id: u.turn for u in read(release).utterances}
    assert (turns["Ses01F_impro01_F000"], turns["Ses01F_impro01_M001"]) == (0, 3)
    assert (turns["Ses01F_script01_1_F000"], turns["Ses01F_script01_1_M000"]) == (0, 1)  # the file has them reversed


def test_latin_1_is_read_mended_and_told(release: Release) -> None:
    reading = read(release)
    found = {u.id: u for u in reading.utterances}["Ses01F_impro01_M001"]
    assert found.text == "Café, and it’s good…"
    told = {note.what.split(":")[0]: note.rows for note in reading.notes}
    assert told == {
        "text mended": (found.id,),
        "valence, activation or dominance outside 1 to 5, kept as published": (found.id,),
    }
    assert found.numbers["valence"] == 5.5


def test_six_classes_keep_excited_and_frustrated_apart(release: Release) -> None:
    emotions = {u.id: u.emotion for u in read(release, "iemocap6").utterances}
    assert emotions["Ses05M_script01_1_F000"] == "excited"
    assert emotions["Ses01F_impro01_M000"] == "frustrated"
    assert "Ses01F_impro01_F001" not in emotions


def test_undecided_turns_go_by_plurality_only_where_asked(release: Release) -> None:
    reading = read(release, "iemocap6", "corpus.by_plurality={Happiness: hap}")
    found = {u.id: u for u in reading.utterances}["Ses01F_impro01_F001"]
    assert (found.emotion_raw, found.emotion, found.tags) == ("xxx", "happy", ("by_plurality", "improvised"))
    assert [note.rows for note in reading.notes if "by_plurality" in note.what] == [(found.id,)]


@pytest.mark.parametrize(
    ("votes", "word"),
    [((), None), (("a",), "a"), (("a", "b"), None), (("a", "b", "a"), "a"), (("a", "b", "a", "b", "c"), None)],
)
def test_a_tie_decides_nothing(votes: tuple[str, ...], word: str | None) -> None:
    assert plurality(votes) == word


def test_a_missing_transcript_is_reported_by_name(release: Release) -> None:
    release.transcript("Ses05M_script01_1").unlink()  # script01_1b's must not stand in for it
    (row,) = defects(read(release))
    assert (row.source, row.row) == (
        "Session5/dialog/EmoEvaluation/Ses05M_script01_1.txt",
        "Ses05M_script01_1_F000",
    )
    assert row.reason == "no transcript: transcriptions/Ses05M_script01_1.txt is missing"


def test_a_turn_without_words_is_reported_by_name(tmp_path: Path) -> None:
    turns = [Turn("Ses01F_impro01_F000", 1, 2, "neu"), Turn("Ses01F_impro01_F001", 2, 3, "neu", " ")]
    release = Release(tmp_path / "r", {"Ses01F_impro01": [*turns, Turn("Ses01F_impro01_F002", 3, 4, "neu", "Yes.")]})
    reading = read_corpus(params(), release.write().root)
    assert [row.row for row in reading.rejected] == [turn.id for turn in turns]
    assert {row.reason for row in reading.rejected} == {
        "no transcript: transcriptions/Ses01F_impro01.txt has no words for it"
    }


def test_audio_whose_suffix_is_in_capitals_is_found(release: Release) -> None:
    path = release.wav("Ses01F_impro01_F000")
    path.rename(path.with_suffix(".WAV"))
    found = {u.id: u.audio for u in read(release).utterances}
    assert found["Ses01F_impro01_F000"] == "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.WAV"


def test_missing_audio_is_reported_by_name_though_macos_left_a_companion(release: Release) -> None:
    release.wav("Ses01F_impro01_F000").unlink()
    (row,) = defects(read(release))
    assert row.row == "Ses01F_impro01_F000"
    assert row.reason == "no audio: Session1/sentences/wav has no such file"


def test_audio_in_the_other_session_is_reported_by_name(release: Release) -> None:
    for name, place in (("Session1", "a"), ("Session5", "b")):
        (release.root / name / "sentences").rename(release.root / place)
    (release.root / "a").rename(release.root / "Session5" / "sentences")
    (release.root / "b").rename(release.root / "Session1" / "sentences")
    with pytest.raises(LsgmerError) as said:
        read_corpus(params(), release.root)
    assert "4 x its audio stands in Session5, not in Session1" in str(said.value)
    assert "2 x its audio stands in Session1, not in Session5" in str(said.value)


def test_two_sessions_swapped_are_reported_by_name(release: Release) -> None:
    (release.root / "Session1").rename(release.root / "aside")
    (release.root / "Session5").rename(release.root / "Session1")
    (release.root / "aside").rename(release.root / "Session5")
    with pytest.raises(LsgmerError) as said:
        read_corpus(params(), release.root)
    assert "6 x its id says session 1, but it stands in Session5" in str(said.value)
    assert "3 x its id says session 5, but it stands in Session1" in str(said.value)


def test_one_dialogue_in_the_wrong_session_is_named_and_the_rest_is_read(release: Release) -> None:
    within = "dialog/EmoEvaluation/Ses05M_script01_1.txt"
    shutil.move(release.root / "Session5" / within, release.root / "Session1" / within)
    (row,) = defects(read(release))
    assert (row.source, row.row) == (f"Session1/{within}", "Ses05M_script01_1_F000")
    assert row.reason == "its id says session 5, but it stands in Session1"


@pytest.mark.parametrize(
    ("turn", "row", "reason"),
    [
        (Turn("Ses01F_impro02_F000", 1, 2, "neu", "x"), "Ses01F_impro02_F000", "its id says dialogue Ses01F_impro02"),
        (Turn("Ses01F_impro01_X000", 1, 2, "neu", "x"), "Ses01F_impro01_X000", "not of the form"),
        (Turn("Ses01F_impro01_F000", 1, 2, "neu", "x"), "Ses01F_impro01_F000", "used before in this file"),
        (Turn("Ses01F_impro01_F009", 1, 2, "bor", "x"), "Ses01F_impro01_F009", "unknown emotion 'bor'"),
    ],
)
def test_a_turn_that_does_not_belong_is_named(tmp_path: Path, turn: Turn, row: str, reason: str) -> None:
    release = Release(tmp_path / "r", DIALOGUES | {"Ses01F_impro01": [*DIALOGUES["Ses01F_impro01"], turn]}).write()
    (found,) = defects(read_corpus(params(), release.root))
    assert found.row == row
    assert reason in found.reason


def test_a_line_that_cannot_be_read_is_named(release: Release) -> None:
    file = release.root / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    file.write_text(file.read_text() + "[1.0 - 2.0]\tSes01F_impro01_F099\tneu\t[2.5, 2.5]\n")
    (row,) = defects(read(release))
    assert row.row.startswith("[1.0 - 2.0]\tSes01F_impro01_F099")
    assert row.reason == "not readable as a turn"


def test_a_folder_that_is_no_release_says_what_to_set(tmp_path: Path, release: Release) -> None:
    with pytest.raises(LsgmerError, match=r"set corpus\.path to the folder IEMOCAP_full_release"):
        read_corpus(params(), tmp_path)
    (release.root / "Session3").mkdir()
    with pytest.raises(LsgmerError, match="Session3: no dialog/EmoEvaluation"):
        read_corpus(params(), release.root)


moments = st.integers(0, 10**7).map(lambda tenth_ms: tenth_ms / 10**4)
words = st.sampled_from(["neu", "xxx", "hap"])
scores = st.integers(0, 60).map(lambda tenth: tenth / 10)
made = st.builds(
    Turn,
    id=st.from_regex(r"Ses0[1-5][FM]_(impro0[1-8][ab]?|script0[1-3]_[1-3]b?)_[FM]\d{3}", fullmatch=True),
    start_s=moments,
    end_s=moments,
    word=words,
    numbers=st.tuples(scores, scores, scores),
    said=st.lists(st.sampled_from(["Neutral;", "Frustration; Anger;", ";"]), max_size=4).map(tuple),
)


@given(st.lists(made, max_size=6))
def test_what_is_written_is_what_is_read(turns: list[Turn]) -> None:
    read_back, unreadable = parse_turns(evaluation(turns))
    assert not unreadable
    assert [(t.id, t.start_s, t.end_s, t.word) for t in read_back] == [
        (t.id, t.start_s, t.end_s, t.word) for t in turns
    ]
    assert [tuple(t.numbers.values()) for t in read_back] == [t.numbers for t in turns]
    assert [t.votes for t in read_back] == [
        tuple(word.strip() for said in t.said for word in said.split(";") if word.strip()) for t in turns
    ]
