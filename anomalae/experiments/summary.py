"""The table of a grid from its cells: means and spreads over seeds, bands of false alarms, intervals of means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    grid: Grid, cells: Sequence[Cell], scores: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, Any]:
    """Return the table as JSON-able values: a row a class, means and spreads over seeds, by every rule.

    grid: what was measured.
    cells: what each training gave, of every class and seed of the grid; class and seed alone of one that failed.
    scores: those of each cell by every rule, float64 (n_test,), and those of other data sets by `RULE on NAME`.

    What hangs on a cell that failed is None.
    """
    main = grid.settings.rule
    there = [cell for cell in cells if "scores" in cell]
    rules, members = [main], []
    if there:
        rules = [rule for rule in there[0]["scores"] if all(rule in cell["scores"] for cell in there)]
        members = list(there[0].get("members", {}))
    whole = len(there) == len(cells)
    rows = [
        _row(grid, [cell for cell in cells if cell[grid.side] == chosen], rules, members)
        for chosen in grid.classes
    ]
    mean = {}
    for rule in rules:
        interval = None
        # On development images every cell has normals of its own, which cannot be resampled together.
        if grid.part == "test" and whole:
            labels = grid.dataset.test.labels
            interval = _mean_interval(grid, cells, [of_cell[rule] for of_cell in scores], labels)
        by_seed = _means_by_seed(grid, cells, [_at(cell, "scores", rule, "roc_auc") for cell in cells])
        mean[rule] = spread(by_seed) | {"interval": interval}
    table = {
        **grid.spec(),
        "command": benchmark_command(grid),
        "score": main,
        "seeds": list(grid.seeds),
        "rows": rows,
        "mean": mean,
        "members": {
            name: spread(_means_by_seed(grid, cells, [_at(cell, "members", name) for cell in cells]))
            for name in members
        },
        "worst": min(row["roc_auc"][main]["mean"] for row in rows) if whole else None,
    }
    if grid.also:
        table["also"] = {
            label: _of_other(grid, cells, rules, members, other, scores)
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
    main, n_calibration = grid.settings.rule, _first(cells, "n_calibration")
    judged = _judged(cells, rules, members, main)
    band = None
    if n_calibration is not None:
        band = list(false_alarm_band(n_calibration, judged["n_normal"], grid.alpha))
    row = {
        grid.side: cells[0][grid.side],
        "n_train": _first(cells, "n_train"),
        "n_calibration": n_calibration,
        **judged,
        "false_alarm_band": band,
        "seconds": spread([_at(cell, "seconds") for cell in cells]),
    }
    if grid.also:
        row["also"] = {
            label: _judged([_at(cell, "also", other.name) for cell in cells], rules, members, main)
            for label, other in zip(grid.also_labels, grid.also, strict=True)
        }
    return row


def _at(cell: Any, *keys: str) -> Any:
    """Return a value of a cell; None where the cell failed."""
    for key in keys:
        cell = None if cell is None else cell.get(key)
    return cell


def _first(cells: Sequence[Any], *keys: str) -> Any:
    """Return a value that all cells share, of the first that has it; None where all failed."""
    return next((value for cell in cells if (value := _at(cell, *keys)) is not None), None)


def _judged(
    scored: Sequence[Cell | None], rules: Sequence[str], members: Sequence[str], main: str
) -> dict[str, Any]:
    """Return counts and spreads of a class's images, from their `scores` and `members`, one of each a seed."""

    def each(*keys: str) -> list[Any]:
        return [_at(one, *keys) for one in scored]

    return {
        "n_normal": _first(scored, "scores", main, "n_normal"),
        "n_anomalous": _first(scored, "scores", main, "n_anomalous"),
        "roc_auc": {rule: spread(each("scores", rule, "roc_auc")) for rule in rules},
        "false_alarm_rates": each("scores", main, "false_alarm_rate"),
        "detection_rate": spread(each("scores", main, "detection_rate")),
        "members": {name: spread(each("members", name)) for name in members},
    }


def _of_other(
    grid: Grid,
    cells: Sequence[Cell],
    rules: Sequence[str],
    members: Sequence[str],
    other: Dataset,
    scores: Sequence[Mapping[str, np.ndarray]],
) -> dict[str, Any]:
    """Return what the cells give on all of another data set, over all classes: means by seed, and their spreads."""
    main = grid.settings.rule

    def mean(*keys: str) -> dict[str, Any]:
        values = [_at(cell, "also", other.name, *keys) for cell in cells]
        return spread(_means_by_seed(grid, cells, values))

    aucs = {rule: mean("scores", rule, "roc_auc") for rule in rules}
    # By the main score alone: many images take the bootstrap long.
    own = [of_cell.get(f"{main} on {other.name}") for of_cell in scores]
    there = [of_cell for of_cell in own if of_cell is not None]
    labels = other.whole.labels
    return {
        "dataset": other.name,
        "sha256": other.provenance["sha256"],
        "n": len(other.whole),
        "mean": aucs,
        "interval": _mean_interval(grid, cells, there, labels) if len(there) == len(cells) else None,
        "false_alarm_rate": mean("scores", main, "false_alarm_rate"),
        "detection_rate": mean("scores", main, "detection_rate"),
        "members": {name: mean("members", name) for name in members},
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
