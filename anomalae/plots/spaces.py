"""The latent space: embeddings in the plane, coloured by class and by score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from anomalae.errors import DataError
from anomalae.plots import style
from anomalae.plots.style import CLASSES, HEIGHT, MARKERS, MUTED, NORMAL, PAPER, WIDTH, fit, new, panel
from anomalae.text import natural_order, percent, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

OTHER = "others"
# Groups of points at most, and places tried for the name of each.
MOST_GROUPS, TRIED = 10, 200


def principal_plane(codes: npt.ArrayLike) -> tuple[Floats, tuple[str, str]]:
    """Return codes in at most two dimensions, and what the axes are.

    Codes of one or two dimensions stay as they are, (N, 1) or (N, 2); others become their first two principal
    components, with the share of the variance each explains. The larger end of each component is made positive, so
    that the same codes give the same picture.

    codes: (N, D), finite.

    Returns (N, 1) or (N, 2), and two names. Raises DataError unless codes are finite, (N, D) with N, D >= 1.

    >>> points, axes = principal_plane([[0, 0, 4], [0, 3, 0], [0, -3, 0], [0, 0, -4]])
    >>> points.shape, axes[0]
    ((4, 2), 'principal component 1: 64.0% of the variance')
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
    normal: Sequence[object] = (),
    scores: npt.ArrayLike | None = None,
    axes: Sequence[str] = ("latent dimension 1", "latent dimension 2"),
    title: str = "",
    rule: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draw embeddings by class and, where there are scores, by score, side by side.

    Normal classes are blue, larger and rimmed; every class has a marker of its own and its name among its points.

    points: (N, 2), or (N, 1): then the classes lie below each other, and the scores above the line.
    labels: classes (N,); of more than ten the largest keep their name.
    normal: those of the classes that are normal; none stands out where it is left empty.
    scores: (N,), higher = more anomalous.
    axes: names of the axes.
    title: of the figure.
    rule: the name of the score.
    ax: axes to draw the classes into, without the scores; None makes a figure.

    Returns the figure, or that of the axes. Raises DataError for other shapes or values.

    >>> from anomalae import plots
    >>> figure = plots.latent([[0, 1], [1, 0], [2, 2]], ["a", "b", "b"], normal=["b"])
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['b (normal)', 'a']
    """
    places = np.asarray(points, dtype=np.float64)
    if places.ndim != 2 or places.shape[1] not in (1, 2) or len(places) == 0 or not np.isfinite(places).all():
        raise DataError(f"points: shape {places.shape}, must be finite, (N, 1) or (N, 2) with N at least 1")
    names = np.array([str(label) for label in np.asarray(labels).tolist()])
    values = None if scores is None else np.asarray(scores, dtype=np.float64)
    for what, array in (("labels", names), ("scores", values)):
        if array is not None and array.shape != (len(places),):
            raise DataError(f"{what}: shape {array.shape}, must be ({len(places)},) as the points")
    groups = _groups(names, {str(name) for name in normal})
    if ax is not None:
        figure, panel_of_classes = panel(ax)
        _by_class(panel_of_classes, places, groups, axes)
        panel_of_classes.set_title(title)
        fit(panel_of_classes, marker_scale=1.6)
    else:
        figure = new((1.0 if values is None else 1.75) * WIDTH, HEIGHT)
        panels = figure.subplots(1, 1 if values is None else 2, squeeze=False)[0]
        panel_of_classes = panels[0]
        _by_class(panel_of_classes, places, groups, axes)
        panel_of_classes.set_title("by class", fontweight="normal", fontsize=9)
        if values is not None:
            _by_score(figure, panels[1], places, values, axes, rule)
        figure.suptitle(title, x=0.01, ha="left")
        handles, texts = panel_of_classes.get_legend_handles_labels()
        look: dict[str, Any] = {"ncols": 5, "handletextpad": 0.2, "columnspacing": 1}
        legend = figure.legend(handles, texts, loc="outside lower left", markerscale=2, **look)
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set_alpha(1)
        figure.draw_without_rendering()
    if places.shape[1] == 2:
        _name(panel_of_classes, places, groups)
    return figure


class Group(NamedTuple):
    """Points that are drawn alike: those of a class, or of several whose names there is no room for."""

    name: str
    chosen: npt.NDArray[np.bool_]
    normal: bool
    colour: str
    marker: str


def _groups(names: npt.NDArray[np.str_], normal: set[str]) -> list[Group]:
    """Return at most MOST_GROUPS groups, the normal ones first, each sort in the natural order of its classes."""
    known, counts = np.unique(names, return_counts=True)
    largest = known[np.argsort(-counts, kind="stable")].tolist()
    sorts = [[name for name in largest if (name in normal) is wanted] for wanted in (True, False)]
    # Half of the groups at least are for either sort, as far as it needs them.
    room = max(MOST_GROUPS - len(sorts[1]), MOST_GROUPS // 2)
    rooms = min(room, len(sorts[0])), MOST_GROUPS - min(room, len(sorts[0]))
    groups: list[Group] = []
    colours = iter(CLASSES if rooms[0] else (NORMAL, *CLASSES))
    for sort, most, is_normal in zip(sorts, rooms, (True, False), strict=True):
        kept = sort if len(sort) <= most else sort[: most - 1]
        rest = sort[len(kept) :]
        chosen = [(name, names == name) for name in natural_order(kept)]
        if rest:
            chosen.append((OTHER, np.isin(names, rest)))
        for name, among in chosen:
            marker = MARKERS[len(groups)]
            groups.append(Group(name, among, is_normal, NORMAL if is_normal else next(colours), marker))
    return groups


def _by_class(axes: Axes, places: Floats, groups: Sequence[Group], names: Sequence[str]) -> None:
    flat = places.shape[1] == 1
    # Points of a line lie apart, so that they do not hide others.
    apart = np.random.default_rng(0).uniform(-0.35, 0.35, len(places))
    # The smallest group of points is drawn last, so that no larger one hides it.
    order = np.argsort([-group.chosen.sum() for group in groups], kind="stable").tolist()
    for row, group in enumerate(groups):
        name = shortened(group.name, 16) + (" (normal)" if group.normal else "")
        axes.scatter(
            places[group.chosen, 0],
            row + apart[group.chosen] if flat else places[group.chosen, 1],
            s=17 if group.normal else 8,
            c=group.colour,
            marker=group.marker,
            alpha=0.9 if group.normal else 0.5,
            edgecolors=PAPER if group.normal else "none",
            linewidths=0.4 if group.normal else 0,
            label=name,
            rasterized=True,
            zorder=2 + order.index(row) / len(groups) / 2 + 0.5 * group.normal,
        )
    axes.set(xlabel=names[0], ylabel="class" if flat else names[1])
    if flat:
        rows = [shortened(group.name, 16) + (" (normal)" if group.normal else "") for group in groups]
        axes.set_yticks(range(len(groups)), rows)
        axes.invert_yaxis()


def _name(axes: Axes, places: Floats, groups: Sequence[Group]) -> None:
    """Write the name of each class among its points, as near to their middle as no other name lies.

    One that finds no room stands in the legend alone. The axes have their final place.
    """
    ground = {"facecolor": PAPER, "alpha": 0.85, "boxstyle": "round,pad=0.2", "linewidth": 1}
    taken: list[Any] = []
    for group in groups:
        own = places[group.chosen]
        nearest = np.argsort(
            np.square((own - np.median(own, axis=0)) / (np.ptp(places, axis=0) + 1e-12)).sum(1)
        )
        text = axes.text(
            0,
            0,
            shortened(group.name, 12),
            ha="center",
            va="center",
            fontsize=8,
            fontweight="bold" if group.normal else "normal",
            bbox={**ground, "edgecolor": group.colour},
            zorder=4,
        )
        for place in own[nearest[:TRIED]]:
            text.set_position(place)
            box = text.get_window_extent().padded(4)
            inside = axes.bbox.contains(*box.min) and axes.bbox.contains(*box.max)
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
        else:
            text.remove()


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
