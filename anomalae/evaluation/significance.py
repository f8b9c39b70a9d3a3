"""Tests between methods: whether two ROC-AUCs on the same images differ, and what remains of many such tests."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri_exp
from scipy.stats import norm

from anomalae.errors import DataError
from anomalae.evaluation.checks import check_counts, check_truth, real_array
from anomalae.evaluation.delong_covariance import disjoint_pairs, structural_components, variance_of_mean

# What a small p-value shows, and nothing beyond.
WORDING = "a difference of these fitted models on these test images"


class DelongTest(NamedTuple):
    """The answer of `delong_test`.

    difference: AUC of a minus AUC of b, in [-1, 1].
    z: standard normal if the AUCs are equal.
    p_value: two-sided, in [0, 1].

    >>> DelongTest(difference=0.01, z=1.2, p_value=0.23).p_value
    0.23
    """

    difference: float
    z: float
    p_value: float


def delong_test(scores_a: npt.ArrayLike, scores_b: npt.ArrayLike, is_anomaly: npt.ArrayLike) -> DelongTest:
    """Test whether two detectors have the same ROC-AUC, scored on the same images (paired, two-sided).

    scores_a, scores_b: of the detectors, (N,) each, finite, higher = more anomalous.
    is_anomaly: (N,), with at least one image of each kind.

    Where the variance of the difference is 0 (two rankings alike, or one perfect and one constant) or
    undefined (one image of a kind), p is Hoeffding's bound for a two-sample U-statistic in [-1, 1] (1963),
    `2 exp(-r difference**2 / 2)` with r = min(anomalies, normals), at most 1, and z the normal deviate of it.

    Returns the difference, z and p. Raises DataError as `delong_interval`.

    >>> test = delong_test([1, 3, 2, 4], [1, 2, 3, 4], [False, False, True, True])
    >>> test.difference, 0 < test.p_value <= 1
    (-0.25, True)
    """
    a = real_array("scores_a", scores_a, ndim=1)
    b = real_array("scores_b", scores_b, ndim=1)
    if a.shape != b.shape:
        raise DataError(f"scores_a and scores_b: {a.size} and {b.size} values, must be as many")
    truth = check_truth(is_anomaly, a.shape)
    check_counts(truth, least=1)
    over_anomalies, over_normals = (v[:1] - v[1:] for v in structural_components(np.stack([a, b]), truth))
    difference, pairs = float(over_anomalies.mean()), disjoint_pairs(truth)
    variance = variance_of_mean(over_anomalies, over_normals) if pairs > 1 else 0.0
    if variance == 0:
        # The tail is taken as a logarithm, so that z stays finite.
        log_tail = min(np.log(0.5), -pairs * difference**2 / 2)
        z = float(np.copysign(ndtri_exp(log_tail), difference))
        return DelongTest(difference, z, 2 * float(np.exp(log_tail)))
    z = difference / float(np.sqrt(variance))
    return DelongTest(difference, z, 2 * float(norm.sf(abs(z))))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct several p-values by Holm's step-down method: the family-wise error rate is held.

    p_values: in [0, 1], as many as there are tests.

    Returns the corrected ones, in their order.

    Reference: S. Holm, Scandinavian Journal of Statistics 6 (1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable").tolist()):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
