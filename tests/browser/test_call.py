"""A whole call on the page: its timeline and table are the service's result, heard, saved, cancelled, or refused."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from lsgmer.service.log_report import find
from tests.browser.helpers import check_looks, picture, tab_to, visible, words_of
from tests.support.server import Served

TURNS = """\
start_s,end_s,speaker,channel,text
0.1,1.9,Agent,0,"Good morning, how can I help?"
2.1,3.9,Customer,1,=Nobody called me back.
4.1,5.9,Agent,0,I am sorry to hear that.
6.1,7.9,Customer,1,
"""
PLAYED = "const p = document.getElementById('call-player'); return [p.paused, p.currentTime]"


def give(page: webdriver.Chrome, call: Path, turns: str | None = TURNS) -> None:
    """Open the view for calls, and choose the recording and the turns."""
    page.find_element(By.ID, "to-call").click()
    page.find_element(By.ID, "call-audio").send_keys(str(call))
    if turns is not None:
        (call.parent / "turns.csv").write_text(turns)
        page.find_element(By.ID, "call-turns").send_keys(str(call.parent / "turns.csv"))


def analysed(page: webdriver.Chrome, call: Path) -> None:
    """Analyse the call with its turns, and wait for the result."""
    give(page, call)
    page.find_element(By.ID, "call-send").click()
    visible(page, "call-title")


def downloaded(page: webdriver.Chrome, button: str) -> str:
    """Return the content of the file that a button saves."""
    page.execute_script("""
        window.saved = null;
        const make = URL.createObjectURL;
        URL.createObjectURL = (blob) => { blob.text().then((text) => { window.saved = text; }); return make(blob); };
    """)
    page.find_element(By.ID, button).click()
    return str(WebDriverWait(page, 10).until(lambda p: p.execute_script("return window.saved")))


def jobs(served: Served) -> list[dict[str, Any]]:
    """Return the jobs that the service knows."""
    return list(httpx.get(f"{served.url}/analyze").json()["jobs"])


def test_the_timeline_and_the_table_are_the_result(page: webdriver.Chrome, served: Served, call: Path) -> None:
    analysed(page, call)
    result = json.loads(downloaded(page, "download-json"))
    assert result["model_version"] == served.record.tag
    assert words_of(page, "call-facts").startswith("0:08, 4 turns of 2 speakers, as given in the file of turns.")
    rows = [
        [cell.text for cell in row.find_elements(By.TAG_NAME, "td")]
        for row in page.find_elements(By.CSS_SELECTOR, "#turns tbody tr")
    ]
    boxes = page.find_elements(By.CSS_SELECTOR, "#timeline .turn")
    assert len(rows) == len(boxes) == len(result["timeline"]) == 4
    for row, turn in zip(rows, result["timeline"], strict=True):
        share = f"{100 * turn['probabilities'][turn['emotion']]:.1f}%"
        assert row[1:5] == [f"0:0{turn['start_s']:.1f}", turn["speaker"], turn["emotion"], share]
        assert row[5] == (turn["text"] or "")
    # Each box lies where its turn lies, in its speaker's lane, and is labelled.
    scale = page.find_element(By.CSS_SELECTOR, "#timeline .track").rect
    for box in boxes:
        turn = result["timeline"][int(box.get_attribute("data-turn") or -1)]
        assert (box.rect["x"] - scale["x"]) / scale["width"] == pytest.approx(turn["start_s"] / 8, abs=0.005)
        assert box.rect["width"] / scale["width"] == pytest.approx((turn["end_s"] - turn["start_s"]) / 8, abs=0.005)
        assert box.text == turn["emotion"]
    names = [element.text for element in page.find_elements(By.CSS_SELECTOR, ".lane-name")]
    assert names == [speaker["name"] for speaker in result["speakers"]] == ["Agent", "Customer"]
    worst = page.find_elements(By.CSS_SELECTOR, "#negative li")
    assert len(worst) == len(result["summary"]["most_negative"]) > 0


def test_the_waveform_of_each_channel_is_drawn(page: webdriver.Chrome, call: Path) -> None:
    analysed(page, call)
    height = """
        return [...document.querySelectorAll(".lane canvas")].map((canvas) => {
          const context = canvas.getContext("2d");
          return [0.125, 0.375].map((place) => {
            const column = context.getImageData(Math.round(place * canvas.width), 0, 1, canvas.height).data;
            return column.filter((value, i) => i % 4 === 3 && value > 0).length / canvas.height;
          });
        });
    """
    WebDriverWait(page, 20).until(lambda p: p.execute_script(height)[0][0] > 0)
    (left_1, left_3), (right_1, right_3) = page.execute_script(height)  # at seconds 1 and 3
    assert min(left_1, right_3) > 0.4
    assert max(left_3, right_1) < 0.1


def test_a_click_is_heard_and_opens_the_turn(page: webdriver.Chrome, served: Served, call: Path) -> None:
    analysed(page, call)
    timeline, lane = page.find_element(By.ID, "timeline"), page.find_element(By.CSS_SELECTOR, ".lane .turns")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", timeline)
    offset = round((5 / 8 - 1 / 2) * timeline.rect["width"])  # from its middle
    ActionChains(page).move_to_element_with_offset(lane, offset, 0).click().perform()
    paused, at = page.execute_script(PLAYED)
    assert not paused
    assert at == pytest.approx(5, abs=0.5)
    assert visible(page, "turn").startswith("Turn 3: Agent, 0:04.1 to 0:05.9")
    current = WebDriverWait(page, 10).until(lambda p: p.find_elements(By.CSS_SELECTOR, "#turns [aria-current]"))
    assert current[0].get_attribute("data-row") == "2"
    # A label for this turn goes to the log, as for any answer.
    page.find_element(By.ID, "turn-feedback-send").click()
    WebDriverWait(page, 10).until(lambda p: words_of(p, "turn-feedback-said"))
    assert words_of(page, "turn-feedback-said").startswith("Recorded: ")
    kinds = [line.content["kind"] for line in find(served.log, words_of(page, "turn-request"))]
    assert kinds == ["prediction", "feedback"]


def test_zooming_in_shows_a_part_and_keeps_the_waveform(page: webdriver.Chrome, call: Path) -> None:
    analysed(page, call)
    page.find_element(By.CSS_SELECTOR, "[aria-label='Zoom in']").click()
    timeline, canvas = page.find_element(By.ID, "timeline"), page.find_element(By.CSS_SELECTOR, ".lane canvas")
    wide = page.execute_script("const t = arguments[0]; return t.scrollWidth > t.clientWidth", timeline)
    assert wide
    page.execute_script("arguments[0].scrollLeft = 1e6", timeline)
    assert canvas.rect["x"] == pytest.approx(timeline.rect["x"] + 1, abs=2)


def test_the_table_can_be_opened_in_a_spreadsheet(page: webdriver.Chrome, call: Path) -> None:
    analysed(page, call)
    rows = list(csv.DictReader(io.StringIO(downloaded(page, "download-csv"))))
    result = json.loads(downloaded(page, "download-json"))
    assert [float(row["start_s"]) for row in rows] == [turn["start_s"] for turn in result["timeline"]]
    assert [row["emotion"] for row in rows] == [turn["emotion"] for turn in result["timeline"]]
    assert rows[0]["text"] == "Good morning, how can I help?"
    assert rows[1]["text"] == "'=Nobody called me back."  # no formula
    for label, share in result["timeline"][0]["probabilities"].items():
        assert float(rows[0][f"p_{label}"]) == share


def test_the_keyboard_alone_takes_a_whole_call(page: webdriver.Chrome, served: Served, call: Path) -> None:
    tab_to(page, "#to-call").send_keys(Keys.ENTER)
    tab_to(page, "#call-audio").send_keys(str(call))
    (call.parent / "turns.csv").write_text(TURNS)
    tab_to(page, "#call-turns").send_keys(str(call.parent / "turns.csv"))
    tab_to(page, "#call-send").send_keys(Keys.ENTER)
    visible(page, "call-title")
    assert page.switch_to.active_element.get_attribute("id") == "call-title"
    tab_to(page, "#turns tr:nth-child(2) .hear button", most=60).send_keys(Keys.ENTER)
    WebDriverWait(page, 10).until(lambda p: not p.execute_script(PLAYED)[0])
    WebDriverWait(page, 10).until(lambda p: p.execute_script(PLAYED)[0])
    assert page.execute_script(PLAYED)[1] == pytest.approx(3.9, abs=0.15)  # it stops where the turn ends
    tab_to(page, "#turns tr:nth-child(2) .emotion button").send_keys(Keys.ENTER)
    assert visible(page, "turn").startswith("Turn 2: Customer")
    assert page.switch_to.active_element.get_attribute("id") == "turn"
    assert jobs(served) == []  # the service has forgotten the call


@pytest.fixture(scope="module")
def long_call(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Twenty minutes of a trembling tone, whose many turns take a while."""
    seconds = np.arange(8000 * 1200) / 8000
    tone = 0.3 * np.sin(2 * np.pi * 180 * seconds) * (1 + 0.5 * np.sin(2 * np.pi * 3 * seconds))
    path = tmp_path_factory.mktemp("long") / "long.wav"
    soundfile.write(path, tone.astype(np.float32), 8000, subtype="PCM_16")
    yield path
    path.unlink()


