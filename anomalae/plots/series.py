"""Figures of experiments: lines against a setting, bars, histograms, rows of small images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from anomalae.plots import style
from anomalae.plots.pictures import gray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours, marker and dash pattern of the lines of a figure, in order; after the last comes the first.
_COLOURS = (style.MODEL, style.NORMAL, style.ANOMALY, *(colour for colour, _ in style.BASELINES[1:]))
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (7, 1.5, 1.5, 1.5)))


@dataclass(frozen=True, eq=False)
class Series:
    """One line of a figure: values against a setting.

    x, y: of its points; None or NaN leaves a point out.
    low, high: ends of a band around it, if there is one.
    """

    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None


def look(place: int) -> dict[str, Any]:
    """Return colour, marker and dashes of the line at this place of a figure, all three its own."""
    return {
        "color": _COLOURS[place % len(_COLOURS)],
        "marker": style.MARKERS[place % len(style.MARKERS)],
        "linestyle": _DASHES[place % len(_DASHES)],
    }


def _floats(values: Sequence[float | None]) -> npt.NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


@style.figure
def lines(
    series: Mapping[str, Series],
    *,
    x: str,
    y: str,
    log_x: bool = False,
    log_y: bool = False,
    level: Mapping[str, float] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draw values against a setting, a line a name, with bands where there are any.

    series: by the name in the legend.
    x, y: labels of the axes.
    log_x, log_y: whether an axis is logarithmic; its values must be above 0 then.
    level: horizontal lines by name, as of a limit.
    title: above it.
    ax: axes of another figure to draw into.

    Returns the figure.

    >>> lines({"AE": Series([1, 2, 4], [0.8, 0.9, 0.95])}, x="width", y="ROC-AUC", log_x=True).axes[0].get_ylabel()
    'ROC-AUC'
    """
    figure, axes = style.panel(ax)
    for place, (name, one) in enumerate(series.items()):
        its = look(place)
        axes.plot(np.asarray(one.x, np.float64), _floats(one.y), label=name, markersize=4, **its)
        if one.low is not None and one.high is not None:
            axes.fill_between(
                np.asarray(one.x, np.float64), _floats(one.low), _floats(one.high),
                color=its["color"], alpha=0.15, linewidth=0,
            )  # fmt: skip
    for name, value in (level or {}).items():
        axes.axhline(value, color=style.MUTED, linewidth=1, linestyle=(0, (4, 2)))
        axes.annotate(
            name, (1, value), (-2, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
            ha="right", fontsize=7.5, color=style.MUTED,
        )  # fmt: skip
    if log_x:
        axes.set_xscale("log")
        at = np.concatenate([np.asarray(one.x, np.float64) for one in series.values()])
        style.log_axis(axes.xaxis, float(at.max() / at.min()))
    if log_y:
        axes.set_yscale("log")
    axes.set(xlabel=x, ylabel=y, title=title)
    if ax is not None:
        style.fit(axes)
    elif len(series) > 1:
        style.legend_below(figure, axes, columns=2 if len(series) > 3 else len(series))
    return figure


@style.figure
def bars(
    groups: Mapping[str, Mapping[str, float | None]],
    *,
    y: str,
    spreads: Mapping[str, Mapping[str, float | None]] | None = None,
    log_y: bool = False,
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draw values of several names side by side, a group a case, lying: long names have room.

    groups: by case, values by name; the names are the legend.
    y: what the values are.
    spreads: half lengths of error bars, of the same shape.
    log_y: whether their axis is logarithmic.
    title: above it.
    ax: axes of another figure to draw into.

    Returns the figure.

    >>> bars({"one class": {"AE": 0.03, "PCA": 0.04}}, y="mean squared error").axes[0].get_xlabel()
    'mean squared error'
    """
    names = list(dict.fromkeys(name for values in groups.values() for name in values))
    height = 0.22 * len(names) * len(groups) + 0.3 * len(groups) + 1.2
    figure, axes = style.panel(ax, style.WIDTH, min(max(height, 2.4), 12.0))
    thick = 0.8 / max(1, len(names))
    for place, name in enumerate(names):
        at = [number + 0.4 - thick * (place + 0.5) for number in range(len(groups))]
        at = [-value for value in at]
        values = _floats([values.get(name) for values in groups.values()])
        errors = None
        if spreads is not None:
            errors = np.nan_to_num(_floats([spreads[case].get(name) for case in groups]))
        colour = _COLOURS[place % len(_COLOURS)]
        axes.barh(at, values, thick * 0.9, xerr=errors, color=colour, label=name, ecolor=style.INK)
    axes.set_yticks(
        [-float(number) for number in range(len(groups))], [style.narrowed(c, 28) for c in groups]
    )
    axes.grid(axis="y", visible=False)
    if log_y:
        axes.set_xscale("log")
    axes.set(xlabel=y, title=title)
    if ax is not None:
        style.fit(axes)
    elif len(names) > 1:
        style.legend_below(figure, axes, columns=min(3, len(names)))
    return figure


@style.figure
def spreads(
    groups: Mapping[str, Sequence[float]],
    *,
    x: str,
    bins: int = 40,
    title: str = "",
) -> Figure:
    """Draw a histogram a group, one under the other on one axis, as of where classes lie on a line.

    groups: values by name, at least one each.
    x: what the values are.
    bins: of all histograms, at least 1.
    title: above it.

    Returns the figure.

    >>> len(spreads({"0": [0.1, 0.2], "1": [0.8]}, x="code").axes)
    2
    """
    figure = style.new(style.WIDTH, max(1.6, 0.55 * len(groups) + 1.0))
    every = np.concatenate([np.asarray(values, np.float64) for values in groups.values()])
    edges = np.linspace(every.min(), every.max() if every.max() > every.min() else every.min() + 1, bins + 1)
    panels = figure.subplots(len(groups), 1, sharex=True, squeeze=False)[:, 0]
    for place, (axes, (name, values)) in enumerate(zip(panels, groups.items(), strict=True)):
        axes.hist(np.asarray(values, np.float64), edges, color=_COLOURS[place % len(_COLOURS)])
        axes.set_yticks([])
        axes.set_ylabel(style.narrowed(name, 12), rotation=0, ha="right", va="center")
        axes.grid(visible=False)
        axes.spines["left"].set_visible(False)
    panels[-1].set_xlabel(x)
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure


@style.figure
def film(rows: Mapping[str, npt.ArrayLike], *, columns: Sequence[str] = (), title: str = "") -> Figure:
    """Draw rows of small images with a name each, as reconstructions above one another or a walk along a line.

    rows: images (n, H, W) by name, in [0, 1] or uint8; rows may differ in length.
    columns: names above the columns, if any.
    title: above all.

    Returns the figure.

    >>> len(film({"image": np.zeros((3, 28, 28)), "rebuilt": np.ones((3, 28, 28))}).axes)
    6
    """
    arrays = {name: np.asarray(images) for name, images in rows.items()}
    most = max(len(images) for images in arrays.values())
    figure = style.new(min(9.0, 0.5 * most + 1.3), 0.55 * len(arrays) + (0.5 if title or columns else 0.15))
    grid = figure.subplots(len(arrays), most, squeeze=False)
    for panels, (name, images) in zip(grid, arrays.items(), strict=True):
        for place, axes in enumerate(panels):
            axes.set_axis_off()
            if place < len(images):
                axes.imshow(gray(images[place]))
            if panels is grid[0] and place < len(columns):
                axes.set_title(columns[place], fontsize=7.5, fontweight="normal", loc="center")
        panels[0].annotate(
            style.narrowed(name, 24), (0, 0.5), (-4, 0), xycoords="axes fraction", textcoords="offset points",
            ha="right", va="center", fontsize=8,
        )  # fmt: skip
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure


@style.figure
def decoded_lines(
    blocks: Mapping[str, tuple[npt.ArrayLike, Mapping[str, npt.ArrayLike]]], *, x: str, title: str = ""
) -> Figure:
    """Draw lines of codes: what is decoded along each, and below it, on the same axis, a histogram a group.

    blocks: by name, images (n, H, W) from one end to the other, in [0, 1] or uint8, and counts by group in equal parts
        of the line.
    x: what the place on a line is, from 0 to 1.
    title: above all.

    Returns the figure.

    >>> len(decoded_lines({"0 and 1": (np.zeros((5, 28, 28)), {"0": [3, 0], "1": [0, 3]})}, x="place").axes)
    3
    """
    ratios = [ratio for _, groups in blocks.values() for ratio in (0.36, *[0.24] * len(groups))]
    figure = style.new(1.5 * style.WIDTH, sum(ratios) + 0.4 * len(blocks) + 0.5)
    panels = iter(figure.subplots(len(ratios), 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0])
    axes = None
    for name, (images, groups) in blocks.items():
        axes = next(panels)
        strip = np.concatenate([gray(image) for image in np.asarray(images)], axis=1)
        axes.imshow(strip, extent=(0, 1, 0, 1), aspect="auto")
        axes.set_title(style.narrowed(name, 60))
        axes.set_yticks([])
        axes.grid(visible=False)
        for place, (group, counts) in enumerate(groups.items()):
            axes = next(panels)
            heights = np.asarray(counts, np.float64)
            colour = _COLOURS[place % len(_COLOURS)]
            axes.stairs(heights, np.linspace(0, 1, len(heights) + 1), fill=True, color=colour)
            axes.set_ylim(0, max(float(heights.max()), 1.0))
            axes.set_yticks([])
            axes.set_ylabel(style.narrowed(group, 12), rotation=0, ha="right", va="center")
            axes.grid(visible=False)
            axes.spines["left"].set_visible(False)
    for panel in figure.axes:
        panel.tick_params(axis="x", length=0 if panel is not axes else 3.5)
    if axes is not None:
        axes.set(xlabel=x, xlim=(0, 1))
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure
