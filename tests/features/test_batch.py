"""The feature store returns what was written, and padding is a mask."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import MODALITIES, EncoderSpec, Label, Labels
from lsgmer.features.batch import Batch, Item, collate, length_buckets
from lsgmer.features.store import STORE, FeatureSplit, Frames, write_split
from lsgmer.manifests.utterance import Utterance

LABELS = Labels(items=(Label(name="sad", description="grieving"), Label(name="happy", description="glad")))
AUDIO = EncoderSpec(modality="audio", kind="logmel", dimension=3)
TEXT = EncoderSpec(modality="text", kind="transformers", dimension=2)


def rows(length: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, length, width]).standard_normal((length, width)).astype(np.float32)


def utterance(i: int, **fields: object) -> Utterance:
    given = {"id": f"u{i}", "corpus": "c", "speaker": f"s{i % 2}", "emotion_raw": "x", "emotion": LABELS.names[i % 2]}
    return Utterance(**(given | {"split": "train"} | fields))


def batch_of(store: FeatureSplit, order: list[int]) -> Batch:
    """Collate these rows of `store`, with their labels."""
    return collate([store.item(row) for row in order], True, store.dimensions)


def write(folder: Path, audio: list[int] | None, text: list[int] | None, label_text: bool = True) -> list[Utterance]:
    """Write a store whose utterances have these numbers of frames; None: no such encoder."""
    utterances = [utterance(i, sex="f" if i else None, tags=("a", "b")[:i]) for i in range(len(audio or text or []))]

    def frames(spec: EncoderSpec, lengths: list[int] | None) -> Frames | None:
        if lengths is None:
            return None
        pieces = [(i, rows(n, spec.dimension, i)) for i, n in enumerate(lengths)]
        return Frames(spec, lengths, reversed(pieces))

    parts = {"audio": frames(AUDIO, audio), "text": frames(TEXT, text)}
    write_split(folder, "train", utterances, LABELS, parts, rows(2, 2) if label_text else None, "m" * 64)
    return utterances


def test_a_store_comes_back_as_it_was_written(tmp_path: Path) -> None:
    audio, text = [3, 0, 5], [0, 2, 1]
    written = write(tmp_path / "train", audio, text)
    split = FeatureSplit.load(tmp_path / "train")
    assert (split.split, len(split), split.label_set, split.manifest_sha256) == ("train", 3, LABELS, "m" * 64)
    assert split.ids == tuple(u.id for u in written)
    assert split.speakers == ("s0", "s1", "s0")
    assert split.sexes == (None, "f", "f")
    assert split.sessions == (None, None, None)
    assert split.tags == ((), ("a",), ("a", "b"))
    assert split.emotions == ("sad", "happy", "sad")
    assert split.labels.tolist() == [0, 1, 0]
    assert split.specs == {"audio": AUDIO, "text": TEXT}
    assert split.dimensions == {"audio": 3, "text": 2}
    assert split.has("audio").tolist() == [True, False, True]
    assert split.lengths("text").tolist() == text
    assert np.array_equal(split.label_text, rows(2, 2))
    for i in range(3):
        item = split.item(i)
        assert (item.id, item.label) == (f"u{i}", [0, 1, 0][i])
        for values, lengths, width in ((item.audio, audio, 3), (item.text, text, 2)):
            assert (values is None) == (lengths[i] == 0)
            assert values is None or np.array_equal(values, rows(lengths[i], width, i))


def test_arrays_are_mapped_not_read(tmp_path: Path) -> None:
    write(tmp_path / "train", [3, 4], [1, 1])
    split = FeatureSplit.load(tmp_path / "train")
    values = split.flat["audio"]
    assert isinstance(values, np.memmap)
    assert not values.flags.writeable
    assert values.dtype == np.float32
    assert split.offsets["audio"].dtype == np.int64


def test_a_modality_without_an_encoder_or_without_an_utterance(tmp_path: Path) -> None:
    write(tmp_path / "none", [2, 1], None, label_text=False)
    split = FeatureSplit.load(tmp_path / "none")
    assert split.specs["text"] is None
    assert split.label_text is None
    assert split.has("text").tolist() == [False, False]
    assert batch_of(split, [0, 1]).text is None
    write(tmp_path / "empty", [2, 1], [0, 0])
    batch = batch_of(FeatureSplit.load(tmp_path / "empty"), [0, 1])
    assert batch.text is not None
    assert batch.text.values.shape == (2, 1, 2)
    assert batch.text.is_padding.all()


def test_the_same_features_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, [3, 2], [1, 2])
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    assert FeatureSplit.load(tmp_path / "a").sha256 == FeatureSplit.load(tmp_path / "b").sha256
    assert str(tmp_path) not in (tmp_path / "a" / STORE).read_text()


@pytest.mark.parametrize("name", ["audio.npy", "text_offsets.npy", "index.parquet", "label_text.npy"])
def test_a_flipped_byte_or_a_lost_file_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path / "train", [3, 2], [1, 2])
    file = tmp_path / "train" / name
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(LsgmerError, match=f"{name}: changed since it was written.*dvc repro features"):
        FeatureSplit.load(tmp_path / "train")
    file.unlink()
    with pytest.raises(LsgmerError, match=f"{name}: no such file"):
        FeatureSplit.load(tmp_path / "train")


def test_no_store_and_no_json_are_errors(tmp_path: Path) -> None:
    with pytest.raises(LsgmerError, match="no such file; run `dvc repro features`"):
        FeatureSplit.load(tmp_path)
    (tmp_path / STORE).write_text("{}")
    with pytest.raises(LsgmerError, match="not readable as StoreCard"):
        FeatureSplit.load(tmp_path)


LENGTHS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(LENGTHS)
def test_collate_pads_with_true_and_loses_nothing(lengths: list[tuple[int, int]]) -> None:
    items = [Item(f"u{i}", rows(a, 3, i), rows(t, 2, i), i % 2) for i, (a, t) in enumerate(lengths)]
    batch = collate(items)
    assert batch.ids == tuple(item.id for item in items)
    assert batch.labels is not None
    assert batch.labels.tolist() == [i % 2 for i in range(len(items))]
    for modality, column in zip(MODALITIES, range(2), strict=True):
        counts = [pair[column] for pair in lengths]
        part = getattr(batch, modality)
        if not any(counts):
            assert part is None
            continue
        assert part.values.dtype == torch.float32
        assert part.is_padding.dtype == torch.bool
        assert part.values.shape[:2] == part.is_padding.shape == (len(items), max(counts))
        assert (~part.is_padding).sum(dim=1).tolist() == counts
        assert (part.values[part.is_padding] == 0).all()
        for i, item in enumerate(items):
            values = part.values[i][~part.is_padding[i]].numpy()
            assert np.array_equal(values, getattr(item, modality))


def test_collate_with_dimensions_makes_rows_of_padding() -> None:
    batch = collate([Item("a", audio=rows(4, 3))], labels_known=False, dimensions={"audio": 3, "text": 2})
    assert batch.labels is None
    assert batch.text is not None
    assert batch.text.values.shape == (1, 1, 2)
    assert batch.text.is_padding.tolist() == [[True]]


def test_collate_refuses_no_items_and_unknown_labels() -> None:
    with pytest.raises(LsgmerError, match="empty batch"):
        collate([])
    with pytest.raises(LsgmerError, match=r"no label for \['b'\]"):
        collate([Item("a", rows(1, 3), label=0), Item("b", rows(1, 3))])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 9))
def test_buckets_hold_each_index_once_shortest_first(lengths: list[int], size: int) -> None:
    groups = length_buckets(lengths, size)
    flat = [i for group in groups for i in group]
    assert sorted(flat) == list(range(len(lengths)))
    assert [lengths[i] for i in flat] == sorted(lengths)
    assert all(len(group) == size for group in groups[:-1])
    assert groups == length_buckets(np.array(lengths), size)


def test_batches_follow_the_order_that_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "train", [3, 1, 5], [2, 2, 2])
    split = FeatureSplit.load(tmp_path / "train")
    assert batch_of(split, [0, 1]).ids == ("u0", "u1")
    assert batch_of(split, [2, 0, 1]).ids == ("u2", "u0", "u1")


def test_a_split_is_frozen(tmp_path: Path) -> None:
    write(tmp_path / "train", [1, 1], None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        FeatureSplit.load(tmp_path / "train").ids = ()  # type: ignore[misc]
