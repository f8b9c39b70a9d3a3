"""Tests between methods against an independent answer: direct sums, simulation, cases by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from anomalae.errors import DataError
from anomalae.evaluation.significance import delong_test, holm
from tests.evaluation.samples import direct_covariance


def test_delong_test_against_the_direct_sums():
    rng = np.random.default_rng(0)
    truth = np.arange(90) < 40
    a = rng.normal(size=90) + 1.5 * truth
    b = a + rng.normal(size=90)
    result = delong_test(a, b, truth)
    covariance = direct_covariance(np.stack([a, b]), truth)
    difference = roc_auc_score(truth, a) - roc_auc_score(truth, b)
    z = difference / math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert result == pytest.approx((difference, z, 2 * norm.cdf(-abs(z))))
    assert delong_test(b, a, truth) == pytest.approx((-difference, -z, result.p_value))


def test_delong_test_keeps_its_level():
    rng = np.random.default_rng(0)
    truth = np.arange(120) < 60
    p = []
    for _ in range(400):
        shared = rng.normal(size=120) + truth
        p.append(delong_test(shared + rng.normal(size=120), shared + rng.normal(size=120), truth).p_value)
    assert 0.02 <= np.mean(np.array(p) <= 0.05) <= 0.085


def test_delong_test_without_variance():
    truth = np.arange(100) < 50
    perfect, constant = truth.astype(float), np.zeros(100)
    scores = np.random.default_rng(0).normal(size=100)
    assert delong_test(scores, np.exp(scores), truth) == pytest.approx((0, 0, 1))  # the same ranks
    result = delong_test(constant, perfect, truth)
    assert result.difference == -0.5
    assert result.p_value == pytest.approx(2 * math.exp(-50 * 0.25 / 2))
    assert result.z == pytest.approx(norm.ppf(result.p_value / 2))
    many = np.repeat(truth, 100)
    # exp(-z^2 / 2) is all but exp(-5000 / 2)
    assert delong_test(many * 1.0, many * -1.0, many) == (1.0, pytest.approx(5000**0.5, rel=0.01), 0.0)
    assert delong_test([1, 2, 3], [3, 2, 1], [0, 0, 1]).p_value == 1.0  # a single anomaly tells nothing
    with pytest.raises(DataError, match="scores_a and scores_b: 2 and 3 values"):
        delong_test([1, 2], [1, 2, 3], [0, 1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_holm_is_the_largest_level_of_rejection(p: list[float]):
    """Corrected p_i = max over p_j <= p_i of min(1, p_j times the number of hypotheses not smaller than it)."""
    order = sorted(range(len(p)), key=lambda i: (p[i], i))
    expected = [0.0] * len(p)
    for place, index in enumerate(order):
        expected[index] = max(min(1.0, p[j] * (len(p) - k)) for k, j in enumerate(order[: place + 1]))
    assert holm(p) == pytest.approx(expected)


def test_holm_of_a_textbook_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
