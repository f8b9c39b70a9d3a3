"""Corrupted images: twenty ways in which a picture of something normal goes wrong, each in three strengths.

Most are those of Mu and Gilmer, "MNIST-C: a robustness benchmark for computer vision", 2019, written anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from anomalae.errors import ConfigError

SEVERITIES = (1, 2, 3)
SIDE = 28
# How many times larger an image is made, so that a stroke can grow by a third of a pixel.
FINE = 3
# Cells a side of the random grids whose sum is fog.
OCTAVES = (2, 4, 7, 14)
# Of Canny's gradients, shares of the largest: an edge begins above the second, and goes on above the first.
WEAK, STRONG = 0.1, 0.3
_PIXELS = np.indices((SIDE, SIDE)).reshape(2, -1).T

Values = np.ndarray
Generator = np.random.Generator


@dataclass(frozen=True)
class Kind:
    """A way to corrupt an image.

    make: called with images float64 (N, 28, 28) in [0, 1], a generator and a level; what it returns is clipped.
    levels: one a severity.
    """

    make: Callable[[Values, Generator, Any], Values]
    levels: tuple[Any, Any, Any]


def corrupt(images: np.ndarray, kind: str, severity: int = 2, seed: int = 0) -> np.ndarray:
    """Return images corrupted in one way; the same for the same arguments.

    images: uint8 (N, 28, 28), light ink on dark.
    kind: a name in KINDS.
    severity: 1 (mild), 2 (medium) or 3 (strong).
    seed: of whatever is drawn, at least 0.

    Returns uint8 (N, 28, 28). Raises ConfigError for another kind or severity.
    """
    if kind not in KINDS:
        raise ConfigError(
            f"corruption {kind!r}: must be one of {', '.join(KINDS)}", unknown=kind, known=KINDS
        )
    if severity not in SEVERITIES:
        raise ConfigError(f"severity {severity!r}: must be one of 1, 2, 3")
    drawn = np.random.default_rng([seed, list(KINDS).index(kind), severity])
    chosen = KINDS[kind]
    made = chosen.make(images.astype(np.float64) / 255, drawn, chosen.levels[severity - 1])
    return np.rint(np.clip(made, 0, 1) * 255).astype(np.uint8)


def pen(points: np.ndarray, width: float) -> np.ndarray:
    """Draw a line through points that lie close together: ink float64 (28, 28) in [0, 1], with soft edges.

    points: row and column of each, (P, 2).
    width: of the line in pixels.
    """
    distance = np.asarray(KDTree(points).query(_PIXELS)[0]).reshape(SIDE, SIDE)
    return np.clip(width / 2 + 0.5 - distance, 0, 1)


# --- the image is less sharp, or noisy ---


def _blur(images: Values, drawn: Generator, sigma: float) -> Values:
    return ndimage.gaussian_filter(images, (0, sigma, sigma))


def _glass(images: Values, drawn: Generator, share: float) -> Values:
    """A share of the pixels change places with a neighbour, one after another, then all is blurred a little."""
    made = images.copy()
    place = np.arange(len(made))
    for row in range(1, SIDE - 1):
        for column in range(1, SIDE - 1):
            by = drawn.integers(-1, 2, (2, len(made))) * (drawn.random(len(made)) < share)
            other = np.array([[row], [column]]) + by
            here, there = made[:, row, column].copy(), made[place, other[0], other[1]]
            made[:, row, column], made[place, other[0], other[1]] = there, here
    return _blur(made, drawn, 0.4)


def _motion(images: Values, drawn: Generator, length: int) -> Values:
    """The mean of the image moved along a line, whose angle is each image's own."""
    angles = drawn.uniform(0, np.pi, len(images))
    steps = np.arange(length) - (length - 1) / 2
    return np.stack(
        [
            np.mean(
                [ndimage.shift(image, (step * np.sin(a), step * np.cos(a)), order=1) for step in steps],
                axis=0,
            )
            for image, a in zip(images, angles, strict=True)
        ]
    )


def _noise(images: Values, drawn: Generator, sigma: float) -> Values:
    return images + drawn.normal(0, sigma, images.shape)


def _shot(images: Values, drawn: Generator, photons: float) -> Values:
    return drawn.poisson(images * photons) / photons


