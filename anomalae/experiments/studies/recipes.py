"""Methods that several studies set against one another, and the problems that they are set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from anomalae.datasets.dataset import Dataset
from anomalae.detectors.detector import Detector
from anomalae.experiments.baselines.registry import BaselineDetector
from anomalae.experiments.studies.base import Row
from anomalae.experiments.studies.trained import Problem
from anomalae.settings import PRESETS

# By the name a table has for it: settings of a detector, or a baseline of PyOD.
METHODS: dict[str, dict[str, Any]] = {
    "default AE": {"settings": {}},
    "textbook AE": {"settings": PRESETS["textbook"]},
    "accurate preset": {"settings": PRESETS["accurate"]},
    "knn": {"baseline": "knn"},
    "lof": {"baseline": "lof"},
    "isolation forest": {"baseline": "iforest"},
}
# What the names stand for, for a study's method.
NETWORKS_LINE = (
    "The default AE is what anomalae trains unless told otherwise; the textbook AE sees pixels, has no noise and is "
    "judged by MSE; the accurate preset also compares with the 8 nearest training images."
)
BASELINES_LINE = "knn, lof and the isolation forest are PyOD's, on raw pixels, with PyOD's settings."
# Of a quick study.
SMALL = {"hidden": (64,)}
# Training images that a normal class has at least, of which problems are made.
LEAST_IMAGES = 30


def method_arguments(name: str, quick: bool) -> dict[str, Any]:
    """Return the arguments of a cell that say what is trained, smaller if it should be quick."""
    how = METHODS[name]
    if "baseline" in how:
        return {"method": name, **how}
    return {"method": name, "settings": {**how["settings"], **(SMALL if quick else {})}}


def fit_method(task: Problem, arguments: Mapping[str, Any], train: np.ndarray) -> Detector | BaselineDetector:
    """Fit what a cell's arguments name, `settings` or `baseline`, on these images."""
    if arguments.get("baseline"):
        return BaselineDetector(arguments["baseline"], task.seed).fit(train)
    return task.fit(arguments["settings"], train)


def normal_classes(dataset: Dataset, wanted: Sequence[int | str], quick: bool) -> list[list[int | str]]:
    """Return the normal classes of each problem: one wanted class after another, or the first half of all at once.

    dataset: with two classes at least.
    wanted: those that it lacks are left out; if it lacks all, they are its own, as many.
    quick: whether there is one problem, of half the classes: small data sets have few images of a class.
    """
    counts = {name: int(np.count_nonzero(dataset.train.labels == name)) for name in dataset.classes}
    enough = [name for name, count in counts.items() if count >= LEAST_IMAGES]
    enough = enough or [name for name, count in counts.items() if count]
    if quick:
        return [enough[: max(1, len(enough) // 2)]]
    there = [name for name in wanted if name in enough]
    return [[name] for name in there or enough[: len(wanted)]]


def by_key(outcomes: Sequence[Any], key: Callable[[Mapping[str, Any]], Any]) -> dict[Any, list[Any]]:
    """Return pairs of arguments and numbers by what a function makes of the arguments, in their order."""
    groups: dict[Any, list[Any]] = {}
    for arguments, numbers in outcomes:
        groups.setdefault(key(arguments), []).append((arguments, numbers))
    return groups


def highest(table: Sequence[Row], key: str) -> Row | None:
    """Return the row in which a number is highest, None where no row has it."""
    return max(
        (row for row in table if row.get(key) is not None), key=lambda row: float(row[key]), default=None
    )


def lowest(table: Sequence[Row], key: str) -> Row | None:
    """Return the row in which a number is lowest, None where no row has it."""
    return min(
        (row for row in table if row.get(key) is not None), key=lambda row: float(row[key]), default=None
    )


def described_problems(problems: Sequence[Sequence[int | str]]) -> str:
    """Return in words which classes are normal."""
    if len(problems) == 1:
        names = ", ".join(map(str, problems[0]))
        return f"Normal: class{'es' if len(problems[0]) > 1 else ''} {names}; all others are anomalies."
    return (
        f"Normal in turn: {', '.join(str(name) for one in problems for name in one)}; the rest are anomalies."
    )
