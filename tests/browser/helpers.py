"""What the tests of the page do again and again: wait for words, press keys, take pictures."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

WIDTHS = {"desktop": 1280, "phone": 390}
SCHEMES = ("light", "dark")
RUN = "const done = arguments[0]; axe.run().then((found) => done(found.violations), (error) => done(String(error)));"


def visible(page: webdriver.Chrome, name: str) -> str:
    """Wait until the element shows, and return its words."""
    return WebDriverWait(page, 60).until(lambda p: (e := p.find_element(By.ID, name)).is_displayed() and e.text)


def words_of(page: webdriver.Chrome, name: str) -> str:
    """Return the words of an element as they are now."""
    return page.find_element(By.ID, name).text


def shown_bars(page: webdriver.Chrome, name: str) -> dict[str, str]:
    """Return what a list of bars says: names and values."""
    rows = page.find_elements(By.CSS_SELECTOR, f"#{name} li")
    return {row.find_element(By.CLASS_NAME, "name").text: row.find_element(By.CLASS_NAME, "value").text for row in rows}


def asked_hosts(page: webdriver.Chrome) -> set[str]:
    """Return the hosts that the browser has asked since this was last called."""
    asked = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    addresses = [m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"]
    return {urlsplit(address).netloc for address in addresses if address.startswith(("http", "ws"))}


def tab_to(page: webdriver.Chrome, selector: str, most: int = 40) -> WebElement:
    """Press TAB until what matches `selector` has the focus, and return it."""
    for _ in range(most):
        ActionChains(page).send_keys(Keys.TAB).perform()
        if page.execute_script("return document.activeElement.matches(arguments[0])", selector):
            return page.switch_to.active_element
    raise AssertionError(f"{selector} cannot be reached with {most} presses of TAB")


def look(page: webdriver.Chrome, scheme: str, width: int = WIDTHS["desktop"]) -> None:
    """Show the page as somebody with this colour scheme and width of screen sees it."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < WIDTHS["desktop"]}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    page.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(arguments[0], 200)))")


def look_as_usual(page: webdriver.Chrome) -> None:
    """Undo `look`."""
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def picture(page: webdriver.Chrome, name: str) -> None:
    """Keep a picture of the whole page in the folder that LSGMER_SCREENSHOTS names, if it does."""
    if folder := os.environ.get("LSGMER_SCREENSHOTS"):
        taken = page.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "format": "png"})
        (Path(folder) / f"{name}.png").write_bytes(base64.b64decode(taken["data"]))


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
