"""A benchmark's folder, read: its table, and its cells where they are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from anomalae import files
from anomalae.errors import BundleError
from anomalae.reports.content import BenchmarkReport

TABLE, CELLS = "table.json", "cells"


def read_benchmark(folder: Path) -> BenchmarkReport:
    """Read what `anomalae benchmark` left in a folder. BundleError, naming file and fault, where it is not that.

    Without the cells there is the table alone, and `missing` says so.
    """
    path = folder / TABLE
    if not path.is_file():
        raise BundleError(f"{path}: no such file; a benchmark's folder is needed", advice="benchmark")
    table = files.read_json(path)
    _check(table, path)
    name = folder.resolve().name
    baselines = table.get("baselines") or {}
    side = table.get("side", "normal")
    failed = tuple(f"Failed, twice: {cell}: {problem}" for cell, problem in table.get("failed", {}).items())
    # On the other side each row has one anomalous class: there is no pair to show.
    if side != "normal":
        return BenchmarkReport(name, table, baselines=baselines, missing=failed)
    by_normal = _cells(table, folder / CELLS)
    if by_normal is None:
        gone = f"Not all cells are there ({folder / CELLS}), so each normal against each anomalous class is left out."
        return BenchmarkReport(name, table, baselines=baselines, missing=(gone, *failed))
    matrix, columns = _matrix(by_normal)
    return BenchmarkReport(name, table, matrix, columns, baselines)


def _check(table: Any, path: Path) -> None:
    if not isinstance(table, dict):
        raise BundleError(f"{path}: expected an object, got {type(table).__name__}")
    for key in ("dataset", "part", "alpha", "settings", "command", "score", "seeds", "rows", "mean", "worst"):
        if key not in table:
            raise BundleError(f"{path}: {key!r} is missing; measure the benchmark again")
    for key in ("cells", "failed"):
        if not isinstance(table.get(key, {}), dict):
            raise BundleError(f"{path}: {key!r} is no object; measure the benchmark again")
    side = table.get("side", "normal")
    also = ("also",) if table.get("also") else ()
    for key in (side, "roc_auc", "n_train", "false_alarm_rates", "false_alarm_band", "detection_rate", *also):
        if not all(isinstance(row, dict) and key in row for row in table["rows"]):
            raise BundleError(f"{path}: a row has no {key!r}; measure the benchmark again")


def _cells(table: dict[str, Any], folder: Path) -> dict[str, list[dict[str, float | None]]] | None:
    """Read ROC-AUC by anomalous class, a dict a seed, for each normal class; None where a cell is missing."""
    aucs_by_normal: dict[str, list[dict[str, float | None]]] = {
        str(row["normal"]): [] for row in table["rows"]
    }
    # Once a file was named by class and seed alone, and a folder had no others.
    stems = table.get("cells") or {
        path.stem: path.stem
        for path in sorted(folder.glob("normal-*_seed-*.json"))
        if path.stem.count("_") == 1
    }
    for file in (folder / f"{stem}.json" for stem in stems.values()):
        if not file.is_file():
            continue
        cell = files.read_json(file)
        try:
            cell = cell["numbers"] if "cells" in table else cell
            if str(cell["normal"]) in aucs_by_normal and cell["seed"] in table["seeds"]:
                per_class = cell["scores"][table["score"]]["per_class"]
                aucs_by_normal[str(cell["normal"])].append({k: v["roc_auc"] for k, v in per_class.items()})
        except (KeyError, TypeError):
            raise BundleError(f"{file}: not a cell of this benchmark") from None
    whole = all(len(seeds) == len(table["seeds"]) for seeds in aucs_by_normal.values())
    return aucs_by_normal if whole else None


def _matrix(by_normal: dict[str, list[dict[str, float | None]]]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return means over the seeds, (normal, anomalous class), NaN where a class is its own normal one."""
    named = (name for seeds in by_normal.values() for of_seed in seeds for name in of_seed)
    columns = tuple(dict.fromkeys([*by_normal, *named]))
    matrix = np.full((len(by_normal), len(columns)), np.nan)
    for row, seeds in enumerate(by_normal.values()):
        for column, name in enumerate(columns):
            values = [value for of_seed in seeds if (value := of_seed.get(name)) is not None]
            if values:
                matrix[row, column] = np.mean(values)
    return matrix, columns
