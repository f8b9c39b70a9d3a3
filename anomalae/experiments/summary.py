"""The table of a grid from its cells: means and spreads over seeds, bands of false alarms, intervals of means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from anomalae.evaluation.conformal import false_alarm_band
from anomalae.evaluation.intervals import mean_auc_interval
from anomalae.experiments.command_lines import benchmark_command
from anomalae.experiments.run import truth

if TYPE_CHECKING:
    from anomalae.experiments.grid import Grid

Cell = dict[str, Any]


def summarise(
    grid: Grid, cells: Sequence[Cell], read_scores: Callable[[Cell], Mapping[str, np.ndarray]]
) -> dict[str, Any]:
    """Return the table as JSON-able values: a row a class, means and spreads over seeds, by every rule.

    grid: what was measured.
    cells: what each training gave, of every class and seed of the grid.
    read_scores: gives a cell's scores by every rule, float64 (n_test,); it is called for the test part only.
    """
    rules = [rule for rule in cells[0]["scores"] if all(rule in cell["scores"] for cell in cells)]
    main = grid.settings.rule
    members = list(cells[0].get("members", {}))
    rows = [
        _row(grid, [cell for cell in cells if cell[grid.side] == chosen], rules, members)
        for chosen in grid.classes
    ]
    scores = [read_scores(cell) for cell in cells] if grid.part == "test" else None
    mean = {}
    for rule in rules:
        interval = None
        # On development images every cell has normals of its own, which cannot be resampled together.
        if scores is not None:
            interval = _mean_interval(grid, cells, [of_cell[rule] for of_cell in scores])
        by_seed = _means_by_seed(grid, cells, [cell["scores"][rule]["roc_auc"] for cell in cells])
        mean[rule] = spread(by_seed) | {"interval": interval}
    return {
        **grid.spec(),
        "command": benchmark_command(grid),
        "score": main,
        "seeds": list(grid.seeds),
        "rows": rows,
        "mean": mean,
        "members": {
            name: spread(_means_by_seed(grid, cells, [cell["members"][name] for cell in cells]))
            for name in members
        },
        "worst": min(row["roc_auc"][main]["mean"] for row in rows),
    }


def spread(values: Sequence[float | None]) -> dict[str, Any]:
    """Return mean, sample standard deviation (None for one value) and the values; no mean where a value is missing.

    >>> spread([1.0, 3.0])
    {'mean': 2.0, 'sd': 1.4142135623730951, 'values': [1.0, 3.0]}
    """
    there = [value for value in values if value is not None]
    if len(there) < len(values):
        return {"mean": None, "sd": None, "values": values}
    deviation = float(np.std(there, ddof=1)) if len(there) > 1 else None
    return {"mean": float(np.mean(there)), "sd": deviation, "values": values}


def _row(grid: Grid, cells: Sequence[Cell], rules: Sequence[str], members: Sequence[str]) -> dict[str, Any]:
    """The row of a class, from its cells, one a seed."""
    main, first = grid.settings.rule, cells[0]
    n_normal = first["scores"][main]["n_normal"]
    return {
        grid.side: first[grid.side],
        "n_train": first["n_train"],
        "n_calibration": first["n_calibration"],
        "n_normal": n_normal,
        "n_anomalous": first["scores"][main]["n_anomalous"],
        "roc_auc": {rule: spread([cell["scores"][rule]["roc_auc"] for cell in cells]) for rule in rules},
        "false_alarm_rates": [cell["scores"][main]["false_alarm_rate"] for cell in cells],
        "false_alarm_band": list(false_alarm_band(first["n_calibration"], n_normal, grid.alpha)),
        "detection_rate": spread([cell["scores"][main]["detection_rate"] for cell in cells]),
        "seconds": spread([cell["seconds"] for cell in cells]),
        "members": {name: spread([cell["members"][name] for cell in cells]) for name in members},
    }


def _means_by_seed(grid: Grid, cells: Sequence[Cell], values: Sequence[float]) -> list[float | None]:
    """The mean over the classes of a value a cell, for each seed."""
    seeds = np.array([cell["seed"] for cell in cells])
    return [float(np.mean(np.array(values)[seeds == seed])) for seed in grid.seeds]


def _mean_interval(grid: Grid, cells: Sequence[Cell], scores: Sequence[np.ndarray]) -> list[float]:
    """Bootstrap interval of the mean AUC, the shared test images resampled once for all cells.

    scores: float64 (n_test,) a cell.
    """
    labels = grid.dataset.test.labels
    anomalous = np.stack([truth(labels, grid.normal(cell[grid.side])) for cell in cells])
    return list(mean_auc_interval(np.stack(scores), anomalous, labels))
