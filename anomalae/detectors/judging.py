"""Verdicts on inputs of any kind: each image's score, p-value and flag, an error where there is no image; heatmaps."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from anomalae.detectors.judged_rows import Judged, Row
from anomalae.errors import BundleError
from anomalae.evaluation.conformal import benjamini_hochberg, check_alpha, p_values_by, raised, threshold
from anomalae.evaluation.cross_conformal import calibration_positions
from anomalae.files import file_name, write_png
from anomalae.images.inputs import IMAGE_SUFFIXES, Input, read_pages
from anomalae.images.sources import Canonical
from anomalae.settings import DEFAULT_ALPHA

# Images that are scored, and drawn, at a time: as many as fit well in memory.
SCORED, DRAWN = 4096, 512


class Scorer(Protocol):
    """What judges images: an `anomalae.Detector`, or one that was exported; their methods are told there."""

    @property
    def fingerprint(self) -> str: ...
    def check_rule(self, rule: str | None) -> str: ...
    def score(self, images: Any, rule: str | None = None) -> np.ndarray: ...
    def calibration_scores(
        self, rule: str | None = None, *, calibration: str | None = None
    ) -> np.ndarray: ...
    def reconstruct(self, images: Any) -> np.ndarray: ...
    def heatmap(self, images: Any, rule: str | None = None) -> np.ndarray: ...
    def heatmap_note(self, rule: str | None = None) -> str: ...
    def heatmap_level(
        self, alpha: float = DEFAULT_ALPHA, rule: str | None = None, *, calibration: str | None = None
    ) -> float: ...


def judge(
    detector: Scorer,
    inputs: Sequence[Input],
    rule: str | None = None,
    *,
    alpha: float = DEFAULT_ALPHA,
    fdr: float | None = None,
    calibration: str | None = None,
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
    calibration: name of one of the detector's `calibrations`; None is its own.
    run: name of the run that judges, for the record.
    segmented: whether the inputs are digits that were cut from pages, so that the rows have boxes.
    on_scored: called now and then with the number of images scored.

    Returns a row an input, in their order, and what they were judged by. Raises ConfigError for a rule or a calibration
    that the detector lacks, and for an alpha or FDR out of range.

    >>> from anomalae import Detector, load_dataset
    >>> from anomalae.datasets import export
    >>> from anomalae.images.inputs import read_inputs
    >>> split = load_dataset("digits").one_class(normal=[0])
    >>> detector = Detector(epochs=2, hidden=(32,), latent_dim=8).fit(split.train.images)
    >>> inputs = list(read_inputs(export(split.test, "images", limit=5)))
    >>> [row.path for row in judge(detector, inputs).rows][:2]
    ['images/0/00009.png', 'images/1/00000.png']
    """
    judge = Judge(detector, rule, alpha=alpha, fdr=fdr, calibration=calibration)
    rows, done = [], 0
    for start in range(0, len(inputs), SCORED):
        some = inputs[start : start + SCORED]
        rows += judge.rows(some)
        done += sum(entry.image is not None for entry in some)
        on_scored(done)
    if fdr is not None:
        rows = flagged_by_fdr(rows, fdr)
    return Judged(run, judge.rule, judge.alpha, fdr, judge.threshold, rows, segmented, calibration)


class Judge:
    """A judge gives inputs their rows, as many at a time as are there.

    detector, rule, alpha, fdr: as for `judge`. By an FDR nothing is flagged before all rows are there.
    calibrated_by: name of the calibration, `calibration` of `judge`.
    calibration: scores of held-out normal images, ascending.
    threshold: score above which an image is flagged; None by an FDR, and where nothing can be.

    Raises what `judge` does.
    """

    def __init__(
        self,
        detector: Scorer,
        rule: str | None = None,
        *,
        alpha: float = DEFAULT_ALPHA,
        fdr: float | None = None,
        calibration: str | None = None,
    ) -> None:
        self.detector, self.rule = detector, detector.check_rule(rule)
        check_alpha(alpha)
        if fdr is not None:
            benjamini_hochberg([], fdr)
        self.alpha = alpha if fdr is None else None
        self.calibrated_by = calibration
        self.calibration = np.sort(detector.calibration_scores(self.rule, calibration=calibration))
        self._limits = raised(self.calibration)
        self.threshold = threshold(self.calibration, alpha) if fdr is None else None

    @property
    def calibration_hash(self) -> str:
        """What tells the calibration from any other: a SHA-256."""
        # What scores of folds are set against is the same of any folds of so many images.
        of_folds = np.array_equal(self.calibration, calibration_positions(len(self.calibration)))
        whose = self.detector.fingerprint.encode() if of_folds else b""
        # Rows of before, whose p-values knew no ties, are another's.
        return hashlib.sha256(self._limits.tobytes() + whose).hexdigest()

    def verdicts(self, scores: np.ndarray) -> tuple[list[float], list[bool | None]]:
        """Return p-values of scores, float64 (N,), and whether each is flagged: None where an FDR will decide."""
        ps = p_values_by(self._limits, scores)
        return ps.tolist(), [None] * len(ps) if self.alpha is None else (ps <= self.alpha).tolist()

    def rows(self, inputs: Sequence[Input]) -> list[Row]:
        """Return a row an input, in their order; `flagged` is None where an FDR will decide.

        An input that was scored as it was read, by this rule of this detector, keeps its score.
        """
        there = [entry for entry in inputs if entry.image is not None]
        if not there:
            return [Row(entry.name, None, None, None, entry.error, entry.box) for entry in inputs]
        scores = np.array([np.nan if entry.score is None else entry.score for entry in there])
        images = [entry.image for entry in there if entry.image is not None and entry.score is None]
        if images:
            scores[np.isnan(scores)] = self.detector.score(Canonical(np.stack(images)), self.rule)
        judged = zip(scores.tolist(), *self.verdicts(scores), strict=True)
        return [
            Row(entry.name, None, None, None, entry.error, entry.box)
            if entry.image is None
            else Row(entry.name, *next(judged), None, entry.box)
            for entry in inputs
        ]


