"""Bring your own table: every row becomes an utterance or stands rejected with its reason."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsgmer.core.errors import LsgmerError, ParamsError
from lsgmer.corpora.params import CorpusParams
from lsgmer.corpora.readers import CORPORA, read_corpus
from lsgmer.manifests.utterance import CorpusReading
from lsgmer.params import read_layers

ROOT = Path(__file__).parents[2]
COLUMNS = ("id", "audio", "text", "emotion", "speaker", "sex", "start", "end", "split", "turn", "tags")
FIELDS = {name: name for name in COLUMNS if name not in {"start", "end"}} | {"start_s": "start", "end_s": "end"}
ROW = {"audio": "audio/a.wav", "text": "Hello.", "emotion": "angry", "speaker": "S1"}


def params(**changes: Any) -> CorpusParams:
    content: dict[str, Any] = {
        "name": "table",
        "path": "corpus",
        "synthesize": (),
        "table": "t.csv",
        "columns": FIELDS,
        "labels": ({"name": "angry", "description": "angry"}, {"name": "sad", "description": "sad"}),
        "label_map": {"fury": "angry", "other": None},
        "expected_counts": {},
    }
    return CorpusParams.model_validate(content | changes)


def table(folder: Path, rows: list[dict[str, str]], name: str = "t.csv", columns: tuple[str, ...] = COLUMNS) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def read(folder: Path, *rows: dict[str, str], **changes: Any) -> CorpusReading:
    table(folder, list(rows))
    return CORPORA["table"](params(**changes), folder)


def test_a_full_row(tmp_path: Path) -> None:
    row = ROW | {"id": " u1 ", "speaker": "        S1", "emotion": " fury", "start": "0.5", "end": "2"}
    (found,) = read(tmp_path, row | {"split": "test", "turn": "3", "tags": "loud; fast;loud", "sex": "f"}).utterances
    assert (found.id, found.speaker, found.emotion_raw, found.emotion) == ("u1", "S1", "fury", "angry")
    assert (found.audio, found.start_s, found.end_s, found.text) == ("audio/a.wav", 0.5, 2.0, "Hello.")
    assert (found.split, found.turn, found.tags, found.sex, found.corpus) == ("test", 3, ("fast", "loud"), "f", "table")


def test_two_channels_of_a_file_are_two_utterances(tmp_path: Path) -> None:
    rows = [ROW | {"speaker": who, "channel": side} for who, side in (("agent", "left"), ("caller", "1"), ("both", ""))]
    rows += [ROW | {"start": "0.5", "channel": "1"}, ROW | {"channel": "middle"}, ROW | {"channel": "0"}]
    table(tmp_path, rows, columns=(*COLUMNS, "channel"))
    reading = read_corpus(params(columns=FIELDS | {"channel": "channel"}), tmp_path)
    assert [(u.id, u.speaker, u.channel) for u in reading.utterances] == [
        ("audio/a#0", "agent", 0),
        ("audio/a#1", "caller", 1),
        ("audio/a", "both", None),
        ("audio/a@0.500#1", "S1", 1),
    ]
    assert [row.reason for row in reading.rejected] == [
        "channel 'middle' is not a channel: give 0 (left), 1 (right), 2, ..., left or right",
        "id 'audio/a#0' is already that of row 2",
    ]


def test_the_channel_of_rows_without_one_is_the_corpuss(tmp_path: Path) -> None:
    rows = [ROW | {"channel": "0"}, ROW | {"audio": "b.wav"}, ROW | {"audio": "", "channel": "1"}]
    table(tmp_path, rows, columns=(*COLUMNS, "channel"))
    found = read_corpus(params(columns=FIELDS | {"channel": "channel"}, channel="right"), tmp_path).utterances
    assert [u.channel for u in found] == [0, 1, None]
    for wrong in ("middle", -1, 1.5, True):
        with pytest.raises(ValueError, match="is not a channel: give 0"):
            params(channel=wrong)


def test_empty_cells_are_none(tmp_path: Path) -> None:
    (found,) = read(tmp_path, ROW | {"text": "   "}).utterances
    assert (found.text, found.sex, found.split, found.turn, found.tags) == (None, None, None, None, ())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"speaker": " "}, "no speaker: column 'speaker' is empty"),
        ({"emotion": ""}, "no emotion"),
        ({"audio": "", "text": ""}, "neither audio nor text"),
        ({"emotion": "bored"}, "unknown emotion 'bored'; known are angry, fury, other, sad"),
        ({"emotion": "other"}, "is left out by corpus.label_map"),
        ({"audio": "../elsewhere/a.wav"}, "outside the corpus folder"),
        ({"audio": "/data/a.wav"}, "outside the corpus folder"),
        ({"audio": "audio/../../a.wav"}, "outside the corpus folder"),
        ({"start": "soon"}, "start_s 'soon' is not a number of seconds"),
        ({"start": "-1"}, "is not a number of seconds"),
        ({"end": "nan"}, "is not a number of seconds"),
        ({"start": "2", "end": "1"}, "end_s 1.0 is not after start_s 2.0"),
        ({"split": "dev"}, "split 'dev' is not one of train, valid, test"),
        ({"turn": "first"}, "turn 'first' is not a whole number"),
    ],
)
def test_a_bad_row_is_rejected_with_its_number_and_reason(tmp_path: Path, changes: dict[str, str], reason: str) -> None:
    reading = read(tmp_path, ROW | {"id": "good"}, ROW | {"id": "bad"} | changes)
    assert [u.id for u in reading.utterances] == ["good"]
    (rejected,) = reading.rejected
    assert (rejected.source, rejected.row) == ("t.csv", "row 3")
    assert reason in rejected.reason


def test_a_repeated_id_is_rejected_and_names_the_first(tmp_path: Path) -> None:
    reading = read(tmp_path, ROW | {"id": "a"}, ROW | {"id": "b"}, ROW | {"id": "a "})
    assert [u.id for u in reading.utterances] == ["a", "b"]
    assert reading.rejected[0].reason == "id 'a' is already that of row 2"


def test_generated_ids_do_not_move_when_rows_are_added(tmp_path: Path) -> None:
    rows = [ROW, ROW | {"audio": "b/a.wav"}, ROW | {"start": "1.5", "end": "2"}]
    before = read(tmp_path, *rows)
    after = read(tmp_path, ROW | {"audio": "new.wav"}, *rows)
    assert [u.id for u in before.utterances] == ["audio/a", "b/a", "audio/a@1.500"]
    assert [u.id for u in after.utterances][1:] == [u.id for u in before.utterances]
    (text_only,) = read(tmp_path, ROW | {"audio": ""}).utterances
    assert text_only.id == "row-2"


def test_audio_is_relative_to_the_table_and_told_relative_to_the_corpus(tmp_path: Path) -> None:
    table(tmp_path, [ROW | {"audio": "../clips/./a.wav"}], "lists/t.csv")
    (found,) = read_corpus(params(table="lists/t.csv"), tmp_path).utterances
    assert found.audio == "clips/a.wav"


def test_parquet_reads_as_csv_does(tmp_path: Path) -> None:
    rows = [ROW | {"id": "1", "start": "0.5", "end": "2", "turn": "3"}, ROW | {"id": "2", "text": "", "start": "1"}]
    expected = read(tmp_path, *rows)
    frame = pd.read_csv(tmp_path / "t.csv")
    assert frame["turn"].dtype == float  # 3.0 and a missing value: the reader must say 3
    frame.to_parquet(tmp_path / "t.parquet")
    assert CORPORA["table"](params(table="t.parquet"), tmp_path) == expected


def test_a_spreadsheets_csv_reads(tmp_path: Path) -> None:
    path = table(tmp_path, [ROW | {"text": 'She said: "no, never", and left. Ünïcode'}])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\r\n")
    (found,) = read_corpus(params(), tmp_path).utterances
    assert found.text == 'She said: "no, never", and left. Ünïcode'


def test_a_row_of_another_length_is_rejected(tmp_path: Path) -> None:
    path = table(tmp_path, [ROW])
    path.write_text(path.read_text() + "x,audio/b.wav,an unquoted, comma,angry,S1,,,,,,\n")
    (rejected,) = read_corpus(params(), tmp_path).rejected
    assert rejected.row == "row 3"
    assert rejected.reason.startswith("12 cells where the header has 11")


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    table(tmp_path, [{"audio": "a.wav", "emotion": "sad"}], columns=("audio", "emotion"))
    columns = {"audio": "audio", "text": "words"}
    with pytest.raises(LsgmerError, match=r"'words' \(corpus.columns.text\), 'speaker' .* are audio, emotion"):
        read_corpus(params(columns=columns), tmp_path)


def test_columns_without_audio_and_text_are_a_params_error(tmp_path: Path) -> None:
    table(tmp_path, [ROW])
    with pytest.raises(ParamsError, match="neither audio nor text"):
        read_corpus(params(columns={}), tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("t.csv", b"", "empty"),
        ("t.csv", b"audio,emotion,speaker\n\xff\xfe,sad,S\n", "not UTF-8"),
        ("t.csv", b"audio,audio,speaker\na,b,c\n", "used twice: 'audio'"),
        ("t.parquet", b"PAR1 not at all", "not readable as Parquet"),
        ("t.xlsx", b"PK", "not readable as a workbook"),
        ("t.xls", b"PK", r"a table must be \.csv, \.tsv, \.jsonl, \.parquet or \.xlsx"),
        ("t.csv", "audio,text\n".encode("utf-16"), "UTF-16; save it as UTF-8"),
        ("t.csv.gz", b"audio,text\n", "not readable as gzip"),
    ],
)
def test_an_unreadable_table_says_why(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LsgmerError, match=reason):
        read_corpus(params(table=name), tmp_path)


def test_a_missing_table_folder_or_row_says_so(tmp_path: Path) -> None:
    with pytest.raises(LsgmerError, match="no such table"):
        read_corpus(params(), tmp_path)
    with pytest.raises(LsgmerError, match="no such corpus folder"):
        read_corpus(params(), tmp_path / "none")
    table(tmp_path, [ROW | {"emotion": "bored"}] * 2)
    with pytest.raises(LsgmerError, match=r"no row can be used\n  2 x unknown emotion 'bored'"):
        read_corpus(params(), tmp_path)


CELLS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
CHOICES = {"emotion": st.sampled_from(["angry", "fury", "other", "sad", "?"]), "audio": st.sampled_from(["a.wav", ""])}
ROWS = st.lists(st.fixed_dictionaries({name: CHOICES.get(name, CELLS) | CELLS for name in COLUMNS}), max_size=8)


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_every_row_is_an_utterance_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]
) -> None:
    reading = read(tmp_path_factory.mktemp("rows"), *rows)
    assert len(reading.utterances) + len(reading.rejected) == len(rows)
    assert len({u.id for u in reading.utterances}) == len(reading.utterances)
    for utterance in reading.utterances:
        assert utterance.emotion in {"angry", "sad"}
        assert utterance.speaker == utterance.speaker.strip() != ""
        assert utterance.audio or utterance.text
        assert not (utterance.audio or "").startswith(("/", "../"))
    for row in reading.rejected:
        assert row.reason
        assert row.row.startswith("row ")


@pytest.mark.real
def test_nemo_reads_wholly() -> None:
    corpus = read_layers(ROOT / "params.yaml", ROOT / "params" / "nemo.yaml")[1].corpus
    folder = (ROOT / corpus.path).resolve()
    if not folder.is_dir():
        pytest.skip(f"the recordings are not here: {folder}")
    reading = read_corpus(corpus, folder)
    assert (len(reading.utterances), reading.rejected) == (530, ())
    assert len({u.speaker for u in reading.utterances}) == 9
    assert all(len(u.speaker) == 3 for u in reading.utterances)


def test_nemo_params_are_whole() -> None:
    nemo = read_layers(ROOT / "params.yaml", ROOT / "params" / "nemo.yaml")[1]
    assert (nemo.corpus.synthesize, nemo.manifest.split, nemo.package.name) == ((), "speaker", "lsgmer-nemo")
    assert set(nemo.corpus.expected_counts) == set(nemo.corpus.label_set.names)
