"""Grids of trainings, run: a cell a class and seed, one table. A kill loses one cell at most."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from anomalae import files
from anomalae.datasets.dataset import Dataset, OneClassSplit, Part
from anomalae.detectors.detector import Detector
from anomalae.errors import BundleError, ConfigError, DataError, TrainingError
from anomalae.experiments import benchmark_tables as tables
from anomalae.experiments import run as experiment
from anomalae.experiments.cells import Result, Source
from anomalae.experiments.command_lines import with_baselines_of
from anomalae.experiments.executors import Executor, run_twice
from anomalae.experiments.executors.here import Here
from anomalae.experiments.executors.processes import Processes
from anomalae.experiments.grid import CELLS, SIDES, Grid, cell_name, scored_part
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
        return
    try:
        (folder / CELLS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BundleError(f"{folder}: cannot be written: {error.strerror}") from None
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
    on_start: Callable[[str, OneClassSplit], tuple[Callable, Callable]] | None = None,
) -> dict[str, Any]:
    """Train and evaluate every cell that is not there yet; write and return the table (`table.json`).

    Cells are run seed by seed, one after another where there is no executor. As no weights are kept, a cell that has
    no scores of one of `grid.also`, or has those of other content, is trained again.

    grid: what is trained and scored.
    folder: of the cells and the table.
    device: auto, cpu, cuda or mps.
    threads: CPU threads, as for `Detector`; several processes share the cores where none are named.
    executor: where the cells are done, see `anomalae.experiments.executors`; None is this process.
    on_cell: called after each cell with its name, its numbers, and whether it is new.
    on_start: called before a training in this process with its name and its split; returns its
        `(on_epoch, on_batch)` callbacks.

    Raises DataError where a class has no test images, ConfigError where the folder holds another grid, TrainingError,
    once all others are done, where a cell failed twice by an executor.
    """
    prepare(grid, folder)
    places = {cell_name(grid, chosen, seed): (chosen, seed) for seed in grid.seeds for chosen in grid.classes}
    missing = [name for name in places if not _is_done(grid, folder / CELLS / f"{name}.json")]
    if executor is not None and not isinstance(executor, Here):
        for name in (name for name in places if name not in missing):
            on_cell(name, files.read_json(folder / CELLS / f"{name}.json"), False)
        _run_elsewhere(
            grid, folder, {name: places[name] for name in missing}, executor, device, threads, on_cell
        )
    else:
        for name, (chosen, seed) in places.items():
            if name in missing:
                callbacks = on_start(name, grid.split(chosen, seed)) if on_start else None
                _keep(folder / CELLS / name, measure(grid, chosen, seed, device, threads, callbacks))
            on_cell(name, files.read_json(folder / CELLS / f"{name}.json"), name in missing)
    cells = [files.read_json(folder / CELLS / f"{name}.json") for name in places]
    table = summarise(grid, cells, partial(_read_scores, grid, folder))
    with limited(threads):
        table["environment"] = dataclasses.asdict(record_environment(choose_device(device)))
    table = _with_baselines(table, folder / "table.json")
    write(table, folder)
    return table


def _is_done(grid: Grid, path: Path) -> bool:
    """Tell whether a cell is there, with the scores of each other data set, as it is now."""
    if not (path.is_file() and grid.also):
        return path.is_file()
    there = files.read_json(path).get("also", {})
    return all(there.get(other.name, {}).get("sha256") == other.provenance["sha256"] for other in grid.also)


def write(table: dict[str, Any], folder: Path) -> None:
    """Write the table as JSON, Markdown and CSV."""
    files.write_json(folder / "table.json", table)
    files.write_bytes(folder / "table.md", tables.markdown(table).encode())
    files.write_bytes(folder / "table.csv", tables.csv_table(table).encode())


def _with_baselines(table: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the table with the baselines of the one before it, if that is of the same classes and seeds.

    Not with those that were fitted on the development images which judge them, as older ones were.
    """
    if not path.is_file():
        return table
    before = files.read_json(path)
    chosen = [row[table["side"]] for row in table["rows"]]
    same = before.get("seeds") == table["seeds"] and before.get("side") == table["side"]
    if "baselines" not in before or not same or [row[table["side"]] for row in before["rows"]] != chosen:
        return table
    if table["part"] != "test" and "baseline_images" not in before:
        return table
    names = ("baselines", "baseline_versions", "baseline_images")
    kept = {key: before[key] for key in names if key in before}
    return {**table, **kept, "command": with_baselines_of(before["command"], table["command"])}


@dataclass(frozen=True, eq=False)
class CellTask:
    """A cell of a benchmark, to be done in any process.

    source, also: of the data sets.
    grid: all else that decides its numbers, as arguments of `Grid`.
    chosen, seed: which cell it is.
    device, threads: as for `Detector`.
    """

    source: Source
    also: tuple[Source, ...]
    grid: Mapping[str, Any]
    chosen: int | str
    seed: int
    device: str
    threads: int | None

    def do(self) -> Result:
        """Train and judge."""
        also = tuple(source.load() for source in self.also)
        grid = Grid(self.source.load(), (self.chosen,), (self.seed,), also=also, **self.grid)
        return measure(grid, self.chosen, self.seed, self.device, self.threads)


