"""Reports in a real headless Chromium: quiet, judging as `Evaluation` does, usable by keyboard, in light and dark.

Skipped where no Chromium is installed. Screenshots go to the folder that ANOMALAE_SCREENSHOTS names.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomalae import plots
from anomalae.evaluation.metrics import Evaluation, evaluate
from anomalae.reports.content import ComparisonReport, RunReport, ScoredReport, ScoredRow
from anomalae.reports.pages import render, words
from tests.reports.pages import run_report, scored

sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright here: pip install '.[dev]'")
pytest.importorskip("axe_playwright_python", reason="no axe-core here: pip install '.[dev]'")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")

EVIL = "</script><script>alert(1)</script>"
SIZES = {390: 844, 1280: 900}


@pytest.fixture(scope="module")
def report() -> RunReport:
    """A run of ten classes, one of them with a name that is no harmless text."""
    labels = np.array(["0"] * 300 + [EVIL] * 100 + [str(i) for i in range(2, 10) for _ in range(100)])
    return run_report(scored(300, 900, labels, seed=1), n_pictures=6, anomalous=(EVIL, *"23456789"))


@pytest.fixture(scope="module")
def pages(report: RunReport, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The addresses of a report of each kind."""
    place = tmp_path_factory.mktemp("pages")
    rows = [ScoredRow(f"images/{EVIL}{i}.png", i / 40, 1 - i / 40, i > 30, "") for i in range(40)]
    rows.append(ScoredRow("broken.png", None, None, False, "broken.png: not an image"))
    patch = pytest.MonkeyPatch()
    patch.setattr(plots, "save", lambda figure, path: None)  # the pages hold what they show
    files = {
        "run": render.write_run(report, place / "run"),
        "scored": render.write_scored(
            ScoredReport(
                report.trained, "scores.csv", tuple(rows), 0.75, None, report.galleries, ("One is missing.",)
            ),
            place / "scored",
        ),
        "comparison": render.write_comparison(
            ComparisonReport((report, report), ("Data set: one has a, the other b.",), ()),
            place / "comparison",
        ),
        "unjudged": render.write_run(
            run_report(scored(30, 40, threshold=None, p_values=None)), place / "unjudged"
        ),
    }
    patch.undo()
    return {name: found[0].as_uri() for name, found in files.items()}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture
def show(browser: Any, pages: dict[str, str]) -> Iterator[Any]:
    """Open a report of this kind; whatever it complains of or asks for is kept in `.noise` of the page."""
    contexts = []

    def open_page(kind: str, width: int = 1280, scheme: str = "light") -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": SIZES[width]},
            color_scheme=scheme,
            offline=True,
            reduced_motion="reduce",
        )
        contexts.append(context)
        page = context.new_page()
        page.noise = []
        page.on("console", lambda message: page.noise.append(message.text))
        page.on("pageerror", lambda error: page.noise.append(str(error)))
        page.on("dialog", lambda dialog: page.noise.append("a dialog"))
        page.on(
            "request", lambda request: page.noise.append(request.url) if "data:" not in request.url else None
        )
        page.goto(pages[kind])
        return page

    yield open_page
    for context in contexts:
        context.close()


def judged(report: RunReport, threshold: float) -> Evaluation:
    e = report.evaluation
    return evaluate(e.scores, e.is_anomaly, e.labels, threshold=threshold)


@pytest.mark.parametrize("kind", ["run", "scored", "comparison"])
def test_a_page_is_quiet_and_asks_for_nothing(show: Any, pages: dict[str, str], kind: str):
    page = show(kind)
    assert page.noise == [pages[kind]]  # itself
    names = page.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
    assert [name for name in names if not name.startswith("data:")] == []


