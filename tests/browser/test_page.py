"""The page at /, in Debian's Chromium: as somebody with a recording would use it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.serving.test_service import WORDS, tone
from tests.support.server import Served

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs Chromium: apt-get install chromium chromium-driver"
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=900,1150",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: webdriver.Chrome, served: Served) -> webdriver.Chrome:
    browser.get(f"{served.url}/")
    return browser


def visible(page: webdriver.Chrome, name: str) -> str:
    """Wait until the element shows, and return its words."""
    return WebDriverWait(page, 60).until(lambda p: (e := p.find_element(By.ID, name)).is_displayed() and e.text)


def shown_bars(page: webdriver.Chrome, name: str) -> dict[str, str]:
    rows = page.find_elements(By.CSS_SELECTOR, f"#{name} li")
    return {row.find_element(By.CLASS_NAME, "name").text: row.find_element(By.CLASS_NAME, "value").text for row in rows}


def test_words_and_a_file_give_the_result_that_the_api_gives(
    page: webdriver.Chrome, served: Served, tmp_path: Path
) -> None:
    recording = tmp_path / "speech.flac"
    recording.write_bytes(tone())
    page.find_element(By.ID, "text").send_keys(WORDS)
    page.find_element(By.ID, "audio").send_keys(str(recording))
    assert page.find_element(By.ID, "player").is_displayed()
    page.find_element(By.ID, "send").click()
    headline = visible(page, "emotion")
    answer = httpx.post(
        f"{served.url}/predict", files={"audio": recording.read_bytes()}, data={"text": WORDS}, timeout=60
    ).json()
    top = answer["emotion"]
    assert headline == f"{top} ({100 * answer['probabilities'][top]:.1f}%)"
    for name in ("probabilities", "attribution"):
        assert shown_bars(page, name) == {label: f"{100 * share:.1f}%" for label, share in answer[name].items()}
    assert page.find_element(By.ID, "modalities").text == "Estimated from the voice and the words."
    assert page.find_element(By.ID, "consistency").text == f"{answer['consistency']:.2f}"
    assert page.find_element(By.ID, "version").text == served.record.tag
    if folder := os.environ.get("LSGMER_SCREENSHOTS"):
        page.save_screenshot(f"{folder}/result.png")


def test_the_keyboard_alone_is_enough(page: webdriver.Chrome) -> None:
    page.find_element(By.ID, "text").send_keys(WORDS)
    page.switch_to.active_element.send_keys(Keys.TAB)
    assert page.switch_to.active_element.get_attribute("id") == "send"
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert visible(page, "emotion")
    assert page.find_element(By.ID, "modalities").text == "Estimated from the words."


def test_a_refusal_is_shown_in_words_and_the_next_try_clears_it(page: webdriver.Chrome, tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("not audio")
    page.find_element(By.ID, "audio").send_keys(str(tmp_path / "notes.wav"))
    page.find_element(By.ID, "send").click()
    assert visible(page, "error").startswith("audio: undecodable")
    assert not page.find_element(By.ID, "result").is_displayed()
    if folder := os.environ.get("LSGMER_SCREENSHOTS"):
        page.save_screenshot(f"{folder}/error.png")
    page.find_element(By.CSS_SELECTOR, "button[type=reset]").click()
    assert not page.find_element(By.ID, "error").is_displayed()
    page.find_element(By.ID, "send").click()
    assert visible(page, "error").startswith("neither audio nor text")


def test_a_dropped_file_is_taken(page: webdriver.Chrome) -> None:
    page.execute_script("""
        const bag = new DataTransfer();
        bag.items.add(new File(["x"], "dropped.wav", {type: "audio/wav"}));
        document.getElementById("drop").dispatchEvent(new DragEvent("drop", {dataTransfer: bag, bubbles: true}));
    """)
    assert page.execute_script("return document.getElementById('audio').files[0].name") == "dropped.wav"


def test_what_assistive_technology_needs_is_there(page: webdriver.Chrome) -> None:
    for field in page.find_elements(By.CSS_SELECTOR, "input, textarea"):
        assert field.accessible_name, field.get_attribute("id")
    assert page.find_element(By.ID, "live").get_attribute("aria-live") == "polite"
    assert page.find_element(By.ID, "error").get_attribute("role") == "alert"
    assert page.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"


def test_the_page_asks_no_other_host_and_logs_no_error(page: webdriver.Chrome, served: Served) -> None:
    asked = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    addresses = [m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"]
    asked_hosts = {urlsplit(address).netloc for address in addresses if address.startswith(("http", "ws"))}
    assert asked_hosts == {urlsplit(served.url).netloc}
    severe = [
        entry for entry in page.get_log("browser") if entry["level"] == "SEVERE" and "predict" not in entry["message"]
    ]
    assert not severe
