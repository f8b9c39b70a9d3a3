"""Views that read an image in a frame, by the moments of its ink: what `anomalae.models.frames` does in torch."""

from __future__ import annotations

import numpy as np
from numpy import float32

from anomalae.compiling import suited
from anomalae.models.compiled import compiled, share_rows

SIDE = 28
# Side of the square whose ink tells how dense it is; rows with zeros beside them, as many as it reaches.
DENSE = 11
REACH = DENSE // 2
WIDTH = SIDE + 2 * REACH + 2
PLANE = WIDTH * (SIDE + 2 * REACH)


@compiled
def _dense(image: np.ndarray, work: np.ndarray, ink: np.ndarray) -> None:
    """Write each pixel times the mean of the DENSE x DENSE around it into ink (28, 28); work: (4, PLANE)."""
    plane, two, four, tall = work[0], work[1], work[2], work[3]
    for y in range(SIDE):
        for x in range(SIDE):
            plane[(y + REACH) * WIDTH + REACH + x] = image[y, x]
    # Sums of 2, 4, 8 and 11 rows, then of columns.
    n = SIDE * WIDTH
    for i in range(n + 8 * WIDTH):
        two[i] = plane[i] + plane[i + WIDTH]
    for i in range(n + 4 * WIDTH):
        four[i] = two[i] + two[i + 2 * WIDTH]
    for i in range(n):
        tall[i] = four[i] + four[i + 4 * WIDTH] + two[i + 8 * WIDTH] + plane[i + 10 * WIDTH]
    for i in range(n - 1):
        two[i] = tall[i] + tall[i + 1]
    for i in range(n - 3):
        four[i] = two[i] + two[i + 2]
    share = float32(1 / DENSE**2)
    for y in range(SIDE):
        for x in range(SIDE):
            i = y * WIDTH + x
            ink[y, x] = image[y, x] * (share * (four[i] + four[i + 4] + two[i + 8] + tall[i + 10]))


@compiled
def _frame(
    ink: np.ndarray, sums: np.ndarray, limits: tuple[float, ...], spread: tuple[float, float]
) -> tuple[float, float, float, float, float]:  # fmt: skip
    """Return the frame in which an image of this ink is read: its scales and the shear, and the centre, x first.

    sums: (3, 28), to work in.
    limits: the middle, the least variance, the steepest slope, the least and the largest scale.
    spread: the standard deviations that are wanted; zeros where the image is not scaled.
    """
    middle, least_variance, steepest, least_scale, most_scale = limits
    columns, rows, leaning = sums[0], sums[1], sums[2]
    columns[:] = 0
    leaning[:] = 0
    for i in range(SIDE):
        below = float32(i - middle)
        for j in range(SIDE):
            columns[j] += ink[i, j]
            leaning[j] += ink[i, j] * below
        # Four sums at once do not wait for each other.
        a = b = c = d = float32(0)
        for j in range(0, SIDE, 4):
            a += ink[i, j]
            b += ink[i, j + 1]
            c += ink[i, j + 2]
            d += ink[i, j + 3]
        rows[i] = (a + b) + (c + d)
    mass = x = y = most = 0.0
    for i in range(SIDE):
        mass += rows[i]
        x += columns[i] * i
        y += rows[i] * i
        most = max(most, columns[i])
    if not mass > 0:
        mass = 1.0
    x, y = x / mass, y / mass
    if most <= 0:
        x = y = middle
    width = height = together = 0.0
    for i in range(SIDE):
        width += columns[i] * (i - x) ** 2
        height += rows[i] * (i - y) ** 2
        together += leaning[i] * (i - x)
    width, height, together = width / mass, height / mass, together / mass
    slope = min(max(together / max(height, least_variance), -steepest), steepest)
    if spread[0] == 0:
        return 1.0, slope, 1.0, x, y
    across = np.sqrt(max(width - 2 * slope * together + slope**2 * height, 0.0)) / spread[0]
    down = np.sqrt(height) / spread[1]
    across, down = min(max(across, least_scale), most_scale), min(max(down, least_scale), most_scale)
    return across, slope * down, down, x, y


@compiled
def _read(
    image: np.ndarray, middle: float, frame: tuple[float, ...], row: np.ndarray, read: np.ndarray
) -> None:
    """Read an image in a frame, bilinearly; outside it is blank. A row of what is read lies on one height.

    row: (32,), its first and last two are zeros.
    """
    across, lean, down, x, y = float32(frame[0]), frame[1], frame[2], frame[3], frame[4]
    for i in range(SIDE):
        height = down * (i - middle) + y
        # What is no number is outside, too: nothing may be read where no image is.
        if not (height > -1 and height < SIDE):
            read[i, :] = 0
            continue
        above = int(np.floor(height))
        share = float32(height - above)
        rest = float32(1) - share
        # The row begins after two zeros, and ends before two.
        line = row[2 : 2 + SIDE]
        if above < 0:
            for j in range(SIDE):
                line[j] = share * image[0, j]
        elif above == SIDE - 1:
            for j in range(SIDE):
                line[j] = rest * image[above, j]
        else:
            for j in range(SIDE):
                line[j] = rest * image[above, j] + share * image[above + 1, j]
        start = float32(lean * (i - middle) + x - across * middle)
        for j in range(SIDE):
            place = across * float32(j) + start + float32(2)
            # What is no number comes to lie before the row.
            place = place if place > float32(0) else float32(0)
            place = place if place < float32(SIDE + 2) else float32(SIDE + 2)
            left = np.int32(place)
            part = place - float32(left)
            read[i, j] = (float32(1) - part) * row[left] + part * row[left + 1]


@compiled
def _read_rows(
    first: int, last: int, work: tuple[np.ndarray, ...], images: np.ndarray, limits: tuple[float, ...],
    spread: tuple[float, float], dense: bool, read: np.ndarray,
) -> None:  # fmt: skip
    """Write what is seen of images first to last into (N, 28, 28)."""
    planes, ink, sums, row = work
    for n in range(first, last):
        if dense:
            _dense(images[n], planes, ink)
            frame = _frame(ink, sums, limits, spread)
        else:
            frame = _frame(images[n], sums, limits, spread)
        _read(images[n], limits[0], frame, row, read[n])


def _work() -> tuple[np.ndarray, ...]:
    shapes = (4, PLANE), (SIDE, SIDE), (3, SIDE), (SIDE + 4,)
    planes, ink, sums, row = (np.zeros(shape, np.float32) for shape in shapes)
    return planes, ink, sums, row


def read(
    images: np.ndarray,
    limits: tuple[float, ...],
    spread: tuple[float, float] = (0.0, 0.0),
    dense: bool = False,
) -> np.ndarray:
    """Return images as they are read in the frame of their ink, float32 (N, 28, 28).

    images: float32 (N, 28, 28).
    limits: the middle, the least variance, the steepest slope, the least and the largest scale.
    spread: standard deviations of the ink to which they are scaled, across and down; zeros where they are not.
    dense: whether the frame is that of each pixel times the ink around it.
    """
    written = np.empty((len(images), SIDE, SIDE), np.float32)
    share_rows(_read_rows, len(images), _work, suited(images), limits, spread, dense, written)
    return written
