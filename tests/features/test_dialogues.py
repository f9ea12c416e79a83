"""Context comes from the same dialogue and split, and never from the future."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from lsgmer.core.records import SPLITS
from lsgmer.features.dialogues import words_before
from lsgmer.manifests.utterance import Utterance

KEYS = st.tuples(st.sampled_from(SPLITS), st.none() | st.sampled_from("ab"), st.none() | st.integers(0, 9))
UTTERANCES = st.lists(st.tuples(KEYS, st.none() | st.sampled_from(["", " ", "words"])), max_size=25)


def corpus(rows: list) -> list[Utterance]:
    """Utterances whose words say which one they are."""
    return [
        Utterance(
            f"u{i}",
            "c",
            "st"[i % 2],
            "x",
            "x",
            split,
            dialogue=dialogue,
            turn=turn,
            text=text and text.replace("w", f"{i} w"),
        )
        for i, ((split, dialogue, turn), text) in enumerate(rows)
    ]


@given(UTTERANCES, st.integers(0, 4))
def test_only_earlier_turns_of_the_same_dialogue_and_split_are_heard(rows, count):
    made = corpus(rows)
    said = {u.text: u for u in made if u.text and u.text.strip()}
    for key, words in words_before(made, count).items():
        own = made[int(key[1:])]
        heard = [said[line.text] for line in words]
        assert [line.same_speaker for line in words] == [u.speaker == own.speaker for u in heard]
        assert len(heard) <= count
        assert all((u.split, u.dialogue) == (own.split, own.dialogue) and u.turn < own.turn for u in heard)
        assert [u.turn for u in heard] == sorted(u.turn for u in heard)


@given(UTTERANCES, st.integers(0, 4), st.randoms())
def test_what_follows_and_the_order_of_the_rows_change_nothing(rows, count, random):
    made = corpus(rows)
    before = words_before(made, count)
    shuffled = random.sample(made, len(made))
    assert words_before(shuffled, count) == before
    for cut in range(10):
        earlier = [u for u in made if u.turn is not None and u.turn <= cut]
        for key, words in words_before(earlier, count).items():
            assert words == before[key]


def lines(made):
    return {key: tuple(line.text for line in before) for key, before in words_before(made, 2).items()}


def test_the_nearest_are_kept_and_who_is_absent_leaves_no_gap():
    made = [Utterance(f"u{i}", "c", "s", "x", "x", dialogue="d", turn=i, text=f"line {i}") for i in range(5)]
    assert lines(made)["u4"] == ("line 2", "line 3")
    assert lines(made)["u0"] == ()
    assert lines([u for u in made if u.turn != 3])["u4"] == ("line 1", "line 2")
    silent = [replace(u, text=" ") if u.turn == 3 else u for u in made]
    assert lines(silent)["u4"] == ("line 1", "line 2")
    assert words_before([replace(u, turn=None) for u in made], 2) == {}
