"""Figures of experiments: lines against a setting, bars, histograms, rows of small images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from anomalae.plots import style
from anomalae.plots.pictures import gray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Colours, marker and dash pattern of the lines of a figure, in order; after the last comes the first.
_COLOURS = (style.MODEL, style.NORMAL, style.ANOMALY, *(colour for colour, _ in style.BASELINES[1:]))
# Ten colours of classes.
_CLASSES = (style.NORMAL, *style.CLASSES)
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (7, 1.5, 1.5, 1.5)))


@dataclass(frozen=True, eq=False)
class Series:
    """One line of a figure: values against a setting.

    x, y: of its points; None or NaN leaves a point out.
    low, high: ends of a band around it, if there is one.

    >>> Series([1, 2, 4], [0.8, None, 0.95]).low is None
    True
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


def _columns(names: Iterable[str]) -> int:
    """Return in how many columns a legend has room below a figure."""
    lengths = [len(name) for name in names]
    return max(1, min(len(lengths), 60 // (max(lengths) + 7)))


def _floats(values: Sequence[float | None]) -> npt.NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _plain_log(axis: Axis, limits: tuple[float, float]) -> None:
    """Write the ticks of a logarithmic axis as plain numbers, more of them where it spans little."""
    from matplotlib.ticker import LogLocator, NullLocator

    span = limits[1] / limits[0] if limits[0] > 0 else 1e9
    subs = (1,) if span > 300 else (1, 2, 5) if span > 6 else (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
    axis.set_major_locator(LogLocator(subs=subs, numticks=14))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1000 else f"{value:.3g}")


# Of the width of a figure: the least between ticks that are written out.
_ROOM = 0.07


def _tick(axes: Axes, ticks: Sequence[float], log: bool) -> None:
    """Put ticks of the lower axis at values, unless they are too near to one another."""
    from matplotlib.ticker import NullLocator

    at = np.log(ticks) if log else np.asarray(ticks, np.float64)
    if len(at) < 2 or np.diff(at).min() >= _ROOM * (at[-1] - at[0]):
        axes.set_xticks(ticks, [f"{value:g}" for value in ticks])
        axes.xaxis.set_minor_locator(NullLocator())


def _points(axes: Axes, one: Series, name: str, place: int, beside: float) -> None:
    """Draw a series as points with bars, none of which hides another.

    beside: how far right of its x it lies.
    """
    bars = None
    if one.low is not None and one.high is not None:
        bars = np.stack([_floats(one.y) - _floats(one.low), _floats(one.high) - _floats(one.y)])
    its = {**look(place), "linestyle": "none"}
    x = np.asarray(one.x, np.float64) + beside
    axes.errorbar(x, _floats(one.y), bars, label=name, markersize=5, capsize=3, elinewidth=1.2, **its)


@style.figure
def lines(
    series: Mapping[str, Series],
    *,
    x: str,
    y: str,
    log_x: bool = False,
    log_y: bool = False,
    level: Mapping[str, float] | None = None,
    ticks: Sequence[float] = (),
    joined: bool = True,
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draw values against a setting, a line a name, with bands where there are any.

    series: by the name in the legend.
    x, y: labels of the axes.
    log_x, log_y: whether an axis is logarithmic; its values must be above 0 then.
    level: horizontal lines by name, as of a limit.
    ticks: values of x that alone have a tick, if there is room for all.
    joined: whether points are joined to a line with a band; else each stands for itself, with a bar, on an axis
        that is not logarithmic.
    title: above it.
    ax: axes of another figure to draw into.

    Returns the figure.

    >>> lines({"AE": Series([1, 2, 4], [0.8, 0.9, 0.95])}, x="width", y="ROC-AUC", log_x=True).axes[0].get_ylabel()
    'ROC-AUC'
    """
    figure, axes = style.panel(ax)
    every = [value for one in series.values() for value in one.x]
    across = float(max(every) - min(every)) or 1.0 if every else 1.0
    for place, (name, one) in enumerate(series.items()):
        its = look(place)
        if not joined:
            # Side by side they take a third of the way from the first x to the last.
            beside = (place - (len(series) - 1) / 2) / max(3 * len(series), 12)
            _points(axes, one, name, place, beside * across)
            continue
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
    if not joined:
        axes.margins(x=0.3)
    if ticks:
        _tick(axes, ticks, log_x)
    if log_y:
        axes.set_yscale("log")
        _plain_log(axes.yaxis, axes.get_ylim())
    axes.set(xlabel=x, ylabel=y, title=title)
    if ax is not None:
        style.fit(axes)
    elif len(series) > 1:
        style.legend_below(figure, axes, columns=_columns(series))
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
        # The first group and the first of its names are above.
        at = [-(number - 0.4 + thick * (place + 0.5)) for number in range(len(groups))]
        values = _floats([values.get(name) for values in groups.values()])
        errors = None
        if spreads is not None:
            errors = np.nan_to_num(_floats([spreads[case].get(name) for case in groups]))
        colour = _COLOURS[place % len(_COLOURS)]
        axes.barh(at, values, thick * 0.9, xerr=errors, color=colour, label=name, ecolor=style.INK)
    axes.set_yticks(
        [-float(number) for number in range(len(groups))], [style.narrowed(c, 32) for c in groups]
    )
    axes.grid(axis="y", visible=False)
    if log_y:
        axes.set_xscale("log")
        _plain_log(axes.xaxis, axes.get_xlim())
    axes.set(xlabel=y, title=title)
    if ax is not None:
        style.fit(axes)
    elif len(names) > 1:
        style.legend_below(figure, axes, columns=_columns(names))
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
    for line, (panels, (name, images)) in enumerate(zip(grid, arrays.items(), strict=True)):
        for place, axes in enumerate(panels):
            axes.set_axis_off()
            if place < len(images):
                axes.imshow(gray(images[place]))
            # A name stands once above all columns that have it.
            if (
                line == 0
                and place < len(columns)
                and columns[place] not in columns[max(0, place - 1) : place]
            ):
                axes.set_title(columns[place], fontsize=7.5, fontweight="normal", loc="center")
        panels[0].annotate(
            style.narrowed(name, 24), (0, 0.5), (-4, 0), xycoords="axes fraction", textcoords="offset points",
            ha="right", va="center", fontsize=8,
        )  # fmt: skip
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure


@style.figure
def tiles(
    groups: Mapping[str, npt.ArrayLike],
    *,
    columns: int = 4,
    title: str = "",
) -> Figure:
    """Draw short strips of small images, each under its name, side by side and in several lines.

    groups: images (n, H, W) by name, in [0, 1] or uint8, as many each; at least one.
    columns: strips in a line, at least 1.
    title: above all.

    Returns the figure.

    >>> len(tiles({"blur": np.zeros((3, 28, 28)), "noise": np.ones((3, 28, 28))}, columns=1).axes)
    2
    """
    strips = {name: np.concatenate(list(np.asarray(images)), axis=1) for name, images in groups.items()}
    height, width = next(iter(strips.values())).shape
    columns = min(columns, len(strips))
    lines = -(-len(strips) // columns)
    across = 9.0 / max(columns, 3)
    figure = style.new(across * columns, (across * height / width + 0.24) * lines + (0.3 if title else 0.05))
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, (name, strip) in zip(grid, strips.items(), strict=False):
        axes.imshow(gray(strip))
        axes.set_title(style.narrowed(name, 24), fontsize=8, fontweight="normal", loc="left", pad=2)
    for axes in grid:
        axes.set_axis_off()
    for axes in grid[len(strips) :]:
        axes.remove()
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure


@style.figure
def points(
    groups: Mapping[str, tuple[Sequence[float | None], Sequence[float | None]]],
    *,
    x: str,
    y: str,
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draw points of several names, each name in a colour and marker of its own.

    groups: x and y of the points by name, as many of either; None or NaN leaves a point out.
    x, y: labels of the axes.
    title: above it.
    ax: axes of another figure to draw into.

    Returns the figure.

    >>> figure = points({"AE": ([0.8, 0.9], [0.7, 0.9]), "VAE": ([0.6], [0.5])}, x="rule", y="ROC-AUC")
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['AE', 'VAE']
    """
    figure, axes = style.panel(ax)
    for place, (name, (across, up)) in enumerate(groups.items()):
        its = look(place)
        axes.plot(
            _floats(across), _floats(up), color=its["color"], marker=its["marker"], label=name,
            linestyle="none", markersize=5, alpha=0.85,
        )  # fmt: skip
    axes.set(xlabel=x, ylabel=y, title=title)
    if ax is not None:
        style.fit(axes)
    elif len(groups) > 1:
        style.legend_below(figure, axes, columns=2)
    return figure


@style.figure
def dots(
    groups: Mapping[str, Sequence[float]],
    bands: Mapping[str, float] | None = None,
    *,
    x: str,
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draw every value as a point, a line a group, as trainings of several seeds around their mean.

    groups: values by name, at least one each.
    bands: by the same names, half the length of a bar around 0.
    x: what the values are.
    title: above it.
    ax: axes of another figure to draw into.

    Returns the figure.

    >>> dots({"weights": [-0.1, 0.1], "splits": [0.0, 0.2]}, x="ROC-AUC").axes[0].get_xlabel()
    'ROC-AUC'
    """
    figure, axes = style.panel(ax, style.WIDTH, max(2.0, 0.42 * len(groups) + 1.0))
    for place, (name, values) in enumerate(groups.items()):
        half = (bands or {}).get(name)
        if half is not None:
            axes.barh(-place, 2 * half, 0.5, -half, color=style.GRID)
        # By turns above and below the line, so that equal values do not hide one another.
        at = [-place + 0.12 * (-1) ** number for number in range(len(values))]
        axes.plot(
            np.asarray(values, np.float64),
            at,
            "o",
            color=_COLOURS[place % len(_COLOURS)],
            markersize=4,
            alpha=0.7,
        )
    axes.set_yticks([-place for place in range(len(groups))], [style.narrowed(name, 28) for name in groups])
    axes.grid(axis="y", visible=False)
    axes.set(xlabel=x, title=title)
    if ax is not None:
        style.fit(axes)
    return figure


@dataclass(frozen=True, eq=False)
class Field:
    """One panel of `densities`: a density over the plane, and Gaussians that stand for it.

    values: of the density, at least 0, (H, W), the lowest row first.
    window: left, right, bottom and top of it.
    gaussians: by name, the mean's two coordinates and the two deviations.
    image: what it belongs to, (h, w), drawn above, if there is one.
    """

    values: npt.ArrayLike
    window: tuple[float, ...]
    gaussians: Mapping[str, tuple[float, ...]]
    image: npt.ArrayLike | None = None


@style.figure
def densities(panels: Sequence[Field], *, x: str, y: str, title: str = "") -> Figure:
    """Draw densities over the plane side by side, with ellipses of two deviations of Gaussians beside them.

    panels: at least one; all have the same names of Gaussians.
    x, y: labels of the axes.
    title: above all.

    Returns the figure.

    >>> field = Field(np.eye(8), (0, 1, 0, 1), {"best": (0.5, 0.5, 0.1, 0.2)})
    >>> densities([field, field], x="first unit", y="second unit").axes[1].get_xlabel()
    'first unit'
    """
    from matplotlib.patches import Ellipse

    figure = style.new(min(9.0, 2.3 * len(panels) + 0.8), 3.1)
    for place, (axes, field) in enumerate(
        zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True)
    ):
        axes.imshow(
            np.asarray(field.values), cmap="Greys", origin="lower", extent=field.window, aspect="auto",
            interpolation="bilinear",
        )  # fmt: skip
        for number, (name, (first, second, *deviations)) in enumerate(field.gaussians.items()):
            size = [4 * deviation for deviation in deviations]
            its = look(number)
            ellipse = Ellipse((first, second), *size, fill=False, linewidth=1.6, label=name)
            ellipse.set(edgecolor=its["color"], linestyle=its["linestyle"])
            axes.add_patch(ellipse)
        if field.image is not None:
            inside = axes.inset_axes((0.36, 1.03, 0.28, 0.28))
            inside.set_axis_off()
            inside.imshow(gray(np.asarray(field.image)))
        axes.set_xlim(*field.window[:2])
        axes.set_ylim(*field.window[2:])
        axes.set_box_aspect(1)
        axes.locator_params(nbins=4)
        axes.grid(visible=False)
        axes.set(xlabel=x, ylabel=y if place == 0 else "")
    style.legend_below(figure, figure.axes[0], columns=max(1, len(panels[0].gaussians)))
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
            colour = _CLASSES[place % len(_CLASSES)]
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


@style.figure
def differences(
    groups: Mapping[str, Mapping[str, tuple[float, float | None]]],
    *,
    x: str,
    linear: float | None = None,
    title: str = "",
) -> Figure:
    """Draw differences from 0 as points with bars, a line each, with room between groups.

    groups: by the name of the group, the difference and half its interval (None where it is not known) by name.
    x: what the differences are.
    linear: up to which difference the axis is linear, above 0, to be logarithmic beyond; None is linear throughout.
    title: above it.

    A point is hollow where its interval holds 0. Returns the figure.

    >>> differences({"noise": {"none": (-3.0, 1.0), "half": (0.5, 1.0)}}, x="ROC-AUC").axes[0].get_xlabel()
    'ROC-AUC'
    """
    count = sum(map(len, groups.values())) + 0.6 * (len(groups) - 1)
    figure, axes = style.panel(None, 1.15 * style.WIDTH, 0.2 * count + 1.0)
    places, names, at = [], [], 0.0
    for number, (group, changes) in enumerate(groups.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        axes.annotate(
            style.narrowed(group, 16), (1, at), (6, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", va="center", color=style.MUTED, fontsize=8,
        )  # fmt: skip
        for name, (value, half) in changes.items():
            hollow = half is not None and abs(value) <= half
            axes.errorbar(
                [value], [at], xerr=None if half is None else [half], fmt="o", color=colour, markersize=5,
                markerfacecolor=style.PAPER if hollow else colour, capsize=2, linewidth=1.2,
            )  # fmt: skip
            places.append(at)
            names.append(style.narrowed(name, 28))
            at -= 1
        at -= 0.6
    axes.axvline(0, color=style.MUTED, linewidth=1)
    if linear is not None:
        axes.set_xscale("symlog", linthresh=linear, linscale=1)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_yticks(places, names)
    axes.set_ylim(min(places, default=0) - 0.8, 0.8)
    axes.grid(axis="y", visible=False)
    axes.set(xlabel=x, title=title)
    return figure
