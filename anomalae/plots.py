"""Pictures. The only place that knows matplotlib, which is imported when a picture is made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from anomalae import bundle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pixels = npt.NDArray[np.uint8]

HEAT = "RdBu_r"  # red: ink too much, blue: ink missing; told apart by colour-blind readers too
ZOOM = 6  # screen pixels a pixel of the image
GAP = 6  # screen pixels between the panels of a strip


def heat_scale(level: float) -> float:
    """The pixel term at which a heatmap's colour is full, the same for every image of a run.

    A fiftieth of `level`, what the terms of an image sum to that is just flagged (`Detector.heatmap_level`): a stroke
    of some tens of pixels at full colour is what it takes to be flagged.
    """
    return max(level / 50, float(np.finfo(np.float32).tiny))


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


def grid(images: np.ndarray, columns: int | None = None, zoom: int = 3) -> Pixels:
    """Images (N, 28, 28) in [0, 1] as one gray picture, uint8 (H, W), row by row; as square as N allows."""
    columns = columns or math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    height, width = images.shape[1:]
    sheet = np.zeros((rows * columns, height, width))
    sheet[: len(images)] = np.clip(images, 0, 1)
    sheet = np.pad(sheet, ((0, 0), (1, 1), (1, 1)), constant_values=0.25)
    tiles = sheet.reshape(rows, columns, height + 2, width + 2).swapaxes(1, 2)
    levels = np.rint(tiles.reshape(rows * (height + 2), columns * (width + 2)) * 255)
    return np.asarray(np.kron(levels, np.ones((zoom, zoom))), dtype=np.uint8)


def walk(
    images: np.ndarray, rows: Sequence[str], values: Sequence[float] | np.ndarray, title: str, note: str
) -> Figure:
    """Decoded walks through the latent space: images (R, C, 28, 28) in [0, 1], a name a row, a value a column."""
    from matplotlib.figure import Figure

    count, columns = images.shape[:2]
    figure = Figure(figsize=(0.62 * columns + 1.4, 0.62 * count + 0.9), layout="constrained")
    axes = figure.subplots(count, columns, squeeze=False)
    for row, line in enumerate(axes):
        for column, ax in enumerate(line):
            ax.imshow(images[row, column], cmap="gray", vmin=0, vmax=1)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)
        line[0].set_ylabel(rows[row], rotation=0, ha="right", va="center", fontsize=8)
    for column, value in enumerate(values):
        axes[-1, column].set_xlabel(f"{value:.1f}", fontsize=8)
    figure.suptitle(title, fontsize=11)
    figure.supxlabel(note, fontsize=8)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, SVG (text as text) or PDF by the path's suffix, atomically."""
    import matplotlib

    with bundle.replacing(path) as file, matplotlib.rc_context({"svg.fonttype": "none", "pdf.fonttype": 42}):
        figure.savefig(file, format=path.suffix.lower().lstrip("."), dpi=160)
