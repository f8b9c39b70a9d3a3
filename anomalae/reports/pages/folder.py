"""The folder of a report: written so that nothing but an earlier report of ours is overwritten."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anomalae import files, plots
from anomalae.errors import BundleError
from anomalae.reports.pages.figures import Drawn
from anomalae.reports.pages.page import GENERATOR
from anomalae.text import printable

PAGE, METRICS, SCORES = "index.html", "metrics.json", "scores.csv"


def write(
    folder: Path,
    page: str,
    drawn: Mapping[str, Drawn],
    metrics: Mapping[str, Any],
    texts: Mapping[str, str],
) -> list[Path]:
    """Write everything, the page first: it marks the folder as ours. What an earlier report left over is removed.

    texts: further files by name.
    """
    names = [f"{name}{suffix}" for name in drawn for suffix in (".svg", ".png")]
    names = [PAGE, METRICS, *texts, *names]
    claim(folder, names)
    earlier = files_of(folder)
    files.write_bytes(folder / PAGE, page.encode("utf-8", "backslashreplace"))
    files.write_json(folder / METRICS, {**metrics, "files": names})
    for name, text in texts.items():
        files.write_bytes(folder / name, text.encode("utf-8", "backslashreplace"))
    for name, drawing in drawn.items():
        for suffix in (".svg", ".png"):
            plots.save(drawing.figure, folder / f"{name}{suffix}")
    for name in earlier:
        if name not in names:
            (folder / name).unlink(missing_ok=True)
    return [folder / name for name in names]


def files_of(folder: Path) -> list[str]:
    """Return names of the files that the report in this folder wrote; empty where there is no report of ours."""
    if not is_ours(folder) or not (folder / METRICS).is_file():
        return []
    metrics = files.read_json(folder / METRICS)
    names = metrics.get("files") if isinstance(metrics, dict) else None
    return [name for name in names if isinstance(name, str) and Path(name).name == name] if names else []


def is_ours(folder: Path) -> bool:
    """Tell whether the page in this folder is a report of ours."""
    return (folder / PAGE).is_file() and GENERATOR in _start(folder / PAGE)


def claim(folder: Path, names: list[str]) -> None:
    """Make the folder, or check that nothing but an earlier report of ours would be overwritten; else BundleError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = [] if is_ours(folder) else [name for name in names if (folder / name).exists()]
    except OSError as error:
        raise BundleError(f"{folder}: cannot be written: {error.strerror}") from None
    if taken:
        raise BundleError(f"{folder / taken[0]}: exists already and is not of a report", advice="output")


def check_source(output: Path, scores: Path) -> None:
    """Raise BundleError where the report of other scored images stands: files of one name must not share a report.

    output: folder of the report.
    scores: the file it shall be made of.
    """
    if not is_ours(output) or not (output / METRICS).is_file():
        return
    source = files.read_json(output / METRICS).get("source")
    if source not in (None, printable(str(scores.resolve()))):
        raise BundleError(f"{output}: holds the report of {source}", advice="output")


def _start(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(1000)
