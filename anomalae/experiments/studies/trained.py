"""What most studies' cells do: train a detector on a one-class problem, and measure it on development images."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from anomalae.arithmetic import computing
from anomalae.datasets.dataset import Dataset, Part
from anomalae.detectors.detector import Detector
from anomalae.evaluation.intervals import delong_interval
from anomalae.experiments.grid import Grid, scored_part
from anomalae.experiments.run import describe, truth
from anomalae.settings import Settings


@dataclass(frozen=True, eq=False)
class Problem:
    """A one-class problem of a data set, with the images it is judged on.

    train, held_out, calibration: images of the normal classes, uint8 (N, 28, 28).
    judged: development images with labels: the held-out ones, and up to 10,000 train-part images of other classes;
        or the whole test part.
    """

    dataset: Dataset
    normal: tuple[int | str, ...]
    seed: int
    part: str = "development"

    @cached_property
    def split(self) -> Any:
        """The split of the normal training images."""
        return self.dataset.one_class(normal=list(self.normal), seed=self.seed)

    @property
    def train(self) -> np.ndarray:
        """Images to train on."""
        return self.split.train.images

    @property
    def held_out(self) -> np.ndarray:
        """Normal images that are not trained on."""
        return self.split.validation.images

    @property
    def calibration(self) -> np.ndarray:
        """Normal images for thresholds and p-values."""
        return self.split.calibration.images

    @cached_property
    def judged(self) -> Part:
        """Images with labels on which scores are judged."""
        grid = Grid(self.dataset, self.normal[:1], (self.seed,), Settings(), part=self.part)
        return scored_part(grid, self.split)

    @cached_property
    def is_anomaly(self) -> np.ndarray:
        """Whether each of them is an anomaly, bool (N,)."""
        return truth(self.judged.labels, self.normal)

    def fit(self, settings: Mapping[str, Any], train: np.ndarray | None = None) -> Detector:
        """Train a detector of these settings, by the problem's seed; on other images than `train` if any are named."""
        asked = Settings.of(**{**settings, "seed": self.seed})
        detector = Detector(device="cpu", threads=torch.get_num_threads(), **asked.to_dict())
        return detector.fit(
            self.train if train is None else train,
            self.held_out,
            self.calibration,
            data=describe(self.dataset, self.split),
        )

    def fit_timed(self, settings: Mapping[str, Any]) -> tuple[Detector, float]:
        """Train a detector of these settings; return it and the CPU seconds of this thread that it took.

        Not the clock's seconds: those depend on what else the machine does. Nor the process's: a worker may do other
        cells in other threads. A cell computes by one.
        """
        begun = time.thread_time()
        detector = self.fit(settings)
        return detector, round(time.thread_time() - begun, 3)


def problem(dataset: Dataset, arguments: Mapping[str, Any]) -> Problem:
    """Return the problem of a cell's arguments: `normal` (classes), `seed`, and `part` if it is not development."""
    return Problem(
        dataset, tuple(arguments["normal"]), arguments["seed"], arguments.get("part", "development")
    )


def judge(scores: np.ndarray, is_anomaly: np.ndarray) -> dict[str, Any]:
    """Return ROC-AUC and its 95% interval of scores, as `roc_auc` and `interval`."""
    value = float(roc_auc_score(is_anomaly, scores))
    return {"roc_auc": value, "interval": [float(end) for end in delong_interval(scores, is_anomaly)]}


def rebuilt(detector: Detector, images: np.ndarray) -> np.ndarray:
    """Return what the first network makes of images in its own view, float32 (N, C, 28, 28), once through it.

    Of a density it is the mean decoded from the mean code.
    """
    return _seen(detector, images)[1]


def squared_error(detector: Detector, images: np.ndarray) -> float:
    """Return the mean over images and pixels of the squared error of reconstructions, in the network's view."""
    target, made = _seen(detector, images)
    return float(np.square(target.astype(np.float64) - made).mean())


def _seen(detector: Detector, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    member = detector._ensemble.first
    targets, made = [], []
    with torch.no_grad(), computing(member.arithmetic):
        for start in range(0, len(images), 512):
            some = torch.from_numpy(images[start : start + 512].copy())[:, None].float() / 255
            source, target = member.view.see(some)
            targets.append(target.numpy())
            made.append(member.network.reconstruct(source).numpy())
    return np.concatenate(targets), np.concatenate(made)


def variance(images: np.ndarray, about: np.ndarray | None = None) -> float:
    """Return the mean over images and pixels of the squared difference from their mean image, in units of [0, 1].

    images: uint8 (N, 28, 28).
    about: another image (28, 28) in [0, 1] instead of their own mean.
    """
    values = images.astype(np.float64) / 255
    return float(np.square(values - (values.mean(0) if about is None else about)).mean())


def classes_of(dataset: Dataset, wanted: Sequence[int | str]) -> list[int | str]:
    """Return those of the classes that a data set has."""
    return [name for name in wanted if name in dataset.classes]
