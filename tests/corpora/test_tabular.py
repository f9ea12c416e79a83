"""One reader for every format: the same rows from each, no row inside another, nothing that no person would write."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from lsgmer.audio import decode, facts
from lsgmer.commands.queries import TableSource, read_table
from lsgmer.core.errors import LsgmerError
from lsgmer.corpora.readers import read_corpus
from lsgmer.corpora.tabular import read_rows
from lsgmer.validation.facts import audio_facts
from tests.corpora.test_table import params

HEADER = ("id", "text", "emotion", "speaker")
ROWS = [
    {"id": f"u{i:02d}", "text": text, "emotion": "angry" if i % 2 else "sad", "speaker": f"S{i % 3}"}
    for i, text in enumerate(
        ["None", "null", "NA", "nan", "Go, now; please", 'She said "no"', "5\u2033 tall", "Zażółć", "true", "12"] * 2
    )
]
COLUMNS = {name: name for name in HEADER}


def delimited(rows: list[dict[str, str]], mark: str, **options: Any) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, HEADER, delimiter=mark, **options)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def arrow(kind: pa.DataType) -> pa.Table:
    columns = {name: pa.array([row[name] for row in ROWS]) for name in HEADER}
    if pa.types.is_dictionary(kind):
        return pa.table({name: column.dictionary_encode() for name, column in columns.items()})
    return pa.table({name: column.cast(kind) for name, column in columns.items()})


def write(path: Path, kind: str) -> Path:
    """Write ROWS in one of the formats that are read alike."""
    path = path / kind.rsplit(" ", 1)[-1]
    if kind.endswith(".parquet"):
        wanted = {"strings": pa.string(), "bytes": pa.binary(), "large": pa.large_string()}
        parquet.write_table(arrow(wanted.get(kind.split()[0], pa.dictionary(pa.int32(), pa.string()))), path)
    elif kind.endswith(".xlsx"):
        pd.DataFrame(ROWS).to_excel(path, index=False)
    elif ".jsonl" in kind:
        text = "".join(json.dumps(row) + "\n" for row in ROWS)
        path.write_bytes(gzip.compress(text.encode()) if kind.endswith(".gz") else text.encode())
    else:
        text = delimited(ROWS, {"tab": "\t", "semicolon": ";", "pipe": "|"}.get(kind.split()[0], ","))
        content = text.encode("utf-8-sig" if kind.startswith("BOM") else "utf-8")
        content = content.replace(b"\r\n", b"\n") if kind.startswith("LF") else content
        path.write_bytes(gzip.compress(content) if kind.endswith(".gz") else content)
    return path


FORMATS = (
    "CRLF t.csv", "LF t.csv", "BOM t.csv", "semicolon t.csv", "pipe t.csv", "tab t.tsv", "tab t.csv", "t.csv.gz",
    "t.jsonl", "t.jsonl.gz", "t.xlsx", "strings t.parquet", "bytes t.parquet", "large t.parquet",
    "dictionary t.parquet",
)  # fmt: skip


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_rows(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind)
    reading = read_corpus(params(table=path.name, columns=COLUMNS), tmp_path)
    found = [{"id": u.id, "text": u.text, "emotion": u.emotion, "speaker": u.speaker} for u in reading.utterances]
    assert found == ROWS
    assert reading.rejected == ()
    queries = read_table(TableSource(path))
    assert [(q.name, q.text, q.speaker, q.problem) for q in queries] == [
        (row["id"], row["text"], row["speaker"], None) for row in ROWS
    ]


@pytest.mark.parametrize("mark", [",", "\t", ";"])
@pytest.mark.parametrize("text", ['"hello there', 'he said "hi', 'bye"', '"', '"a" b', '""'])
@pytest.mark.parametrize("quoted_later", [False, True])
def test_a_lone_quotation_mark_takes_no_other_row_in(tmp_path: Path, mark: str, text: str, quoted_later: bool) -> None:
    truth = {f"u{i:03d}": "angry" if i % 3 else "sad" for i in range(108)}
    lines = [mark.join((name, f"words {name}", emotion, "S1")) for name, emotion in truth.items()]
    lines[40] = mark.join(("u040", text, truth["u040"], "S1"))
    if quoted_later:
        lines[70] = mark.join(("u070", f'"Yes{mark} I do"', truth["u070"], "S1"))
    path = tmp_path / ("t.tsv" if mark == "\t" else "t.csv")
    path.write_text("\n".join([mark.join(HEADER), *lines]) + "\n")
    reading = read_corpus(params(table=path.name, columns=COLUMNS), tmp_path)
    assert len(reading.utterances) + len(reading.rejected) == 108
    assert {u.id: u.emotion for u in reading.utterances}.items() <= truth.items()
    assert all(u.text == f"words {u.id}" for u in reading.utterances if u.id not in ("u040", "u070"))
    assert {row.row for row in reading.rejected} <= {"row 42", "row 72"}


def test_a_cell_may_hold_a_line_end_or_a_delimiter_but_not_both(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        'id,text,emotion,speaker\na,"one\ntwo",sad,S1\nb,"one, two",sad,S1\nc,"one,\ntwo",sad,S1\nd,x,sad,S1\n'
    )
    reading = read_corpus(params(columns=COLUMNS), tmp_path)
    assert [(u.id, u.text) for u in reading.utterances] == [("a", "one\ntwo"), ("b", "one, two"), ("d", "x")]
    assert [(r.row, r.reason.split(";")[0]) for r in reading.rejected] == [
        ("row 4", "a cell holds a line end and a delimiter")
    ]


CELLS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8).map(str.strip)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8), st.sampled_from([",", ";", "|"]))
def test_what_a_program_writes_is_read_back(rows: list[tuple[str, str]], mark: str) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=mark, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.csv")
        path.write_text(text.getvalue(), encoding="utf-8", newline="")
        header, found = read_rows(path, delimiter=mark)
    assert header == ("a", "b")
    assert [(row.cells["a"], row.cells["b"]) for row in found] == rows


def test_typed_cells_are_written_as_a_person_would(tmp_path: Path) -> None:
    table = pa.table(
        {
            "int": [1, None], "float": [2.0, 2.5], "bool": [True, False],
            "date": pa.array([datetime.date(2026, 1, 2)] * 2),
            "time": pa.array([datetime.datetime(2026, 1, 2, 3, 4)] * 2),
            "decimal": pa.array([None, None], pa.decimal128(5, 2)), "list": [["a", "b"], []],
            "struct": [{"x": {"y": 1}}, {"x": {"y": None}}], "bytes": [b"\xff\xfe\xfd", b"text"],
        }
    )  # fmt: skip
    parquet.write_table(table, tmp_path / "t.parquet")
    _, (first, second) = read_rows(tmp_path / "t.parquet")
    assert {name: first.cells[name] for name in ("int", "float", "bool", "date", "time", "struct.x.y", "list.1")} == {
        "int": "1", "float": "2", "bool": "true", "date": "2026-01-02", "time": "2026-01-02T03:04:00",
        "struct.x.y": "1", "list.1": "b",
    }  # fmt: skip
    assert (second.cells["int"], second.cells["float"], second.cells["bytes"]) == ("", "2.5", "text")
    assert first.faults["bytes"] == "column 'bytes' holds 3 bytes that are not UTF-8 text"
    assert "column 'list' holds a list of 2" in first.faults["list"]


def test_a_cell_that_is_no_text_rejects_its_row_by_column(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": ["x"], "emotion": "sad", "speaker": "S"}, {**ROWS[0]}, "not an object"]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    reading = read_corpus(params(table="t.jsonl", columns=COLUMNS), tmp_path)
    assert [u.id for u in reading.utterances] == ["u00"]
    assert [(r.row, r.reason.split(";")[0].split(":")[0]) for r in reading.rejected] == [
        ("row 1", "column 'text' holds a list of 1 where a text is expected"),
        ("row 3", "not a JSON object"),
        ("row 4", "not JSON"),
    ]


def test_what_json_and_parquet_would_lose_or_cannot_store_is_rejected(tmp_path: Path) -> None:
    plain = '"emotion": "sad", "speaker": "S"}'
    (tmp_path / "t.jsonl").write_text(
        f'{{"id": "a", "text": "x", "text": "y", {plain}\n{{"id": "b", "text": "\\ud800", {plain}\n'
        f'{{"id": "c", "text": Infinity, {plain}\n{{"id": "d", "text": "\\ud83d\\ude00", {plain}\n'
    )
    reading = read_corpus(params(table="t.jsonl", columns=COLUMNS), tmp_path)
    assert [(u.id, u.text) for u in reading.utterances] == [("d", "\U0001f600")]
    assert [row.reason for row in reading.rejected] == [
        "not JSON: key 'text' is given more than once",
        "column 'text' holds half a character (a lone surrogate)",
        "column 'text' holds an infinite number",
    ]
    twice = pa.table([pa.array(["x"]), pa.array(["y"])], names=["text", "text"])
    parquet.write_table(twice, tmp_path / "t.parquet")
    with pytest.raises(LsgmerError, match="used twice: 'text'"):
        read_rows(tmp_path / "t.parquet")


def test_a_name_that_no_file_can_have_rejects_its_row(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"audio,emotion,speaker\n{'a' * 300}.wav,sad,S\n")
    with pytest.raises(LsgmerError, match="is no name of a file: File name too long"):
        read_corpus(params(columns={"audio": "audio"}), tmp_path)  # no row is left
    assert "File name too long" in str(read_table(TableSource(tmp_path / "t.csv"))[0].problem)


def test_nested_manifests_are_read_by_dotted_names(tmp_path: Path) -> None:
    cut = {
        "id": "cut-1",
        "recording": {"sources": [{"type": "file", "source": "a.wav"}]},
        "supervisions": [{"text": "Hello.", "speaker": "S1", "custom": {"emotion": "sad"}}],
    }
    (tmp_path / "cuts.jsonl").write_text(json.dumps(cut) + "\n")
    columns = {
        "id": "id", "audio": "recording.sources.0.source", "text": "supervisions.0.text",
        "speaker": "supervisions.0.speaker", "emotion": "supervisions.0.custom.emotion",
    }  # fmt: skip
    (found,) = read_corpus(params(table="cuts.jsonl", columns=columns), tmp_path).utterances
    assert (found.id, found.audio, found.text, found.speaker, found.emotion) == (
        "cut-1", "a.wav", "Hello.", "S1", "sad",
    )  # fmt: skip


def test_embedded_recordings_are_read_in_place(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    tones = [0.1 * np.random.default_rng(i).normal(size=8000 + i) for i in range(70)]
    cells = [{"bytes": _flac(tone), "path": f"{i}.flac"} for i, tone in enumerate(tones)]
    cells[3] = {"bytes": None, "path": "gone.flac"}
    table = {"audio": pa.array(cells, kind), "emotion": ["sad"] * 70, "speaker": ["S"] * 70}
    parquet.write_table(pa.table(table), tmp_path / "t.parquet", row_group_size=32)
    reading = read_corpus(params(table="t.parquet", columns={"audio": "audio"}), tmp_path)
    assert reading.utterances[69].audio == reading.utterances[69].id == "t.parquet#audio#70"
    known = audio_facts(reading.utterances, tmp_path, 1)
    assert [fact.decoded_frames for fact in known.values()] == [None if i == 3 else 8000 + i for i in range(70)]
    assert known["t.parquet#audio#4"].error == "missing: the table's cell holds no recording"
    query = read_table(TableSource(tmp_path / "t.parquet"))[69]
    assert len(decode(query.audio).samples) == 8069
    assert facts(tmp_path / "t.parquet#audio#71").error == "missing: the table's cell holds no recording"
    assert facts(tmp_path / "u.parquet#audio#1").error == "missing: there is no such table"


def _flac(samples: np.ndarray[Any, Any]) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, samples, 8000, format="FLAC")
    return content.getvalue()


def test_a_sheet_is_chosen_by_name(tmp_path: Path) -> None:
    with pd.ExcelWriter(tmp_path / "t.xlsx") as book:
        pd.DataFrame({"note": ["x"]}).to_excel(book, sheet_name="readme", index=False)
        pd.DataFrame(ROWS[:2]).to_excel(book, sheet_name="rows", index=False)
    assert read_rows(tmp_path / "t.xlsx")[0] == ("note",)
    assert read_rows(tmp_path / "t.xlsx", sheet="rows")[0] == HEADER
    with pytest.raises(LsgmerError, match=r"no sheet 'row' \(corpus.sheet\); it has readme, rows"):
        read_rows(tmp_path / "t.xlsx", sheet="row")


PATHS = {
    "backslashes": "audio\\Zażółć 1.WAV",
    "decomposed": unicodedata.normalize("NFD", "audio/Zażółć 1.WAV"),
    "suffix": "audio/Zażółć 1.wav",
    "doubled": "audio//./Zażółć 1.WAV",
    "all": unicodedata.normalize("NFD", "audio\\\\Zażółć 1.wav"),
}


@pytest.mark.parametrize("name", PATHS)
def test_paths_of_other_systems_are_found_and_noted(tmp_path: Path, name: str) -> None:
    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio" / "Zażółć 1.WAV", np.zeros(100), 8000, format="WAV")
    (tmp_path / "t.csv").write_text(f"audio,emotion,speaker\n{PATHS[name]},sad,S\n", encoding="utf-8")
    reading = read_corpus(params(columns={"audio": "audio"}), tmp_path)
    assert [u.audio for u in reading.utterances] == ["audio/Zażółć 1.WAV"]
    assert [note.rows for note in reading.notes] == ([] if name == "doubled" else [("row 2",)])
    assert read_table(TableSource(tmp_path / "t.csv"))[0].audio == tmp_path / "audio" / "Zażółć 1.WAV"


def test_a_path_that_fits_nothing_or_several_files_names_the_nearest(tmp_path: Path) -> None:
    for name in ("a1.WAV", "a1.Wav", "b.wav"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "t.csv").write_text("audio,emotion,speaker\na1.wav,sad,S\nb1.wav,sad,S\n..\\x.wav,sad,S\n")
    reading = read_corpus(params(columns={"audio": "audio"}), tmp_path)
    assert [u.audio for u in reading.utterances] == ["a1.wav", "b1.wav", "..\\x.wav"]
    assert any(note.what == "no such audio file; the nearest name is b.wav" for note in reading.notes)
