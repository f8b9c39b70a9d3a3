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
    from anomalae.datasets.dataset import Dataset
    from anomalae.experiments.grid import Grid

Cell = dict[str, Any]


def summarise(
    grid: Grid, cells: Sequence[Cell], read_scores: Callable[[Cell], Mapping[str, np.ndarray]]
) -> dict[str, Any]:
    """Return the table as JSON-able values: a row a class, means and spreads over seeds, by every rule.

    grid: what was measured.
    cells: what each training gave, of every class and seed of the grid.
    read_scores: gives a cell's scores by every rule, float64 (n_test,), and those of other data sets by `RULE on NAME`;
        it is called for the test part, and where there are others.
    """
    rules = [rule for rule in cells[0]["scores"] if all(rule in cell["scores"] for cell in cells)]
    main = grid.settings.rule
    members = list(cells[0].get("members", {}))
    rows = [
        _row(grid, [cell for cell in cells if cell[grid.side] == chosen], rules, members)
        for chosen in grid.classes
    ]
    scores = [read_scores(cell) for cell in cells] if grid.part == "test" or grid.also else []
    mean = {}
    for rule in rules:
        interval = None
        # On development images every cell has normals of its own, which cannot be resampled together.
        if grid.part == "test":
            labels = grid.dataset.test.labels
            interval = _mean_interval(grid, cells, [of_cell[rule] for of_cell in scores], labels)
        by_seed = _means_by_seed(grid, cells, [cell["scores"][rule]["roc_auc"] for cell in cells])
        mean[rule] = spread(by_seed) | {"interval": interval}
    table = {
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
    if grid.also:
        table["also"] = {
            label: _of_other(grid, cells, rules, other, scores)
            for label, other in zip(grid.also_labels, grid.also, strict=True)
        }
    return table


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
    """Return the row of a class, from its cells, one a seed."""
    main, first = grid.settings.rule, cells[0]
    judged = _judged(cells, rules, members, main)
    row = {
        grid.side: first[grid.side],
        "n_train": first["n_train"],
        "n_calibration": first["n_calibration"],
        **judged,
        "false_alarm_band": list(false_alarm_band(first["n_calibration"], judged["n_normal"], grid.alpha)),
        "seconds": spread([cell["seconds"] for cell in cells]),
    }
    if grid.also:
        row["also"] = {
            label: _judged([cell["also"][other.name] for cell in cells], rules, members, main)
            for label, other in zip(grid.also_labels, grid.also, strict=True)
        }
    return row


def _judged(
    scored: Sequence[Cell], rules: Sequence[str], members: Sequence[str], main: str
) -> dict[str, Any]:
    """Return counts and spreads of a class's images, from their `scores` and `members`, one of each a seed."""
    first = scored[0]["scores"][main]
    return {
        "n_normal": first["n_normal"],
        "n_anomalous": first["n_anomalous"],
        "roc_auc": {rule: spread([one["scores"][rule]["roc_auc"] for one in scored]) for rule in rules},
        "false_alarm_rates": [one["scores"][main]["false_alarm_rate"] for one in scored],
        "detection_rate": spread([one["scores"][main]["detection_rate"] for one in scored]),
        "members": {name: spread([one["members"][name] for one in scored]) for name in members},
    }


def _of_other(
    grid: Grid,
    cells: Sequence[Cell],
    rules: Sequence[str],
    other: Dataset,
    scores: Sequence[Mapping[str, np.ndarray]],
) -> dict[str, Any]:
    """Return what the cells give on all of another data set, over all classes: means by seed, and their spreads."""
    scored, main = [cell["also"][other.name] for cell in cells], grid.settings.rule

    def mean(values: Sequence[float | None]) -> dict[str, Any]:
        return spread(_means_by_seed(grid, cells, values))

    aucs = {rule: mean([one["scores"][rule]["roc_auc"] for one in scored]) for rule in rules}
    # By the main score alone: many images take the bootstrap long.
    own = [of_cell[f"{main} on {other.name}"] for of_cell in scores]
    return {
        "dataset": other.name,
        "sha256": other.provenance["sha256"],
        "n": len(other.whole),
        "mean": aucs,
        "interval": _mean_interval(grid, cells, own, other.whole.labels),
        "false_alarm_rate": mean([one["scores"][main]["false_alarm_rate"] for one in scored]),
        "detection_rate": mean([one["scores"][main]["detection_rate"] for one in scored]),
        "members": {name: mean([one["members"][name] for one in scored]) for name in scored[0]["members"]},
    }


def _means_by_seed(grid: Grid, cells: Sequence[Cell], values: Sequence[float | None]) -> list[float | None]:
    """Return the mean over the classes of a value a cell, for each seed; None where a value is missing."""
    means: list[float | None] = []
    for seed in grid.seeds:
        of_seed = [value for cell, value in zip(cells, values, strict=True) if cell["seed"] == seed]
        there = [value for value in of_seed if value is not None]
        means.append(float(np.mean(there)) if len(there) == len(of_seed) else None)
    return means


def _mean_interval(
    grid: Grid, cells: Sequence[Cell], scores: Sequence[np.ndarray], labels: np.ndarray
) -> list[float]:
    """Return the bootstrap interval of the mean AUC, the shared images resampled once for all cells.

    scores: float64 (N,) a cell.
    labels: of the images, (N,).
    """
    anomalous = np.stack([truth(labels, grid.normal(cell[grid.side])) for cell in cells])
    return list(mean_auc_interval(np.stack(scores), anomalous, labels))
