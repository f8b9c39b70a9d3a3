"""Everything about a finished run, and several runs side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from anomalae import plots, runs
from anomalae.datasets.load import Part
from anomalae.detectors.detector import Detector
from anomalae.errors import BundleError, DataError
from anomalae.evaluation.metrics import Evaluation, evaluate
from anomalae.evaluation.significance import delong_test
from anomalae.experiments.run import Run
from anomalae.reports.collect.facts import describe
from anomalae.reports.collect.galleries import galleries
from anomalae.reports.content import (
    Baselines,
    ComparisonReport,
    Latent,
    OwnThreshold,
    Pair,
    RunReport,
    Trained,
)
from anomalae.runs import results
from anomalae.text import count, distinct_names

# Images whose codes are drawn.
CODES = 2000

Downloads = Callable[[str, int, int | None], None]


def run_report(
    folder: Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    data_dir: str | None = None,
    progress: Downloads | None = None,
    pictures: bool = True,
    calibration: str | None = None,
) -> RunReport:
    """Collect everything about one finished run. A run not yet evaluated is evaluated first, and keeps the result.

    Of a run that was evaluated while its data were there a report is made even when they are gone: `missing` says
    what it lacks.

    folder: of the run.
    device, threads, data_dir, progress: as for `Run`.
    pictures: whether there shall be any; without them the data are only read where the evaluation needs them.
    calibration: name of one of one's own, whose threshold shall be told beside the run's.

    Returns what a page holds. Raises DataError where a run that was not evaluated has no data any more, and for one
    that was trained on arrays; BundleError for a broken run; ConfigError for a calibration that it lacks.

    >>> from anomalae import Settings, load_dataset
    >>> from anomalae.experiments import train_and_keep
    >>> settings = Settings.of(epochs=2, hidden=(32,), latent_dim=8)
    >>> run = train_and_keep(load_dataset("digits"), settings, normal=[0])
    >>> run_report(run.folder, pictures=False).trained.name
    'digits-0-ae'
    """
    run = Run(folder, device=device, threads=threads, data_dir=data_dir, progress=progress)
    detector = run.detector
    if detector.data.name is None:
        raise DataError(
            f"{folder}: was trained on arrays, so it has no test part to report on", advice="scores"
        )
    if calibration is not None:
        detector.calibration_scores(calibration=calibration)  # refused before anything long is begun
    missing, test = [], None
    if pictures or run.kept_evaluation() is None:
        try:
            test = run.dataset().test
        except DataError as error:
            if run.kept_evaluation() is None:
                raise
            missing.append(
                f"The test images cannot be read any more, so there are no pictures of them: {error}."
            )
    evaluation = run.evaluation()
    if test is not None and not _same_labels(evaluation, test):
        raise BundleError(f"{folder / runs.SCORES}: is not of this run's test part; evaluate the run again")
    trained, band = describe(folder, detector, evaluation.alpha), run.false_alarm_band(evaluation)
    baselines, fault = _baselines(run, evaluation)
    if fault:
        missing.append(fault)
    return RunReport(
        trained=trained,
        evaluation=evaluation,
        metrics=_metrics(run, evaluation, trained, band),
        scores_csv=results.scores_csv(evaluation),
        rank=_rank(detector.n_calibration, evaluation.alpha),
        band=band,
        galleries=() if test is None else galleries(detector, evaluation, test),
        latent=None if test is None else _latent(detector, evaluation, test),
        baselines=baselines,
        missing=tuple(missing),
        own=None if calibration is None else _own_threshold(detector, evaluation.alpha, calibration),
    )


def _own_threshold(detector: Detector, alpha: float, name: str) -> OwnThreshold:
    own = detector.calibrations[name]
    return OwnThreshold(name, own.n, own.source, detector.threshold(alpha, calibration=name))


def compare(reports: list[RunReport]) -> ComparisonReport:
    """Set several runs side by side: in what their data differ, and paired tests where they do not.

    reports: of the runs, at least one; the others are set against the first.

    Returns what a page holds.

    >>> from anomalae import Settings, load_dataset
    >>> from anomalae.experiments import train_and_keep
    >>> digits, settings = load_dataset("digits"), Settings.of(epochs=2, hidden=(32,), latent_dim=8)
    >>> runs = [train_and_keep(digits, settings, normal=[0], name=name) for name in ("first", "second")]
    >>> comparison = compare([run_report(run.folder, pictures=False) for run in runs])
    >>> [pair.name for pair in comparison.pairs]
    ['second']
    """
    names = distinct_names([report.trained.name for report in reports])
    reports = [
        dataclasses.replace(report, trained=dataclasses.replace(report.trained, name=name))
        for report, name in zip(reports, names, strict=True)
    ]
    first, *others = reports
    differences, pairs = [], []
    for other in others:
        sentences = _differences(first.trained, other.trained)
        differences += sentences
        if not sentences and first.evaluation.roc_auc is not None:
            mine, theirs = other.evaluation, first.evaluation
            test = delong_test(mine.scores, theirs.scores, mine.is_anomaly)
            pairs.append(Pair(other.trained.name, test.difference, test.p_value))
    missing = tuple(f"{report.trained.name}: {sentence}" for report in reports for sentence in report.missing)
    return ComparisonReport(tuple(reports), tuple(differences), tuple(pairs), missing)


def _same_labels(evaluation: Evaluation, test: Part) -> bool:
    labels = evaluation.labels
    return labels is not None and np.array_equal(labels.astype(str), test.labels.astype(str))


def _rank(n: int, alpha: float) -> int | None:
    """Return which of the n calibration scores, counted from the largest, is the threshold at alpha."""
    return int(np.searchsorted(np.arange(1, n + 1) / (n + 1), alpha, side="right")) or None


def _metrics(
    run: Run, evaluation: Evaluation, trained: Trained, band: tuple[float, float] | None
) -> dict[str, Any]:
    return {
        **run.document(evaluation),
        "run": trained.name,
        "n_calibration": trained.n_calibration,
        "false_alarm_band": None if band is None else list(band),
        "parameters": trained.parameters,
        "facts": dataclasses.asdict(trained.facts),
    }


def _latent(detector: Detector, evaluation: Evaluation, test: Part) -> Latent | None:
    """Return codes of at most CODES test images: as they are in one or two dimensions, else principal components."""
    if len(test) < 3:
        return None
    chosen = np.sort(np.random.default_rng(0).permutation(len(test))[:CODES])
    codes = detector.encode(test.images[chosen]).astype(np.float64)
    some = (
        f"{count(len(chosen))} of the {count(len(test))} test images, picked at random. "
        if len(chosen) < len(test)
        else ""
    )
    dimensions = codes.shape[1]
    points, axes = plots.principal_plane(codes)
    what = f"The code has {dimensions} dimension{'' if dimensions == 1 else 's'}."
    if dimensions > 2:
        what = f"The first two principal components of the {dimensions} code dimensions."
    return Latent(points, test.labels[chosen], evaluation.scores[chosen], axes, some + what)


def _baselines(run: Run, evaluation: Evaluation) -> tuple[Baselines | None, str]:
    """Return what a comparison left in the run, or a sentence why it cannot be shown."""
    try:
        comparison = run.comparison
    except BundleError as error:
        return None, f"The comparison with baselines is left out: {error}."
    if comparison is None:
        return None, ""
    evaluations = {
        str(row["method"]): evaluate(
            comparison.scores[row["method"]],
            evaluation.is_anomaly,
            evaluation.labels,
            alpha=evaluation.alpha,
        )
        for row in comparison.rows
        if row["method"] != results.OWN
        and comparison.scores.get(row["method"], np.empty(0)).shape == evaluation.scores.shape
    }
    return Baselines(tuple(comparison.rows), evaluations), ""


def _differences(first: Trained, other: Trained) -> list[str]:
    """Return sentences on how another run's data and classes differ from the first one's."""
    sentences = []
    for what, mine, theirs in (
        ("Data set", first.dataset, other.dataset),
        ("Normal classes", ", ".join(first.normal), ", ".join(other.normal)),
        *(
            (
                f"SHA-256 of the {part} part",
                first.facts.hashes.get(part, "-"),
                other.facts.hashes.get(part, "-"),
            )
            for part in ("train", "test")
        ),
    ):
        if mine != theirs:
            cut = 12 if "SHA" in what else None
            sentences.append(f"{what}: {first.name} has {mine[:cut]}, {other.name} has {theirs[:cut]}.")
    return sentences
