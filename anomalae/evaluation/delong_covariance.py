"""DeLong's covariance of several ROC-AUCs on the same images: what intervals and tests of them rest on.

References: E. DeLong, D. DeLong, D. Clarke-Pearson, Biometrics 44 (1988);
X. Sun, W. Xu, IEEE Signal Processing Letters 21 (2014).
"""

import numpy as np
import numpy.typing as npt

from anomalae.evaluation.checks import Bools, Floats, check_counts, check_truth, real_array
from anomalae.lazy import Deferred

stats = Deferred("scipy.stats")


def delong_covariance(scores: npt.ArrayLike, is_anomaly: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return the ROC-AUC of M detectors on the same N images, and the covariance of the M estimates.

    scores: (M, N), finite, a row a detector, higher = more anomalous.
    is_anomaly: (N,), with at least two images of each kind.

    Returns AUCs (M,) and their covariance (M, M), in O(M N log N) by midranks.

    Raises DataError as `evaluate`, or with fewer than two images of a kind.

    >>> auc, covariance = delong_covariance([[1, 3, 2, 4], [1, 2, 3, 4]], [False, False, True, True])
    >>> auc.tolist(), covariance.shape
    ([0.75, 1.0], (2, 2))
    """
    values = real_array("scores", scores, ndim=2)
    truth = check_truth(is_anomaly, values.shape[1:])
    check_counts(truth, least=2)
    over_anomalies, over_normals = structural_components(values, truth)
    covariance = covariance_of_mean(over_anomalies) + covariance_of_mean(over_normals)
    return over_anomalies.mean(axis=1), covariance


def structural_components(scores: Floats, truth: Bools) -> tuple[Floats, Floats]:
    """Return DeLong's structural components: the AUC seen from each anomaly (M, m) and from each normal (M, n)."""
    anomalies, normals = scores[:, truth], scores[:, ~truth]
    ranks = stats.rankdata(scores, axis=1)
    over_anomalies = (ranks[:, truth] - stats.rankdata(anomalies, axis=1)) / normals.shape[1]
    over_normals = 1 - (ranks[:, ~truth] - stats.rankdata(normals, axis=1)) / anomalies.shape[1]
    return over_anomalies, over_normals


def covariance_of_mean(components: Floats) -> Floats:
    """Return the covariance (M, M) of the means of components (M, n), n at least 2."""
    centred = components - components.mean(axis=1, keepdims=True)
    count = components.shape[1]
    return np.asarray(centred @ centred.T / (count * (count - 1)))


def variance_of_mean(over_anomalies: Floats, over_normals: Floats) -> float:
    """Return the variance of one estimate from its components, (1, m) and (1, n); 0 where it is only rounding."""
    variance = float((covariance_of_mean(over_anomalies) + covariance_of_mean(over_normals))[0, 0])
    # One swapped pair among 10 million images of each kind gives 1e-29; less is rounding of equal components.
    return variance if variance > 1e-30 else 0.0


def disjoint_pairs(truth: Bools) -> int:
    """Return the number of disjoint pairs of an anomaly and a normal."""
    return int(min(truth.sum(), (~truth).sum()))
