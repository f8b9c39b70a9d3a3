"""Baselines beside a benchmark: fitted on each cell's images, a column each, tested digit by digit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from anomalae import files
from anomalae.evaluation.intervals import mean_auc_interval
from anomalae.evaluation.metrics import evaluate
from anomalae.evaluation.significance import delong_test, holm
from anomalae.experiments import run as experiment
from anomalae.experiments.baselines.registry import BASELINES, Baseline
from anomalae.experiments.baselines.trials import OK, Trial, run_trials, versions
from anomalae.experiments.command_lines import benchmark_command
from anomalae.experiments.grid import CELLS, Grid, baseline_images, cell_name, scored_part
from anomalae.experiments.summary import spread

OnTrial = Callable[[str, Trial], None]


@dataclass(frozen=True, eq=False)
class Column:
    """A column holds one baseline's results: a trial a normal class and seed, in the order of the grid.

    seeds: all of the grid's for a random one that is not costly, else the first.
    trials: by normal class and seed.
    """

    baseline: Baseline
    seeds: tuple[int, ...]
    trials: dict[tuple[int | str, int], Trial]


def run_baselines(
    grid: Grid,
    folder: Path,
    baselines: Sequence[Baseline],
    *,
    time_limit: float | None = None,
    threads: int | None = None,
    on_start: Callable[[str, Baseline], None] = lambda name, baseline: None,
    on_done: OnTrial = lambda name, trial: None,
) -> list[Column]:
    """Fit the baselines on the training and validation images of every cell and score the cell's images.

    Where the cells are judged on development images, validation normals among them, on the training images alone.

    A random baseline is fitted for each seed of the grid, unless it is costly. Any other would differ between seeds by
    the split alone, and is fitted on the first seed's.

    grid: whose cells they stand beside.
    folder: of the grid, in which results are kept: a second call fits only what is new.
    baselines: what is fitted.
    time_limit, threads: of each fit; see `run_trials`.
    on_start, on_done: called with the cell's name before a process starts, and with each trial.
    """
    often = {b.label for b in baselines if b.random and not b.costly}
    columns = {b.label: Column(b, grid.seeds if b.label in often else grid.seeds[:1], {}) for b in baselines}
    for place, seed in enumerate(grid.seeds):
        chosen = [b for b in baselines if b.label in often or place == 0]
        for problem in grid.classes if chosen else ():
            name = cell_name(grid, problem, seed)
            split = grid.split(problem, seed)
            trials = run_trials(
                chosen,
                baseline_images(grid, split),
                scored_part(grid, split).images,
                seed=seed,
                time_limit=time_limit,
                threads=threads,
                cache=folder / CELLS / "baselines",
                on_start=partial(on_start, name),
                on_done=partial(on_done, name),
            )
            for trial in trials:
                columns[trial.baseline.label].trials[problem, seed] = trial
    return list(columns.values())


def summarise(
    grid: Grid, folder: Path, columns: Sequence[Column], cells: Mapping[str, str]
) -> dict[str, Any]:
    """Return the columns as JSON-able values, by label: AUCs by normal class, mean, tests against the grid's own cells.

    grid, folder: as for `run_baselines`, all cells done.
    columns: what it returned.
    cells: names of the cells' files, by name; one that failed is not among them, and is not tested against.

    `tests` holds for each normal class the paired DeLong test of the first seed's scores, Holm-corrected over all
    classes and baselines; a positive difference says that our detector has the higher ROC-AUC.
    """
    first = grid.seeds[0]
    parts = {
        (chosen, seed): scored_part(grid, grid.split(chosen, seed))
        for chosen in grid.classes
        for seed in grid.seeds
    }
    anomalous = {
        (chosen, seed): experiment.truth(part.labels, grid.normal(chosen))
        for (chosen, seed), part in parts.items()
    }
    ours = {
        chosen: files.read_arrays(folder / CELLS / f"{cells[name]}.safetensors")[0][grid.settings.rule]
        for chosen in grid.classes
        if (name := cell_name(grid, chosen, first)) in cells
    }
    tests = {
        (column.baseline.label, p): delong_test(ours[p], trial.scores, anomalous[p, first])
        for column in columns
        for p in ours
        if (trial := column.trials[p, first]).ok and trial.scores is not None
    }
    corrected = dict(zip(tests, holm([test.p_value for test in tests.values()]), strict=True))
    columns_by_label = {}
    for column in columns:
        label = column.baseline.label
        aucs = {
            p: spread([_auc(column, p, seed, anomalous[p, seed]) for seed in column.seeds])
            for p in grid.classes
        }
        means = [_mean(aucs, place) for place in range(len(column.seeds))]
        columns_by_label[label] = {
            "settings": column.trials[grid.classes[0], first].settings,
            "seeds": list(column.seeds),
            "rows": {str(p): aucs[p]["mean"] for p in grid.classes},
            "values": {str(p): aucs[p]["values"] for p in grid.classes},
            "mean": spread(means)["mean"],
            "means": means,
            "interval": _interval(grid, column, anomalous),
            "tests": {
                str(p): {
                    "difference": tests[label, p].difference,
                    "p_value": corrected[label, p],
                }
                for p in grid.classes
                if (label, p) in tests
            },
            "fit_seconds": _median(column, "fit_seconds"),
            "score_seconds": _scoring(column),
            "peak_memory_bytes": _most(column),
            "failures": {
                cell_name(grid, *cell): trial.status
                for cell, trial in column.trials.items()
                if trial.status != OK
            },
        }
    return columns_by_label


def _auc(column: Column, chosen: int | str, seed: int, anomalous: Any) -> float | None:
    scores = column.trials[chosen, seed].scores
    return None if scores is None else evaluate(scores, anomalous).roc_auc


def _mean(aucs: dict[Any, dict[str, Any]], place: int) -> float | None:
    values = [auc["values"][place] for auc in aucs.values()]
    return None if any(value is None for value in values) else float(np.mean(values))


def _interval(grid: Grid, column: Column, anomalous: dict[Any, Any]) -> list[float] | None:
    """Return the bootstrap interval of the mean AUC over the test images, as the grid's own is made."""
    scores = [trial.scores for trial in column.trials.values() if trial.scores is not None]
    if grid.part != "test" or len(scores) < len(column.trials):
        return None
    truths = np.stack([anomalous[cell] for cell in column.trials])
    return list(mean_auc_interval(np.stack(scores), truths, grid.dataset.test.labels))


