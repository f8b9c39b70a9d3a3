"""Grids of trainings, run: a cell a class and seed, one table. A kill loses the cells under way at most."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from anomalae import files
from anomalae.datasets.dataset import Dataset, OneClassSplit
from anomalae.errors import BundleError, ConfigError, DataError
from anomalae.experiments import benchmark_tables as tables
from anomalae.experiments import run as experiment
from anomalae.experiments.command_lines import with_baselines_of
from anomalae.experiments.executors import Executor
from anomalae.experiments.executors.here import Here
from anomalae.experiments.executors.processes import Processes
from anomalae.experiments.grid import CELLS, SIDES, Grid
from anomalae.experiments.grid_cells import cells_of, left_alone, or_with_more
from anomalae.experiments.kept_cells import Progress, Shelf, do_all
from anomalae.experiments.summary import summarise
from anomalae.runs.environment import choose_device, record_environment
from anomalae.settings import Settings
from anomalae.threads import limited

SPEC = "benchmark.json"


def prepare(grid: Grid, folder: Path) -> None:
    """Make the folder, or check that what lies there belongs to the same grid; ConfigError where it does not."""
    for chosen in grid.classes if grid.part == "test" else ():
        others = experiment.truth(grid.dataset.test.labels, (chosen,))
        if others.all() or not others.any():
            missing = others.all() == (grid.side == "normal")
            raise DataError(
                f"class {chosen}: the test part of {grid.dataset.name} has no "
                f"{'normal' if missing else 'anomalous'} image"
            )
    for other in grid.also:
        _check_also(grid, other)
    spec = grid.spec()
    path = folder / SPEC
    if path.is_file():
        kept = files.read_json(path)
        if not isinstance(kept, dict) or not isinstance(kept.get("settings"), dict):
            raise BundleError(f"{path}: not a benchmark's description")
        there = _completed(kept)
        for key, value in spec.items():
            if there.get(key) != value:
                difference = _difference(there.get(key), value)
                raise ConfigError(f"{path}: has another {key} ({difference})", advice="output")
    Shelf(folder / CELLS).make()
    if not path.is_file():
        files.write_json(path, spec)


def _check_also(grid: Grid, other: Dataset) -> None:
    """Raise DataError unless all of another data set can be scored by every cell, none of it trained on."""
    experiment.check_unseen(other, grid.dataset.name, grid.dataset.provenance["sha256"])
    for chosen in grid.classes:
        experiment.check_classes(other, grid.normal(chosen))
        if not experiment.truth(other.whole.labels, grid.normal(chosen)).any():
            raise DataError(f"data set {other.name}: has no anomalous image where {grid.side} is {chosen}")


def _completed(spec: dict[str, Any]) -> dict[str, Any]:
    """Return an older table's description, with the defaults of what did not exist then."""
    settings = Settings.of(**spec["settings"]).to_dict() | spec["settings"]
    del settings["seed"]
    return {"side": SIDES[0], **spec, "settings": settings}


