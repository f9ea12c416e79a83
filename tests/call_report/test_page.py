"""The report is one file that loads nothing, runs only its own script, and shows whatever it is given as text."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from lsgmer.call_report.markup import Html, h
from lsgmer.call_report.page import Report, page
from tests.support.analyses import HOSTILE, make_analysis


class Seen(HTMLParser):
    """What a parser finds in a page: elements with their attributes, and the texts."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_whatever_is_shown_is_text() -> None:
    analysis = make_analysis(names=(HOSTILE[:90], "</style><script>alert(1)</script>"))
    analysis = analysis.model_copy(update={"warnings": (HOSTILE,), "model_version": "<b>"})
    seen = Seen(page(Report(HOSTILE, analysis, hashes={"<i>": "</dd>"})))
    names = [name for name, _ in seen.elements]
    assert names.count("script") == 1
    assert not {"img", "i", "iframe", "object"} & set(names)
    assert names.count("b") == len(analysis.summary.most_negative)
    assert not [key for _, attributes in seen.elements for key in attributes if key.startswith("on") or key == "style"]
    assert HOSTILE in seen.texts


def test_the_policy_allows_this_style_and_script_and_nothing_from_elsewhere() -> None:
    content = page(Report("a call", make_analysis()))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', content)
    for name in ("style", "script"):
        (inside,) = re.findall(rf"<{name}>(.*?)</{name}>", content, re.DOTALL)
        sha256 = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{name}-src &#x27;sha256-{sha256}&#x27;" in policy
    assert policy.startswith("default-src &#x27;none&#x27;;")
    addresses = [
        value
        for _, attributes in Seen(content).elements
        for key, value in attributes.items()
        if key in ("src", "href", "action", "data", "srcset")
    ]
    assert addresses == ["data:,"]


def test_sound_is_in_the_page_only_when_it_is_given() -> None:
    without = page(Report("a call", make_analysis()))
    assert "data:audio" not in without
    assert 'type="file"' in without
    with_sound = page(Report("a call", make_analysis(), mp3=b"sound"))
    assert f"data:audio/mpeg;base64,{base64.b64encode(b'sound').decode()}" in with_sound
    assert 'type="file"' not in with_sound


def test_a_call_in_which_nobody_speaks_has_a_report() -> None:
    analysis = make_analysis()
    quiet = analysis.summary.model_copy(
        update={"shares": None, "over_time": (), "turning_points": (), "most_negative": (), "negative_labels": ()}
    )
    content = page(Report("silence", analysis.model_copy(update={"timeline": (), "speakers": (), "summary": quiet})))
    assert "0 turns" in content


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_text_stays_text(first: str, second: str) -> None:
    written = h("p", first, title=second)
    assert isinstance(written, Html)
    seen = Seen(written)
    ((name, attributes),) = seen.elements
    assert name == "p"
    assert "<" not in written[3:-4].split(">", 1)[1]
    assert set(attributes) == {"title"}
