"""Pictures of images: heatmaps, strips and grids as pixels; reconstructions, samples and walks as figures."""

from __future__ import annotations

import functools
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from anomalae.errors import DataError
from anomalae.plots import style
from anomalae.plots.style import INK, fit, new, panel
from anomalae.text import distinct_numbers, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Pixels = npt.NDArray[np.uint8]

# Red is ink too much, blue is ink missing; told apart by colour-blind readers too.
HEAT = "RdBu_r"
# Screen pixels a pixel of the image.
ZOOM = 6
# Screen pixels between the panels of a strip.
GAP = 6
# Most samples whose pixels are enlarged: a picture of more would not fit in memory.
MOST_ZOOMED = 1024
# Inches of an image in a figure.
CELL = 0.86


def heat_scale(level: float) -> float:
    """Return the pixel term at which a heatmap's colour is full, the same for every image of a run.

    It is a fiftieth of `level`: a stroke of some tens of pixels at full colour is what it takes to be flagged.

    level: what the absolute terms of an image sum to that is just flagged, see `Detector.heatmap_level`.

    Returns a number above 0.

    >>> heat_scale(0.5)
    0.01
    """
    return max(level / 50, float(np.finfo(np.float32).tiny))


def heat_strip(
    image: np.ndarray, reconstruction: np.ndarray, terms: np.ndarray, scale: float, note: str = ""
) -> Pixels:
    """Return input, reconstruction and heatmap side by side, and below them what the heatmap shows.

    image: uint8 (28, 28), or float in [0, 1].
    reconstruction: float (28, 28) in [0, 1].
    terms: signed pixel terms (28, 28) of a score, drawn on a diverging scale that is white at 0.
    scale: the term at which colour is full, above 0; see `heat_scale`.
    note: what the terms are, as `Detector.heatmap_note` says it; left empty there are no words.

    Returns RGB, uint8 (H, 516, 3), H being 168 and the height of the words.

    >>> image = np.eye(28)
    >>> heat_strip(image, image / 2, image / 2, scale=1.0).shape
    (168, 516, 3)
    """
    panels = [gray(image), gray(reconstruction), heat(terms, scale)]
    zoomed = [np.kron(panel, np.ones((ZOOM, ZOOM, 1), np.uint8)) for panel in panels]
    gap = np.full((zoomed[0].shape[0], GAP, 3), 255, np.uint8)
    strip = np.concatenate([zoomed[0], gap, zoomed[1], gap, zoomed[2]], axis=1)
    return (
        np.concatenate(
            [strip, _words(f"heatmap: {note}. Red: ink too much, blue: ink missing.", strip.shape[1])]
        )
        if note
        else strip
    )