def run(
    grid: Grid,
    folder: Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    executor: Executor | None = None,
    on_cell: Callable[[str, dict[str, Any], bool], None] = lambda name, cell, new: None,
    on_failed: Callable[[str, str], None] = lambda name, problem: None,
    on_others: Callable[[list[str], list[str]], None] = lambda names, differing: None,
    on_broken: Callable[[list[str]], None] = lambda problems: None,
    on_start: Callable[[str, OneClassSplit], tuple[Callable, Callable]] | None = None,
) -> dict[str, Any]:
    """Train and evaluate every cell that is not there yet; write and return the table (`table.json`).

    A cell is there if it was made by the same code, version, number of threads, device and arithmetic; others of its
    class and seed stay where they are. One that fails is done once more, after the others; one that fails again has no
    numbers in the table, whose `failed` says why. As no weights are kept, a cell that has no scores of one of
    `grid.also`, or has those of other content, is trained again.

    grid: what is trained and scored.
    folder: of the cells and the table.
    device: auto, cpu, cuda or mps.
    threads: CPU threads, as for `Detector`; several processes share the cores where none are named.
    executor: where the cells are done, see `anomalae.experiments.executors`; None is this process.
    on_cell: called after each cell with its name, its numbers, and whether it is new.
    on_failed: called with the name of a cell that failed, and why.
    on_others: called before the first training, if kept cells of the same classes and seeds are not taken, with their
        files' names and in what they differ.
    on_broken: called before the first training, if cells are there but broken and so done again, with a line for each.
    on_start: called before a training in this process with its name and its split; returns its
        `(on_epoch, on_batch)` callbacks.

    Raises DataError where a class has no test images, ConfigError where the folder holds another grid, BundleError
    where nothing can be written.
    """
    prepare(grid, folder)
    executor = Here() if executor is None else executor
    pinned = _pinned(grid, threads, executor)
    watched = on_start if isinstance(executor, Here) else None
    shelf = Shelf(folder / CELLS)
    cells = [or_with_more(cell, shelf) for cell in cells_of(grid, device, pinned, watched)]
    missing = [cell for cell in cells if shelf.take(cell) is None]
    names, differing = left_alone(missing, shelf)
    if names:
        on_others(names, differing)
    if broken := shelf.broken(missing):
        on_broken(broken)
    name_of = {cell.key: cell.name for cell in cells}

    def change(progress: Progress) -> None:
        outcome = progress.last
        if outcome is None:
            return
        name = name_of[outcome.cell.key]
        if outcome.result is None:
            on_failed(name, outcome.problem)
        else:
            on_cell(name, _plain(outcome.result.numbers), not outcome.kept)

    outcomes = dict(zip(cells, do_all(cells, shelf, executor, change), strict=True))
    done = {cell: outcome.result for cell, outcome in outcomes.items() if outcome.result is not None}
    numbers = [
        _plain(done[cell].numbers)
        if cell in done
        else {grid.side: cell.arguments["class"], "seed": cell.arguments["seed"]}
        for cell in cells
    ]
    table = summarise(grid, numbers, [done[cell].arrays if cell in done else {} for cell in cells])
    table["cells"] = {cell.name: cell.key for cell in done}
    if len(done) < len(cells):
        table["failed"] = {cell.name: outcomes[cell].problem for cell in cells if cell not in done}
    with limited(threads):
        table["environment"] = dataclasses.asdict(record_environment(choose_device(device)))
    table = _with_baselines(table, folder / "table.json")
    write(table, folder)
    return table


def _pinned(grid: Grid, threads: int | None, executor: Executor) -> int:
    """Return the number of threads that a cell computes by, whoever does it."""
    if threads is not None:
        return threads
    if grid.settings.architecture == "dense" and not grid.settings.neighbours:
        return 1
    if isinstance(executor, Here):
        return torch.get_num_threads()
    # Shared among the processes of this machine; a cluster's machines are not known.
    return max(1, (os.cpu_count() or 1) // executor.jobs) if isinstance(executor, Processes) else 1


def _plain(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Return numbers as they are when they are read again."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(numbers)))
    return plain


def write(table: dict[str, Any], folder: Path) -> None:
    """Write the table as JSON, Markdown and CSV."""
    files.write_json(folder / "table.json", table)
    files.write_bytes(folder / "table.md", tables.markdown(table).encode())
    files.write_bytes(folder / "table.csv", tables.csv_table(table).encode())


def _with_baselines(table: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the table with the baselines of the one before it, if that has the same classes and seeds, and the same
    ROC-AUC: baselines were tested against it.

    Not with those that were fitted on the development images which judge them, as older ones were.
    """
    if not path.is_file():
        return table
    before = files.read_json(path)
    side, main = table["side"], table["score"]

    def judged(rows: list[dict[str, Any]]) -> list[Any]:
        return [(row[side], row["roc_auc"].get(main)) for row in rows]

    same = before.get("seeds") == table["seeds"] and before.get("side") == side
    if "baselines" not in before or not same or judged(before["rows"]) != judged(table["rows"]):
        return table
    if table["part"] != "test" and "baseline_images" not in before:
        return table
    names = ("baselines", "baseline_versions", "baseline_images")
    kept = {key: before[key] for key in names if key in before}
    return {**table, **kept, "command": with_baselines_of(before["command"], table["command"])}


def _difference(there: Any, wanted: Any) -> str:
    if isinstance(there, dict) and isinstance(wanted, dict):
        keys = [key for key in {**there, **wanted} if there.get(key) != wanted.get(key)]
        return ", ".join(f"{key}: {there.get(key)!r} there, {wanted.get(key)!r} here" for key in keys)
    return f"{there!r} there, {wanted!r} here"