def _median(column: Column, name: str) -> float | None:
    values = [getattr(trial, name) for trial in column.trials.values() if getattr(trial, name) is not None]
    return float(np.median(values)) if values else None


def _scoring(column: Column) -> float | None:
    """Return the median seconds an image."""
    trials = [(t.score_seconds, t.scores) for t in column.trials.values()]
    values = [
        seconds / len(scores) for seconds, scores in trials if seconds is not None and scores is not None
    ]
    return float(np.median(values)) if values else None


def _most(column: Column) -> int | None:
    values = [t.peak_memory_bytes for t in column.trials.values() if t.peak_memory_bytes is not None]
    return max(values) if values else None


def add(
    table: dict[str, Any],
    grid: Grid,
    folder: Path,
    columns: Sequence[Column],
    *,
    time_limit: float | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Return the table with its baselines; the command that measures it again names them."""
    names = _names(columns)
    # Else it is not said, as in the tables of before.
    fitted_on = {} if grid.part == "test" else {"baseline_images": "training images"}
    return {
        **table,
        **fitted_on,
        "command": benchmark_command(grid, baselines=names, time_limit=time_limit, threads=threads),
        "baselines": summarise(grid, folder, columns, table["cells"]),
        "baseline_versions": versions(),
    }


def _names(columns: Sequence[Column]) -> list[str]:
    """Return the words that ask for these baselines: a name for two variants where both are there, else the label."""
    labels = {column.baseline.label for column in columns}
    if labels == {baseline.label for baseline in BASELINES}:
        return ["all"]
    names = []
    for column in columns:
        name = column.baseline.name
        variants = {baseline.label for baseline in BASELINES if baseline.name == name}
        names.append(name if variants <= labels else column.baseline.label)
    return list(dict.fromkeys(names))
