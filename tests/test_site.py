"""The documentation site is built strictly, names all that is public, and loads nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.test_docstrings import ROOMS, public

pytest.importorskip("mkdocs", reason="no MkDocs here: pip install '.[docs]'")

ROOT = Path(__file__).parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# What a browser fetches by itself; where a person may go by a click is another matter.
LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "object": "data"}
OUTSIDE = re.compile(r"\s*(?:[a-z]+:)?//", re.IGNORECASE)
IN_STYLES = re.compile(r"@import|url\(\s*['\"]?\s*(?:https?:)?//", re.IGNORECASE)


class Loads(HTMLParser):
    """Collects what a page loads from other places."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.classes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        address = named.get(LOADED.get(tag, ""))
        if address and OUTSIDE.match(address):
            self.outside.append(f"<{tag}> {address}")
        if IN_STYLES.search(named.get("style") or ""):
            self.outside.append(f"style of <{tag}>")
        self.classes |= set((named.get("class") or "").split())


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, *_: object) -> None:
        pass


def loads(text: str) -> Loads:
    parser = Loads()
    parser.feed(text)
    styles = re.findall(r"<style[^>]*>(.*?)</style>", text, re.DOTALL)
    parser.outside += [style[:60] for style in styles if IN_STYLES.search(style)]
    return parser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    place = tmp_path_factory.mktemp("built") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    environment.pop("RUN_NOTEBOOKS", None)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return place


def pages(site: Path) -> dict[str, str]:
    return {
        path.relative_to(site).as_posix(): path.read_text(encoding="utf-8") for path in site.rglob("*.html")
    }


def test_every_public_name_has_a_place(site):
    shown = "".join(text for name, text in pages(site).items() if name.startswith("api/"))
    places = set(re.findall(r'<h[23] id="(anomalae[\w.]*)"', shown))
    names = {name.rpartition(".")[2] for name in public()}
    assert names - {place.rpartition(".")[2] for place in places} == set()
    # A room's names stand under the room, as one imports them.
    assert {place for place in places if not place.startswith(ROOMS)} == set()


def test_nothing_is_loaded_from_elsewhere(site):
    loaded = {name: loads(text) for name, text in pages(site).items()}
    assert {name: page.outside for name, page in loaded.items() if page.outside} == {}
    styles = [path.name for path in site.rglob("*.css") if IN_STYLES.search(path.read_text(encoding="utf-8"))]
    assert styles == []
    # Material fetches the script of diagrams from elsewhere, where a page has one.
    assert [name for name, page in loaded.items() if "mermaid" in page.classes] == []
    assert (site / "search" / "search_index.json").stat().st_size > 100_000


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://cdn.example.org/a.js"></script>',
        '<link rel="stylesheet" href="//fonts.example.org/a.css">',
        '<img src="http://example.org/a.png">',
        "<style>@import 'a.css';</style>",
        '<p style="background: url(https://example.org/a.png)"></p>',
    ],
)
def test_what_is_loaded_from_elsewhere_is_seen(text):
    assert len(loads(text).outside) == 1


def test_a_docstring_becomes_markdown():
    spec = importlib.util.spec_from_file_location("house", ROOT / "docs" / "hooks" / "house.py")
    house = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(house)
    doc = "Count.\n\nimages, more: of any size.\n    Or none.\n\nNote: all.\n\n>>> count([])\n0\n\n>>> 1\n1"
    images = "- **`images`**, **`more`**: of any size.\n    Or none."
    code = "```pycon\n>>> count([])\n0\n```\n\n```pycon\n>>> 1\n1\n```"
    assert house.markdown(doc) == f"Count.\n\n{images}\n\nNote: all.\n\n{code}"


def test_notebooks_formulas_and_docstrings_are_drawn(site):
    shown = pages(site)
    for path in ROOT.glob("examples/*.ipynb"):
        assert f"examples/{path.stem}.html" in shown
    bounds = shown["examples/vae_bounds.html"]
    assert "$" not in re.sub(r"<(code|script)\b.*?</\1>", "", bounds, flags=re.DOTALL)
    assert bounds.count("<math") > 8
    # A formula at the head of a line is part of its paragraph.
    assert re.search(
        r"<li>If a new normal image.*?<math.*? is at most .*?lucky or not", shown["judging.html"], re.DOTALL
    )
    p_values = shown["api/evaluation.html"].partition('id="anomalae.evaluation.p_values"')[2]
    assert "<strong><code>scores</code></strong>: (N,), real" in p_values
    assert "<strong><code>latent_dim</code></strong>" in shown["api/index.html"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
def test_in_a_browser_the_search_finds_a_page_and_no_request_leaves(site):
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright here: pip install '.[dev]'")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    try:
        with sync_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 390, "height": 844})
            page.set_default_timeout(240_000)  # a busy machine is slow
            asked: list[str] = []
            page.on("request", lambda request: asked.append(request.url))
            for name in ("index", "tutorials/class", "examples/vae_bounds", "api/index", "numbers"):
                page.goto(f"{address}{name}.html")
                assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
            page.goto(f"{address}index.html?q=quadrature")
            page.wait_for_selector(".md-search-result__item a")
            found = page.locator(".md-search-result__item a").first.get_attribute("href")
            browser.close()
    finally:
        server.shutdown()
        server.server_close()
    assert "vae_bounds" in found
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
