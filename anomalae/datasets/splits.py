"""How images are divided: to train, validate and calibrate, and to test where no one has done so. Knows no images."""

from __future__ import annotations

import itertools

import numpy as np

from anomalae.errors import ConfigError, DataError

# Percent of the normal images in the train, validation and calibration part.
SHARES = (85, 5, 10)
# Images that calibrate at least, unless that is more than a third of the normal ones.
LEAST_CALIBRATION = 40
# With fewer normal images than this all of them train and calibrate, in so many folds.
FEW, FOLDS = 400, 5
# Ways to calibrate: by images that are put aside, by folds, or by what suits the number of images.
CONFORMAL = ("auto", "split", "cross")


def split_indices(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Divide `range(n)` at random into train (85%), validation (5%) and calibration (10%).

    n: number of images, at least 3.
    seed: of the division, at least 0; the division depends on it and on `n` alone.

    Returns three int64 arrays, each sorted and none empty; together they hold every index once. The shares of
    validation and calibration are rounded. At least 40 images calibrate, or a third of all if that is fewer,
    at the expense of training: with fewer than 1/alpha - 1 calibration images (19 at alpha 0.05, 39 at 0.025)
    no image can be flagged, however odd.

    Raises DataError if n < 3, ConfigError if the seed is negative.

    >>> [len(part) for part in split_indices(1000, seed=0)]
    [850, 50, 100]
    >>> [len(part) for part in split_indices(126, seed=0)]
    [80, 6, 40]
    """
    if n < len(SHARES):
        raise DataError(
            f"{n} normal images: at least {len(SHARES)} are needed to train, validate and calibrate"
        )
    if seed < 0:
        raise ConfigError(f"seed {seed}: must be at least 0")
    order = np.random.default_rng(seed).permutation(n)
    validation, calibration = (max(1, (n * share + 50) // 100) for share in SHARES[1:])
    calibration = max(calibration, min(LEAST_CALIBRATION, n // 3))
    train, held_out, calibrating = np.split(order, [n - validation - calibration, n - calibration])
    return np.sort(train), np.sort(held_out), np.sort(calibrating)


def fold_slices(n: int, folds: int = FOLDS) -> list[slice]:
    """Return where each fold lies among n images that are ordered by fold; sizes differ by one at most.

    n: number of images.
    folds: number of folds.

    >>> [len(range(12)[fold]) for fold in fold_slices(12)]
    [3, 3, 2, 2, 2]
    """
    ends = [n // folds * fold + min(fold, n % folds) for fold in range(folds + 1)]
    return [slice(*pair) for pair in itertools.pairwise(ends)]


def fold_order(n: int, seed: int = 0, folds: int = FOLDS) -> np.ndarray:
    """Divide `range(n)` at random into folds: returns an order, int64 (n,), of which `fold_slices` gives each fold.

    n: number of images, at least `folds`.
    seed: of the division, at least 0; the division depends on it and on `n` alone.
    folds: number of folds.

    Raises DataError for fewer images than folds, ConfigError if the seed is negative.

    >>> [fold_order(12)[fold].tolist() for fold in fold_slices(12)]
    [[2, 7, 9], [4, 5, 11], [0, 3], [6, 10], [1, 8]]
    """
    if n < folds:
        raise DataError(f"{n} normal images: at least {folds} are needed for {folds} folds")
    if seed < 0:
        raise ConfigError(f"seed {seed}: must be at least 0")
    order = np.random.default_rng(seed).permutation(n)
    return np.concatenate([np.sort(order[fold]) for fold in fold_slices(n, folds)])


def n_without_fold(n: int, folds: int = FOLDS) -> int:
    """Return on how many of n images the networks of the largest fold train.

    >>> n_without_fold(12)
    9
    """
    return n - -(-n // folds)


def choose_folds(n: int, conformal: str = "auto") -> int:
    """Return in how many folds n normal images are calibrated: FOLDS, or 0 for images that are put aside.

    n: number of images.
    conformal: `split` puts images aside; `cross` makes folds, of at least as many images; `auto` makes folds of fewer
        than FEW.

    Raises ConfigError for another word, DataError for `cross` with fewer images than folds.

    >>> choose_folds(30), choose_folds(400), choose_folds(30, "split")
    (5, 0, 0)
    """
    if conformal not in CONFORMAL:
        raise ConfigError(
            f"conformal {conformal!r}: must be one of {', '.join(CONFORMAL)}", setting="conformal"
        )
    if conformal == "cross" and n < FOLDS:
        raise DataError(f"{n} normal images: at least {FOLDS} are needed for {FOLDS} folds")
    return FOLDS if conformal == "cross" or (conformal == "auto" and FOLDS <= n < FEW) else 0


def stratified_indices(labels: np.ndarray, percent: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide each class into train and test by a fixed permutation of its images; returns sorted indices of both.

    labels: the class of each image, (N,).
    percent: of each class in the test part, rounded, at least one image.

    A class's division depends on the number of its images alone, so that a new class leaves the others as they were.
    """
    testing = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        order = np.random.default_rng(0).permutation(len(of_class))
        testing[of_class[order[: max(1, (len(of_class) * percent + 50) // 100)]]] = True
    return np.flatnonzero(~testing), np.flatnonzero(testing)
