"""Verdicts on inputs of any kind: each image's score, p-value and flag, an error where there is no image; heatmaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from anomalae import plots
from anomalae.detectors.detector import Detector
from anomalae.detectors.judged_rows import Judged, Row
from anomalae.errors import BundleError
from anomalae.evaluation.conformal import benjamini_hochberg, check_alpha, p_values
from anomalae.files import file_name, write_png
from anomalae.images.inputs import IMAGE_SUFFIXES, Input, read_pages
from anomalae.images.sources import Canonical
from anomalae.plots.boxes import page as draw_page
from anomalae.settings import DEFAULT_ALPHA

# Images that are scored, and drawn, at a time: as many as fit well in memory.
SCORED, DRAWN = 4096, 512


def judge(
    detector: Detector,
    inputs: Sequence[Input],
    rule: str | None = None,
    *,
    alpha: float = DEFAULT_ALPHA,
    fdr: float | None = None,
    run: str = "",
    segmented: bool = False,
    on_scored: Callable[[int], None] = lambda done: None,
) -> Judged:
    """Score inputs, and flag those that do not look like the normal images of a detector.

    detector: a fitted one.
    inputs: as `anomalae.images.inputs.read_inputs` gives them; one without an image gets a row with its error.
    rule: by which they are scored; None is the detector's own.
    alpha: false-alarm level, above 0 and below 1: flagged is what has a p-value of at most this.
    fdr: flags by Benjamini-Hochberg instead, so that at most this share of the flagged images is normal, in
        expectation; above 0 and below 1.
    run: name of the run that judges, for the record.
    segmented: whether the inputs are digits that were cut from pages, so that the rows have boxes.
    on_scored: called now and then with the number of images scored.

    Returns a row an input, in their order, and what they were judged by. Raises ConfigError for a rule that the
    detector lacks, and for an alpha or FDR out of range.

    >>> from anomalae import load_dataset
    >>> from anomalae.datasets import export
    >>> from anomalae.images.inputs import read_inputs
    >>> split = load_dataset("digits").one_class(normal=[0])
    >>> detector = Detector(epochs=2, hidden=(32,), latent_dim=8).fit(split.train.images)
    >>> inputs = list(read_inputs(export(split.test, "images", limit=5)))
    >>> [row.path for row in judge(detector, inputs).rows][:2]
    ['images/0/00009.png', 'images/1/00000.png']
    """
    rule = detector.check_rule(rule)
    check_alpha(alpha)
    if fdr is not None:
        benjamini_hochberg([], fdr)
    rows = [Row(entry.name, None, None, None, entry.error, entry.box) for entry in inputs]
    there = [(place, entry.image) for place, entry in enumerate(inputs) if entry.image is not None]
    if there:
        scores = _scores(detector, [image for _, image in there], rule, on_scored)
        ps = p_values(scores, detector.calibration_scores(rule))
        flags = ps <= alpha if fdr is None else benjamini_hochberg(ps, fdr)
        for (place, _), score, p_value, flag in zip(there, scores, ps, flags, strict=True):
            rows[place] = replace(rows[place], score=float(score), p_value=float(p_value), flagged=bool(flag))
    threshold = detector.threshold(alpha, rule) if fdr is None else None
    return Judged(run, rule, alpha if fdr is None else None, fdr, threshold, rows, segmented)


def write_heatmaps(
    folder: Path,
    detector: Detector,
    inputs: Sequence[Input],
    rule: str | None = None,
    *,
    alpha: float = DEFAULT_ALPHA,
    on_drawn: Callable[[int], None] = lambda done: None,
) -> list[Path]:
    """Draw each image, its reconstruction and where they differ into `00017_name.png`.

    The row's number keeps apart what has the same name in different folders.

    folder: is made where it is missing.
    detector, inputs, rule: as for `judge`; what has no image is passed over.
    alpha: false-alarm level that sets the colour scale.
    on_drawn: called now and then with the number of images drawn.

    Returns the files. Raises BundleError where they cannot be written, ConfigError for a rule that the detector lacks.

    >>> from anomalae import load_dataset
    >>> split = load_dataset("digits").one_class(normal=[0])
    >>> detector = Detector(epochs=2, hidden=(32,), latent_dim=8).fit(split.train.images)
    >>> inputs = [Input("seven.png", split.test.images[0], None)]
    >>> [path.as_posix() for path in write_heatmaps(Path("heatmaps"), detector, inputs)]
    ['heatmaps/00000_seven.png']
    """
    rule = detector.check_rule(rule)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BundleError(f"{folder}: cannot be written: {error.strerror}") from None
    scale = plots.heat_scale(detector.heatmap_level(alpha, rule))
    there = [
        (place, entry.name, entry.image) for place, entry in enumerate(inputs) if entry.image is not None
    ]
    written, note = [], detector.heatmap_note(rule)
    for start in range(0, len(there), DRAWN):
        some = there[start : start + DRAWN]
        images = np.stack([image for *_, image in some])
        prepared = Canonical(images)
        rebuilt, terms = detector.reconstruct(prepared), detector.heatmap(prepared, rule)
        for (place, name, image), reconstruction, term in zip(some, rebuilt, terms, strict=True):
            written.append(folder / f"{place:05d}_{file_name(_stem(name))}.png")
            write_png(written[-1], plots.heat_strip(image, reconstruction, term, scale, note))
        on_drawn(start + len(some))
    return written


def write_pages(folder: Path, inputs: Sequence[Input], judged: Judged) -> list[Path]:
    """Draw each page that digits were cut from, with a box around each digit, into `00017_page.png`.

    The number is that of the page's first row. A flagged digit has a thick box of another colour, and each its number.

    folder: is there already, as `write_heatmaps` leaves it.
    inputs: digits of pages; what is no part of one is passed over, and so is a page that is gone by now.
    judged: their verdicts.

    Returns the files. Raises BundleError where they cannot be written.
    """
    written = []
    for places, gray in read_pages(inputs):
        boxes = [inputs[place].box or (0, 0, 0, 0) for place in places]
        flagged = [bool(judged.rows[place].flagged) for place in places]
        name = file_name(_stem(inputs[places[0]].name.rpartition("[")[0]))
        written.append(folder / f"{places[0]:05d}_{name}_page.png")
        write_png(written[-1], draw_page(gray, boxes, flagged))
    return written


def _scores(
    detector: Detector, images: list[np.ndarray], rule: str, on_scored: Callable[[int], None]
) -> np.ndarray:
    parts = []
    for start in range(0, len(images), SCORED):
        some = images[start : start + SCORED]
        parts.append(detector.score(Canonical(np.stack(some)), rule))
        on_scored(start + len(some))
    return np.concatenate(parts)


def _stem(name: str) -> str:
    """Return the file's name without its folders, and without the suffix of a picture."""
    last = Path(name).name
    return Path(last).stem if last.lower().endswith(tuple(IMAGE_SUFFIXES)) else last
