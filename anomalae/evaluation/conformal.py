"""Scores of held-out normal images turned into p-values, thresholds and flags (split conformal inference).

Nothing here ever sees an anomaly or a label. The promises rest on one assumption: a new normal image is
*exchangeable* with the calibration images (it comes from the same source, and none was used in training).
For other images, a scanner's instead of MNIST's say, the false-alarm rate can be anything.

References: V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World" (2005);
S. Bates et al., "Testing for outliers with conformal p-values", Annals of Statistics 51 (2023).
"""

import math
from decimal import ROUND_CEILING, Context, Decimal

import numpy as np
import numpy.typing as npt

from anomalae.errors import ConfigError
from anomalae.evaluation.checks import check_fraction, check_probabilities, ordered_vector

# With fewer calibration images there is a warning: a p-value moves in steps of more than 0.025 then.
MIN_CALIBRATION = 40
# There is a warning where a false discovery rate flags a larger share of the scored images than this, or none.
HARDLY_EVER = 0.1
# Scores are sums in single precision, and of one image differ with the batch, the threads, the processor: as seen by
# 4e-6 of the distance between the quartiles of normal scores, likelihood ratios by 2e-4. Calibration scores no
# farther apart than SAME of that are one; a score is a tie with the nearest one within TIE.
SAME, TIE = 1e-5, 5e-4
# Conformal p-values are fractions that often meet a limit exactly: this much of it is put down to rounding.
ROUNDING = 1e-12


def p_values(
    scores: npt.ArrayLike, calibration: npt.ArrayLike, *, ties: bool = True
) -> npt.NDArray[np.float64]:
    """Return the share of normal images that look at least as anomalous: `p = (1 + #{calibration >= s}) / (n + 1)`.

    scores: (N,), real, higher = more anomalous; infinite ones are ordered like any other number.
    calibration: the scores (n,) of n >= 1 held-out normal images. One that is lower than s by no more than rounding
        counts as a tie, see `raised`.
    ties: False compares with the calibration scores as they are, which was the rule before there was `raised`.

    Returns float64 (N,) in [1/(n+1), 1]; small = anomalous. For an exchangeable normal image
    `P(p <= alpha) <= alpha` at every alpha, on the average over calibration sets.

    Raises ConfigError if a score is NaN, an array is not one-dimensional and real, or `calibration` is empty.

    >>> p_values([0.5, 2.5, 9.0], calibration=[1.0, 2.0, 3.0]).tolist()
    [1.0, 0.5, 0.25]
    """
    limits = raised(calibration) if ties else np.sort(_calibration_scores(calibration))
    return p_values_by(limits, scores)


