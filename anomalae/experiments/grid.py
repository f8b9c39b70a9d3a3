"""A grid of trainings: which classes are normal, or anomalous, in turn; which seeds; on what they are judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from anomalae.datasets.dataset import Dataset, OneClassSplit, Part
from anomalae.errors import ConfigError
from anomalae.settings import Settings
from anomalae.text import distinct_names

PARTS = ("test", "development")
SIDES = ("normal", "anomalous")
# Folder of the cells, below that of the table.
CELLS = "cells"
# Most anomalies of a development part; more would cost time and tell little beside a few hundred normals.
DEVELOPMENT_ANOMALIES = 10_000


@dataclass(frozen=True)
class Grid:
    """A grid says what is trained and scored.

    dataset: from which all problems are made.
    classes: each is the one normal (or anomalous) class of its problems.
    seeds: of the splits and the trainings, none twice.
    settings: its seed is replaced by each of `seeds`.
    part: `test`, or `development` (validation normals, and up to 10,000 train-part images of the other classes as
        anomalies), on which settings are compared so that the test part is used once.
    alpha: false-alarm level, above 0 and below 1.
    side: whether the classes are normal in turn, the rest anomalous, or the other way round.
    also: other data sets with the same classes, all images of which are scored too, none of them trained on.

    Raises ConfigError for another part or side, and for classes or seeds that are none or named twice.

    >>> from anomalae import load_dataset
    >>> grid = Grid(load_dataset("digits"), classes=(0, 1), seeds=(0,), settings=Settings.of())
    >>> grid.normal(1)
    (1,)
    """

    dataset: Dataset
    classes: tuple[int | str, ...]
    seeds: tuple[int, ...]
    settings: Settings
    part: str = "test"
    alpha: float = 0.05
    side: str = "normal"
    also: tuple[Dataset, ...] = ()

    def __post_init__(self) -> None:
        if self.part not in PARTS:
            raise ConfigError(f"part {self.part!r}: must be one of {', '.join(PARTS)}")
        if self.side not in SIDES:
            raise ConfigError(f"side {self.side!r}: must be one of {', '.join(SIDES)}")
        if len({other.name for other in self.also}) < len(self.also):
            raise ConfigError("also: a data set is named twice", setting="also")
        for name, values in ((f"{self.side} classes", self.classes), ("seeds", self.seeds)):
            if not values or len(set(values)) != len(values):
                raise ConfigError(f"{name} {list(values)}: must be at least one, none twice")

    def spec(self) -> dict[str, Any]:
        """Return what must agree for a grid to go on in a folder (classes, seeds and `also` may be added)."""
        settings = self.settings.to_dict()
        del settings["seed"]
        hashes = self.dataset.provenance["sha256"]
        return {
            "dataset": self.dataset.name,
            "sha256": hashes,
            "part": self.part,
            "side": self.side,
            "alpha": self.alpha,
            "settings": settings,
        }

    @property
    def also_labels(self) -> list[str]:
        """What the other data sets are called in the table, each by a name of its own."""
        return distinct_names(other.short_name for other in self.also)

    def split(self, chosen: int | str, seed: int) -> OneClassSplit:
        """Return the one-class problem in which `chosen` is the normal (or the anomalous) class, split by `seed`."""
        return self.dataset.one_class(**{self.side: [chosen]}, seed=seed)

    def normal(self, chosen: int | str) -> tuple[int | str, ...]:
        """Return the normal classes of that problem."""
        return tuple(name for name in self.dataset.classes if (name == chosen) == (self.side == SIDES[0]))


def cell_name(grid: Grid, chosen: int | str, seed: int) -> str:
    """Return the name of a cell's files: the class by its place in the data set, so that any class name will do."""
    return f"{grid.side}-{grid.dataset.classes.index(chosen)}_seed-{seed}"


def baseline_images(grid: Grid, split: OneClassSplit) -> np.ndarray:
    """Return the images a cell's baselines are fitted on: training and validation, if the latter do not judge them."""
    if grid.part == "test":
        return np.concatenate([split.train.images, split.validation.images])
    return split.train.images


def scored_part(grid: Grid, split: OneClassSplit) -> Part:
    """Return the images a cell is judged on."""
    if grid.part == "test":
        return split.test
    train = grid.dataset.train
    others = np.flatnonzero(~np.isin(train.labels, split.normal))
    chosen = np.random.default_rng([split.seed, len(others)]).permutation(others)[:DEVELOPMENT_ANOMALIES]
    return Part(
        np.concatenate([split.validation.images, train.images[chosen]]),
        np.concatenate([split.validation.labels, train.labels[chosen]]),
    )
