"""How far two images differ, each bent a pixel; and by what numbers those are found that may be near.

What is computed is told in `anomalae.detectors.neighbours`; `anomalae.models.bent` is its plain form in torch.
"""

from __future__ import annotations

import numpy as np

from anomalae.compiling import suited
from anomalae.models.compiled import compiled, share_rows

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


@compiled
def _lay(image: np.ndarray, plane: np.ndarray) -> None:
    """Copy an image (28, 28) into a plane; the zeros around it are left."""
    for y in range(SIDE):
        row = plane[FIRST + y * WIDTH + LEFT : FIRST + y * WIDTH + LEFT + SIDE]
        for x in range(SIDE):
            row[x] = np.float32(image[y, x])


@compiled
def _end(rows: np.ndarray) -> None:
    """Set to zero what lies beside an image's rows, (28 x WIDTH,)."""
    for y in range(SIDE):
        for x in (0, 1, WIDTH - 2, WIDTH - 1):
            rows[y * WIDTH + x] = 0


@compiled
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


@compiled
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


@compiled
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


@compiled
def _figures(
    first: int, last: int, planes: np.ndarray, images: np.ndarray, kept: np.ndarray, likely: np.ndarray,
    figures: np.ndarray,
) -> None:  # fmt: skip
    """Write the figures of the pairs of rows first to last into (2, N, c)."""
    plane, a, b, work, terms, sums = planes[0], planes[1:3], planes[3:5], planes[5:16], planes[16], planes[17]
    for row in range(first, last):
        _lay(images[row], plane)
        _map(plane, a, work)
        for column in range(likely.shape[1]):
            _lay(kept[likely[row, column]], plane)
            _map(plane, b, work)
            _differ(a, b, work, terms)
            figures[0, row, column], figures[1, row, column] = _sum(terms, sums)


@compiled
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


@compiled
def _matched(
    first: int, last: int, planes: np.ndarray, images: np.ndarray, others: np.ndarray, figures: np.ndarray
) -> None:
    """Write squared error and sum of terms of each image and the other in its row, rows first to last, into (2, N)."""
    plane, other, a, b = planes[0], planes[17], planes[1:3], planes[3:5]
    work, terms, sums = planes[5:16], planes[16], planes[5]
    for row in range(first, last):
        _lay(images[row], plane)
        _lay(others[row], other)
        sums[:WIDTH] = 0
        for y in range(SIDE):
            start = FIRST + y * WIDTH
            p, q = plane[start : start + WIDTH], other[start : start + WIDTH]
            for x in range(WIDTH):
                e = p[x] - q[x]
                sums[x] += e * e
        for x in range(WIDTH):
            figures[0, row] += sums[x]
        _map(plane, a, work)
        _map(other, b, work)
        _differ(a, b, work, terms)
        figures[1, row] = _sum(terms, sums)[0]


@compiled
def _edges(first: int, last: int, planes: np.ndarray, images: np.ndarray, numbers: np.ndarray) -> None:
    """Write the numbers of rows first to last by which they are searched, (N, 196)."""
    plane, maps, work, sums = planes[0], planes[1:3], planes[3:5], planes[5]
    for row in range(first, last):
        _lay(images[row], plane)
        _map(plane, maps, work)
        squares = np.float32(0)
        for way in range(4):
            sign = np.float32(1 - 2 * (way % 2))
            for place in range(7):
                # The margin of a square of 6 at every 4 pixels.
                start = FIRST + (4 * place - 1) * WIDTH
                m = maps[way // 2, start : start + 6 * WIDTH]
                for x in range(WIDTH):
                    sums[x] = 0
                for y in range(6):
                    for x in range(WIDTH):
                        sums[x] += max(sign * m[y * WIDTH + x], np.float32(0))
                for across in range(7):
                    total = np.float32(0)
                    for x in range(6):
                        total += sums[LEFT - 1 + 4 * across + x]
                    numbers[row, (way * 7 + place) * 7 + across] = total
                    squares += total * total
        if squares > 0:
            scale = np.float32(1) / np.sqrt(squares)
            for i in range(numbers.shape[1]):
                numbers[row, i] *= scale


def figures(images: np.ndarray, kept: np.ndarray, likely: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return of each pair's terms the sum and the sum of squares: (N, c) each.

    images: float32 (N, 28, 28).
    kept: those they are set against, uint8 (n, 28, 28).
    likely: the indices of those that each is compared with, int64 (N, c).
    """
    written = np.zeros((2, *likely.shape), np.float32)
    share_rows(_figures, len(images), _planes, suited(images), suited(kept), suited(likely), written)
    return written[0], written[1]


def matched(images: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return of each image and the other in its row the squared error and the sum of their terms: float64 (N,) each.

    images, others: float32 (N, 28, 28).
    """
    written = np.zeros((2, len(images)), np.float64)
    share_rows(_matched, len(images), _planes, suited(images), suited(others), written)
    return written[0], written[1]


def matched_terms(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return where each image differs from the other in its row, float32 (N, 28, 28), at least 0.

    images, others: float32 (N, 28, 28); their brightness does not matter.
    """
    own = np.arange(len(images), dtype=np.int64)[:, None]
    laid = np.zeros((len(images), 1, SIDE, SIDE), np.float32)
    share_rows(_terms, len(images), _planes, suited(images), suited(others), own, laid)
    return laid[:, 0]


def terms(images: np.ndarray, kept: np.ndarray, likely: np.ndarray) -> np.ndarray:
    """Return where the images of each pair differ, float32 (N, c, 28, 28), at least 0; arguments as of `figures`."""
    laid = np.zeros((*likely.shape, SIDE, SIDE), np.float32)
    share_rows(_terms, len(images), _planes, suited(images), suited(kept), suited(likely), laid)
    return laid


def edge_numbers(images: np.ndarray) -> np.ndarray:
    """Return how much of an image's edges faces each of four ways in each of 7 x 7 places: of length 1, (N, 196).

    images: float32 (N, 28, 28). Places are squares of 6 x 6 at every 4 pixels; a blank image has zeros.
    """
    numbers = np.zeros((len(images), 196), np.float32)
    share_rows(_edges, len(images), _planes, suited(images), numbers)
    return numbers


def _planes() -> np.ndarray:
    """Return zeroed planes that begin where a processor's widest registers want it, (PLANES, PLANE)."""
    memory = np.zeros(PLANES * PLANE + 16, np.float32)
    start = -(memory.ctypes.data // 4) % 16
    return memory[start : start + PLANES * PLANE].reshape(PLANES, PLANE)
