"""The report of a call as one HTML file: everything in it, nothing from elsewhere, and readable without a script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lsgmer.call_report.markup import Html, h, joined
from lsgmer.call_report.peaks import Peaks
from lsgmer.call_report.timeline import Tones, bar, swatch, timeline, windows
from lsgmer.call_report.turns import play_button, turns_table
from lsgmer.conversations.records import Analysis, SpeakerSummary, TurningPoint
from lsgmer.core.text import clock

HERE = Path(__file__).parent
TURNS_FROM = {"given": "given with the call", "voice activity": "found by voice activity"}
ZOOMS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class Report:
    """What a report shows: the call's name, its analysis, and what it was made from.

    `hashes` are sha256 by what they are of; `mp3` is the recording itself, which is personal data: by default there is
    none, and a reader chooses the file on their own machine.
    """

    name: str
    analysis: Analysis
    peaks: Peaks | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    mp3: bytes | None = None


def page(report: Report) -> str:
    """Return the report as HTML. Whatever the words and names in it are, they are only ever shown."""
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    analysis = report.analysis
    tones = Tones(labels_of(analysis))
    head = h(
        "head",
        h("meta", charset="utf-8"),
        h("meta", http_equiv="Content-Security-Policy", content=policy(style, script)),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("meta", name="referrer", content="no-referrer"),
        h("title", f"{report.name}: how the call sounds"),
        h("link", rel="icon", href="data:,"),
        h("style", Html(style)),
    )
    main = h(
        "main",
        _header(report),
        _warnings(analysis),
        _summary(analysis, tones),
        _timeline(report, tones),
        turns_table(analysis, tones),
        _origin(report),
    )
    body = h("body", main, h("script", Html(script)), data_duration=f"{analysis.duration_s:.3f}")
    return f"<!doctype html>\n{h('html', head, body, lang='en')}\n"


def policy(style: str, script: str) -> str:
    """Return the content security policy: this style, this script, sound that is here; nothing else, from nowhere."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "media-src data: blob:; img-src data:; base-uri 'none'; form-action 'none'"
    )


def labels_of(analysis: Analysis) -> list[str]:
    """Return the model's emotions, in its order, as far as the analysis names them."""
    found = [turn.probabilities for turn in analysis.timeline if turn.probabilities]
    return list(found[0]) if found else list(analysis.summary.shares or ())


def _header(report: Report) -> Html:
    analysis = report.analysis
    failed = sum(turn.emotion is None and not turn.abstained for turn in analysis.timeline)
    turns = f"{len(analysis.timeline)} turns, {TURNS_FROM[analysis.turns_from]}"
    facts = [
        clock(analysis.duration_s)[:-3],
        f"{analysis.channels} channel{'s' if analysis.channels > 1 else ''} at {analysis.sample_rate} Hz",
        turns + (f", {failed} without an estimate" if failed else ""),
    ]
    return h(
        "header",
        h("h1", report.name),
        h("p", " · ".join(facts), class_="facts"),
        h(
            "p",
            "A model's estimate of how the speech sounds and reads, not of what a person feels.",
            class_="hint",
        ),
    )


def _warnings(analysis: Analysis) -> Html | None:
    if not analysis.warnings:
        return None
    items = [h("li", warning) for warning in analysis.warnings]
    return h("section", h("h2", "Warnings"), h("ul", *items), class_="warnings", id="warnings")


def _summary(analysis: Analysis, tones: Tones) -> Html:
    summary = analysis.summary
    return h(
        "section",
        h("h2", "Summary"),
        _shares(analysis, tones),
        *([h("h3", "Over time"), windows(analysis, tones)] if summary.over_time else []),
        _points(analysis),
        _moments(analysis, tones),
        id="summary",
    )


