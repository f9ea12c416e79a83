"""The frame that validation looks at: facts per clip, damage per text, reach over splits, group counts."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from lsgmer.audio import AudioFacts
from lsgmer.core.records import Label, Labels
from lsgmer.manifests.manifest import Manifest
from lsgmer.manifests.utterance import Utterance
from lsgmer.validation import facts
from lsgmer.validation.facts import audio_facts
from lsgmer.validation.frame import add_reach, groups, text_damage, to_frame

LABELS = Labels(items=(Label(name="sad", description="low"), Label(name="happy", description="bright")))


def utterance(name, **fields):
    made = {"corpus": "t", "speaker": "s", "emotion_raw": "sad", "emotion": "sad", "split": "train"}
    return Utterance(**{"id": name, **made, **fields})


@pytest.mark.parametrize(
    "text",
    ["Zażółć gęślą jaźń", "naïve café – „ja”", "Über 30 °C", "こんにちは", "I’m fine…", "Ünal à São", "✔ \U0001f600"],
)
def test_honest_text_is_left_alone(text):
    assert text_damage(text) is None


@given(text=st.text(st.characters(max_codepoint=126, min_codepoint=32)))
@settings(max_examples=50)
def test_plain_ascii_is_never_damaged(text):
    assert text_damage(text) is None


@pytest.mark.parametrize("text", ["Zażółć gęślą", "naïve café", "I’m fine"])
def test_utf8_read_as_cp1252_is_seen(text):
    damaged = text.encode().decode("cp1252", "replace" if "ó" in text else "strict")
    assert str(text_damage(damaged)).startswith("mojibake")


def test_c1_controls_and_replacement_characters_are_named():
    assert "U+0092" in str(text_damage("I\x92m fine"))
    assert "U+FFFD" in str(text_damage("caf\ufffd"))


@pytest.fixture
def clips(tmp_path):
    for index in range(12):
        samples = np.random.default_rng(index).normal(scale=0.1, size=1600 + index)
        soundfile.write(tmp_path / f"{index}.wav", samples, 16000)
    made = [utterance(f"u{index}", audio=f"{index}.wav") for index in range(12)]
    return tmp_path, [*made, utterance("gone", audio="gone.wav"), utterance("words", text="only")]


def test_any_number_of_processes_finds_the_same(clips, capsys):
    root, made = clips
    alone = audio_facts(made, root, 1)
    assert audio_facts(made, root, 2) == alone
    assert list(alone) == [f"u{index}" for index in range(12)] + ["gone"]
    assert [alone[f"u{index}"].decoded_frames for index in range(12)] == list(range(1600, 1612))
    assert str(alone["gone"].error).startswith("missing")
    assert "progress audio facts 13/13" in capsys.readouterr().err


def test_nothing_spoken_needs_no_processes(tmp_path):
    assert audio_facts([utterance("a", text="x")], tmp_path, 0) == {}


def test_the_frame_says_what_is_wrong_where(clips):
    root, made = clips
    made = [*made, utterance("cut", audio="0.wav", start_s=0.0, end_s=9.0)]
    frame = to_frame(made, audio_facts(made, root, 1)).set_index("id")
    assert frame.loc["gone", "decode_error"].startswith("missing")
    assert frame.loc["cut", "cut_error"].startswith("cut")
    assert frame[["decode_error", "cut_error"]].notna().sum().sum() == 2
    assert frame.loc["words", "content"] == "only"
    assert np.isnan(frame.loc["words", "duration_s"])
    assert frame.loc["u3", "duration_s"] == pytest.approx(1603 / 16000)


def test_reach_counts_splits_and_ignores_what_is_not_there():
    made = [
        utterance("a", text="Hello  there"),
        utterance("b", text="hello there", split="test"),
        utterance("c", speaker="other", session="1"),
    ]
    frame = add_reach(to_frame(made, {})).set_index("id")
    assert list(frame["text_splits"][:2]) == [2, 2]
    assert list(frame["speaker_splits"]) == [2, 2, 1]
    assert frame.loc["c", "session_splits"] == 1
    assert frame["session_splits"].isna().sum() == 2
    assert frame["audio_splits"].isna().all()


def test_groups_count_the_corpus_and_share_the_kept():
    made = (utterance("a"), utterance("b", split="test"), utterance("c", emotion="happy"))
    table = groups(Manifest(made, LABELS, "t"), made[:2], {"happy": 1, "bored": 5}).set_index("id")
    assert table.loc["label happy", ["rows", "expected", "class_share"]].tolist() == [1, 1, 0]
    assert table.loc["label bored", ["rows", "expected"]].tolist() == [0, 5]
    assert table.loc["label sad", ["train_rows", "test_rows", "class_share"]].tolist() == [1, 1, 1]
    assert table.loc[["split train", "split valid"], "split_share"].tolist() == [0.5, 0]


def test_a_worker_that_dies_is_explained(clips, monkeypatch):
    root, made = clips

    class Dying(facts.ProcessPoolExecutor):
        def map(self, function, jobs, **options):
            yield self.submit(__import__("os")._exit, 1).result()

    monkeypatch.setattr(facts, "ProcessPoolExecutor", Dying)
    with pytest.raises(facts.LsgmerError, match=r"set validate.processes lower"):
        audio_facts(made, root, 2)


def test_a_channel_and_the_mix_that_holds_it_and_cuts_that_share_most_are_the_same_audio():
    made = [
        utterance("whole", audio="a.wav"),
        utterance("left", audio="a.wav", channel=0, split="test"),
        utterance("apart-0", audio="b.wav", channel=0),
        utterance("apart-1", audio="b.wav", channel=1, split="test"),
        utterance("early", audio="c.wav", end_s=1.0),
        utterance("late", audio="c.wav", start_s=0.9, channel=0, split="test"),
        utterance("most", audio="d.wav", start_s=1.0, end_s=3.0),
        utterance("of-it", audio="d.wav", start_s=0.0, end_s=2.1, split="test"),
        utterance("inside", audio="d.wav", start_s=2.5, end_s=2.6, split="valid"),
        utterance("alone", audio="d.wav", start_s=5.0, split="valid"),
        utterance("wordless"),
    ]
    sounds = {u.id: AudioFacts(sha256=u.id) for u in made if u.audio}
    found = add_reach(to_frame(made, sounds)).set_index("id")["audio_splits"]
    alone = ("apart-0", "apart-1", "early", "late", "alone")
    assert found.dropna().to_dict() == dict.fromkeys(("whole", "left", "most", "of-it", "inside"), 2) | dict.fromkeys(
        alone, 1
    )
    assert add_reach(to_frame(made[-1:], {}))["audio_splits"].isna().all()
