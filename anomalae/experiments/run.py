"""One experiment: train a run on a data set's normal classes, evaluate it on the test part, keep and read both."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from anomalae import files, runs
from anomalae.datasets.load import Dataset, OneClassSplit, Part, load_dataset
from anomalae.detectors.detector import Detector
from anomalae.errors import AnomalaeError, BundleError, DataError
from anomalae.evaluation import conformal
from anomalae.evaluation.metrics import Evaluation, evaluate
from anomalae.runs.record import Data
from anomalae.settings import Settings

SCORES_HEADER = ["index", "label", "is_anomaly", "score", "p_value", "flagged"]


def describe(dataset: Dataset, split: OneClassSplit, root: str | None = None) -> Data:
    """The record of what a run on this split was trained on."""
    provenance = dataset.provenance
    return Data(
        name=dataset.name,
        normal=split.normal,
        anomalous=split.anomalous,
        seed=split.seed,
        n_test=len(split.test),
        root=root if root is not None else provenance.get("root"),
        preprocess=provenance.get("preprocess", "auto"),
        polarity=provenance.get("polarity", "auto"),
        hashes=provenance["sha256"],
        verified=provenance.get("verified", False),
    )


def train_run(
    dataset: Dataset,
    split: OneClassSplit,
    settings: Settings,
    folder: Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    resume: bool = False,
    on_epoch: Callable[[Any], None] = lambda state: None,
    on_batch: Callable[[int, float], None] = lambda done, loss: None,
    on_scored: Callable[[int], None] = lambda done: None,
) -> Detector:
    """Train into an existing folder, which is locked meanwhile; the finished run stands there at the end."""
    with runs.lock(folder):
        detector = Detector(device=device, threads=threads, **settings.to_dict())
        detector.fit(
            split.train.images,
            split.validation.images,
            split.calibration.images,
            data=describe(dataset, split),
            folder=folder,
            resume=resume,
            on_epoch=on_epoch,
            on_batch=on_batch,
            on_scored=on_scored,
        )
        detector.write(folder)
    return detector


def reload_dataset(
    data: Data, data_dir: str | None = None, progress: Callable[[str, int, int | None], None] | None = None
) -> Dataset:
    """The data set a run was trained on, hashes compared. DataError when it is gone or has changed."""
    if data.name is None:
        raise DataError("this run was trained on arrays, not on a data set: name one with --dataset")
    dataset = load_dataset(
        data.name,
        data_dir or data.root,
        preprocess=data.preprocess,
        polarity=data.polarity,
        progress=progress,
    )
    for part, value in data.hashes.items():
        if dataset.provenance["sha256"].get(part) != value:
            raise DataError(f"data set {data.name}: its {part} part is not the one this run was trained on")
    return dataset


def check_classes(dataset: Dataset, normal: tuple[int | str, ...]) -> None:
    """Raise DataError unless the data set has all of a run's normal classes."""
    if not normal:
        raise DataError("this run was trained on arrays: it does not know which classes are normal")
    missing = [str(name) for name in normal if str(name) not in {str(known) for known in dataset.classes}]
    if missing:
        known = ", ".join(str(name) for name in dataset.classes)
        raise DataError(
            f"data set {dataset.name}: no class {', '.join(missing)}, normal in this run; it has {known}"
        )


def truth(labels: np.ndarray, normal: tuple[int | str, ...]) -> np.ndarray:
    """`is_anomaly` of each label: bool (N,), True where the class is not one of the normal ones."""
    return ~np.isin(labels.astype(str), [str(name) for name in normal])


