"""The page on which one draws, in a real headless Chromium, with real mouse and key events.

Skipped where no Chromium is installed. Screenshots go to the folder that ANOMALAE_SCREENSHOTS names.
"""

from __future__ import annotations

import base64
import io
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomalae.images.inputs import read_inputs
from anomalae.server.app import Served, application
from anomalae.server.connections import make_server
from anomalae.server.guards import LOOPBACK
from anomalae.server.limits import Limits
from tests.drawing import (
    BAR,
    CHROMIUM,
    ON_SCREENS,
    THREE,
    axe,
    browser,
    canvas,
    detectors,
    draw,
    drop,
    paste,
    settled,
)

__all__ = ["browser", "detectors"]  # fixtures

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")


@pytest.fixture(scope="module")
def place(detectors) -> Iterator[str]:
    app = application(Served(detectors), hosts=LOOPBACK, limits=Limits(pixels=500_000))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = make_server(app, Limits(), log_level="error")
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        server.should_exit = True
        thread.join()


@pytest.fixture
def page(browser, place) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(place)
    page.wait_for_selector("#run option", state="attached")
    yield page
    assert {url for url in asked if not url.startswith((place, "data:", "blob:"))} == set()
    assert [line for line in said if "422" not in line] == []
    page.close()


def test_a_drawn_digit_gets_the_score_of_the_library(page, detectors):
    draw(page, THREE)
    shown = settled(page)
    Path("drawn.png").write_bytes(canvas(page))
    (entry,) = read_inputs(["drawn.png"], polarity="light")
    assert shown == float(detectors["plain"].score(entry.image)[0])
    p_value = float(detectors["plain"].p_values(entry.image)[0])
    assert f"p = {p_value:.3g}" in page.inner_text("#verdict")
    assert page.inner_text("#verdict .word") == ("Does not belong" if p_value <= 0.05 else "Belongs")
    assert page.locator("#nearest-pictures img").count() == 3
    assert page.locator("#pictures img:visible").count() == 4


def test_eraser_and_undo_show_at_once_what_a_stroke_did(page):
    draw(page, THREE)
    before = settled(page)
    draw(page, BAR)
    with_bar = settled(page)
    assert with_bar != before
    page.click("#eraser")
    box = page.locator("#canvas").bounding_box()
    page.mouse.click(box["x"] + 60 * box["width"] / 280, box["y"] + 140 * box["width"] / 280)
    assert settled(page) == before
    page.keyboard.press("Control+z")
    assert settled(page) == with_bar
    page.click("#clear")
    page.wait_for_selector("body[data-state=empty]")
    assert page.inner_text("#verdict .word") == "Nothing drawn yet"


def test_the_keyboard_draws(page):
    page.focus("#canvas")
    page.keyboard.press(" ")
    for _ in range(12):
        page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")
    settled(page)
    page.keyboard.press("Delete")
    page.wait_for_selector("body[data-state=empty]")


def test_a_vae_shows_where_the_digit_lies_and_decodes_where_one_drags(page):
    page.select_option("#run", "dense")
    draw(page, THREE)
    settled(page)
    page.wait_for_selector("#decoded[src]")
    before = page.get_attribute("#decoded", "src")
    box = page.locator("#plane").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.2)
    page.mouse.up()
    page.wait_for_load_state("networkidle")
    time.sleep(0.3)
    assert page.get_attribute("#decoded", "src") != before
    u, v = map(float, page.get_attribute("#plane", "aria-valuetext").split(", "))
    assert u > 2
    assert v > 2
    page.focus("#plane")
    page.keyboard.press("ArrowLeft")
    assert float(page.get_attribute("#plane", "aria-valuenow")) == pytest.approx(u - 0.2, abs=0.011)


def test_a_chosen_file_is_judged_and_a_bad_one_refused_in_a_line(page, images, detectors):
    from PIL import Image

    Image.fromarray(images[0]).save("digit.png")
    page.set_input_files("#file", "digit.png")
    assert settled(page) == float(detectors["plain"].score(images[0])[0])
    Path("bad.png").write_bytes(b"bad")
    page.set_input_files("#file", "bad.png")
    page.wait_for_selector("body[data-state=problem]")
    assert "not an image" in page.inner_text("#problem")


def test_a_dropped_picture_is_judged_and_a_bad_one_refused_in_a_line(page, images, detectors):
    from PIL import Image

    draw(page, THREE)
    drawn = settled(page)
    before = page.get_attribute("body", "data-score")
    Image.fromarray(images[0]).save("digit.png")
    drop(page, Path("digit.png"))
    page.wait_for_selector(f"body:not([data-score='{before}'])")
    assert settled(page) == float(detectors["plain"].score(images[0])[0])
    assert "first of" not in page.inner_text("#verdict")
    assert page.locator(".board.over").count() == 0
    Path("bad.png").write_bytes(b"bad")
    drop(page, Path("bad.png"))
    page.wait_for_selector("body[data-state=problem]:not([data-asking])")
    assert page.inner_text("#problem") == "bad.png: not an image (PNG, JPEG, BMP, TIFF, WEBP, GIF, PPM)"
    assert page.inner_text("#verdict").strip() == "No verdict"
    assert page.is_visible("#empty")
    # What was there before is had again.
    page.keyboard.press("Control+z")
    assert settled(page) == float(detectors["plain"].score(images[0])[0])
    page.keyboard.press("Control+z")
    page.wait_for_selector(f"body[data-score='{before}']")
    assert settled(page) == drawn