def _impulse(images: Values, drawn: Generator, share: float) -> Values:
    """A share of all pixels is black or white."""
    hit = drawn.random(images.shape) < share
    return np.where(hit, drawn.integers(0, 2, images.shape), images)


# --- it stands elsewhere ---


def _moved(images: Values, matrices: np.ndarray) -> Values:
    """Apply a 2 x 2 matrix an image, about its middle; it says from where each pixel is taken."""
    middle = np.full(2, (SIDE - 1) / 2)
    return np.stack(
        [
            ndimage.affine_transform(image, matrix, middle - matrix @ middle, order=1)
            for image, matrix in zip(images, matrices, strict=True)
        ]
    )


def _signs(drawn: Generator, n: int) -> np.ndarray:
    return drawn.choice([-1.0, 1.0], n)


def _shift(images: Values, drawn: Generator, pixels: float) -> Values:
    angles = drawn.uniform(0, 2 * np.pi, len(images))
    by = pixels * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    return np.stack([ndimage.shift(image, each, order=1) for image, each in zip(images, by, strict=True)])


def _rotation(images: Values, drawn: Generator, degrees: float) -> Values:
    angles = np.deg2rad(degrees) * _signs(drawn, len(images))
    cosine, sine = np.cos(angles), np.sin(angles)
    return _moved(images, np.stack([cosine, -sine, sine, cosine], axis=1).reshape(-1, 2, 2))


def _shear(images: Values, drawn: Generator, slope: float) -> Values:
    matrices = np.tile(np.eye(2), (len(images), 1, 1))
    matrices[:, 1, 0] = slope * _signs(drawn, len(images))
    return _moved(images, matrices)


def _scale(images: Values, drawn: Generator, factor: float) -> Values:
    return _moved(images, np.tile(np.eye(2) / factor, (len(images), 1, 1)))


# --- its ink is another ---


def _disc(radius: int) -> np.ndarray:
    along = np.arange(-radius, radius + 1)
    return np.add.outer(along**2, along**2) <= radius**2


def _finely(images: Values, make: Callable[[Values], Values]) -> Values:
    """Do something to images made larger, and make them small again."""
    large = ndimage.zoom(images, (1, FINE, FINE), order=1, grid_mode=True, mode="nearest")
    return make(large).reshape(-1, SIDE, FINE, SIDE, FINE).mean((2, 4))


def _thick(images: Values, drawn: Generator, radius: int) -> Values:
    return _finely(images, lambda large: ndimage.grey_dilation(large, footprint=_disc(radius)[None]))


def _thin(images: Values, drawn: Generator, radius: int) -> Values:
    return _finely(images, lambda large: ndimage.grey_erosion(large, footprint=_disc(radius)[None]))


def _contrast(images: Values, drawn: Generator, factor: float) -> Values:
    mean = images.mean((1, 2), keepdims=True)
    return mean + factor * (images - mean)


def _brightness(images: Values, drawn: Generator, more: float) -> Values:
    return images + more


def _fog(images: Values, drawn: Generator, strength: float) -> Values:
    """Random grids, coarse ones the strongest, are laid over the image, which gets fainter."""
    fog = np.zeros_like(images)
    for cells in OCTAVES:
        grid = drawn.random((len(images), cells, cells))
        fog += (
            ndimage.zoom(grid, (1, SIDE / cells, SIDE / cells), order=1, grid_mode=True, mode="nearest")
            / cells
        )
    fog -= fog.min((1, 2), keepdims=True)
    fog /= fog.max((1, 2), keepdims=True)
    return (images + strength * fog) / (1 + strength)


def _edges(images: Values, drawn: Generator, share: float) -> Values:
    """The image gives way to its edges by this share."""
    return (1 - share) * images + share * _canny(images)


