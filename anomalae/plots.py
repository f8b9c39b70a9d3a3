"""Pictures. The only place that knows matplotlib, which is imported when a picture is made."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

HEAT = "RdBu_r"  # red: ink too much, blue: ink missing; told apart by colour-blind readers too
ZOOM = 6  # screen pixels a pixel of the image
GAP = 6  # screen pixels between the panels of a strip


def heat_scale(threshold: float | None, calibration: npt.ArrayLike) -> float:
    """The pixel term at which a heatmap's colour is full, the same for every image of a run.

    A fiftieth of the score at which an image is flagged (of the largest calibration score where none is): a stroke
    of some tens of pixels at full colour is what it takes to be flagged.
    """
    top = threshold if threshold is not None else float(np.max(calibration))
    return max(top / 50, float(np.finfo(np.float32).tiny))


def heat_strip(image: np.ndarray, reconstruction: np.ndarray, terms: np.ndarray, scale: float) -> Pixels:
    """Input, reconstruction and heatmap side by side: uint8 RGB, (28 * 6, 3 * 28 * 6 + 2 gaps, 3).

    `image`: uint8 (28, 28) or float in [0, 1]; `reconstruction`: float (28, 28) in [0, 1]; `terms`: signed pixel
    terms (28, 28) of a score, drawn on a diverging scale that is white at 0 and full at +-`scale`.
    """
    panels = [gray(image), gray(reconstruction), heat(terms, scale)]
    zoomed = [np.kron(panel, np.ones((ZOOM, ZOOM, 1), np.uint8)) for panel in panels]
    gap = np.full((zoomed[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([zoomed[0], gap, zoomed[1], gap, zoomed[2]], axis=1)


def gray(image: np.ndarray) -> Pixels:
    """An image (H, W), uint8 or float in [0, 1], as RGB."""
    levels = image if image.dtype == np.uint8 else np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=-1)


def heat(terms: np.ndarray, scale: float) -> Pixels:
    """Signed terms (H, W) as RGB: white at 0, red at `scale` (ink too much), blue at -`scale` (ink missing)."""
    from matplotlib import colormaps

    coloured = colormaps[HEAT](np.clip(terms / scale, -1, 1) / 2 + 0.5)
    return np.rint(coloured[..., :3] * 255).astype(np.uint8)
