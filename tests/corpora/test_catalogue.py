"""The catalogue against the readers and the ready parameter files: one set of counts, not two."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from lsgmer.corpora.catalogue import RECORDS
from lsgmer.corpora.readers import CORPORA
from lsgmer.params import read_layers

ROOT = Path(__file__).parents[2]
READY = [(name, file) for name, record in RECORDS.items() for file in record.params if record.counts]


def test_every_reader_has_a_record_and_every_record_a_file() -> None:
    assert set(RECORDS) == set(CORPORA)
    for record in RECORDS.values():
        assert record.layout
        assert record.licence
        assert record.obtain
        assert all((ROOT / file.partition(" ")[0]).is_file() for file in record.params)


@pytest.mark.parametrize(("name", "file"), READY)
def test_the_expected_counts_are_the_official_ones_through_the_label_map(name: str, file: str) -> None:
    _, params = read_layers(ROOT / "params.yaml", ROOT / file.partition(" ")[0])
    corpus = params.corpus
    assert corpus.name == name
    expected: Counter[str] = Counter()
    for word, count in RECORDS[name].counts.items():
        label = corpus.label_map.get(word, word)
        if label is not None:
            expected[label] += count
    assert expected == corpus.expected_counts
    assert set(expected) == set(corpus.label_set.names)


def test_the_totals_are_those_of_the_literature() -> None:
    totals = {name: sum(record.counts.values()) for name, record in RECORDS.items() if record.counts}
    assert totals == {
        "iemocap": 10_039, "meld": 13_708, "emodb": 535, "cremad": 7_442,
        "ravdess": 1_440, "tess": 2_800, "savee": 480, "esd": 35_000,
    }  # fmt: skip
    sizes = {
        file: sum(read_layers(ROOT / "params.yaml", ROOT / "params" / file)[1].corpus.expected_counts.values())
        for file in ("iemocap4.yaml", "iemocap6.yaml")
    }
    assert sizes == {"iemocap4.yaml": 5_531, "iemocap6.yaml": 7_380}
