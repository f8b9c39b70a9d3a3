"""What `anomalae score` wrote about images, with the run that judged them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from anomalae.detectors.detector import Detector
from anomalae.errors import DataError
from anomalae.evaluation import conformal
from anomalae.experiments.command_lines import report_command
from anomalae.images.inputs import read_inputs
from anomalae.images.sources import Canonical
from anomalae.reports.collect.facts import describe
from anomalae.reports.collect.galleries import PICTURES, pictures
from anomalae.reports.collect.scores_file import flag_threshold, read_scores
from anomalae.reports.content import Gallery, Picture, ScoredReport, ScoredRow
from anomalae.settings import DEFAULT_ALPHA
from anomalae.text import printable

# How many pictures of the highest scores are shown.
HIGHEST = 24
# The path of an image in an array, of a page, of a digit: file.npy[17], file.npz:name[3], file.tif[1], file.tif[1][3].
_ROW = re.compile(r"(.+?)(?::[^/\\]+)?(?:\[\d+\])+")


def scored_report(
    folder: Path, file: Path, *, device: str = "auto", threads: int | None = None
) -> ScoredReport:
    """Collect everything about images that `anomalae score --output` wrote to a file, judged by a run.

    folder: of the run.
    file: the table of scores.
    device, threads: where the detector computes; see `Detector.load`.

    The rule is found by the p-values, which must be those that the run gives to the scores, and where several fit by
    the scores of the pictures. Pictures are read again from their paths, prepared as in the run; where one is gone or
    has changed, its place says so.

    Returns what a page holds. Raises DataError for a file that is no such table and for one of another run,
    BundleError for a broken run.

    >>> from anomalae import Settings, load_dataset
    >>> from anomalae.datasets import export
    >>> from anomalae.detectors import judge, judged_rows
    >>> from anomalae.experiments import train_and_keep
    >>> digits, settings = load_dataset("digits"), Settings.of(epochs=2, hidden=(32,), latent_dim=8)
    >>> run = train_and_keep(digits, settings, normal=[0])
    >>> inputs = list(read_inputs(export(digits.test, "images", limit=5)))
    >>> judged_rows.write(Path("scores.csv"), judge(run.detector, inputs))
    >>> len(scored_report(run.folder, Path("scores.csv")).rows)
    5
    """
    rows = read_scores(file)
    detector = Detector.load(folder, device=device, threads=threads)
    good = [row for row in rows if row.score is not None]
    rule, doubt = _rule(detector, good, file, folder)
    alpha = _alpha(good)
    threshold = detector.threshold(alpha, rule) if alpha is not None else None
    if threshold is None or any(
        row.flagged != (row.score > threshold) for row in good if row.score is not None
    ):
        threshold = flag_threshold(rows)
    shown = _chosen(good, threshold)
    picture_by_path = _pictures(
        detector, rule, [good[i] for i in sorted({i for _, _, chosen in shown for i in chosen})]
    )
    galleries = tuple(
        Gallery(title, note, tuple(picture_by_path[good[i].path] for i in chosen))
        for title, note, chosen in shown
        if chosen
    )
    lost = sum(picture.image is None for picture in picture_by_path.values())
    missing = [doubt] if doubt else []
    if lost:
        missing.append(f"{lost} of {len(picture_by_path)} pictures cannot be shown; each says why.")
    trained = describe(folder, detector, alpha or DEFAULT_ALPHA, rule)
    again = report_command(trained.name, str(file))
    facts = replace(trained.facts, commands=(*trained.facts.commands[:1], again))
    trained = replace(trained, facts=facts)
    return ScoredReport(trained, str(file), rows, threshold, alpha, galleries, tuple(missing))


def _rule(detector: Detector, good: list[ScoredRow], file: Path, folder: Path) -> tuple[str, str]:
    """Find the rule by which these scores have these p-values, and a sentence where others fit as well."""
    scores = np.array([row.score for row in good], dtype=np.float64)
    p_values = np.array([row.p_value for row in good], dtype=np.float64)
    rules = dict.fromkeys((detector.settings.rule, *detector.rules))
    fitting = [rule for rule in rules if _fits(scores, p_values, detector.calibration_scores(rule))]
    if not fitting:
        raise DataError(f"{file}: its p-values are not those of {folder}; name the run that made it")
    if len(fitting) == 1:
        return fitting[0], ""
    some = good[:PICTURES]
    read = _read([row.path for row in some], detector)
    there = [row for row in some if isinstance(read[row.path], np.ndarray)]
    if there:
        images = np.stack([read[row.path] for row in there])
        written_scores = np.array([row.score for row in there], dtype=np.float64)
        for rule in fitting:
            if np.isclose(
                detector.score(Canonical(images), rule), written_scores, rtol=1e-3, atol=1e-6
            ).any():
                return rule, ""
    doubt = f"The score may be any of {', '.join(fitting)}, whose p-values all fit; {fitting[0]} is taken."
    return fitting[0], doubt


def _fits(scores: np.ndarray, p_values: np.ndarray, held_out: np.ndarray) -> bool:
    # Files of before knew no ties.
    return any(
        np.allclose(conformal.p_values(scores, held_out, ties=ties), p_values, rtol=0, atol=1e-9)
        for ties in (True, False)
    )


def _alpha(good: list[ScoredRow]) -> float | None:
    """Return the usual alpha where it explains the flags. Another cannot be told from --fdr, so none is named then."""
    p_values = np.array([row.p_value for row in good], dtype=np.float64)
    flagged = np.array([row.flagged for row in good])
    return DEFAULT_ALPHA if np.array_equal(p_values <= DEFAULT_ALPHA, flagged) else None


def _chosen(good: list[ScoredRow], threshold: float | None) -> list[tuple[str, str, list[int]]]:
    """Return titles, notes and positions of the images to show."""
    scores = np.array([row.score for row in good], dtype=np.float64)
    order = [int(i) for i in np.argsort(-scores, kind="stable")]
    if len(order) <= HIGHEST:
        return [("All images", "From the highest score to the lowest.", order)]
    shown = [("Highest scores", "", order[:HIGHEST])]
    if threshold is not None:
        near = np.argsort(np.abs(scores - threshold), kind="stable")[:PICTURES]
        note = "The verdicts that were closest, from the highest score to the lowest."
        shown.append(
            ("Nearest to the threshold", note, sorted((int(i) for i in near), key=lambda i: -scores[i]))
        )
    return [*shown, ("Lowest scores", "What the model knows best.", order[-PICTURES:][::-1])]


def _pictures(detector: Detector, rule: str, rows: list[ScoredRow]) -> dict[str, Picture]:
    """Return a picture a path; without pixels where the file is gone, cannot be read, or gives another score now."""
    read = _read([row.path for row in rows], detector)
    there = [row for row in rows if isinstance(read[row.path], np.ndarray)]
    picture_by_path: dict[str, Picture] = {}
    if there:
        images = np.stack([read[row.path] for row in there])
        scores = np.array([row.score for row in there], dtype=np.float64)
        same = np.isclose(detector.score(Canonical(images), rule), scores, rtol=1e-3, atol=1e-6)
        judged = pictures(
            detector,
            images,
            [row.path for row in there],
            scores,
            np.array([row.p_value for row in there]),
            np.array([row.flagged for row in there]),
            rule=rule,
        )
        picture_by_path = {picture.name: picture for picture, good in zip(judged, same, strict=True) if good}
    for row in rows:
        if row.path not in picture_by_path:
            fault = read[row.path]
            changed = "The file has changed, or was prepared otherwise (preprocess)."
            why = fault if isinstance(fault, str) else changed
            picture_by_path[row.path] = Picture(
                row.path, row.score or 0.0, row.p_value, row.flagged, problem=why
            )
    return picture_by_path


def _read(paths: list[str], detector: Detector) -> dict[str, np.ndarray | str]:
    """Read each path's image, or say why there is none. A file of many images is read once."""
    files: dict[str, list[str]] = {}
    for path in paths:
        in_array = None if Path(path).is_file() else _ROW.fullmatch(path)
        files.setdefault(in_array[1] if in_array else path, []).append(path)
    image_or_fault: dict[str, np.ndarray | str] = dict.fromkeys(paths, "The picture is not there any more.")
    for file, wanted in files.items():
        if not Path(file).is_file():
            continue
        left = set(wanted)
        # What is no image of the file is a digit of a page in it.
        for segment in (False, True):
            preprocess = "auto" if segment else detector.data.preprocess
            entries = read_inputs([file], preprocess, detector.data.polarity, segment=segment) if left else ()
            for entry in entries:
                if entry.name in left:
                    left.discard(entry.name)
                    fault = printable(entry.error or "")
                    image_or_fault[entry.name] = fault if entry.image is None else entry.image
    return image_or_fault
