"""A demo is made of a detector, and written: one file, or a folder of parts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from anomalae import files, plots, runs
from anomalae.demo.assembling import (
    DECODER,
    GENERATOR,
    LICENCES,
    MODEL,
    PAGE,
    RUNTIME,
    SCRIPT,
    STYLE,
    shared,
    thin_page,
    whole_page,
)
from anomalae.detectors.detector import Detector
from anomalae.detectors.export import Comparison, exported, exported_decoder
from anomalae.detectors.export.names import TOLERANCE
from anomalae.errors import BundleError, ConfigError
from anomalae.settings import DEFAULT_ALPHA
from anomalae.text import count

# Most bytes of a page that is one file.
MOST_BYTES = 40_000_000
# Colours of a heatmap, from ink that is missing to ink that was not expected.
COLOURS = 256
# Of a page, enough to see whose it is.
_START = 4096


def is_page(path: Path) -> bool:
    """Whether a demo at this path is one file, and not a folder of parts."""
    return path.suffix.lower() in (".html", ".htm")


def write_demo(
    detector: Detector,
    path: str | Path,
    images: np.ndarray,
    *,
    source: str = "arrays",
    rule: str | None = None,
    alpha: float = DEFAULT_ALPHA,
    calibration: str | None = None,
    run: str = "",
    tolerance: float = TOLERANCE,
    on_scored: Callable[[int], None] = lambda done: None,
) -> tuple[list[Path], Comparison]:
    """Write the page on which one draws, with a detector as an ONNX model, if its verdicts are the detector's.

    path: of one file, `.html`, that opens by itself; or of a folder, whose parts a web server sends. What is there is
        replaced only if it is a demo, and stays as it is where the model is refused.

    Other arguments are those of `anomalae.detectors.export.export`.

    Returns the files, the page first, and how far the verdicts differ. Raises what `export` does; ConfigError where
    drawings are no pictures that the detector takes; BundleError for a page of more than MOST_BYTES, for a file or
    files of the same names in a folder that are not of a demo, and for the folder of a run.
    """
    path = Path(path)
    if detector.data.preprocess == "none":
        raise ConfigError(
            f"{run or 'detector'}: takes pictures of 28 x 28 alone, as they are; a drawing is larger"
        )

    def made(check: Callable[[dict[str, bytes]], object]) -> tuple[dict[str, bytes], Comparison]:
        """Return the parts that are of this detector; `check` is given them before the model is compared."""
        decoder = {DECODER: exported_decoder(detector)} if detector.settings.kind.density else {}
        model, compared = exported(
            detector,
            images,
            source=source,
            rule=rule,
            alpha=alpha,
            calibration=calibration,
            run=run,
            tolerance=tolerance,
            on_made=lambda model: check({MODEL: model, **decoder}),
            on_scored=on_scored,
            into=str(path),
        )
        return {MODEL: model, **decoder}, compared

    facts = _facts(detector, detector.check_rule(rule), alpha, calibration, run)
    return _write_page(path, facts, made) if is_page(path) else _write_folder(path, facts, made)


# Given what looks at the parts before the model is compared, it returns them and how far the verdicts differ.
_Made = Callable[[Callable[[dict[str, bytes]], object]], tuple[dict[str, bytes], Comparison]]


def _write_page(path: Path, facts: dict[str, Any], made: _Made) -> tuple[list[Path], Comparison]:
    """Write the page as one file."""
    if path.is_dir():
        raise BundleError(f"{path}: is a folder")
    if path.exists() and not _is_ours(path):
        raise BundleError(f"{path}: exists already and is not of a demo")

    def page(parts: dict[str, bytes]) -> bytes:
        page = whole_page(facts, {**parts, RUNTIME: shared(RUNTIME), LICENCES: shared(LICENCES)})
        if len(page) > MOST_BYTES:
            raise BundleError(
                f"{path}: not written: the page would have {count(len(page))} bytes, at most {count(MOST_BYTES)} are "
                "one file; a folder may have more"
            )
        return page

    with files.replacing(path) as file:
        parts, compared = made(page)
        file.write(page(parts))
    return [path], compared


def _write_folder(folder: Path, facts: dict[str, Any], made: _Made) -> tuple[list[Path], Comparison]:
    """Write the page and its parts."""
    decoder = [] if facts["latent_dim"] is None else [DECODER]
    names = [PAGE, STYLE, SCRIPT, RUNTIME, LICENCES, MODEL, *decoder]
    with _claimed(folder):
        # The last takes its place first: the page marks the folder as ours.
        with files.replacing_all(folder / name for name in reversed(names)) as write:
            parts, compared = made(lambda parts: None)
            fixed = {PAGE: thin_page(facts), **{name: shared(name) for name in names[1:5]}}
            for name, part in {**fixed, **parts}.items():
                write(folder / name, part)
        if not decoder:
            (folder / DECODER).unlink(missing_ok=True)
    return [folder / name for name in names], compared


@contextlib.contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Make the folder, or see that it holds a demo or none of its files; a new one that stays empty goes."""
    names = (PAGE, STYLE, SCRIPT, RUNTIME, LICENCES, MODEL, DECODER)
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    if (folder / runs.CONFIG).exists():
        raise BundleError(f"{folder}: is the folder of a run")
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            is_ours = _is_ours(folder / PAGE)
        except OSError as error:
            raise BundleError(f"{folder}: cannot be written: {error.strerror}") from None
        for path in (folder / name for name in names):
            if path.is_dir() or (path.exists() and not is_ours):
                raise BundleError(f"{path}: exists already and is not of a demo")
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for place in new:
                place.rmdir()
        raise


def _is_ours(page: Path) -> bool:
    if not page.is_file():
        return False
    with page.open("rb") as file:
        return GENERATOR.encode() in file.read(_START)


def _facts(detector: Detector, rule: str, alpha: float, calibration: str | None, run: str) -> dict[str, Any]:
    """Return what the page is told of the run, JSON-able."""
    data, settings = detector.data, detector.settings
    colours = plots.heat(np.linspace(-1, 1, COLOURS)[None], 1.0)[0]
    return {
        "run": run,
        "dataset": data.name,
        "normal": [str(label) for label in data.normal],
        "model": settings.model,
        "score": rule,
        "alpha": alpha,
        "calibration": calibration,
        "calibrations": [],
        "folds": data.folds if calibration is None else 0,
        "latent_dim": settings.latent_dim if settings.kind.density else None,
        "preprocess": data.preprocess,
        "heat_note": detector.heatmap_note(rule),
        "colours": colours.tobytes().hex(),
    }
