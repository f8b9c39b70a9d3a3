"""The page on which one draws, driven in a headless Chromium by mouse events; and detectors that judge on it."""

from __future__ import annotations

import base64
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anomalae import Detector

sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright here: pip install '.[dev]'")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="no axe-core here: pip install '.[dev]'"
)

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def detectors(digits) -> dict[str, Detector]:
    split = digits.one_class(normal=[3], seed=0)
    plain = Detector(epochs=6, hidden=(64,), neighbours=3).fit(split.train.images, conformal="split")
    dense = Detector(model="vae", latent_dim=2, epochs=4, hidden=(64,), samples=2)
    dense.fit(split.train.images, conformal="split")
    return {"plain": plain, "dense": dense}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        browser.close()


def arc(x: float, y: float, rx: float, ry: float, begin: float, end: float) -> list[tuple[float, float]]:
    angles = [math.radians(begin + (end - begin) * i / 12) for i in range(13)]
    return [(x + rx * math.cos(angle), y + ry * math.sin(angle)) for angle in angles]


THREE = [arc(140, 95, 48, 42, -150, 85) + arc(140, 185, 56, 48, -85, 150)]
BAR = [[(60, 40), (60, 240)]]
# A phone and a desk, each by day and by night.
ON_SCREENS = pytest.mark.parametrize(
    ("width", "height", "scheme"),
    [
        (390, 844, "dark"),
        (1280, 900, "light"),
        pytest.param(390, 844, "light", marks=pytest.mark.slow),
        pytest.param(1280, 900, "dark", marks=pytest.mark.slow),
    ],
)


def draw(page: Any, strokes: list[list[tuple[float, float]]]) -> None:
    """Draw with the mouse; places are those of a canvas of 280 x 280."""
    box = page.locator("#canvas").bounding_box()
    side = box["width"] / 280
    for points in strokes:
        places = [(box["x"] + side * x, box["y"] + side * y) for x, y in points]
        page.mouse.move(*places[0])
        page.mouse.down()
        for point in places[1:]:
            page.mouse.move(*point)
        page.mouse.up()


def settled(page: Any) -> float:
    """The score that the page shows once nothing is asked any more."""
    page.wait_for_selector("body[data-state=judged]:not([data-asking])")
    return float(page.get_attribute("body", "data-score"))


def canvas(page: Any) -> bytes:
    """The PNG that the canvas holds."""
    session = page.context.new_cdp_session(page)
    found = session.send(
        "Runtime.evaluate", {"expression": "document.getElementById('canvas').toDataURL('image/png')"}
    )
    return base64.b64decode(found["result"]["value"].partition(",")[2])


def drop(page: Any, *paths: Path) -> None:
    """Drag files from outside over the canvas and let them fall, as the browser does for a person."""
    box = page.locator("#canvas").bounding_box()
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path.resolve()) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        session.send("Input.dispatchDragEvent", {"type": kind, **at, "data": data})


def paste(page: Any, png: bytes) -> None:
    """Put a picture on the clipboard, and paste it by its keys. The page needs leave to write to the clipboard."""
    page.evaluate(
        """async (text) => {
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            const picture = new Blob([bytes], { type: "image/png" });
            await navigator.clipboard.write([new ClipboardItem({ "image/png": picture })]);
        }""",
        base64.b64encode(png).decode(),
    )
    page.keyboard.press("Control+v")
