"""Words are believed only from a recogniser that was sure, that ended, and that did not repeat itself."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsgmer.speech.rejection import DOUBT, Heard, not_believed, repeats, token_cap
from lsgmer.speech.transcribe import JOINED_S, LONGEST_S, pieces, put_together
from lsgmer.speech.voice_activity import Span

TOKENS = st.lists(st.integers(0, 5), min_size=1, max_size=8)
UNIQUE = st.lists(st.integers(), max_size=30, unique=True)
SURE = Heard("we are home", (1, 2, 3), (-0.01,) * 4, capped=False)


@given(UNIQUE, TOKENS, UNIQUE, st.integers(4, 9))
def test_what_is_said_four_times_in_a_row_repeats_wherever_it_stands(before, unit, after, times):
    assert repeats([*before, *unit * times, *after])


@given(UNIQUE)
def test_what_is_said_once_repeats_nothing(items):
    assert not repeats(items)


@given(UNIQUE, TOKENS, UNIQUE)
def test_what_is_said_twice_is_believed(before, unit, after):
    once = [("unit", i, token) for i, token in enumerate(unit)]  # nothing repeats within it
    assert not repeats([*before, *once, *once, *after])


@given(st.floats(0, 60), st.floats(0, 60))
def test_the_cap_grows_with_the_audio_and_is_never_none(one, other):
    assert token_cap(min(one, other)) <= token_cap(max(one, other))
    assert token_cap(one) == max(1, math.ceil(6.5 * one))


@given(st.lists(st.floats(-3, 0), min_size=1, max_size=60))
def test_shorter_words_must_be_surer(scores):
    heard = Heard("some words", tuple(range(len(scores) - 1)), tuple(scores), capped=False)
    believed = not_believed(heard, -0.5) is None
    assert believed == (sum(scores) / len(scores) >= -0.5 + DOUBT / len(scores))


@pytest.mark.parametrize(
    ("heard", "reason"),
    [
        (Heard("", (), (-0.01,), False), "heard no words"),
        (Heard("we are home", (1, 2, 3), (-0.01,) * 3, True), "did not end"),
        (Heard("oh oh oh oh no", (1, 2, 3, 4, 5), (-0.01,) * 6, False), "repeat themselves"),
        (Heard("Oh, no. Oh, no. Oh, no.", (1, 2, 3, 1, 2, 3, 1, 2, 3), (-0.01,) * 10, False), "repeat themselves"),
        (Heard("we are home", (1, 2, 3), (-0.6,) * 4, False), "not sure"),
    ],
)
def test_the_reason_is_named(heard: Heard, reason: str) -> None:
    assert reason in str(not_believed(heard, -0.5))
    assert put_together([heard], -0.5).text == ""
    both = put_together([SURE, heard, SURE], -0.5)
    assert both.text == "we are home we are home"
    assert str(both.reason).startswith("1 of 3 pieces were left out")
    assert reason in str(both.reason)


@given(st.lists(st.tuples(st.floats(0.25, LONGEST_S), st.floats(0, 3)), max_size=20))
def test_pieces_hold_all_speech_in_order_and_are_short_enough(made):
    spans, at = [], 0.0
    for length, pause in made:
        spans.append(Span(at + pause, at + pause + length))
        at = spans[-1].end_s
    found = pieces(spans)
    assert all(piece.end_s - piece.start_s <= LONGEST_S + 1e-9 for piece in found)
    assert all(sum(p.start_s <= s.start_s and s.end_s <= p.end_s for p in found) == 1 for s in spans)
    assert {edge for p in found for edge in (p.start_s, p.end_s)} <= {e for s in spans for e in (s.start_s, s.end_s)}
    for piece in found:
        inside = [s for s in spans if piece.start_s <= s.start_s and s.end_s <= piece.end_s]
        assert all(b.start_s - a.end_s <= JOINED_S for a, b in pairwise(inside))
