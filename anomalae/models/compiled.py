"""What torch does too slowly for many small images, compiled by numba: how far two images differ, each bent a pixel.

Importing this module imports numba (half a second); what it holds is compiled when it is first called, or read from
numba's cache. So import it where it is used, not above. What it computes is told in `anomalae.detectors.neighbours`,
and `bent` there is the plain form of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import torch

SIDE = 28
# An image or map in a plane of rows of 32 numbers, zeros around it: a shift by a pixel is another place to start at,
# what runs over a row's end meets the zeros of the next, and all loops have lengths that are known.
WIDTH, ROWS, TOP, LEFT = 32, 36, 4, 2
PLANE = ROWS * WIDTH
FIRST, AREA = TOP * WIDTH, SIDE * WIDTH
# Beside it float32 stays float32.
TWO = np.float32(2)
# Planes that a thread works in: an image and its two maps, the maps of another, 2 for steps between, 9 for shifts, the
# terms, and sums.
PLANES = 18
# Side of the square whose mean is the worst place.
PLACE = 9


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that holds no lock; its sums keep their order, infinities and NaN stay what they are."""
    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:
        # Neither beside this file nor in the user's home can a cache be written: it is compiled each time.
        return numba.njit(**options)(function)


@_compiled
def _lay(image: np.ndarray, plane: np.ndarray) -> None:
    """Copy an image (28, 28) into a plane; the zeros around it are left."""
    for y in range(SIDE):
        row = plane[FIRST + y * WIDTH + LEFT : FIRST + y * WIDTH + LEFT + SIDE]
        for x in range(SIDE):
            row[x] = np.float32(image[y, x])


@_compiled
def _end(rows: np.ndarray) -> None:
    """Set to zero what lies beside an image's rows, (28 x WIDTH,)."""
    for y in range(SIDE):
        for x in (0, 1, WIDTH - 2, WIDTH - 1):
            rows[y * WIDTH + x] = 0


@_compiled
def _map(plane: np.ndarray, maps: np.ndarray, work: np.ndarray) -> None:
    """Write the Sobel maps of an image in a plane, of length 1 together, into planes (2, PLANE); none of a blank one.

    work: (2, PLANE).
    """
    p = plane[FIRST - WIDTH : FIRST + AREA + WIDTH]
    smooth, slope = work[0, FIRST : FIRST + AREA], work[1, FIRST : FIRST + AREA]
    for i in range(AREA):
        smooth[i] = p[i] + TWO * p[i + WIDTH] + p[i + 2 * WIDTH]
        slope[i] = p[i + 2 * WIDTH] - p[i]
    across, down = maps[0, FIRST : FIRST + AREA], maps[1, FIRST : FIRST + AREA]
    # The first and the last lie beside the image.
    for i in range(1, AREA - 1):
        across[i] = smooth[i + 1] - smooth[i - 1]
        down[i] = slope[i - 1] + TWO * slope[i] + slope[i + 1]
    _end(across)
    _end(down)
    squares = work[0, :WIDTH]
    squares[:] = 0
    for y in range(SIDE):
        a, d = across[y * WIDTH : (y + 1) * WIDTH], down[y * WIDTH : (y + 1) * WIDTH]
        for x in range(WIDTH):
            squares[x] += a[x] * a[x] + d[x] * d[x]
    total = np.float32(0)
    for x in range(WIDTH):
        total += squares[x]
    if total > 0:
        scale = np.float32(1) / np.sqrt(total)
        for i in range(AREA):
            across[i] *= scale
            down[i] *= scale


