"""The table of all turns of a call: who speaks when, how it sounds, the words, and what went wrong."""

from __future__ import annotations

from collections.abc import Iterable

from lsgmer.call_report.markup import Html, h
from lsgmer.call_report.timeline import Tones, stacked, swatch
from lsgmer.conversations.records import Analysis, TimelineTurn
from lsgmer.core.records import Seconds
from lsgmer.core.text import clock

COLUMNS = ("Time", "Speaker", "Emotion", "All emotions", "Consistency", "Words and remarks")


def turns_table(analysis: Analysis, tones: Tones) -> Html:
    """Return the section with the table, and what chooses among its rows."""
    emotions = [label for label in tones.labels if any(turn.emotion == label for turn in analysis.timeline)]
    choices = h(
        "div",
        _choice("speaker", "Speaker", [speaker.name for speaker in analysis.speakers]),
        _choice("emotion", "Emotion", emotions),
        h("span", f"{len(analysis.timeline)} turns", id="count", role="status"),
        class_="choices",
    )
    head = h("tr", *(h("th", name, scope="col") for name in COLUMNS))
    body = h("tbody", *(_row(turn, tones) for turn in analysis.timeline))
    caption = h("caption", "A time plays its turn; the up and down keys go from turn to turn")
    table = h("table", caption, h("thead", head), body, id="turns")
    return h("section", h("h2", "Turns"), choices, h("div", table, class_="wide"), id="all")


def play_button(start_s: Seconds, end_s: Seconds, said: str) -> Html:
    """Return a button that plays a stretch of the call; it shows when that begins."""
    label = f"Play {said}, from {clock(start_s)}"
    shown = clock(start_s)[:-3]
    return h(
        "button", shown, type="button", class_="play", data_start=start_s, data_end=end_s, aria_label=label, title=label
    )


def _choice(name: str, said: str, values: Iterable[str]) -> Html:
    options = [h("option", "all", value=""), *(h("option", value, value=value) for value in values)]
    return h("label", said, " ", h("select", *options, id=f"choose-{name}", data_by=name))


def _row(turn: TimelineTurn, tones: Tones) -> Html:
    remarks = [h("span", warning, class_="remark") for warning in turn.warnings]
    if turn.error:
        remarks.append(h("span", turn.error, class_="remark error"))
    machine = bool(turn.text) and turn.automatic
    auto = h("abbr", "automatic", title="A machine wrote these words", class_="auto") if machine else None
    return h(
        "tr",
        h(
            "td",
            play_button(turn.start_s, turn.end_s, f"turn {turn.index + 1}, {turn.speaker}"),
            h("span", f"–{clock(turn.end_s)[:-3]}", class_="end"),
        ),
        h("td", turn.speaker),
        h("td", swatch(tones.of(turn.emotion)), " ", _emotion(turn), class_="emotion"),
        h("td", stacked(turn.probabilities, tones) if turn.probabilities else "–"),
        h("td", "–" if turn.consistency is None else f"{turn.consistency:.2f}"),
        h("td", turn.text or None, " " if auto else None, auto, *remarks, class_="words"),
        id=f"turn-{turn.index}",
        data_speaker=turn.speaker,
        data_emotion=turn.emotion or "",
    )


def _emotion(turn: TimelineTurn) -> str:
    if turn.emotion is None:
        return "not sure" if turn.abstained else "no estimate"
    return f"{turn.emotion} {(turn.probabilities or {}).get(turn.emotion, 0):.0%}"
