"""What torch does too slowly for many small images, compiled by numba: how far pairs of maps differ, each allowed to bend.

Importing this module imports numba (half a second), and what it holds is compiled on first use, or read from numba's
cache: import it where it is used, not above. The plain form in torch, `anomalae.detectors.neighbours.bent`, says the same.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import torch

SIDE = 28
# A map in a plane of rows of 32 numbers, around it zeros: a shift by a pixel is another place to start at, a row's end
# runs over into the zeros of the next, and loops have the same length for all shifts.
WIDTH, ROWS, TOP, LEFT = 32, 36, 4, 2
PLANE = ROWS * WIDTH
# Side of the square whose mean is the worst place.
PLACE = 9


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that holds no lock; its sums keep their order, and infinities and NaN stay what they are."""
    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:
        # Neither beside this file nor in the user's home can a cache be written: compile each time.
        return numba.njit(**options)(function)


@_compiled
def _lay(maps, plane):
    """Copy maps (2, 28, 28) into a plane each, (2, PLANE); the zeros around them are left."""
    for channel in range(2):
        for y in range(SIDE):
            start = (y + TOP) * WIDTH + LEFT
            for x in range(SIDE):
                plane[channel, start + x] = maps[channel, y, x]


@_compiled
def _differ(a, b, work, terms):
    """Write where planes a and b differ though either may bend into `terms` (PLANE,), rows 0 to 27 of it.

    work: (4, PLANE), for squares, their sums down, and the least forth and back.
    """
    squares, down, forth, back = work[0], work[1], work[2], work[3]
    a0, a1, b0, b1 = a[0], a[1], b[0], b[1]
    forth[:] = np.inf
    back[:] = np.inf
    for row in range(3):
        for column in range(3):
            off = np.intp((row - 1) * WIDTH + column - 1)
            # Rows and columns -2 to 29.
            n = WIDTH * 32
            start = 2 * WIDTH
            s, p, q = squares[start : start + n], a0[start : start + n], a1[start : start + n]
            u, v = b0[start + off : start + off + n], b1[start + off : start + off + n]
            for i in range(n):
                e, f = p[i] - u[i], q[i] - v[i]
                s[i] = e * e + f * f
            # Rows -1 to 28.
            n = WIDTH * 30
            start = 3 * WIDTH
            d = down[start : start + n]
            s = squares[start - WIDTH : start + n + WIDTH]
            for i in range(n):
                d[i] = s[i] + s[i + WIDTH] + s[i + 2 * WIDTH]
            d = down[start - 1 : start + n + 1]
            f0, g = forth[start : start + n], back[start + off : start + off + n]
            for i in range(n):
                h = d[i] + d[i + 1] + d[i + 2]
                f0[i] = h if h < f0[i] else f0[i]
                g[i] = h if h < g[i] else g[i]
    ninth = np.float32(1 / 9)
    for i in range(TOP * WIDTH, (TOP + SIDE) * WIDTH):
        terms[i] = (forth[i] + back[i]) * ninth


@_compiled
def _sums(terms, sums):
    """Return the sum of the terms and that of their squares, rows added up first."""
    one, two = sums[0], sums[1]
    one[:] = 0
    two[:] = 0
    for y in range(TOP, TOP + SIDE):
        row = terms[y * WIDTH : (y + 1) * WIDTH]
        for x in range(WIDTH):
            t = row[x]
            one[x] += t
            two[x] += t * t
    total = squared = np.float32(0)
    for x in range(LEFT, LEFT + SIDE):
        total += one[x]
        squared += two[x]
    return total, squared