def begin(page: webdriver.Chrome, long_call: Path) -> None:
    """Start the analysis of the long call, and wait until it is in work."""
    lines = [f"{i},{i + 1.9},A,0,word number {i}" for i in range(0, 1200, 2)]
    give(page, long_call, "start_s,end_s,speaker,channel,text\n" + "\n".join(lines))
    page.find_element(By.ID, "call-send").click()
    WebDriverWait(page, 60).until(lambda p: words_of(p, "call-done").endswith(" of 600 turns"))


def demand_cancelled(served: Served) -> None:
    """Fail unless the only job is soon cancelled; then delete it."""
    deadline = time.monotonic() + 20
    while (found := [job["status"] for job in jobs(served)]) != ["cancelled"]:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    (name,) = [job["job_id"] for job in jobs(served)]
    assert httpx.delete(f"{served.url}/analyze/{name}").status_code == 204


def test_closing_the_page_cancels_its_call(page: webdriver.Chrome, served: Served, long_call: Path) -> None:
    begin(page, long_call)
    page.get("about:blank")
    demand_cancelled(served)


def test_a_call_in_work_can_be_watched_and_cancelled(page: webdriver.Chrome, served: Served, long_call: Path) -> None:
    begin(page, long_call)
    assert words_of(page, "call-status").endswith("…")
    assert not page.find_element(By.ID, "call-send").is_enabled()
    picture(page, "call-busy")
    page.find_element(By.ID, "call-cancel").click()
    WebDriverWait(page, 10).until(lambda p: words_of(p, "call-status") == "Cancelled.")
    assert page.find_element(By.ID, "call-send").is_enabled()
    assert not page.find_element(By.ID, "call-busy").is_displayed()
    assert not page.find_element(By.ID, "call-result").is_displayed()
    demand_cancelled(served)


