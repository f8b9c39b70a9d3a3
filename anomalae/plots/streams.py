"""The capital of a game against the claim that scores are as before, row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anomalae.evaluation.drift import Drift
from anomalae.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Points that are drawn; of more some are left out.
MOST = 4000


@style.figure
def drift(found: Drift, *, ax: Axes | None = None) -> Figure:
    """Draw the odds against the scores being as before, after each row.

    found: of N rows, N at least 1.
    ax: axes to draw into instead of a figure of its own.

    Returns the figure, with the odds at which there is an alarm.

    >>> from anomalae import plots
    >>> from anomalae.evaluation import detect_drift
    >>> len(plots.drift(detect_drift([1.0, 2.0, 3.0], [0.5, 1.5])).axes)
    1
    """
    from matplotlib.ticker import MaxNLocator

    figure, ax = style.panel(ax, 6.4, 3.6)
    n = len(found.capital)
    places = np.unique(np.linspace(0, n - 1, min(n, MOST)).astype(int))
    ax.plot(places + 1, found.capital[places] / np.log(10), color=style.MODEL, linewidth=1.2)
    ax.axhline(np.log10(found.odds), color=style.ANOMALY, linewidth=1, linestyle=(0, (5, 1.5)))
    ax.annotate(
        f"alarm at {found.odds:g} : 1",
        (0, np.log10(found.odds)),
        xycoords=("axes fraction", "data"),
        xytext=(4, 3),
        textcoords="offset points",
        color=style.ANOMALY,
        fontsize="small",
    )
    if found.alarm is not None:
        ax.axvline(found.alarm + 1, color=style.ANOMALY, linewidth=0.8)
    ax.set_xlabel("row")
    ax.set_ylabel("odds against no drift")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.yaxis.set_major_formatter(_odds)
    return figure


def _odds(value: float, _: object) -> str:
    """Write a power of ten as odds."""
    if abs(value) < 1e-9:
        return "1"
    if abs(value) <= 4:
        return f"{10**value:,.0f}" if value > 0 else f"1 / {10**-value:,.0f}"
    return f"1e{value:.0f}"
