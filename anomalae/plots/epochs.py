"""The course of a training: loss, validation loss and learning rate an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from anomalae.errors import DataError
from anomalae.plots import style
from anomalae.plots.style import HEIGHT, MODEL, MUTED, WIDTH, fit, legend_below, log_axis, new, panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Losses that fall by more than this are drawn on a logarithmic axis.
LOG_RATIO = 10


class Epoch(Protocol):
    """An epoch as the figure reads it, `anomalae.models.training.loop.Epoch` for one."""

    @property
    def epoch(self) -> int: ...
    @property
    def loss(self) -> float: ...
    @property
    def validation_loss(self) -> float | None: ...
    @property
    def learning_rate(self) -> float: ...


@style.figure
def history(epochs: Sequence[Epoch], *, title: str = "", unit: str = "", ax: Axes | None = None) -> Figure:
    """Draw loss on training and validation images after each epoch, and the learning rate below.

    epochs: at least one, in order, as `Detector.history` has them.
    title: of the figure.
    unit: of the loss, for its axis, as in "nats".
    ax: axes to draw the loss into, without the learning rate; None makes a figure.

    Returns the figure, or that of the axes. Raises DataError without an epoch.

    >>> from anomalae import Detector, load_dataset, plots
    >>> split = load_dataset("digits").one_class(normal=[0], seed=0)
    >>> detector = Detector(hidden=(16,), latent_dim=4, epochs=2, seed=0).fit(split.train.images)
    >>> len(plots.history(detector.history).axes)
    2
    """
    if not epochs:
        raise DataError("the history holds no epoch")
    numbers = [epoch.epoch for epoch in epochs]
    held_out = [(epoch.epoch, epoch.validation_loss) for epoch in epochs if epoch.validation_loss is not None]
    if ax is None:
        figure = new(WIDTH, HEIGHT)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    else:
        (figure, upper), lower = panel(ax), None
    marker = {"marker": "o", "markersize": 3.5} if len(epochs) <= 40 else {}
    losses = [epoch.loss for epoch in epochs]
    upper.plot(numbers, losses, color=MUTED, dashes=(4, 1.5), label="training", **marker)
    if held_out:
        upper.plot(*zip(*held_out, strict=True), color=MODEL, label="validation", **marker)
    every = np.array([*losses, *(loss for _, loss in held_out)])
    if every.min() > 0 and every.max() / every.min() > LOG_RATIO:
        upper.set_yscale("log")
        log_axis(upper.yaxis, float(every.max() / every.min()))
    upper.set(ylabel="loss per image" + (f", {unit}" if unit else ""), title=title)
    if lower is None:
        _epochs(upper, numbers)
        fit(upper)
        return figure
    lower.plot(numbers, [epoch.learning_rate for epoch in epochs], color=MUTED, **marker)
    lower.set(ylabel="learning rate", ylim=(0, None))
    _epochs(lower, numbers)
    lower.yaxis.get_major_locator().set_params(nbins=3)
    figure.align_ylabels()
    legend_below(figure, upper, columns=2)
    return figure


def _epochs(axes: Axes, numbers: Sequence[int]) -> None:
    axes.set(xlabel="epoch", xlim=(numbers[0] - 0.5, numbers[-1] + 0.5))
    locator: Any = axes.xaxis.get_major_locator()
    locator.set_params(integer=True, min_n_ticks=1)
