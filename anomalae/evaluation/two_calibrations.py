"""Two sets of calibration scores side by side: a run's own, and those of images of one's own."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalae.evaluation.checks import ordered_vector
from anomalae.evaluation.conformal import false_alarm_band, smallest_alpha, smallest_fdr, threshold

# At most so many pairs are compared exactly; beyond, the limit of large samples stands in.
EXACT = 10**8
# At this p-value or a smaller one two sets of scores are said to differ.
DIFFERS = 0.05


@dataclass(frozen=True)
class TwoCalibrations:
    """What images of one's own say of the run's threshold, and of their own.

    n, n_before: numbers of one's own images, and of the run's.
    alpha: false-alarm level of what follows.
    n_flagged: how many of one's own the run's threshold flags.
    band: shares that it should flag of as many images like the run's own, 95 times in 100.
    p_value: of the two-sample Kolmogorov-Smirnov test that both sets of scores are of the same kind.
    median, median_before: of the scores.
    threshold, threshold_before: above which a score is flagged; None where nothing can be.
    smallest_alpha: at which one's own images can flag anything.
    smallest_fdr: at which they flag where no more than a tenth of all images has to be.

    >>> compare_calibrations(np.arange(50.0), np.arange(60.0) - 20, alpha=0.1).n_flagged
    15
    """

    n: int
    n_before: int
    alpha: float
    n_flagged: int
    band: tuple[float, float]
    p_value: float
    median: float
    median_before: float
    threshold: float | None
    threshold_before: float | None
    smallest_alpha: float
    smallest_fdr: float

    @property
    def differs(self) -> bool:
        """Whether the test tells the two sets apart."""
        return self.p_value <= DIFFERS


def compare_calibrations(own: npt.ArrayLike, before: npt.ArrayLike, alpha: float) -> TwoCalibrations:
    """Set calibration scores of images of one's own beside those of a run.

    own: float64 (n,), n at least 1, higher = more anomalous.
    before: float64 (m,), m at least 1, of the run's calibration images.
    alpha: false-alarm level, above 0 and below 1.

    Returns the comparison; its test is exact up to 10^8 pairs of scores. Raises ConfigError for an alpha out of range,
    and for scores that `threshold` refuses.

    >>> rng = np.random.default_rng(0)
    >>> compare_calibrations(rng.normal(size=100), rng.normal(size=500), alpha=0.05).differs
    False
    >>> compare_calibrations(rng.normal(size=100) + 1, rng.normal(size=500), alpha=0.05).differs
    True
    """
    # This import is slow, and scoring does without it.
    from scipy.stats import ks_2samp

    limit_before, limit = threshold(before, alpha), threshold(own, alpha)
    mine = ordered_vector("own", own)
    its = ordered_vector("before", before)
    flagged = 0 if limit_before is None else int((mine > limit_before).sum())
    exact = mine.size * its.size <= EXACT
    with warnings.catch_warnings():
        # Where the exact sum comes to 1 and a bit, SciPy says so and takes the other way, which gives 1 there too.
        warnings.simplefilter("ignore", RuntimeWarning)
        test = ks_2samp(mine, its, method="exact" if exact else "asymp")
    return TwoCalibrations(
        n=mine.size,
        n_before=its.size,
        alpha=float(alpha),
        n_flagged=flagged,
        band=false_alarm_band(its.size, mine.size, alpha),
        p_value=float(test.pvalue),
        median=float(np.median(mine)),
        median_before=float(np.median(its)),
        threshold=limit,
        threshold_before=limit_before,
        smallest_alpha=smallest_alpha(mine.size),
        smallest_fdr=smallest_fdr(mine.size),
    )
