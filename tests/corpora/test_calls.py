"""A corpus of calls: each turn is an utterance of its call, one bad turn costs no other, and none is lost silently."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from lsgmer.commands.check import check
from lsgmer.core.errors import LsgmerError, ParamsError
from lsgmer.core.sections import override, read_yaml
from lsgmer.corpora.params import CorpusParams, demand_split_fits
from lsgmer.corpora.readers import read_corpus
from lsgmer.features.dialogues import words_before
from lsgmer.manifests.utterance import CorpusReading, is_left_out
from lsgmer.params import parse_params, read_layers

ROOT = Path(__file__).parents[2]
SRT = "1\n00:00:00,000 --> 00:00:01,500\nAgent: Hello.\n\n2\n00:00:01,200 --> 00:00:03,000\nCustomer: It broke.\n\n"


def corpus_params(label_map: Mapping[str, str | None] | None = None, **calls: Any) -> CorpusParams:
    """Parameters of params/calls.yaml with other `calls`."""
    content, _ = read_layers(ROOT / "params.yaml", ROOT / "params" / "calls.yaml")
    corpus = {**content["corpus"], "calls": calls, "label_map": dict(label_map or {})}
    return parse_params({**content, "corpus": corpus}, "calls.yaml").corpus


def write(root: Path, **files: str) -> Path:
    """Write files by name, `__` for the dot before the suffix; no reader looks into a recording."""
    for name, content in files.items():
        path = root / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return root


def reasons(reading: CorpusReading) -> dict[str, str]:
    return {f"{row.source} {row.row}": row.reason for row in reading.rejected}


TABLE = {"table": "emotions.csv", "turn": "turn"}


def test_turns_become_utterances_of_their_call_in_the_order_of_time(tmp_path: Path) -> None:
    emotions = "call,turn,emotion\ncall-03,1,neutral\ncall-03.flac,2,angry\n"
    write(tmp_path, **{"call-03__flac": "", "call-03__srt": SRT, "emotions__csv": emotions})
    params = corpus_params(emotions=TABLE, channels={"Agent": "left", "Customer": 1})
    reading = read_corpus(params, tmp_path)
    assert reading.rejected == ()
    assert reading.notes == ()
    first, second = reading.utterances
    assert (first.id, first.speaker, first.emotion) == ("call-03@0.000/Agent", "call-03/Agent", "neutral")
    assert (first.session, first.dialogue, first.turn, first.channel) == ("call-03", "call-03", 0, 0)
    assert (second.audio, second.start_s, second.end_s, second.channel) == ("call-03.flac", 1.2, 3.0, 1)
    assert (second.text, second.emotion_raw, second.turn) == ("It broke.", "angry", 1)
    before = words_before(reading.utterances, 3)
    assert [(earlier.text, earlier.same_speaker) for earlier in before[second.id]] == [("Hello.", False)]


@pytest.mark.parametrize("suffix", ["rttm", "srt", "vtt", "json", "csv", "tsv"])
def test_every_form_of_turn_file_is_read(tmp_path: Path, suffix: str) -> None:
    content = {
        "rttm": "SPEAKER c 1 0.5 1.0 <NA> <NA> Agent <NA> <NA>\n",
        "srt": "1\n00:00:00,500 --> 00:00:01,500\nAgent: Hi.\n",
        "vtt": "WEBVTT\n\n00:00.500 --> 00:01.500\n<v Agent>Hi.\n",
        "json": '{"turns": [{"start_s": 0.5, "end_s": 1.5, "speaker": "Agent", "text": "Hi."}]}',
        "csv": "start,end,speaker,text\n0.5,1.5,Agent,Hi.\n",
        "tsv": "start\tend\tspeaker\ttext\n0.5\t1.5\tAgent\tHi.\n",
    }[suffix]
    write(
        tmp_path, **{"a/c__WAV": "", f"a/c__{suffix.upper()}": content, "emotions__csv": "call,turn,emotion\na/c,1,sad"}
    )
    (only,) = read_corpus(corpus_params(emotions=TABLE), tmp_path).utterances
    assert (only.id, only.audio, only.start_s, only.end_s) == ("a/c@0.500/Agent", "a/c.WAV", 0.5, 1.5)
    assert only.text == (None if suffix == "rttm" else "Hi.")
    assert only.emotion == "sad"


def test_turn_files_may_hold_the_emotions_themselves(tmp_path: Path) -> None:
    turns = [
        {"start": 0, "end": 1, "speaker": "agent", "emotion": "happy"},
        {"start": 1, "end": 2, "speaker": "agent", "emotion": "bored"},
        {"start": 2, "end": 3, "speaker": "agent"},
    ]
    write(tmp_path, c__wav="", c__json=json.dumps(turns))
    reading = read_corpus(corpus_params(), tmp_path)
    assert [u.emotion for u in reading.utterances] == ["happy"]
    told = reasons(reading)
    assert told["c.wav 00:01.00-00:02.00 (c.json turn 2, turn 2)"].startswith("unknown emotion 'bored'")
    assert told["c.wav 00:02.00-00:03.00 (c.json turn 3, turn 3)"].startswith("has no emotion; give it one")
    without = read_corpus(corpus_params({"": None}), tmp_path)
    assert [is_left_out(row) for row in without.rejected] == [False, True]


def test_one_bad_turn_is_rejected_with_its_place_and_the_others_are_kept(tmp_path: Path) -> None:
    rows = "start,end,speaker,emotion\n0,1,agent,sad\n5,2,agent,sad\nx,9,agent,sad\n6,7,agent,happy\n"
    write(tmp_path, c__wav="", c__csv=rows)
    reading = read_corpus(corpus_params(), tmp_path)
    assert [(u.id, u.turn) for u in reading.utterances] == [("c@0.000/agent", 0), ("c@6.000/agent", 1)]
    told = reasons(reading)
    assert told["c.csv line 3 (turn 2)"] == "end 2.0 s is not after start 5.0 s; correct one of them"
    assert told["c.csv line 4 (turn 3)"].startswith("start 'x' is not a number of seconds")


def test_a_label_is_found_by_the_start_of_the_turn(tmp_path: Path) -> None:
    rows = "start,end,speaker\n0,1,a\n2,3,a\n4,5,a\n4,5,b\n"
    emotions = "call,at,emotion\nc,0.04,sad\nc,2.1,sad\nc,4,sad\nd,1,sad\n"
    write(tmp_path, c__wav="", c__csv=rows, emotions__csv=emotions)
    params = corpus_params({"": None}, emotions={"table": "emotions.csv", "start_s": "at"})
    reading = read_corpus(params, tmp_path)
    assert [u.id for u in reading.utterances] == ["c@0.000/a"]
    assert {note.what: note.rows for note in reading.notes} == {
        "emotions.csv: an emotion of no turn, or of several that start as near": ("row 3 (c.wav)", "row 4 (c.wav)"),
        "emotions.csv: an emotion of a call that was not read": ("row 5 (d)",),
    }


def test_two_words_for_one_turn_reject_it_and_a_bad_row_of_the_table_is_named(tmp_path: Path) -> None:
    emotions = "call,turn,emotion\nc,1,sad\nc,1,happy\nc,two,sad\n,2,sad\nc,2,angry\nc,2,angry\n"
    rows = "start,end,speaker\n0,1,a\n2,3,a\n"
    write(tmp_path, c__wav="", c__csv=rows, emotions__csv=emotions)
    reading = read_corpus(corpus_params(emotions=TABLE), tmp_path)
    assert [u.emotion for u in reading.utterances] == ["angry"]
    told = reasons(reading)
    assert told["c.wav 00:00.00-00:01.00 (c.csv line 2, turn 1)"].startswith("has 2 emotions: 'happy' and 'sad'")
    assert told["emotions.csv row 4"] == "turn 'two' is not a whole number"
    assert "column 'call' is empty" in told["emotions.csv row 5"]


def test_who_is_the_same_person_in_several_calls_is_a_parameter(tmp_path: Path) -> None:
    rows = "start,end,speaker,emotion\n0,1,Ann,sad\n"
    write(tmp_path, c__wav="", c__csv=rows, d__wav="", d__csv=rows, e__wav="", e__csv="start,end,emotion\n0,1,sad\n")
    assert [u.speaker for u in read_corpus(corpus_params(), tmp_path).utterances] == ["c/Ann", "d/Ann", "e/speaker"]
    named = read_corpus(corpus_params(speakers="named"), tmp_path)
    assert [u.speaker for u in named.utterances] == ["Ann", "Ann"]
    assert "does not name the speaker" in reasons(named)["e.wav 00:00.00-00:01.00 (e.csv line 2, turn 1)"]


def test_a_channel_is_the_turns_own_or_its_speakers(tmp_path: Path) -> None:
    rows = "start,end,speaker,channel,emotion\n0,1,a,0,sad\n1,2,b,,sad\n2,3,a,1,sad\n3,4,c,,sad\n"
    write(tmp_path, c__wav="", c__csv=rows)
    reading = read_corpus(corpus_params(channels={"a": "left", "b": "right"}), tmp_path)
    assert [u.channel for u in reading.utterances] == [0, 1]
    assert [reason.partition(";")[0] for reason in reasons(reading).values()] == [
        "is on channel 1, but corpus.calls.channels says 0 for 'a'",
        "speaker 'c' has no channel",
    ]
    assert [u.channel for u in read_corpus(corpus_params(), tmp_path).utterances] == [0, None, 1, None]
    usual = corpus_params().model_copy(update={"channel": 1})
    assert [u.channel for u in read_corpus(usual, tmp_path).utterances] == [0, 1, 1, 1]


def test_recordings_without_turns_and_turns_without_a_recording_are_named(tmp_path: Path) -> None:
    good = "start,end,speaker,emotion\n0,1,a,sad\n"
    write(tmp_path, a__wav="", a__csv=good, b__wav="", c__wav="", c__csv=good, c__json="[]", d__wav="", d__rttm="")
    write(tmp_path, e__wav="", e__flac="", e__csv=good, f__csv=good, g__mp4="")
    (tmp_path / "h.wav").touch()
    (tmp_path / "h.srt").write_bytes("é".encode("utf-16"))
    reading = read_corpus(corpus_params(), tmp_path)
    assert [u.audio for u in reading.utterances] == ["a.wav", "e.flac"]
    told = reasons(reading)
    assert told[". b.wav"].startswith("no turn file of the same name beside it (.rttm, .srt")
    assert told[". c.wav"].startswith("2 turn files of the same name")
    assert told[". e.wav"] == "e is already the name of e.flac: keep one of the two"
    assert "no turn" in told["d.rttm the whole file"]
    assert "not UTF-8" in told["h.srt the whole file"]
    assert [note.rows for note in reading.notes] == [("f.csv",), ("g.mp4",)]


def test_a_table_with_the_same_turns_gives_the_same_cuts(tmp_path: Path) -> None:
    rows = ["0.5,1.25,a,left,happy", "1,2,b,right,sad"]
    write(tmp_path, c__flac="", c__csv="\n".join(["start,end,speaker,channel,emotion", *rows]))
    table = ["audio,call,turn,start_s,end_s,speaker,channel,emotion"]
    table += [f"c.flac,c,{turn},{row.replace(',a,', ',c/a,').replace(',b,', ',c/b,')}" for turn, row in enumerate(rows)]
    write(tmp_path, table__tsv="\n".join(table).replace(",", "\t"))
    content, _ = read_layers(ROOT / "params.yaml", ROOT / "params" / "calls.yaml")
    columns = dict.fromkeys(("audio", "turn", "start_s", "end_s", "speaker", "channel", "emotion"))
    columns = {name: name for name in columns} | {"session": "call", "dialogue": "call"}
    corpus = {**content["corpus"], "name": "table", "calls": None, "table": "table.tsv", "columns": columns}
    by_table = read_corpus(parse_params({**content, "corpus": corpus}, "table.yaml").corpus, tmp_path)
    by_turns = read_corpus(corpus_params(), tmp_path)

    def cuts(reading: CorpusReading) -> list[tuple[Any, ...]]:
        names = ("audio", "start_s", "end_s", "channel", "speaker", "emotion", "session", "dialogue", "turn")
        return [tuple(getattr(u, name) for name in names) for u in reading.utterances]

    assert cuts(by_table) == cuts(by_turns)
    assert cuts(by_turns)[1] == ("c.flac", 1.0, 2.0, 1, "c/b", "sad", "c", "c", 1)


def test_overlapping_turns_are_kept_and_a_second_turn_from_one_time_on_is_not(tmp_path: Path) -> None:
    rows = "start,end,speaker,emotion\n0,2,a,sad\n0,2,b,sad\n0,3,a,sad\n"
    write(tmp_path, c__wav="", c__csv=rows)
    reading = read_corpus(corpus_params(), tmp_path)
    assert [u.id for u in reading.utterances] == ["c@0.000/a", "c@0.000/b"]
    assert [row.reason for row in reading.rejected] == [
        "is another turn of the same speaker from the same time on; correct one of the two"
    ]


NUMBERS = st.one_of(st.integers(-5, 30).map(str), st.floats().map(str), st.just(""), st.text(max_size=4))
CELLS = st.tuples(NUMBERS, NUMBERS, st.sampled_from(["a", "b", ""]), st.sampled_from(["sad", "angry", "x", ""]))


@settings(deadline=None)
@given(st.lists(CELLS, min_size=1, max_size=8))
def test_every_entry_is_an_utterance_or_a_rejected_row(rows: list[tuple[str, ...]]) -> None:
    names = ("start", "end", "speaker", "emotion")
    turns = [dict(zip(names, row, strict=True)) for row in rows]
    with TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, c__wav="", c__json=json.dumps(turns), d__wav="", d__json='[{"start":0,"end":1,"emotion":"sad"}]')
        reading = read_corpus(corpus_params(), root)
    assert len(reading.utterances) + len(reading.rejected) == len(rows) + 1
    assert len({u.id for u in reading.utterances}) == len(reading.utterances)
    assert [u.turn for u in reading.utterances] == [*sorted(u.turn or 0 for u in reading.utterances[:-1]), 0]


def test_settings_that_make_no_sense_are_errors_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"name the column turn .* or start_s, one of them"):
        corpus_params(emotions={"table": "emotions.csv"})
    with pytest.raises(ParamsError, match=r"must be a table inside corpus\.path"):
        corpus_params(emotions={**TABLE, "table": "../x.csv"})
    with pytest.raises(ParamsError, match="channel 'middle' is not a channel"):
        corpus_params(channels={"agent": "middle"})
    write(tmp_path, c__wav="", c__csv="start,end\n0,1", emotions__csv="call,word\nc,sad")
    with pytest.raises(LsgmerError, match=r"no column 'turn' \(corpus\.calls\.emotions\.turn\), 'emotion'"):
        read_corpus(corpus_params(emotions=TABLE), tmp_path)
    with pytest.raises(LsgmerError, match="no recording in it"):
        read_corpus(corpus_params(), write(tmp_path / "empty", c__csv="start,end\n0,1"))


def test_calls_may_be_divided_by_session_only_unless_their_speakers_are_known() -> None:
    manifest = read_layers(ROOT / "params.yaml", ROOT / "params" / "calls.yaml")[1].manifest
    by_speaker = manifest.model_copy(update={"split": "speaker"})
    demand_split_fits(corpus_params(), manifest)
    demand_split_fits(corpus_params(speakers="named"), by_speaker)
    with pytest.raises(ValueError, match=r"would divide calls.* set manifest\.split to session"):
        demand_split_fits(corpus_params(), by_speaker)


def test_check_says_how_a_run_would_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "calls"
    for call in range(6):
        noise = np.random.default_rng(call).normal(scale=0.1, size=(4 * 8000, 2)).clip(-0.9, 0.9)
        words = ("neutral", "angry", "happy", "sad")
        rows = [f"{at},{at + 0.9},{'agent' if at % 2 else 'customer'},{words[at]}" for at in range(4)]
        write(folder, **{f"c{call}__csv": "\n".join(["start,end,speaker,emotion", *rows, "3.5,9,agent,sad"])})
        soundfile.write(folder / f"c{call}.flac", noise, 8000)
    with Path("params.yaml").open("w") as file:
        YAML().dump(override(read_yaml(ROOT / "params.yaml"), []), file)
    changes = ["corpus.path=calls", "corpus.calls={channels: {agent: 0, customer: 1}}", "validate.processes=1"]
    assert check(ROOT / "params" / "calls.yaml", [*changes, "validate.max_rejected_share=0.3"], None) == 0
    said = capsys.readouterr().out
    assert "rows      30 usable, 0 rejected" in said
    assert "speakers  12" in said
    assert "faulty    6 x cut: c0@3.500/agent" in said
