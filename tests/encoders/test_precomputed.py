"""Precomputed features are looked up by utterance id, and what is missing or odd is named."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from lsgmer.core.errors import LsgmerError, PackagingRefused
from lsgmer.core.hashing import file_sha256
from lsgmer.encoders.build import load_encoder, pack_encoder
from lsgmer.encoders.precomputed import Precomputed


def write(path, columns):
    parquet.write_table(pa.table(columns), path)
    return path


def test_one_vector_per_utterance_is_one_frame(tmp_path):
    path = write(tmp_path / "f.parquet", {"id": ["a", "b"], "values": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]})
    made = Precomputed("audio", path, "f.parquet")
    assert made.spec.dimension == 3
    assert made.spec.weights_sha256 == file_sha256(path)
    assert (made.length("a"), made.length("z")) == (1, None)
    (values,) = made.look_up(["b"])
    np.testing.assert_array_equal(values, np.array([[4, 5, 6]], dtype=np.float32))
    assert values.dtype == np.float32


def test_frames_of_different_lengths(tmp_path):
    path = write(tmp_path / "f.parquet", {"id": ["a", "b"], "values": [[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]]})
    made = Precomputed("text", path, "f.parquet")
    assert [len(v) for v in made.look_up(["b", "a"])] == [2, 1]


def test_one_column_per_number(tmp_path):
    path = write(tmp_path / "f.parquet", {"f0": [0.5, 1.5], "id": ["a", "b"], "f1": [7, 8]})
    np.testing.assert_array_equal(Precomputed("audio", path, "x").look_up(["b"])[0], [[1.5, 8.0]])


def test_npz_and_parquet_hold_the_same(tmp_path):
    random = np.random.default_rng(1)
    frames = {f"u{i}": random.normal(size=(i + 1, 4)).astype("f4") for i in range(3)}
    np.savez(tmp_path / "f.npz", **frames)
    path = write(tmp_path / "f.parquet", {"id": list(frames), "values": [v.tolist() for v in frames.values()]})
    npz, table = (Precomputed("audio", p, p.name) for p in (tmp_path / "f.npz", path))
    for name in frames:
        np.testing.assert_array_equal(npz.look_up([name])[0], table.look_up([name])[0])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["a", "a"], "values": [[1.0], [2.0]]}, "occur more than once, such as ['a']"),
        ({"id": ["a", "b"], "values": [[1.0], [2.0, 3.0]]}, "the same size D, found [1, 2]"),
        ({"id": ["a"], "values": [[float("nan")]]}, "a: holds NaN"),
        ({"id": ["a"], "values": [[[1.0], [2.0, 3.0]]]}, "a: not numbers, or lists of unequal length"),
        ({"id": ["a"], "values": [[]]}, "a: shape (1, 0)"),
        ({"key": ["a"], "values": [[1.0]]}, "expected `id` and `values`"),
        ({"id": ["a"], "f0": ["x"]}, "column 'f0' holds string"),
    ],
)
def test_a_bad_file_names_the_row_and_the_reason(tmp_path, columns, message):
    path = write(tmp_path / "f.parquet", columns)
    with pytest.raises(LsgmerError, match=re.escape(message)) as error:
        Precomputed("audio", path, "f.parquet")
    assert str(path) in str(error.value)


def test_pickles_are_not_read(tmp_path):
    np.savez(tmp_path / "f.npz", a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(LsgmerError, match="without pickles"):
        Precomputed("audio", tmp_path / "f.npz", "f.npz")


def test_a_missing_file_and_a_foreign_one(tmp_path):
    with pytest.raises(LsgmerError, match="no such file"):
        Precomputed("audio", tmp_path / "f.parquet", "f.parquet")
    path = write(tmp_path / "f.parquet", {"id": ["a"], "values": [[1.0]]})
    made = Precomputed("audio", path, "f.parquet")
    assert made.matches(["a", "b"]) == (1, 0)
    with pytest.raises(LsgmerError, match="must spell their ids alike"):
        made.matches(["b"])
    with pytest.raises(LsgmerError, match=r"no features for \['b'\]"):
        made.look_up(["b"])


def test_such_a_model_is_measured_but_not_served(tmp_path):
    path = write(tmp_path / "f.parquet", {"id": ["a"], "values": [[1.0]]})
    made = Precomputed("audio", path, "f.parquet")
    with pytest.raises(LsgmerError, match="evaluated but not served"):
        made.encode([None])
    with pytest.raises(LsgmerError, match="evaluated but not served"):
        load_encoder(made.spec)
    with pytest.raises(PackagingRefused, match="evaluated but not served"):
        pack_encoder(made.spec, tmp_path / "packed")
