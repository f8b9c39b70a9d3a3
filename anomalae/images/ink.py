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

from anomalae.lazy import Deferred

ndimage = Deferred("scipy.ndimage")

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
POWERS = tuple((power, degree - power) for degree in range(5) for power in range(degree, -1, -1))
# How many of the powers each step fits: up to degree 1, 2, and 4.
TERMS = (3, 3, 3, 6, 6, 6, 15, 15, 15, 15)
# The share of the picture that must be empty for so many powers.
ROOM = {15: 0.85, 6: 0.7, 3: 0.5}
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
        there = np.flatnonzero(self.coefficients)
        # Of black paper there are none.
        down = np.zeros((len(there), len(rows)))
        across = np.zeros((len(there), len(columns)))
        for place, n in enumerate(there):
            i, j = POWERS[n]
            down[place], across[place] = self.coefficients[n] * rows**j, columns**i
        return np.asarray((down.T @ across).astype(np.float32))


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
    return 1.4826 * float(np.median(joined)) / math.sqrt(2) if joined.size else 0.0


def find_paper(tones: np.ndarray) -> Paper:
    """Fit the sheet's tone to the picture (H, W), whatever is drawn on it.

    Least squares with weights that shrink to the pixels near the fit (Tukey's biweight), while the degree
    grows from a constant, the median of the frame, to four: a stroke in the middle is left out before the surface
    can bend enough to follow it, and where much is drawn it stays stiff. The weights stop shrinking at TOLERANCE,
    so that the fit does not settle on the sunny side of a shadow and take the other for ink.
    """
    small = reduce(tones, max(tones.shape) // 64)
    height, width = small.shape
    basis = _products(height, width)
    values = small.ravel().astype(np.float64)
    coefficients = np.array([np.median(frame(small))], float)
    wide = max(float(np.abs(values - coefficients[0]).max()), GRAIN)
    narrow = min(wide, max(4 * noise_level(small), GRAIN, TOLERANCE * wide))
    for step, allowed in enumerate(TERMS):
        cut = wide * (narrow / wide) ** (step / (len(TERMS) - 1))
        fitted_tones = basis[:, : len(coefficients)] @ coefficients
        weights = np.square(np.clip(1 - ((values - fitted_tones) / cut) ** 2, 0, None))
        empty = np.count_nonzero(weights) / weights.size if min(height, width) >= 12 else 0
        terms = min(allowed, next((n for n, share in ROOM.items() if empty >= share), 1))
        if np.count_nonzero(weights) < 4 * terms:
            break
        weighted = basis[:, :terms] * weights[:, None]
        coefficients = np.linalg.lstsq(weighted.T @ basis[:, :terms], weighted.T @ values, rcond=None)[0]
    return Paper(np.concatenate([coefficients, np.zeros(len(POWERS) - len(coefficients))]))


@functools.lru_cache(maxsize=16)
def _products(height: int, width: int) -> np.ndarray:
    """The products of x and y in POWERS at each pixel of a picture, float64 (H * W, 15)."""
    y, x = np.meshgrid(coordinates(0, height, height), coordinates(0, width, width), indexing="ij")
    basis = np.stack([x**i * y**j for i, j in POWERS], axis=-1).reshape(-1, len(POWERS))
    basis.setflags(write=False)
    return basis


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
    smooth = ndimage.gaussian_filter(difference, 1.0)
    light = _strokes(smooth) if polarity != "dark" else None
    dark = _strokes(-smooth) if polarity != "light" else None
    energy = [0.0 if strokes is None else float(np.square(strokes.smooth).sum()) for strokes in (light, dark)]
    is_light = polarity == "light" or energy[0] > energy[1]
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
    return _strokes(ndimage.gaussian_filter(ink, sigma))


def _strokes(smooth: np.ndarray) -> Strokes | None:
    negative = smooth[smooth < 0]
    noise = -1.4826 * median(negative) if negative.size else 0.0
    mask = _parts(smooth, max(5 * noise, GRAIN))
    if not mask.any():
        return None
    drawn = smooth[mask]
    strength = float(np.median(drawn[drawn >= 0.5 * drawn.max()]))
    if strength < max(FAINTEST, 6 * noise):
        return None
    # What rings beside a stroke (JPEG, sharpening) reaches a tenth of it; a faint end of a stroke is more.
    mask = _parts(np.where(mask, smooth, 0), 0.12 * strength)
    return Strokes(np.where(mask, smooth, 0), mask, strength) if mask.any() else None


def _parts(smooth: np.ndarray, threshold: float) -> np.ndarray:
    """Return the connected regions above the threshold that are neither specks nor shadows, bool (H, W)."""
    above = smooth > threshold
    if not above.any():
        return above
    labels, count = ndimage.label(above, np.ones((3, 3)))
    inside = labels > 0
    numbers, drawn = labels[inside], smooth[inside]
    peaks = np.zeros(count + 1, smooth.dtype)
    np.maximum.at(peaks, numbers, drawn)
    cores = np.zeros_like(labels)
    cores[inside] = np.where(drawn >= 0.5 * peaks[numbers], numbers, 0)
    extents = np.array([max(s.stop - s.start for s in core) for core in ndimage.find_objects(cores, count)])
    side = max(smooth.shape)
    # In a picture as small as a digit nothing can be told to be a speck or a shadow.
    solid = extents > SPECK if side >= 16 else extents > 0
    if side >= 16 and extents.max() >= WIDE * side:
        length = max(SOFT * side, SHARP)
        places = ndimage.find_objects(labels, count)
        for index in np.flatnonzero(extents >= WIDE * side):
            # A thin line is steep just outside of it.
            rows, columns = (slice(max(0, s.start - 2), s.stop + 2) for s in places[index])
            solid[index] &= _is_steep(smooth[rows, columns], peaks[index + 1], length)
    mass = np.bincount(numbers, drawn, count + 1)[1:] * solid
    kept = (mass > 0) & (mass >= SMALLEST_PART * mass.max())
    return np.asarray(np.concatenate([[False], kept])[labels])


def _is_steep(part: np.ndarray, peak: float, length: float) -> bool:
    """Tell whether a part somewhere rises to its peak within `length` pixels, as strokes do and shadows do not."""
    factor = max(1, max(part.shape) // 80)
    small, sigma = reduce(part, factor), max(0.5, 0.025 * max(part.shape) / factor)
    (blur_down, slope_down), (blur_across, slope_across) = (_gaussians(n, sigma) for n in small.shape)
    squares = np.square(slope_down @ small @ blur_across.T) + np.square(blur_down @ small @ slope_across.T)
    return bool(math.sqrt(squares.max()) * length >= peak * factor)


@functools.lru_cache(maxsize=256)
def _gaussians(length: int, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """SciPy's Gaussian filter of a line of pixels, and its derivative, as matrices, float32 (length, length).

    For parts of at most 160 pixels their products take less time than the filters.
    """
    unit = np.eye(length, dtype=np.float32)
    return ndimage.gaussian_filter1d(unit, sigma, 0), ndimage.gaussian_filter1d(unit, sigma, 0, 1)
