"""Every form of turn file gives the same turns back, and every fault is named with its line, reason and remedy."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lsgmer.core.errors import LsgmerError
from lsgmer.turns.files import FORMS, MOST_TURNS, decoded, read_entries, read_turns
from lsgmer.turns.turn import UNNAMED, Turn, in_order

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,8}( [A-Za-z0-9]{1,8}){0,1}", fullmatch=True)
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="<>&{}"), min_size=1)
TEXTS = st.lists(WORDS, min_size=1, max_size=5).map(" ".join)


@st.composite
def _turns(draw: st.DrawFn) -> list[Turn]:
    """Return distinct turns with times in milliseconds, as all forms can hold them."""
    spans = draw(
        st.lists(
            st.tuples(st.integers(0, 40_000_000), st.integers(1, 60_000), NAMES), min_size=1, max_size=6, unique=True
        )
    )
    made = []
    for at, lasts, name in spans:
        text = draw(TEXTS)
        made.append(Turn(start_s=at / 1000, end_s=(at + lasts) / 1000, speaker=name, text=text))
    return made


def _clock(seconds: float, mark: str) -> str:
    whole = round(seconds * 1000)
    return f"{whole // 3_600_000:02}:{whole // 60_000 % 60:02}:{whole // 1000 % 60:02}{mark}{whole % 1000:03}"


def _rttm(turns: Sequence[Turn]) -> str:
    return "".join(
        f"SPEAKER call 1 {t.start_s:.3f} {t.end_s - t.start_s:.3f} <NA> <NA> {t.speaker.replace(' ', '_')} <NA> <NA>\n"
        for t in turns
    )


def _srt(turns: Sequence[Turn]) -> str:
    return "\n".join(
        f"{n}\n{_clock(t.start_s, ',')} --> {_clock(t.end_s, ',')}\n{t.speaker}: {t.text}\n"
        for n, t in enumerate(turns, 1)
    )


def _vtt(turns: Sequence[Turn]) -> str:
    cues = (f"{_clock(t.start_s, '.')} --> {_clock(t.end_s, '.')} line:0\n<v {t.speaker}>{t.text}</v>\n" for t in turns)
    return "WEBVTT - a call\n\nNOTE made\nby a test\n\nSTYLE\n::cue { color: red }\n\n" + "\n".join(cues)


def _json(turns: Sequence[Turn]) -> str:
    return json.dumps({"turns": [turn.model_dump() for turn in turns]})


def _delimited(turns: Sequence[Turn], mark: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=mark)
    writer.writerow(["speaker", "start", "end", "channel", "text"])
    writer.writerows([t.speaker, repr(t.start_s), repr(t.end_s), "", t.text] for t in turns)
    return text.getvalue()


@given(_turns())
def test_every_form_gives_the_same_turns_back(turns: list[Turn]) -> None:
    expected = in_order(turns)
    for content, form in (
        (_srt(turns), "srt"),
        (_vtt(turns), "vtt"),
        (_json(turns), "json"),
        (_delimited(turns, ","), "csv"),
        (_delimited(turns, "\t"), "tsv"),
        (_delimited(turns, ";"), "call.csv"),
    ):
        assert read_turns(content, form) == expected, form
        assert read_turns("\ufeff" + content.replace("\r\n", "\n").replace("\n", "\r\n"), form) == expected, form
    wordless = [t.model_copy(update={"text": None, "speaker": t.speaker.replace(" ", "_")}) for t in turns]
    assert read_turns(_rttm(turns), "rttm") == in_order(wordless)


@given(st.text(), st.sampled_from(FORMS))
@example("00:00:01,000 --> 00:00:02,000", "srt")
@example('[{"start": 1e400, "end": 2}]', "json")
@example("[" * 100_000, "json")
@example('start,end\n"1,2', "csv")
def test_hostile_content_is_an_error_with_a_reason_or_turns(content: str, form: str) -> None:
    try:
        turns = read_turns(content, form)
    except LsgmerError:
        return
    assert turns
    assert all(turn.end_s > turn.start_s >= 0 for turn in turns)


@pytest.mark.parametrize(
    ("form", "content", "reason"),
    [
        ("rttm", "SPEAKER a 1 0.5 <NA> <NA> <NA> x <NA> <NA>", "line 1: duration '<NA>' is not a number of seconds"),
        ("rttm", ";; c\nSPEAKER a 1 0.5 0 <NA> <NA> x <NA> <NA>", "line 2: duration 0.0 s is not more than 0"),
        ("rttm", "SPEAKER a 1 nan 1 <NA> <NA> x <NA> <NA>", "start 'nan' is not a number"),
        ("rttm", "SPEAKER a 1 0.5 1 <NA> <NA> Mr Jones the third <NA> <NA>", "13 fields where a turn has 10"),
        ("rttm", "TALKER a 1 0 1 <NA> <NA> x <NA> <NA>", "'TALKER' is no type of RTTM line"),
        ("rttm", _rttm([Turn(start_s=0, end_s=1, speaker="x")]) * 2, "line 2: is the same turn as that of line 1"),
        ("rttm", "SPEAKER a 1 0 1 - - x - -\nSPEAKER b 1 0 1 - - x - -", "turns of 2 recordings"),
        ("srt", "1\n00:00:02,000 --> 00:00:01,000\nx", "line 2: end 1.0 s is not after start 2.0 s"),
        ("srt", "1\n00:00:61,000 --> 00:01:02,000\nx", "line 2: time '00:00:61,000'"),
        ("srt", "1\n00:00:01,000 --> 00:00:02,000\nx\n\ny", "line 5: words without times"),
        ("srt", "1\n00:00:01,0 --> 00:00:02,0\nx\n2\n00:00:03,0 --> 00:00:04,0\ny", "line 5: a second time in one cue"),
        ("vtt", "1\n00:01.000 --> 00:02.000\nx", "line 1: does not say WEBVTT"),
        ("vtt", "WEBVTT\n00:01.000 --> 00:02.000\nx", "an empty line must follow the header"),
        ("json", '{"calls": []}', "must hold the list of turns once"),
        ("json", '[{"start": 0, "end": 1}, 7]', "turn 2: is a int, not an object"),
        ("json", '[{"start": NaN, "end": 1}]', "turn 1: start nan is not a number"),
        ("json", '[{"start": true, "end": 1}]', "turn 1: start 'True' is not a number"),
        ("json", '[{"start": 0, "end": 1, "spekaer": "x"}]', "turn 1: 'spekaer' is not a field of a turn"),
        ("json", '[{"start": 0, "start_s": 0, "end": 1}]', "both say when it is"),
        ("json", '[{"start": 0, "end": 1, "channel": -1}]', "channel '-1' is not a channel"),
        ("json", '[{"start": 0, "end": 1, "text": ["x"]}]', "text is a list"),
        ("json", '[{"start": 0, "end": 1, "text": "\\ud800"}]', "half a character"),
        ("csv", "start,finish\n0,1", "no column end_s or end"),
        ("csv", "start,end,chanel\n0,1,0", "'chanel' is not a field of a turn"),
        ("csv", "start,end\n0,1,2", "line 2: 3 cells where the header has 2"),
        ("csv", 'start,end,text\n0,1,"x\n1,2,y', "line 2: .*close or double the quotation marks"),
        ("csv", "start;end\n0,5;1,5", "line 2: start '0,5' is not a number of seconds; write it as 12.4"),
        ("csv", 'text,start,end\n"x,0,1\ny,1,2\nz",2,3', "line 2: a cell holds a line end and a delimiter"),
        ("csv", "start,end\n", "no turn"),
        ("docx", "x", "'docx' is none of rttm"),
    ],
)
def test_a_fault_names_its_line_and_reason(form: str, content: str, reason: str) -> None:
    with pytest.raises(LsgmerError, match=reason.replace("(", r"\(")):
        read_turns(content, form)


def test_all_faults_are_reported_at_once_and_good_entries_are_kept() -> None:
    content = "start,end\n" + "1,0\n" * 8 + "0,1\n"
    with pytest.raises(LsgmerError, match=r"line 2: .*; line 6: .* \(and 3 more faults\)"):
        read_turns(content, "csv")
    entries = read_entries(content, "csv")
    assert [entry.number for entry in entries if entry.turn] == [9]


def test_an_absurd_number_of_turns_is_an_error() -> None:
    rows = "".join(f"{n},{n + 1}\n" for n in range(MOST_TURNS + 1))
    with pytest.raises(LsgmerError, match=r"20,001 turns, of 20,000 at most"):
        read_turns("start,end\n" + rows, "csv")


def test_rttm_channels_count_from_one_and_a_single_one_says_nothing() -> None:
    line = "SPEAKER call {} 0 1 <NA> <NA> {} <NA> <NA>\n"
    both = read_turns(line.format(1, "agent") + line.format(2, "customer"), "rttm")
    assert [(turn.speaker, turn.channel) for turn in both] == [("agent", 0), ("customer", 1)]
    assert [turn.channel for turn in read_turns(line.format(0, "agent") + line.format(1, "x"), "rttm")] == [0, 1]
    assert [turn.channel for turn in read_turns(line.format(1, "agent") + line.format(1, "x"), "rttm")] == [None, None]


def test_names_before_a_colon_hold_until_the_next_and_only_where_most_cues_have_them() -> None:
    cue = "{0}\n00:00:0{0},000 --> 00:00:0{0},900\n{1}\n\n"
    named = cue.format(1, "Agent: <i>Hello</i> &amp;") + cue.format(2, "welcome.") + cue.format(3, "CALLER 2: Hi.")
    assert [(t.speaker, t.text) for t in read_turns(named, "srt")] == [
        ("Agent", "Hello &"),
        ("Agent", "welcome."),
        ("CALLER 2", "Hi."),
    ]
    plain = cue.format(1, "One thing: no.") + cue.format(2, "Yes.") + cue.format(3, "It is 10:30.")
    assert {t.speaker for t in read_turns(plain, "srt")} == {UNNAMED}
    assert read_turns(plain, "srt")[0].text == "One thing: no."


def test_two_voices_in_one_cue_are_two_turns_of_the_same_time() -> None:
    content = (
        "WEBVTT\n\n1:00:01.5 --> 1:00:02.25\n<v.loud Ann Lee>No!\n<v Bo>Yes <c.x>I</c> do.\n\n00:05.000 --> 00:06.000\n"
    )
    first, second, third = read_turns(content, "vtt")[1:] + read_turns(content, "vtt")[:1]
    assert (first.speaker, first.text, first.start_s, first.end_s) == ("Ann Lee", "No!", 3601.5, 3602.25)
    assert (second.speaker, second.text, second.start_s) == ("Bo", "Yes I do.", 3601.5)
    assert (third.speaker, third.text) == (UNNAMED, None)


def test_a_transcribers_segments_and_the_emotion_of_a_turn_are_read() -> None:
    content = '{"segments": [{"id": 0, "start": 0, "end": 1.5, "speaker": 7, "emotion": " joy ", "words": []}]}'
    (entry,) = read_entries(content, "json")
    assert entry.turn == Turn(start_s=0.0, end_s=1.5, speaker="7")
    assert entry.emotion == "joy"


def test_a_turn_without_a_speaker_is_named_by_its_channel() -> None:
    assert read_turns("start,end,channel\n0,1,right\n", "csv")[0].speaker == "channel 1"


def test_only_utf_8_is_read() -> None:
    assert decoded("\ufeffé".encode(), "call.srt") == "é"
    with pytest.raises(LsgmerError, match=r"call\.srt: not UTF-8"):
        decoded("é".encode("utf-16"), "call.srt")


@pytest.mark.parametrize("piece", ["<v ", "<v  ", "<", "{\\", "a: ", "&", "-", '"', "00:00:01,000 --> "])
def test_reading_takes_time_in_proportion_to_length(piece: str) -> None:
    content = "WEBVTT\n\n00:01.000 --> 00:02.000\n" + piece * (400_000 // len(piece))
    with pytest.raises(LsgmerError):  # in one turn are too many characters, or times
        read_turns(content, "vtt")
