"""Every number against an independent answer: pair counting, direct sums, simulation, cases by hand."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from anomalae.errors import ConfigError, DataError
from anomalae.evaluation.intervals import (
    _resample,
    bootstrap_interval,
    delong_covariance,
    delong_interval,
    delong_test,
    mean_auc_interval,
)
from anomalae.evaluation.metrics import evaluate

KEYS = [
    "roc_auc", "roc_auc_interval", "average_precision", "prevalence", "fpr_at_95_tpr", "alpha", "threshold",
    "false_alarm_rate", "detection_rate", "n_normal", "n_anomalous", "per_class",
]  # fmt: skip

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


# --- evaluate ---------------------------------------------------------------------------------------------


@given(SAMPLES)
@settings(database=None, deadline=None, max_examples=40)
def test_numbers_against_pair_counting_and_loops(sample):
    scores, truth = split(sample)
    result = evaluate(scores, truth, threshold=2.0)
    assert result.roc_auc == pytest.approx(pair_wins(scores, truth).mean(), abs=1e-12)
    assert result.average_precision == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    assert result.prevalence == sum(truth) / len(truth)
    rates = [
        ((scores[~truth] >= t).mean(), (scores[truth] >= t).mean()) for t in np.unique(scores)
    ]  # every point of the ROC curve but (0, 0)
    assert result.fpr_at_95_tpr == min(fpr for fpr, tpr in rates if tpr >= 0.95)
    assert result.false_alarm_rate == sum(s > 2 and not a for s, a in sample) / sum(~truth)
    assert result.detection_rate == sum(s > 2 and a for s, a in sample) / sum(truth)
    assert (result.n_normal, result.n_anomalous) == (sum(~truth), sum(truth))
    assert result.flagged.tolist() == [s > 2 for s in scores]
    lo, hi = result.roc_auc_interval
    assert 0 <= lo <= result.roc_auc <= hi <= 1
    assert lo < hi


def test_average_precision_of_chance_is_the_prevalence():
    rng = np.random.default_rng(0)
    truth = np.arange(20_000) < 4000
    result = evaluate(rng.normal(size=truth.size), truth)
    assert result.prevalence == 0.2
    assert result.average_precision == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize(
    ("anomalies", "normals", "expected"),
    [
        (range(1, 21), [0.5, 1.5, 2.5, 3.5], 0.5),  # 19 of 20 are enough: the anomaly at 1 may be lost
        (range(1, 20), [0.5, 1.5, 2.5, 3.5], 0.75),  # 18 of 19 are not
        ([5, 6], [1, 2, 3, 4], 0.0),
        ([1, 2], [3, 4], 1.0),
        ([1, 2], [1, 2, 0, 0], 0.5),  # a tied normal comes along
        ([1, 1], [1, 1], 1.0),
    ],
)
def test_fpr_at_95_tpr_by_hand(anomalies, normals, expected):
    anomalies, normals = list(anomalies), list(normals)
    truth = [True] * len(anomalies) + [False] * len(normals)
    assert evaluate(anomalies + normals, truth).fpr_at_95_tpr == expected


def test_each_class_stands_against_all_normals():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 12, size=400)
    truth = labels != 3
    scores = rng.normal(size=400) + 0.2 * labels
    result = evaluate(scores, truth, labels)
    assert list(result.per_class) == [str(c) for c in range(12) if c != 3]
    for name, one in result.per_class.items():
        chosen = np.isin(labels, [3, int(name)])
        assert one.n == (labels == int(name)).sum()
        assert one.roc_auc == pytest.approx(pair_wins(scores[chosen], truth[chosen]).mean())
        assert one.roc_auc_interval == delong_interval(scores[chosen], truth[chosen])
    weighted = sum(one.n * one.roc_auc for one in result.per_class.values()) / result.n_anomalous
    assert result.roc_auc == pytest.approx(weighted)


@pytest.mark.parametrize(
    "names",
    [
        ["-1", "2", "9", "10", "a2", "a10", "b"],
        ["0", "1.5", "2", "", "[red]x[/red]", "caf\udce9", "line\nbreak"],
        ["01", "1", "nan", "²"],
    ],
)
def test_classes_come_in_natural_order(names):
    shuffled = [*names[::-1], "normal", "normal"]
    truth = [True] * len(names) + [False, False]
    result = evaluate(np.arange(len(shuffled)), truth, shuffled)
    assert list(result.per_class) == names
    json.dumps(result.to_dict(), allow_nan=False)


def test_a_class_both_normal_and_anomalous_counts_its_anomalies_only():
    result = evaluate([1, 2, 3, 4], [0, 0, 1, 1], ["a", "b", "a", "c"])
    assert {name: one.n for name, one in result.per_class.items()} == {"a": 1, "c": 1}


def test_to_dict_is_json_in_the_promised_order():
    labels = np.array([0, 0, 0, 3, 3, 7])
    p_values = np.linspace(0.1, 1, 6)
    result = evaluate([1, 2, 3, 2.5, 4, 5], labels != 0, labels, p_values=p_values, alpha=0.2, threshold=2.5)
    again = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert list(again) == KEYS
    assert again == result.to_dict()
    assert again["alpha"] == 0.2
    assert again["threshold"] == 2.5
    assert again["roc_auc_interval"] == list(result.roc_auc_interval)
    assert list(again["per_class"]["3"]) == ["n", "roc_auc", "roc_auc_interval"]
    np.testing.assert_array_equal(result.p_values, p_values)
    np.testing.assert_array_equal(result.labels, labels)


@pytest.mark.parametrize("kind", [False, True])
def test_one_kind_only_leaves_the_rest_filled(kind):
    result = evaluate([1.0, 2.0, 3.0], [kind] * 3, [4, 4, 5], threshold=1.5)
    assert (
        result.roc_auc is result.roc_auc_interval is result.average_precision is result.fpr_at_95_tpr is None
    )
    assert result.prevalence == float(kind)
    assert result.false_alarm_rate == (None if kind else 2 / 3)
    assert result.detection_rate == (2 / 3 if kind else None)
    assert list(result.per_class) == (["4", "5"] if kind else [])
    assert all(one.roc_auc is one.roc_auc_interval is None for one in result.per_class.values())
    json.dumps(result.to_dict(), allow_nan=False)
    with pytest.raises(DataError, match="at least 1 of each are needed"):
        result.roc_curve()
    with pytest.raises(DataError, match="at least 1 of each are needed"):
        result.pr_curve()


def test_without_a_threshold_nothing_is_flagged():
    result = evaluate([1.0, 2.0], [0, 1])
    assert result.threshold is result.false_alarm_rate is result.detection_rate is None
    assert result.flagged.tolist() == [False, False]
    assert result.per_class == {}


def test_curves_hold_every_point():
    scores, truth = binormal(np.random.default_rng(1), 30, 20, 1.0)
    result = evaluate(scores, truth)
    fpr, tpr, thresholds = result.roc_curve()
    assert thresholds[0] == np.inf
    assert len(fpr) == len(tpr) == len(thresholds) == 51
    for x, y, limit in zip(fpr, tpr, thresholds, strict=True):
        assert (x, y) == ((scores[~truth] >= limit).mean(), (scores[truth] >= limit).mean())
    precision, recall, limits = result.pr_curve()
    for x, y, limit in zip(precision, recall, limits, strict=False):
        assert x == pytest.approx(truth[scores >= limit].mean())
        assert y == pytest.approx((scores[truth] >= limit).mean())


def test_the_evaluation_keeps_its_own_copy_and_leaves_the_input_alone():
    scores, truth = np.array([2.0, 1.0, 3.0]), np.array([0, 0, 1])
    result = evaluate(scores, truth)
    scores[:] = 0
    assert result.scores.tolist() == [2.0, 1.0, 3.0]
    assert result.is_anomaly.dtype == bool
    assert truth.tolist() == [0, 0, 1]
    assert "array" not in repr(result)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([1.0, np.nan], [0, 1]), {}, DataError, r"scores\[1\] is nan: must be finite"),
        (([1.0, -np.inf], [0, 1]), {}, DataError, r"scores\[1\] is -inf: must be finite"),
        (([], []), {}, DataError, "at least 1 value"),
        (
            ([[1.0]], [0]),
            {},
            DataError,
            r"scores: must be real numbers of shape \(N,\), not float64 of shape",
        ),
        ((["1"], [0]), {}, DataError, "scores: must be real numbers"),
        (([1.0, 2.0], [0]), {}, DataError, r"is_anomaly: shape \(1,\), must be \(2,\)"),
        (
            ([1.0, 2.0], [0.0, 1.0]),
            {},
            DataError,
            "is_anomaly: must be bool or integers 0 and 1, not float64",
        ),
        (([1.0, 2.0], ["0", "1"]), {}, DataError, "is_anomaly: must be bool or integers 0 and 1, not <U1"),
        (([1.0, 2.0], [0, 2]), {}, DataError, r"is_anomaly\[1\] is 2: must be 0 or 1"),
        (([1.0, 2.0], [-1, 1]), {}, DataError, r"is_anomaly\[0\] is -1: must be 0 or 1"),
        (([1.0, 2.0], [0, 1], [3]), {}, DataError, r"labels: shape \(1,\), must be \(2,\)"),
        (([1.0, 2.0], [0, 1]), {"p_values": [0.5]}, DataError, r"p_values: shape \(1,\), must be \(2,\)"),
        (([1.0, 2.0], [0, 1]), {"p_values": [0.5, 1.5]}, DataError, r"p_values\[1\] is 1.5: must be between"),
        (([1.0, 2.0], [0, 1]), {"p_values": [0.5, np.nan]}, DataError, r"p_values\[1\] is nan"),
        (([1.0, 2.0], [0, 1]), {"alpha": 1.5}, ConfigError, "alpha 1.5: must be above 0 and below 1"),
        (([1.0, 2.0], [0, 1]), {"level": 0}, ConfigError, "level 0: must be above 0 and below 1"),
        (([1.0, 2.0], [0, 1]), {"threshold": np.nan}, ConfigError, "threshold nan: must be finite"),
        (([1.0, 2.0], [0, 1]), {"threshold": np.inf}, ConfigError, "threshold inf: must be finite"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, options, error, message):
    with pytest.raises(error, match=message) as caught:
        evaluate(*arguments, **options)
    assert "\n" not in str(caught.value)


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
