"""axe-core finds nothing to mend on any view, light or dark, on a desktop or a phone, and nothing is cut off there."""

from __future__ import annotations

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser.helpers import check_looks, findings, visible, words_of
from tests.serving.test_service import WORDS


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


def test_axe_sees_what_is_wrong(page: webdriver.Chrome, axe: str) -> None:
    page.execute_script("document.querySelector('label[for=text]').remove()")
    assert any("label" in one for one in findings(page, axe))


@pytest.mark.parametrize("name", VIEWS)
def test_axe_finds_nothing(page: webdriver.Chrome, axe: str, name: str) -> None:
    VIEWS[name](page)
    check_looks(page, axe, name)
