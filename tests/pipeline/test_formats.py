"""The same utterances in every format are the same manifest and get the same answers."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from lsgmer.commands.predict import answers, as_csv, as_table
from lsgmer.commands.queries import Query, TableSource, read_table
from lsgmer.core.paths import Workspace
from lsgmer.corpora.readers import read_corpus
from lsgmer.corpora.tabular import read_rows
from lsgmer.encoders.moonshine import NEEDS
from lsgmer.encoders.weights import package_file
from lsgmer.manifests.manifest import Manifest
from tests.corpora.test_table import params

pytestmark = pytest.mark.timeout(400)
installed = pytest.mark.skipif(
    any(find_spec(name) is None for name in NEEDS), reason="the extra `moonshine` is not installed: no wheel here"
)
FIELDS = ("id", "audio", "text", "emotion", "speaker")
RECORDING = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
LABELS = tuple({"name": name, "description": name} for name in ("angry", "happy", "neutral", "sad"))
IN_PLACE = ("hugging_face.parquet", "audiofolder/metadata.csv", "audiofolder/metadata.jsonl")


@pytest.fixture(scope="module")
def corpus(golden, tmp_path_factory) -> Path:
    """A folder with twenty utterances of the sample in every format that is read."""
    sample = golden[0].root / "data" / "raw" / "sample"
    folder = tmp_path_factory.mktemp("formats")
    header, found = read_rows(sample / "utterances.csv")
    rows = [{name: row.cells[name] for name in FIELDS} for row in found if row.cells["split"] != "train"][:20]
    assert set(FIELDS) <= set(header)
    (folder / "audiofolder").mkdir()
    for row in rows:
        (folder / row["audio"]).parent.mkdir(exist_ok=True)
        shutil.copy(sample / row["audio"], folder / row["audio"])
        shutil.copy(sample / row["audio"], folder / "audiofolder")
    write_all(folder, rows)
    return folder


def write_all(folder: Path, rows: list[dict[str, str]]) -> None:
    for name, mark in {"comma.csv": ",", "semicolon.csv": ";", "tab.tsv": "\t"}.items():
        delimited(folder / name, rows, mark)
    (folder / "packed.csv.gz").write_bytes(gzip.compress((folder / "comma.csv").read_bytes()))
    lines(folder / "lines.jsonl", rows)
    pd.DataFrame(rows).to_excel(folder / "book.xlsx", index=False)
    strings = pa.table({name: [row[name] for row in rows] for name in FIELDS})
    parquet.write_table(strings, folder / "strings.parquet")
    parquet.write_table(pa.table({n: strings[n].cast(pa.binary()) for n in FIELDS}), folder / "bytes.parquet")
    parquet.write_table(pa.table({n: strings[n].dictionary_encode() for n in FIELDS}), folder / "dictionary.parquet")
    cells = [{"bytes": (folder / row["audio"]).read_bytes(), "path": row["audio"]} for row in rows]
    embedded = strings.set_column(FIELDS.index("audio"), "audio", pa.array(cells, RECORDING))
    parquet.write_table(embedded, folder / "hugging_face.parquet")
    beside = [{**row, "audio": Path(row["audio"]).name} for row in rows]
    named = [{("file_name" if k == "audio" else k): cell for k, cell in row.items()} for row in beside]
    delimited(folder / "audiofolder" / "metadata.csv", named, ",")
    lines(folder / "audiofolder" / "metadata.jsonl", named)


def delimited(path: Path, rows: list[dict[str, str]], mark: str) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=mark)
        writer.writeheader()
        writer.writerows(rows)


def lines(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def tables(corpus: Path) -> list[str]:
    """Return the tables of the folder, the comma-separated one first."""
    found = [
        path for path in corpus.rglob("*") if path.suffix in (".csv", ".tsv", ".gz", ".jsonl", ".xlsx", ".parquet")
    ]
    return sorted((path.relative_to(corpus).as_posix() for path in found), key=lambda name: (name != "comma.csv", name))


def test_every_format_is_the_same_manifest(corpus):
    hashes: dict[str, str] = {}
    rows: dict[str, list[Any]] = {}
    for name in tables(corpus):
        columns = {field: field for field in FIELDS} | ({"audio": "file_name"} if "metadata" in name else {})
        reading = read_corpus(params(table=name, columns=columns, labels=LABELS, label_map={}), corpus)
        assert not reading.rejected, reading.rejected
        hashes[name] = Manifest(reading.utterances, params(labels=LABELS, label_map={}).label_set, "table").content_hash
        rows[name] = [(u.id, u.text, u.emotion, u.speaker) for u in reading.utterances]
    assert len(hashes) == 12
    assert all(found == rows["comma.csv"] for found in rows.values())
    elsewhere = {name for name, found in hashes.items() if found != hashes["comma.csv"]}
    assert elsewhere == set(IN_PLACE), "only the recordings' place may differ"


def test_every_format_gets_the_same_answers(golden, corpus):
    queries = {name: read_table(TableSource(corpus / name)) for name in tables(corpus)}
    found = list(answers(Workspace(golden[0].root), [query for rows in queries.values() for query in rows]))
    assert {row["error"] for row in found} == {None}
    assert [row["source"] for row in found] == [row["source"] for row in found[:20]] * len(queries)
    probabilities = np.array([list(row["probabilities"].values()) for row in found]).reshape(len(queries), 20, 4)
    for name, same in zip(queries, probabilities, strict=True):  # batches differ, and with them the last digits
        np.testing.assert_allclose(same, probabilities[0], atol=1e-6, err_msg=name)


@installed
def test_missing_words_are_transcribed_where_asked_and_marked(golden, capsys):
    workspace = Workspace(golden[0].root)
    spoken = Query("spoken", package_file("package:moonshine_voice/assets/beckett.wav"), None)
    queries = [spoken, replace(spoken, name="given", text="No matter."), Query("words", None, "Try again.")]
    heard, given, words = answers(workspace, queries, "moonshine")
    assert heard["transcript"]["text"].startswith("Ever tried, ever failed")
    assert (given["transcript"], words["transcript"]) == (None, None)
    same = next(iter(answers(workspace, [replace(spoken, text=heard["transcript"]["text"])])))
    assert heard["probabilities"] == pytest.approx(same["probabilities"], abs=1e-6)
    (unasked,) = answers(workspace, [spoken])
    assert (unasked["transcript"], unasked["modalities"]) == (None, ["audio"])
    assert "audio+text (automatic)" in as_table([heard])
    assert "transcript" in as_csv([heard]).splitlines()[0]
    assert "transcript" not in as_csv([unasked]).splitlines()[0]