def p_values_by(limits: npt.NDArray[np.float64], scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return `p_values` of scores (N,) by the limits that `raised` gave, for those who judge by them often.

    Returns float64 (N,). Raises ConfigError for scores that `p_values` refuses.

    >>> p_values_by(raised([1.0, 2.0, 3.0]), [0.5, 2.5, 9.0]).tolist()
    [1.0, 0.5, 0.25]
    """
    values = ordered_vector("scores", scores)
    at_least = limits.size - np.searchsorted(limits, values, side="left")
    return np.asarray((1 + at_least) / (limits.size + 1), dtype=np.float64)


def threshold(calibration: npt.ArrayLike, alpha: float) -> float | None:
    """Return the score above which an image is flagged at `alpha`: the k-th largest calibration score, `raised`.

    calibration: the scores (n,) of n >= 1 held-out normal images.
    alpha: false-alarm level, in (0, 1).

    Here `k = floor(alpha (n + 1))`, and `score > threshold` equals `p_values(score) <= alpha` for every
    score, ties included. None if k = 0: with so few calibration images nothing can be flagged at this alpha.

    Raises ConfigError if alpha is not in (0, 1), or for calibration scores that `p_values` refuses.

    >>> round(threshold([0.1, 0.4, 0.2, 0.3], alpha=0.4), 5)
    0.30015
    >>> threshold([0.1, 0.4, 0.2, 0.3], alpha=0.1) is None
    True
    """
    held_out = raised(calibration)
    k = _rank(held_out.size, alpha)
    return float(held_out[-k]) if k else None


def raised(calibration: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return calibration scores in ascending order, each raised by as much as counts as a tie.

    calibration: the scores (n,) of n >= 1 held-out normal images.

    Scores of one image are not quite the same in a batch of another size, on another processor or in another runtime.
    So that a calibration image scored again gets the p-value that it had, scores are compared with these: half way to
    the next calibration score, but higher by no more than 5e-4 of the distance between the quartiles of the finite
    ones. Those at most 1e-5 of it apart are raised like the highest of them. p-values are never smaller for it, and
    keep what they promise. Where the quartiles are equal none is raised, nor are 1, 2, ... n, which stand for
    the scores of folds: `cross_conformal.positions` are between them.

    Returns float64 (n,). Raises ConfigError for calibration scores that `p_values` refuses.

    >>> raised([0.3, 0.1, 0.2, 0.1]).round(5).tolist()
    [0.1001, 0.1001, 0.2001, 0.3001]
    """
    held_out = np.sort(_calibration_scores(calibration))
    there = np.isfinite(held_out)
    finite = held_out[there]
    if not finite.size or np.array_equal(held_out, np.arange(1, held_out.size + 1)):
        return held_out
    # Divided first, as a difference of the largest numbers there are would be infinite.
    low, high = finite[(finite.size - 1) // 4], finite[-(-(finite.size - 1) * 3 // 4)]
    same, tie = (share * high - share * low for share in (min(SAME, 0.1 / finite.size), TIE))
    half = np.append(np.diff(finite / 2), np.inf)
    last = np.flatnonzero(half > same / 2)
    last = last[np.searchsorted(last, np.arange(finite.size))]
    with np.errstate(over="ignore"):
        limits = finite[last] + np.minimum(half[last], tie)
    held_out[there] = np.minimum(limits, np.finfo(np.float64).max)
    return held_out


def check_alpha(alpha: float) -> None:
    """Raise ConfigError unless `alpha` is a number in the open interval (0, 1)."""
    check_fraction("alpha", alpha)


def smallest_alpha(n: int) -> float:
    """Return the smallest alpha at which `n` calibration images can flag anything, 1 / (n + 1)."""
    return 1 / (n + 1)


def smallest_fdr(n: int) -> float:
    """Return the smallest FDR that needs to flag no more than HARDLY_EVER of all images, or none; at most 1."""
    return min(1.0, smallest_alpha(n) / HARDLY_EVER)


def calibration_warning(n: int, alpha: float) -> str | None:
    """Return one line if `n` calibration images are fewer than MIN_CALIBRATION or cannot flag at `alpha`, else None.

    n: number of calibration images.
    alpha: false-alarm level, in (0, 1).

    Raises ConfigError if alpha is not in (0, 1).

    >>> calibration_warning(12, alpha=0.05)
    '12 calibration images cannot flag at alpha 0.05: the smallest alpha that can flag is 0.0770'
    >>> calibration_warning(600, alpha=0.05) is None
    True
    """
    smallest = smallest_alpha_shown(n)
    images = f"{n} calibration image{'' if n == 1 else 's'}"
    if _rank(n, alpha) == 0:
        return f"{images} cannot flag at alpha {alpha}: the smallest alpha that can flag is {smallest}"
    if n < MIN_CALIBRATION:
        return f"{images}, fewer than {MIN_CALIBRATION}: the smallest alpha that can flag is {smallest}"
    return None


def fdr_warning(n: int, fdr: float) -> str | None:
    """Return one line if `benjamini_hochberg` at `fdr` can flag nothing, or hardly ever, with n calibration images.

    No p-value is below 1 / (n + 1), so the flagged images are at least a share `1 / (fdr (n + 1))` of all that are
    scored together, or none is flagged.

    n: number of calibration images.
    fdr: in (0, 1).

    Returns None if that share is at most HARDLY_EVER. Raises ConfigError if fdr is not in (0, 1).

    >>> fdr_warning(40, 0.01)
    '40 calibration images cannot flag at FDR 0.01: the smallest FDR that can flag is 0.0244'
    >>> fdr_warning(999, 0.05)
    """
    check_fraction("fdr", fdr)
    images = f"{n} calibration image{'' if n == 1 else 's'}"
    share = smallest_alpha(n) / float(fdr)
    if share > 1 + ROUNDING:
        return (
            f"{images} cannot flag at FDR {fdr}: the smallest FDR that can flag is {smallest_alpha_shown(n)}"
        )
    if share > HARDLY_EVER:
        return f"with {images} FDR {fdr} flags at least {share:.1%} of the scored images, or none"
    return None


def benjamini_hochberg(p: npt.ArrayLike, fdr: float) -> npt.NDArray[np.bool_]:
    """Flag images so that at most a share `fdr` of the flagged ones is normal, in expectation.

    With N sorted p-values, the i smallest are flagged for the largest i with `p_(i) <= fdr i / N`. This holds for
    conformal p-values that share one calibration set too (Bates et al. 2023, theorem 2; ties by rounding aside).

    p: p-values (N,) in [0, 1]; N may be 0.
    fdr: in (0, 1).

    Returns bool (N,), equal p-values alike.

    Raises ConfigError if a p-value is NaN or out of range, or fdr is not in (0, 1).

    Reference: Y. Benjamini, Y. Hochberg, J. R. Statist. Soc. B 57 (1995).

    >>> benjamini_hochberg([0.01, 0.9, 0.04, 0.02], fdr=0.1).tolist()
    [True, False, True, True]
    """
    check_fraction("fdr", fdr)
    values = ordered_vector("p", p)
    check_probabilities("p", values, ConfigError)
    ordered = np.sort(values)
    limits = float(fdr) * np.arange(1, values.size + 1) / max(values.size, 1)
    passed = ordered[ordered <= limits * (1 + ROUNDING)]
    return np.asarray(values <= passed[-1]) if passed.size else np.zeros(values.shape, dtype=np.bool_)


def false_alarm_band(
    n_calibration: int, n_test: int, alpha: float, level: float = 0.95
) -> tuple[float, float]:
    """Return the central interval (lo, hi) in which the false-alarm rate should lie with probability `level`.

    n_calibration: number of calibration images, at least 1.
    n_test: number of other normal images, exchangeable with them, at least 1.
    alpha: false-alarm level, in (0, 1).
    level: probability with which the band holds the rate, in (0, 1).

    `threshold` at `alpha` from the calibration images, applied to the others, raises a beta-binomial number of alarms:
    with `k = floor(alpha (n + 1))` the chance of a false one is itself drawn, from Beta(k, n + 1 - k), with the
    calibration set. The band holds for scores without ties (tied scores give fewer alarms), and says nothing of
    other kinds of images.

    Raises ConfigError if a count is below 1, or alpha or level is not in (0, 1).

    >>> low, high = false_alarm_band(n_calibration=592, n_test=980, alpha=0.05)
    >>> round(low, 3), round(high, 3)
    (0.029, 0.072)
    """
    # This import is slow, and scoring does without it.
    from scipy.stats import betabinom

    check_fraction("level", level)
    for name, count in (("n_calibration", n_calibration), ("n_test", n_test)):
        if count < 1:
            raise ConfigError(f"{name} {count}: must be at least 1")
    k = _rank(n_calibration, alpha)
    if k == 0:
        return 0.0, 0.0
    lo, hi = betabinom(n_test, k, n_calibration + 1 - k).interval(level)
    return float(lo) / n_test, float(hi) / n_test


def smallest_alpha_shown(n: int) -> Decimal:
    """Return 1 / (n + 1) in three digits, rounded up where it must be for the level we name to flag."""
    exact = smallest_alpha(n)
    nearest = Context(prec=3).create_decimal_from_float(exact)
    if _rank(n, float(nearest)):
        return nearest
    return Context(prec=3, rounding=ROUND_CEILING).create_decimal_from_float(exact)


def _rank(n: int, alpha: float) -> int:
    """Return floor(alpha (n + 1)), taken as the largest k whose p-value k / (n + 1) is at most alpha *as floats*.

    alpha * (n + 1) can round to the wrong side of an integer. Division rounds correctly and is monotone, so
    counting in p-values makes threshold and p-value agree for every alpha.
    """
    check_alpha(alpha)
    alpha = float(alpha)
    k = math.floor(alpha * (n + 1)) + 1
    while k / (n + 1) > alpha:
        k -= 1
    return k


def _calibration_scores(calibration: npt.ArrayLike) -> npt.NDArray[np.float64]:
    held_out = ordered_vector("calibration", calibration)
    if held_out.size == 0:
        raise ConfigError("calibration: 0 scores, at least 1 is needed")
    return held_out
