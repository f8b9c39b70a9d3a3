"""Classes of a folder that differ in colour only: their pictures are read as gray, and cannot be told apart then."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from anomalae.errors import ImageError
from anomalae.images.inputs import IMAGE_SUFFIXES, list_files
from anomalae.images.pictures import mean_colour
from anomalae.text import listed, printable

# Pictures of each class that are looked at, at most and at least, and classes.
MOST, LEAST, CLASSES = 40, 5, 30
# Two classes differ in colour if their mean chromas lie this far apart (of 128) ...
FAR = 16.0
# ... and tell at least this share of their pictures apart, where the gray images tell at most that share.
TOLD_BY_COLOUR, TOLD_BY_GRAY = 0.9, 0.75


def colour_warning(folder: Path, images_by_class: Mapping[str, np.ndarray]) -> str | None:
    """Return one line if some classes of a folder differ in colour and hardly in anything else; None otherwise.

    folder: that holds the folders of the classes.
    images_by_class: canonical images of each class, uint8 (N, 28, 28), by its name.

    A colour that all classes share, as tinted paper, says nothing of the class. What tells two classes apart is
    measured by how many pictures are nearer to the mean of their own class, each left out of it.
    """
    names = list(images_by_class)[:CLASSES]
    if len(names) < 2:
        return None
    colours = {name: _colours(folder / name) for name in names}
    alike = [
        pair
        for pair in itertools.combinations(names, 2)
        if _differ_in_colour_only([colours[name] for name in pair], [images_by_class[name] for name in pair])
    ]
    if not alike:
        return None
    those = listed(name for name in names if any(name in pair for pair in alike))
    return f"{printable(folder)}: classes {those} differ in colour, which is dropped, and hardly in shape"


def _colours(folder: Path) -> np.ndarray:
    """Return the mean chroma of some pictures of a class, (n, 2), 0 for gray ones."""
    files = [file for file in list_files([folder]) if file.suffix.lower() in IMAGE_SUFFIXES]
    chosen = [files[index] for index in np.linspace(0, len(files) - 1, min(MOST, len(files))).astype(int)]
    found = []
    for file in chosen:
        try:
            found.append(mean_colour(file) or (0.0, 0.0))
        except ImageError:
            continue
    return np.array(found).reshape(-1, 2)


def _differ_in_colour_only(colours: list[np.ndarray], images: list[np.ndarray]) -> bool:
    if min(len(values) for values in colours + images) < LEAST:
        return False
    means = [values.mean(axis=0) for values in colours]
    if np.linalg.norm(means[0] - means[1]) < FAR or _told_apart(colours) < TOLD_BY_COLOUR:
        return False
    grays = [some[np.linspace(0, len(some) - 1, min(MOST, len(some))).astype(int)] for some in images]
    return _told_apart([some.reshape(len(some), -1).astype(np.float64) for some in grays]) <= TOLD_BY_GRAY


def _told_apart(classes: list[np.ndarray]) -> float:
    """Return the share of vectors (n, d) of two classes that are nearer to the mean of their own, left out of it."""
    means = [values.mean(axis=0) for values in classes]
    shares = []
    for values, own, other in zip(classes, means, reversed(means), strict=True):
        # What a vector leaves of its class's mean, when it is left out of it.
        to_own = np.linalg.norm(values - own, axis=1) * len(values) / (len(values) - 1)
        shares.append((to_own < np.linalg.norm(values - other, axis=1)).mean())
    return float(np.mean(shares))
