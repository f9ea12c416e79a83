"""A plan has every readable input once, never mixes splits, keeps its limits, and depends on the data alone."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from lsgmer.core.records import SPLITS
from lsgmer.features.plan import plan_batches
from lsgmer.manifests.utterance import Utterance

Rows = list[tuple[str, int | None, int]]
ROWS = st.lists(st.tuples(st.sampled_from(SPLITS), st.none() | st.integers(1, 30), st.integers(0, 5)), max_size=30)


def turns(utterances: Sequence[Utterance]) -> list[int | None]:
    """The length of an utterance here is its turn."""
    return [u.turn for u in utterances]


def make(rows: Rows) -> dict:
    """Utterances whose turn is their length, and whose text tells which are equal."""
    made = [
        Utterance(f"u{i}", "c", "s", "x", "x", split=s, turn=n, text=f"{n} {t}") for i, (s, n, t) in enumerate(rows)
    ]
    return {split: [u for u in made if u.split == split] for split in SPLITS}


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(1, 5), st.integers(1, 60))
def test_every_readable_row_is_planned_once_within_the_limits(rows: Rows, size: int, most: int) -> None:
    parts = make(rows)
    plan = plan_batches(parts, turns, size, most)
    assert plan.content() == plan_batches(parts, turns, size, most).content()
    for split, groups in plan.batches.items():
        readable = [row for row, u in enumerate(parts[split]) if u.turn is not None]
        assert sorted(row for group in groups for row in group) == readable
        for group in groups:
            lengths = [parts[split][row].turn for row in group]
            assert len(group) <= size
            assert len(group) == 1 or max(lengths) * len(group) <= most
            assert lengths == sorted(lengths), "similar lengths are together"


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(1, 5))
def test_equal_inputs_of_a_split_are_encoded_once(rows: Rows, size: int) -> None:
    parts = make(rows)
    plan = plan_batches(parts, turns, size, 60, lambda u: u.text)
    for split, groups in plan.batches.items():
        encoded = [row for group in groups for row in group]
        texts = [parts[split][row].text for row in encoded]
        assert len(texts) == len(set(texts))
        assert sorted([*encoded, *plan.same[split]]) == [r for r, u in enumerate(parts[split]) if u.turn is not None]
        assert all(parts[split][row].text == parts[split][first].text for row, first in plan.same[split].items())
        found = plan.followers(split)
        assert sum(map(len, found.values())) == len(plan.same[split])
        assert set(found) <= set(encoded)
