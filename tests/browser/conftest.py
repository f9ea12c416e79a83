"""Debian's Chromium, with a microphone that plays a file: one for all tests of the page."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
from selenium import webdriver

from tests.support.server import Served

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=900,1150",
    "--use-fake-device-for-media-stream", "--mute-audio",
)  # fmt: skip
MICROPHONE_HZ = 500.0  # what the microphone hears


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of this folder where there is no Chromium."""
    if CHROMIUM and DRIVER:
        return
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.skip(reason="needs Chromium: apt-get install chromium chromium-driver"))


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    folder = tmp_path_factory.mktemp("chromium")
    microphone = folder / "microphone.wav"
    samples = 0.5 * np.sin(2 * np.pi * MICROPHONE_HZ * np.arange(48_000 * 10) / 48_000)
    soundfile.write(microphone, samples.astype(np.float32), 48_000, subtype="PCM_16")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in (*FLAGS, f"--use-file-for-fake-audio-capture={microphone}", f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder / "downloads")})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def allow_microphone(browser: webdriver.Chrome, setting: str) -> None:
    """Answer the browser's question about the microphone: granted or denied."""
    browser.execute_cdp_cmd("Browser.setPermission", {"permission": {"name": "microphone"}, "setting": setting})


@pytest.fixture
def page(browser: webdriver.Chrome, served: Served) -> webdriver.Chrome:
    """The page, newly opened, with leave to use the microphone."""
    allow_microphone(browser, "granted")
    browser.get("about:blank")  # else only the part after # may change
    browser.get(f"{served.url}/")
    return browser


@pytest.fixture(scope="session")
def call(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds of a call in stereo: a trembling tone on the left channel, then on the right, twice."""
    rate = 16_000
    time = np.arange(8 * rate) / rate
    tone = 0.3 * np.sin(2 * np.pi * 180 * time) * (1 + 0.5 * np.sin(2 * np.pi * 3 * time))
    left = tone * (time % 4 < 2)
    buffer = io.BytesIO()
    soundfile.write(buffer, np.stack([left, tone - left], axis=1).astype(np.float32), rate, format="WAV")
    path = tmp_path_factory.mktemp("call") / "call.wav"
    path.write_bytes(buffer.getvalue())
    return path


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, from the package that carries it."""
    found = find_spec("axe_playwright_python")
    assert found is not None
    assert found.origin is not None
    return (Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8")
