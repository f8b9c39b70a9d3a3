"""Distributions: the scores of normal and anomalous images, and the p-values of normal ones against uniform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from anomalae.errors import ConfigError, DataError
from anomalae.evaluation.conformal import false_alarm_band
from anomalae.plots import style
from anomalae.plots.style import (
    ANOMALY,
    HEIGHT,
    INK,
    MUTED,
    NORMAL,
    PAPER,
    WIDTH,
    fit,
    legend_below,
    log_axis,
    new,
    panel,
)
from anomalae.text import percent, plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from anomalae.evaluation.metrics import Evaluation

Floats = npt.NDArray[np.float64]

# Bins of the histogram, at least and at most.
BINS = 15, 60
# Positive scores whose bulk spans more than this are drawn on a logarithmic axis.
LOG_RATIO = 8
# At most about so many levels of alpha at which the band is computed.
LEVELS = 100
# P-values up to this, which decide, are shown enlarged.
CLOSE_UP = 0.1


@style.figure
def scores(evaluation: Evaluation, *, rule: str = "", title: str = "", ax: Axes | None = None) -> Figure:
    """Draw histograms of the scores of normal and anomalous images, each its own 100%, and the threshold.

    The axis is logarithmic where scores are positive and their bulk spans more than a factor of 8. One kind of image is
    enough, and so is a single image.

    evaluation: scores and truth, and the threshold where there is one.
    rule: the name of the score, for the axis.
    title: of the figure.
    ax: axes to draw into; None makes a figure.

    Returns the figure, or that of the axes.

    >>> from anomalae import evaluate, plots
    >>> evaluation = evaluate([0.1, 0.4, 0.3, 0.9], is_anomaly=[False, False, True, True])
    >>> plots.scores(evaluation, rule="mse").axes[0].get_ylabel()
    '% of its kind in a bin'
    """
    values = evaluation.scores
    edges, logarithmic = _edges(values, evaluation.is_anomaly, evaluation.threshold)
    figure, axes = panel(ax)
    flagged = evaluation.flagged
    for kind, among, colour in (
        ("normal", ~evaluation.is_anomaly, NORMAL),
        ("anomalous", evaluation.is_anomaly, ANOMALY),
    ):
        n = int(among.sum())
        if n == 0:
            continue
        text = plural(n, f"{kind} image")
        if evaluation.threshold is not None:
            text += f", {percent(float(flagged[among].mean()))} flagged"
        heights = 100 * np.histogram(values[among], edges)[0] / n
        axes.stairs(heights, edges, fill=True, color=colour, alpha=0.3)
        axes.stairs(heights, edges, color=colour, linewidth=1.4, label=text)
    if logarithmic:
        axes.set_xscale("log")
        log_axis(axes.xaxis, float(edges[-1] / edges[0]))
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, None), title=title)
    axes.set_xlabel(
        f"score {rule}".strip() + (" (logarithmic)" if logarithmic else "") + ", higher: more anomalous"
    )
    axes.set_ylabel("% of its kind in a bin")
    if evaluation.threshold is not None:
        text = f"threshold {evaluation.threshold:.4g} at alpha {evaluation.alpha:g}: flagged on its right"
        axes.axvline(evaluation.threshold, color=INK, linewidth=1.2, dashes=(4, 2), label=text)
    if ax is None:
        legend_below(figure, axes)
    else:
        # Room for the legend above the bars.
        axes.set_ylim(0, 1.5 * axes.get_ylim()[1])
        fit(axes)
    return figure


def _edges(values: Floats, truth: npt.NDArray[np.bool_], threshold: float | None) -> tuple[Floats, bool]:
    """Return the edges of the bins, and whether they are even on a logarithmic axis.

    Bins are as wide as Freedman and Diaconis advise for the kind that needs the narrower ones.
    """
    bulk = np.quantile(values, [0.01, 0.99])
    logarithmic = bool(
        values.min() > 0 and bulk[1] / bulk[0] > LOG_RATIO and (threshold is None or threshold > 0)
    )
    seen = values if threshold is None else np.append(values, threshold)
    low, high = float(seen.min()), float(seen.max())
    # Where all scores are the same, bins need a width of their own.
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        margin = 0.5 * (abs(low) or 1.0)
        return np.linspace(low - margin, high + margin, BINS[0] + 1), False
    shown = np.log(values) if logarithmic else values
    low, high = (float(np.log(low)), float(np.log(high))) if logarithmic else (low, high)
    widths = []
    for kind in (shown[truth], shown[~truth]):
        if kind.size:
            quarters = np.quantile(kind, [0.25, 0.75])
            widths.append(2 * float(quarters[1] - quarters[0]) / kind.size ** (1 / 3))
    bins = int(np.clip((high - low) / max(min(widths), (high - low) / BINS[1]), *BINS))
    margin = 0.02 * (high - low)
    edges = np.linspace(low - margin, high + margin, bins + 1)
    return (np.exp(edges) if logarithmic else edges), logarithmic


@style.figure
def calibration(
    evaluation: Evaluation, *, n_calibration: int | None, title: str = "", ax: Axes | None = None
) -> Figure:
    """Draw the share of normal test images with a p-value of at most alpha, at every alpha: the false-alarm rate.

    For images like the calibration images it is alpha, within the 95% band of `conformal.false_alarm_band` at each
    level, wider than for independent p-values, since these share a calibration set. A second panel shows alpha up to
    0.1, in a figure of its own.

    evaluation: with p-values.
    n_calibration: number of calibration images, at least 1; None draws no band, which holds of images that were put
        aside.
    title: of the figure.
    ax: axes to draw into; None makes a figure.

    Returns the figure, or that of the axes. Raises DataError without p-values or without normal images, ConfigError if
    n_calibration is below 1.

    >>> from anomalae import evaluate, plots
    >>> evaluation = evaluate([0.1, 0.4, 0.9], is_anomaly=[False, False, True], p_values=[0.9, 0.5, 0.1])
    >>> len(plots.calibration(evaluation, n_calibration=9).axes)
    2
    """
    if evaluation.p_values is None:
        raise DataError("this evaluation has no p-values: calibrate it against held-out normal images")
    if evaluation.n_normal == 0:
        raise DataError(
            "the test part holds no normal images, so their p-values cannot be compared with uniform"
        )
    if n_calibration is not None and n_calibration < 1:
        raise ConfigError(f"n_calibration {n_calibration}: must be at least 1")
    p_values = np.sort(evaluation.p_values[~evaluation.is_anomaly])
    top = max(CLOSE_UP, float((p_values <= CLOSE_UP).mean()))
    if n_calibration is not None:
        levels, low, high = _band(n_calibration, evaluation.n_normal)
        step: Literal["post"] | None = "post" if len(levels) == n_calibration + 2 else None
        top = max(top, float(high[np.searchsorted(levels, CLOSE_UP, side="right") - 1]))
    if ax is None:
        figure = new(1.6 * WIDTH, HEIGHT + 0.2)
        axes, close = figure.subplots(1, 2)
        close.set(xlim=(0, CLOSE_UP), ylim=(0, min(1.01, 1.05 * top)))
        close.set_title(f"alpha up to {CLOSE_UP:g}", fontweight="normal", fontsize=9)
        panels = [axes, close]
    else:
        figure, axes = panel(ax)
        panels = [axes]
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), title=title)
    axes.set_ylabel("share of normal test images with p-value ≤ alpha")
    for part in panels:
        part.set_xlabel("alpha")
        if n_calibration is not None:
            words = _words(n_calibration)
            part.fill_between(levels, low, high, step=step, color=MUTED, alpha=0.25, linewidth=0, label=words)
        part.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, label="alpha itself")
        part.ecdf(p_values, color=NORMAL, label=plural(p_values.size, "normal test image"))
        if evaluation.threshold is not None and evaluation.false_alarm_rate is not None:
            text = f"at alpha {evaluation.alpha:g}: {percent(evaluation.false_alarm_rate)} false alarms"
            part.plot(
                evaluation.alpha,
                evaluation.false_alarm_rate,
                "o",
                color=NORMAL,
                markersize=7,
                markeredgecolor=PAPER,
                markeredgewidth=1.3,
                zorder=5,
                label=text,
            )
    if ax is None:
        legend_below(figure, axes, first=2)
    else:
        fit(axes, first=2)
    return figure


def _words(n_calibration: int) -> str:
    return f"95% band, at each alpha, for {plural(n_calibration, 'calibration image')}"


def _band(n_calibration: int, n_test: int) -> tuple[Floats, Floats, Floats]:
    """Return the band at levels k / (n + 1): all of them or, of many, some between which it is as good as straight."""
    n = n_calibration + 1
    some = np.concatenate(
        [np.linspace(0, CLOSE_UP * n, LEVELS // 2), np.linspace(CLOSE_UP * n, n, LEVELS // 2)]
    )
    k = np.arange(n + 1) if n <= LEVELS else np.unique(np.rint(some).astype(int))
    limits = [false_alarm_band(n_calibration, n_test, rank / n) for rank in k[1:-1].tolist()]
    low = [0.0, *(lower for lower, _ in limits), 1.0]
    high = [0.0, *(upper for _, upper in limits), 1.0]
    return k / n, np.array(low), np.array(high)
