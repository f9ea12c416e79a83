"""The report of a call in Debian's Chromium, opened as a file: it works offline, and hostile words stay words."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from lsgmer.call_report.page import Report, page
from lsgmer.call_report.peaks import read_peaks
from lsgmer.call_report.sound import as_mp3
from tests.support.analyses import HOSTILE, make_analysis, write_call

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs Chromium: apt-get install chromium chromium-driver"
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--window-size=1100,1500",
)  # fmt: skip
STATE = "const p = document.getElementById('player'); return [p.paused, p.currentTime]"
ANALYSIS = make_analysis()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A call, another one, and the first one's report without and with its sound."""
    folder = tmp_path_factory.mktemp("report")
    write_call(folder / "call.wav", ANALYSIS)
    write_call(folder / "other.wav", make_analysis(6, 20.0))
    peaks = read_peaks(folder / "call.wav", ANALYSIS.duration_s)
    report = Report("call.wav", ANALYSIS, peaks, {"recording (sha256)": "ab" * 32})
    (folder / "report.html").write_text(page(report))
    with_sound = Report("call.wav", ANALYSIS, peaks, mp3=as_mp3(folder / "call.wav"))
    (folder / "sound.html").write_text(page(with_sound))
    return folder


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
def report(browser: webdriver.Chrome, files: Path) -> webdriver.Chrome:
    browser.get((files / "report.html").as_uri())
    return browser


def play(page: webdriver.Chrome, turn: int) -> WebElement:
    return page.find_element(By.CSS_SELECTOR, f"#turn-{turn} .play")


def wait(page: webdriver.Chrome, condition: str) -> None:
    """Wait until a JavaScript expression is true; `p` is the player."""
    code = f"const p = document.getElementById('player'); return Boolean({condition})"
    WebDriverWait(page, 20, poll_frequency=0.05).until(lambda driver: driver.execute_script(code))


def test_a_chosen_recording_plays_a_turn_and_stops_at_its_end(report: webdriver.Chrome, files: Path) -> None:
    play(report, 6).click()
    assert report.find_element(By.ID, "says").text == "Choose the recording first; then this turn is played."
    assert report.switch_to.active_element.get_attribute("id") == "file"
    report.find_element(By.ID, "file").send_keys(str(files / "call.wav"))
    turn = ANALYSIS.timeline[6]
    wait(report, f"!p.paused && p.currentTime > {turn.start_s}")
    wait(report, "document.querySelector('#turn-6.now') && document.querySelector('[data-turn=\"6\"].now')")
    assert report.find_element(By.ID, "playhead").get_attribute("class") == ""
    wait(report, "p.paused")
    paused, at = report.execute_script(STATE)
    assert paused
    assert turn.end_s <= at < turn.end_s + 0.6


def test_another_recording_is_noticed(report: webdriver.Chrome, files: Path) -> None:
    report.find_element(By.ID, "file").send_keys(str(files / "other.wav"))
    wait(report, "document.getElementById('says').textContent")
    assert report.find_element(By.ID, "says").text == (
        "This recording lasts 20 s, the analysed one 120 s: is it the same?"
    )


def test_sound_inside_the_page_is_found_at_its_time(browser: webdriver.Chrome, files: Path) -> None:
    browser.get((files / "sound.html").as_uri())
    wait(browser, "p.duration > 0")
    turn = ANALYSIS.timeline[20]
    lane = browser.find_element(By.CSS_SELECTOR, '#lanes [data-turn="20"]')
    lane.click()
    wait(browser, f"!p.paused && p.currentTime > {turn.start_s} && p.currentTime < {turn.end_s}")
    assert browser.switch_to.active_element == play(browser, 20)
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    wait(browser, "p.paused")


def test_hostile_words_and_names_are_only_shown(report: webdriver.Chrome) -> None:
    assert report.title == "call.wav: how the call sounds"
    words = report.find_element(By.CSS_SELECTOR, "#turn-1 .words").get_attribute("textContent")
    assert words == HOSTILE
    assert not report.find_elements(By.CSS_SELECTOR, "#turns img")
    assert report.execute_script("return document.scripts.length") == 1
    report.execute_script("""
        const script = document.createElement("script");
        script.textContent = "document.title = 'taken'";
        document.body.append(script);
    """)
    assert report.title == "call.wav: how the call sounds", "the policy lets no other script run"
    report.get_log("browser")  # which says so


