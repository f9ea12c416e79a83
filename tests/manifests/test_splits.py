"""A split is a property of the speaker or session: sticky, blind to order, never empty without a word."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsgmer.core.errors import LsgmerError, ParamsError
from lsgmer.core.records import SPLITS
from lsgmer.manifests.params import ManifestParams
from lsgmer.manifests.splits import assign_splits, demand_every_split, split_of
from lsgmer.manifests.utterance import Utterance

BY_SPEAKER = ManifestParams(split="speaker", salt="lsgmer-1", valid_share=0.2, test_share=0.2)
BY_SESSION = BY_SPEAKER.model_copy(update={"split": "session"})
GIVEN = BY_SPEAKER.model_copy(update={"split": "given"})
NEMO = ("EB0", "IC0", "KD0", "KS0", "MK0", "MP0", "SM0", "TP0", "WR0")


def utterances(speakers, **fields):
    made = {"corpus": "t", "emotion_raw": "sad", "emotion": "sad", "text": "x"} | fields
    return [Utterance(id=f"u{index}", speaker=speaker, **made) for index, speaker in enumerate(speakers)]


names = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=30)


@given(old=names, new=names, salt=st.text(max_size=5), random=st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_adding_and_shuffling_data_moves_no_speaker(old, new, salt, random):
    params = BY_SPEAKER.model_copy(update={"salt": salt})
    before = {u.speaker: u.split for u in assign_splits(utterances(old), params)}
    grown = utterances(old + new)
    random.shuffle(grown)
    after = assign_splits(grown, params)
    assert [u.id for u in after] == [u.id for u in grown]
    assert all(u.split == before.get(u.speaker, u.split) for u in after)
    assert all(len({u.split for u in after if u.speaker == name}) == 1 for name in old + new)


def test_shares_are_met_where_there_are_many_speakers():
    counts = Counter(split_of(f"speaker-{n}", BY_SPEAKER) for n in range(4000))
    assert counts["test"] / 4000 == pytest.approx(0.2, abs=0.03)
    assert counts["valid"] / 4000 == pytest.approx(0.2, abs=0.03)


def test_another_salt_is_another_split():
    other = BY_SPEAKER.model_copy(update={"salt": "lsgmer-2"})
    assert any(split_of(f"s{n}", BY_SPEAKER) != split_of(f"s{n}", other) for n in range(50))


def test_a_known_speaker_stays_where_every_earlier_release_put_it():
    assert {split_of(name, BY_SPEAKER) for name in ("EB0", "KD0", "TP0")} == {"test"}
    assert split_of("KS0", BY_SPEAKER) == "valid"


def test_the_default_salt_fills_every_split_of_nemo():
    demand_every_split(assign_splits(utterances(NEMO), BY_SPEAKER), BY_SPEAKER)


def test_an_empty_split_names_a_salt_that_works():
    params = BY_SPEAKER.model_copy(update={"salt": "lsgmer-5"})
    with pytest.raises(LsgmerError, match=r"split test is empty: the 9 speakers \(EB0.*set manifest.salt to '") as said:
        demand_every_split(assign_splits(utterances(NEMO), params), params)
    salt = str(said.value).split("manifest.salt to '")[1].split("'")[0]
    better = params.model_copy(update={"salt": salt})
    demand_every_split(assign_splits(utterances(NEMO), better), better)


def test_two_speakers_cannot_fill_three_splits():
    with pytest.raises(LsgmerError, match="at least three speakers"):
        demand_every_split(assign_splits(utterances(["a", "b"]), BY_SPEAKER), BY_SPEAKER)


def test_a_share_of_nothing_cannot_be_filled():
    params = BY_SPEAKER.model_copy(update={"test_share": 0.0})
    with pytest.raises(LsgmerError, match=r"raise manifest.valid_share or manifest.test_share"):
        demand_every_split(assign_splits(utterances(NEMO), params), params)


def test_sessions_decide_where_they_are_asked_to():
    made = [replace(u, session=f"s{index % 4}") for index, u in enumerate(utterances(NEMO))]
    split = {u.session: u.split for u in assign_splits(made, BY_SESSION)}
    assert all(u.split == split[u.session] for u in assign_splits(made, BY_SESSION))
    assert split == {name: split_of(name, BY_SESSION) for name in split}


def test_rows_without_what_the_split_needs_are_named():
    with pytest.raises(LsgmerError, match=r"every row's session; 9 have none, such as u0.*corpus.columns.session"):
        assign_splits(utterances(NEMO), BY_SESSION)
    with pytest.raises(LsgmerError, match=r"every row's split; 9 have none, such as u0.*speaker or session"):
        assign_splits(utterances(NEMO), GIVEN)


def test_a_given_split_is_kept_and_must_be_whole():
    made = [replace(u, split=SPLITS[index % 3]) for index, u in enumerate(utterances(NEMO))]
    assert assign_splits(made, GIVEN) == tuple(made)
    demand_every_split(made, GIVEN)
    with pytest.raises(LsgmerError, match="given split is test"):
        demand_every_split([u for u in made if u.split != "test"], GIVEN)


def test_an_official_split_is_the_corpuss_own_and_must_be_whole():
    official = BY_SPEAKER.model_copy(update={"split": "official"})
    made = [replace(u, split=SPLITS[index % 3], speaker="Ada") for index, u in enumerate(utterances(NEMO))]
    assert assign_splits(made, official) == tuple(made)
    with pytest.raises(LsgmerError, match="official split is test"):
        demand_every_split([u for u in made if u.split != "test"], official)
    with pytest.raises(LsgmerError, match="9 have none, such as u0"):
        assign_splits(utterances(NEMO), official)


def test_shares_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(ParamsError, match="nothing to train on"):
        assign_splits(utterances(NEMO), BY_SPEAKER.model_copy(update={"valid_share": 0.5, "test_share": 0.5}))


def test_words_divide_what_one_or_two_speakers_said_and_nothing_else():
    by_text = BY_SPEAKER.model_copy(update={"split": "text"})
    said = [f"say the word {n}" for n in range(40)]
    made = [replace(u, text=t) for t in said for u in utterances(["a", "b"])]
    made.append(replace(made[0], text="Say  the word 0"))
    found = assign_splits(made, by_text)
    demand_every_split(found, by_text)
    assert len({u.split for u in found if "word 0" in (u.text or "").lower()}) == 1
    assert Counter(u.split for u in found).keys() == set(SPLITS)
    with pytest.raises(LsgmerError, match="text would put 3 speakers on both sides"):
        assign_splits([*made, *utterances(["c"])], by_text)
    with pytest.raises(LsgmerError, match=r"every row's text; 1 have none, such as u0"):
        assign_splits(utterances(["a"], text=" "), by_text)
    with pytest.raises(LsgmerError, match=r"at least three speakers; with fewer speakers, set manifest\.split to text"):
        demand_every_split(assign_splits(utterances(["a", "b"]), BY_SPEAKER), BY_SPEAKER)
