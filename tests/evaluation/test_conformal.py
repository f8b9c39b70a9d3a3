"""Conformal p-values and thresholds: one verdict from both, rates as promised, bad input refused by name."""

import itertools
import math
import re
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom, false_discovery_control

from anomalae.errors import ConfigError
from anomalae.evaluation.conformal import (
    MIN_CALIBRATION,
    benjamini_hochberg,
    calibration_warning,
    check_alpha,
    false_alarm_band,
    fdr_warning,
    p_values,
    raised,
    smallest_alpha,
    smallest_fdr,
    threshold,
)

# Few distinct values, so that ties are common; infinities are scores like any other.
SCORES = st.one_of(
    st.integers(-3, 3).map(float),
    st.sampled_from([float("inf"), -float("inf"), 0.1, 1e-300]),
    st.floats(-2, 2),
)
ALPHAS = st.one_of(
    st.floats(1e-6, 1 - 1e-6),
    st.integers(1, 99).map(lambda percent: percent / 100),
    st.tuples(st.integers(1, 60), st.integers(1, 60)).map(lambda pair: pair[0] / (pair[0] + pair[1])),
)


def loop_p_value(score, calibration):
    return (1 + sum(limit >= score for limit in raised(calibration))) / (len(calibration) + 1)


def loop_raised(calibration):
    ordered = sorted(calibration)
    finite = [x for x in ordered if np.isfinite(x)] or [0.0]
    if ordered == list(range(1, len(ordered) + 1)):
        return ordered
    low, high = finite[(len(finite) - 1) // 4], finite[-(-(len(finite) - 1) * 3 // 4)]
    limits = []
    for place, score in enumerate(ordered):
        top, following = score, ordered[place + 1 :]
        while following and following[0] - top <= min(1e-5, 0.1 / len(finite)) * (high - low):
            top = following.pop(0)
        limits.append(top + min(5e-4 * (high - low), (min(following, default=np.inf) - top) / 2))
    return limits


@given(st.lists(SCORES, min_size=1, max_size=40))
@settings(database=None, deadline=None)
def test_raised_equals_the_loop(calibration):
    with np.errstate(invalid="raise"):
        limits = raised(calibration)
    np.testing.assert_allclose(limits, loop_raised(calibration), rtol=1e-15, atol=1e-300)
    assert (limits >= sorted(calibration)).all()


@given(st.lists(SCORES, max_size=20), st.lists(SCORES, min_size=1, max_size=40))
@settings(database=None, deadline=None)
def test_p_values_equal_the_loop(scores, calibration):
    assert p_values(scores, calibration).tolist() == [loop_p_value(score, calibration) for score in scores]


@given(st.lists(SCORES, min_size=1, max_size=60), st.lists(SCORES, max_size=20), ALPHAS)
@settings(database=None, deadline=None, max_examples=150)
def test_above_the_threshold_is_p_at_most_alpha(calibration, others, alpha):
    scores = np.array(calibration + others)
    scores = np.concatenate([scores, np.nextafter(scores, np.inf), np.nextafter(scores, -np.inf)])
    limit = threshold(calibration, alpha)
    flagged = np.zeros(scores.shape, dtype=bool) if limit is None else scores > limit
    np.testing.assert_array_equal(flagged, p_values(scores, calibration) <= alpha)


@pytest.mark.parametrize("percent", range(1, 100))
def test_the_rank_is_exact_where_alpha_times_n_is_whole(percent):
    # 0.29 * 100 is 28.999999999999996 in floats, 0.07 * 100 is 7.000000000000001.
    n = 99
    numbers = np.arange(1.0, n + 1)
    assert threshold(numbers, percent / 100) == raised(numbers)[n - percent]
    # Times 100 the number next below is rounded up to `percent` too.
    below = threshold(numbers, np.nextafter(percent / 100, 0))
    assert below == (raised(numbers)[n - percent + 1] if percent > 1 else None)


def test_threshold_by_hand():
    # Between the quartiles are 10 and 2: half a thousandth of that is a tie. 1, 2, ... n are ranks of folds.
    assert threshold(np.arange(19.0), 0.05) == pytest.approx(18.005, abs=1e-12)
    assert threshold(np.arange(18.0), 0.05) is None
    assert threshold([3.0, 1.0, 2.0], np.float32(0.5)) == 2.0
    assert threshold([5], 0.5) == 5.0


def test_scores_apart_by_rounding_are_ties_whatever_their_scale():
    rng = np.random.default_rng(0)
    for scale, shift in ((1.0, 0.0), (0.01, 0.03), (12.0, 95.0), (1e-9, 0.0), (1e12, -1e13)):
        calibration = scale * rng.exponential(size=592) + shift
        before = p_values(calibration, calibration)
        # What rounding was found to make, in parts of the distance between quartiles: usually, and at the worst.
        for rounding, others in ((4e-6, 0), (2e-4, 60)):
            again = calibration + scale * rng.uniform(-rounding, rounding, 592)
            assert (p_values(again, calibration) != before).sum() <= others
        assert (before >= (1 + np.argsort(np.argsort(-calibration))) / 593).all()
        # What is no tie is none: 592 scores have 592 ranks but for a few that lie so close.
        assert len(set(before)) > 585
    # Where most are equal nothing is raised, and where a few lie close together they are no more than they were.
    assert raised([1.0] * 9 + [2.0]).tolist() == [1.0] * 9 + [2.0]
    assert raised([2e-9, 1e-9, np.inf]).tolist() == pytest.approx([1.0005e-9, 2.0005e-9, np.inf], rel=1e-9)
    assert raised([-np.inf, np.inf]).tolist() == [-np.inf, np.inf]
    assert raised([-1.7e308, -1.7e308, 1.7e308, 1.7e308])[0] < -1.6e308


def test_scores_that_are_just_so_far_apart_as_counts_as_one_are_raised_alike():
    # The quartiles are 0 and 1.
    below, above = 1e-5, np.nextafter(1e-5, 1)
    assert len(set(raised([-1.0, 0.0, below, 1.0, 2.0]))) == 4
    assert len(set(raised([-1.0, 0.0, above, 1.0, 2.0]))) == 5


def test_p_values_leave_their_input_alone_and_take_any_real_dtype():
    calibration = np.array([3, 1, 2], dtype=np.int16)
    scores = np.array([2, 0], dtype=np.float32)
    result = p_values(scores, calibration)
    assert result.dtype == np.float64
    assert result.tolist() == [0.75, 1.0]
    assert calibration.tolist() == [3, 1, 2]
    assert p_values([1.5], [1, 2]).tolist() == [2 / 3]


def test_p_values_of_no_images_are_none():
    assert p_values(np.empty(0), [1.0]).shape == (0,)


@pytest.mark.parametrize(
    ("scores", "calibration", "message"),
    [
        ([1.0], np.empty(0), "calibration: 0 scores, at least 1 is needed"),
        ([1.0, np.nan], [1.0], r"scores\[1\] is nan: must be a number"),
        ([1.0], [0.0, 1.0, np.nan], r"calibration\[2\] is nan: must be a number"),
        ([[1.0]], [1.0], r"scores: must be real numbers of shape \(N,\), not float64 of shape \(1, 1\)"),
        (["1"], [1.0], r"scores: must be real numbers of shape \(N,\), not <U1"),
        ([1j], [1.0], "scores: must be real numbers"),
    ],
)
def test_bad_scores_are_refused(scores, calibration, message):
    with pytest.raises(ConfigError, match=message):
        p_values(scores, calibration)


def test_threshold_refuses_what_p_values_refuses():
    with pytest.raises(ConfigError, match=r"calibration\[0\] is nan"):
        threshold([np.nan], 0.5)
    with pytest.raises(ConfigError, match="calibration: 0 scores"):
        threshold(np.empty(0), 0.5)


@pytest.mark.parametrize("alpha", [0, 1, 0.0, 1.0, -0.1, 1.5, float("nan"), float("inf"), "0.05", None, True])
def test_alpha_outside_the_open_interval_is_refused(alpha):
    message = f"alpha {alpha}: must be above 0 and below 1"
    for call in (
        lambda: check_alpha(alpha),
        lambda: threshold([1.0], alpha),
        lambda: calibration_warning(100, alpha),
        lambda: false_alarm_band(100, 100, alpha),
    ):
        with pytest.raises(ConfigError) as caught:
            call()
        assert str(caught.value) == message


@pytest.mark.parametrize("alpha", [1e-9, 0.05, np.float64(0.05), np.float32(0.5), 1 - 1e-9])
def test_alpha_inside_is_taken(alpha):
    check_alpha(alpha)


def test_warning_names_the_count_and_an_alpha_that_flags():
    assert calibration_warning(40, 0.05) is None
    assert calibration_warning(19, 0.05).startswith("19 calibration images, fewer than 40: ")
    assert "60 calibration images cannot flag at alpha 0.01: " in calibration_warning(60, 0.01)
    assert "18 calibration images cannot flag at alpha 0.05: " in calibration_warning(18, 0.05)
    assert calibration_warning(1, 0.5).startswith("1 calibration image, fewer than 40")
    assert calibration_warning(9, 0.05).endswith("the smallest alpha that can flag is 0.100")
    for n in range(1, 200):
        warning = calibration_warning(n, 0.001)
        named = float(warning.rsplit(" ", 1)[1])
        assert "\n" not in warning
        assert smallest_alpha(n) <= named <= 1.01 * smallest_alpha(n)
        assert threshold(np.arange(n), named) == raised(np.arange(n))[-1]


def test_warning_counts_from_min_calibration_on():
    assert calibration_warning(MIN_CALIBRATION, 0.5) is None
    assert calibration_warning(MIN_CALIBRATION - 1, 0.5) is not None
    assert smallest_alpha(MIN_CALIBRATION) == 1 / 41


@pytest.mark.parametrize("n", [1, 18, 19, 39, 40, 99, 199, 590])
@pytest.mark.parametrize("fdr", [0.001, 0.01, 0.025, 0.05, 0.2, 0.5])
def test_fdr_warning_says_which_share_must_be_flagged(n, fdr):
    warning, images = fdr_warning(n, fdr), 1000
    smallest = np.full(images, 1 / (n + 1))
    # Of so many images as anomalous as can be, the others as normal as can be, all are flagged, or none.
    least = next(
        (
            flagged
            for flagged in range(1, images + 1)
            if benjamini_hochberg(np.where(np.arange(images) < flagged, smallest, 1), fdr).any()
        ),
        None,
    )
    if least is None:
        named = float(warning.rsplit(" ", 1)[1])
        assert f"cannot flag at FDR {fdr}: " in warning
        assert benjamini_hochberg(smallest, named).all()
        assert named <= 1.01 / (n + 1)
    elif least > images / 10:
        share = float(re.search(f"FDR {fdr} flags at least (.*)% of the scored images, or none", warning)[1])
        assert share - 0.05 <= 100 * least / images <= share + 0.05 + 100 / images
    else:
        assert warning is None


def test_the_smallest_fdr_is_the_one_at_which_the_warning_ends():
    for n in (12, 40, 99, 590):
        assert fdr_warning(n, smallest_fdr(n) * 1.0001) is None
        assert "flags at least 10.0% of the scored images" in fdr_warning(n, smallest_fdr(n) * 0.9999)
    assert smallest_fdr(8) == 1.0


def test_fdr_warning_refuses_what_is_no_share():
    for fdr in (0, 1, float("nan")):
        with pytest.raises(ConfigError, match=r"fdr .*: must be above 0 and below 1"):
            fdr_warning(40, fdr)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.floats(0.01, 0.99))
