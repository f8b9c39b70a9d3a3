"""Find the ruled lines of a page, horizontal and vertical, printed or drawn: long, thin, about straight, all parallel.

They are found as runs of ink far longer than a digit is wide, along the slope that most of the page's ink agrees on.
"""

from __future__ import annotations

import numpy as np

from anomalae.lazy import Deferred

ndimage = Deferred("scipy.ndimage")

# A line runs for at least this share of the page's longer side ...
LONG = 0.25
# ... and is no thicker than this share of that length.
THIN = 0.04
# Runs shorter than this many pixels may be strokes.
SHORTEST = 40
# Steepest slope of a line against the page's edge.
STEEPEST = 0.12
# Gaps of a faint line that are bridged, in pixels.
GAP = 5
# A line that covers this share of the page's width is taken to run from edge to edge.
WHOLE = 0.5
# Of the ink along a line, more than this share is the line alone, with no stroke across it.
LINE_ALONE = 0.3
# Pixels of ink that are looked at to find the slope.
LOOKED_AT = 20_000
# Slopes on either side of the common one: lines of a photographed page fan out.
FAN = 3


def find_ruled(smooth: np.ndarray, mask: np.ndarray, strength: float) -> np.ndarray:
    """Return the pixels that belong to ruled lines and to no stroke, bool (H, W).

    smooth: contrast of ink, float32 (H, W).
    mask: bool (H, W), where there is ink.
    strength: contrast of a full stroke.

    Where a stroke crosses a line, or stands on it, it is kept: there the ink reaches beyond the line, or is darker.
    """
    ruled = np.zeros_like(mask)
    least = LONG * max(mask.shape)
    for turned in (False, True):
        page, contrast = (mask.T, smooth.T) if turned else (mask, smooth)
        length = round(min(least, 0.9 * page.shape[1]))
        if length >= SHORTEST:
            lines = _horizontal(page, contrast, length, strength)
            ruled |= lines.T if turned else lines
    return ruled


def _horizontal(mask: np.ndarray, smooth: np.ndarray, length: int, strength: float) -> np.ndarray:
    runs = _vertical_runs(mask)
    thin = mask & (runs <= max(3.0, THIN * length))
    if not thin.any():
        return thin
    slope = _common_slope(thin)
    near = np.zeros_like(mask)
    for step in range(-FAN, FAN + 1):
        near |= _long_runs(mask, slope + step * 2 / length, length)
    near &= mask
    if (near & thin).sum() <= LINE_ALONE * near.sum():
        return np.zeros_like(mask)
    thickness = float(np.median(runs[near & thin]))
    ruled = near & (runs <= 1.5 * thickness + 1.5)
    tone = float(np.median(smooth[ruled])) if ruled.any() else strength
    if tone < 0.7 * strength:
        # A stroke that lies along a fainter line stands out from it.
        ruled &= smooth < (tone + strength) / 2
    return ruled


def _common_slope(mask: np.ndarray) -> float:
    """Return the slope, rows a column, along which the ink gathers in the fewest rows."""
    rows, columns = np.nonzero(mask)
    step = max(1, len(rows) // LOOKED_AT)
    rows, columns = rows[::step], columns[::step]
    offset = int(np.ceil(STEEPEST * mask.shape[1])) + 1

    def gathered(slope: float) -> float:
        levels = np.rint(rows - slope * columns).astype(np.int64) + offset
        return float(np.square(np.bincount(levels).astype(np.float64)).sum())

    slopes = np.linspace(-STEEPEST, STEEPEST, 97)
    best = slopes[int(np.argmax([gathered(slope) for slope in slopes]))]
    finer = np.linspace(best - 0.0025, best + 0.0025, 11)
    return float(finer[int(np.argmax([gathered(slope) for slope in finer]))])


def _long_runs(mask: np.ndarray, slope: float, length: int) -> np.ndarray:
    """Return where ink, taken a pixel thicker both ways, runs for `length` pixels along the slope."""
    shifts = np.rint(slope * np.arange(mask.shape[1])).astype(np.int64)
    thick = ndimage.binary_dilation(mask, np.ones((3, 1), bool))
    level = _sheared(thick, shifts)
    bridged = ndimage.binary_closing(np.pad(level, ((0, 0), (GAP, GAP))), np.ones((1, GAP), bool))
    runs = _opened(bridged[:, GAP:-GAP], length)
    whole = runs.sum(axis=1) >= WHOLE * mask.shape[1]
    runs[whole] = level[whole]
    return _sheared(runs, -shifts)[: mask.shape[0]] if len(runs) else mask


def _sheared(mask: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Move each column up by its shift; what leaves the page is lost, and empty space comes in."""
    out = np.zeros_like(mask)
    height = len(mask)
    # Columns of one shift lie side by side.
    edges = np.flatnonzero(np.diff(shifts)) + 1
    for start, stop in zip([0, *edges], [*edges, len(shifts)], strict=True):
        shift = int(shifts[start])
        if abs(shift) >= height:
            continue
        source = slice(max(shift, 0), height + min(shift, 0))
        target = slice(max(-shift, 0), height + min(-shift, 0))
        out[target, start:stop] = mask[source, start:stop]
    return out


def _opened(mask: np.ndarray, length: int) -> np.ndarray:
    """Return the rows' runs of at least `length` pixels."""
    runs = _run_lengths(mask)
    return runs >= length


def _vertical_runs(mask: np.ndarray) -> np.ndarray:
    """Return for each pixel of ink the length of the vertical run that it is in, 0 elsewhere."""
    return _run_lengths(np.ascontiguousarray(mask.T)).T


def _run_lengths(mask: np.ndarray) -> np.ndarray:
    """Return for each True pixel the length of its run along the row, 0 elsewhere."""
    padded = np.pad(mask, ((0, 0), (1, 1))).astype(np.int8)
    steps = np.diff(padded, axis=1)
    starts, stops = np.argwhere(steps == 1), np.argwhere(steps == -1)
    lengths = np.zeros(mask.shape, np.int32)
    lengths[mask] = np.repeat(stops[:, 1] - starts[:, 1], stops[:, 1] - starts[:, 1])
    return lengths
