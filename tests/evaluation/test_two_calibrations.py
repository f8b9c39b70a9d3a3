"""Two sets of calibration scores: counts by hand, the test against permutations, many scores without a warning."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp

from anomalae.errors import ConfigError
from anomalae.evaluation import compare_calibrations, false_alarm_band, threshold
from anomalae.evaluation.conformal import raised


def test_it_counts_what_the_threshold_before_flags():
    rng = np.random.default_rng(0)
    own, before = rng.normal(size=60) + 0.5, rng.normal(size=99)
    found = compare_calibrations(own, before, 0.05)
    # The fifth largest of 99: above it an image is flagged.
    fifth = raised(before)[-5]
    assert found.threshold_before == fifth == threshold(before, 0.05)
    assert found.n_flagged == sum(own > fifth) > 0
    assert found.threshold == raised(own)[-3]
    assert found.band == false_alarm_band(99, 60, 0.05)
    assert (found.n, found.n_before, found.smallest_alpha, found.smallest_fdr) == (60, 99, 1 / 61, 10 / 61)
    assert (found.median > found.median_before) is True


def test_the_p_value_is_that_of_all_ways_to_divide_the_scores():
    rng = np.random.default_rng(1)
    own, before = rng.normal(size=12) + 0.5, rng.normal(size=20)

    def distance(order: np.ndarray) -> float:
        mine, its = np.sort(order[:12]), np.sort(order[12:])
        return max(
            abs(np.searchsorted(mine, x, "right") / 12 - np.searchsorted(its, x, "right") / 20) for x in order
        )

    every = np.concatenate([own, before])
    seen = distance(every)
    drawn = [distance(rng.permutation(every)) >= seen - 1e-12 for _ in range(4000)]
    found = compare_calibrations(own, before, 0.1)
    assert found.p_value == pytest.approx(np.mean(drawn), abs=0.02)
    assert 0.001 < found.p_value < 0.2


def test_scores_of_one_kind_are_told_apart_as_seldom_as_said():
    rng = np.random.default_rng(2)
    told = [
        compare_calibrations(rng.normal(size=100), rng.normal(size=200), 0.05).differs for _ in range(300)
    ]
    assert 0.01 < np.mean(told) < 0.09


@pytest.mark.parametrize("n", [9_999, 200_000])
def test_many_scores_are_compared_without_a_warning(n):
    rng = np.random.default_rng(3)
    assert not compare_calibrations(rng.normal(size=n), rng.normal(size=997), 0.05).differs
    assert compare_calibrations(rng.normal(size=n) + 0.3, rng.normal(size=997), 0.05).p_value < 1e-6


def test_it_is_exact_up_to_a_hundred_million_pairs():
    rng = np.random.default_rng(4)
    own, before = rng.normal(size=10_001), rng.normal(size=10_000)
    for n, method, other in ((10_000, "exact", "asymp"), (10_001, "asymp", "exact")):
        found = compare_calibrations(own[:n], before, 0.05).p_value
        assert found == ks_2samp(own[:n], before, method=method).pvalue
        assert found != ks_2samp(own[:n], before, method=other).pvalue


def test_what_meets_a_limit_exactly():
    # A score at the threshold is not flagged; two sets whose test gives 0.05 differ.
    assert compare_calibrations([2.0, 2.5], [1.0] * 18 + [2.0], 0.05).n_flagged == 1
    lone = compare_calibrations([100.0], np.arange(39.0), 0.05)
    assert (lone.p_value, lone.differs) == (0.05, True)


@pytest.mark.parametrize("n", [83, 287, 437])
def test_scores_that_could_not_be_more_alike_have_a_p_value_of_1(n):
    """Of so many SciPy's exact sum is 1.0000000000000002, of which it warns."""
    assert compare_calibrations(np.arange(n), np.arange(n) + 0.5, 0.05).p_value == 1


def test_two_comparisons_of_the_same_scores_are_one():
    assert len({compare_calibrations([1.0, 2.0], [1.5], 0.5) for _ in range(2)}) == 1


def test_too_few_scores_flag_nothing():
    found = compare_calibrations(np.arange(50.0), np.arange(8.0), 0.05)
    assert (found.n_flagged, found.threshold_before, found.band) == (0, None, (0.0, 0.0))
    assert compare_calibrations(np.arange(5.0), np.arange(8.0), 0.5).smallest_fdr == 1


def test_an_alpha_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="alpha"):
        compare_calibrations([1.0], [2.0], 1.5)
