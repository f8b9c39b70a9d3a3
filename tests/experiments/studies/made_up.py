"""Outcomes that never were, and a whole quick study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from anomalae.datasets.dataset import Dataset, Part
from anomalae.datasets.load import load_dataset
from anomalae.experiments.cells import Cell, Result
from anomalae.experiments.executors.here import Here
from anomalae.experiments.kept_cells import Outcome, Shelf, do_all
from anomalae.experiments.studies import load_study
from anomalae.experiments.studies.base import Scope


def outcome(
    arguments: dict[str, Any], numbers: dict[str, Any] | None, arrays: dict[str, np.ndarray] | None = None
) -> Outcome:
    """An outcome of a cell that nothing worked on; without numbers, of one that failed."""
    cell: Any = Cell(lambda dataset, asked: Result({}), arguments, None)  # type: ignore[arg-type]
    return Outcome(cell, None if numbers is None else Result(numbers, arrays or {}))


def other_names(dataset: Dataset) -> Dataset:
    """The same images in three classes with names."""

    def part(one: Part) -> Part:
        chosen = one.labels < 3
        return Part(one.images[chosen], np.array(["bag", "coat", "shirt"])[one.labels[chosen]])

    hashes = {"sha256": {"train": "a", "test": "b"}}
    return Dataset("clothes", part(dataset.train), part(dataset.test), ("bag", "coat", "shirt"), hashes)


def check_cells(name: str, quick: int, full: int) -> None:
    """Cells are as many as they should be, all different, and none is told of the test part; classes may have names."""
    study = load_study(name)
    dataset = load_dataset("digits")
    for is_quick, count in ((True, quick), (False, full)):
        cells = study.cells(Scope(dataset, is_quick))
        assert len(cells) == len({cell.key for cell in cells}) == count
        assert not any("part" in cell.arguments for cell in cells)
        assert all(sentence for sentence in study.method(Scope(dataset, is_quick)))
        named = study.cells(Scope(other_names(dataset), is_quick))
        assert named
        assert {name for cell in named for name in cell.arguments["normal"]} <= {"bag", "coat", "shirt"}


def run_quick(name: str, folder: Path) -> None:
    """The whole quick study gives rows, an answer, and figures."""
    study = load_study(name)
    outcomes = do_all(study.cells(Scope(load_dataset("digits"), True)), Shelf(folder), Here())
    assert all(one.result is not None for one in outcomes), [one.problem for one in outcomes]
    table = study.rows(outcomes)
    assert table
    assert all(column.key in row for row in table for column in study.columns)
    assert study.answer(table)
    assert 2 <= len(study.drawings(table, outcomes)) <= 4
