"""The cells of a benchmark: a detector trained on one class by one seed, and judged. Done and kept as a study's are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from anomalae.arithmetic import chosen as arithmetic_of
from anomalae.datasets.dataset import Dataset, OneClassSplit, Part
from anomalae.detectors.detector import Detector
from anomalae.errors import ConfigError
from anomalae.experiments import run as experiment
from anomalae.experiments.cells import Cell, Result, Source
from anomalae.experiments.grid import Grid, cell_name, scored_part
from anomalae.experiments.kept_cells import Shelf
from anomalae.runs.environment import choose_device
from anomalae.settings import Settings

# Returns `on_epoch` and `on_batch` of `Detector.fit`, for a split that is about to be trained on.
Watch = Callable[[OneClassSplit], tuple[Callable, Callable]]
# What may differ between a cell and one of the same name, in words.
PARTS_OF_SPEC = {
    "revision": "revision",
    "versions": "version",
    "parts": "part that is not ours",
    "data": "data",
    "threads": "number of threads",
    "device": "device",
    "arithmetic": "arithmetic",
    "processor": "processor",
    "also": "data scored beside",
}


@dataclass(frozen=True, eq=False)
class GridCell(Cell):
    """A cell of a benchmark, kept by its name and its key.

    name: see `anomalae.experiments.grid.cell_name`.
    also: of the other data sets that are scored; the arguments hold their hashes.
    watch: called before the training where it is done in this process.
    """

    name: str = ""
    also: tuple[Source, ...] = ()
    watch: Watch | None = None

    @cached_property
    def key(self) -> str:
        """The name, so that people find its files, and the hash of all that decides the numbers."""
        return f"{self.name}_{super().key}"

    def compute(self) -> Result:
        """Train and judge."""
        also = tuple(source.load() for source in self.also)
        return measure(self.source.load(), self.arguments, also, self.watch)


def cells_of(
    grid: Grid, device: str, threads: int, on_start: Callable[[str, OneClassSplit], Any] | None = None
) -> list[GridCell]:
    """Return a grid's cells, seed by seed.

    device: on which they are trained, as for `Detector`; what it stands for here is part of what they are.
    threads: by which.
    on_start: called in this process before each training with the cell's name and its split; None for cells that are
        done in others.
    """
    settings = grid.settings.to_dict()
    del settings["seed"]
    where = choose_device(device)
    shared = {
        "side": grid.side,
        "part": grid.part,
        "alpha": grid.alpha,
        "settings": settings,
        # All are judged by, so that the code of packages' scores is part of what a cell is.
        "rules": list(grid.settings.rules),
        "device": str(where),
        "arithmetic": arithmetic_of(where),
        "also": {other.name: other.provenance["sha256"] for other in grid.also},
    }
    source, also = Source.of(grid.dataset), tuple(map(Source.of, grid.also))
    made = []
    for seed in grid.seeds:
        for chosen in grid.classes:
            name = cell_name(grid, chosen, seed)
            watch = None if on_start is None else (lambda split, name=name: on_start(name, split))
            arguments = {**shared, "class": chosen, "seed": seed}
            made.append(GridCell(measure, arguments, source, threads, name, also, watch))
    return made


def measure(
    dataset: Dataset, arguments: Mapping[str, Any], also: Sequence[Dataset] = (), watch: Watch | None = None
) -> Result:
    """Train the detector of one cell by the threads that are set, and judge it.

    dataset: from which the problem is made.
    arguments: of the cell, see `cells_of`.
    also: other data sets that are scored too.
    watch: called before the training.

    Returns the cell's numbers, and its scores by rule. Raises ConfigError where this machine has another arithmetic
    than the one where the cells were made.
    """
    chosen, seed, device = arguments["class"], arguments["seed"], choose_device(arguments["device"])
    arithmetic = arithmetic_of(device)
    if arithmetic != arguments["arithmetic"]:
        raise ConfigError(
            f"arithmetic {arithmetic}: this machine's; the others' is {arguments['arithmetic']}"
        )
    settings = Settings.of(**{**arguments["settings"], "seed": seed})
    part, alpha, side = (arguments[key] for key in ("part", "alpha", "side"))
    grid = Grid(dataset, (chosen,), (seed,), settings, part, alpha, side, tuple(also))
    split = grid.split(chosen, seed)
    on_epoch, on_batch = watch(split) if watch else (lambda state: None, lambda done, loss: None)
    detector = Detector(device=device, threads=torch.get_num_threads(), **settings.to_dict())
    detector.fit(
        split.train.images,
        split.validation.images,
        split.calibration.images,
        data=experiment.describe(dataset, split),
        on_epoch=on_epoch,
        on_batch=on_batch,
    )
    arrays, numbers = _judged(detector, scored_part(grid, split), alpha)
    by_other = {}
    for other in also:
        arrays_of_other, numbers_of_other = _judged(detector, other.whole, alpha)
        arrays |= {f"{name} on {other.name}": scores for name, scores in arrays_of_other.items()}
        by_other[other.name] = {"sha256": other.provenance["sha256"], **numbers_of_other}
    last = detector.history[-1]
    cell = {
        side: chosen,
        "seed": seed,
        "n_train": len(split.train),
        "n_calibration": detector.n_calibration,
        "seconds": round(sum(line.seconds for line in detector.history), 2),
        "loss": last.loss,
        "validation_loss": last.validation_loss,
        **numbers,
    }
    return Result(cell | ({"also": by_other} if by_other else {}), arrays)


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


def or_with_more(cell: GridCell, shelf: Shelf) -> GridCell:
    """Return a cell that is kept and was scored on more other data, but is the same else, or else the cell itself."""
    wanted = cell.arguments["also"]
    for key, written in shelf.kept.items():
        there = written["spec"]["arguments"].get("also")
        if key == cell.key or not key.startswith(f"{cell.name}_") or not isinstance(there, dict):
            continue
        if all(there.get(name) == hashes for name, hashes in wanted.items()):
            other = replace(cell, arguments={**cell.arguments, "also": there})
            if other.key == key and shelf.take(other) is not None:
                return other
    return cell


def left_alone(cells: Sequence[GridCell], shelf: Shelf) -> tuple[list[str], list[str]]:
    """Return kept cells of the same class and seed as these, which are not there, and in what they differ, in words.

    A cell of an older version, that says of nothing how it was made, differs by its description.
    """
    names, differing = [], set()
    for cell in cells:
        if (shelf.folder / f"{cell.name}.json").is_file():
            names.append(cell.name)
            differing.add("description")
        for key, written in shelf.kept.items():
            if key.startswith(f"{cell.name}_") and key != cell.key:
                names.append(key)
                there, here = ({**spec, **spec["arguments"]} for spec in (written["spec"], cell.spec))
                differing |= {part for part in PARTS_OF_SPEC if there.get(part) != here[part]}
    words = [
        word for part, word in {"description": "description", **PARTS_OF_SPEC}.items() if part in differing
    ]
    return names, words
