"""Corpora by file name: the name says everything, every audio file counts, and a name that does not fit is rejected."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from lsgmer.core.errors import LsgmerError, ParamsError
from lsgmer.core.paths import Workspace
from lsgmer.corpora.params import CorpusParams
from lsgmer.corpora.readers import read_corpus
from lsgmer.manifests.utterance import is_left_out
from lsgmer.params import parse_params, read_layers
from lsgmer.stages import manifest
from lsgmer.validation.facts import audio_facts
from tests.support import file_names

ROOT = Path(__file__).parents[2]
FOLDERS = {"emodb": "wav", "cremad": "AudioWAV"}


@cache
def params(name: str) -> CorpusParams:
    return read_layers(ROOT / "params.yaml", ROOT / "params" / f"{name}.yaml")[1].corpus


def own(**files: Any) -> CorpusParams:
    """Parameters of a corpus of one's own, laid over params.yaml as `--params` does."""
    content, _ = read_layers(ROOT / "params.yaml", ROOT / "params" / "savee.yaml")
    labels = [{"name": "joy", "description": "joy"}, {"name": "anger", "description": "anger"}]
    corpus = {"name": "filenames", "labels": labels, "label_map": {}, "expected_counts": {}, "files": files}
    return parse_params({**content, "corpus": {**content["corpus"], **corpus}}, "own.yaml").corpus


def write(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"RIFF")
    return root


def files(root: Path, corpus: str, *names: str) -> Path:
    folder = FOLDERS[corpus]
    (root / folder).mkdir(parents=True, exist_ok=True)
    return write(root, *(f"{folder}/{start}{name}.wav" for name in names for start in ("", "._")))


def test_emodb(tmp_path: Path) -> None:
    files(tmp_path, "emodb", "03a01Wa", "14b10Tc", "16a05Nb")
    (tmp_path / "wav" / "readme.txt").touch()
    reading = read_corpus(params("emodb"), tmp_path)
    first, second, third = reading.utterances
    assert (first.id, first.speaker, first.emotion, first.sex) == ("03a01Wa", "03", "anger", "male")
    assert (first.audio, first.text) == ("wav/03a01Wa.wav", "Der Lappen liegt auf dem Eisschrank.")
    assert (second.emotion, second.sex) == ("sadness", "female")
    assert second.text == "Die wird auf dem Platz sein, wo wir sie immer hinlegen."
    assert (third.emotion, third.emotion_raw) == ("neutral", "neutral")
    assert reading.rejected == ()


def test_cremad_with_and_without_the_actors_table(tmp_path: Path) -> None:
    files(tmp_path, "cremad", "1001_DFA_ANG_XX", "1002_IEO_SAD_HI", "1040_ITH_SAD_X")
    write(tmp_path, "AudioMP3/1001_DFA_ANG_XX.mp3")
    first, second, third = read_corpus(params("cremad"), tmp_path).utterances
    assert (first.id, first.speaker, first.emotion_raw, first.emotion) == ("1001_DFA_ANG_XX", "1001", "ANG", "angry")
    assert (first.sex, first.tags, first.text) == (None, ("unspecified",), "Don't forget a jacket.")
    assert first.audio == "AudioWAV/1001_DFA_ANG_XX.wav"
    assert (second.tags, third.tags) == (("high",), ("unspecified",))
    (tmp_path / "VideoDemographics.csv").write_text(
        "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,A,B\n1002,21,Female,A,B\n"
    )
    assert [u.sex for u in read_corpus(params("cremad"), tmp_path).utterances] == ["male", "female", None]
    (tmp_path / "VideoDemographics.csv").write_text("Actor,Age\n1001,51\n")
    with pytest.raises(LsgmerError, match=r"VideoDemographics.csv: not readable as a table with ActorID and Sex"):
        read_corpus(params("cremad"), tmp_path)