@functools.lru_cache(maxsize=8)
def _words(text: str, width: int) -> Pixels:
    """Return a text in black on white, broken into lines, as RGB of this width."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = textwrap.wrap(text, width // 7)
    height = 16 * len(lines) + 6
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    with style.sheet():
        figure.text(2 / width, 1 - 4 / height, "\n".join(lines), va="top", fontsize=8.5, linespacing=1.25)
        canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def gray(image: np.ndarray) -> Pixels:
    """Return an image as gray RGB.

    image: (H, W), uint8 or float in [0, 1].

    Returns uint8 (H, W, 3).

    >>> gray(np.array([[0.0, 1.0]])).tolist()
    [[[0, 0, 0], [255, 255, 255]]]
    """
    levels = image if image.dtype == np.uint8 else np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=-1)


def heat(terms: np.ndarray, scale: float) -> Pixels:
    """Return signed terms of a heatmap as RGB: white at 0, red for ink too much, blue for ink missing.

    terms: (H, W), as `Detector.heatmap` gives them for an image.
    scale: the term at which colour is full, above 0; see `heat_scale`.

    Returns uint8 (H, W, 3).

    >>> heat(np.array([[-1.0, 0.0, 1.0]]), scale=1.0).tolist()
    [[[5, 48, 97], [247, 246, 246], [103, 0, 31]]]
    """
    from matplotlib import colormaps

    coloured = colormaps[HEAT](np.clip(terms / scale, -1, 1) / 2 + 0.5)
    return np.rint(coloured[..., :3] * 255).astype(np.uint8)


def grid(images: np.ndarray, columns: int | None = None, zoom: int = 3) -> Pixels:
    """Return images (N, 28, 28) in [0, 1] as one gray picture, uint8 (H, W), row by row; as square as N allows."""
    columns = columns or math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    height, width = images.shape[1:]
    sheet = np.zeros((rows * columns, height, width))
    sheet[: len(images)] = np.clip(images, 0, 1)
    sheet = np.pad(sheet, ((0, 0), (1, 1), (1, 1)), constant_values=0.25)
    tiles = sheet.reshape(rows, columns, height + 2, width + 2).swapaxes(1, 2)
    levels = np.rint(tiles.reshape(rows * (height + 2), columns * (width + 2)) * 255)
    return np.asarray(np.kron(levels, np.ones((zoom, zoom))), dtype=np.uint8)


@style.figure
def reconstructions(
    images: np.ndarray,
    rebuilt: np.ndarray,
    heat: np.ndarray,
    captions: Sequence[str],
    *,
    scale: float,
    title: str = "",
    groups: Mapping[str, Sequence[int] | npt.NDArray[np.intp]] | None = None,
    note: str = "",
    columns: int = 8,
) -> Figure:
    """Draw images, what the model makes of them, and where they differ, one below the other.

    images: (N, 28, 28), uint8 or float in [0, 1].
    rebuilt: (N, 28, 28) in [0, 1].
    heat: (N, 28, 28), signed pixel terms.
    captions: some short lines for each image.
    scale: the term at which colour is full.
    title: of the figure.
    groups: headings and the positions of their images; without it all images make one group.
    note: what the heatmaps show, as `Detector.heatmap_note` says it.
    columns: images side by side, at most.

    Returns the figure. Raises DataError if there are no images, or the arrays differ in length.

    >>> from anomalae import plots
    >>> images = np.zeros((2, 28, 28))
    >>> figure = plots.reconstructions(images, images, images, ["a", "b"], scale=1.0)
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['input', 'reconstruction', 'heatmap']
    """
    sizes = {len(images), len(rebuilt), len(heat), len(captions)}
    if sizes == {0} or len(sizes) > 1:
        raise DataError(
            f"images, rebuilt, heat, captions: {sorted(sizes)} of them, must be as many and at least 1"
        )
    groups = {"": range(len(images))} if groups is None else groups
    bands = [
        (heading if start == 0 else "", list(chosen[start : start + columns]))
        for heading, chosen in groups.items()
        for start in range(0, len(chosen), columns)
    ]
    lines = max(caption.count("\n") for caption in captions) + 1
    across = max(len(chosen) for _, chosen in bands)
    heights = [3 * CELL + 0.14 * lines + 0.25 * bool(heading) for heading, _ in bands]
    figure = new(CELL * across + 1.4, sum(heights) + 0.75 + 0.3 * bool(title))
    panels = figure.subplots(len(bands), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (heading, chosen) in zip(panels, bands, strict=True):
        terms = np.stack([_coloured(heat[i], scale) for i in chosen])
        rows = [np.stack([gray(pixels[i]) for i in chosen]) for pixels in (images, rebuilt)]
        _mosaic(axes, [*rows, terms], across)
        axes.set_title(heading, fontsize=9)
        axes.set_xticks(np.arange(len(chosen)) * _STEP + 14, [captions[i] for i in chosen])
        axes.set_yticks(np.arange(3) * _STEP + 14, ["input", "reconstruction", "heatmap"])
    figure.suptitle(title, x=0.01, ha="left")
    _scale_bar(figure, panels, note)
    return figure


# Pixels from an image of a mosaic to the next.
_STEP = 30


def _coloured(terms: np.ndarray, scale: float) -> Pixels:
    return heat(terms, scale)


def _mosaic(axes: Axes, rows: Sequence[np.ndarray], across: int) -> None:
    """Draw rows of RGB images (C, 28, 28, 3), two transparent pixels apart, in axes as wide as `across` images."""
    sheet = np.zeros((len(rows) * _STEP - 2, len(rows[0]) * _STEP - 2, 4), np.uint8)
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            sheet[row * _STEP :, column * _STEP :][:28, :28] = np.dstack(
                [image, np.full((28, 28), 255, np.uint8)]
            )
    zoomed = sheet.repeat(4, axis=0).repeat(4, axis=1)
    axes.imshow(zoomed, extent=(0, sheet.shape[1], sheet.shape[0], 0), interpolation="none")
    axes.set_xlim(0, across * _STEP - 2)
    axes.set_anchor("W")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, pad=3)
    axes.tick_params(axis="x", labelsize=7)
    axes.tick_params(axis="y", labelsize=8)


def _scale_bar(figure: Figure, panels: Sequence[Axes] | np.ndarray, note: str) -> None:
    """Draw what red and blue are, under the pictures."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    colours = ScalarMappable(Normalize(-1, 1), HEAT)
    bar = figure.colorbar(
        colours, ax=list(panels), location="bottom", shrink=0.5, aspect=30, pad=0.02, ticks=[-1, 0, 1]
    )
    bar.ax.set_xticklabels(["ink missing", "as expected", "ink too much"])
    bar.ax.tick_params(length=0, labelsize=7.5)
    bar.outline.set_visible(False)
    if note:
        lines = textwrap.wrap(f"Heatmap: {note}.", int(14 * figure.get_figwidth()))
        bar.set_label("\n".join(lines), fontsize=8, color=INK)


