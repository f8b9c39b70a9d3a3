"""How far images and reconstructions are apart, and where most: for `anomalae.scores.reconstruction.WorstPlace`."""

from __future__ import annotations

import numpy as np

from anomalae.compiling import suited
from anomalae.models.compiled import compiled, share_rows

SIDE = 28
# Pixels that the blur reaches each way, and the side of the square.
CUT, PLACE = 3, 11
# A map in a plane of rows of 36 numbers: zeros beside and above it, as far as the blur reaches.
WIDTH = SIDE + 2 * CUT + 2
ROWS = SIDE + 2 * CUT
PLANE = WIDTH * ROWS
INNER = WIDTH * SIDE


@compiled
def _blur(plane: np.ndarray, kernel: np.ndarray, rows: np.ndarray, blurred: np.ndarray) -> None:
    """Blur a plane: its map's pixel (y, x) comes to `y * WIDTH + x` of blurred; rows: (PLANE,), to work in.

    What stands beside the 28 pixels of a row means nothing.
    """
    a, b, c, d = kernel[0], kernel[1], kernel[2], kernel[3]
    for i in range(PLANE - 2 * CUT):
        rows[i] = (
            a * (plane[i] + plane[i + 6])
            + b * (plane[i + 1] + plane[i + 5])
            + c * (plane[i + 2] + plane[i + 4])
            + d * plane[i + 3]
        )
    for i in range(INNER):
        blurred[i] = (
            a * (rows[i] + rows[i + 6 * WIDTH])
            + b * (rows[i + WIDTH] + rows[i + 5 * WIDTH])
            + c * (rows[i + 2 * WIDTH] + rows[i + 4 * WIDTH])
            + d * rows[i + 3 * WIDTH]
        )


@compiled
def _most(squares: np.ndarray, down: np.ndarray) -> np.floating:
    """Return the largest sum in a PLACE x PLACE square of squares (INNER,); down: (WIDTH,), to work in."""
    largest = np.float32(0)
    for y in range(SIDE - PLACE + 1):
        down[:] = 0
        for row in range(PLACE):
            start = (y + row) * WIDTH
            for x in range(WIDTH):
                down[x] += squares[start + x]
        for x in range(SIDE - PLACE + 1):
            total = np.float32(0)
            for column in range(PLACE):
                total += down[x + column]
            largest = max(largest, total)
    return largest


@compiled
def _total(squares: np.ndarray, down: np.ndarray) -> np.floating:
    """Return the sum of squares (INNER,) over the pixels of the map; down: (WIDTH,), to work in."""
    down[:] = 0
    for y in range(SIDE):
        for x in range(WIDTH):
            down[x] += squares[y * WIDTH + x]
    total = np.float32(0)
    for x in range(SIDE):
        total += down[x]
    return total


@compiled
def _figures(
    first: int, last: int, work: np.ndarray, target: np.ndarray, rebuilt: np.ndarray, kernel: np.ndarray,
    figures: np.ndarray,
) -> None:  # fmt: skip
    """Write the figures of rows into figures (3, N); work: (6, PLANE), zeros in the first two."""
    apart, made, rows, blurred, squares, energy = work[0], work[1], work[2], work[3], work[4], work[5]
    down = np.zeros(WIDTH, np.float32)
    for row in range(first, last):
        squares[:] = 0
        energy[:] = 0
        for channel in range(target.shape[1]):
            for y in range(SIDE):
                start = (y + CUT) * WIDTH + CUT
                for x in range(SIDE):
                    value = rebuilt[row, channel, y, x]
                    made[start + x] = value
                    apart[start + x] = target[row, channel, y, x] - value
            _blur(apart, kernel, rows, blurred)
            for i in range(INNER):
                squares[i] += blurred[i] * blurred[i]
            _blur(made, kernel, rows, blurred)
            for i in range(INNER):
                energy[i] += blurred[i] * blurred[i]
        figures[0, row] = _total(squares, down)
        figures[1, row] = _total(energy, down)
        figures[2, row] = _most(squares, down)


def figures(target: np.ndarray, rebuilt: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return what images and reconstructions say, blurred: (3, N).

    Of the difference the sum of squares; that of the reconstruction; of the difference the largest sum of squares, over
    maps, in a square of 11 x 11.

    target, rebuilt: float32 (N, C, 28, 28).
    kernel: of the blur, symmetric, float32 (7,).
    """
    written = np.zeros((3, len(target)), np.float32)
    given = suited(target), suited(rebuilt), suited(kernel)
    share_rows(_figures, len(target), lambda: np.zeros((6, PLANE), np.float32), *given, written)
    return written