def _shares(analysis: Analysis, tones: Tones) -> Html:
    """Return the table of shares: a row for each emotion, a column for all and one for each speaker."""
    columns = [("everybody", analysis.summary.shares), *((one.name, one.shares) for one in analysis.speakers)]
    if len(analysis.speakers) == 1:
        columns = columns[1:]
    negative = analysis.summary.negative_labels
    rows = []
    for label in tones.labels:
        name = joined(swatch(tones.of(label)), " ", label, " (negative)" if label in negative else None)
        cells = [_share((shares or {}).get(label), tones.of(label)) for _, shares in columns]
        rows.append(h("tr", h("th", name, scope="row"), *cells))
    spoken = [_spoken(one) for one in analysis.speakers]
    if len(analysis.speakers) != 1:
        spoken.insert(0, h("td", f"{sum(one.speech_s for one in analysis.speakers):.0f} s"))
    rows.append(h("tr", h("th", "speech", scope="row"), *spoken, class_="speech"))
    head = h("tr", h("td"), *(h("th", name, scope="col") for name, _ in columns))
    caption = h("caption", "Shares of the time spoken, weighted by the probabilities")
    return h("div", h("table", caption, h("thead", head), h("tbody", *rows), id="shares"), class_="wide")


def _share(value: float | None, tone: str) -> Html:
    return h("td", "–") if value is None else h("td", h("span", f"{value:.0%}", class_="number"), bar(value, tone))


def _spoken(speaker: SpeakerSummary) -> Html:
    return h("td", f"{speaker.speech_s:.0f} s in {speaker.turns} turn{'' if speaker.turns == 1 else 's'}")


def _points(analysis: Analysis) -> Html | None:
    if not analysis.summary.negative_labels:
        return None
    points = analysis.summary.turning_points
    if not points:
        return joined(h("h3", "Turning points"), h("p", "Nobody's mood changes lastingly.", class_="hint"))
    return joined(h("h3", "Turning points"), h("ul", *(_point(analysis, point) for point in points), id="points"))


def _point(analysis: Analysis, point: TurningPoint) -> Html:
    turn = analysis.timeline[point.turn]
    way = "more" if point.change > 0 else "less"
    how = "" if point.before == point.after else f", from mostly {point.before} to mostly {point.after}"
    said = f" {point.speaker} sounds lastingly {way} negative ({point.change:+.0%}){how}"
    return h("li", play_button(turn.start_s, turn.end_s, f"turn {turn.index + 1}, {turn.speaker}"), said)


def _moments(analysis: Analysis, tones: Tones) -> Html | None:
    moments = analysis.summary.most_negative
    if not moments:
        return None
    items = []
    for moment in moments:
        turn = analysis.timeline[moment.turn]
        play = play_button(moment.start_s, moment.end_s, f"turn {moment.turn + 1}, {moment.speaker}")
        words = h("q", turn.text) if turn.text else None
        said = f" {moment.emotion or 'not sure'}, {moment.negativity:.0%} negative "
        items.append(h("li", play, " ", h("b", moment.speaker), " ", swatch(tones.of(moment.emotion)), said, words))
    return joined(h("h3", "Most negative moments"), h("ol", *items, id="moments"))


def _timeline(report: Report, tones: Tones) -> Html:
    zooms = [
        h("button", f"{zoom}×", type="button", data_zoom=zoom, aria_pressed="true" if zoom == 1 else "false")
        for zoom in ZOOMS
    ]
    return h(
        "section",
        h("h2", "Timeline"),
        h("div", *_sound(report), class_="sound"),
        h("div", h("span", "Zoom "), *zooms, class_="zoom", role="group", aria_label="Zoom of the timeline"),
        timeline(report.analysis, report.peaks, tones),
        h("ul", *_legend(report.analysis, tones), class_="legend", aria_label="Colours"),
        id="timeline",
    )


def _legend(analysis: Analysis, tones: Tones) -> Iterator[Html]:
    for label in tones.labels:
        yield h("li", swatch(tones.of(label)), " ", label)
    if any(turn.emotion is None for turn in analysis.timeline):
        yield h("li", swatch("none"), " not sure, or no estimate")


def _sound(report: Report) -> Iterator[Html]:
    source = None if report.mp3 is None else "data:audio/mpeg;base64," + base64.b64encode(report.mp3).decode()
    if source is None:
        yield h("label", "To listen, choose the recording on this machine; it goes nowhere", for_="file")
        yield h("input", type="file", id="file", accept="audio/*,.wav,.flac,.ogg,.opus,.mp3")
    yield h("audio", id="player", controls=True, preload="metadata", src=source, aria_label="The recording")
    yield h("p", "", id="says", role="status", class_="hint")


def _origin(report: Report) -> Html:
    rows = [("model", report.analysis.model_version), *report.hashes.items()]
    parts = [part for name, value in rows for part in (h("dt", name), h("dd", value))]
    return h("footer", h("h2", "Where this comes from"), h("dl", *parts))
