"""Files, globs and tables become queries; a table's own names, delimiter and cuts are read, and no bad row stops it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lsgmer.commands.queries import Query, TableSource, gather, read_table, table_source
from lsgmer.core.errors import LsgmerError, ParamsError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_gathers_files_globs_and_tables(here: Path) -> None:
    for name in ("b.wav", "a.wav", "c.txt"):
        (here / name).touch()
    assert [s.name for s in gather(["*.wav", "absent.wav"], None, None)] == ["a.wav", "b.wav", "absent.wav"]
    assert gather([], "hello", None) == [Query("text", None, "hello")]
    (here / "t.csv").write_text("audio,text\na.wav,hello\n,only words\n")
    first, second = gather([], None, TableSource(here / "t.csv"))
    assert (first.audio, first.text) == (here / "a.wav", "hello")
    assert (second.name, second.audio, second.text) == ("row 3", None, "only words")
    for arguments in (([], None, None), (["*.wav"], "words", None), (["a.wav"], None, TableSource(here / "t.csv"))):
        with pytest.raises(ParamsError):
            gather(*arguments)
    (here / "u.csv").write_text("file\na.wav\n")
    with pytest.raises(LsgmerError, match="needs a column audio or text, has file"):
        gather([], None, TableSource(here / "u.csv"))


def test_a_table_gives_speaker_dialogue_and_turn(tmp_path: Path):
    table = tmp_path / "t.csv"
    table.write_text("id,text,speaker,dialogue,turn\nx,hello,ann,d1,3\ny,again,,,\n")
    first, second = read_table(TableSource(table))
    assert (first.speaker, first.dialogue, first.turn) == ("ann", "d1", 3)
    assert (second.speaker, second.dialogue, second.turn) == (None, None, None)
    table.write_text("text,turn\nhello,first\nbye,2\n")
    bad, good = read_table(TableSource(table))
    assert str(bad.problem).endswith("row 2: turn 'first' is not a whole number")
    assert (good.text, good.problem) == ("bye", None)


def test_two_channels_of_a_file_are_two_rows(tmp_path: Path):
    table = tmp_path / "t.csv"
    table.write_text("audio,channel\ncall.wav,left\ncall.wav,1\ncall.wav,\n")
    assert [(q.name, q.channel) for q in gather([], None, TableSource(table))] == [
        ("call.wav#left", "left"),
        ("call.wav#1", "1"),
        ("call.wav", None),
    ]


def test_a_cut_of_a_recording_is_one_row(tmp_path: Path):
    (tmp_path / "t.csv").write_text("audio,start_s,end_s\na.wav,0.5,2\na.wav,2,\na.wav,3,1\n")
    first, second, third = read_table(TableSource(tmp_path / "t.csv"))
    assert [(q.name, q.start_s, q.end_s) for q in (first, second)] == [("a.wav@0.5", 0.5, 2.0), ("a.wav@2", 2.0, None)]
    assert str(third.problem).endswith("row 4: end_s 1.0 is not after start_s 3.0")


def test_a_table_with_other_names_delimiter_or_sheet(tmp_path: Path):
    (tmp_path / "t.csv").write_text("utt~file,1~words\nx~a.wav~hello\n")
    source = table_source(tmp_path / "t.csv", "~", None, ["id=utt", "audio=file,1", "text=words"])
    assert source is not None
    assert [(q.name, q.audio, q.text) for q in read_table(source)] == [("x", tmp_path / "a.wav", "hello")]
    (tmp_path / "t.txt.tsv").write_text("text;more\tnote\na;b\tc\n")
    tabbed = table_source(tmp_path / "t.txt.tsv", "tab", None, ["text=text;more"])
    assert tabbed is not None
    assert [q.text for q in read_table(tabbed)] == ["a;b"]
    with pd.ExcelWriter(tmp_path / "t.xlsx") as book:
        pd.DataFrame({"text": ["one"]}).to_excel(book, sheet_name="first", index=False)
        pd.DataFrame({"text": ["two"]}).to_excel(book, sheet_name="second", index=False)
    assert [q.text for q in read_table(TableSource(tmp_path / "t.xlsx", sheet="second"))] == ["two"]


def test_an_audiofolders_metadata_needs_no_names(tmp_path: Path):
    (tmp_path / "metadata.csv").write_text("file_name,text\na.wav,hello\n")
    assert [(q.name, q.audio) for q in read_table(TableSource(tmp_path / "metadata.csv"))] == [
        ("a.wav", tmp_path / "a.wav")
    ]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((None, ";"), "give --table too"),
        ((Path("t.csv"), ";;"), "--delimiter ;;: one character"),
        ((Path("t.csv"), None, None, ["path=audio"]), "--column path=audio: write FIELD=NAME"),
        ((Path("t.csv"), None, None, ["audio"]), "write FIELD=NAME"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments, reason):
    with pytest.raises(ParamsError, match=reason):
        table_source(*arguments)


def test_a_named_column_that_is_not_there_is_an_error(tmp_path: Path):
    (tmp_path / "t.csv").write_text("text\nhello\n")
    with pytest.raises(LsgmerError, match=r"no column 'path' \(--column audio\); the table's columns are text"):
        read_table(TableSource(tmp_path / "t.csv", columns={"audio": "path"}))
