"""The latent space: embeddings in the plane, coloured by class and by score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from anomalae.errors import DataError
from anomalae.plots import style
from anomalae.plots.style import CLASSES, HEIGHT, MUTED, WIDTH, new
from anomalae.text import natural_order, percent, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

OTHER = "others"


def principal_plane(codes: npt.ArrayLike) -> tuple[Floats, tuple[str, str]]:
    """Return codes in at most two dimensions, and what the axes are.

    Codes of one or two dimensions stay as they are, (N, 1) or (N, 2); others become their first two principal
    components, with the share of the variance each explains. The larger end of each component is made positive, so
    that the same codes give the same picture.

    codes: (N, D), finite.

    Raises DataError unless codes are finite, (N, D) with N, D >= 1.
    """
    array = np.asarray(codes, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape or not np.isfinite(array).all():
        raise DataError(f"codes: shape {array.shape}, must be finite, (N, D) with N and D at least 1")
    if array.shape[1] <= 2:
        return array, ("latent dimension 1", "latent dimension 2")
    centred = array - array.mean(axis=0)
    variances, directions = np.linalg.eigh(centred.T @ centred / len(array))
    directions = directions[:, ::-1][:, :2]
    directions *= np.sign(directions[np.abs(directions).argmax(axis=0), [0, 1]])
    total = float(variances.sum())
    shares = [float(variance) / total if total > 0 else 0.0 for variance in variances[::-1][:2]]
    names = [
        f"principal component {i + 1}: {percent(share)} of the variance" for i, share in enumerate(shares)
    ]
    return centred @ directions, (names[0], names[1])


@style.figure
def latent(
    points: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    scores: npt.ArrayLike | None = None,
    axes: Sequence[str] = ("latent dimension 1", "latent dimension 2"),
    title: str = "",
    rule: str = "",
) -> Figure:
    """Draw embeddings by class and, where there are scores, by score, side by side.

    points: (N, 2), or (N, 1): then the classes lie below each other, and the scores above the line.
    labels: classes (N,); of more than ten the nine largest keep their name.
    scores: (N,), higher = more anomalous.
    axes: names of the axes.
    title: of the figure.
    rule: the name of the score.

    Raises DataError for other shapes or values.
    """
    places = np.asarray(points, dtype=np.float64)
    if places.ndim != 2 or places.shape[1] not in (1, 2) or len(places) == 0 or not np.isfinite(places).all():
        raise DataError(f"points: shape {places.shape}, must be finite, (N, 1) or (N, 2) with N at least 1")
    names = np.array([str(label) for label in np.asarray(labels).tolist()])
    values = None if scores is None else np.asarray(scores, dtype=np.float64)
    for what, array in (("labels", names), ("scores", values)):
        if array is not None and array.shape != (len(places),):
            raise DataError(f"{what}: shape {array.shape}, must be ({len(places)},) as the points")
    figure = new((1.0 if values is None else 1.75) * WIDTH, HEIGHT)
    panels = figure.subplots(1, 1 if values is None else 2, squeeze=False)[0]
    _by_class(panels[0], places, names, axes)
    if values is not None:
        _by_score(figure, panels[1], places, values, axes, rule)
    figure.suptitle(title, x=0.01, ha="left")
    handles, texts = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, texts, loc="outside lower left", ncols=5, markerscale=2, handletextpad=0.2, columnspacing=1
    )
    return figure


def _by_class(panel: Axes, places: Floats, names: npt.NDArray[np.str_], axes: Sequence[str]) -> None:
    known, counts = np.unique(names, return_counts=True)
    if len(known) > len(CLASSES):
        largest = known[np.argsort(-counts, kind="stable")[: len(CLASSES) - 1]]
        names = np.where(np.isin(names, largest), names, OTHER)
    order = natural_order(names.tolist())
    # Points of a line lie apart, so that they do not hide others.
    rows = np.random.default_rng(0).uniform(-0.35, 0.35, len(places))
    for row, (name, (colour, marker)) in enumerate(zip(order, CLASSES, strict=False)):
        chosen = names == name
        y = places[chosen, 1] if places.shape[1] == 2 else row + rows[chosen]
        panel.scatter(
            places[chosen, 0],
            y,
            s=9,
            c=colour,
            marker=marker,
            alpha=0.7,
            linewidths=0,
            label=shortened(name, 16),
            rasterized=True,
        )
    panel.set(xlabel=axes[0], ylabel=axes[1] if places.shape[1] == 2 else "class")
    if places.shape[1] == 1:
        panel.set_yticks(range(len(order)), [shortened(name, 16) for name in order])
        panel.invert_yaxis()
    panel.set_title("by class", fontweight="normal", fontsize=9)


def _shades() -> ListedColormap:
    """Return magma from light to dark, without its ends, which would not show on a light or a dark page."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["magma"](np.linspace(0.84, 0.26, 128)))


def _by_score(
    figure: Figure, panel: Axes, places: Floats, values: Floats, axes: Sequence[str], rule: str
) -> None:
    # The most anomalous points come last, and so lie on top.
    order = np.argsort(values, kind="stable")
    low, high = np.quantile(values, [0.02, 0.98])
    if places.shape[1] == 1:
        panel.scatter(places[:, 0], values, s=9, c=MUTED, alpha=0.6, linewidths=0, rasterized=True)
        panel.set(xlabel=axes[0], ylabel=f"score {rule}".strip())
    else:
        points = panel.scatter(
            places[order, 0],
            places[order, 1],
            s=9,
            c=values[order],
            cmap=_shades(),
            vmin=low,
            vmax=high if high > low else low + 1,
            linewidths=0,
            rasterized=True,
        )
        bar = figure.colorbar(points, ax=panel, extend="both", fraction=0.05, pad=0.02)
        bar.outline.set_visible(False)
        bar.set_label(f"score {rule}".strip() + ", higher: more anomalous")
        panel.set(xlabel=axes[0], ylabel=axes[1])
    panel.set_title("by score", fontweight="normal", fontsize=9)
