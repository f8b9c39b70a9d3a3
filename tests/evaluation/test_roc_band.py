"""The band of the ROC curve, against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, binom, norm

from anomalae.errors import ConfigError, DataError
from anomalae.evaluation.intervals import roc_band
from anomalae.evaluation.metrics import evaluate


def sample(n: int = 300, m: int = 500, distance: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(size=n), rng.normal(distance, 1, m)])
    return scores, np.arange(n + m) >= n


def test_the_band_is_the_melding_of_two_binomial_counts():
    """Against draws of what the docstring says, by loops, for scores with and without ties."""
    rng = np.random.default_rng(0)
    rates = np.array([0.0, 0.03, 0.2, 0.7, 1.0])
    for scores, truth in (sample(30, 50), (np.round(sample(40, 25)[0]), sample(40, 25)[1])):
        normals, anomalies = sorted(scores[~truth], reverse=True), scores[truth]
        n, m = len(normals), len(anomalies)
        lo, hi = roc_band(scores, truth, rates, level=0.9)
        for i, rate in enumerate(rates):
            low_draws, high_draws = [], []
            for k in rng.binomial(n, rate, 6000):
                above = 0 if k == 0 else int((anomalies > normals[k - 1]).sum())
                down_to = m if k == n else int((anomalies >= normals[k]).sum())
                low_draws.append(0.0 if above == 0 else rng.beta(above, m + 1 - above))
                high_draws.append(1.0 if down_to == m else rng.beta(down_to + 1, m - down_to))
            assert lo[i] == pytest.approx(np.quantile(low_draws, 0.05), abs=0.025)
            assert hi[i] == pytest.approx(np.quantile(high_draws, 0.95), abs=0.025)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_each_limit_leaves_half_of_the_rest_outside(level: float):
    """The law of the melded rate, summed over every count of normals, has just that share below and above the band."""
    (scores, truth), rates, tail = sample(30, 50, 1.0), np.array([0.03, 0.2, 0.7]), (1 - level) / 2
    normals, anomalies = np.sort(scores[~truth])[::-1], scores[truth]
    n, m = len(normals), len(anomalies)
    above = np.array([0, *((anomalies > normal).sum() for normal in normals)])
    down_to = np.array([*((anomalies >= normal).sum() for normal in normals), m])
    for rate, lo, hi in zip(rates, *roc_band(scores, truth, rates, level=level), strict=True):
        chances = binom.pmf(np.arange(n + 1), n, rate)
        below = np.where(above == 0, 1.0, beta.cdf(lo, np.maximum(above, 1), m + 1 - above))
        up_to = np.where(down_to == m, 0.0, beta.cdf(hi, down_to + 1, np.maximum(m - down_to, 1)))
        assert lo == 0 or chances @ below == pytest.approx(tail, abs=0.004)
        assert hi == 1 or chances @ up_to == pytest.approx(1 - tail, abs=0.004)
        assert lo > 0 or hi < 1


def test_the_band_covers_the_true_curve():
    """Known normal scores: at each rate, and on each side, the limits fail in at most 2.5% of the samples."""
    rates, distance, times = np.array([0.02, 0.1, 0.3, 0.8]), 1.7, 120
    true = norm.sf(norm.isf(rates) - distance)
    below = above = np.zeros(rates.size)
    for seed in range(times):
        lo, hi = roc_band(*sample(50, 80, distance, seed), rates)
        below, above = below + (lo <= true), above + (hi >= true)
    allowed = 0.975 - 3 * np.sqrt(0.025 * 0.975 / times)
    assert (below / times >= allowed).all()
    assert (above / times >= allowed).all()


def test_the_band_is_about_as_wide_as_the_bootstrap_where_that_holds():
    scores, truth = sample(1000, 2000)
    rates = np.array([0.05, 0.1, 0.2, 0.4])
    rng = np.random.default_rng(0)
    normals, anomalies = scores[~truth], scores[truth]
    draws = []
    for _ in range(400):
        thresholds = np.quantile(rng.choice(normals, 1000), 1 - rates)
        draws.append((rng.choice(anomalies, 2000)[:, None] > thresholds).mean(axis=0))
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    lo, hi = roc_band(scores, truth, rates)
    assert hi - lo == pytest.approx(high - low, rel=0.25)
    assert (lo + hi) / 2 == pytest.approx((low + high) / 2, abs=0.01)


def test_the_band_surrounds_the_curve_and_has_width_where_it_is_perfect():
    scores, truth = sample()
    fpr, tpr, _ = evaluate(scores, truth).roc_curve()
    grid = np.linspace(0, 1, 41)
    lo, hi = roc_band(scores, truth, grid)
    assert ((lo <= np.interp(grid, fpr, tpr)) & (np.interp(grid, fpr, tpr) <= hi)).all()
    assert (np.diff(lo) >= -1e-6).all()
    assert (np.diff(hi) >= -1e-6).all()
    lo, hi = roc_band(np.arange(40.0), np.arange(40) >= 20, [0.0, 0.5])
    assert lo[0] == 0
    assert 0.8 < lo[1] < 0.9
    assert (hi == 1).all()


def test_the_band_refuses():
    for rate in ([-0.1], [1.5], [np.nan], []):
        with pytest.raises(DataError, match="fpr"):
            roc_band([0.0, 1.0], [False, True], rate)
    with pytest.raises(DataError, match="at least 1 of each"):
        roc_band([0.0, 1.0], [True, True], [0.5])
    with pytest.raises(ConfigError, match="level"):
        roc_band([0.0, 1.0], [False, True], [0.5], level=1)
