"""Tell ink from paper in a picture that is cut so close to its digit that the ink reaches the edges.

There the median of the tones along the edges does not say what is paper. A digit in a close crop goes from top to
bottom and from left to right in one piece as a rule, and where ink does that paper cannot; paper has the corners and
most of the edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anomalae.images.check import SIDE
from anomalae.images.ink import GRAIN, POWERS, SOFT, Paper, coordinates, reduce
from anomalae.lazy import Deferred

ndimage = Deferred("scipy.ndimage")

# A picture has two tones if they make up this share of the variance: a ramp has 0.75, normal noise 0.64.
TWO_TONED = 0.76
# At most places where they meet the tone rises this many times as fast as it may in a shadow: at three of four in a
# picture of this side, at half of them in a smaller one. Of the tight crops that were tried all have 1.5 there.
LEAST_SHARP, LARGE = 1.3, 40
# Ink fills at most this share of the outermost pixels, and of the square around the picture.
MOST_OF_EDGE, MOST_OF_SQUARE = 0.7, 0.72
# A crop so narrow, one side to the other, is of a 1, whose ink may fill its edges to this share.
NARROW, MOST_OF_NARROW = 2.5, 0.93
# How far paper may lie from the plane that is fitted to it, step by step, as a share of the contrast; and how many
# pixels of it a plane needs.
NEARER = (0.5, 0.4, 0.3, 0.2, 0.1, 0.1)
LEAST_PAPER = 80
# The picture is looked at reduced to this side.
LOOK_SIDE = 64


@dataclass(frozen=True)
class Tight:
    """A tight crop is a picture whose ink reaches its edges.

    light_ink: whether the ink is lighter than the paper.
    paper: the paper's tone at each place, a plane.
    """

    light_ink: bool
    paper: Paper


def find_tight(tones: np.ndarray, polarity: str) -> Tight | None:
    """Tell what is ink and what is paper in a tight crop; None for a picture that cannot be one.

    tones: float32 (H, W) in [0, 1].
    polarity: `light`, `dark`, or `auto`: the tone for which more speaks.

    A picture can be a tight crop if it has two tones, and the ink's leaves enough room to the paper's.
    """
    small = reduce(tones, -(-max(tones.shape) // LOOK_SIDE))
    light = _lighter(small)
    if light is None or not _is_sharp(small, light):
        return None
    inks = [ink for ink, name in ((light, "light"), (~light, "dark")) if polarity in ("auto", name)]
    ink = max(inks, key=lambda mask: (_claim(mask), -_edge(mask).mean()))
    if not _fits(ink):
        return None
    return Tight(ink is light, _plane(small, ~ink))


def _lighter(tones: np.ndarray) -> np.ndarray | None:
    """Return where the lighter of a picture's two tones is, by Otsu's threshold; None where it has no two tones."""
    tones_apart = two_tones(tones)
    if tones_apart is None or tones_apart[1] < TWO_TONED:
        return None
    return tones > tones_apart[0]


def two_tones(tones: np.ndarray) -> tuple[float, float] | None:
    """Return Otsu's threshold between a picture's two tones, and their share of the variance; None for one tone."""
    values = np.sort(tones, axis=None).astype(np.float64)
    if values[-1] - values[0] <= GRAIN * max(values[-1], GRAIN):
        return None
    n, sums = np.arange(1, len(values)), np.cumsum(values)[:-1]
    mean = values.mean()
    between = (mean * n - sums) ** 2 / (n * (1 - n / len(values)))
    # Equal values are not divided.
    between[values[1:] == values[:-1]] = 0
    best = int(np.argmax(between))
    return (values[best] + values[best + 1]) / 2, float(between[best] / np.square(values - mean).sum())


def _is_sharp(tones: np.ndarray, light: np.ndarray) -> bool:
    """Tell whether the two tones meet in edges, as ink and paper do, and not in a shade."""
    meeting = ndimage.maximum_filter(light, 3) != ndimage.minimum_filter(light, 3)
    slopes = ndimage.gaussian_gradient_magnitude(tones, max(0.5, 0.02 * max(tones.shape)))[meeting]
    apart = float(tones[light].mean() - tones[~light].mean())
    # Gaps of a pixel are no edges; in small pictures there are many.
    share = 25 if max(tones.shape) >= LARGE else 50
    return bool(np.percentile(slopes, share) * SOFT * max(SIDE, *tones.shape) >= LEAST_SHARP * apart)


def _plane(tones: np.ndarray, paper: np.ndarray) -> Paper:
    """Fit a plane to the tones (H, W) where paper is True, least squares with weights that shrink to what is near.

    Beside a stroke paper looks like ink, and is left out.
    """
    height, width = tones.shape
    y, x = np.meshgrid(coordinates(0, height, height), coordinates(0, width, width), indexing="ij")
    basis = np.stack([np.ones(paper.sum()), x[paper], y[paper]], axis=1)
    values = tones[paper].astype(np.float64)
    plane = np.array([np.median(values), 0.0, 0.0])
    contrast = abs(float(np.mean(tones[~paper])) - plane[0])
    for allowed in NEARER if len(values) >= LEAST_PAPER else ():
        away = (values - basis @ plane) / max(allowed * contrast, GRAIN)
        weights = np.square(np.clip(1 - away**2, 0, None))
        if np.count_nonzero(weights) < LEAST_PAPER:
            break
        weighted = basis * weights[:, None]
        plane = np.linalg.lstsq(weighted.T @ basis, weighted.T @ values, rcond=None)[0]
    return Paper(np.concatenate([plane, np.zeros(len(POWERS) - 3)]))


def _fits(ink: np.ndarray) -> bool:
    """Tell whether this may be ink: it leaves paper enough at the edges, and everywhere."""
    at_edge = _edge(ink).mean() <= (MOST_OF_NARROW if _is_narrow(ink) else MOST_OF_EDGE)
    return bool(at_edge and ink.sum() <= MOST_OF_SQUARE * max(ink.shape) ** 2)


def _claim(ink: np.ndarray) -> float:
    """Return how much speaks for a tone to be the ink: a piece that goes through, and few pixels at edges and corners.

    Each counts alike. In a crop as narrow as a 1 the ink may have the edges and the corners, and paper lie beside it in
    slivers; going through counts twice then.
    """
    through, edge = _sides_reached(ink) / 4, _edge(ink).mean()
    if not _is_narrow(ink):
        return float(through - edge - ink[[0, 0, -1, -1], [0, -1, 0, -1]].mean())
    slivers = ndimage.label(~ink, np.ones((3, 3)))[1] > 1
    return float((2 * through if slivers else through) - edge)


def _is_narrow(mask: np.ndarray) -> bool:
    return max(mask.shape) >= NARROW * min(mask.shape)


def _edge(mask: np.ndarray) -> np.ndarray:
    """Return the outermost pixels, (n,)."""
    return np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])


def _sides_reached(mask: np.ndarray) -> int:
    """Return how many of the four sides one piece of a mask reaches."""
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    sides = [np.unique(side[side > 0]) for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1])]
    reached = np.bincount(np.concatenate(sides))
    return int(reached.max()) if reached.size else 0
