"""The page at /, in Debian's Chromium: as somebody with a recording would use it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from lsgmer.encoders.weights import package_file
from lsgmer.service.log_report import find
from tests.browser.helpers import asked_hosts, picture, shown_bars, visible, words_of
from tests.serving.test_service import WORDS, tone
from tests.serving.test_transcripts import WORDS as SPOKEN
from tests.serving.test_transcripts import installed
from tests.support.server import Served


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
    picture(page, "result")


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
    picture(page, "error")
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


@pytest.mark.parametrize("view", ["estimate", "call"])
def test_every_field_and_button_has_a_name(page: webdriver.Chrome, view: str) -> None:
    page.find_element(By.ID, f"to-{view}").click()
    fields = page.find_elements(By.CSS_SELECTOR, f"#view-{view} :is(input, textarea, button)")
    named = {field.get_attribute("id"): field.accessible_name for field in fields if field.is_displayed()}
    assert len(named) > 4
    assert all(named.values()), named
    assert page.find_element(By.ID, "live").get_attribute("aria-live") == "polite"
    assert page.find_element(By.ID, "error").get_attribute("role") == "alert"
    assert page.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"


def ask(page: webdriver.Chrome, words: str) -> str:
    """Ask about these words alone, and return the headline of the answer."""
    field = page.find_element(By.ID, "text")
    field.clear()
    field.send_keys(words)
    page.find_element(By.ID, "send").click()
    WebDriverWait(page, 60).until(lambda p: p.find_element(By.ID, "send").is_enabled())
    return visible(page, "emotion")


def test_contributions_and_warnings_are_shown(page: webdriver.Chrome, served: Served) -> None:
    long = "so " * 700
    ask(page, long)
    answer = served.post(data={"text": long}).json()
    assert answer["warnings"]
    assert words_of(page, "warnings") == "\n".join(f"Warning: {line}" for line in answer["warnings"])
    points = 100 * answer["contribution"]["text"]
    assert words_of(page, "contribution") == f"the words: {'−' if points < 0 else '+'}{abs(points):.1f} points"


@installed
def test_what_was_transcribed_is_shown(page: webdriver.Chrome, tmp_path: Path) -> None:
    (tmp_path / "spoken.wav").write_bytes(package_file("package:moonshine_voice/assets/beckett.wav").read_bytes())
    page.find_element(By.ID, "audio").send_keys(str(tmp_path / "spoken.wav"))
    page.find_element(By.ID, "transcribe").click()
    page.find_element(By.ID, "send").click()
    visible(page, "emotion")
    assert words_of(page, "transcript") == f"Transcribed by machine: {SPOKEN}"
    assert words_of(page, "modalities") == "Estimated from the voice and the words."


def test_feedback_is_in_the_log(page: webdriver.Chrome, served: Served) -> None:
    ask(page, WORDS)
    labels = Select(page.find_element(By.ID, "feedback-label"))
    chosen = labels.options[-1].text
    labels.select_by_visible_text(chosen)
    page.find_element(By.ID, "feedback-send").click()
    WebDriverWait(page, 10).until(lambda p: words_of(p, "feedback-said"))
    assert words_of(page, "feedback-said") == f"Recorded: {chosen}. Thank you."
    logged = [line.content for line in find(served.log, words_of(page, "request"))]
    assert [line["label"] for line in logged if line["kind"] == "feedback"] == [chosen]


def test_earlier_answers_are_shown_again_until_they_are_forgotten(page: webdriver.Chrome) -> None:
    first, second = ask(page, WORDS), ask(page, "See you tomorrow")
    request = words_of(page, "request")
    entries = page.find_elements(By.CSS_SELECTOR, "#history-list .what")
    assert [entry.text for entry in entries] == [f"{second} “See you tomorrow”", f"{first} “{WORDS}”"]
    page.find_element(By.ID, "to-lineage").click()
    page.find_elements(By.CSS_SELECTOR, "#history-list button")[1].click()
    assert visible(page, "emotion") == first
    assert words_of(page, "request") != request
    assert page.find_element(By.ID, "text").get_attribute("value") == WORDS
    page.find_element(By.ID, "history-clear").click()
    assert not page.find_element(By.ID, "history").is_displayed()
    page.refresh()
    assert not page.find_elements(By.CSS_SELECTOR, "#history-list li")


def test_card_and_lineage_can_be_read(page: webdriver.Chrome, served: Served) -> None:
    card = httpx.get(f"{served.url}/card").json()
    page.find_element(By.ID, "to-card").click()
    WebDriverWait(page, 10).until(lambda p: "Limits" in words_of(p, "card-body"))
    said = words_of(page, "card-body")
    for line in (card["intended_use"], *card["limits"], *card["metrics"]["labels"], "0.500 (0.400 to 0.600)"):
        assert line in said
    page.find_element(By.ID, "to-lineage").click()
    WebDriverWait(page, 10).until(lambda p: "Hashes" in words_of(p, "lineage-body"))
    said = words_of(page, "lineage-body")
    for line in (served.record.tag, served.record.weights_sha256, card["lineage"]["source"]["source_sha256"]):
        assert line in said
    assert served.record.tag in page.find_element(By.TAG_NAME, "footer").text
    page.back()
    assert page.find_element(By.ID, "view-card").is_displayed()


def test_a_recording_too_long_for_one_answer_can_be_taken_over_as_a_call(
    page: webdriver.Chrome, tmp_path: Path
) -> None:
    (tmp_path / "long.wav").write_bytes(tone(61, rate=8000, kind="WAV"))
    page.find_element(By.ID, "audio").send_keys(str(tmp_path / "long.wav"))
    assert visible(page, "long-says") == "This recording lasts 1:01, too long for one answer."
    page.find_element(By.ID, "long-open").click()
    assert page.find_element(By.ID, "view-call").is_displayed()
    assert page.execute_script("return document.getElementById('call-audio').files[0].name") == "long.wav"


def test_the_page_asks_no_other_host_and_logs_no_error(page: webdriver.Chrome, served: Served) -> None:
    assert asked_hosts(page) == {urlsplit(served.url).netloc}
    refused = ("/predict - ", "/analyze - ")  # requests that tests meant to be refused
    severe = [entry["message"] for entry in page.get_log("browser") if entry["level"] == "SEVERE"]
    assert not [message for message in severe if not any(path in message for path in refused)]