def _canny(images: Values) -> Values:
    """Edges one pixel wide, 0 or 1.

    Canny, "A computational approach to edge detection", 1986: a gradient is kept where it is the largest across the
    edge, and where it is strong, or hangs together with a strong one.
    """
    smooth = ndimage.gaussian_filter(images, (0, 1, 1))
    down, right = ndimage.sobel(smooth, axis=1), ndimage.sobel(smooth, axis=2)
    size = np.hypot(down, right)
    sector = np.rint(np.arctan2(down, right) / (np.pi / 4)).astype(int) % 4
    padded = np.pad(size, ((0, 0), (1, 1), (1, 1)))
    crest = np.zeros(size.shape, bool)
    for number, (y, x) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        ahead = padded[:, 1 + y : 1 + y + SIDE, 1 + x : 1 + x + SIDE]
        behind = padded[:, 1 - y : 1 - y + SIDE, 1 - x : 1 - x + SIDE]
        crest |= (sector == number) & (size >= ahead) & (size > behind)
    largest = size.max((1, 2), keepdims=True)
    weak = crest & (size > WEAK * largest)
    within = np.zeros((3, 3, 3), bool)
    within[1] = True
    labels, _ = ndimage.label(weak, within)
    kept = np.unique(labels[weak & (size > STRONG * largest)])
    return (np.isin(labels, kept) & weak).astype(np.float64)


# --- something lies over it ---


def _stripe(images: Values, drawn: Generator, columns: int) -> Values:
    """Light and dark change places in a band of columns."""
    first = drawn.integers(0, SIDE - columns + 1, len(images))
    at = np.arange(SIDE)
    band = (at >= first[:, None]) & (at < first[:, None] + columns)
    return np.where(band[:, None, :], 1 - images, images)


def _spatter(images: Values, drawn: Generator, share: float) -> Values:
    """Drops cover a share of the image."""
    drops = ndimage.gaussian_filter(drawn.normal(size=images.shape), (0, 1, 1))
    level = np.quantile(drops, 1 - share, axis=(1, 2), keepdims=True)
    return np.maximum(images, drops > level)


def _across(drawn: Generator) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of a line from the left side to the right one."""
    return np.array([drawn.uniform(4, 24), 1.0]), np.array([drawn.uniform(4, 24), 26.0])


def _dotted(images: Values, drawn: Generator, lines: int) -> Values:
    """Each line has a dot every three pixels."""
    made = images.copy()
    for image in made:
        for _ in range(lines):
            begin, end = _across(drawn)
            dots = begin + np.linspace(0, 1, 9)[:, None] * (end - begin)
            np.maximum(image, pen(dots, 1.2), out=image)
    return made


def _zigzag(images: Values, drawn: Generator, lines: int) -> Values:
    """Each line goes up and down six times."""
    made = images.copy()
    along = np.linspace(0, 1, 120)[:, None]
    teeth = 2 * np.abs(2 * ((6 * along) % 1) - 1) - 1
    for image in made:
        for _ in range(lines):
            begin, end = _across(drawn)
            points = begin + along * (end - begin)
            np.maximum(image, pen(points + teeth * np.array([2.0, 0.0]), 1.2), out=image)
    return made


KINDS: dict[str, Kind] = {
    "blur": Kind(_blur, (0.6, 1.0, 1.6)),
    "motion blur": Kind(_motion, (3, 5, 9)),
    "glass blur": Kind(_glass, (0.2, 0.5, 1.0)),
    "noise": Kind(_noise, (0.1, 0.2, 0.4)),
    "shot noise": Kind(_shot, (20, 8, 3)),
    "impulse noise": Kind(_impulse, (0.02, 0.06, 0.15)),
    "shift": Kind(_shift, (1.5, 3, 6)),
    "rotation": Kind(_rotation, (15, 30, 60)),
    "shear": Kind(_shear, (0.2, 0.4, 0.8)),
    "scale": Kind(_scale, (0.85, 0.7, 0.5)),
    "thick strokes": Kind(_thick, (1, 3, 5)),
    "thin strokes": Kind(_thin, (1, 2, 3)),
    "contrast": Kind(_contrast, (0.7, 0.5, 0.25)),
    "brightness": Kind(_brightness, (0.1, 0.2, 0.4)),
    "fog": Kind(_fog, (0.25, 0.5, 1.0)),
    "canny edges": Kind(_edges, (0.3, 0.6, 1.0)),
    "stripe": Kind(_stripe, (2, 5, 10)),
    "spatter": Kind(_spatter, (0.02, 0.05, 0.12)),
    "dotted line": Kind(_dotted, (1, 2, 4)),
    "zigzag": Kind(_zigzag, (1, 2, 4)),
}
