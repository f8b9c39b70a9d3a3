"""Evaluations against an independent answer: pair counting, loops, cases by hand."""

import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.metrics import average_precision_score

from anomalae.errors import ConfigError, DataError
from anomalae.evaluation.intervals import (
    delong_interval,
)
from anomalae.evaluation.metrics import evaluate
from tests.evaluation.samples import SAMPLES, binormal, pair_wins, split

KEYS = [
    "roc_auc", "roc_auc_interval", "average_precision", "prevalence", "fpr_at_95_tpr", "alpha", "threshold",
    "false_alarm_rate", "detection_rate", "n_normal", "n_anomalous", "per_class",
]  # fmt: skip


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


@pytest.mark.parametrize(
    ("labels", "several"), [(None, False), ([3, 3], False), ([3, 4], True), (["a", "b"], True)]
)
def test_one_class_alone_is_nothing_to_set_side_by_side(labels, several):
    assert evaluate([1.0, 2.0], [0, 1], labels).has_classes is several


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


def test_what_was_measured_cannot_be_changed():
    result = evaluate([1.0, 2.0], [0, 1], ["a", "b"])
    for one, name in ((result, "roc_auc"), (result.per_class["b"], "roc_auc")):
        with pytest.raises(FrozenInstanceError):
            setattr(one, name, 0.5)


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
