"""The one-class split: only normal images to learn from, none of them in two parts."""

from __future__ import annotations

import numpy as np
import pytest

from anomalae.datasets.dataset import Dataset, Part
from anomalae.errors import DataError


def rows(part: Part) -> list[bytes]:
    return [image.tobytes() for image in part.images]


def test_one_class_split_never_mixes(digits: Dataset) -> None:
    split = digits.one_class(normal=[0, 3], seed=4)
    assert (split.normal, split.anomalous, split.seed) == ((0, 3), (1, 2, 4, 5, 6, 7, 8, 9), 4)
    for part in (split.train, split.validation, split.calibration):
        assert set(part.labels.tolist()) <= {0, 3}
    together = [row for part in (split.train, split.validation, split.calibration) for row in rows(part)]
    normal = digits.train.take(np.isin(digits.train.labels, [0, 3]).nonzero()[0])
    assert sorted(together) == sorted(rows(normal))
    assert not set(together) & set(rows(split.test))
    assert split.test is digits.test
    order = {row: place for place, row in enumerate(rows(digits.train))}
    places = [order[row] for row in rows(split.train)]
    assert places == sorted(places)


@pytest.mark.parametrize("given", [[0, 3], (3, 0, 0), "0,3", np.array([0, 3]), {0: "", 3: ""}, ["0", "3"]])
def test_ways_to_name_classes(given: list[int], digits: Dataset) -> None:
    assert digits.one_class(normal=given).normal == (0, 3)
    assert digits.one_class(anomalous=given).anomalous == (0, 3)
    assert digits.one_class(normal=np.int64(3)).normal == (3,)
    assert digits.one_class(anomalous=1).normal == (0, 2, 3, 4, 5, 6, 7, 8, 9)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"normal": [12]}, "class 12: not in digits; classes: 0, 1"),
        ({"normal": [-1]}, "classes '-1'"),
        ({"normal": [0.5]}, r"classes '0\.5'"),
        ({"normal": []}, "no normal class: name at least one"),
        ({}, "no normal class: name at least one"),
        ({"normal": range(10)}, "digits: no class is left to be anomalous"),
        ({"anomalous": []}, "digits: no class is left to be anomalous"),
        ({"anomalous": range(10)}, "digits: no normal class is left"),
        ({"normal": [0], "anomalous": [1]}, "exclude each other"),
    ],
)
def test_bad_one_class(given: dict[str, list[int]], message: str, digits: Dataset) -> None:
    with pytest.raises(DataError, match=message):
        digits.one_class(**given)