def test_a_refusal_and_a_failure_are_shown_in_words(page: webdriver.Chrome, call: Path, tmp_path: Path) -> None:
    page.find_element(By.ID, "to-call").click()
    page.find_element(By.ID, "call-send").click()
    assert visible(page, "call-error").startswith("No recording was chosen")
    give(page, call, TURNS.replace("2.1,3.9", "3.9,2.1"))
    page.find_element(By.ID, "call-send").click()
    WebDriverWait(page, 20).until(lambda p: words_of(p, "call-error").startswith("turns (csv): line 3: "))
    page.find_element(By.CSS_SELECTOR, "#call-form button[type=reset]").click()
    assert not page.find_element(By.ID, "call-error").is_displayed()
    (tmp_path / "notes.wav").write_text("not audio")
    give(page, tmp_path / "notes.wav", None)
    page.find_element(By.ID, "call-send").click()
    WebDriverWait(page, 20).until(lambda p: words_of(p, "call-error").startswith("audio: undecodable"))
    picture(page, "call-error")


def test_a_recording_and_its_turns_can_be_dropped_together(page: webdriver.Chrome) -> None:
    page.execute_script("""
        const bag = new DataTransfer();
        bag.items.add(new File(["x"], "call.flac", {type: "audio/flac"}));
        bag.items.add(new File(["y"], "call.rttm"));
        document.getElementById("call-drop").dispatchEvent(new DragEvent("drop", {dataTransfer: bag, bubbles: true}));
    """)
    names = "return ['call-audio', 'call-turns'].map((id) => document.getElementById(id).files[0].name)"
    assert page.execute_script(names) == ["call.flac", "call.rttm"]


def test_axe_finds_nothing_in_a_result(page: webdriver.Chrome, call: Path, axe: str) -> None:
    page.find_element(By.ID, "to-call").click()
    analysed(page, call)
    page.find_element(By.CSS_SELECTOR, "#turns .emotion button").click()
    check_looks(page, axe, "call")