def _run_elsewhere(
    grid: Grid,
    folder: Path,
    places: Mapping[str, tuple[int | str, int]],
    executor: Executor,
    device: str,
    threads: int | None,
    on_cell: Callable[[str, dict[str, Any], bool], None],
) -> None:
    """Do the cells that are missing by an executor, and keep each as it is done."""
    source, also = Source.of(grid.dataset), tuple(map(Source.of, grid.also))
    rest = {"settings": grid.settings, "part": grid.part, "alpha": grid.alpha, "side": grid.side}
    alone = grid.settings.architecture == "dense" and not grid.settings.neighbours
    if threads is None and not alone:
        # Shared among the processes of this machine; a cluster's machines are not known.
        threads = max(1, (os.cpu_count() or 1) // executor.jobs) if isinstance(executor, Processes) else 1
    tasks = [CellTask(source, also, rest, chosen, seed, device, threads) for chosen, seed in places.values()]
    names, problems = list(places), []
    for done in run_twice(executor, tasks, lambda index: None, lambda index: None) if tasks else ():
        name = names[done.index]
        if done.result is None:
            problems.append(f"{name}: {done.problem}")
            continue
        _keep(folder / CELLS / name, done.result)
        on_cell(name, files.read_json(folder / CELLS / f"{name}.json"), True)
    if problems:
        raise TrainingError(f"{folder}: {len(problems)} of {len(tasks)} cells failed, {problems[0]}")


def measure(
    grid: Grid,
    chosen: int | str,
    seed: int,
    device: str = "auto",
    threads: int | None = None,
    callbacks: tuple[Callable, Callable] | None = None,
) -> Result:
    """Train the detector of one cell, and judge it.

    grid: its settings and data.
    chosen, seed: the cell.
    device, threads: as for `Detector`.
    callbacks: `on_epoch` and `on_batch` of `Detector.fit`.

    Returns the cell's numbers, and its scores by rule.
    """
    split = grid.split(chosen, seed)
    settings = dataclasses.replace(grid.settings, seed=seed)
    on_epoch, on_batch = callbacks or (lambda state: None, lambda done, loss: None)
    detector = Detector(device=device, threads=threads, **settings.to_dict())
    detector.fit(
        split.train.images,
        split.validation.images,
        split.calibration.images,
        data=experiment.describe(grid.dataset, split),
        on_epoch=on_epoch,
        on_batch=on_batch,
    )
    part = scored_part(grid, split)
    arrays, numbers = _judged(detector, part, grid.alpha)
    also = {}
    for other in grid.also:
        arrays_of_other, numbers_of_other = _judged(detector, other.whole, grid.alpha)
        arrays |= {f"{name} on {other.name}": scores for name, scores in arrays_of_other.items()}
        also[other.name] = {"sha256": other.provenance["sha256"], **numbers_of_other}
    last = detector.history[-1]
    cell = {
        grid.side: chosen,
        "seed": seed,
        "n_train": len(split.train),
        "n_calibration": detector.n_calibration,
        "seconds": round(sum(line.seconds for line in detector.history), 2),
        "loss": last.loss,
        "validation_loss": last.validation_loss,
        **numbers,
    }
    return Result(cell | ({"also": also} if also else {}), arrays)


def _keep(base: Path, result: Result) -> None:
    """Write a cell: its numbers last, for a cell without them is done again."""
    files.write_arrays(base.with_suffix(".safetensors"), dict(result.arrays))
    files.write_json(base.with_suffix(".json"), dict(result.numbers))


def _judged(detector: Detector, part: Part, alpha: float) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Score images by every rule and member; return the scores, and `scores` and `members` as a cell has them."""
    settings = detector.settings
    by_name = detector.score_members(part.images)
    evaluations = {
        rule: experiment.evaluate_scores(detector, scores, part.labels, rule, alpha=alpha)
        for rule, scores in detector.combine(by_name).items()
    }
    arrays = {rule: evaluation.scores for rule, evaluation in evaluations.items()}
    by_member = by_name[settings.rule] if len(by_name[settings.rule]) > 1 else {}
    if settings.neighbours and settings.n_networks > 1:
        networks = {name: by_member[name] for name in detector.network_names}
        by_member |= {"all networks": detector.combine({settings.rule: networks})[settings.rule]}
    arrays |= {f"{settings.rule} of {name}": scores for name, scores in by_member.items()}
    anomalous = experiment.truth(part.labels, detector.data.normal)
    numbers = {
        "scores": {rule: evaluation.to_dict() for rule, evaluation in evaluations.items()},
        "members": {name: float(roc_auc_score(anomalous, scores)) for name, scores in by_member.items()},
    }
    return arrays, numbers


def _read_scores(grid: Grid, folder: Path, cell: dict[str, Any]) -> dict[str, np.ndarray]:
    """Read the scores of a cell's images by every rule, float64 (n_test,); of others by `RULE on NAME`."""
    name = cell_name(grid, cell[grid.side], cell["seed"])
    return files.read_arrays(folder / CELLS / f"{name}.safetensors")[0]


def _difference(there: Any, wanted: Any) -> str:
    if isinstance(there, dict) and isinstance(wanted, dict):
        keys = [key for key in {**there, **wanted} if there.get(key) != wanted.get(key)]
        return ", ".join(f"{key}: {there.get(key)!r} there, {wanted.get(key)!r} here" for key in keys)
    return f"{there!r} there, {wanted!r} here"