@_compiled
def _differ(a: np.ndarray, b: np.ndarray, work: np.ndarray, terms: np.ndarray) -> None:
    """Write where maps a and b, in planes, differ though either may bend into a plane `terms`; nothing is left beside.

    work: (11, PLANE).
    """
    squares, sums, shifts = work[0], work[1], work[2:]
    for row in range(3):
        for column in range(3):
            shift = np.intp((row - 1) * WIDTH + column - 1)
            # Squared distances of pixels, rows and columns -2 to 29.
            start, n = FIRST - 2 * WIDTH, AREA + 4 * WIDTH
            s, p, q = squares[start : start + n], a[0, start : start + n], a[1, start : start + n]
            u, v = b[0, start + shift : start + shift + n], b[1, start + shift : start + shift + n]
            for i in range(n):
                e, f = p[i] - u[i], q[i] - v[i]
                s[i] = e * e + f * f
            # Summed in squares of 3, for rows and columns -1 to 28: down, then across.
            start, n = FIRST - WIDTH, AREA + 2 * WIDTH
            d = sums[start : start + n]
            for i in range(n):
                d[i] = s[i] + s[i + WIDTH] + s[i + 2 * WIDTH]
            d, h = sums[start - 1 : start + n + 1], shifts[3 * row + column, start : start + n]
            for i in range(n):
                h[i] = d[i] + d[i + 1] + d[i + 2]
    h0, h1, h2 = shifts[0], shifts[1], shifts[2]
    h3, h4, h5 = shifts[3], shifts[4], shifts[5]
    h6, h7, h8 = shifts[6], shifts[7], shifts[8]
    for i in range(FIRST, FIRST + AREA):
        forth = min(min(min(h0[i], h1[i]), min(h2[i], h3[i])), min(min(h4[i], h5[i]), min(h6[i], h7[i])))
        # Where b's patch is compared, it is a's that is shifted, the other way.
        back = min(
            min(min(h0[i + 33], h1[i + 32]), min(h2[i + 31], h3[i + 1])),
            min(min(h4[i], h5[i - 1]), min(h6[i - 31], h7[i - 32])),
        )
        terms[i] = (min(forth, h8[i]) + min(back, h8[i - 33])) * np.float32(1 / 9)
    _end(terms[FIRST : FIRST + AREA])


@_compiled
def _sum(terms: np.ndarray, work: np.ndarray) -> tuple[np.floating, np.floating]:
    """Return the sum of the terms and that of their squares; rows are added up first."""
    once, squared = work[:WIDTH], work[WIDTH : 2 * WIDTH]
    once[:] = 0
    squared[:] = 0
    for y in range(SIDE):
        row = terms[FIRST + y * WIDTH : FIRST + (y + 1) * WIDTH]
        for x in range(WIDTH):
            t = row[x]
            once[x] += t
            squared[x] += t * t
    total = total_squared = np.float32(0)
    for x in range(WIDTH):
        total += once[x]
        total_squared += squared[x]
    return total, total_squared


@_compiled
def _worst(terms: np.ndarray, work: np.ndarray) -> np.floating:
    """Return the largest mean of the terms in a square of PLACE; work: (4, PLANE)."""
    t = terms[FIRST : FIRST + AREA]
    a, b, column = work[0], work[1], work[2]
    # Sums of 2, 4 and 9 rows.
    for i in range(27 * WIDTH):
        a[i] = t[i] + t[i + WIDTH]
    for i in range(25 * WIDTH):
        b[i] = a[i] + a[i + 2 * WIDTH]
    n = (SIDE - PLACE + 1) * WIDTH
    for i in range(n):
        column[i] = b[i] + b[i + 4 * WIDTH] + t[i + 8 * WIDTH]
    # And of columns; what runs over a row's end is not looked at.
    for i in range(n):
        a[i] = column[i] + column[i + 1]
    for i in range(n):
        b[i] = a[i] + a[i + 2]
    most = work[3, :WIDTH]
    most[:] = 0
    for i in range(n):
        a[i] = b[i] + b[i + 4] + column[i + 8]
    for y in range(SIDE - PLACE + 1):
        row = a[y * WIDTH : (y + 1) * WIDTH]
        for x in range(WIDTH):
            most[x] = max(row[x], most[x])
    largest = np.float32(0)
    for x in range(LEFT, LEFT + SIDE - PLACE + 1):
        largest = max(largest, most[x])
    return largest / np.float32(PLACE * PLACE)


