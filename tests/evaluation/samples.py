"""Samples of scores and truth, and answers by pair counting and direct sums."""

import itertools

import numpy as np
from hypothesis import strategies as st

# Scores on a coarse grid tie often; (score, is_anomaly) with at least one of each kind.
SAMPLES = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=25).filter(
    lambda sample: len({kind for _, kind in sample}) == 2
)


def split(sample):
    return np.array([score for score, _ in sample], dtype=float), np.array([kind for _, kind in sample])


def pair_wins(scores, truth):
    """(m, n): 1 where the anomaly scores above the normal, a half where they tie."""
    anomalies, normals = scores[truth][:, None], scores[~truth][None, :]
    return (anomalies > normals) + 0.5 * (anomalies == normals)


def direct_covariance(scores, truth):
    """DeLong's covariance by the O(M^2 m n) sums of the paper, without ranks."""
    wins = [pair_wins(row, truth) for row in scores]
    m, n = wins[0].shape
    result = np.empty((len(wins), len(wins)))
    for (i, a), (j, b) in itertools.product(enumerate(wins), repeat=2):
        s10 = sum((x - a.mean()) * (y - b.mean()) for x, y in zip(a.mean(1), b.mean(1), strict=True)) / (
            m - 1
        )
        s01 = sum((x - a.mean()) * (y - b.mean()) for x, y in zip(a.mean(0), b.mean(0), strict=True)) / (
            n - 1
        )
        result[i, j] = s10 / m + s01 / n
    return result


def binormal(rng, n_normal, n_anomalous, shift):
    truth = np.arange(n_normal + n_anomalous) >= n_normal
    return rng.normal(size=truth.size) + shift * truth, truth
