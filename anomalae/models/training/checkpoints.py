"""Checkpoints in time: as many as cost no more than a tenth of it."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from anomalae.models.training.state import Epoch, Training

Arrays = dict[str, np.ndarray]


class Checkpoints:
    """Writes a checkpoint after each epoch, unless that would take more than a tenth of the time.

    An epoch that was passed over is remembered, and written when the training breaks off.
    """

    def __init__(self, write: Callable[[Arrays, list[Epoch]], None]) -> None:
        self.write = write
        self.cost = self.written = 0.0
        self.pending: tuple[Arrays, list[Epoch]] | None = None

    def now(self, arrays: Arrays, history: list[Epoch]) -> None:
        """Write this state."""
        begun = time.perf_counter()
        self.write(arrays, history)
        self.pending = None
        self.written = time.perf_counter()
        self.cost = self.written - begun

    def after_epoch(self, state: Training) -> None:
        """Write the state, or remember it."""
        if time.perf_counter() - self.written >= 9 * self.cost:
            self.now(state.arrays(), state.history)
        else:  # copied, for the weights go on moving
            self.pending = {name: array.copy() for name, array in state.arrays().items()}, list(state.history)

    def broken_off(self) -> None:
        """Write what was remembered."""
        if self.pending is not None:
            self.now(*self.pending)
