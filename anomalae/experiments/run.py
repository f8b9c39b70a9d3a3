"""One experiment: train a run on a data set's normal classes, evaluate it on the test part, keep and read both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from anomalae import runs
from anomalae.datasets.load import Dataset, OneClassSplit, Part, load_dataset
from anomalae.detectors.detector import Detector
from anomalae.errors import DataError
from anomalae.evaluation import conformal
from anomalae.evaluation.metrics import Evaluation, evaluate
from anomalae.runs import results
from anomalae.runs.record import Data
from anomalae.settings import Settings


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
        raise DataError("this run was trained on arrays, not on a data set", advice="dataset")
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
    return results.evaluation_document(
        evaluation,
        run=run,
        dataset=dataset,
        normal=detector.data.normal,
        rule=rule or detector.settings.rule,
    )