def test_the_keyboard_goes_from_turn_to_turn(report: webdriver.Chrome) -> None:
    report.execute_script("document.querySelector('#turn-0 .play').focus()")
    for key, turn in ((Keys.ARROW_DOWN, 1), (Keys.ARROW_DOWN, 2), (Keys.ARROW_UP, 1)):
        report.switch_to.active_element.send_keys(key)
        assert report.switch_to.active_element == play(report, turn)
    report.switch_to.active_element.send_keys(Keys.ENTER)
    assert "Choose the recording first" in report.find_element(By.ID, "says").text


def test_turns_are_chosen_by_speaker_and_emotion(report: webdriver.Chrome) -> None:
    Select(report.find_element(By.ID, "choose-speaker")).select_by_value("customer")
    Select(report.find_element(By.ID, "choose-emotion")).select_by_value("angry")
    left = [turn.index for turn in ANALYSIS.timeline if (turn.speaker, turn.emotion) == ("customer", "angry")]
    shown = [row for row in report.find_elements(By.CSS_SELECTOR, "#turns tbody tr") if row.is_displayed()]
    assert [row.get_attribute("id") for row in shown] == [f"turn-{index}" for index in left]
    assert report.find_element(By.ID, "count").text == f"{len(left)} of {len(ANALYSIS.timeline)} turns"


def test_the_timeline_can_be_zoomed(report: webdriver.Chrome) -> None:
    before = report.find_element(By.ID, "lanes").size["width"]
    ticks = len(report.find_elements(By.CSS_SELECTOR, "#axis text"))
    report.find_element(By.CSS_SELECTOR, '[data-zoom="8"]').click()
    assert report.find_element(By.ID, "lanes").size["width"] == pytest.approx(8 * before, rel=0.01)
    assert len(report.find_elements(By.CSS_SELECTOR, "#axis text")) > 4 * ticks


def test_what_assistive_technology_needs_is_there(report: webdriver.Chrome) -> None:
    for element in report.find_elements(By.CSS_SELECTOR, "button, select, input, audio, #lanes, #scroll"):
        assert element.accessible_name, element.get_attribute("outerHTML")[:200]
    for table in report.find_elements(By.TAG_NAME, "table"):
        assert table.find_element(By.TAG_NAME, "caption").text
    assert play(report, 0).accessible_name == "Play turn 1, agent, from 00:00.20"
    assert report.find_element(By.ID, "says").get_attribute("role") == "status"
    assert report.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"


def contrast(page: webdriver.Chrome, selector: str) -> float:
    """Return the contrast of an element's text with the page's card colour, as WCAG defines it."""
    code = """
        const style = getComputedStyle(document.querySelector(arguments[0])), card = document.querySelector('section');
        return [style.color, getComputedStyle(card).backgroundColor].map(c => c.match(/[\\d.]+/g).map(Number))
    """
    levels = []
    for colour in page.execute_script(code, selector):
        parts = [value / 255 for value in colour[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        levels.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(levels) + 0.05) / (min(levels) + 0.05)


def test_dark_and_printed_pages_can_be_read(report: webdriver.Chrome) -> None:
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        report.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        for selector in ("#turns td", "caption", ".remark.error", ".play"):
            assert contrast(report, selector) >= 4.5, (scheme, selector)
        if folder := os.environ.get("LSGMER_SCREENSHOTS"):
            report.save_screenshot(f"{folder}/report-{scheme}.png")
    report.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    for hidden in ("#player", "#file", ".zoom", ".choices"):
        assert not report.find_element(By.CSS_SELECTOR, hidden).is_displayed()
    assert report.find_element(By.ID, "turn-3").is_displayed()
    assert contrast(report, "#turns td") >= 4.5
    report.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def test_without_scripts_everything_can_still_be_read(browser: webdriver.Chrome, files: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get((files / "report.html").as_uri())
        assert len(browser.find_elements(By.CSS_SELECTOR, "#turns tbody tr")) == len(ANALYSIS.timeline)
        assert len(browser.find_elements(By.CSS_SELECTOR, "#lanes .turn")) == len(ANALYSIS.timeline)
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_the_report_asks_nobody_and_logs_no_error(browser: webdriver.Chrome, files: Path) -> None:
    browser.get_log("browser")
    for name in ("report.html", "sound.html"):
        browser.get((files / name).as_uri())
        wait(browser, "document.readyState === 'complete'")
    asked = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    addresses = [m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"]
    assert any(address.startswith("file:") for address in addresses)
    assert not [address for address in addresses if address.startswith(("http", "ws", "ftp"))]
    assert browser.get_log("browser") == []
