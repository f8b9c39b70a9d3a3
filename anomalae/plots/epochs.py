"""The course of a training: loss, validation loss and learning rate an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from anomalae.errors import DataError
from anomalae.plots import style
from anomalae.plots.style import HEIGHT, MODEL, MUTED, WIDTH, legend_below, log_axis, new

if TYPE_CHECKING:
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
def history(epochs: Sequence[Epoch], *, title: str = "", unit: str = "") -> Figure:
    """Draw loss on training and validation images after each epoch, and the learning rate below.

    epochs: at least one, in order.
    title: of the figure.
    unit: of the loss, for its axis, as in "nats".

    Raises DataError without an epoch.
    """
    if not epochs:
        raise DataError("the history holds no epoch")
    numbers = [epoch.epoch for epoch in epochs]
    held_out = [(epoch.epoch, epoch.validation_loss) for epoch in epochs if epoch.validation_loss is not None]
    figure = new(WIDTH, HEIGHT)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
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
    lower.plot(numbers, [epoch.learning_rate for epoch in epochs], color=MUTED, **marker)
    lower.set(xlabel="epoch", ylabel="learning rate", ylim=(0, None))
    lower.set_xlim(numbers[0] - 0.5, numbers[-1] + 0.5)
    lower.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    lower.yaxis.get_major_locator().set_params(nbins=3)
    figure.align_ylabels()
    legend_below(figure, upper, columns=2)
    return figure
