"""axe-core finds nothing to mend on any view, light or dark, on a desktop or a phone, and nothing is cut off there."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser.helpers import SCHEMES, WIDTHS, look, look_as_usual, picture, visible, words_of
from tests.serving.test_service import WORDS

RUN = "const done = arguments[0]; axe.run().then((found) => done(found.violations), (error) => done(String(error)));"


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, from the package that carries it."""
    found = find_spec("axe_playwright_python")
    assert found is not None
    assert found.origin is not None
    return (Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8")


def show_answer(page: webdriver.Chrome) -> None:
    page.find_element(By.ID, "text").send_keys(WORDS)
    page.find_element(By.ID, "send").click()
    visible(page, "emotion")


def show_error(page: webdriver.Chrome) -> None:
    page.find_element(By.ID, "send").click()
    visible(page, "error")


def show_record(page: webdriver.Chrome, name: str) -> None:
    page.find_element(By.ID, f"to-{name}").click()
    WebDriverWait(page, 10).until(lambda p: "Everything in the" in words_of(p, f"{name}-body"))


VIEWS = {
    "answer": show_answer,
    "error": show_error,
    "card": lambda page: show_record(page, "card"),
    "lineage": lambda page: show_record(page, "lineage"),
}


def findings(page: webdriver.Chrome, axe: str) -> list[str]:
    """Return what axe-core finds on the page as it is."""
    page.execute_script(axe)
    found: Any = page.execute_async_script(RUN)
    assert isinstance(found, list), found
    return [f"{one['impact']} {one['id']}: {node['html']}" for one in found for node in one["nodes"]]


def check_looks(page: webdriver.Chrome, axe: str, name: str) -> None:
    """Fail where axe-core finds anything or the page is wider than the screen, in every look."""
    try:
        for device, width in WIDTHS.items():
            for scheme in SCHEMES:
                look(page, scheme, width)
                picture(page, f"{name}-{device}-{scheme}")
                assert findings(page, axe) == [], f"{device}, {scheme}"
                assert page.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        look_as_usual(page)


def test_axe_sees_what_is_wrong(page: webdriver.Chrome, axe: str) -> None:
    page.execute_script("document.querySelector('label[for=text]').remove()")
    assert any("label" in one for one in findings(page, axe))


@pytest.mark.parametrize("name", VIEWS)
def test_axe_finds_nothing(page: webdriver.Chrome, axe: str, name: str) -> None:
    VIEWS[name](page)
    check_looks(page, axe, name)
