"""The pictures of the report, as SVG: the timeline with its waveform, shares over time, and small bars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lsgmer.call_report.markup import Html, h, joined
from lsgmer.call_report.peaks import Peaks
from lsgmer.conversations.records import Analysis, TimelineTurn, Window
from lsgmer.core.records import Seconds
from lsgmer.core.text import clock

AXIS, WAVE, LANE = 24, 48, 30  # heights in pixels; style.css has the same
HALF = 50.0  # of the height of a waveform's own coordinates
STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
MOST_TICKS = 10
COLOURS = 8  # in style.css: c0 to c7; further emotions begin again
LAST_TICK = 0.95  # of the width: a later one would be cut off


@dataclass(frozen=True, slots=True)
class Tones:
    """Which emotion has which colour: the name of its class in style.css."""

    labels: Sequence[str]

    def of(self, label: str | None) -> str:
        """Return the class of an emotion; of none, that of what could not be estimated."""
        return f"c{self.labels.index(label) % COLOURS}" if label in self.labels else "none"


def timeline(analysis: Analysis, peaks: Peaks | None, tones: Tones) -> Html:
    """Return the timeline: an axis, the waveform of each channel, and a lane of turns for each speaker."""
    whole = analysis.duration_s
    channels = 0 if peaks is None else len(peaks.low)
    height = AXIS + WAVE * channels + LANE * len(analysis.speakers)
    parts = [h("g", *_ticks(whole, height), id="axis")]
    names = [h("span", "", class_="axis")]
    by_channel = {speaker.channel: speaker.name for speaker in analysis.speakers}
    if peaks is not None:
        scale = max(float(-peaks.low.min()), float(peaks.high.max()), 1e-6)
        for channel in range(channels):
            parts.append(_wave(peaks, channel, scale, AXIS + WAVE * channel))
            who = by_channel.get(channel) or ("sound" if channels == 1 else f"channel {channel}")
            names.append(h("span", who, class_="wave"))
    for number, speaker in enumerate(analysis.speakers):
        top = AXIS + WAVE * channels + LANE * number
        own = [turn for turn in analysis.timeline if turn.speaker == speaker.name]
        parts.append(h("g", *(_turn(turn, whole, top, tones) for turn in own), class_="lane"))
        names.append(h("span", speaker.name, class_="lane"))
    parts.append(h("line", id="playhead", x1="0%", x2="0%", y1=0, y2=height, class_="off"))
    label = f"Turns of {len(analysis.speakers)} speakers over {clock(whole)}. The table below holds the same turns."
    picture = h("svg", *parts, id="lanes", width="100%", height=height, role="img", aria_label=label)
    scrolled = h("div", picture, class_="scroll", id="scroll", tabindex=0, role="group", aria_label="Timeline")
    return h("div", h("div", *names, class_="names", aria_hidden="true"), scrolled, class_="timeline")


def windows(analysis: Analysis, tones: Tones) -> Html:
    """Return, for each speaker, the shares of emotions in each window, as columns of stacked bars."""
    rows = []
    for speaker in analysis.speakers:
        own = [window for window in analysis.summary.over_time if window.speaker == speaker.name]
        bars = [bar for window in own for bar in _stack(window, analysis.duration_s, tones)]
        label = f"Shares of {speaker.name}'s emotions over time"
        picture = h("svg", *bars, width="100%", height=2 * LANE, role="img", aria_label=label)
        rows += [h("span", speaker.name, class_="over"), picture]
    return h("div", *rows, class_="windows")


def stacked(shares: Mapping[str, float], tones: Tones) -> Html:
    """Return all probabilities of a turn as one small bar."""
    said = ", ".join(f"{name} {value:.0%}" for name, value in sorted(shares.items(), key=lambda pair: -pair[1]))
    bars, at = [], 0.0
    for name, value in shares.items():
        bars.append(h("rect", x=_percent(at), y=0, width=_percent(value), height=10, class_=tones.of(name)))
        at += value
    return h("svg", h("title", said), *bars, class_="stacked", width=96, height=10, role="img", aria_label=said)


def bar(share: float, tone: str) -> Html:
    """Return a bar as long as `share`, in [0, 1], of its place."""
    drawn = h("rect", x=0, y=0, width=_percent(share), height=10, class_=tone)
    return h("svg", drawn, class_="bar", width="100%", height=10, aria_hidden="true")


def swatch(tone: str) -> Html:
    """Return a small square in the colour of an emotion."""
    square = h("rect", width=12, height=12, rx=2, class_=tone)
    return h("svg", square, class_="swatch", width=12, height=12, aria_hidden="true")


def _ticks(whole: Seconds, height: int) -> Iterator[Html]:
    step = next((step for step in STEPS_S if whole / step <= MOST_TICKS), STEPS_S[-1])
    at = 0
    while at < max(whole, 1) * LAST_TICK:
        place = _percent(at / max(whole, 1))
        yield h("line", x1=place, x2=place, y1=0, y2=height)
        yield h("text", clock(at).removesuffix(".00"), x=place, y=15, dx=4)
        at += step


def _wave(peaks: Peaks, channel: int, scale: float, top: int) -> Html:
    """Return the waveform of a channel: a line from the lowest to the highest sample of each stretch."""
    lines = [
        f"M{i} {HALF - HALF * high / scale:.1f}V{HALF - HALF * low / scale + 0.5:.1f}"
        for i, (low, high) in enumerate(zip(peaks.low[channel].tolist(), peaks.high[channel].tolist(), strict=True))
    ]
    path = h("path", d="".join(lines), vector_effect="non-scaling-stroke")
    box = f"-0.5 0 {peaks.low.shape[1]} {2 * HALF:.0f}"
    return h(
        "svg", path, class_="wave", y=top + 2, width="100%", height=WAVE - 4, viewBox=box, preserveAspectRatio="none"
    )


def _turn(turn: TimelineTurn, whole: Seconds, top: int, tones: Tones) -> Html:
    said = turn.emotion or ("not sure" if turn.abstained else "no estimate")
    title = f"{turn.index + 1}. {turn.speaker}, {clock(turn.start_s)} to {clock(turn.end_s)}: {said}"
    return h(
        "rect",
        h("title", title if turn.text is None else f"{title}\n{turn.text}"),
        x=_percent(turn.start_s / whole),
        y=top + 3,
        width=_percent(turn.duration_s / whole),
        height=LANE - 6,
        class_=f"turn {tones.of(turn.emotion)}",
        data_turn=turn.index,
    )


def _stack(window: Window, whole: Seconds, tones: Tones) -> Iterator[Html]:
    said = ", ".join(f"{name} {value:.0%}" for name, value in window.shares.items())
    at, parts = 0.0, []
    for name, value in window.shares.items():
        parts.append(
            h(
                "rect",
                x=_percent(window.start_s / whole),
                width=_percent(max(0.0, window.end_s - window.start_s) / whole),
                y=_percent(at),
                height=_percent(value),
                class_=f"edge {tones.of(name)}",
            )
        )
        at += value
    yield h("g", h("title", f"{clock(window.start_s)} to {clock(window.end_s)}: {said}"), joined(*parts))


def _percent(share: float) -> str:
    return f"{100 * share:.3f}%"
