"""Cross-conformal p-values: of few normal images all train and all calibrate, in folds.

The detector of a fold is trained on all images but the fold's. An image of the fold has that detector's score; a new
image is scored by all detectors, and set against each image by the detector that did not see that image:

    p = (1 + sum over folds k of #{i in fold k: s_k(i) >= s_k(x)}) / (n + 1).

So each image has one number here, its *position*, from which p follows as of any score: how many of the n images it is
above, and a fraction between 0 and 1 by which images above equally many are told apart. Set against 1, 2, ... n in
place of calibration scores, `conformal.p_values` of a position is p, and all that is made of it agrees.

References: V. Vovk, "Cross-conformal predictors", Annals of Mathematics and Artificial Intelligence 74 (2015);
R. F. Barber, E. J. Candès, A. Ramdas, R. J. Tibshirani, "Predictive inference with the jackknife+", Annals of
Statistics 49 (2021); O. Hennhöfer, C. Preisach, "Leave-one-out-, bootstrap- and cross-conformal anomaly detectors"
(2024).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from anomalae.errors import ConfigError
from anomalae.evaluation.checks import ordered_vector
from anomalae.evaluation.conformal import check_alpha, raised

# Fractions keep so far from 0 and 1 that a position never rounds to a whole number.
EDGE = 1e-9


def positions(
    scores: npt.ArrayLike, calibration: Sequence[npt.ArrayLike], order: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """Return how many calibration images each image is above, and a fraction.

    scores: by the detector of each fold, (K, N), higher = more anomalous.
    calibration: of each fold the scores of its images, by the detector that did not see them.
    order: (N,) by which images above equally many are ordered, 0 for one as usual as the calibration images.

    Returns float64 (N,) in (0, n + 1), never whole. Raises ConfigError for NaN, and for other than K folds.

    >>> positions([[0.5, 9.0], [2.5, 8.0]], calibration=[[1.0, 2.0], [3.0]], order=[0.0, 1.0]).tolist()
    [0.5, 3.75]
    """
    by_fold = np.asarray(scores, np.float64)
    if by_fold.ndim != 2 or len(by_fold) != len(calibration):
        raise ConfigError(f"scores: shape {by_fold.shape}: must be ({len(calibration)}, N), a row a fold")
    above = np.zeros(by_fold.shape[1])
    for new, known in zip(by_fold, calibration, strict=True):
        above += np.searchsorted(raised(known), ordered_vector("scores", new), side="left")
    beyond = ordered_vector("order", order).astype(np.float64)
    # Slow at its ends, so that what is far out can still be told apart.
    fraction = 0.5 + 0.5 * beyond / (1 + np.abs(beyond))
    return np.asarray(above + np.clip(fraction, EDGE, 1 - EDGE))


def calibration_positions(n: int) -> npt.NDArray[np.float64]:
    """Return what stands for the scores of n calibration images, float64 (n,): 1, 2, ... n.

    >>> calibration_positions(3).tolist()
    [1.0, 2.0, 3.0]
    """
    return np.arange(1, n + 1, dtype=np.float64)


def proved_rate(n: int, folds: int, alpha: float) -> float:
    """Return what the false-alarm rate is proved not to exceed, on the average: 2 alpha, and more of few images.

    n: number of normal images. folds: number of folds, 2 to n. alpha: false-alarm level, in (0, 1).

    It is 2 alpha + min(2 (1 - 1/K) / (n/K + 1), (1 - K/n) / (K + 1)) of K folds (Barber et al. 2021, theorem 4). The
    rate is about alpha where the detectors of the folds are much alike.

    Raises ConfigError for an alpha or a number of folds out of range.

    >>> round(proved_rate(300, 5, alpha=0.05), 3), proved_rate(30, 30, alpha=0.05)
    (0.126, 0.1)
    """
    check_alpha(alpha)
    if not 2 <= folds <= n:
        raise ConfigError(f"folds {folds}: must be 2 to {n}, the number of images")
    more = min(2 * (1 - 1 / folds) / (n / folds + 1), (1 - folds / n) / (folds + 1))
    return min(1.0, 2 * alpha + more)
