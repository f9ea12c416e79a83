"""EmoDB and CREMA-D: the file name says everything, and a name that does not is rejected."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsgmer.core.errors import LsgmerError
from lsgmer.corpora import cremad, emodb
from lsgmer.corpora.params import CorpusParams
from lsgmer.corpora.readers import read_corpus
from lsgmer.params import read_layers

ROOT = Path(__file__).parents[2]
FOLDERS = {"emodb": "wav", "cremad": "AudioWAV"}


def params(name: str) -> CorpusParams:
    return read_layers(ROOT / "params.yaml", ROOT / "params" / f"{name}.yaml")[1].corpus


def files(root: Path, corpus: str, *names: str) -> Path:
    folder = root / FOLDERS[corpus]
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.wav").write_bytes(b"RIFF")
        (folder / f"._{name}.wav").write_bytes(b"\x00\x05\x16\x07")
    return root


def test_emodb(tmp_path: Path) -> None:
    files(tmp_path, "emodb", "03a01Wa", "14b10Tc", "16a05Nb")
    (tmp_path / "wav" / "readme.txt").touch()
    reading = read_corpus(params("emodb"), tmp_path)
    first, second, third = reading.utterances
    assert (first.id, first.speaker, first.emotion, first.sex) == ("03a01Wa", "03", "anger", "male")
    assert (first.audio, first.text) == ("wav/03a01Wa.wav", "Der Lappen liegt auf dem Eisschrank.")
    assert (second.emotion, second.sex, second.text) == ("sadness", "female", emodb.SENTENCES["b10"])
    assert (third.emotion, third.emotion_raw) == ("neutral", "neutral")
    assert reading.rejected == ()


def test_cremad_with_and_without_the_actors_table(tmp_path: Path) -> None:
    files(tmp_path, "cremad", "1001_DFA_ANG_XX", "1002_IEO_SAD_HI", "1040_ITH_SAD_X")
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


EMODB = st.tuples(*map(st.sampled_from, map(sorted, (emodb.SEXES, emodb.SENTENCES, emodb.EMOTIONS, "abc")))).map(
    "".join
)
CREMAD = st.tuples(
    *map(st.sampled_from, map(sorted, (("1001", "1091"), cremad.SENTENCES, ("ANG", "NEU"), cremad.INTENSITIES)))
)
OTHER = st.from_regex(r"[0-9a-zA-Z_]{1,16}", fullmatch=True)


@settings(max_examples=25, deadline=None)
@given(st.sets(EMODB | OTHER, max_size=4), st.sets(CREMAD.map("_".join) | OTHER, max_size=4))
def test_every_file_is_an_utterance_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, german: set[str], english: set[str]
) -> None:
    for corpus, names, whole in (("emodb", german, "03a01Wa"), ("cremad", english, "1001_DFA_ANG_XX")):
        root = files(tmp_path_factory.mktemp(corpus), corpus, whole, *names)
        reading = read_corpus(params(corpus), root)
        told = {u.id for u in reading.utterances} | {row.row.removesuffix(".wav") for row in reading.rejected}
        assert told == {whole, *names}
        assert all(u.text and u.speaker and u.emotion for u in reading.utterances)