@pytest.mark.parametrize(
    ("corpus", "good", "name", "reason"),
    [
        ("emodb", "03a01Wa", "03a01W", "not of the form 03a01Wa"),
        ("emodb", "03a01Wa", "04a01Wa", "unknown speaker '04'; known are 08"),
        ("emodb", "03a01Wa", "03a03Wa", "unknown sentence 'a03'"),
        ("emodb", "03a01Wa", "03a01Xa", "unknown emotion 'X'; known are W"),
        ("cremad", "1001_DFA_ANG_XX", "1001_DFA_ANG", "not of the form 1001_DFA_ANG_XX"),
        ("cremad", "1001_DFA_ANG_XX", "1001_DFB_ANG_XX", "unknown sentence 'DFB'"),
        ("cremad", "1001_DFA_ANG_XX", "1001_DFA_BOR_XX", "unknown emotion 'BOR'"),
        ("cremad", "1001_DFA_ANG_XX", "1001_DFA_ANG_LL", "unknown intensity 'LL'"),
    ],
)
def test_another_name_is_rejected_by_it(tmp_path: Path, corpus: str, good: str, name: str, reason: str) -> None:
    reading = read_corpus(params(corpus), files(tmp_path, corpus, good, name))
    assert [u.id for u in reading.utterances] == [good]
    (row,) = reading.rejected
    assert (row.source, row.row) == (FOLDERS[corpus], f"{name}.wav")
    assert reason in row.reason


@pytest.mark.parametrize("corpus", FOLDERS)
def test_a_folder_without_clips_says_what_to_set(tmp_path: Path, corpus: str) -> None:
    with pytest.raises(LsgmerError, match=rf"set corpus.path to the parent of {FOLDERS[corpus]}/"):
        read_corpus(params(corpus), tmp_path)
    with pytest.raises(LsgmerError, match=r"no audio file in it; set corpus.path to the folder that holds the corpus"):
        read_corpus(params("savee"), tmp_path)


def _names(corpus: str) -> st.SearchStrategy[str]:
    known = params(corpus).files
    assert known is not None
    if corpus == "emodb":
        parts = (known.sex, known.codes["sentence"], known.codes["emotion"], "abc")
        return st.tuples(*map(st.sampled_from, map(sorted, parts))).map("".join)
    parts = ("1001", "1091"), known.codes["sentence"], ("ANG", "NEU"), known.codes["intensity"]
    return st.tuples(*map(st.sampled_from, map(sorted, parts))).map("_".join)


OTHER = st.from_regex(r"[0-9a-zA-Z_]{1,16}", fullmatch=True)


@settings(max_examples=25, deadline=None)
@given(st.sets(_names("emodb") | OTHER, max_size=4), st.sets(_names("cremad") | OTHER, max_size=4))
def test_every_file_is_an_utterance_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, german: set[str], english: set[str]
) -> None:
    for corpus, names, whole in (("emodb", german, "03a01Wa"), ("cremad", english, "1001_DFA_ANG_XX")):
        root = files(tmp_path_factory.mktemp(corpus), corpus, whole, *names)
        reading = read_corpus(params(corpus), root)
        told = {u.id for u in reading.utterances} | {row.row.removesuffix(".wav") for row in reading.rejected}
        assert told == {whole, *names}
        assert all(u.text and u.speaker and u.emotion for u in reading.utterances)


@pytest.mark.parametrize("corpus", file_names.RELEASES)
def test_every_file_of_a_release_counts_though_its_suffix_be_written_large(corpus: str, tmp_path: Path) -> None:
    """The names of the release (of ESD, a part); `._` companions, hidden folders and texts do not count."""
    _, layers = read_layers(ROOT / "params.yaml", ROOT / "params" / f"{corpus}.yaml", [f"corpus.path={tmp_path}/raw"])
    names = file_names.RELEASES[corpus]()
    write(tmp_path / "raw", *(name.replace(".wav", ".WAV") if i % 7 == 3 else name for i, name in enumerate(names)))
    write(tmp_path / "raw", "readme.txt", "__MACOSX/._x.wav", ".cache/03-01-01-01-01-01-01.wav")
    reading = read_corpus(layers.corpus, tmp_path / "raw")
    assert reading.rejected == ()
    assert reading.notes == ()
    share = len(names) / sum(layers.corpus.expected_counts.values())
    assert share == (1 / 35 if corpus == "esd" else 1)
    expected = {label: count * share for label, count in layers.corpus.expected_counts.items()}
    assert Counter(u.emotion for u in reading.utterances) == expected
    assert len({u.id for u in reading.utterances}) == len(names)
    assert {u.audio for u in reading.utterances if u.audio} == {
        path.relative_to(tmp_path / "raw").as_posix()
        for path in (tmp_path / "raw").rglob("*")
        if path.suffix.lower() == ".wav" and not any(part.startswith(".") for part in path.parts[-2:])
    }
    workspace = Workspace(tmp_path)
    manifest.run(workspace, manifest.Needs.of(layers))  # the ready split fills every part
    assert (workspace.data("manifest") / "manifest.parquet").is_file()


