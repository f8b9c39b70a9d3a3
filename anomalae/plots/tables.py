"""Numbers of classes: each anomalous class of an evaluation, and every class against every other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from anomalae.errors import DataError
from anomalae.plots import style
from anomalae.plots.style import (
    ANOMALY,
    INK,
    MUTED,
    NORMAL,
    PAPER,
    WIDTH,
    display_columns,
    fit,
    narrowed,
    new,
    panel,
)
from anomalae.text import natural_order, percent, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from anomalae.evaluation.metrics import Evaluation

# Most rows of the chart of classes; of more, those with the lowest ROC-AUC are drawn.
MOST_CLASSES = 40
# Columns of a name in the chart, as terminals count them: a Chinese character takes two.
LABEL = 36
# Most columns of a matrix up to which the numbers are written into its cells.
MOST_WRITTEN = 16


@style.figure
def classes(evaluation: Evaluation, *, title: str = "", ax: Axes | None = None) -> Figure:
    """Draw ROC-AUC with 95% interval of each anomalous class against the normal images, and each class's share flagged.

    A panel the data cannot give (one kind of image, no threshold) is left out. Of more than 40 classes the 40 with
    the lowest ROC-AUC are drawn.

    evaluation: with labels.
    title: of the figure.
    ax: axes to draw the first panel into, without the second; None makes a figure.

    Returns the figure, or that of the axes. Raises DataError without labels, or when neither panel can be drawn.

    >>> from anomalae import evaluate, plots
    >>> labels = ["a", "a", "b", "c"]
    >>> evaluation = evaluate([0.1, 0.4, 0.3, 0.9], [False, False, True, True], labels, threshold=0.5)
    >>> [label.get_text() for label in plots.classes(evaluation).axes[0].get_yticklabels()]
    ['a (normal)', 'b', 'c']
    """
    names = evaluation.names
    if names is None:
        raise DataError("this evaluation has no labels, so it does not know the classes")
    normal = natural_order(names[~evaluation.is_anomaly].tolist())
    anomalous = list(evaluation.per_class)
    rated = evaluation.roc_auc is not None
    judged = evaluation.threshold is not None
    if not rated and not judged:
        raise DataError("one kind of image and no threshold: there is no rate of any class to show")
    left_out = max(0, len(normal) + len(anomalous) - MOST_CLASSES)
    if left_out:
        anomalous = _hardest(evaluation, anomalous)
        normal = normal[: MOST_CLASSES - len(anomalous)]
    # Of normal classes there are shares alone.
    normal = normal if judged and (ax is None or not rated) else []
    rows = [(name, False) for name in normal] + [(name, True) for name in anomalous]
    labels = [narrowed(name, LABEL) + ("" if is_anomalous else " (normal)") for name, is_anomalous in rows]
    if ax is None:
        wide = 0.07 * max(0, max(map(display_columns, labels)) - 10)
        figure = new((1.4 if rated and judged else 1.0) * WIDTH + wide, 1.2 + 0.24 * len(rows))
        panels = list(figure.subplots(1, rated + judged, squeeze=False, sharey=True)[0])
        figure.suptitle(title, x=0.01, ha="left")
    else:
        figure, axes = panel(ax)
        axes.set_title(title)
        panels = [axes]
    if rated:
        _aucs(panels[0], evaluation, rows)
    if judged and (ax is None or not rated):
        _shares(panels[-1], evaluation, rows, names)
    panels[0].set_yticks(range(len(rows)), labels)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    if left_out:
        note = f"{left_out} classes with higher ROC-AUC are not shown"
        if ax is None:
            figure.supxlabel(note, fontsize=8, color=MUTED)
        else:
            ax.set_xlabel(f"{ax.get_xlabel()}; {note}")
    for part in panels:
        part.grid(axis="y", visible=False)
        part.tick_params(axis="y", length=0)
    if ax is not None:
        fit(ax)
    return figure


def _hardest(evaluation: Evaluation, anomalous: list[str]) -> list[str]:
    def easiness(name: str) -> float:
        auc = evaluation.per_class[name].roc_auc
        return 0.0 if auc is None else auc

    kept = set(sorted(anomalous, key=easiness)[: MOST_CLASSES - 1])
    return [name for name in anomalous if name in kept]


def _aucs(axes: Axes, evaluation: Evaluation, rows: list[tuple[str, bool]]) -> None:
    lowest = 1.0
    for row, (name, is_anomalous) in enumerate(rows):
        result = evaluation.per_class.get(name) if is_anomalous else None
        if result is None or result.roc_auc is None or result.roc_auc_interval is None:
            continue
        low, high = result.roc_auc_interval
        lowest = min(lowest, low)
        axes.plot([low, high], [row, row], color=ANOMALY, linewidth=2.2, alpha=0.55, solid_capstyle="butt")
        axes.plot(result.roc_auc, row, "o", color=ANOMALY, markersize=6, clip_on=False)
        axes.annotate(
            f"{result.roc_auc:.3f}",
            (1.035, row),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
            color=INK,
        )
    bottom = np.floor(20 * lowest) / 20
    axes.set_xlim(min(bottom, 0.9), 1.0)
    axes.set_xlabel("ROC-AUC against normal images, 95% interval")


def _shares(
    axes: Axes, evaluation: Evaluation, rows: list[tuple[str, bool]], names: npt.NDArray[np.str_]
) -> None:
    flagged = evaluation.flagged
    for row, (name, is_anomalous) in enumerate(rows):
        share = float(flagged[(names == name) & (evaluation.is_anomaly == is_anomalous)].mean())
        axes.barh(row, 100 * share, height=0.62, color=ANOMALY if is_anomalous else NORMAL, alpha=0.85)
        axes.annotate(
            percent(share),
            (1.035, row),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
            color=INK,
        )
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"% flagged at alpha {evaluation.alpha:g}")


@style.figure
def matrix(
    values: npt.ArrayLike,
    rows: Sequence[object],
    columns: Sequence[object],
    *,
    title: str = "",
    row_label: str = "normal class",
    column_label: str = "anomalous class",
    number: str = "ROC-AUC",
    ax: Axes | None = None,
) -> Figure:
    """Draw a table of numbers as colours and, up to 16 columns, digits; NaN (the diagonal) is left empty.

    values: (R, C), in [0, 1] or NaN.
    rows: names of the rows, R of them.
    columns: names of the columns, C of them.
    title: of the figure.
    row_label: of the axis of rows.
    column_label: of the axis of columns.
    number: what the numbers are, for the bar of colours.
    ax: axes to draw into; None makes a figure.

    Returns the figure, or that of the axes. Raises DataError unless the values are two-dimensional, with a name a row
    and a name a column, and hold a number.

    >>> from anomalae import plots
    >>> figure = plots.matrix([[float("nan"), 0.98], [0.7, float("nan")]], rows=[0, 1], columns=[0, 1])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['.980', '.700']
    """
    table = np.asarray(values, dtype=np.float64)
    if table.shape != (len(rows), len(columns)):
        raise DataError(f"values: shape {table.shape}, must be ({len(rows)}, {len(columns)}) as the names")
    if not np.isfinite(table).any():
        raise DataError("values: no number in the table")
    low = float(np.floor(20 * np.nanmin(table)) / 20)
    low = min(low, 0.95)
    written = len(columns) <= MOST_WRITTEN
    cell = 0.46 if written else 0.2
    figure, axes = panel(ax, 2.0 + cell * len(columns), 1.1 + min(cell, 0.34) * len(rows))
    mesh = axes.pcolormesh(
        np.ma.masked_invalid(table), cmap="cividis", vmin=low, vmax=1, edgecolors=PAPER, linewidth=1
    )
    axes.set_xticks(np.arange(len(columns)) + 0.5, [shortened(name, 12) for name in columns])
    axes.set_yticks(np.arange(len(rows)) + 0.5, [shortened(name) for name in rows])
    if max((len(shortened(name, 12)) for name in columns), default=0) > 4 or not written:
        axes.tick_params(axis="x", labelrotation=90)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set(xlabel=column_label, ylabel=row_label, title=title)
    if written:
        for (row, column), value in np.ndenumerate(table):
            if np.isfinite(value):
                red, green, blue, _ = mesh.to_rgba(np.array([value]))[0]
                dark = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2 < 0.18
                text = f"{value:.3f}".removeprefix("0") if value < 0.9995 else "1"
                place = column + 0.5, row + 0.5
                axes.text(
                    *place,
                    text,
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    color="#f6f6f6" if dark else "#111111",
                )
    bar = figure.colorbar(mesh, ax=axes, fraction=0.05, pad=0.02, extend="neither")
    bar.outline.set_visible(False)
    bar.set_label(number)
    return figure
