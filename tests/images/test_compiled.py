"""Each compiled loop over pixels does what NumPy or SciPy does, of single pixels, lines, edges and odd shapes too."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.polynomial.polynomial import polygrid2d
from scipy import ndimage

from anomalae.images import compiled
from anomalae.images.ink import POWERS

SHAPES = [(1, 1), (1, 7), (6, 1), (2, 3), (5, 64), (41, 33)]
of_all_shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def drawn(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Draw a map with values below and above 0, some of them equal."""
    return np.random.default_rng(seed).normal(size=shape).round(1).astype(np.float32)


def both_ways(weights: np.ndarray, sign: int = 1) -> np.ndarray:
    return np.concatenate([sign * weights[:0:-1], weights])


@of_all_shapes
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_blocks_of_levels_are_averaged(shape, dtype):
    full = np.iinfo(dtype).max
    gray = np.random.default_rng(0).integers(0, full, shape, dtype, endpoint=True)
    for factor in (1, 2, 3, 7, 50):
        blocks = [
            [gray[y : y + factor, x : x + factor] for x in range(0, shape[1], factor)]
            for y in range(0, shape[0], factor)
        ]
        means = [[block.sum(dtype=np.int64) / (block.size * full) for block in row] for row in blocks]
        found = compiled.reduce_levels(gray, factor, full)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, np.float32(means))
    # Sums of the brightest levels are not too large for what holds them.
    assert (compiled.reduce_levels(np.full((300, 301), full, dtype), 300, full) == 1).all()


@of_all_shapes
@pytest.mark.parametrize("reach", [0, 1, 4, 13])
def test_a_blur_has_the_bits_of_scipys(shape, reach):
    image, weights = drawn(shape), np.random.default_rng(1).random(reach + 1)
    down = ndimage.correlate1d(image, both_ways(weights), 0)
    np.testing.assert_array_equal(
        compiled.blur(image, weights), ndimage.correlate1d(down, both_ways(weights), 1)
    )


@of_all_shapes
@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.2, 9.0])
@pytest.mark.parametrize("ground", [0, 9])
def test_regions_are_those_of_scipy(shape, threshold, ground):
    image = drawn(shape) + np.float32(ground)
    runs, peaks, mass, boxes, cores = compiled.find_regions(image, threshold)
    labels, count = ndimage.label(image > np.float32(threshold), np.ones((3, 3)))
    found = np.zeros(shape, int)
    for y, first, past, number in runs:
        found[y, first:past] = number + 1
    np.testing.assert_array_equal(found, labels)
    assert len(peaks) == len(mass) == len(boxes) == len(cores) == count
    for number in range(count):
        held = np.where(labels == number + 1, image, -np.inf)
        assert peaks[number] == held.max()
        assert mass[number] == pytest.approx(image[labels == number + 1].sum(dtype=np.float64))
        assert boxes[number].tolist() == ends(labels == number + 1)
        assert cores[number].tolist() == ends(held >= np.float32(0.5) * held.max())


def ends(mask: np.ndarray) -> list[int]:
    """Return the first and last row and column of a mask."""
    rows, columns = np.nonzero(mask)
    return [rows.min(), rows.max(), columns.min(), columns.max()]


def test_regions_that_meet_late_are_one():
    """Two arms and a comb: their runs are numbered before it is known that they belong together."""
    image = np.zeros((9, 24), np.float32)
    image[1:8, 1] = image[1:8, 5] = image[7, 1:6] = 1
    image[2:8, 9:23:3] = image[8, 9:23] = 1
    image[0, 22] = image[1, 23] = 1
    labels, count = ndimage.label(image, np.ones((3, 3)))
    runs, peaks, *_ = compiled.find_regions(image, 0.5)
    assert len(peaks) == count == 3
    assert [labels[y, x] - 1 for y, x, _, _ in runs] == runs[:, 3].tolist()


@of_all_shapes
def test_some_regions_are_kept(shape):
    image = drawn(shape)
    labels, count = ndimage.label(image > np.float32(0.3), np.ones((3, 3)))
    runs = compiled.find_regions(image, 0.3)[0]
    for kept in (np.zeros(count, bool), np.arange(count) % 2 == 0, np.ones(count, bool)):
        held, mask, values = compiled.keep_regions(image, runs, kept)
        expected = np.append(False, kept)[labels]
        np.testing.assert_array_equal(mask, expected)
        np.testing.assert_array_equal(held, np.where(expected, image, 0))
        np.testing.assert_array_equal(values, image[expected])


