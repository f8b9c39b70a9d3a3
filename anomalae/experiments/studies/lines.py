"""Networks whose embedding is a line, and what is measured of the line and of class means beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from anomalae.datasets.dataset import Dataset
from anomalae.datasets.splits import split_indices

DENSITY: dict[str, Any] = {"model": "vae", "likelihood": "gaussian", "samples": 1}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "deep AE": ("deep", {"model": "ae"}),
    "shallow AE": ("shallow", {"model": "ae"}),
    "deep VAE": ("deep", DENSITY),
    "shallow VAE": ("shallow", DENSITY),
}
# The network by which the question is decided, named beforehand.
REFERENCE = "deep AE"
# Equal shares of the training images into which the line is divided for the walk, for frames and histograms.
STEPS, FRAMES, BINS = 100, 21, 21
# A step is a jump if the picture changes by more than this share of the variance of the images.
JUMP = 0.1
NEIGHBOURS = 15
MEAN, CLASS_MEANS = "mean image", "mean of each class"


def divided(dataset: Dataset, arguments: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return indices of the images trained on, of those for validation and of those for calibration.

    All classes may be chosen at once, which no one-class problem allows. Both of the latter are held out.
    """
    indices = np.flatnonzero(np.isin(dataset.train.labels, arguments["classes"]))
    train, validation, calibration = (
        indices[part] for part in split_indices(len(indices), arguments["seed"])
    )
    return train, validation, calibration


def means(images: np.ndarray, labels: np.ndarray) -> dict[Any, np.ndarray]:
    """Return the mean image of each class, float64 (28, 28) in [0, 1]."""
    return {name: images[labels == name].mean(0) / 255 for name in np.unique(labels).tolist()}


def error_of_means(images: np.ndarray, labels: np.ndarray, by_class: Mapping[Any, np.ndarray]) -> float:
    """Return the mean squared difference a pixel of images from the mean of their own class."""
    total = sum(
        float(np.square(images[labels == name] / 255 - image).sum()) for name, image in by_class.items()
    )
    return total / images.size


def jumps(walk: np.ndarray, variance: float) -> dict[str, Any]:
    """Return how often the picture jumps on a walk, and how far it goes in one step at most, in shares of the variance.

    walk: pictures (N, 28, 28), one after another.
    variance: the mean squared difference a pixel of images from their mean image.
    """
    changes = np.square(np.diff(walk.astype(np.float64), axis=0)).mean((1, 2)) / max(variance, 1e-12)
    return {"jumps": int((changes > JUMP).sum()), "largest_step": float(changes.max())}


def told_apart(
    codes: np.ndarray, labels: np.ndarray, others: np.ndarray, other_labels: np.ndarray
) -> float | None:
    """Return the share of other images whose class is that of most neighbours on the line; None of one class."""
    if len(np.unique(labels)) < 2:
        return None
    voters = KNeighborsClassifier(min(NEIGHBOURS, len(codes))).fit(codes[:, None], labels)
    return float((voters.predict(others[:, None]) == other_labels).mean())


def places(codes: np.ndarray, labels: np.ndarray, classes: Sequence[Any]) -> np.ndarray:
    """Return how many images of each class lie in each equal part of the line, int64 (classes, BINS).

    An image's place is the share of all images whose codes are smaller: each part holds as many images.
    """
    ranks = np.empty(len(codes), np.int64)
    ranks[np.argsort(codes, kind="stable")] = np.arange(len(codes))
    part = ranks * BINS // len(codes)
    return np.stack([np.bincount(part[labels == name], minlength=BINS) for name in classes])
