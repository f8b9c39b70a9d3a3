"""Cross-conformal p-values: against their definition, and by simulation against what is promised of them."""

from __future__ import annotations

import numpy as np
import pytest

from anomalae.datasets.splits import FOLDS, fold_order, fold_slices
from anomalae.errors import ConfigError
from anomalae.evaluation import detect_drift, p_values
from anomalae.evaluation.conformal import threshold
from anomalae.evaluation.cross_conformal import calibration_positions, positions, proved_rate
from anomalae.evaluation.two_calibrations import compare_calibrations


def test_p_values_are_those_of_the_definition_ties_included():
    rng = np.random.default_rng(0)
    for n in (5, 13, 30):
        known = rng.integers(0, 6, n).astype(float)
        folds = [known[fold] for fold in fold_slices(n)]
        scores = rng.integers(0, 7, (FOLDS, 40)).astype(float)
        found = positions(scores, folds, rng.normal(size=40))
        expected = [
            (1 + sum(sum(one >= new[k] for one in fold) for k, fold in enumerate(folds))) / (n + 1)
            for new in scores.T
        ]
        np.testing.assert_array_equal(p_values(found, calibration_positions(n)), expected)
        for alpha in (0.01, 0.05, 0.2, 1 / (n + 1), 0.9):
            limit = threshold(calibration_positions(n), alpha)
            flagged = np.zeros(40, bool) if limit is None else found > limit
            np.testing.assert_array_equal(flagged, np.array(expected) <= alpha)


def test_images_above_equally_many_are_ordered_and_never_counted_as_one_more():
    order = [-1e300, -3.0, 0.0, 2.0, 1e3, 1e6, 1e300]
    found = positions(np.full((2, 7), 9.0), [[1.0, 2.0], [3.0]], order)
    assert (np.diff(found)[:5] > 0).all()
    assert ((found > 3) & (found < 4)).all()
    with pytest.raises(ConfigError, match="must be \\(2, N\\), a row a fold"):
        positions(np.zeros((3, 4)), [[1.0], [2.0]], np.zeros(4))
    with pytest.raises(ConfigError, match="is nan: must be a number"):
        positions(np.full((2, 1), np.nan), [[1.0], [2.0]], [0.0])


def test_the_ranks_of_folds_are_not_raised_so_that_the_smallest_p_value_can_be_had():
    known = calibration_positions(5923)
    assert threshold(known, 1 / 5924) == 5923.0
    above_all = positions([[9.0]], [np.arange(8.0)], [2.0]) - 8 + 5923
    assert p_values(above_all, known) == 1 / 5924
    np.testing.assert_array_equal(p_values(known - 0.001, known), p_values(known - 0.5, known))


def test_folds_hold_every_image_once_in_sizes_that_differ_by_one_at_most():
    for n in (5, 23, 399):
        order = fold_order(n, seed=3)
        sizes = [len(order[fold]) for fold in fold_slices(n)]
        assert sorted(order.tolist()) == list(range(n))
        assert sum(sizes) == n
        assert max(sizes) - min(sizes) <= 1
    assert not np.array_equal(fold_order(30, seed=0), fold_order(30, seed=1))


def overfitted(n: int, new: int, rng: np.random.Generator) -> np.ndarray:
    """Positions of new points by detectors that know what they have seen by heart: the nearest neighbour's distance."""
    points, others = rng.normal(size=(n, 5)), rng.normal(size=(new, 5))
    scores, calibration = [], []
    for fold in fold_slices(n):
        seen = np.delete(points, fold, 0)
        nearest = [np.linalg.norm(some[:, None] - seen, axis=-1).min(1) for some in (points[fold], others)]
        calibration.append(nearest[0])
        scores.append(nearest[1])
    return positions(scores, calibration, np.mean(scores, 0))


@pytest.mark.parametrize("n", [30, 100])
def test_false_alarms_of_exchangeable_images_are_about_alpha_and_less_than_twice_that(n):
    rng, alphas = np.random.default_rng(n), np.array([0.05, 0.1, 0.2])
    alarms = []
    for _ in range(300):
        ps = p_values(overfitted(n, 40, rng), calibration_positions(n))
        alarms.append([(ps <= alpha).mean() for alpha in alphas])
    rates = np.mean(alarms, 0)
    # 0.05 cannot be met exactly: 30 images flag in steps of 1/31.
    assert (rates < 1.15 * alphas).all()
    assert (rates > 0.5 * alphas).all()


def test_a_stream_of_positions_without_drift_alarms_as_seldom_as_one_of_scores():
    rng = np.random.default_rng(1)
    alarms = [
        detect_drift(overfitted(30, 200, rng), calibration_positions(30)).alarm is not None
        for _ in range(150)
    ]
    assert np.mean(alarms) <= 0.08


def test_calibrating_anew_beside_folds_sees_about_as_few_differences_as_there_are():
    """`calibrate` sets one's own images, which are like the run's here, against the run's folds."""
    rng, positions_of_folds = np.random.default_rng(2), calibration_positions(100)
    found = [compare_calibrations(overfitted(100, 50, rng), positions_of_folds, 0.1) for _ in range(150)]
    assert np.mean([one.differs for one in found]) <= 0.12
    assert np.mean([one.band[0] <= one.n_flagged / one.n <= one.band[1] for one in found]) >= 0.92


def test_what_is_proved_is_twice_alpha_of_as_many_folds_as_images_and_a_little_more_of_fewer():
    assert proved_rate(30, 30, 0.05) == pytest.approx(0.1)
    assert proved_rate(30, 5, 0.05) == pytest.approx(0.1 + (1 - 5 / 30) / 6)
    # Of many images the other bound is the smaller one.
    assert proved_rate(10_000, 5, 0.05) == pytest.approx(0.1 + 1.6 / 2001)
    assert proved_rate(30, 2, 0.05) == pytest.approx(0.1 + 1 / 16)
    assert proved_rate(5, 5, 0.9) == 1.0
    for folds in (1, 31):
        with pytest.raises(ConfigError, match="must be 2 to 30"):
            proved_rate(30, folds, 0.05)
    with pytest.raises(ConfigError, match=r"alpha 1\.5: must be above 0"):
        proved_rate(30, 5, 1.5)
