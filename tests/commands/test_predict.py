"""A table's dialogues and speakers reach the model: never another dialogue's words, never later ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsgmer.commands.predict import Query, before, gather, read_table
from lsgmer.core.errors import LsgmerError

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


def test_a_table_gives_speaker_dialogue_and_turn(tmp_path: Path):
    table = tmp_path / "t.csv"
    table.write_text("id,text,speaker,dialogue,turn\nx,hello,ann,d1,3\ny,again,,,\n")
    first, second = read_table(table)
    assert (first.speaker, first.dialogue, first.turn) == ("ann", "d1", 3)
    assert (second.speaker, second.dialogue, second.turn) == (None, None, None)
    table.write_text("text,turn\nhello,first\n")
    with pytest.raises(LsgmerError, match="row 2: turn 'first' is not a whole number"):
        read_table(table)


def test_two_channels_of_a_file_are_two_rows(tmp_path: Path):
    table = tmp_path / "t.csv"
    table.write_text("audio,channel\ncall.wav,left\ncall.wav,1\ncall.wav,\n")
    assert [(q.name, q.channel) for q in gather([], None, table)] == [
        ("call.wav#left", "left"),
        ("call.wav#1", "1"),
        ("call.wav", None),
    ]
