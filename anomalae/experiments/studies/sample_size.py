"""How many trainings show a difference of two recipes, by the paired t-test."""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy.stats import nct, norm
from scipy.stats import t as student

# Of the test: its level, and the probability with which it should find the difference.
LEVEL, POWER = 0.05, 0.8


def seeds_needed(sd: float | None, difference: float) -> int | None:
    """Return how many trainings of each of two recipes show a difference of their means, most probably.

    sd: standard deviation of the difference of two trainings that share a seed.
    difference: of the means, above 0.

    By the paired t-test: the least number at which a two-sided test at the 5% level finds it with a probability of 80%.
    At least 2. None where sd is.

    >>> seeds_needed(0.001, 0.001), seeds_needed(0.01, 0.001), seeds_needed(0.0, 0.001)
    (10, 787, 2)
    """
    if sd is None:
        return None
    effect = difference / sd if sd > 0 else math.inf
    rough = ((norm.isf(LEVEL / 2) + norm.isf(1 - POWER)) / effect) ** 2 if effect < math.inf else 0
    if rough > 300:
        # Beyond that the t-test is the normal one, but for two trainings.
        return math.ceil(rough + 1.92)
    return next(count for count in itertools.count(2) if _power(count, effect) >= POWER)


def _power(count: int, effect: float) -> float:
    """Probability that a paired t-test of so many trainings finds an effect, in standard deviations."""
    shift = effect * math.sqrt(count)
    limit = float(student.isf(LEVEL / 2, count - 1))
    # SciPy's noncentral t is no number far out: there the upper tail is 1, and the lower one 0 much before that.
    if shift > 3 * limit:
        return 1.0
    return float(nct.sf(limit, count - 1, shift) + np.nan_to_num(nct.cdf(-limit, count - 1, shift)))
