"""ROC and precision-recall curves of an evaluation, with other methods beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from anomalae.plots import style
from anomalae.plots.style import (
    BASELINES,
    HEIGHT,
    MODEL,
    MUTED,
    PAPER,
    WIDTH,
    close_up,
    fit,
    legend_below,
    mark,
    panel,
)
from anomalae.text import interval, number, percent, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from anomalae.evaluation.metrics import Evaluation

Floats = npt.NDArray[np.float64]

NONE: Mapping[str, Evaluation] = MappingProxyType({})
# False-positive rates of the band: denser where curves are steep.
BAND = np.linspace(0, 1, 64) ** 2
# The part of the ROC figure, from its upper left corner, that is shown enlarged.
CLOSE_UP = 0.2


@style.figure
def roc(
    evaluation: Evaluation,
    *,
    baselines: Mapping[str, Evaluation] = NONE,
    title: str = "",
    name: str = "this run",
    ax: Axes | None = None,
) -> Figure:
    """Draw the ROC curve with its pointwise 95% band, its area with interval, and the operating point.

    The band is that of `anomalae.evaluation.intervals.roc_band`. The upper left corner is shown enlarged where the
    curves leave room for it, in a figure of its own.

    evaluation: of the run.
    baselines: other methods on the same images by name, as thin lines.
    title: of the figure.
    name: of the run, in the legend.
    ax: axes to draw into; None makes a figure.

    Returns the figure, or that of the axes. Raises DataError if there are only normal or only anomalous images.

    >>> from anomalae import evaluate, plots
    >>> evaluation = evaluate([0.1, 0.4, 0.3, 0.9], is_anomaly=[False, False, True, True])
    >>> plots.roc(evaluation, title="ROC curve").axes[0].get_xlabel()
    'false-positive rate: share of normal images above'
    """
    # This brings SciPy's statistics, which pictures do without.
    from anomalae.evaluation.intervals import roc_band

    curve_of_run = evaluation.roc_curve()
    others = {label: other.roc_curve() for label, other in baselines.items()}
    band = roc_band(evaluation.scores, evaluation.is_anomaly, BAND)
    figure, axes = panel(ax, WIDTH, HEIGHT + 0.7 + 0.18 * len(baselines))
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", title=title)
    axes.set_xlabel("false-positive rate: share of normal images above")
    axes.set_ylabel("true-positive rate: share of anomalies above")
    side = _room([curve_of_run, *others.values(), (BAND, band[0], band[0])]) if ax is None else 0.0
    for part in (axes, _upper_left(axes, side)) if side else (axes,):
        tolerance = 0.002 if part is axes else 0.002 * CLOSE_UP
        part.fill_between(BAND, *band, color=MODEL, alpha=0.2, linewidth=0, label="95% band, at each rate")
        part.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, label="chance")
        for (label, other), look in zip(baselines.items(), _looks(), strict=False):
            fpr, tpr, _ = others[label]
            part.plot(
                *_thinned(fpr, tpr, tolerance),
                **look,
                label=f"{shortened(label)}: AUC {number(other.roc_auc)}",
            )
        part.plot(curve_of_run[0], curve_of_run[1], color=MODEL, label=_auc(name, evaluation))
        if evaluation.false_alarm_rate is not None and evaluation.detection_rate is not None:
            fpr_here, tpr_here = evaluation.false_alarm_rate, evaluation.detection_rate
            if part is axes or (fpr_here <= CLOSE_UP and tpr_here >= 1 - CLOSE_UP):
                part.plot(fpr_here, tpr_here, **_POINT, label=_operating(evaluation))
    if ax is None:
        legend_below(figure, axes, first=2 + len(baselines))
    else:
        fit(axes, first=2 + len(baselines))
    return figure


@style.figure
def pr(
    evaluation: Evaluation,
    *,
    baselines: Mapping[str, Evaluation] = NONE,
    title: str = "",
    name: str = "this run",
    ax: Axes | None = None,
) -> Figure:
    """Draw precision against recall, with the prevalence (chance) and the operating point.

    The axis of precision begins where the curves do.

    evaluation: of the run.
    baselines: other methods on the same images by name, as thin lines.
    title: of the figure.
    name: of the run, in the legend.
    ax: axes to draw into; None makes a figure.

    Returns the figure, or that of the axes. Raises DataError if there are only normal or only anomalous images.

    >>> from anomalae import evaluate, plots
    >>> evaluation = evaluate([0.1, 0.4, 0.3, 0.9], is_anomaly=[False, False, True, True])
    >>> plots.pr(evaluation).axes[0].get_xlabel()
    'recall: share of anomalies above'
    """
    curve_of_run = evaluation.pr_curve()
    others = {label: other.pr_curve() for label, other in baselines.items()}
    figure, axes = panel(ax, WIDTH, HEIGHT + 0.5 + 0.18 * len(baselines))
    lowest = min(
        [evaluation.prevalence, *(precision.min() for precision, _, _ in [curve_of_run, *others.values()])]
    )
    bottom = max(0.0, np.floor(20 * lowest - 0.5) / 20)
    axes.set(xlim=(-0.01, 1.01), ylim=(bottom, 1 + 0.02 * (1 - bottom)), title=title)
    axes.set_xlabel("recall: share of anomalies above")
    axes.set_ylabel("precision: share of anomalies among those above")
    share = percent(evaluation.prevalence)
    axes.axhline(evaluation.prevalence, color=MUTED, linewidth=0.8, label=f"chance: {share} are anomalies")
    for (label, other), look in zip(baselines.items(), _looks(), strict=False):
        precision, recall, _ = others[label]
        text = f"{shortened(label)}: average precision {number(other.average_precision)}"
        axes.plot(*_thinned(recall, precision, 0.002, 1 - bottom), **look, drawstyle="steps-post", label=text)
    precision, recall, _ = curve_of_run
    text = f"{shortened(name)}: average precision {number(evaluation.average_precision)}"
    axes.plot(recall, precision, color=MODEL, drawstyle="steps-post", label=text)
    flagged = evaluation.flagged
    if evaluation.detection_rate is not None and flagged.any():
        precise = float(evaluation.is_anomaly[flagged].mean())
        text = (
            f"threshold at alpha {evaluation.alpha:g}: precision {percent(precise)}, "
            f"recall {percent(evaluation.detection_rate)}"
        )
        axes.plot(evaluation.detection_rate, precise, **_POINT, label=text)
    if ax is None:
        legend_below(figure, axes, first=1 + len(baselines))
    else:
        fit(axes, first=1 + len(baselines))
    return figure


_POINT: dict[str, Any] = {
    "marker": "o",
    "markersize": 8,
    "color": MODEL,
    "markeredgecolor": PAPER,
    "markeredgewidth": 1.5,
    "linestyle": "none",
    "clip_on": False,
    "zorder": 5,
}


def _looks() -> Iterator[dict[str, Any]]:
    while True:
        for colour, dashes in BASELINES:
            yield {"color": colour, "dashes": dashes, "linewidth": 1.1}


def _thinned(x: Floats, y: Floats, tolerance: float, height: float = 1.0) -> tuple[Floats, Floats]:
    """Return a curve without the points that are nearer than this to the one before: lines of a tenth of the size."""
    way = np.cumsum(np.abs(np.diff(x, prepend=x[:1])) + np.abs(np.diff(y, prepend=y[:1])) / height)
    _, kept = np.unique(np.floor(way / tolerance), return_index=True)
    kept = np.union1d(kept, len(x) - 1)
    return x[kept], y[kept]


def _room(curves: Sequence[tuple[Floats, Floats, Floats]]) -> float:
    """Return the side of a close-up at the lower right that hides no curve, as a share of the axes; 0 for none."""
    for side in (0.54, 0.4):
        left, top = 0.96 - side - 0.1, 0.13 + side + 0.08
        if all(np.interp(left, fpr, tpr) > top for fpr, tpr, _ in curves):
            return side
    return 0.0


def _upper_left(axes: Axes, side: float) -> Axes:
    inside = close_up(axes, (0.96 - side, 0.13, side, side), "upper left corner")
    inside.set(xlim=(0, CLOSE_UP), ylim=(1 - CLOSE_UP, 1.002), aspect="equal")
    inside.set_xticks([0, 0.1, 0.2])
    inside.set_yticks([0.8, 0.9, 1.0])
    mark(axes, inside)
    return inside


def _auc(name: str, evaluation: Evaluation) -> str:
    text = f"{shortened(name)}: AUC {number(evaluation.roc_auc)}"
    if evaluation.roc_auc_interval is None:
        return text
    return f"{text}, 95% interval {interval(evaluation.roc_auc_interval)}"


def _operating(evaluation: Evaluation) -> str:
    assert evaluation.false_alarm_rate is not None
    assert evaluation.detection_rate is not None
    return (
        f"threshold at alpha {evaluation.alpha:g}: {percent(evaluation.false_alarm_rate)} false alarms, "
        f"{percent(evaluation.detection_rate)} detected"
    )
