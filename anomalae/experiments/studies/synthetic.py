"""Synthetic anomalies: normal images taken apart and put together wrongly, so that no real anomaly is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.metrics import roc_auc_score

from anomalae.errors import ConfigError
from anomalae.experiments.studies.corrupted import SIDE, pen

# Radius in pixels of what is rubbed out.
RUBBED = (3.0, 5.0)
# Length in pixels of a stroke that is added, how far it bends, and its width.
STROKE, BEND, WIDTH = (8.0, 14.0), 4.0, 2.5
PATCH = 8
# Of all kinds together.
ALL = "all kinds"
# Images scored at most, drawn from those held out: more would cost time and tell little.
MOST = 1000


def _ink(image: np.ndarray, drawn: np.random.Generator) -> np.ndarray:
    """Return the place of a pixel, the more likely the more ink it has; any one where there is no ink."""
    weight = image.ravel().astype(np.float64)
    total = weight.sum()
    place = drawn.choice(len(weight), p=weight / total if total else None)
    return np.array(np.unravel_index(place, image.shape), dtype=np.float64)


def _removed(images: np.ndarray, drawn: np.random.Generator) -> np.ndarray:
    """Rub out a disc about a point of the ink."""
    made = images.astype(np.float64)
    for image in made:
        image *= 1 - pen(_ink(image, drawn)[None], 2 * drawn.uniform(*RUBBED))
    return made


def _added(images: np.ndarray, drawn: np.random.Generator) -> np.ndarray:
    """Add a bent stroke that begins at a point of the ink, in the ink's own tone."""
    made = images.astype(np.float64)
    along = np.linspace(0, 1, 40)[:, None]
    for image in made:
        angle, length = drawn.uniform(0, 2 * np.pi), drawn.uniform(*STROKE)
        ahead = np.array([np.sin(angle), np.cos(angle)])
        aside = np.array([ahead[1], -ahead[0]]) * drawn.uniform(-BEND, BEND)
        points = _ink(image, drawn) + along * length * ahead + 4 * along * (1 - along) * aside
        np.maximum(image, pen(points, WIDTH) * image.max(), out=image)
    return made


def _joined(images: np.ndarray, drawn: np.random.Generator) -> np.ndarray:
    """Join half of an image and the other half of another, left and right or top and bottom."""
    n, middle = len(images), SIDE // 2
    order = drawn.permutation(n)
    other = np.empty(n, dtype=np.intp)
    other[order] = np.roll(order, 1)
    # An image that is alone is joined with itself, turned upside down.
    partners = images[other] if n > 1 else images[:, ::-1, ::-1]
    made = images.copy()
    upright = drawn.random(n) < 0.5
    made[upright, :, middle:] = partners[upright, :, middle:]
    made[~upright, middle:] = partners[~upright, middle:]
    return made


def _swapped(images: np.ndarray, drawn: np.random.Generator) -> np.ndarray:
    """Exchange two patches of an image that do not overlap, one of them on its ink."""
    made = images.copy()
    for image in made:
        row, column = np.clip(_ink(image, drawn) - PATCH // 2, 0, SIDE - PATCH).astype(int)
        free = [
            (y, x)
            for y in range(SIDE - PATCH + 1)
            for x in range(SIDE - PATCH + 1)
            if abs(y - row) >= PATCH or abs(x - column) >= PATCH
        ]
        there_row, there_column = free[drawn.integers(len(free))]
        here = np.s_[row : row + PATCH, column : column + PATCH]
        there = np.s_[there_row : there_row + PATCH, there_column : there_column + PATCH]
        image[here], image[there] = image[there].copy(), image[here].copy()
    return made


KINDS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "strokes removed": _removed,
    "strokes added": _added,
    "halves joined": _joined,
    "patches swapped": _swapped,
}


def anomalies(images: np.ndarray, kind: str, seed: int = 0) -> np.ndarray:
    """Return an anomaly made of each normal image; the same for the same arguments.

    images: uint8 (N, 28, 28), at least one.
    kind: a name in KINDS.
    seed: of whatever is drawn, at least 0.

    Returns uint8 (N, 28, 28). Raises ConfigError for another kind.
    """
    if kind not in KINDS:
        raise ConfigError(
            f"synthetic anomaly {kind!r}: must be one of {', '.join(KINDS)}", unknown=kind, known=KINDS
        )
    drawn = np.random.default_rng([seed, list(KINDS).index(kind)])
    return np.rint(KINDS[kind](images, drawn)).astype(np.uint8)


def told_apart(
    score: Callable[[np.ndarray], np.ndarray],
    held_out: np.ndarray,
    seed: int = 0,
    kinds: Sequence[str] = tuple(KINDS),
) -> dict[str, float]:
    """Return how well scores tell held-out normal images from anomalies made of them: ROC-AUC by kind, and of all.

    score: called with images, returns a number each, higher = more anomalous.
    held_out: normal images that were not trained on, uint8 (N, 28, 28).
    seed: of the anomalies.
    kinds: of the anomalies.
    """
    if len(held_out) > MOST:
        held_out = held_out[np.sort(np.random.default_rng(seed).permutation(len(held_out))[:MOST])]
    normal = score(held_out)
    made = {kind: score(anomalies(held_out, kind, seed)) for kind in kinds}
    return {
        name: float(
            roc_auc_score(
                np.repeat([False, True], [len(normal), len(values)]), np.concatenate([normal, values])
            )
        )
        for name, values in {ALL: np.concatenate(list(made.values())), **made}.items()
    }
