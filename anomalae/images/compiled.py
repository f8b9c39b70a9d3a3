"""What NumPy and SciPy do too slowly with a picture's pixels, compiled by numba.

Import this module where it is used, not above: see `anomalae.compiling`. `blur`, `grow` and `find_regions` give the
bits of SciPy's filter, dilation and labels, `reduce_levels` those of NumPy's sums.
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
            levels = gray[row]
            for x in range(width):
                line[x] += np.uint32(levels[x])
        for x in range(out.shape[1]):
            columns = min(factor, width - x * factor)
            total = np.uint32(0)
            for level in line[x * factor : x * factor + columns]:
                total += level
            out[y, x] = np.float64(total) / np.float64(rows * columns * full)
    return out


@compile_function
def _mirrored(place: int, length: int) -> int:
    """Return which pixel of a line lies at a place beyond its ends, the line mirrored there."""
    place %= 2 * length
    return place if place < length else 2 * length - 1 - place


def blur(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Blur a map, float32 (H, W), down and then across, as SciPy's `correlate1d` does with weights alike both ways.

    weights: float64 (R + 1,), of the middle pixel and of those beside it.
    """
    return np.asarray(_blur(_map(image), weights))


@compile_function
def _blur(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    height, width = image.shape
    reach = len(weights) - 1
    padded = np.empty(width + 2 * reach)
    # Slices of one length are what the compiler makes fast loops of.
    sums, middle = np.empty(width), padded[reach : reach + width]
    out = np.empty((height, width), np.float32)
    for y in range(height):
        row, weight = image[y], weights[0]
        for x in range(width):
            sums[x] = np.float64(row[x]) * weight
        # From the outermost to the middle: the order of SciPy's sums.
        for step in range(reach, 0, -1):
            above, below = image[_mirrored(y - step, height)], image[_mirrored(y + step, height)]
            weight = weights[step]
            for x in range(width):
                sums[x] += (np.float64(above[x]) + np.float64(below[x])) * weight
        for x in range(width):
            middle[x] = np.float64(np.float32(sums[x]))
        _mirror_ends(padded, reach)
        weight = weights[0]
        for x in range(width):
            sums[x] = middle[x] * weight
        for step in range(reach, 0, -1):
            before, after = padded[reach - step :][:width], padded[reach + step :][:width]
            weight = weights[step]
            for x in range(width):
                sums[x] += (before[x] + after[x]) * weight
        row = out[y]
        for x in range(width):
            row[x] = sums[x]
    return out


@compile_function
def _mirror_ends(padded: np.ndarray, reach: int) -> None:
    """Write what lies beyond the ends of a line, mirrored there, around it."""
    width = len(padded) - 2 * reach
    for x in range(reach):
        padded[x] = padded[reach + _mirrored(x - reach, width)]
        padded[reach + width + x] = padded[reach + _mirrored(width + x, width)]


def find_regions(
    image: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Find the connected regions, corners included, of a map, float32 (H, W), above a threshold.

    Returns the runs of pixels that they are made of, int64 (M, 4): row, first column, the one after the last, and
    number of the region, from 0; and of each region its peak, float32 (N,); the sum of what it holds, float64 (N,); its
    first and last row and column, int64 (N, 4); and those of its core, which is at least half of the peak.
    """
    runs, peaks, mass, boxes, cores = _find_regions(_map(image), np.float32(threshold))
    return runs, peaks, mass, boxes, cores


@compile_function
def _find_runs(image: np.ndarray, threshold: np.float32) -> np.ndarray:
    """Return the runs above a threshold, as for `find_regions`, without numbers."""
    height, width = image.shape
    # Every other pixel of a row begins a run at most.
    runs = np.empty((height * ((width + 1) // 2), 4), np.int64)
    count = 0
    for y in range(height):
        row = image[y]
        highest = row[0]
        for x in range(width):
            highest = max(highest, row[x])
        if not highest > threshold:
            continue
        inside = False
        for x in range(width):
            if (row[x] > threshold) != inside:
                inside = not inside
                if inside:
                    runs[count, 0], runs[count, 1] = y, x
                else:
                    runs[count, 2] = x
                    count += 1
        if inside:
            runs[count, 2] = width
            count += 1
    return runs[:count]


@compile_function
def _root(parents: np.ndarray, run: int) -> int:
    while parents[run] != run:
        parents[run] = parents[parents[run]]
        run = parents[run]
    return run


@compile_function
def _number_runs(runs: np.ndarray) -> int:
    """Write the number of its region into each run; return how many regions there are."""
    parents = np.arange(len(runs))
    above = 0
    for run in range(len(runs)):
        y, first, past = runs[run, 0], runs[run, 1], runs[run, 2]
        while above < run and (
            runs[above, 0] < y - 1 or (runs[above, 0] == y - 1 and runs[above, 2] < first)
        ):
            above += 1
        other = above
        while other < run and runs[other, 0] == y - 1 and runs[other, 1] <= past:
            mine, its = _root(parents, run), _root(parents, other)
            parents[max(mine, its)] = min(mine, its)
            other += 1
    count = 0
    for run in range(len(runs)):
        root = _root(parents, run)
        if root == run:
            runs[run, 3] = count
            count += 1
        else:
            runs[run, 3] = runs[root, 3]
    return count


@compile_function
def _find_regions(
    image: np.ndarray, threshold: np.float32
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    runs = _find_runs(image, threshold)
    count = _number_runs(runs)
    peaks, mass = np.zeros(count, np.float32), np.zeros(count)
    boxes = np.empty((count, 4), np.int64)
    boxes[:, 0], boxes[:, 1], boxes[:, 2], boxes[:, 3] = image.shape[0], -1, image.shape[1], -1
    cores = boxes.copy()
    for y, first, past, number in runs:
        _extend(boxes[number], y, first, past - 1)
        for value in image[y, first:past]:
            peaks[number] = max(peaks[number], value)
            mass[number] += np.float64(value)
    for y, first, past, number in runs:
        least = np.float32(0.5) * peaks[number]
        for x in range(first, past):
            if image[y, x] >= least:
                _extend(cores[number], y, x, x)
    return runs, peaks, mass, boxes, cores


@compile_function
def _extend(box: np.ndarray, y: int, first: int, last: int) -> None:
    """Let a box of first and last row and column hold a part of a row."""
    box[0], box[1] = min(box[0], y), max(box[1], y)
    box[2], box[3] = min(box[2], first), max(box[3], last)


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
    soft_middle, steep_middle = soft[reach : reach + width], steep[reach : reach + width]
    across, down = np.empty(width), np.empty(width)
    for first in range(apart):
        for y in range((first + apart // 2) % apart, height, apart):
            row = image[y]
            for x in range(width):
                soft_middle[x] = np.float64(row[x]) * blurring[0]
                steep_middle[x] = 0
            for step in range(1, reach + 1):
                above, below = image[_mirrored(y - step, height)], image[_mirrored(y + step, height)]
                for x in range(width):
                    soft_middle[x] += (np.float64(above[x]) + np.float64(below[x])) * blurring[step]
                    steep_middle[x] += (np.float64(below[x]) - np.float64(above[x])) * sloping[step]
            _mirror_ends(soft, reach)
            _mirror_ends(steep, reach)
            for x in range(width):
                across[x], down[x] = 0, steep_middle[x] * blurring[0]
            for step in range(1, reach + 1):
                soft_before, soft_after = soft[reach - step :][:width], soft[reach + step :][:width]
                steep_before, steep_after = steep[reach - step :][:width], steep[reach + step :][:width]
                for x in range(width):
                    across[x] += (soft_after[x] - soft_before[x]) * sloping[step]
                    down[x] += (steep_before[x] + steep_after[x]) * blurring[step]
            for x in range(width):
                if across[x] * across[x] + down[x] * down[x] >= least * least:
                    return True
    return False


def keep_regions(
    image: np.ndarray, runs: np.ndarray, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keep some regions of a map, float32 (H, W), and nothing else of it.

    runs: of all regions, as `find_regions` returns them; kept: bool (N,), whether each region is.

    Returns the map, 0 where nothing is kept; where something is, bool (H, W); and what is kept, float32 (n,).
    """
    held, mask, values = _keep_regions(_map(image), runs, kept)
    return held, mask, values


@compile_function
def _keep_regions(
    image: np.ndarray, runs: np.ndarray, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count = 0
    for _, first, past, number in runs:
        if kept[number]:
            count += past - first
    held, mask = np.zeros_like(image), np.zeros(image.shape, np.bool_)
    values = np.empty(count, np.float32)
    start = 0
    for y, first, past, number in runs:
        if kept[number]:
            held[y, first:past] = image[y, first:past]
            mask[y, first:past] = True
            values[start : start + past - first] = image[y, first:past]
            start += past - first
    return held, mask, values


def grow(mask: np.ndarray, steps: int) -> np.ndarray:
    """Return what is reached from a mask, bool (H, W), by so many steps to pixels beside, above or below."""
    return np.asarray(_grow(suited(mask), steps))


@compile_function
def _grow(mask: np.ndarray, steps: int) -> np.ndarray:
    height, width = mask.shape
    away = np.empty((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            nearest = np.int32(0) if mask[y, x] else np.int32(steps + 1)
            if y > 0:
                nearest = min(nearest, away[y - 1, x] + np.int32(1))
            if x > 0:
                nearest = min(nearest, away[y, x - 1] + np.int32(1))
            away[y, x] = nearest
    out = np.empty((height, width), np.bool_)
    for y in range(height - 1, -1, -1):
        for x in range(width - 1, -1, -1):
            nearest = away[y, x]
            if y < height - 1:
                nearest = min(nearest, away[y + 1, x] + np.int32(1))
            if x < width - 1:
                nearest = min(nearest, away[y, x + 1] + np.int32(1))
            away[y, x] = nearest
            out[y, x] = nearest <= steps
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
    """Weigh values, float64 (R, C), by their distance from a polynomial (Tukey's biweight), and sum up for a fit.

    rows, columns, coefficients, powers: as for `evaluate`.
    cut: how far away a value weighs nothing.

    Returns how many weigh anything; the sums of the weights times powers of x and of y, eight of them at most, float64
    (9, 9); and those of weights and values times four powers at most, float64 (5, 5).
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
    line, width = np.empty(5), len(columns)
    # Of each column, by powers of y; those of x come at the end.
    sums, weighted = np.zeros((9, width)), np.zeros((5, width))
    weights, terms = np.empty(width), np.empty(width)
    count = 0
    for row in range(len(rows)):
        y, found = rows[row], values[row]
        _across(coefficients, powers, y, line)
        a, b, c, d, e = line
        for column in range(width):
            x = columns[column]
            away = (found[column] - (a + x * (b + x * (c + x * (d + x * e))))) / cut
            nearness = max(0.0, 1 - away * away)
            weights[column] = nearness * nearness
            terms[column] = weights[column] * found[column]
            count += nearness > 0
        power = 1.0
        for n in range(9):
            total = sums[n]
            for column in range(width):
                total[column] += weights[column] * power
            if n < 5:
                total = weighted[n]
                for column in range(width):
                    total[column] += terms[column] * power
            power *= y
    moments, products = np.zeros((9, 9)), np.zeros((5, 5))
    for column in range(width):
        power = 1.0
        for i in range(9):
            for n in range(9 - i):
                moments[i, n] += sums[n, column] * power
            if i < 5:
                for n in range(5 - i):
                    products[i, n] += weighted[n, column] * power
            power *= columns[column]
    return count, moments, products


def solve(gram: np.ndarray, products: np.ndarray, determined: float) -> np.ndarray | None:
    """Solve the equations of least squares by Cholesky's way; None where they hardly determine the solution.

    gram: float64 (N, N), symmetric; products: float64 (N,).
    determined: of each equation at least this share is not made up by those before it.
    """
    solution, good = _solve(gram, products, determined)
    return np.asarray(solution) if good else None


@compile_function
def _solve(gram: np.ndarray, products: np.ndarray, determined: float) -> tuple[np.ndarray, bool]:
    n = len(products)
    root, solution = np.zeros((n, n)), products.copy()
    for i in range(n):
        for j in range(i + 1):
            total = gram[i, j]
            for k in range(j):
                total -= root[i, k] * root[j, k]
            if i > j:
                root[i, j] = total / root[j, j]
            elif total > determined * gram[i, i]:
                root[i, i] = np.sqrt(total)
            else:
                return solution, False
    for i in range(n):
        for k in range(i):
            solution[i] -= root[i, k] * solution[k]
        solution[i] /= root[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            solution[i] -= root[k, i] * solution[k]
        solution[i] /= root[i, i]
    return solution, True