def test_a_picture_is_pasted(page, images, detectors, place):
    from PIL import Image

    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=place)
    content = io.BytesIO()
    Image.fromarray(images[1]).save(content, "PNG")
    paste(page, content.getvalue())
    assert settled(page) == float(detectors["plain"].score(images[1])[0])
    # What is no picture changes nothing.
    page.evaluate("navigator.clipboard.writeText('words')")
    page.keyboard.press("Control+v")
    assert settled(page) == float(detectors["plain"].score(images[1])[0])


def test_of_several_images_the_first_is_judged_and_the_page_says_so(page, images, detectors):
    from PIL import Image

    np.save("ten.npy", images[:10])
    pages = [Image.fromarray(image) for image in images[2:5]]
    pages[0].save("pages.tiff", save_all=True, append_images=pages[1:])
    pages[1].save("other.png")
    pages[2].save("one.png")
    for files, first, words in (
        (["ten.npy"], 0, "The first of 10 images. p ="),
        (["pages.tiff"], 2, "The first of 3 images. p ="),
        (["other.png", "ten.npy"], 3, "The first of 2 files. p ="),
        (["ten.npy", "one.png"], 0, "The first of 10 images in the first of 2 files. p ="),
    ):
        drop(page, *map(Path, files))
        page.locator("#verdict .detail").filter(has_text=words).wait_for()
        assert settled(page) == float(detectors["plain"].score(images[first])[0])
        # It is seen, also where the browser cannot read it.
        assert page.is_hidden("#empty")
        Path("shown.png").write_bytes(canvas(page))
        shown = np.asarray(Image.open("shown.png").convert("L").resize((28, 28), Image.Resampling.BOX))
        assert np.corrcoef(shown.ravel(), images[first].ravel())[0, 1] > 0.9
    # And judged anew by another run.
    page.select_option("#run", "dense")
    page.wait_for_selector("#latent:visible")
    assert settled(page) == float(detectors["dense"].score(images[0])[0])
    assert "The first of 10 images in the first of 2 files." in page.inner_text("#verdict")


def test_the_page_leads_to_what_can_be_asked(page, place):
    page.click("#footer a")
    page.wait_for_load_state()
    assert page.url == f"{place}docs"
    assert page.inner_text("h1")


@ON_SCREENS
def test_it_fits_and_is_for_everybody(browser, place, width, height, scheme):
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=True
    )
    page = context.new_page()
    page.goto(place)
    page.wait_for_selector("#run option", state="attached")
    page.select_option("#run", "dense" if scheme == "dark" else "plain")
    page.locator("#canvas").scroll_into_view_if_needed()
    draw(page, THREE)
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = axe.Axe().run(page)
    bad = [one["id"] for one in found.response["violations"] if one["impact"] in ("serious", "critical")]
    assert bad == []
    if folder := os.environ.get("ANOMALAE_SCREENSHOTS"):
        page.screenshot(path=Path(folder, f"draw-{width}-{scheme}.png"), full_page=True)
    context.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_on_what_can_be_asked_is_for_everybody(browser, place, width):
    context = browser.new_context(viewport={"width": width, "height": 844}, bypass_csp=True)
    page, asked = context.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{place}docs")
    page.wait_for_load_state("networkidle")
    assert sorted(asked) == [f"{place}{part}" for part in ("docs", "page.css", "reference.css")]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = axe.Axe().run(page)
    assert [
        one["id"] for one in found.response["violations"] if one["impact"] in ("serious", "critical")
    ] == []
    if folder := os.environ.get("ANOMALAE_SCREENSHOTS"):
        page.screenshot(path=Path(folder, f"docs-{width}.png"), full_page=True)
    context.close()


def test_what_is_looked_at_is_what_the_library_makes(place, detectors, images):
    import httpx2 as httpx

    from tests.server.test_server import npy

    head = {"content-type": "application/octet-stream"}
    found = httpx.post(f"{place}look?run=plain", content=npy(images[5]), headers=head, timeout=60).json()
    detector = detectors["plain"]
    assert found["score"] == float(detector.score(images[5])[0])
    assert found["p_value"] == float(detector.p_values(images[5])[0])
    assert found["threshold"] == detector.threshold()
    assert len(found["nearest"]) == 3
    assert found["code"] is None

    def pixels(source: str) -> np.ndarray:
        from PIL import Image

        return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))

    np.testing.assert_array_equal(pixels(found["canonical"]), images[5])
    rebuilt = (detector.reconstruct(images[5])[0] * 255).round().astype(np.uint8)
    np.testing.assert_array_equal(pixels(found["reconstruction"]), rebuilt)
    np.testing.assert_array_equal(pixels(found["nearest"][0]), detector.nearest(images[5])[0, 0])
    vae = httpx.post(f"{place}look?run=dense", content=npy(images[5]), headers=head, timeout=60).json()
    code = detectors["dense"].encode(images[5])
    assert vae["code"] == code[0].tolist()
    answer = httpx.post(f"{place}decode?run=dense", json={"code": vae["code"]}, timeout=60).json()
    decoded = (detectors["dense"].decode(code)[0] * 255).round().astype(np.uint8)
    np.testing.assert_array_equal(pixels(answer["image"]), decoded)
    for bad in ({"code": [1]}, {"code": [1, 2, 3]}, {"code": [1e9, 0]}, {"code": "no"}, {}, {"code": []}):
        refused = httpx.post(f"{place}decode?run=dense", json=bad, timeout=60)
        assert refused.status_code == 422
        assert list(refused.json()) == ["error"]
    assert httpx.post(f"{place}look", content=b"bad", headers=head, timeout=60).status_code == 422
    assert httpx.post(f"{place}look", content=b"", headers=head, timeout=60).status_code == 422
