"""The folder of a report: written so that nothing but an earlier report of ours is overwritten."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anomalae import bundle, plots
from anomalae.errors import BundleError
from anomalae.report.figures import NAMES, Drawn
from anomalae.report.page import GENERATOR

PAGE, METRICS, SCORES = "index.html", "metrics.json", "scores.csv"


def write(
    folder: Path,
    page: str,
    drawn: Mapping[str, Drawn],
    metrics: Mapping[str, Any],
    scores: str | None,
) -> list[Path]:
    """Write everything, the page first: it marks the folder as ours. Figures of an earlier report are removed."""
    names = [f"{name}{suffix}" for name in drawn for suffix in (".svg", ".png")]
    names = [PAGE, METRICS, *([SCORES] if scores is not None else []), *names]
    claim(folder, names)
    bundle.write_bytes(folder / PAGE, page.encode("utf-8", "backslashreplace"))
    bundle.write_json(folder / METRICS, metrics)
    if scores is not None:
        bundle.write_bytes(folder / SCORES, scores.encode("utf-8", "backslashreplace"))
    for name, one in drawn.items():
        for suffix in (".svg", ".png"):
            plots.save(one.figure, folder / f"{name}{suffix}")
    for name in (f"{name}{suffix}" for name in NAMES for suffix in (".svg", ".png")):
        if name not in names:
            (folder / name).unlink(missing_ok=True)
    return [folder / name for name in names]


def claim(folder: Path, names: list[str]) -> None:
    """Make the folder, or check that nothing but an earlier report of ours would be overwritten; else BundleError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ours = (folder / PAGE).is_file() and GENERATOR in _start(folder / PAGE)
        taken = [] if ours else [name for name in names if (folder / name).exists()]
    except OSError as error:
        raise BundleError(f"{folder}: cannot be written: {error.strerror}") from None
    if taken:
        raise BundleError(
            f"{folder / taken[0]}: exists already and is not of a report; choose another --output"
        )


def _start(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(1000)
