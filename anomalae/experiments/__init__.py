"""More than one training or method: a run on a data set, comparisons with baselines, grids of trainings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomalae.lazy import front_door

if TYPE_CHECKING:
    from anomalae.experiments.grid import Grid as Grid
    from anomalae.experiments.run import Run as Run
    from anomalae.experiments.training import resume as resume
    from anomalae.experiments.training import train_and_keep as train_and_keep

_HOMES = {
    "Grid": "anomalae.experiments.grid",
    "Run": "anomalae.experiments.run",
    "resume": "anomalae.experiments.training",
    "train_and_keep": "anomalae.experiments.training",
}

__all__ = list(_HOMES)
__getattr__, __dir__ = front_door(__name__, _HOMES)