def test_the_slider_judges_as_the_evaluation_does(show: Any, report: RunReport):
    page = show("run")
    slider = page.locator("#threshold")
    slider.focus()
    e = report.evaluation
    assert float(slider.get_attribute("data-threshold")) == e.threshold
    for keys in (["ArrowLeft"] * 3, ["PageDown"] * 3, ["Home"], ["PageUp"] * 4, ["End"]):
        for key in keys:
            page.keyboard.press(key)
        threshold = float(slider.get_attribute("data-threshold"))
        at = judged(report, threshold)
        assert page.text_content("[data-live=false-alarms]") == words.percent(at.false_alarm_rate)
        assert page.text_content("[data-live=detected]") == words.percent(at.detection_rate)
        flagged = int((at.flagged & at.is_anomaly).sum())
        assert page.text_content("[data-live=detected-count]") == f"{flagged:,} of {at.n_anomalous:,}"
        assert words.percent(at.detection_rate) in slider.get_attribute("aria-valuetext")
        for row in page.locator("#classes tbody tr").all():
            own = at.labels == row.locator("th").text_content()
            assert row.locator("td").last.text_content() == words.percent(at.flagged[own].mean())
        for card in page.locator("[data-score]").all():
            is_flagged = float(card.get_attribute("data-score")) > threshold
            assert card.locator("[data-mark]").text_content() == ("flagged" if is_flagged else "not flagged")
    page.click("[data-reset]")
    assert page.text_content("[data-live=false-alarms]") == words.percent(e.false_alarm_rate)
    assert page.locator("[data-reset]").is_disabled()
    assert len(page.noise) == 1


