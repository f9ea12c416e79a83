"""MELD's CSVs and clips: ids that restart, mojibake, joint speakers, and clips that are not what they are named for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsgmer.core.errors import LsgmerError, ParamsError
from lsgmer.corpora.base import mend
from lsgmer.corpora.meld import FAULTY_CLIPS
from lsgmer.corpora.params import CorpusParams
from lsgmer.corpora.readers import read_corpus
from lsgmer.manifests.utterance import CorpusReading
from lsgmer.params import read_layers
from tests.support import meld_release

ROOT = Path(__file__).parents[2]


def params(*overrides: str) -> CorpusParams:
    return read_layers(ROOT / "params.yaml", ROOT / "params" / "meld.yaml", overrides)[1].corpus


def read(root: Path, *changes: dict[str, str], clips: str = "none") -> CorpusReading:
    """Read a release whose dev rows 0, 1, ... (rows 2, 3, ... of the file) are changed."""
    rows = meld_release.rows("dev")
    for row, change in zip(rows, changes, strict=False):
        row |= change
    meld_release.write(root, {"dev": rows})
    return read_corpus(params(f"corpus.clips={clips}"), root)


def told(reading: CorpusReading) -> dict[str, tuple[str, ...]]:
    return {note.what: note.rows for note in reading.notes}


def test_ids_that_restart_are_told_apart_by_their_split(tmp_path: Path) -> None:
    reading = read(tmp_path)
    assert (len(reading.utterances), reading.rejected, reading.notes) == (42, (), ())
    assert Counter(u.split for u in reading.utterances) == {"train": 14, "valid": 14, "test": 14}
    found = {u.id: u for u in reading.utterances}["dev-dia1_utt2"]
    assert (found.dialogue, found.turn, found.session, found.split) == ("dev-dia1", 2, "s8e21", "valid")
    assert (found.speaker, found.emotion, found.audio) == ("Cy", "joy", None)
    assert found.text == "Line 8 of dev, that’s all."
    assert {u.speaker for u in reading.utterances if u.split == "train"} == {"Ada", "Bo", "Cy"}


def test_mojibake_is_mended_and_every_row_of_it_named(tmp_path: Path) -> None:
    reading = read(tmp_path, {"Utterance": "I\x92m \x93here\x94\x85"}, {}, {"Speaker": "Ren\xe9\x92s"})
    found = {u.id: u for u in reading.utterances}
    assert found["dev-dia0_utt0"].text == "I’m “here”…"
    assert found["dev-dia0_utt4"].speaker == "Ren\xe9’s"
    (what,) = told(reading)
    assert what.startswith("text mended: Windows-1252")
    assert told(reading)[what] == ("dev-dia0_utt0", "dev-dia0_utt4")


def test_joint_speakers_are_tagged_and_named(tmp_path: Path) -> None:
    reading = read(
        tmp_path, {"Speaker": "Ada and Bo"}, {"Speaker": "Cy/Waitress"}, {"Speaker": " All "}, {"Speaker": "Allesandro"}
    )
    tagged = {u.speaker for u in reading.utterances if u.tags == ("joint_speakers",)}
    assert tagged == {"Ada and Bo", "Cy/Waitress", "All"}
    assert [len(rows) for what, rows in told(reading).items() if "several speakers" in what] == [3]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Utterance": " "}, "Utterance: empty"),
        ({"Speaker": "", "Emotion": ""}, "Speaker, Emotion: empty"),
        ({"Emotion": "bored"}, "unknown emotion 'bored'"),
        ({"Dialogue_ID": "one"}, "Dialogue_ID 'one' is not a whole number"),
        ({"Utterance_ID": "-1"}, "Utterance_ID '-1' is not a whole number"),
        ({"Utterance_ID": "2"}, "its dialogue and utterance are already those of row 2"),
    ],
)  # fmt: skip
def test_a_bad_row_is_rejected_by_its_number(tmp_path: Path, change: dict[str, str], reason: str) -> None:
    first = {"Utterance_ID": "2"} if "already" in reason else {}
    reading = read(tmp_path, first, change)
    (row,) = reading.rejected
    assert (row.source, row.row) == ("dev_sent_emo.csv", "row 3")
    assert reason in row.reason
    assert len(reading.utterances) == 41


def test_known_faulty_clips_leave_the_words_and_say_why(tmp_path: Path) -> None:
    numbers = {"Dialogue_ID": "110", "Utterance_ID": "7"}
    (tmp_path / "wav").mkdir()
    reading = read(tmp_path, numbers, clips="wav")
    found = {u.id: u for u in reading.utterances}
    assert found["dev-dia110_utt7"].audio is None
    assert found["dev-dia110_utt7"].text
    assert found["dev-dia0_utt2"].audio == "wav/dev/dia0_utt2.wav"
    assert told(reading) == {"words only: the release has no such clip": ("dev-dia110_utt7",)}
    assert told(read(tmp_path, numbers)) == {}  # where no audio was asked for, none is missing


def test_the_table_of_faulty_clips_names_official_splits() -> None:
    assert {official for official, _, _ in FAULTY_CLIPS} <= set(meld_release.OFFICIAL)
    assert all(FAULTY_CLIPS.values())


def test_audio_is_never_left_out_silently(tmp_path: Path) -> None:
    with pytest.raises(LsgmerError, match=r"wav: no clips here; import them with `lsgmer import-meld"):
        read(tmp_path, clips="wav")
    with pytest.raises(ParamsError, match=r"mp4: clips are not read from video .* `lsgmer import-meld"):
        read(tmp_path, clips="mp4")
    with pytest.raises(ParamsError, match=r"clips \(none, wav or mp4\) must be set for meld"):
        params("corpus.clips=null")


def test_a_csv_that_is_not_there_or_not_whole_says_so(tmp_path: Path) -> None:
    meld_release.write(tmp_path)
    table = tmp_path / "dev_sent_emo.csv"
    table.write_text(table.read_text().replace("Speaker", "Person"))
    with pytest.raises(LsgmerError, match=r"dev_sent_emo.csv: no column Speaker; its columns are Sr No"):
        read_corpus(params(), tmp_path)
    table.unlink()
    with pytest.raises(LsgmerError, match=r"dev_sent_emo\.csv: no such file; set corpus\.path"):
        read_corpus(params(), tmp_path)


cp1252 = st.sampled_from([chr for byte in range(256) if (chr := bytes([byte]).decode("cp1252", errors="ignore"))])


@given(st.text(cp1252))
def test_what_latin_1_made_of_cp1252_is_undone(text: str) -> None:
    assert mend(text.encode("cp1252").decode("latin-1")) == text


@given(st.text())
def test_mending_touches_nothing_else_and_mends_once(text: str) -> None:
    assert mend(mend(text)) == mend(text)
    assert len(mend(text)) == len(text)
    assert all(new == old or "\x80" <= old <= "\x9f" for new, old in zip(mend(text), text, strict=True))


EXPECTED = {
    split: dict(zip(("neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear"), counts, strict=True))
    for split, counts in {
        "train": (4710, 1743, 1205, 1109, 683, 271, 268),
        "valid": (470, 163, 150, 153, 111, 22, 40),
        "test": (1256, 402, 281, 345, 208, 68, 50),
    }.items()
}


@pytest.mark.real
def test_the_official_csvs_read_wholly() -> None:
    folder = (ROOT / params().path).resolve()
    if not folder.is_dir():
        pytest.skip(f"the CSVs are not here: {folder}")
    reading = read_corpus(params(), folder)
    assert reading.rejected == ()
    assert [note.what for note in reading.notes if "mended" in note.what] == []
    counts = {split: Counter(u.emotion for u in reading.utterances if u.split == split) for split in EXPECTED}
    assert counts == EXPECTED
    assert [sum(found.values()) for found in EXPECTED.values()] == [9_989, 1_109, 2_610]
    assert len({u.dialogue for u in reading.utterances}) == 1038 + 114 + 280
