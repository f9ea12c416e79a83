"""A table's dialogues and speakers reach the model: never another dialogue's words, never later ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lsgmer.commands.queries import Query, before

ROWS = st.lists(
    st.tuples(st.sampled_from(["a", "b", None]), st.none() | st.integers(0, 5), st.sampled_from(["ann", "bob"])),
    max_size=10,
)


@given(ROWS, st.integers(1, 3))
def test_only_earlier_turns_of_the_same_dialogue_are_read(rows, count):
    queries = [Query(f"q{i}", None, f"words {i}", who, place, turn) for i, (place, turn, who) in enumerate(rows)]
    for i, lines in before(queries, count).items():
        assert len(lines) <= count
        for line in lines:
            other = queries[int(line.text.split()[1])]
            assert other.dialogue == queries[i].dialogue
            assert other.turn < queries[i].turn
            assert line.same_speaker == (other.speaker == queries[i].speaker)


def test_without_names_nobody_is_the_same_or_another():
    queries = [Query(f"q{i}", None, f"words {i}", None, "d", i) for i in range(3)]
    assert [line.same_speaker for line in before(queries, 2)[2]] == [None, None]
