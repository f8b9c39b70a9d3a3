"""Tell ink from paper in a grey picture: the paper's tone at each place, the ink's polarity, and the strokes.

Tones are float32 in [0, 1]. A picture is taken to be strokes of one polarity on a sheet that fills it;
the sheet may be lit unevenly, as long as its tone changes slowly.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

# Of the maps' own type: NumPy would make all of a map float64 to compare it with another.
ZERO = np.float32(0)
# Least contrast of ink, as a share of the brightest tone; below, the sheet counts as blank.
FAINTEST = 0.04
# Differences of tone below this share are the paper's, even where there is no noise.
GRAIN = 0.02
# A spot no larger than this both ways, in pixels, is dust or a dead pixel.
SPECK = 3
# A part of a digit has at least this share of the largest part's ink.
SMALLEST_PART = 0.03
# A part at least this wide, as a share of the picture, may be a shadow.
WIDE = 0.25
# A wide part is a shadow if its edges take longer than this, as a share of the picture, to rise.
SOFT = 0.2
# Nor is a part a shadow whose edges rise within so many pixels: in a small picture the blur alone takes half of it.
SHARP = 5.6

# Powers of x and of y in the polynomial of the paper's tone, by their degree.
POWERS = np.array([(power, degree - power) for degree in range(5) for power in range(degree, -1, -1)])
# How many of the powers each step fits: up to degree 1, 2, and 4.
TERMS = (3, 3, 3, 6, 6, 6, 15, 15, 15, 15)
# The share of the picture that must be empty for so many powers.
ROOM = {15: 0.85, 6: 0.7, 3: 0.5}
# The share of a power that the others do not make up, at least, where an equation is solved the short way.
DETERMINED = 1e-4
# How far the sheet may lie from the fit, as a share of the contrast.
TOLERANCE = 0.3


@dataclass(frozen=True)
class Paper:
    """Paper is the tone of the empty sheet: a polynomial of degree four in coordinates that run from -1 to 1.

    coefficients: float64 (15,), of the products of x and y in POWERS.
    """

    coefficients: np.ndarray

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return tones, float32 (R, C), at the coordinates `rows` (R,) and `columns` (C,)."""
        from anomalae.images.compiled import evaluate

        return evaluate(self.coefficients, POWERS, rows, columns)


@dataclass(frozen=True)
class Strokes:
    """Strokes are what is ink in a map of contrast.

    smooth: float32 (H, W), the map, blurred, 0 where there is no ink.
    mask: bool (H, W), where there is ink.
    strength: contrast of a full stroke.
    """

    smooth: np.ndarray
    mask: np.ndarray
    strength: float


def coordinates(start: float, stop: float, length: int, step: int = 1) -> np.ndarray:
    """Return where the centres of the pixels from `start` to `stop`, `step` apart, lie between -1 and 1, (n,)."""
    return (np.arange(start, stop, step) + step / 2) * (2 / length) - 1


def reduce(tones: np.ndarray, factor: int) -> np.ndarray:
    """Average blocks of `factor` by `factor` pixels (H, W), smaller ones at the far edges."""
    return tones if factor <= 1 else np.asarray(Image.fromarray(tones).reduce(factor))


def median(values: np.ndarray) -> float:
    """Return the median of numbers (n,), as NumPy's does, in half the time: none of them is NaN."""
    middle = len(values) // 2
    parted = np.partition(values, middle)
    if len(values) % 2:
        return float(parted[middle])
    return float(np.mean([parted[:middle].max(), parted[middle]], dtype=values.dtype))


def noise_level(tones: np.ndarray) -> float:
    """Return the standard deviation of the noise from pixel to pixel, from the median difference of neighbours."""
    steps = [np.abs(np.diff(tones, axis=axis)).ravel() for axis in (0, 1)]
    joined = np.concatenate(steps)
    return 1.4826 * median(joined) / math.sqrt(2) if joined.size else 0.0


