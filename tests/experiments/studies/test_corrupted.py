"""Corrupted images: each kind does what it is named for, by arithmetic of its own; the same seed, the same images."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from anomalae import load_dataset
from anomalae.errors import ConfigError
from anomalae.experiments.studies.corrupted import KINDS, SEVERITIES, corrupt, pen

STILL = {"blur", "scale", "thick strokes", "thin strokes", "contrast", "brightness", "canny edges"}


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return load_dataset("digits").train.images[:40]


def squares(n: int = 20, level: int = 255) -> np.ndarray:
    """Light squares of 8 x 8 in the middle, whose corruption can be told by hand."""
    images = np.zeros((n, 28, 28), np.uint8)
    images[:, 10:18, 10:18] = level
    return images


def values(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float64) / 255


def change(before: np.ndarray, after: np.ndarray) -> float:
    return float(np.square(values(before) - values(after)).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_gives_the_same_images_for_the_same_seed_and_more_of_it_when_stronger(kind, digits):
    before = digits.copy()
    made = {severity: corrupt(digits, kind, severity) for severity in SEVERITIES}
    np.testing.assert_array_equal(digits, before)
    for images in made.values():
        assert images.shape == digits.shape
        assert images.dtype == np.uint8
    np.testing.assert_array_equal(made[2], corrupt(digits, kind, 2, seed=0))
    assert np.array_equal(made[2], corrupt(digits, kind, 2, seed=1)) == (kind in STILL)
    changes = [change(digits, made[severity]) for severity in SEVERITIES]
    assert 0 < changes[0] < changes[1] < changes[2]


def test_blur_motion_and_glass_move_ink_about_and_keep_as_much():
    for kind in ("blur", "motion blur", "glass blur"):
        made = corrupt(squares(), kind, 2)
        assert values(made).sum((1, 2)) == pytest.approx(64, rel=0.03), kind
    np.testing.assert_allclose(
        values(corrupt(squares(1), "blur", 3))[0],
        ndimage.gaussian_filter(values(squares(1))[0], 1.6),
        atol=0.003,
    )
    # Along a line of nine pixels, whatever its angle, no pixel away from it.
    assert corrupt(squares(), "motion blur", 3)[:, [0, 27]].sum() == 0


def test_noises_have_the_spread_they_name():
    grey = np.full((50, 28, 28), 128, np.uint8)
    assert (values(corrupt(grey, "noise", 1)) - 128 / 255).std() == pytest.approx(0.1, rel=0.03)
    shot = values(corrupt(grey, "shot noise", 1))
    assert shot.mean() == pytest.approx(128 / 255, rel=0.02)
    # The variance of a Poisson count is its mean.
    assert shot.var() == pytest.approx(128 / 255 / 20, rel=0.1)
    hit = corrupt(grey, "impulse noise", 3)
    assert (hit != 128).mean() == pytest.approx(0.15, rel=0.05)
    assert set(np.unique(hit)) == {0, 128, 255}


def test_what_stands_elsewhere_is_the_same_square():
    images = squares()
    middle = np.array([13.5, 13.5])
    for kind, far in (("shift", 3.0), ("rotation", 0.0), ("shear", 0.0), ("scale", 0.0)):
        made = values(corrupt(images, kind, 2))
        centres = np.array([ndimage.center_of_mass(image) for image in made])
        assert np.linalg.norm(centres - middle, axis=1) == pytest.approx(far, abs=0.05), kind
        mass = 0.7**2 if kind == "scale" else 1
        # Pixels are taken at points, so that a small square is a little more or less.
        assert made.sum((1, 2)) == pytest.approx(64 * mass, rel=0.1 if kind == "scale" else 0.03), kind
    # Turned by 30 degrees, corners of the square reach further out, either way round.
    bar = np.zeros((20, 28, 28), np.uint8)
    bar[:, 4:24, 13:15] = 255
    at = np.indices((28, 28)) - 13.5
    angles = [
        np.rad2deg(np.arctan2(2 * (image * at[0] * at[1]).sum(), (image * (at[0] ** 2 - at[1] ** 2)).sum()))
        / 2
        for image in values(corrupt(bar, "rotation", 2))
    ]
    assert np.abs(angles) == pytest.approx(30, abs=0.5)
    assert {int(np.sign(angle)) for angle in angles} == {-1, 1}


def test_strokes_grow_and_shrink_by_a_third_of_a_pixel_a_step():
    thick, thin = corrupt(squares(), "thick strokes", 2), corrupt(squares(), "thin strokes", 3)
    # A disc of radius 3 / 3 pixel about each point: the square grows by one pixel a side, but for its corners.
    assert values(thick)[0, 14].sum() == pytest.approx(10, abs=0.01)
    assert values(thin)[0, 14].sum() == pytest.approx(6, abs=0.01)
    assert thick[0, 9, 9] < 0.9 * thick[0, 9, 14]
    np.testing.assert_array_equal(thick[0], thick[0].T)


def test_contrast_and_brightness_are_arithmetic():
    images = squares(2)
    mean = 64 / 784
    np.testing.assert_allclose(
        values(corrupt(images, "contrast", 2)), mean + 0.5 * (values(images) - mean), atol=0.003
    )
    np.testing.assert_allclose(
        values(corrupt(images, "brightness", 3)), np.minimum(1, values(images) + 0.4), atol=0.003
    )


def test_fog_lies_over_all_and_edges_are_the_outline():
    black = np.zeros((10, 28, 28), np.uint8)
    fog = values(corrupt(black, "fog", 3))
    assert fog.max((1, 2)) == pytest.approx(0.5, abs=0.003)
    assert fog.min((1, 2)) == pytest.approx(0, abs=0.003)
    # Neighbours have nearly the same fog.
    assert np.abs(np.diff(fog, axis=2)).mean() < 0.03
    edges = corrupt(squares(1), "canny edges", 3)[0]
    assert set(np.unique(edges)) == {0, 255}
    assert edges[12:16, 12:16].sum() == 0
    assert edges[14].astype(bool).sum() == 2
    assert edges[:, 14].astype(bool).sum() == 2
    # A faint image has no edges that hang together with nothing strong.
    assert corrupt(black, "canny edges", 3).sum() == 0


def test_a_weak_edge_stays_only_where_it_hangs_together_with_a_strong_one():
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 4:12, 4:12] = 255
    image[0, 18:24, 18:24] = 50
    edges = corrupt(image, "canny edges", 3)[0]
    assert edges[:14, :14].any()
    assert not edges[15:, 15:].any()


def test_what_lies_over_an_image_covers_what_it_should():
    images = squares()
    stripe = corrupt(images, "stripe", 2)
    turned = (stripe == 255 - images).all(1)
    assert turned.sum(1).tolist() == [5] * 20
    np.testing.assert_array_equal(stripe.transpose(0, 2, 1)[~turned], images.transpose(0, 2, 1)[~turned])
    drops = corrupt(np.zeros((20, 28, 28), np.uint8), "spatter", 3)
    assert (drops == 255).mean() == pytest.approx(0.12, abs=0.002)
    for kind in ("spatter", "dotted line", "zigzag"):
        assert (corrupt(images, kind, 3) >= images).all(), kind
    black = np.zeros((20, 28, 28), np.uint8)
    dots, zigzag = corrupt(black, "dotted line", 1), corrupt(black, "zigzag", 1)
    # Nine dots, none touching another; one line from side to side that turns.
    assert [ndimage.label(image > 90, np.ones((3, 3)))[1] for image in dots] == [9] * 20
    assert [ndimage.label(image > 40, np.ones((3, 3)))[1] for image in zigzag] == [1] * 20
    assert ((zigzag > 40).any(1).sum(1) >= 24).all()


def test_a_pen_draws_a_line_as_wide_as_it_is():
    points = np.stack([np.full(200, 14.0), np.linspace(4, 24, 200)], axis=1)
    line = pen(points, 3)
    assert line[:, 14].sum() == pytest.approx(3, rel=0.01)
    assert line[14, 10] == 1
    assert line[20].sum() == 0


def test_other_kinds_and_severities_are_refused(digits):
    with pytest.raises(ConfigError, match="'blurr': must be one of blur"):
        corrupt(digits, "blurr")
    with pytest.raises(ConfigError, match="severity 4: must be one of 1, 2, 3"):
        corrupt(digits, "blur", 4)