def test_what_the_names_of_the_ready_corpora_mean(tmp_path: Path) -> None:
    (one,) = read_corpus(params("ravdess"), write(tmp_path / "r", "Actor_12/03-01-06-02-02-01-12.wav")).utterances
    assert (one.id, one.speaker, one.sex) == ("03-01-06-02-02-01-12", "12", "female")
    assert (one.emotion, one.tags, one.text) == ("fearful", ("strong",), "Dogs are sitting by the door.")
    (one,) = read_corpus(params("tess"), write(tmp_path / "t", "OAF_neutral/OA_bite_neutral.wav")).utterances
    assert (one.speaker, one.sex, one.emotion, one.text) == ("OAF", "female", "neutral", "Say the word bite.")
    (one,) = read_corpus(params("tess"), write(tmp_path / "u", "YAF_pleasant_surprised/YAF_home_ps.wav")).utterances
    assert (one.emotion_raw, one.emotion) == ("pleasant surprise", "surprise")
    (one,) = read_corpus(params("savee"), write(tmp_path / "s", "AudioData/JK/sa03.wav")).utterances
    assert (one.id, one.speaker, one.emotion, one.text) == ("JK/sa03", "JK", "sadness", None)
    (one,) = read_corpus(params("savee"), write(tmp_path / "v", "ALL/DC_su11.wav")).utterances
    assert (one.id, one.speaker, one.emotion) == ("DC_su11", "DC", "surprise")
    (one,) = read_corpus(params("esd"), write(tmp_path / "e", "ESD/0003/Happy/test/0003_000721.wav")).utterances
    assert (one.speaker, one.sex, one.emotion) == ("0003", "female", "happy")


def test_songs_of_ravdess_are_left_out_on_purpose(tmp_path: Path) -> None:
    write(tmp_path, "Actor_01/03-01-01-01-01-01-01.wav", "Actor_01/03-02-09-01-01-01-01.wav")
    reading = read_corpus(params("ravdess"), tmp_path)
    (row,) = reading.rejected
    assert row.reason == "kind '02' is left out by corpus.files.codes"
    assert is_left_out(row)


def test_a_second_file_of_a_name_is_rejected_and_formats_that_are_not_read_are_noted(tmp_path: Path) -> None:
    write(tmp_path, "a/03-01-01-01-01-01-01.wav", "b/03-01-01-01-01-01-01.WAV", "Actor_01/01-01-01-01-01-01-01.mp4")
    reading = read_corpus(params("ravdess"), tmp_path)
    assert [u.audio for u in reading.utterances] == ["a/03-01-01-01-01-01-01.wav"]
    (row,) = reading.rejected
    assert "03-01-01-01-01-01-01 is already the name of a/03-01-01-01-01-01-01.wav" in row.reason
    (note,) = reading.notes
    assert note.rows == ("Actor_01/01-01-01-01-01-01-01.mp4",)
    assert "not read: .mp4 files" in note.what


def test_linked_folders_are_read_once(tmp_path: Path) -> None:
    write(tmp_path / "disk", "07_joy.wav")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "here").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "round").symlink_to(tmp_path / "corpus")
    found = read_corpus(own(pattern=r"(?P<speaker>\d+)_(?P<emotion>\w+)"), tmp_path / "corpus")
    assert [(u.id, u.audio) for u in found.utterances] == [("07_joy", "here/07_joy.wav")]


