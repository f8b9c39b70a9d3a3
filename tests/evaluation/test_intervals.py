"""Intervals against an independent answer: direct sums, simulation, other bootstraps, cases by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from anomalae.errors import ConfigError, DataError
from anomalae.evaluation.delong_covariance import delong_covariance
from anomalae.evaluation.intervals import (
    _resample,
    bootstrap_interval,
    delong_interval,
    mean_auc_interval,
)
from tests.evaluation.samples import SAMPLES, binormal, direct_covariance, pair_wins, split

# --- DeLong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [0.0, 0.5])
def test_delong_covariance_against_the_direct_sums(step):
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.arange(70) < 25)
    shared = rng.normal(size=70)
    scores = np.stack([shared + 0.7 * rng.normal(size=70) + shift * truth for shift in (0.5, 1.0, 2.0)])
    if step:
        scores = np.round(scores / step) * step  # ties
    aucs, covariance = delong_covariance(scores, truth)
    np.testing.assert_allclose(aucs, [roc_auc_score(truth, row) for row in scores], atol=1e-12)
    np.testing.assert_allclose(covariance, direct_covariance(scores, truth), atol=1e-12)


@given(SAMPLES)
@settings(database=None, deadline=None, max_examples=60)
def test_delong_variance_of_small_tied_samples(sample):
    scores, truth = split(sample)
    if min(truth.sum(), (~truth).sum()) < 2:
        with pytest.raises(DataError, match="at least 2 of each are needed"):
            delong_covariance(scores[None], truth)
    else:
        _, covariance = delong_covariance(scores[None], truth)
        assert covariance[0, 0] == pytest.approx(direct_covariance(scores[None], truth)[0, 0], abs=1e-12)


def test_delong_interval_is_symmetric_on_the_logit_scale():
    scores, truth = binormal(np.random.default_rng(0), 100, 80, 1.5)
    lo, hi = delong_interval(scores, truth, level=0.9)
    auc = roc_auc_score(truth, scores)
    error = math.sqrt(direct_covariance(scores[None], truth)[0, 0]) / (auc * (1 - auc))
    logit = [math.log(x / (1 - x)) for x in (lo, auc, hi)]
    assert logit[1] - logit[0] == pytest.approx(norm.ppf(0.95) * error)
    assert logit[2] - logit[1] == pytest.approx(norm.ppf(0.95) * error)


def test_delong_agrees_with_the_stratified_bootstrap():
    scores, truth = binormal(np.random.default_rng(0), 300, 200, 1.5)
    np.testing.assert_allclose(delong_interval(scores, truth), bootstrap_interval(scores, truth), atol=0.005)
    _, covariance = delong_covariance(scores[None], truth)
    rng = np.random.default_rng(1)
    anomalies, normals = np.flatnonzero(truth), np.flatnonzero(~truth)
    drawn = [np.concatenate([rng.choice(anomalies, 200), rng.choice(normals, 300)]) for _ in range(400)]
    spread = np.var([pair_wins(scores[i], truth[i]).mean() for i in drawn], ddof=1)
    assert spread == pytest.approx(covariance[0, 0], rel=0.2)


@pytest.mark.parametrize(("n_normal", "n_anomalous"), [(60, 60), (200, 25)])
def test_delong_interval_covers(n_normal, n_anomalous):
    rng = np.random.default_rng(0)
    true_auc = norm.cdf(2.0 / math.sqrt(2))
    inside = []
    for _ in range(500):
        lo, hi = delong_interval(*binormal(rng, n_normal, n_anomalous, 2.0))
        inside.append(lo <= true_auc <= hi)
    assert 0.925 <= np.mean(inside) <= 0.985


def test_variance_vanishes_only_at_auc_0_half_and_1():
    """All samples of 2 or 3 of a kind on a grid of 4 scores: the fallback meets no other estimate."""
    met = set()
    for m, n in [(2, 2), (2, 3), (3, 2)]:
        truth = np.arange(m + n) < m
        scores = list(itertools.product(range(4), repeat=m + n))
        aucs, covariance = delong_covariance(scores, truth)
        for i in np.flatnonzero(np.diag(covariance) < 1e-12):
            met.add(float(aucs[i]))
            assert aucs[i] in (0, 1) or len(set(scores[i])) == 1
    assert met == {0.0, 0.5, 1.0}


@pytest.mark.parametrize(("n_normal", "n_anomalous"), [(1, 1), (1, 5), (5, 1), (30, 12), (1000, 9000)])
def test_fallback_by_hand(n_normal, n_anomalous):
    truth = np.arange(n_normal + n_anomalous) >= n_normal
    q = 0.025 ** (1 / min(n_normal, n_anomalous))
    assert delong_interval(truth.astype(float), truth) == pytest.approx((q, 1.0))
    assert delong_interval(-truth.astype(float), truth) == pytest.approx((0.0, 1 - q))
    assert delong_interval(np.ones(truth.size), truth) == pytest.approx((q / 2, 1 - q / 2))


def test_fallback_with_a_single_anomaly_contains_the_estimate():
    assert delong_interval([0, 1, 2, 3, 2.5], [0, 0, 0, 0, 1]) == pytest.approx(
        (0.75 * 0.025, 1 - 0.25 * 0.025)
    )


def test_fallback_covers_in_its_worst_case():
    """All normals at 0, a share T of the anomalies above, the others below: separation is likeliest here."""
    rng = np.random.default_rng(0)
    m, times = 20, 20_000
    true_auc = 0.025 ** (1 / m) - 1e-9  # just outside the interval of a separated sample
    separated = (rng.random((times, m)) < true_auc).all(axis=1).mean()
    assert separated == pytest.approx(0.025, abs=0.004)
    for auc in (0.6, 0.8, 0.9, 0.97):
        misses = 0
        for _ in range(150):
            anomalies = np.where(rng.random(m) < auc, 1.0, -1.0)
            lo, hi = delong_interval(np.append(anomalies, np.zeros(50)), np.arange(m + 50) < m)
            misses += not lo <= auc <= hi
        assert misses / 150 < 0.09


def test_fallback_shrinks_with_the_smaller_group():
    widths = []
    for n in (2, 10, 100, 1000):
        truth = np.arange(2000 + n) >= 2000
        lo, hi = delong_interval(truth.astype(float), truth)
        widths.append(hi - lo)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.004


def test_delong_interval_refuses():
    with pytest.raises(DataError, match="0 anomalous and 2 normal scores: at least 1 of each are needed"):
        delong_interval([1, 2], [0, 0])
    with pytest.raises(ConfigError, match="level 95: must be above 0 and below 1"):
        delong_interval([1, 2], [0, 1], level=95)
    with pytest.raises(DataError, match=r"scores\[1, 0\] is nan"):
        delong_covariance([[1, 2, 3, 4], [np.nan, 2, 3, 4]], [0, 0, 1, 1])


# --- bootstrap --------------------------------------------------------------------------------------------


def one_vs_rest(rng, n=240, classes=4, step=0.0):
    labels = rng.integers(0, classes, size=n)
    is_anomaly = labels[None, :] != np.arange(classes)[:, None]
    scores = rng.normal(size=n) + rng.normal(size=(classes, n)) + 1.5 * is_anomaly
    return (np.round(scores / step) * step if step else scores), is_anomaly, labels


@pytest.mark.parametrize("step", [0.0, 0.5])
def test_mean_auc_interval_against_a_loop_over_the_same_draws(step):
    scores, is_anomaly, labels = one_vs_rest(np.random.default_rng(0), step=step)
    rng = np.random.default_rng(7)
    means = []
    for _ in range(25):
        drawn = np.repeat(np.arange(labels.size), _resample(labels, rng).astype(int))
        rows = zip(scores, is_anomaly, strict=True)
        means.append(np.mean([roc_auc_score(truth[drawn], row[drawn]) for row, truth in rows]))
    expected = np.quantile(means, [0.05, 0.95])
    interval = mean_auc_interval(scores, is_anomaly, labels, resamples=25, seed=7, level=0.9)
    np.testing.assert_allclose(interval, expected, atol=1e-12)


def test_mean_auc_interval_against_an_independent_bootstrap():
    scores, is_anomaly, labels = one_vs_rest(np.random.default_rng(0))
    rng = np.random.default_rng(1)
    members = [np.flatnonzero(labels == c) for c in range(4)]
    means = []
    for _ in range(400):
        drawn = np.concatenate([rng.choice(own, own.size) for own in members])
        rows = zip(scores[:, drawn], is_anomaly[:, drawn], strict=True)
        means.append(np.mean([pair_wins(row, truth).mean() for row, truth in rows]))
    interval = mean_auc_interval(scores, is_anomaly, labels, resamples=2000)
    np.testing.assert_allclose(interval, np.quantile(means, [0.025, 0.975]), atol=0.01)


def test_one_draw_serves_all_problems():
    """The same problem ten times over is no more certain than once."""
    scores, is_anomaly, labels = one_vs_rest(np.random.default_rng(0))
    once = mean_auc_interval(scores[:1], is_anomaly[:1], labels, resamples=100)
    assert mean_auc_interval(
        np.repeat(scores[:1], 10, 0), np.repeat(is_anomaly[:1], 10, 0), labels, resamples=100
    ) == (pytest.approx(once))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(0, 1000))
@settings(database=None, deadline=None)
def test_every_stratum_keeps_its_size(strata, seed):
    strata = np.unique(strata, return_inverse=True)[1]
    counts = _resample(strata, np.random.default_rng(seed))
    np.testing.assert_array_equal(np.bincount(strata, weights=counts), np.bincount(strata))


def test_every_image_is_drawn_once_on_average():
    strata = np.array([0, 1, 1, 0, 2, 1])
    rng = np.random.default_rng(0)
    mean = np.mean([_resample(strata, rng) for _ in range(4000)], axis=0)
    np.testing.assert_allclose(mean, 1, atol=0.06)


def test_a_class_of_both_kinds_loses_neither():
    scores = [[1.0, 2.0, 3.0, 4.0]]
    lo, hi = mean_auc_interval(scores, [[0, 1, 0, 1]], ["a", "a", "b", "b"], resamples=50)
    assert (lo, hi) == (0.75, 0.75)  # four strata of one image: nothing left to draw


def test_bootstrap_is_seeded_and_obeys_its_level():
    scores, truth = binormal(np.random.default_rng(0), 60, 40, 1.0)
    assert bootstrap_interval(scores, truth, resamples=200, seed=3) == bootstrap_interval(
        scores, truth, resamples=200, seed=3
    )
    assert bootstrap_interval(scores, truth, resamples=200, seed=3) != bootstrap_interval(
        scores, truth, resamples=200, seed=4
    )
    narrow = bootstrap_interval(scores, truth, resamples=200, level=0.5)
    wide = bootstrap_interval(scores, truth, resamples=200, level=0.95)
    assert wide[0] < narrow[0] < roc_auc_score(truth, scores) < narrow[1] < wide[1]


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([[1, 2]], [[0, 0]], [0, 0]), {}, DataError, "0 anomalous and 2 normal scores"),
        (([[1, 2]], [[0, 1]], [0]), {}, DataError, r"labels: shape \(1,\), must be \(2,\)"),
        (([[1, 2]], [0, 1], [0, 1]), {}, DataError, r"is_anomaly: shape \(2,\), must be \(1, 2\)"),
        (([1, 2], [[0, 1]], [0, 1]), {}, DataError, r"scores: must be real numbers of shape \(M, N\)"),
        (([[1, 2]], [[0, 1]], [0, 1]), {"resamples": 0}, ConfigError, "resamples 0: must be at least 1"),
        (([[1, 2]], [[0, 1]], [0, 1]), {"level": 1}, ConfigError, "level 1: must be above 0 and below 1"),
    ],
)
def test_bootstrap_refuses(arguments, options, error, message):
    with pytest.raises(error, match=message):
        mean_auc_interval(*arguments, **options)
