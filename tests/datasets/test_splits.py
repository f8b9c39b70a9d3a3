"""Division of images: every index once, enough to calibrate, by the seed alone."""

from __future__ import annotations

import numpy as np
import pytest

from anomalae.datasets.dataset import Dataset
from anomalae.datasets.splits import (
    FOLDS,
    LEAST_CALIBRATION,
    fold_order,
    fold_slices,
    split_indices,
    stratified_indices,
)
from anomalae.errors import ConfigError, DataError
from anomalae.evaluation.conformal import MIN_CALIBRATION, calibration_warning


@pytest.mark.parametrize(
    ("n", "sizes"),
    [
        (3, (1, 1, 1)),
        (4, (2, 1, 1)),
        (10, (6, 1, 3)),
        (100, (62, 5, 33)),
        (119, (74, 6, 39)),
        (120, (74, 6, 40)),
        (126, (80, 6, 40)),
        (394, (334, 20, 40)),
        (400, (340, 20, 40)),
        (405, (344, 20, 41)),
        (5923, (5035, 296, 592)),
        (60_000, (51_000, 3_000, 6_000)),
    ],
)
def test_split_holds_every_index_once(n: int, sizes: tuple[int, int, int]) -> None:
    parts = split_indices(n, seed=5)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(n))
    assert tuple(map(len, parts)) == sizes
    for part in parts:
        assert np.all(np.diff(part) > 0)


def test_split_leaves_enough_to_calibrate_where_the_data_allow() -> None:
    assert LEAST_CALIBRATION == MIN_CALIBRATION
    for n in range(120, 1000):
        assert calibration_warning(len(split_indices(n)[2]), alpha=0.025) is None
    for n in range(57, 120):  # a third; enough to flag at 0.05, and no more than that
        assert 19 <= len(split_indices(n)[2]) < 40
    for n in range(3, 1000):
        train, _, calibration = split_indices(n)
        assert len(train) >= len(calibration)


def test_every_class_of_the_bundled_digits_calibrates_with_enough(digits: Dataset) -> None:
    for label in digits.classes:
        assert len(digits.one_class(label).calibration) == LEAST_CALIBRATION


def test_split_follows_the_seed() -> None:
    for one, other in zip(split_indices(200, 1), split_indices(200, 1), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(split_indices(200, 1)[2], split_indices(200, 2)[2])
    with pytest.raises(ConfigError, match="seed -1: must be at least 0"):
        split_indices(200, -1)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_split_needs_three(n: int) -> None:
    with pytest.raises(DataError, match=f"{n} normal images: at least 3 are needed"):
        split_indices(n)


def test_as_many_images_as_folds_are_a_fold_each_and_fewer_are_refused() -> None:
    order = fold_order(FOLDS)
    assert sorted(int(order[fold].item()) for fold in fold_slices(FOLDS)) == list(range(FOLDS))
    with pytest.raises(DataError, match="4 normal images: at least 5 are needed for 5 folds"):
        fold_order(4)


@pytest.mark.parametrize(
    ("n", "percent", "tested"),
    [(1, 20, 1), (2, 20, 1), (12, 20, 2), (13, 20, 3), (7, 7, 1), (50, 7, 4), (107, 7, 7)],
)
def test_a_share_of_each_class_is_tested_rounded_and_at_least_one_image(n, percent, tested) -> None:
    labels = np.array(["new"] * 9 + ["old"] * n)
    train, test = stratified_indices(labels, percent)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(n + 9))
    assert (labels[test] == "old").sum() == tested
    # A class that is added leaves the others as they were.
    np.testing.assert_array_equal(stratified_indices(labels[9:], percent)[1], test[test >= 9] - 9)