@_compiled
def _worst(terms, work):
    """Return the largest mean of the terms in a square of PLACE; work: (4, PLANE)."""
    start = TOP * WIDTH
    t = terms[start : start + SIDE * WIDTH]
    two, four, eight, column = work[0], work[1], work[2], work[3]
    # Sums of 2, 4, 8 and 9 rows.
    for i in range(27 * WIDTH):
        two[i] = t[i] + t[i + WIDTH]
    for i in range(25 * WIDTH):
        four[i] = two[i] + two[i + 2 * WIDTH]
    n = (SIDE - PLACE + 1) * WIDTH
    for i in range(n):
        column[i] = four[i] + four[i + 4 * WIDTH] + t[i + 8 * WIDTH]
    # And of columns; what runs over a row's end is not looked at.
    for i in range(n):
        two[i] = column[i] + column[i + 1]
    for i in range(n):
        four[i] = two[i] + two[i + 2]
    most = np.zeros(WIDTH, np.float32)
    for i in range(n):
        eight[i] = four[i] + four[i + 4] + column[i + 8]
    for y in range(SIDE - PLACE + 1):
        row = eight[y * WIDTH : (y + 1) * WIDTH]
        for x in range(WIDTH):
            most[x] = row[x] if row[x] > most[x] else most[x]
    largest = np.float32(0)
    for x in range(LEFT, LEFT + SIDE - PLACE + 1):
        largest = max(largest, most[x])
    return largest / np.float32(PLACE * PLACE)


@_compiled
def _figures_of_rows(maps, kept, likely, first, last, figures, with_worst):
    """Write sum, sum of squares and worst place of each row's pairs into figures (3, N, c)."""
    a, b = np.zeros((2, PLANE), np.float32), np.zeros((2, PLANE), np.float32)
    work, terms = np.zeros((4, PLANE), np.float32), np.zeros(PLANE, np.float32)
    sums = np.zeros((2, WIDTH), np.float32)
    for row in range(first, last):
        _lay(maps[row], a)
        for column in range(likely.shape[1]):
            _lay(kept[likely[row, column]], b)
            _differ(a, b, work, terms)
            figures[0, row, column], figures[1, row, column] = _sums(terms, sums)
            if with_worst:
                figures[2, row, column] = _worst(terms, work)


@_compiled
def _terms_of_rows(maps, kept, likely, first, last, laid):
    """Write the terms of each row's pairs into laid (N, c, 28, 28)."""
    a, b = np.zeros((2, PLANE), np.float32), np.zeros((2, PLANE), np.float32)
    work, terms = np.zeros((4, PLANE), np.float32), np.zeros(PLANE, np.float32)
    for row in range(first, last):
        _lay(maps[row], a)
        for column in range(likely.shape[1]):
            _lay(kept[likely[row, column]], b)
            _differ(a, b, work, terms)
            for y in range(SIDE):
                for x in range(SIDE):
                    laid[row, column, y, x] = terms[(y + TOP) * WIDTH + LEFT + x]


def figures(
    maps: np.ndarray, kept: np.ndarray, likely: np.ndarray, worst: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of each pair's terms the sum, the sum of squares and the largest mean in a 9 x 9 square: (N, c) each.

    maps: of images, float32 (N, 2, 28, 28).
    kept: of the images they are set against, float32 (n, 2, 28, 28).
    likely: indices of those compared with each, int64 (N, c).
    worst: whether the last is wanted; zeros where it is not.
    """
    written = np.zeros((3, *likely.shape), np.float32)
    _by_rows(_figures_of_rows, len(maps), maps, kept, likely, written, worst)
    return written[0], written[1], written[2]


def terms(maps: np.ndarray, kept: np.ndarray, likely: np.ndarray) -> np.ndarray:
    """Return where pairs differ, float32 (N, c, 28, 28), at least 0; arguments as of `figures`."""
    laid = np.zeros((*likely.shape, SIDE, SIDE), np.float32)
    _by_rows(_terms_of_rows, len(maps), maps, kept, likely, laid)
    return laid


def _by_rows(function, n, maps, kept, likely, *written) -> None:
    """Call a function that writes rows; shared among as many threads as torch has, for it holds no lock."""
    given = [np.ascontiguousarray(array) for array in (maps, kept, likely)]
    threads = min(torch.get_num_threads(), n)
    if threads <= 1:
        function(*given, 0, n, *written)
        return
    edges = np.linspace(0, n, threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        parts = zip(edges[:-1], edges[1:], strict=True)
        for done in [pool.submit(function, *given, first, last, *written) for first, last in parts]:
            done.result()
