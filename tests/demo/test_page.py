"""The page without a server, in a headless Chromium whose network is cut: it judges as the library does.

Skipped where no Chromium is installed. Screenshots go to the folder that ANOMALAE_SCREENSHOTS names.
"""

from __future__ import annotations

import base64
import functools
import http.server
import io
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anomalae import Detector
from anomalae.demo import write_demo
from anomalae.images.inputs import read_inputs
from anomalae.images.lost import LostInkError, to_canonical
from tests.cli import parsed
from tests.drawing import (
    BAR,
    CHROMIUM,
    ON_SCREENS,
    THREE,
    arc,
    axe,
    browser,
    canvas,
    detectors,
    draw,
    drop,
    settled,
)

__all__ = ["browser", "detectors"]  # fixtures

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")

SIDE = 280


@pytest.fixture(scope="module")
def place(detectors, digits, tmp_path_factory) -> Path:
    """A folder with a demo of one file, as the command line makes it, and one in parts, of a VAE."""
    folder = tmp_path_factory.mktemp("demo")
    detectors["plain"].save(folder / "plain")
    np.save(folder / "images.npy", digits.test.images[:20])
    words = ("--run", folder / "plain", "--images", folder / "images.npy", "--json")
    document = parsed("demo", folder / "demo.html", *words)
    assert document["files"] == [str(folder / "demo.html")]
    assert document["bytes"] == (folder / "demo.html").stat().st_size < 40_000_000
    assert document["n_verdicts"] == 0
    dense = detectors["dense"]
    dense.calibrate(digits.test.images[digits.test.labels == 3], "mine")
    written, _ = write_demo(dense, folder / "parts", digits.test.images[:20], run="dense", calibration="mine")
    assert sorted(file.name for file in written) == sorted(path.name for path in (folder / "parts").iterdir())
    return folder


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture(scope="module")
def space(place) -> Iterator[str]:
    """The address of a web space that holds the parts."""
    handler = functools.partial(Quiet, directory=str(place / "parts"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def opened(browser: Any, address: str, **more: Any) -> Iterator[Any]:
    """A page at this address; it asks for nothing else, and says nothing."""
    context = browser.new_context(
        **{"viewport": {"width": 1280, "height": 900}, "offline": address.startswith("file:"), **more}
    )
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    yield page
    page.wait_for_timeout(50)
    own = (address, "data:") if address.startswith("http") else ("data:",)
    assert {url for url in asked if not url.startswith(own)} <= {address}
    assert said == []
    context.close()


@pytest.fixture
def page(browser, place) -> Iterator[Any]:
    yield from opened(browser, (place / "demo.html").as_uri())


@pytest.fixture(scope="module")
def many(browser, place) -> Iterator[Any]:
    """A page that is asked more than once."""
    yield from opened(browser, (place / "demo.html").as_uri())


def pixels(page: Any, name: str) -> np.ndarray:
    source = page.get_attribute(name, "src")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB"))


def of_library(png: bytes) -> np.ndarray:
    """The canonical image that the library makes of a canvas."""
    Path("drawn.png").write_bytes(png)
    (entry,) = read_inputs(["drawn.png"], polarity="light")
    assert entry.image is not None
    return entry.image


def apart(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def check(page: Any, detector: Detector, calibration: str | None = None) -> int:
    """The page shows what the library makes of its canvas; returns how far the canonical images are apart."""
    score = settled(page)
    image = of_library(canvas(page))
    seen = pixels(page, "#picture-canonical")[..., 0]
    # The library's verdict of what the page judged, and of what the library itself made of the canvas.
    assert score == pytest.approx(float(detector.score(seen)[0]), rel=1e-4)
    p_value = float(detector.p_values(seen, calibration=calibration)[0])
    assert f"p = {p_value:.3g}" in page.inner_text("#verdict")
    flagged = page.get_attribute("body", "data-flagged") == "true"
    ours = [bool(detector.flags(each, calibration=calibration)[0]) for each in (seen, image)]
    assert ours == [flagged, flagged]
    return apart(image, seen)


def test_it_opens_without_a_network_and_judges_as_the_library(page, detectors):
    detector = detectors["plain"]
    draw(page, THREE)
    assert check(page, detector) <= 1
    image = pixels(page, "#picture-canonical")[..., 0]
    assert apart(pixels(page, "#picture-seen")[..., 0], np.rint(detector.seen(image)[0] * 255)) <= 1
    rebuilt = np.rint(detector.reconstruct(image)[0] * 255)
    assert apart(pixels(page, "#picture-reconstruction")[..., 0], rebuilt) <= 1
    from anomalae import plots

    heat = plots.heat(detector.heatmap(image)[0], plots.heat_scale(detector.heatmap_level()))
    # A term at the border of two colours may have either.
    assert np.abs(pixels(page, "#picture-heatmap").astype(int) - heat).max() <= 6
    assert page.locator("#nearest-pictures img").count() == 3
    nearest = detector.nearest(image)[0]
    for i in range(3):
        shown = pixels(page, f"#nearest-pictures img:nth-child({i + 1})")[..., 0]
        np.testing.assert_array_equal(shown, nearest[i])
    before = page.get_attribute("body", "data-score")
    draw(page, BAR)
    assert check(page, detector) <= 1
    assert page.get_attribute("body", "data-score") != before
    page.keyboard.press("Control+z")
    settled(page)
    assert page.get_attribute("body", "data-score") == before
    assert "Drawings alone are judged here" in page.inner_text("#hint")
    assert "chosen" not in page.inner_text("#hint")


def test_a_dropped_file_is_refused_in_a_line_and_the_drawing_stays(page, images):
    draw(page, THREE)
    before = settled(page)
    Image.fromarray(images[0]).save("digit.png")
    drop(page, Path("digit.png"))
    page.wait_for_selector("body[data-state=problem]")
    assert page.inner_text("#problem") == (
        "digit.png: this page judges drawings alone; pictures are read by anomalae score and anomalae serve."
    )
    page.keyboard.press("Control+z")
    draw(page, THREE)
    assert settled(page) == before
    assert page.locator("#problem").is_hidden()


def test_ink_that_is_lost_is_said(page):
    page.fill("#width", "40")
    # All is ink but a hole, which is like dark ink on light paper.
    places = [*range(0, 101, 20), *range(180, 281, 20)]
    draw(page, [[(0, y), (280, y)] for y in places] + [[(x, 0), (x, 280)] for x in places])
    page.wait_for_selector("body[data-state=problem]:not([data-asking])")
    assert "turned blank though it has ink" in page.inner_text("#problem")
    # Nor does the verdict of what was there before stay.
    assert page.inner_text("#verdict").strip() == "No verdict"
    assert page.locator("#pictures img:visible").count() == 0
    page.click("#licences summary")
    page.wait_for_function("() => document.querySelector('#licences pre').textContent.length > 1000")
    assert "MIT License" in page.inner_text("#licences pre")


def test_the_parts_judge_from_a_web_space_and_decode_where_one_drags(browser, place, space, detectors):
    for page in opened(browser, space):
        draw(page, THREE)
        assert check(page, detectors["dense"], "mine") <= 1
        assert "Its threshold is that of mine." in page.inner_text("#about")
        page.wait_for_selector("#decoded[src]")
        box = page.locator("#plane").bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.2)
        page.mouse.up()
        page.focus("#plane")
        page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(500)
        code = [float(place) for place in page.get_attribute("#plane", "aria-valuetext").split(", ")]
        assert min(code) > 2
        decoded = np.rint(detectors["dense"].decode([code])[0] * 255)
        # The page tells two digits of the place.
        assert np.abs(pixels(page, "#decoded")[..., 0] - decoded).mean() < 2
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto((place / "parts" / "index.html").as_uri())
    draw(page, THREE)
    page.wait_for_selector("body[data-state=problem]")
    assert "this folder is for a web server, a demo of one file opens by itself" in page.inner_text(
        "#problem"
    )
    context.close()


# --- the canonical image ------------------------------------------------------------------------------------------

CANONICAL = """(text) => {
    const letters = atob(text), size = 280 * 280, images = [];
    for (let start = 0; start < letters.length; start += size) {
        const levels = Uint8Array.from({ length: size }, (_, i) => letters.charCodeAt(start + i));
        const image = anomalae.canonical({ height: 280, width: 280, levels }, "auto");
        images.push(image && [...image]);
    }
    return images;
}"""


def canvases(digits: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Digits scaled and shifted, a third of them partly beyond the edges, uint8 (n, 280, 280)."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(n):
        side = int(rng.integers(60, 330))
        digit = Image.fromarray(digits[rng.integers(len(digits))]).resize(
            (side, side), Image.Resampling.BICUBIC
        )
        room = SIDE - side
        low, high = (min(0, room), max(0, room)) if number % 3 else (-side // 3, SIDE - 2 * side // 3)
        place = Image.new("L", (SIDE, SIDE))
        place.paste(digit, tuple(int(rng.integers(low, high + 1)) for _ in range(2)))
        made.append(np.asarray(place))
    return np.stack(made)


def both(page: Any, made: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Canonical images of canvases, the page's and the library's, but for those that both call lost."""
    pairs = []
    for place, their in zip(
        made, page.evaluate(CANONICAL, base64.b64encode(made.tobytes()).decode()), strict=True
    ):
        try:
            ours = to_canonical(place, "auto", "light")
        except LostInkError:
            assert their is None
            continue
        assert their is not None
        pairs.append((np.array(their, np.uint8).reshape(28, 28), ours))
    theirs, ours = zip(*pairs, strict=True)
    return np.stack(theirs), np.stack(ours)


def test_the_canonical_image_is_the_library_s(many, digits):
    odd = np.zeros((8, SIDE, SIDE), np.uint8)
    odd[0, 100:180, 120:130] = 255  # small
    odd[1, 3:10, 3:10] = 255  # a dot in a corner
    odd[2, :, 100:180] = 255  # from edge to edge
    odd[3, ::2] = 255  # stripes
    odd[4, 50:230, 50:230] = 255  # a block
    odd[5] = 255  # no paper
    odd[6, 140:143, 140:143] = 255  # a speck
    odd[7, 100:180, 120:140] = 12  # faint
    made = np.concatenate([canvases(digits.test.images, 20, 1), odd])
    theirs, ours = both(many, made)
    assert apart(theirs, ours) <= 1
    assert (theirs == ours).all((1, 2)).mean() > 0.8


@pytest.mark.slow
def test_900_canvases_have_the_library_s_canonical_image_and_verdict(many, digits, detectors):
    detector = detectors["plain"]
    for part in np.array_split(canvases(digits.test.images, 900, 2), 9):
        theirs, ours = both(many, part)
        assert apart(theirs, ours) <= 1
        np.testing.assert_array_equal(detector.flags(theirs), detector.flags(ours))


@pytest.mark.slow
def test_100_drawings_by_the_mouse_have_the_library_s_canonical_image_and_verdict(many, detectors):
    rng = np.random.default_rng(0)
    for number in range(100):
        many.fill("#width", str(int(rng.integers(8, 41))))
        x, y = rng.uniform(90, 190, 2)
        strokes = [
            arc(x, y, *rng.uniform(15, 90, 2), *sorted(rng.uniform(-180, 400, 2)))
            for _ in range(int(rng.integers(1, 4)))
        ]
        draw(many, strokes + (BAR if number % 5 == 0 else []))
        assert check(many, detectors["plain"]) <= 1
        many.click("#clear")
        many.wait_for_selector("body[data-state=empty]:not([data-asking])")


# --- for everybody ------------------------------------------------------------------------------------------------


@ON_SCREENS
def test_it_fits_and_is_for_everybody(browser, place, width, height, scheme):
    size = {"width": width, "height": height}
    file = (place / "demo.html").as_uri()
    for page in opened(browser, file, viewport=size, color_scheme=scheme, bypass_csp=True):
        page.locator("#canvas").scroll_into_view_if_needed()
        draw(page, THREE)
        settled(page)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        found = axe.Axe().run(page)
        bad = [one["id"] for one in found.response["violations"] if one["impact"] in ("serious", "critical")]
        assert bad == []
        if folder := os.environ.get("ANOMALAE_SCREENSHOTS"):
            page.screenshot(path=Path(folder, f"demo-{width}-{scheme}.png"), full_page=True)


def test_the_page_allows_nothing_from_elsewhere(place):
    page = (place / "demo.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src &#x27;none&#x27;; ")
    assert "connect-src" not in policy
    assert "unsafe-inline" not in policy
    facts = json.loads(re.search(r'id="facts">(.*?)</script>', page)[1])
    assert (facts["run"], facts["normal"], facts["latent_dim"]) == ("plain", [], None)
