"""Folds cover every utterance once and put no speaker on both sides, unless they are marked leaky."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsgmer.core.errors import LsgmerError, ParamsError
from lsgmer.experiments.features import demand_whole_dialogues
from lsgmer.experiments.folds import Unit, fold_of, folds
from lsgmer.experiments.plan import Protocol
from lsgmer.manifests.utterance import Utterance

SPEAKERS = [f"s{i}" for i in range(7)]


def units(speakers, split=None):
    return [Unit(name, f"session-{name[-1]}", split) for name in speakers]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from(SPEAKERS), min_size=20, max_size=60).filter(lambda names: len(set(names)) >= 4),
    st.integers(1, 2),
    st.booleans(),
)
def test_leaving_a_speaker_out_keeps_voices_apart_and_tests_everybody_once(names, valid_groups, grouped):
    protocol = Protocol(kind="loso", valid_groups=valid_groups, folds=4 if grouped else None)
    made = folds(units(names), protocol)
    assert len(made) == (4 if grouped else len(set(names)))
    tested = np.concatenate([fold.test for fold in made])
    assert sorted(tested) == list(range(len(names)))
    for fold in made:
        parts = [{names[row] for row in rows} for rows in (fold.train, fold.valid, fold.test)]
        assert sum(map(len, parts)) == len(set().union(*parts))
        assert sorted(np.concatenate([fold.train, fold.valid, fold.test])) == list(range(len(names)))
        assert fold.shared_speakers == ()


def test_a_fold_does_not_depend_on_the_order_of_rows():
    names = [SPEAKERS[i % 5] for i in range(30)]
    turned = names[::-1]
    for one, other in zip(
        folds(units(names), Protocol(kind="loso")), folds(units(turned), Protocol(kind="loso")), strict=True
    ):
        assert {names[row] for row in one.test} == {turned[row] for row in other.test}


def test_by_session_a_speaker_in_two_sessions_is_refused():
    rows = [Unit("anna", "1", None), Unit("anna", "2", None), Unit("bert", "3", None), Unit("carl", "4", None)]
    with pytest.raises(LsgmerError, match="both sides, such as anna"):
        folds(rows, Protocol(kind="loso", by="session"))


def test_by_session_needs_sessions():
    with pytest.raises(LsgmerError, match=r"corpus\.columns\.session"):
        folds([Unit("a", None, None)], Protocol(kind="loso", by="session"))


def test_too_few_groups_are_an_error():
    with pytest.raises(LsgmerError, match="leave nothing to train on"):
        folds(units(["s1", "s2"]), Protocol(kind="loso"))


def test_official_takes_the_corpus_at_its_word_and_counts_shared_speakers():
    rows = [Unit("joey", None, s) for s in ("train", "valid", "test")] + [Unit("ross", None, "test")]
    (fold,) = folds(rows, Protocol(kind="official"))
    assert (fold.train.tolist(), fold.valid.tolist(), fold.test.tolist()) == ([0], [1], [2, 3])
    assert fold.shared_speakers == ("joey",)
    with pytest.raises(LsgmerError, match="no split of the corpus's own"):
        folds([Unit("joey", None, None)], Protocol(kind="official"))


def test_holdout_is_sticky():
    protocol = Protocol(kind="holdout", salt="x", valid_share=0.3, test_share=0.3)
    few, many = [f"v{i}" for i in range(12)], [f"v{i}" for i in range(20)]
    (one,), (two,) = folds(units(few), protocol), folds(units(many), protocol)
    assert set(one.test) <= set(two.test)
    assert set(one.valid) <= set(two.valid)


def test_the_leaky_protocol_says_what_it_is_and_counts_who_is_on_both_sides():
    protocol = Protocol(kind="leaky_random_utterances", folds=3)
    assert protocol.title.startswith("LEAKY")
    made = folds(units([SPEAKERS[i % 3] for i in range(30)]), protocol)
    assert sorted(np.concatenate([fold.test for fold in made])) == list(range(30))
    assert all(fold.shared_speakers for fold in made)


def test_no_other_protocol_divides_by_utterance():
    with pytest.raises(ValueError, match="leaky_random_utterances"):
        Protocol(kind="random")


def test_a_fold_that_does_not_exist():
    with pytest.raises(ParamsError, match="folds 0 to 3 here"):
        fold_of(units(["s1", "s2", "s3", "s4"]), Protocol(kind="loso"), 4)


def test_with_context_no_dialogue_may_be_divided():
    made = [
        Utterance(f"u{i}", "c", f"s{i % 2}", "x", "x", session=f"n{i // 4}", dialogue=f"d{i // 4}", turn=i, text="a")
        for i in range(12)
    ]
    demand_whole_dialogues(made, "session")
    with pytest.raises(LsgmerError, match=r"3 dialogues have more than one speaker.*Divide by session"):
        demand_whole_dialogues(made, "speaker")