def test_pointing_reads_a_point_of_the_curve(show: Any, report: RunReport):
    page = show("run")
    e = report.evaluation
    assert e.threshold is not None
    drawing = page.locator("[data-figure=roc]")
    drawing.scroll_into_view_if_needed()
    point = _point_at(page, e.false_alarm_rate, e.detection_rate)
    assert (point["fpr"], point["tpr"]) == (e.false_alarm_rate, e.detection_rate)
    fpr, tpr, _ = e.roc_curve()
    for at in range(5, len(fpr) - 1, len(fpr) // 6):
        point = _point_at(page, fpr[at], tpr[at])
        assert abs(point["fpr"] - fpr[at]) < 0.01
        assert abs(point["tpr"] - tpr[at]) < 0.01
        found = judged(report, float(point["threshold"]))
        assert (found.false_alarm_rate, found.detection_rate) == (point["fpr"], point["tpr"])
        text = page.text_content("[data-readout=roc]")
        assert f"{words.percent(point['fpr'])} false alarms" in text
        assert f"{words.percent(point['tpr'])} detected" in text
        assert drawing.get_attribute("aria-valuetext") == text


def test_marks_lie_where_the_figure_has_its_own(show: Any, report: RunReport):
    page = show("run")
    e = report.evaluation
    page.locator("[data-figure=roc]").scroll_into_view_if_needed()
    _point_at(page, e.false_alarm_rate, e.detection_rate)
    mark = page.evaluate("(() => { const m = document.querySelector('[data-figure=roc] .at'); "
                         "return [Number(m.getAttribute('cx')), Number(m.getAttribute('cy'))]; })()")  # fmt: skip
    drawn = page.evaluate("Array.from(document.querySelectorAll('[data-figure=roc] use'))"
                          ".map((u) => [u.x.baseVal.value, u.y.baseVal.value])")  # fmt: skip
    assert min(abs(x - mark[0]) + abs(y - mark[1]) for x, y in drawn) < 0.1


def test_a_curve_is_read_and_a_threshold_taken_by_keyboard(show: Any, report: RunReport):
    page = show("run")
    drawing = page.locator("[data-figure=roc]")
    drawing.focus()
    first = json.loads(page.get_attribute("[data-readout=roc]", "data-point"))
    e = report.evaluation
    assert (first["fpr"], first["tpr"]) == (e.false_alarm_rate, e.detection_rate)
    page.keyboard.press("ArrowRight")
    second = json.loads(page.get_attribute("[data-readout=roc]", "data-point"))
    assert second["fpr"] + second["tpr"] > first["fpr"] + first["tpr"]
    page.keyboard.press("Enter")
    at = judged(report, float(second["threshold"]))
    assert page.text_content("[data-live=false-alarms]") == words.percent(at.false_alarm_rate)
    page.keyboard.press("Home")
    assert "0.0% false alarms (FPR), 0.0% detected" in drawing.get_attribute("aria-valuetext")
    page.keyboard.press("End")
    assert "100.0% false alarms (FPR), 100.0% detected" in drawing.get_attribute("aria-valuetext")
    assert "flagging every image" in drawing.get_attribute("aria-valuetext")
    page.keyboard.press("Enter")
    assert (
        page.text_content("[data-live=false-alarms]") == page.text_content("[data-live=detected]") == "100.0%"
    )


def test_a_picture_opens_by_keyboard_and_closes(show: Any, report: RunReport):
    page = show("run")
    card = page.locator("button.card").nth(1)
    card.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog")
    assert dialog.is_visible()
    names = [one.name for one in report.galleries[0].pictures]
    assert page.text_content("#large-title") == names[1]
    sizes = page.evaluate(
        "Array.from(document.querySelectorAll('dialog img'), (i) => [i.width, i.naturalWidth])"
    )
    assert all(shown > 200 and own == 28 for shown, own in sizes)
    page.keyboard.press("ArrowRight")
    assert page.text_content("#large-title") == names[2]
    assert f"class {report.evaluation.labels[2]}" in page.text_content(".large-text")
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert page.evaluate("document.activeElement.dataset.name") == names[2]


@pytest.mark.parametrize(
    ("kind", "width", "scheme"),
    [("run", 1280, "light"), ("run", 390, "dark"), ("scored", 1280, "dark"), ("comparison", 390, "light")],
)
def test_axe_finds_no_fault(show: Any, kind: str, width: int, scheme: str):
    page = show(kind, width, scheme)
    page.evaluate((resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    faults = [(one["id"], [node["html"][:150] for node in one["nodes"]]) for one in found]
    assert faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", SIZES)
def test_screenshots(show: Any, tmp_path: Path, width: int, scheme: str):
    wanted = os.environ.get("ANOMALAE_SCREENSHOTS")
    folder = Path(wanted or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("run", "scored", "comparison") if wanted else ("run",):
        page = show(kind, width, scheme)
        assert page.evaluate("document.documentElement.scrollWidth") == width  # nothing sticks out
        page.screenshot(path=folder / f"{kind}-{width}-{scheme}.png", full_page=True)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 27)")


def test_it_prints_without_what_paper_cannot_do(show: Any):
    page = show("run", scheme="dark")
    page.emulate_media(media="print")
    assert not page.locator("[data-tuner]").is_visible()
    assert not page.locator("nav").is_visible()
    assert page.locator("[data-figure=roc] svg").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_paper_has_one_threshold(show: Any):
    page = show("run")
    rates = "Array.from(document.querySelectorAll('[data-group], [data-live]'), (one) => one.textContent)"
    own = page.evaluate(rates)
    page.locator("#threshold").focus()
    page.keyboard.press("Home")
    moved = page.evaluate(rates)
    assert moved != own
    page.evaluate(f"addEventListener('beforeprint', () => {{ window.printed = {rates}; }})")
    page.pdf(format="A4")
    assert page.evaluate("window.printed") == own
    assert page.evaluate(rates) == moved


def test_without_a_threshold_there_are_no_rates(show: Any):
    page = show("unjudged")
    for key, count in (("false-alarms", "false-alarm-count"), ("detected", "detected-count")):
        assert page.text_content(f"[data-live={key}]") == "–"
        assert page.text_content(f"[data-live={count}]") == ""
    assert page.locator("[data-group]").all_text_contents() == ["–", "–"]
    assert page.get_attribute("#threshold", "aria-valuetext") == "none: no image can be flagged"
    page.locator("#threshold").focus()
    page.keyboard.press("Home")
    assert page.text_content("[data-live=detected]") == "100.0%"
    page.click("[data-reset]")
    assert page.text_content("[data-live=detected]") == "–"


def _point_at(page: Any, fpr: float | None, tpr: float | None) -> dict[str, Any]:
    """Point where the ROC curve passes these rates; what is read there."""
    x, y = page.evaluate(
        """([fpr, tpr]) => {
            const frame = JSON.parse(document.getElementById("data").textContent).figures.roc[0];
            const box = document.querySelector("[data-figure=roc] svg").getBoundingClientRect();
            const way = (value, ends) => (value - ends[0]) / (ends[1] - ends[0]);
            return [
                box.left + box.width * (frame.box[0] + frame.box[2] * way(fpr, frame.x)),
                box.top + box.height * (frame.box[1] + frame.box[3] * (1 - way(tpr, frame.y))),
            ];
        }""",
        [fpr, tpr],
    )
    page.mouse.move(x, y)
    found: dict[str, Any] = json.loads(page.get_attribute("[data-readout=roc]", "data-point"))
    return found
