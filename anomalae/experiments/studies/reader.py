"""A classifier and distances to real images: what judges images that a network made."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from anomalae.experiments.studies.trained import Problem

# Share of real held-out images that the classifier is as sure of as it must be to recognise an image; and share that
# are as near to a training image as they must be.
PASS = 0.95
# Kinds of images that are judged.
REAL, REBUILT, DRAWN, REDRAWN = "held-out images", "reconstructions", "draws", "draws, fitted Gaussian"


def nearest(images: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return distance and place of the nearest of other images, root mean square over pixels in [0, 1].

    images: (N, 28, 28) in [0, 1].
    others: uint8 (M, 28, 28).
    """
    a = images.reshape(len(images), -1).astype(np.float64)
    best, place = np.full(len(a), np.inf), np.zeros(len(a), np.intp)
    for start in range(0, len(others), 4096):
        b = others[start : start + 4096].reshape(-1, a.shape[1]) / 255.0
        square = np.square(a).sum(1)[:, None] - 2 * a @ b.T + np.square(b).sum(1)
        at = square.argmin(1)
        least = square[np.arange(len(a)), at]
        place = np.where(least < best, start + at, place)
        best = np.minimum(best, least)
    return np.sqrt(np.maximum(best, 0) / a.shape[1]), place


def share_nearer(distance: np.ndarray, other: np.ndarray) -> float:
    """Return the share of images whose first distance is the shorter one; a tie counts half."""
    return float((distance < other).mean() + (distance == other).mean() / 2)


@dataclass(frozen=True, eq=False)
class Reader:
    """A classifier that was trained on real images, and what it takes for one.

    model: of scikit-learn.
    normal: the classes that a network could have learned.
    threshold: probability of a normal class from which on an image is recognised.
    accuracy: on held-out real images.
    """

    model: Any
    normal: tuple[int | str, ...]
    threshold: float
    accuracy: float

    @classmethod
    def trained(cls, task: Problem, units: int, images: int, epochs: int) -> Reader:
        """Return a classifier of all classes, trained on train-part images but for the held-out ones."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier

        part = task.dataset.train
        others = part.take(np.flatnonzero(~np.isin(part.labels, task.normal)))
        known = np.concatenate([task.split.train.images, others.images])
        labels = np.concatenate([task.split.train.labels, others.labels])
        chosen = np.random.default_rng([task.seed, images]).permutation(len(known))[:images]
        model = MLPClassifier((units,), max_iter=epochs, alpha=1e-3, random_state=task.seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(flat(known[chosen] / 255.0), labels[chosen])
        reader = cls(model, tuple(task.normal), 0.0, 0.0)
        held_out = task.held_out / 255.0
        threshold = float(np.quantile(reader.confidence(held_out), 1 - PASS))
        accuracy = float((reader.classes(held_out) == task.split.validation.labels).mean())
        return cls(model, tuple(task.normal), threshold, accuracy)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return the probabilities of the normal classes, (N, classes), of images in [0, 1]."""
        columns = np.flatnonzero(np.isin(self.model.classes_, self.normal))
        return np.asarray(self.model.predict_proba(flat(images)))[:, columns]

    def confidence(self, images: np.ndarray) -> np.ndarray:
        """Return the probability of the likeliest normal class, (N,)."""
        return np.asarray(self.probabilities(images).max(1))

    def classes(self, images: np.ndarray) -> np.ndarray:
        """Return the class that each image is taken for, (N,)."""
        return np.asarray(self.model.predict(flat(images)))

    def look(self, images: np.ndarray, is_near: np.ndarray) -> dict[str, float]:
        """Return the share that is recognised, and how many classes there are in effect among those images.

        is_near: whether an image is near enough to real ones, bool (N,).
        """
        probabilities = self.probabilities(images)
        is_recognised = (probabilities.max(1) >= self.threshold) & is_near
        taken = probabilities.argmax(1)[is_recognised]
        return {
            "recognised": float(is_recognised.mean()),
            "kinds": effective(np.bincount(taken)) if len(taken) else 0.0,
        }


def flat(images: np.ndarray) -> np.ndarray:
    """Return images (N, 28, 28) as rows."""
    return np.asarray(images, np.float64).reshape(len(images), -1)


def effective(counts: np.ndarray) -> float:
    """Return how many classes there are in effect: the exponential of the entropy of their shares.

    >>> round(effective(np.array([5, 5])), 6), effective(np.array([7, 0]))
    (2.0, 1.0)
    """
    shares = counts[counts > 0] / counts.sum()
    return float(math.exp(-(shares * np.log(shares)).sum()))