@settings(database=None, deadline=None)
def test_benjamini_hochberg_against_scipy(p, fdr):
    adjusted = false_discovery_control(p)
    clear = np.abs(adjusted - fdr) > 1e-9  # both may round either way where they meet
    np.testing.assert_array_equal(benjamini_hochberg(p, fdr)[clear], (adjusted <= fdr)[clear])


def test_benjamini_hochberg_by_hand():
    assert benjamini_hochberg([0.05, 0.5], 0.1).tolist() == [True, False]  # 0.05 meets 0.1 * 1 / 2
    assert benjamini_hochberg([0.06, 0.5], 0.1).tolist() == [False, False]
    # One alone is judged as by alpha.
    assert [benjamini_hochberg([p], 0.1).tolist() for p in (0.1, 0.11)] == [[True], [False]]
    # The second passes and takes the first with it, though 0.06 is above its own limit.
    assert benjamini_hochberg([0.1, 0.06], 0.1).tolist() == [True, True]
    # Here rounding puts the limit 0.3 * 3 / 9 below 0.1.
    assert benjamini_hochberg([0.1] * 3 + [1.0] * 6, 0.3).tolist() == [True] * 3 + [False] * 6
    assert benjamini_hochberg(np.empty(0), 0.1).shape == (0,)


def test_benjamini_hochberg_flags_few_normals_where_alpha_flags_many():
    rng = np.random.default_rng(0)
    normals = p_values(rng.normal(size=10_000), rng.normal(size=600))
    assert (normals <= 0.05).sum() > 300
    assert benjamini_hochberg(normals, 0.1).sum() < 50


