"""Synthetic anomalies are made of normal images alone, by rule; and how well a score tells them is counted in pairs."""

from __future__ import annotations

import numpy as np
import pytest

from anomalae import load_dataset
from anomalae.errors import ConfigError
from anomalae.experiments.studies.synthetic import ALL, KINDS, MOST, PATCH, anomalies, told_apart


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return load_dataset("digits").train.images[:30]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_changes_every_image_and_gives_the_same_for_the_same_seed(kind, digits):
    before = digits.copy()
    made = anomalies(digits, kind, 3)
    np.testing.assert_array_equal(digits, before)
    assert made.shape == digits.shape
    assert made.dtype == np.uint8
    assert (made != digits).any((1, 2)).all()
    np.testing.assert_array_equal(made, anomalies(digits, kind, 3))
    assert not np.array_equal(made, anomalies(digits, kind, 4))


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_copes_with_one_image_and_with_an_empty_one(kind, digits):
    assert anomalies(digits[:1], kind).shape == (1, 28, 28)
    assert anomalies(np.zeros((2, 28, 28), np.uint8), kind).max() == 0


def test_ink_is_only_taken_or_only_added(digits):
    removed, added = anomalies(digits, "strokes removed"), anomalies(digits, "strokes added")
    assert (removed <= digits).all()
    assert (added >= digits).all()
    assert (added.max((1, 2)) == digits.max((1, 2))).all()
    # A stroke is 8 to 14 pixels long and 2.5 wide, some of it on ink or beyond the border.
    blank = np.zeros((50, 28, 28), np.uint8)
    blank[:, 14, 14] = 255
    drawn = anomalies(blank, "strokes added").astype(float).sum((1, 2)) / 255
    assert drawn.min() > 15
    assert drawn.max() < 80
    # What is rubbed out fits in a disc of radius 5 and a half.
    rows, columns = np.nonzero((removed != digits)[0])
    assert max(np.ptp(rows), np.ptp(columns)) <= 11


def test_halves_come_from_two_different_images():
    images = np.stack([np.full((28, 28), 10 * (number + 1), np.uint8) for number in range(9)])
    made = anomalies(images, "halves joined")
    upright = [
        (image[:, :14] == image[0, 0]).all() and (image[:, 14:] == image[0, 27]).all() for image in made
    ]
    lying = [(image[:14] == image[0, 0]).all() and (image[14:] == image[27, 0]).all() for image in made]
    assert all(a != b for a, b in zip(upright, lying, strict=True))
    assert any(upright)
    assert any(lying)
    for place, image in enumerate(made):
        others = set(np.unique(image)) - {10 * (place + 1)}
        assert image[0, 0] == 10 * (place + 1)
        assert len(others) == 1


def test_patches_change_places_and_keep_their_pixels():
    images = np.arange(2 * 784).reshape(2, 28, 28) % 251
    images = images.astype(np.uint8)
    made = anomalies(images, "patches swapped")
    for before, after in zip(images, made, strict=True):
        assert sorted(before.ravel().tolist()) == sorted(after.ravel().tolist())
        assert 0.9 * 2 * PATCH**2 <= (before != after).sum() <= 2 * PATCH**2


def test_how_well_a_score_tells_them_apart_is_the_share_of_pairs_in_order(digits):
    def ink(images: np.ndarray) -> np.ndarray:
        return images.astype(np.float64).sum((1, 2))

    told = told_apart(ink, digits, 5)
    assert list(told) == [ALL, *KINDS]
    normal = ink(digits)
    by_kind = {kind: ink(anomalies(digits, kind, 5)) for kind in KINDS}
    for kind, scores in {ALL: np.concatenate(list(by_kind.values())), **by_kind}.items():
        pairs = (scores[:, None] > normal) + 0.5 * (scores[:, None] == normal)
        assert told[kind] == pytest.approx(pairs.mean())
    assert told["strokes removed"] < 0.5 < told["strokes added"]


def test_many_held_out_images_are_drawn_from(digits):
    seen = []

    def count(images: np.ndarray) -> np.ndarray:
        seen.append(len(images))
        return np.arange(len(images), dtype=np.float64)

    told_apart(count, np.tile(digits, (40, 1, 1)), kinds=("halves joined",))
    assert seen == [MOST, MOST]


def test_another_kind_is_refused(digits):
    with pytest.raises(ConfigError, match="'strokes moved': must be one of strokes removed"):
        anomalies(digits, "strokes moved")