@style.figure
def samples(images: np.ndarray, *, title: str = "", note: str = "", ax: Axes | None = None) -> Figure:
    """Draw images from the prior of a model with a density, as square as their number allows.

    images: (N, 28, 28) in [0, 1].
    title: of the figure.
    note: below it.
    ax: axes to draw into; None makes a figure.

    Returns the figure, or that of the axes. Raises DataError if there is no image.

    >>> from anomalae import plots
    >>> plots.samples(np.zeros((4, 28, 28)), title="nothing").axes[0].get_title(loc="left")
    'nothing'
    """
    if len(images) == 0:
        raise DataError("images: 0, at least 1 is needed")
    zoom = 4 if len(images) <= MOST_ZOOMED else 1
    sheet = grid(images, zoom=zoom)
    height, width = (side * 4 / zoom / 260 for side in sheet.shape)
    figure, axes = panel(
        ax, max(width, 0.09 * len(title)) + 0.2, height + 0.2 + 0.3 * bool(title) + 0.3 * bool(note)
    )
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=255, interpolation="none")
    _bare(axes)
    axes.set_title(title)
    axes.set_xlabel(note, fontsize=8)
    return figure


@style.figure
def strip(
    images: np.ndarray,
    captions: Sequence[str],
    *,
    title: str = "",
    note: str = "",
    columns: int = 11,
    ax: Axes | None = None,
) -> Figure:
    """Draw images in order, each with its caption, in as many rows as they need.

    images: (N, 28, 28), uint8 or float in [0, 1].
    captions: some short lines for each image.
    title: of the figure.
    note: below it.
    columns: images side by side, at most.
    ax: axes to draw into; None makes a figure.

    Returns the figure, or that of the axes. Raises DataError if there is no image, or not a caption for each.

    >>> from anomalae import plots
    >>> figure = plots.strip(np.zeros((2, 28, 28)), ["first", "last"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['first', 'last']
    """
    if len(images) == 0 or len(images) != len(captions):
        raise DataError(
            f"images, captions: {len(images)} and {len(captions)}, must be as many and at least 1"
        )
    lines = max(caption.count("\n") for caption in captions) + 1
    across, down = min(columns, len(images)), math.ceil(len(images) / columns)
    # In pixels of the images: from a row to the next.
    step = _STEP + 4.6 * lines
    inches = CELL / _STEP
    broken = "\n".join(textwrap.wrap(note, max(40, int(16 * CELL * across))))
    longest = max(map(len, broken.split("\n")))
    width = max(CELL * across, 0.1 * len(title), 0.068 * longest) + 0.3
    height = inches * step * down + 0.3 + 0.3 * bool(title) + 0.2 * len(broken.split("\n"))
    figure, axes = panel(ax, width, height)
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left, top = place % columns * _STEP, place // columns * step
        axes.imshow(gray(image), extent=(left, left + 28, top + 28, top), interpolation="none")
        axes.text(left + 14, top + 28.8, caption, ha="center", va="top", fontsize=7)
    axes.set(xlim=(0, across * _STEP - 2), ylim=(down * step, 0), anchor="NW")
    _bare(axes)
    if ax is None:
        figure.suptitle(title, x=0.01, ha="left")
        figure.supxlabel(broken, x=0.01, ha="left", fontsize=8)
    else:
        ax.set(title=title, xlabel=note)
        fit(ax)
    return figure


def _bare(axes: Axes) -> None:
    """Take everything from axes but their pictures and their words."""
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set(xticks=[], yticks=[])


@style.figure
def walk(
    images: np.ndarray,
    rows: Sequence[str] | np.ndarray,
    values: Sequence[float] | np.ndarray,
    *,
    title: str = "",
    note: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draw decoded walks through the latent space, a row a walk, a column a value.

    images: (R, C, 28, 28) in [0, 1].
    rows: names of the walks, or numbers, (R,).
    values: where each column is on its walk, (C,).
    title: above the figure.
    note: below it.
    ax: axes to draw into; None makes a figure.

    Returns the figure, or that of the axes.

    >>> from anomalae import plots
    >>> figure = plots.walk(np.zeros((1, 3, 28, 28)), ["unit 4"], [-1, 0, 1])
    >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
    ['-1.0', '0.0', '1.0']
    """
    count, across = images.shape[:2]
    names = distinct_numbers(rows) if isinstance(rows, np.ndarray) else list(rows)
    longest = max(len(line) for name in names for line in name.split("\n"))
    figure, axes = panel(ax, 0.62 * across + 0.075 * longest + 0.3, 0.62 * count + 0.9)
    _mosaic(axes, [np.stack([gray(image) for image in line]) for line in images], across)
    axes.set_xticks(np.arange(across) * _STEP + 14, distinct_numbers(values))
    axes.set_yticks(np.arange(count) * _STEP + 14, names)
    axes.tick_params(colors=INK)
    if ax is None:
        figure.suptitle(shortened(title, 60), x=0.01, ha="left")
        figure.supxlabel(note, fontsize=8)
    else:
        ax.set(title=shortened(title, 60), xlabel=note)
    return figure
