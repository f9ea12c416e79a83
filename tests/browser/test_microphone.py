"""The microphone gives a WAV file that holds what was heard, and that the service answers."""

from __future__ import annotations

import base64
import io
import time

import numpy as np
import pytest
import soundfile
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser.conftest import MICROPHONE_HZ, allow_microphone
from tests.browser.helpers import visible, words_of

READ = """
    const [done] = arguments;
    const reader = new FileReader();
    reader.onload = () => done(reader.result.split(",")[1]);
    reader.readAsDataURL(document.getElementById("audio").files[0]);
"""


def test_what_the_microphone_hears_is_recorded_and_estimated(page: webdriver.Chrome) -> None:
    button = page.find_element(By.ID, "record")
    button.click()
    WebDriverWait(page, 20).until(lambda p: words_of(p, "record-time") >= "0:01.0")
    assert button.text == "Stop"
    assert float(page.find_element(By.ID, "record-level").get_attribute("value") or 0) > 0.1
    shown = float(words_of(page, "record-time").removeprefix("0:"))
    button.click()
    WebDriverWait(page, 20).until(lambda p: words_of(p, "record-status") == "Recorded.")
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(page.execute_async_script(READ))), always_2d=True)
    assert samples.shape[1] == 1
    assert shown <= len(samples) / rate < shown + 1
    loudest = np.abs(np.fft.rfft(samples[rate // 4 :, 0])).argmax() * rate / (len(samples) - rate // 4)
    assert loudest == pytest.approx(MICROPHONE_HZ, abs=5)
    page.find_element(By.ID, "send").click()
    assert visible(page, "emotion")
    assert words_of(page, "modalities") == "Estimated from the voice."


def test_clearing_while_recording_keeps_nothing(page: webdriver.Chrome) -> None:
    page.find_element(By.ID, "record").click()
    WebDriverWait(page, 20).until(lambda p: words_of(p, "record") == "Stop")
    page.find_element(By.CSS_SELECTOR, "#form button[type=reset]").click()
    WebDriverWait(page, 20).until(lambda p: words_of(p, "record") == "Record")
    time.sleep(0.2)
    assert page.execute_script("return document.getElementById('audio').files.length") == 0


def test_a_refused_microphone_is_explained(page: webdriver.Chrome) -> None:
    allow_microphone(page, "denied")
    page.find_element(By.ID, "record").click()
    assert visible(page, "error").startswith("The browser was not allowed to use the microphone.")
