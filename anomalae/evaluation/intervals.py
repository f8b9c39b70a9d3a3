"""Intervals of the ROC-AUC (DeLong's variance; the bootstrap for means over problems), bands of the curve.

Anomalies are the positives throughout, and a higher score is more anomalous.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from anomalae.errors import ConfigError, DataError
from anomalae.evaluation.checks import (
    Bools,
    Floats,
    check_counts,
    check_fraction,
    check_truth,
    class_names,
    real_array,
)
from anomalae.evaluation.delong_covariance import disjoint_pairs, structural_components, variance_of_mean
from anomalae.lazy import Deferred

special, stats = Deferred("scipy.special"), Deferred("scipy.stats")

Interval = tuple[float, float]


def delong_interval(scores: npt.ArrayLike, is_anomaly: npt.ArrayLike, level: float = 0.95) -> Interval:
    """Return a confidence interval (lo, hi) of one ROC-AUC: DeLong's variance, normal on the logit scale.

    scores: (N,), finite, higher = more anomalous.
    is_anomaly: (N,), with at least one image of each kind.
    level: probability with which the interval holds the true AUC, in (0, 1).

    DeLong's variance is 0 when the AUC is 0 or 1 or all scores are equal (then the AUC is a half; there is no
    other case), and undefined with one image of a kind. The estimate A then gets the limits

        lo = A q,   hi = 1 - (1 - A) q,   q = ((1 - level) / 2) ** (1 / r),   r = min(anomalies, normals),

    which hold for any score distribution. Pair off r anomalies with r normals. The pairs are independent,
    each in the right order with a chance of at most the true AUC, T, so a sample is separated (A = 1) with
    a chance of at most T**r, which is (1 - level) / 2 at T = lo: Clopper and Pearson's limit for r successes
    of r. Nothing better is true in general: if all normals score the same and a share T of the anomalies
    above them, the chance is T**anomalies. A = 0 is the mirror image; a pair ties with a chance of at most
    2 min(T, 1 - T), which gives A = 1/2; and for r = 1 it is Markov's inequality, P(A >= a) <= T / a.

    Raises ConfigError if level is not in (0, 1); DataError as `evaluate`, or without images of a kind.

    >>> low, high = delong_interval([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
    >>> low < 0.75 < high
    True
    """
    check_fraction("level", level)
    values = real_array("scores", scores, ndim=1)
    truth = check_truth(is_anomaly, values.shape)
    check_counts(truth, least=1)
    over_anomalies, over_normals = structural_components(values[None], truth)
    auc, pairs, tail = float(over_anomalies.mean()), disjoint_pairs(truth), (1 - level) / 2
    variance = variance_of_mean(over_anomalies, over_normals) if pairs > 1 else 0.0
    if variance == 0:
        q = tail ** (1 / pairs)
        return auc * q, 1 - (1 - auc) * q
    half_width = stats.norm.isf(tail) * np.sqrt(variance) / (auc * (1 - auc))
    lo, hi = special.expit(special.logit(auc) + half_width * np.array([-1.0, 1.0]))
    return float(lo), float(hi)


def bootstrap_interval(
    scores: npt.ArrayLike,
    is_anomaly: npt.ArrayLike,
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return the percentile interval (lo, hi) of one ROC-AUC, anomalies and normals resampled each for itself.

    Unlike `delong_interval` it has no width at AUC = 1.

    scores: (N,), finite, higher = more anomalous.
    is_anomaly: (N,), with at least one image of each kind.
    resamples, seed, level: as for `mean_auc_interval`.

    Raises as `mean_auc_interval`.

    >>> bootstrap_interval([0.1, 0.2, 0.8, 0.9], [False, False, True, True], resamples=100)
    (1.0, 1.0)
    """
    values = real_array("scores", scores, ndim=1)
    truth = check_truth(is_anomaly, values.shape)
    return mean_auc_interval(values[None], truth[None], truth, resamples=resamples, seed=seed, level=level)


def mean_auc_interval(
    scores: npt.ArrayLike,
    is_anomaly: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return the percentile bootstrap interval (lo, hi) of the mean ROC-AUC of K problems that share N test images.

    scores: (K, N), finite, one row a problem (each normal digit, each training seed).
    is_anomaly: (K, N), with both kinds in every row.
    labels: the class of each image, (N,).
    resamples: number of bootstrap replicates, at least 1.
    seed: of the replicates.
    level: share of the replicates that the interval holds, in (0, 1).

    A replicate draws the images once for all problems, since one hard image is hard in many of them, and
    within each class, so that every class keeps its size. The interval is about the choice of test images
    alone; rows from several training seeds are averaged, not resampled.

    Raises ConfigError if level is not in (0, 1) or resamples below 1; DataError as `evaluate`, or if a row
    holds one kind of image only.

    >>> labels = np.arange(90) % 3
    >>> scores = np.random.default_rng(0).normal(size=(3, 90))
    >>> low, high = mean_auc_interval(scores, labels != np.arange(3)[:, None], labels, resamples=100)
    >>> 0.3 < low < high < 0.7
    True
    """
    check_fraction("level", level)
    if resamples < 1:
        raise ConfigError(f"resamples {resamples}: must be at least 1")
    values = real_array("scores", scores, ndim=2)
    truth = check_truth(is_anomaly, values.shape)
    for row in truth:
        check_counts(row, least=1)
    classes = np.unique(class_names(labels, values.shape[1]), return_inverse=True)[1]
    # A class that is part normal, part anomalous in some row is two strata: no row may lose a kind.
    strata = np.unique(np.vstack([classes, truth]), axis=1, return_inverse=True)[1].ravel()
    problems = [_PairCounts.prepare(*row) for row in zip(values, truth, strict=True)]
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for replicate in range(resamples):
        counts = _resample(strata, rng)
        means[replicate] = np.mean([problem.auc(counts) for problem in problems])
    lo, hi = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(lo), float(hi)


def roc_band(
    scores: npt.ArrayLike, is_anomaly: npt.ArrayLike, fpr: npt.ArrayLike, *, level: float = 0.95
) -> tuple[Floats, Floats]:
    """Return a pointwise confidence band (lo, hi) of the true-positive rate at each of G false-positive rates.

    scores: (N,), finite, higher = more anomalous.
    is_anomaly: (N,), with at least one image of each kind.
    fpr: false-positive rates (G,) in [0, 1].
    level: probability with which the band holds the true rate, in (0, 1).

    Returns two arrays (G,) in [0, 1]: at each single rate the true curve lies between them with probability `level`.

    Both counts behind a point of the curve are binomial, whatever the distribution of the scores. Of n normals
    K ~ Binomial(n, t) score above the threshold whose true false-positive rate is t, so it lies between the K-th and
    the (K+1)-th largest of them; and of m anomalies h ~ Binomial(m, TPR) score above it, which Clopper and Pearson
    turn into limits of TPR. The two are melded: `lo` is the tail quantile of Beta(h, m + 1 - h) mixed over K, with h
    the anomalies above the K-th normal (none for K = 0), `hi` that of Beta(h + 1, m - h), with those down to the
    (K+1)-th. Unlike the bootstrap's, the band has width where the curve is at 1, and says that nothing is known of
    rates well below 1/n. Ties widen it. Binomial(n, t) is replaced by 400 equally likely quantiles of it.

    Raises ConfigError if level is not in (0, 1); DataError as `evaluate`, without images of a kind, or for a rate
    outside [0, 1].

    References: M. Fay, M. Proschan, E. Brittain, "Combining one-sample confidence procedures for inference in the
    two-sample case", Biometrics 71 (2015); R. Hilgers, "Distribution-free confidence bounds for ROC curves",
    Methods of Information in Medicine 30 (1991).

    >>> low, high = roc_band(np.arange(40), np.arange(40) >= 20, fpr=[0.1, 0.5])
    >>> bool(low[0] < low[1] < 1), high.tolist()
    (True, [1.0, 1.0])
    """
    check_fraction("level", level)
    values = real_array("scores", scores, ndim=1)
    truth = check_truth(is_anomaly, values.shape)
    check_counts(truth, least=1)
    rates = real_array("fpr", fpr, ndim=1)
    if rates.min() < 0 or rates.max() > 1:
        raise DataError(f"fpr: from {rates.min():g} to {rates.max():g}, must be between 0 and 1")
    normals, anomalies = np.sort(values[~truth])[::-1], np.sort(values[truth])
    m = anomalies.size
    # Anomalies above the K-th normal, K = 0..n, and down to the (K+1)-th.
    above = np.append(0, m - np.searchsorted(anomalies, normals, side="right"))
    down_to = np.append(m - np.searchsorted(anomalies, normals, side="left"), m)
    nodes = (np.arange(400) + 0.5) / 400
    # For each of the G rates 400 values of K, (G, 400).
    k = np.asarray(stats.binom.ppf(nodes, normals.size, rates[:, None]), dtype=np.intp)
    tail = (1 - level) / 2
    lo = _mixed_beta_quantile(above[k], m + 1 - above[k], tail)
    return lo, _mixed_beta_quantile(down_to[k] + 1, m - down_to[k], 1 - tail)


def _mixed_beta_quantile(a: npt.NDArray[np.intp], b: npt.NDArray[np.intp], q: float) -> Floats:
    """Return the q-quantile (G,) of each row's even mixture of Beta(a, b), (G, J); a = 0 is all at 0, b = 0 at 1."""
    low, high = np.zeros(len(a)), np.ones(len(a))
    # Bisection, to 1e-7.
    for _ in range(24):
        middle = (low + high) / 2
        cdf = special.betainc(np.maximum(a, 1), np.maximum(b, 1), middle[:, None])
        cdf[a == 0], cdf[b == 0] = 1.0, 0.0
        reached = cdf.mean(axis=1) >= q
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    # The ends of [0, 1] are reached where enough of the mixture lies there.
    low[(a == 0).mean(axis=1) >= q] = 0.0
    low[(b == 0).mean(axis=1) > 1 - q] = 1.0
    return low


class _PairCounts(NamedTuple):
    """Scores as the AUC of weighted images needs them: sorted once, used in every replicate.

    anomalies: indices of the anomalous images, by score.
    normals: the same of the normal images.
    below: for each anomaly, the number of normals that score lower.
    up_to: for each anomaly, the number of normals that score lower or the same.
    """

    anomalies: npt.NDArray[np.intp]
    normals: npt.NDArray[np.intp]
    below: npt.NDArray[np.intp]
    up_to: npt.NDArray[np.intp]

    @classmethod
    def prepare(cls, scores: Floats, truth: Bools) -> "_PairCounts":
        order = np.argsort(scores, kind="stable")
        anomalies, normals = order[truth[order]], order[~truth[order]]
        below = np.searchsorted(scores[normals], scores[anomalies], side="left")
        up_to = np.searchsorted(scores[normals], scores[anomalies], side="right")
        return cls(anomalies, normals, below, up_to)

    def auc(self, counts: Floats) -> float:
        """Return the ROC-AUC when image i occurs `counts[i]` times; a tie counts a half."""
        normals = np.concatenate(([0.0], np.cumsum(counts[self.normals])))
        anomalies = counts[self.anomalies]
        pairs = anomalies @ (normals[self.below] + normals[self.up_to]) / 2
        return float(pairs / (anomalies.sum() * normals[-1]))


def _resample(strata: npt.NDArray[np.intp], rng: np.random.Generator) -> Floats:
    """Draw how often each image occurs in a bootstrap sample, float64 (N,); each stratum keeps its size."""
    order = np.argsort(strata, kind="stable")
    sizes = np.bincount(strata)
    first = np.repeat(np.cumsum(sizes) - sizes, sizes)
    drawn = order[first + rng.integers(0, np.repeat(sizes, sizes))]
    return np.bincount(drawn, minlength=strata.size).astype(np.float64)