def test_a_pattern_of_ones_own_reads_folders_sessions_splits_and_turns(tmp_path: Path) -> None:
    write(tmp_path, "Anna/s1/joy-2-tst.flac", "Bo/s2/anger-10-trn.Ogg", "Bo/s2/anger-x-trn.mp3", "Bo/s2/joy-3-all.wav")
    files = {
        "pattern": r"(?P<speaker>\w+)/(?P<session>s\d)/(?P<emotion>joy|anger)-(?P<turn>\w+)-(?P<split>\w+)",
        "codes": {"split": {"trn": "train", "tst": "test", "all": "everything"}},
    }
    reading = read_corpus(own(**files), tmp_path)
    assert [(u.id, u.speaker, u.session, u.turn, u.split) for u in reading.utterances] == [
        ("Anna/s1/joy-2-tst", "Anna", "s1", 2, "test"),
        ("Bo/s2/anger-10-trn", "Bo", "s2", 10, "train"),
    ]
    assert {row.row: row.reason for row in reading.rejected} == {
        "anger-x-trn.mp3": "turn 'x' is not a whole number",
        "joy-3-all.wav": "split 'everything' is not one of train, valid, test; map it in corpus.files.codes.split",
    }


def test_an_empty_group_is_a_reason_and_an_optional_one_is_not(tmp_path: Path) -> None:
    write(tmp_path, "a_joy.wav", "_joy.wav", "b_joy_loud.wav")
    pattern = r"(?P<speaker>[a-z]*)_(?P<emotion>joy)(?:_(?P<how>\w+))?"
    reading = read_corpus(own(pattern=pattern, tags=["how"], codes={"how": {"loud": "shouted"}}), tmp_path)
    assert [(u.id, u.tags) for u in reading.utterances] == [("a_joy", ()), ("b_joy_loud", ("shouted",))]
    assert [row.reason for row in reading.rejected] == ["no speaker in its name"]


def test_a_suffix_in_capitals_decodes(tmp_path: Path) -> None:
    (tmp_path / "JK").mkdir()
    with (tmp_path / "JK" / "a01.WAV").open("wb") as file:
        soundfile.write(file, np.tile([0.1, -0.1], 400), 8000, format="WAV")
    (one,) = read_corpus(params("savee"), tmp_path).utterances
    assert audio_facts([one], tmp_path, 1)[one.id].error is None


SOUND = r"(?P<speaker>\d+)_(?P<emotion>\w+)"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pattern": "(?P<speaker>"}, r"corpus\.files\.pattern: not a regular expression: .*at position"),
        ({"pattern": r"(?P<speaker>\d+)"}, r"has no group \(\?P<emotion>\.\.\.\); its groups are \['speaker'\]"),
        ({"pattern": r"\d+_joy"}, r"no group \(\?P<emotion>\.\.\.\) and no group \(\?P<speaker>\.\.\.\).* none"),
        ({"pattern": SOUND, "codes": {"mood": {"1": "joy"}}}, r"codes names mood, but .*groups are speaker, emotion"),
        ({"pattern": SOUND, "tags": ["take"]}, r"tags names take"),
        ({"pattern": SOUND, "text": "Say {word}"}, r"text names word"),
        ({"pattern": SOUND, "example": "joy_07"}, r"the pattern does not fit the example 'joy_07'"),
        ({"pattern": SOUND, "folder": "../other"}, r"corpus\.files\.folder: must be a folder inside corpus\.path"),
        ({"pattern": SOUND, "glob": "*.wav"}, r"corpus\.files\.glob: unknown key \(allowed: codes"),
        (
            {"pattern": SOUND, "sex": {"1": "male"}, "speakers": {"table": "t.csv", "speaker": "a", "sex": "b"}},
            "sex and speakers both say",
        ),
    ],
)
def test_what_is_wrong_with_files_is_said_at_once(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        own(**given)


def test_files_are_for_corpora_of_file_names_only() -> None:
    base, savee = ROOT / "params.yaml", ROOT / "params" / "savee.yaml"
    with pytest.raises(ParamsError, match=r"files \(what file names mean\) must be set for filenames, emodb"):
        read_layers(base, savee, ["corpus.files=null"])
    with pytest.raises(ParamsError, match=r"for no other corpus; name is iemocap"):
        read_layers(base, savee, ["corpus.name=iemocap"])


def test_a_pattern_without_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsgmer.corpora.filenames.MATCH_S", 0.05)
    write(tmp_path, f"{'a' * 60}!_joy.wav")
    with pytest.raises(ParamsError, match=r"corpus\.files\.pattern takes more than .* repeats what is itself repeated"):
        read_corpus(own(pattern=r"(?P<speaker>(?:a|aa)+)_(?P<emotion>joy)"), tmp_path)