@of_all_shapes
@pytest.mark.parametrize("reach", [1, 4, 13])
def test_a_map_rises_as_steeply_as_its_gradient(shape, reach):
    weights, slopes = np.random.default_rng(1).random((2, reach + 1))
    slopes[0] = 0
    down, across = both_ways(weights), both_ways(slopes, -1)
    # A map that is steep everywhere, and one that is so in one place.
    spots = np.zeros((3, *shape), np.float32)
    spots[0, 0, 0] = spots[1, -1, -1] = spots[2, shape[0] // 2, shape[1] // 3] = 1
    for image in (drawn(shape), *spots):
        exact = image.astype(np.float64)
        lengths = np.hypot(
            ndimage.correlate1d(ndimage.correlate1d(exact, down, 0), across, 1),
            ndimage.correlate1d(ndimage.correlate1d(exact, across, 0), down, 1),
        )
        steepest = float(lengths.max())
        if max(shape) > 1:
            assert compiled.rises(image, weights, slopes, steepest * (1 - 1e-9))
        assert not compiled.rises(image, weights, slopes, steepest * (1 + 1e-9) + 1e-12)


@of_all_shapes
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_mask_grows_as_by_scipys_dilation(shape, steps):
    rng = np.random.default_rng(2)
    corner = np.zeros(shape, bool)
    corner[0, -1] = True
    for mask in (
        rng.random(shape) < 0.03,
        corner,
        corner[::-1, ::-1],
        np.zeros(shape, bool),
        np.ones(shape, bool),
    ):
        before = mask.copy()
        np.testing.assert_array_equal(
            compiled.grow(mask, steps), ndimage.binary_dilation(mask, iterations=steps)
        )
        np.testing.assert_array_equal(mask, before)


def polynomial(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw coefficients of POWERS, one of them 0, and coordinates; give NumPy's values, (rows, columns), too."""
    rng = np.random.default_rng(3)
    coefficients, table = rng.normal(size=len(POWERS)), np.zeros((5, 5))
    coefficients[4] = 0
    table[tuple(POWERS.T)] = coefficients
    down, across = rng.uniform(-1, 1, rows), rng.uniform(-1, 1, columns)
    return coefficients, down, across, polygrid2d(across, down, table).T


@of_all_shapes
def test_a_polynomial_has_the_values_of_numpys(shape):
    coefficients, down, across, values = polynomial(*shape)
    found = compiled.evaluate(coefficients, POWERS, down, across)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, values, rtol=1e-6, atol=1e-6)


@of_all_shapes
@pytest.mark.parametrize("cut", [0.05, 0.8, 100.0])
def test_moments_are_weighted_by_the_distance_from_a_polynomial(shape, cut):
    coefficients, down, across, values = polynomial(*shape)
    # On the polynomial, near it, and as far away as weighs nothing or farther.
    away = np.random.default_rng(4).choice([0, 0.3, -0.7, 1.0001, 1.5, -2], shape)
    count, moments, products = compiled.weighted_moments(
        values + cut * away, down, across, coefficients, POWERS, cut
    )
    weights = np.maximum(0, 1 - away**2) ** 2
    assert count == (weights > 0).sum()
    of_y, of_x = np.vander(down, 9, increasing=True), np.vander(across, 9, increasing=True)
    expected = np.einsum("yx,xi,yn->in", weights, of_x, of_y)
    expected[np.add.outer(np.arange(9), np.arange(9)) > 8] = 0
    np.testing.assert_allclose(moments, expected, rtol=1e-9, atol=1e-9)
    weighted = np.einsum("yx,xi,yn->in", weights * (values + cut * away), of_x[:, :5], of_y[:, :5])
    weighted[np.add.outer(np.arange(5), np.arange(5)) > 4] = 0
    np.testing.assert_allclose(products, weighted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n", [1, 2, 3, 15])
def test_equations_are_solved_as_by_numpy(n):
    rng = np.random.default_rng(n)
    seen = rng.normal(size=(n + 5, n))
    gram, products = seen.T @ seen, rng.normal(size=n)
    before = gram.copy(), products.copy()
    np.testing.assert_allclose(
        compiled.solve(gram, products, 1e-4), np.linalg.solve(gram, products), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_array_equal(gram, before[0])
    np.testing.assert_array_equal(products, before[1])
    gram[-1] = gram[:, -1] = 0
    assert compiled.solve(gram, products, 1e-4) is None


def test_equations_that_are_nearly_alike_are_not_solved():
    for apart, solved in ((1.1e-4, True), (0.9e-4, False), (0.0, False)):
        alike = 3 * np.sqrt(1 - apart)
        gram = np.array([[1.0, alike], [alike, 9.0]])
        assert (compiled.solve(gram, np.ones(2), 1e-4) is not None) == solved