@pytest.mark.parametrize(
    ("p", "fdr", "message"),
    [
        ([0.1, np.nan], 0.1, r"p\[1\] is nan"),
        ([0.1, 1.5], 0.1, r"p\[1\] is 1\.5: must be between 0 and 1"),
        ([-0.1], 0.1, r"p\[0\] is -0\.1: must be between 0 and 1"),
        ([0.1], 1.5, "fdr 1.5: must be above 0 and below 1"),
    ],
)
def test_benjamini_hochberg_refuses(p, fdr, message):
    with pytest.raises(ConfigError, match=message):
        benjamini_hochberg(p, fdr)


def test_false_alarm_band_against_simulation():
    """Fresh calibration and test sets each time: the rates follow the law, and lie in the band."""
    rng = np.random.default_rng(0)
    n, n_test, alpha, times = 60, 80, 0.1, 4000
    held_out = rng.exponential(size=(times, n))
    limits = np.array([raised(scores)[n - 6] for scores in held_out])  # k = floor(0.1 * 61)
    assert limits[0] == threshold(held_out[0], alpha)
    alarms = (rng.exponential(size=(times, n_test)) > limits[:, None]).sum(axis=1)
    law = betabinom(n_test, 6, 55)
    assert alarms.mean() == pytest.approx(law.mean(), abs=4 * law.std() / times**0.5)
    lo, hi = false_alarm_band(n, n_test, alpha)
    inside = ((alarms >= lo * n_test - 1e-9) & (alarms <= hi * n_test + 1e-9)).mean()
    expected = law.cdf(round(hi * n_test)) - law.cdf(round(lo * n_test) - 1)
    assert 0.95 <= expected < 0.98
    assert inside == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize(("n", "k", "alpha"), [(9, 3, 0.3), (19, 1, 0.05), (40, 4, 0.1), (100, 50, 0.5)])