def find_paper(tones: np.ndarray) -> Paper:
    """Fit the sheet's tone to the picture (H, W), whatever is drawn on it.

    Least squares with weights that shrink to the pixels near the fit (Tukey's biweight), while the degree
    grows from a constant, the median of the frame, to four: a stroke in the middle is left out before the surface
    can bend enough to follow it, and where much is drawn it stays stiff. The weights stop shrinking at TOLERANCE,
    so that the fit does not settle on the sunny side of a shadow and take the other for ink.
    """
    from anomalae.images.compiled import solve, weighted_moments

    small = reduce(tones, max(tones.shape) // 64)
    values = small.astype(np.float64)
    height, width = small.shape
    down, across = coordinates(0, height, height), coordinates(0, width, width)
    coefficients = np.zeros(len(POWERS))
    coefficients[0] = median(frame(small))
    wide = max(float(np.abs(values - coefficients[0]).max()), GRAIN)
    narrow = min(wide, max(4 * noise_level(small), GRAIN, TOLERANCE * wide))
    for step, allowed in enumerate(TERMS):
        cut = wide * (narrow / wide) ** (step / (len(TERMS) - 1))
        count, moments, products = weighted_moments(values, down, across, coefficients, POWERS, cut)
        empty = count / small.size if min(height, width) >= 12 else 0
        terms = min(allowed, next((n for n, share in ROOM.items() if empty >= share), 1))
        if count < 4 * terms:
            break
        i, j = POWERS[:terms].T
        gram = moments[np.add.outer(i, i), np.add.outer(j, j)]
        solution = solve(gram, products[i, j], DETERMINED)
        coefficients[:] = 0
        # Where several solutions are nearly as good, the shortest.
        coefficients[:terms] = np.linalg.lstsq(gram, products[i, j])[0] if solution is None else solution
    return Paper(coefficients)


def frame(tones: np.ndarray) -> np.ndarray:
    """Return the pixels along the four edges, a twelfth of the shorter side deep and at least one, (n,)."""
    deep = max(1, min(tones.shape) // 12)
    inner = np.zeros(tones.shape, bool)
    inner[deep:-deep, deep:-deep] = True
    return tones[~inner]


def find_polarity(difference: np.ndarray, polarity: str) -> tuple[bool, Strokes | None]:
    """Tell whether the ink is light, and find the strokes, None on a blank sheet.

    difference: tones less the paper's, float32 (H, W).
    polarity: `light`, `dark`, or `auto`: whichever of the two has more to show.
    """
    smooth = _blurred(difference, 1.0)
    in_order = np.sort(smooth, axis=None)
    below, above = (
        in_order[: np.searchsorted(in_order, ZERO)],
        in_order[np.searchsorted(in_order, ZERO, "right") :],
    )
    light = _strokes(smooth, below) if polarity != "dark" else None
    dark = _strokes(-smooth, -above) if polarity != "light" else None
    if light is None or dark is None:
        return polarity == "light" or light is not None, light or dark
    energy = [float(np.square(strokes.smooth).sum()) for strokes in (light, dark)]
    is_light = energy[0] > energy[1]
    return is_light, light if is_light else dark


def contrast(tones: np.ndarray, paper: np.ndarray, light_ink: bool, white: float, least: float) -> np.ndarray:
    """Return how much ink lies at each place, float32 (H, W), noise around 0, a full stroke at most 1.

    tones, paper: of the picture and of its empty sheet, float32 (H, W) in [0, 1].
    light_ink: whether the ink is light.
    white: the brightest tone.
    least: below this no divisor falls.

    Ink that is darker than the paper takes away a share of its light, so that shade cancels out; light
    that is added to a dark ground is measured against `white`, the brightest tone. Neither divisor falls
    below `least`, so that a black picture's last bits do not become strokes.
    """
    if light_ink:
        return (tones - paper) / np.float32(max(white, least))
    return (paper - tones) / np.maximum(paper, np.float32(least))


def find_strokes(ink: np.ndarray, sigma: float) -> Strokes | None:
    """Find what is drawn in a map of contrast; None on a blank sheet.

    ink: the map, float32 (H, W), noise around 0.
    sigma: standard deviation of the blur that it is given first, in pixels.

    The noise is measured on the negative side, where there is no ink, and so however much is drawn.
    """
    smooth = _blurred(ink, sigma)
    in_order = np.sort(smooth, axis=None)
    return _strokes(smooth, in_order[: np.searchsorted(in_order, ZERO)])


def _strokes(smooth: np.ndarray, negative: np.ndarray) -> Strokes | None:
    """Find what is drawn in a blurred map (H, W); `negative`: what in it is below 0, (n,), in order either way."""
    noise = -1.4826 * _middle(negative) if len(negative) else 0.0
    found = _parts(smooth, max(5 * noise, GRAIN))
    if found is None:
        return None
    held, _, drawn = found
    strength = median(drawn[drawn >= 0.5 * drawn.max()])
    if strength < max(FAINTEST, 6 * noise):
        return None
    # What rings beside a stroke (JPEG, sharpening) reaches a tenth of it; a faint end of a stroke is more.
    found = _parts(held, 0.12 * strength)
    return None if found is None else Strokes(found[0], found[1], strength)


def _middle(in_order: np.ndarray) -> float:
    """Return the median of numbers (n,) that are in order."""
    middle = len(in_order) // 2
    if len(in_order) % 2:
        return float(in_order[middle])
    return float(np.mean(in_order[middle - 1 : middle + 1], dtype=in_order.dtype))


def _parts(smooth: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Find the connected regions above the threshold that are neither specks nor shadows; None where there are none.

    Returns the map, 0 elsewhere; where they are, bool (H, W); and what they hold, (n,).
    """
    from anomalae.images.compiled import find_regions, keep_regions

    runs, peaks, mass, boxes, cores = find_regions(smooth, threshold)
    if not len(peaks):
        return None
    extents = np.maximum(cores[:, 1] - cores[:, 0], cores[:, 3] - cores[:, 2]) + 1
    side = max(smooth.shape)
    # In a picture as small as a digit nothing can be told to be a speck or a shadow.
    solid = extents > (SPECK if side >= 16 else 0)
    if side >= 16:
        length = max(SOFT * side, SHARP)
        for index in np.flatnonzero(extents >= WIDE * side):
            # A thin line is steep just outside of it.
            top, bottom, left, right = boxes[index]
            part = smooth[max(0, top - 2) : bottom + 3, max(0, left - 2) : right + 3]
            solid[index] &= _is_steep(part, peaks[index], length)
    mass *= solid
    kept = (mass > 0) & (mass >= SMALLEST_PART * mass.max())
    return keep_regions(smooth, runs, kept) if kept.any() else None


def _is_steep(part: np.ndarray, peak: float, length: float) -> bool:
    """Tell whether a part somewhere rises to its peak within `length` pixels, as strokes do and shadows do not."""
    from anomalae.images.compiled import rises

    factor = max(1, max(part.shape) // 80)
    sigma = max(0.5, 0.025 * max(part.shape) / factor)
    weights = _gaussian(sigma)
    slopes = weights * np.arange(len(weights)) / sigma**2
    return rises(reduce(part, factor), weights, slopes, peak * factor / length)


def _blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur a map, float32 (H, W), as SciPy's `gaussian_filter` does, to the bit."""
    from anomalae.images.compiled import blur

    return blur(image, _gaussian(sigma))


@functools.lru_cache(maxsize=64)
def _gaussian(sigma: float) -> np.ndarray:
    """The weights of SciPy's Gaussian filter from the middle pixel outwards, float64 (R + 1,)."""
    reach = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 / (sigma * sigma) * np.arange(-reach, reach + 1) ** 2)
    return (weights / weights.sum())[reach:]
