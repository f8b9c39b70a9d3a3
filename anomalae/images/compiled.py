"""What NumPy and SciPy do too slowly with a picture's pixels, compiled by numba.

Import this module where it is used, not above: see `anomalae.compiling`. `reduce_levels` and `blur` give the bits of the
plain forms that their words name, and `find_regions` those of a loop over SciPy's labels.
"""

from __future__ import annotations

import numpy as np

from anomalae.compiling import compile_function, suited


def _map(image: np.ndarray) -> np.ndarray:
    """Return a map as the functions are compiled for it, float32."""
    return suited(image.astype(np.float32, copy=False))


def reduce_levels(gray: np.ndarray, factor: int, full: int) -> np.ndarray:
    """Average blocks of `factor` by `factor` levels (H, W), smaller ones at the far edges, float32 in [0, 1].

    gray: uint8 or uint16; `full` is the level of white.
    """
    return np.asarray(_reduce_levels(suited(gray), factor, full))


@compile_function
def _reduce_levels(gray: np.ndarray, factor: int, full: int) -> np.ndarray:
    height, width = gray.shape
    out = np.empty((-(-height // factor), -(-width // factor)), np.float32)
    line = np.empty(width, np.uint32)
    for y in range(out.shape[0]):
        rows = min(factor, height - y * factor)
        line[:] = 0
        for row in range(y * factor, y * factor + rows):
            for x in range(width):
                line[x] += np.uint32(gray[row, x])
        for x in range(out.shape[1]):
            columns = min(factor, width - x * factor)
            total = np.uint32(0)
            for column in range(x * factor, x * factor + columns):
                total += line[column]
            out[y, x] = np.float64(total) / np.float64(rows * columns * full)
    return out


@compile_function
def _mirrored(place: int, length: int) -> int:
    """Return which pixel of a line lies at a place beyond its ends, the line mirrored there."""
    place %= 2 * length
    return place if place < length else 2 * length - 1 - place


def blur(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Blur a map, float32 (H, W), down and then across, as `scipy.ndimage.correlate1d` does with weights alike both ways.

    weights: float64 (R + 1,), of the middle pixel and of those beside it.
    """
    return np.asarray(_blur(_map(image), weights))


@compile_function
def _blur(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    height, width = image.shape
    reach = len(weights) - 1
    sums = np.empty(width)
    padded = np.empty(width + 2 * reach)
    out = np.empty((height, width), np.float32)
    for y in range(height):
        for x in range(width):
            sums[x] = np.float64(image[y, x]) * weights[0]
        # From the outermost to the middle: the order of SciPy's sums.
        for step in range(reach, 0, -1):
            above, below = image[_mirrored(y - step, height)], image[_mirrored(y + step, height)]
            weight = weights[step]
            for x in range(width):
                sums[x] += (np.float64(above[x]) + np.float64(below[x])) * weight
        for x in range(width):
            padded[x + reach] = np.float32(sums[x])
        for x in range(reach):
            padded[x] = padded[reach + _mirrored(x - reach, width)]
            padded[reach + width + x] = padded[reach + _mirrored(width + x, width)]
        for x in range(width):
            sums[x] = padded[x + reach] * weights[0]
        for step in range(reach, 0, -1):
            weight = weights[step]
            for x in range(width):
                sums[x] += (padded[x + reach - step] + padded[x + reach + step]) * weight
        for x in range(width):
            out[y, x] = sums[x]
    return out


@compile_function
def _root(parents: np.ndarray, label: int) -> int:
    while parents[label] != label:
        parents[label] = parents[parents[label]]
        label = parents[label]
    return label


def find_regions(
    image: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Find the connected regions, corners included, of a map, float32 (H, W), above a threshold.

    Returns the number of the region at each pixel, int32 (H, W), 0 where there is none, and of each region: its peak,
    float32 (N + 1,); the sum of what it holds, float64 (N + 1,); its first and last row and column, int64 (N + 1, 4); and
    those of its core, which is at least half of the peak. The first of each is of nothing.
    """
    labels, peaks, mass, boxes, cores = _find_regions(_map(image), np.float32(threshold))
    return labels, peaks, mass, boxes, cores


@compile_function
def _find_regions(
    image: np.ndarray, threshold: np.float32
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    height, width = image.shape
    labels = np.zeros((height, width), np.int32)
    # A run of pixels begins a region at most every other pixel of a row.
    parents = np.zeros(height * ((width + 1) // 2) + 1, np.int32)
    count = 0
    for y in range(height):
        for x in range(width):
            if not image[y, x] > threshold:
                continue
            label = 0
            if x > 0 and labels[y, x - 1]:
                label = _root(parents, labels[y, x - 1])
            if y > 0:
                for beside in range(max(0, x - 1), min(width, x + 2)):
                    if labels[y - 1, beside]:
                        other = _root(parents, labels[y - 1, beside])
                        if label == 0:
                            label = other
                        elif other < label:
                            parents[label] = other
                            label = other
                        else:
                            parents[other] = label
            if label == 0:
                count += 1
                label = count
                parents[label] = label
            labels[y, x] = label
    numbers = np.zeros(count + 1, np.int32)
    regions = 0
    for label in range(1, count + 1):
        root = _root(parents, label)
        if root == label:
            regions += 1
            numbers[label] = regions
        else:
            numbers[label] = numbers[root]
    peaks = np.zeros(regions + 1, np.float32)
    mass = np.zeros(regions + 1)
    boxes = np.empty((regions + 1, 4), np.int64)
    boxes[:, 0], boxes[:, 1], boxes[:, 2], boxes[:, 3] = height, -1, width, -1
    cores = boxes.copy()
    for y in range(height):
        for x in range(width):
            if labels[y, x]:
                number = numbers[labels[y, x]]
                labels[y, x] = number
                peaks[number] = max(peaks[number], image[y, x])
                mass[number] += np.float64(image[y, x])
                _extend(boxes[number], y, x)
    for y in range(height):
        for x in range(width):
            number = labels[y, x]
            if number and image[y, x] >= np.float32(0.5) * peaks[number]:
                _extend(cores[number], y, x)
    return labels, peaks, mass, boxes, cores


@compile_function
def _extend(box: np.ndarray, y: int, x: int) -> None:
    """Let a box of first and last row and column hold a pixel."""
    box[0], box[1] = min(box[0], y), max(box[1], y)
    box[2], box[3] = min(box[2], x), max(box[3], x)


def rises(image: np.ndarray, blurring: np.ndarray, sloping: np.ndarray, least: float) -> bool:
    """Tell whether the gradient of a map, float32 (H, W), blurred, is anywhere at least so long.

    blurring, sloping: float64 (R + 1,), weights of a Gaussian and of its derivative, of the middle pixel and of those
        that come after it.

    A stroke is steep nearly everywhere, and so rows are looked at far apart first.
    """
    return bool(_rises(_map(image), blurring, sloping, float(least)))


@compile_function
def _rises(image: np.ndarray, blurring: np.ndarray, sloping: np.ndarray, least: float) -> bool:
    height, width = image.shape
    reach, apart = len(blurring) - 1, 16
    soft, steep = np.empty(width + 2 * reach), np.empty(width + 2 * reach)
    for first in range(apart):
        for y in range((first + apart // 2) % apart, height, apart):
            for x in range(width):
                soft[x + reach] = np.float64(image[y, x]) * blurring[0]
                steep[x + reach] = 0
            for step in range(1, reach + 1):
                above, below = image[_mirrored(y - step, height)], image[_mirrored(y + step, height)]
                for x in range(width):
                    soft[x + reach] += (np.float64(above[x]) + np.float64(below[x])) * blurring[step]
                    steep[x + reach] += (np.float64(below[x]) - np.float64(above[x])) * sloping[step]
            for line in (soft, steep):
                for x in range(reach):
                    line[x] = line[reach + _mirrored(x - reach, width)]
                    line[reach + width + x] = line[reach + _mirrored(width + x, width)]
            for x in range(width):
                across, down = 0.0, steep[x + reach] * blurring[0]
                for step in range(1, reach + 1):
                    before, after = x + reach - step, x + reach + step
                    across += (soft[after] - soft[before]) * sloping[step]
                    down += (steep[before] + steep[after]) * blurring[step]
                if across * across + down * down >= least * least:
                    return True
    return False


def chosen(regions: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return where the regions are that are kept, bool (H, W).

    regions: their numbers, int32 (H, W); kept: bool (N + 1,), whether each is.
    """
    return np.asarray(_chosen(regions, kept))


@compile_function
def _chosen(regions: np.ndarray, kept: np.ndarray) -> np.ndarray:
    out = np.empty(regions.shape, np.bool_)
    for y in range(regions.shape[0]):
        for x in range(regions.shape[1]):
            out[y, x] = kept[regions[y, x]]
    return out


def evaluate(
    coefficients: np.ndarray, powers: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Return the values of a polynomial of degree four at most, float32 (R, C).

    coefficients: float64 (N,), of the products of x and y; powers: int64 (N, 2), of x and of y in each.
    rows, columns: float64 (R,) of y and (C,) of x.
    """
    return np.asarray(_evaluate(coefficients, powers, rows, columns))


@compile_function
def _across(coefficients: np.ndarray, powers: np.ndarray, y: float, line: np.ndarray) -> None:
    """Write the coefficients of the powers of x, (5,), that a polynomial has in a row."""
    line[:] = 0
    for n in range(len(coefficients)):
        if coefficients[n] != 0:
            line[powers[n, 0]] += coefficients[n] * y ** powers[n, 1]


@compile_function
def _evaluate(
    coefficients: np.ndarray, powers: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    out = np.empty((len(rows), len(columns)), np.float32)
    line = np.empty(5)
    for row in range(len(rows)):
        _across(coefficients, powers, rows[row], line)
        for column in range(len(columns)):
            x = columns[column]
            out[row, column] = line[0] + x * (line[1] + x * (line[2] + x * (line[3] + x * line[4])))
    return out


def weighted_moments(
    values: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    coefficients: np.ndarray,
    powers: np.ndarray,
    cut: float,
) -> tuple[int, np.ndarray, np.ndarray]:
    """Weigh values, float64 (R, C), by how near they lie to a polynomial, by Tukey's biweight, and sum up what a fit needs.

    rows, columns, coefficients, powers: as for `evaluate`.
    cut: how far away a value weighs nothing.

    Returns how many weigh anything; the sums of the weights times powers of x and of y, float64 (9, 9); and those of
    weights and values times powers, float64 (5, 5).
    """
    count, moments, products = _weighted_moments(values, rows, columns, coefficients, powers, cut)
    return count, moments, products


@compile_function
def _weighted_moments(
    values: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    coefficients: np.ndarray,
    powers: np.ndarray,
    cut: float,
) -> tuple[int, np.ndarray, np.ndarray]:
    moments, products = np.zeros((9, 9)), np.zeros((5, 5))
    line, sums, weighted = np.empty(5), np.empty(9), np.empty(5)
    count = 0
    for row in range(len(rows)):
        y = rows[row]
        _across(coefficients, powers, y, line)
        sums[:] = 0
        weighted[:] = 0
        for column in range(len(columns)):
            x = columns[column]
            fitted = line[0] + x * (line[1] + x * (line[2] + x * (line[3] + x * line[4])))
            away = (values[row, column] - fitted) / cut
            nearness = 1 - away * away
            if nearness <= 0:
                continue
            count += 1
            power = nearness * nearness
            for n in range(5):
                sums[n] += power
                weighted[n] += power * values[row, column]
                power *= x
            for n in range(5, 9):
                sums[n] += power
                power *= x
        power = 1.0
        for n in range(9):
            for i in range(9):
                moments[i, n] += sums[i] * power
            if n < 5:
                for i in range(5):
                    products[i, n] += weighted[i] * power
            power *= y
    return count, moments, products
