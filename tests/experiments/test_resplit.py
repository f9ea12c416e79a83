"""Taking features apart and joining them loses and mixes nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsgmer.core.errors import LsgmerError
from lsgmer.experiments.resplit import few_per_class, join, select, shuffled_labels
from tests.support.synthetic import items, split


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.permutations(range(9)), st.integers(1, 9))
def test_a_selection_holds_these_utterances_and_no_other(seed, order, count):
    whole = split("train", items(9, seed, absent=0.4))
    rows = order[:count]
    part = select(whole, rows, "valid")
    assert part.split == "valid"
    assert part.ids == tuple(whole.ids[row] for row in rows)
    assert part.texts == tuple(whole.texts[row] for row in rows)
    assert len(part.labels) == len(part.speakers) == count
    for place, row in enumerate(rows):
        for name in ("audio", "text"):
            ours, theirs = part.features(name, place), whole.features(name, row)
            assert (ours is None) == (theirs is None)
            if ours is not None:
                np.testing.assert_array_equal(ours, theirs)
    for name in ("audio", "text"):  # statistics are taken of all frames: nothing else may lie there
        assert len(part.flat[name]) == sum(whole.lengths(name)[rows])


def test_joining_what_was_selected_gives_the_whole_back():
    whole = split("train", items(8, 3, absent=0.3))
    back = join([select(whole, range(3), "train"), select(whole, range(3, 8), "valid")])
    assert back.ids == whole.ids
    assert back.texts == whole.texts
    np.testing.assert_array_equal(back.labels, whole.labels)
    for name in ("audio", "text"):
        np.testing.assert_array_equal(back.flat[name], whole.flat[name])
        np.testing.assert_array_equal(back.offsets[name], whole.offsets[name])


def test_parts_of_different_extractions_are_not_joined():
    whole = split("train", items(4))
    with pytest.raises(LsgmerError, match="different runs"):
        join([whole, replace(whole, manifest_sha256="other")])


def test_each_selection_has_a_digest_of_its_own():
    whole = split("train", items(5))
    digests = {select(whole, [0, 1], "train").sha256, select(whole, [1, 0], "train").sha256}
    digests |= {select(whole, [0, 1], "valid").sha256, whole.sha256}
    assert len(digests) == 4


def test_shuffled_labels_keep_their_counts_and_lose_their_places():
    whole = split("train", items(60, 1))
    dealt = shuffled_labels(whole, 4)
    assert sorted(dealt.labels) == sorted(whole.labels)
    assert not np.array_equal(dealt.labels, whole.labels)
    assert dealt.emotions == tuple(whole.label_set.names[label] for label in dealt.labels)
    assert dealt.sha256 != whole.sha256


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=60),
    st.integers(1, 20),
    st.integers(0, 20),
    st.integers(0, 9),
    st.data(),
)
def test_a_smaller_training_part_is_a_subset_of_a_larger_one(labels, size, more, seed, data):
    labels = np.array(labels)
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, len(labels) - 1), min_size=1))))
    few, many = (few_per_class(labels, rows, count, seed) for count in (size, size + more))
    assert {*few} <= {*many} <= {*rows}
    assert few.tolist() == sorted(few)
    for label in np.unique(labels[rows]):
        assert (labels[few] == label).sum() == min(size, (labels[rows] == label).sum())


def test_another_seed_draws_other_utterances():
    labels = np.repeat([0, 1], 50)
    drawn = {tuple(few_per_class(labels, np.arange(100), 5, seed)) for seed in range(5)}
    assert len(drawn) == 5