@pytest.mark.parametrize("n_test", [1, 20, 300])
def test_false_alarm_band_by_counting_orders(n, k, alpha, n_test):
    """All orders of calibration and test scores are alike: of how many lie j test scores above the k-th largest?"""
    orders = [math.comb(j + k - 1, j) * math.comb(n_test - j + n - k, n - k) for j in range(n_test + 1)]
    assert sum(orders) == math.comb(n + n_test, n)
    reached = np.array([Fraction(below, sum(orders)) for below in itertools.accumulate(orders)])
    expected = [int(np.argmax(reached >= share)) / n_test for share in (Fraction(1, 10), Fraction(9, 10))]
    assert false_alarm_band(n, n_test, alpha, level=0.8) == pytest.approx(tuple(expected))


def test_false_alarm_band_narrows_to_alpha():
    lo, hi = false_alarm_band(100_000, 100_000, 0.05)
    assert 0.047 < lo < 0.05 < hi < 0.053
    narrow, wide = false_alarm_band(500, 1000, 0.05, level=0.5), false_alarm_band(500, 1000, 0.05, level=0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_false_alarm_band_without_a_threshold_is_zero():
    assert false_alarm_band(10, 1000, 0.05) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 10, 0.05), "n_calibration 0: must be at least 1"),
        ((10, 0, 0.05), "n_test 0: must be at least 1"),
        ((10, 10, 0.05, 1.0), "level 1.0: must be above 0 and below 1"),
    ],
)
def test_false_alarm_band_refuses(arguments, message):
    with pytest.raises(ConfigError, match=message):
        false_alarm_band(*arguments)


def test_infinite_calibration_scores_raise_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert p_values([np.inf, 1.0], [np.inf, 0.0]).tolist() == [2 / 3, 2 / 3]