@_compiled
def _figures(
    first: int, last: int, planes: np.ndarray, images: np.ndarray, kept: np.ndarray, likely: np.ndarray,
    worst: bool, figures: np.ndarray,
) -> None:  # fmt: skip
    """Write the figures of the pairs of rows first to last into (3, N, c)."""
    plane, a, b, work, terms, sums = planes[0], planes[1:3], planes[3:5], planes[5:16], planes[16], planes[17]
    for row in range(first, last):
        _lay(images[row], plane)
        _map(plane, a, work)
        for column in range(likely.shape[1]):
            _lay(kept[likely[row, column]], plane)
            _map(plane, b, work)
            _differ(a, b, work, terms)
            figures[0, row, column], figures[1, row, column] = _sum(terms, sums)
            if worst:
                figures[2, row, column] = _worst(terms, work)


@_compiled
def _terms(
    first: int, last: int, planes: np.ndarray, images: np.ndarray, kept: np.ndarray, likely: np.ndarray,
    laid: np.ndarray,
) -> None:  # fmt: skip
    """Write the terms of the pairs of rows first to last into (N, c, 28, 28)."""
    plane, a, b, work, terms = planes[0], planes[1:3], planes[3:5], planes[5:16], planes[16]
    for row in range(first, last):
        _lay(images[row], plane)
        _map(plane, a, work)
        for column in range(likely.shape[1]):
            _lay(kept[likely[row, column]], plane)
            _map(plane, b, work)
            _differ(a, b, work, terms)
            for y in range(SIDE):
                for x in range(SIDE):
                    laid[row, column, y, x] = terms[FIRST + y * WIDTH + LEFT + x]


def figures(
    images: np.ndarray, kept: np.ndarray, likely: np.ndarray, worst: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of each pair's terms the sum, the sum of squares and the largest mean in a square of 9 x 9: (N, c) each.

    images: float32 (N, 28, 28).
    kept: those they are set against, uint8 (n, 28, 28).
    likely: the indices of those that each is compared with, int64 (N, c).
    worst: whether the last figure is wanted; zeros where it is not.
    """
    written = np.zeros((3, *likely.shape), np.float32)
    _by_rows(_figures, len(images), _plain(images), _plain(kept), _plain(likely), worst, written)
    return written[0], written[1], written[2]


def terms(images: np.ndarray, kept: np.ndarray, likely: np.ndarray) -> np.ndarray:
    """Return where the images of each pair differ, float32 (N, c, 28, 28), at least 0; arguments as of `figures`."""
    laid = np.zeros((*likely.shape, SIDE, SIDE), np.float32)
    _by_rows(_terms, len(images), _plain(images), _plain(kept), _plain(likely), laid)
    return laid


def _plain(array: np.ndarray) -> np.ndarray:
    """Return the array as a function was compiled for it; copied only where it must be."""
    return np.require(array, requirements=("C", "A", "W"))


def _planes() -> np.ndarray:
    """Return zeroed planes that begin where a processor's widest registers want it, (PLANES, PLANE)."""
    memory = np.zeros(PLANES * PLANE + 16, np.float32)
    start = -(memory.ctypes.data // 4) % 16
    return memory[start : start + PLANES * PLANE].reshape(PLANES, PLANE)


def _by_rows(function: Callable[..., None], n: int, *given: Any) -> None:
    """Let a function do rows 0 to n, shared among as many threads as torch has; no row hangs on how they are shared."""
    threads = min(torch.get_num_threads(), n)
    if threads <= 1:
        function(0, n, _planes(), *given)
        return
    edges = [n * part // threads for part in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        parts = itertools.pairwise(edges)
        for done in [pool.submit(function, first, last, _planes(), *given) for first, last in parts]:
            done.result()