def evaluate_part(
    detector: Detector,
    part: Part,
    rule: str | None = None,
    *,
    alpha: float,
    on_scored: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Score a labelled part by a rule and compare the scores with the truth of the one-class problem."""
    scores = detector.score(part.images, rule, on_scored=on_scored)
    return evaluate_scores(detector, scores, part.labels, rule, alpha=alpha)


def evaluate_scores(
    detector: Detector, scores: np.ndarray, labels: np.ndarray, rule: str | None = None, *, alpha: float
) -> Evaluation:
    """As `evaluate_part`, for scores that are there already."""
    return evaluate(
        scores,
        truth(labels, detector.data.normal),
        labels,
        p_values=conformal.p_values(scores, detector.calibration_scores(rule)),
        alpha=alpha,
        threshold=detector.threshold(alpha, rule),
    )


def evaluation_document(
    run: str, detector: Detector, evaluation: Evaluation, *, dataset: str, rule: str | None = None
) -> dict[str, Any]:
    """What `evaluate --json` prints and `evaluation.json` holds."""
    return {
        "run": run,
        "dataset": dataset,
        "normal": list(detector.data.normal),
        "score": rule or detector.settings.rule,
        **evaluation.to_dict(),
    }


def keep_evaluation(folder: Path, document: dict[str, Any], evaluation: Evaluation) -> None:
    """Write `evaluation.json` and `scores.csv` into the run."""
    files.write_bytes(folder / runs.SCORES, scores_csv(evaluation).encode())
    files.write_json(folder / runs.EVALUATION, document)


def scores_csv(evaluation: Evaluation) -> str:
    """`index,label,is_anomaly,score,p_value,flagged`, an image a line, in the order of the test part."""
    writer = files.CsvText()
    writer.writerow(SCORES_HEADER)
    for index, (score, anomaly, flag) in enumerate(
        zip(evaluation.scores, evaluation.is_anomaly, evaluation.flagged, strict=True)
    ):
        label = "" if evaluation.labels is None else evaluation.labels[index]
        p_value = "" if evaluation.p_values is None else repr(float(evaluation.p_values[index]))
        writer.writerow([index, label, int(anomaly), repr(float(score)), p_value, int(flag)])
    return writer.text()


def read_evaluation(folder: Path) -> Evaluation | None:
    """The evaluation a run keeps, made again from `scores.csv` and `evaluation.json`; None without both of them.

    Labels are int64 where each of them is an integer, else text, and None where no image has one. Raises BundleError,
    naming file, line and fault, for content that `keep_evaluation` does not write, and for two files that do not
    belong together.
    """
    table, document = folder / runs.SCORES, folder / runs.EVALUATION
    if not (table.is_file() and document.is_file()):
        return None
    kept = files.read_json(document)
    alpha, threshold = _judged_by(kept, document)
    rows = _read_rows(table)
    columns = {name: [row[i] for row in rows] for i, name in enumerate(SCORES_HEADER)}
    try:
        evaluation = evaluate(
            np.array([float(score) for score in columns["score"]]),
            np.array([value == "1" for value in columns["is_anomaly"]]),
            _labels(columns["label"], table),
            p_values=_p_values(columns["p_value"], table),
            alpha=alpha,
            threshold=threshold,
        )
    except AnomalaeError as error:
        raise BundleError(f"{table}: {error}") from None
    found = evaluation.to_dict()
    same = all(found[name] == kept.get(name) for name in ("n_normal", "n_anomalous"))
    if not same or [str(int(flag)) for flag in evaluation.flagged] != columns["flagged"]:
        raise BundleError(f"{table}: does not belong to {document.name} beside it; evaluate the run again")
    return evaluation


def _judged_by(kept: Any, path: Path) -> tuple[float, float | None]:
    """Alpha and threshold of `evaluation.json`."""
    if not isinstance(kept, dict):
        raise BundleError(f"{path}: expected an object, got {type(kept).__name__}")
    for name in ("alpha", "threshold"):
        if name not in kept:
            raise BundleError(f"{path}: {name!r} is missing")
    alpha, threshold = kept["alpha"], kept["threshold"]
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < 1:
        raise BundleError(f"{path}: alpha is {alpha!r}, must be above 0 and below 1")
    number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    if threshold is not None and not (number and abs(threshold) <= sys.float_info.max):
        raise BundleError(f"{path}: threshold is {threshold!r}, must be a finite number or null")
    return float(alpha), None if threshold is None else float(threshold)


def _read_rows(path: Path) -> list[list[str]]:
    """The lines of a `scores.csv` below its header, each checked."""
    try:
        text = path.read_bytes().decode()
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BundleError(f"{path}: cannot be read: {error}") from None
    if not rows or rows[0] != SCORES_HEADER:
        raise BundleError(f"{path}: the first line must be {','.join(SCORES_HEADER)}")
    for index, row in enumerate(rows[1:]):
        fault = _fault(row, index)
        if fault:
            raise BundleError(f"{path}: image {index}: {fault}")
    return rows[1:]


def _fault(row: list[str], index: int) -> str | None:
    if len(row) != len(SCORES_HEADER):
        return f"{len(row)} columns, expected {len(SCORES_HEADER)}"
    values = dict(zip(SCORES_HEADER, row, strict=True))
    if values["index"] != str(index):
        return f"index is {values['index']!r}, expected {index}"
    for name in ("is_anomaly", "flagged"):
        if values[name] not in ("0", "1"):
            return f"{name} is {values[name]!r}, must be 0 or 1"
    for name in ("score", "p_value"):
        try:
            finite = (name == "p_value" and not values[name]) or math.isfinite(float(values[name]))
        except ValueError:
            finite = False
        if not finite:
            return f"{name} is {values[name]!r}, must be a finite number"
    return None


def _labels(texts: list[str], path: Path) -> np.ndarray | None:
    if not any(texts):
        return None
    if not all(texts):
        raise BundleError(f"{path}: image {texts.index('')}: the label is missing")
    short = all(text.isascii() and text.removeprefix("-").isdigit() and len(text) < 19 for text in texts)
    if short and all(str(int(text)) == text for text in texts):
        return np.array([int(text) for text in texts], dtype=np.int64)
    return np.array(texts)


def _p_values(texts: list[str], path: Path) -> np.ndarray | None:
    if not any(texts):
        return None
    if not all(texts):
        raise BundleError(f"{path}: image {texts.index('')}: the p_value is missing")
    return np.array([float(text) for text in texts])