def flagged_by_fdr(rows: Sequence[Row], fdr: float) -> list[Row]:
    """Return rows flagged by Benjamini-Hochberg at an FDR, all of them together."""
    ps = [row.p_value for row in rows if row.p_value is not None]
    flags = iter(benjamini_hochberg(ps, fdr).tolist())
    return [row if row.p_value is None else replace(row, flagged=next(flags)) for row in rows]


def write_heatmaps(
    folder: Path,
    detector: Scorer,
    inputs: Sequence[Input],
    rule: str | None = None,
    *,
    alpha: float = DEFAULT_ALPHA,
    calibration: str | None = None,
    first: int = 0,
    on_drawn: Callable[[int], None] = lambda done: None,
) -> list[Path]:
    """Draw each image, its reconstruction and where they differ into `00017_name.png`.

    The row's number keeps apart what has the same name in different folders.

    folder: is made where it is missing.
    detector, inputs, rule: as for `judge`; what has no image is passed over.
    alpha: false-alarm level that sets the colour scale.
    calibration: as for `judge`.
    first: number of the first row.
    on_drawn: called now and then with the number of images drawn.

    Returns the files. Raises BundleError where they cannot be written, ConfigError for a rule that the detector lacks.

    >>> from anomalae import Detector, load_dataset
    >>> split = load_dataset("digits").one_class(normal=[0])
    >>> detector = Detector(epochs=2, hidden=(32,), latent_dim=8).fit(split.train.images)
    >>> inputs = [Input("seven.png", split.test.images[0], None)]
    >>> [path.as_posix() for path in write_heatmaps(Path("heatmaps"), detector, inputs)]
    ['heatmaps/00000_seven.png']
    """
    from anomalae import plots

    rule = detector.check_rule(rule)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BundleError(f"{folder}: cannot be written: {error.strerror}") from None
    scale = plots.heat_scale(detector.heatmap_level(alpha, rule, calibration=calibration))
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
            written.append(folder / f"{first + place:05d}_{file_name(_stem(name))}.png")
            write_png(written[-1], plots.heat_strip(image, reconstruction, term, scale, note))
        on_drawn(start + len(some))
    return written


def write_pages(
    folder: Path, inputs: Sequence[Input], rows: Sequence[Row], numbers: Sequence[int] | None = None
) -> list[Path]:
    """Draw each page that digits were cut from, with a box around each digit, into `00017_page.png`.

    The number is that of the page's first row. A flagged digit has a thick box of another colour, and each its number.

    folder: is there already, as `write_heatmaps` leaves it.
    inputs: digits of pages; what is no part of one is passed over, and so is a page that is gone by now.
    rows: their verdicts.
    numbers: of the rows; None counts them.

    Returns the files. Raises BundleError where they cannot be written.
    """
    from anomalae.plots.boxes import page as draw_page

    written = []
    for places, gray in read_pages(inputs):
        boxes = [inputs[place].box or (0, 0, 0, 0) for place in places]
        flagged = [bool(rows[place].flagged) for place in places]
        name = file_name(_stem(inputs[places[0]].name.rpartition("[")[0]))
        written.append(folder / f"{numbers[places[0]] if numbers else places[0]:05d}_{name}_page.png")
        write_png(written[-1], draw_page(gray, boxes, flagged))
    return written


def _stem(name: str) -> str:
    """Return the file's name without its folders, and without the suffix of a picture."""
    last = Path(name).name
    return Path(last).stem if last.lower().endswith(tuple(IMAGE_SUFFIXES)) else last
