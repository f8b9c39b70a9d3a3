"""How long a demo takes, from the stroke to the picture, in a headless Chromium.

    anomalae demo --run mnist-3-ae demo.html
    python benchmarks/demo.py demo.html        # --strokes 3

Digits are drawn by mouse events. Printed as JSON, times in milliseconds: `bytes` of the page; `ready`, from opening it
to the first verdict; `stroke`, the median from a move of the pen to the frame after its verdict is shown; `cpu`, what
the page's main thread takes for a verdict, which other work on the machine changes less. Network and GPU are off.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from tests.drawing import CHROMIUM, THREE, draw, settled, sync_api

# Times from a move of the pen to the frame after its verdict.
WATCH = """() => {
    window.times = [];
    let moved = null;
    document.getElementById("canvas").addEventListener("pointermove", () => (moved = performance.now()), true);
    new MutationObserver(() => requestAnimationFrame(() => window.times.push(performance.now() - moved)))
        .observe(document.body, { attributes: true, attributeFilter: ["data-score"] });
}"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("page", type=Path)
    arguments.add_argument("--strokes", type=int, default=3)
    asked = arguments.parse_args()
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        print(json.dumps(measured(browser, asked.page, asked.strokes)))
        browser.close()


def measured(browser: Any, path: Path, strokes: int) -> dict[str, float]:
    """Measure a page."""
    page = browser.new_context(offline=True, viewport={"width": 1280, "height": 900}).new_page()
    began = time.perf_counter()
    page.goto(path.absolute().as_uri())
    draw(page, THREE)
    settled(page)
    ready = 1000 * (time.perf_counter() - began)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    # What is compiled on the way is not what one waits for later.
    slowly(page, 1)
    page.evaluate(WATCH)
    before = busy(session)
    slowly(page, strokes)
    times = page.evaluate("() => window.times")
    cpu = 1000 * (busy(session) - before) / len(times)
    return {
        "bytes": path.stat().st_size,
        "ready": round(ready),
        "verdicts": len(times),
        "stroke": round(statistics.median(times), 1),
        "cpu": round(cpu, 1),
    }


def slowly(page: Any, strokes: int) -> None:
    """Draw so that every move is judged before the next."""
    box = page.locator("#canvas").bounding_box()
    side = box["width"] / 280
    for _ in range(strokes):
        page.click("#clear")
        for number, (x, y) in enumerate(THREE[0]):
            page.mouse.move(box["x"] + side * x, box["y"] + side * y)
            if number == 0:
                page.mouse.down()
            settled(page)
        page.mouse.up()
        settled(page)


def busy(session: Any) -> float:
    """Seconds of processor that tasks of the page's main thread have taken."""
    metrics = {entry["name"]: entry["value"] for entry in session.send("Performance.getMetrics")["metrics"]}
    return float(metrics["TaskDuration"])


if __name__ == "__main__":
    main()
