"""A service with API keys: the page asks for one when it is needed, and keeps it in memory alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as conditions
from selenium.webdriver.support.ui import WebDriverWait

from lsgmer.core.paths import Workspace
from lsgmer.registry.model_card import PackageRecord
from lsgmer.service import keys
from tests.browser.helpers import asked_hosts, visible, words_of
from tests.serving.test_service import WORDS
from tests.support.server import Served, serve


@pytest.fixture(scope="module")
def keyed(
    packaged: tuple[Workspace, PackageRecord], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Served, str]]:
    """A service that wants a key, and one."""
    folder = tmp_path_factory.mktemp("keyed")
    path = folder / "keys.json"
    key = keys.add(path, "page")
    with serve(*packaged, folder, LSGMER_SERVICE_KEYS=str(path)) as served:
        yield served, key


def answer_prompt(page: webdriver.Chrome, key: str | None) -> str:
    """Give a key where the page asks for one, or none; return the question."""
    prompt = WebDriverWait(page, 20).until(conditions.alert_is_present())
    question = str(prompt.text)
    if key is None:
        prompt.dismiss()
    else:
        prompt.send_keys(key)
        prompt.accept()
    return question


def test_a_key_is_asked_for_once_and_never_stored(
    browser: webdriver.Chrome, keyed: tuple[Served, str], call: Path
) -> None:
    served, key = keyed
    asked_hosts(browser)
    browser.get(f"{served.url}/")
    browser.find_element(By.ID, "text").send_keys(WORDS)
    browser.find_element(By.ID, "send").click()
    assert "an API key is needed" in answer_prompt(browser, None)
    assert "an API key is needed" in visible(browser, "error")
    browser.find_element(By.ID, "send").click()
    answer_prompt(browser, "wrong")
    assert "not known" in answer_prompt(browser, key)
    assert visible(browser, "emotion")
    browser.find_element(By.ID, "to-card").click()
    WebDriverWait(browser, 20).until(lambda p: "Limits" in words_of(p, "card-body"))
    browser.find_element(By.ID, "to-call").click()
    browser.find_element(By.ID, "call-audio").send_keys(str(call))
    browser.find_element(By.ID, "call-send").click()
    assert visible(browser, "call-title") == "call.wav"
    stored = "return [document.cookie, localStorage.length, sessionStorage.length, location.href]"
    assert browser.execute_script(stored) == ["", 0, 0, f"{served.url}/#call"]
    assert asked_hosts(browser) == {urlsplit(served.url).netloc}
    browser.get_log("browser")  # the refusals above
