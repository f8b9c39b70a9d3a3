"""Cells: independent pieces of a grid's work, each known by the hash of all that decides its numbers."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from anomalae import files
from anomalae.datasets.load import DATASETS, Dataset, is_there, load_dataset
from anomalae.errors import ConfigError, DataError
from anomalae.experiments.revision import computed_by, differences
from anomalae.threads import limited

# Hexadecimal digits of a key.
KEY = 20
# Bytes of a number in an array that is kept.
LARGEST_NUMBER = 8


@dataclass(frozen=True, eq=False)
class Result:
    """What a cell gives.

    numbers: JSON-able, by name.
    arrays: by name; kept beside the numbers.
    """

    numbers: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Source:
    """Where a data set comes from, so that another process can load it.

    name: of a data set, or the absolute path of a folder or file.
    root: folder of its files.
    preprocess, polarity: how its pictures were read.
    hashes: SHA-256 of each part.
    held: the data set itself where it can be loaded from nowhere.
    """

    name: str
    root: str | None
    preprocess: str
    polarity: str
    hashes: Mapping[str, str]
    held: Dataset | None = None

    @classmethod
    def of(cls, dataset: Dataset) -> Source:
        """Return where a data set comes from."""
        provenance = dataset.provenance
        held = None if dataset.name in DATASETS or is_there(dataset.name) else dataset
        source = cls(
            dataset.name,
            provenance.get("root"),
            provenance.get("preprocess", "auto"),
            provenance.get("polarity", "auto"),
            provenance["sha256"],
            held,
        )
        with _loading:
            _loaded[source.identity] = dataset
        return source

    @property
    def identity(self) -> tuple[str, ...]:
        """What two sources of the same data have in common."""
        return (self.name, self.preprocess, self.polarity, *self.hashes.values())

    def load(self) -> Dataset:
        """Return the data set, loaded once a process. DataError where it is gone, or another than it was."""
        with _loading:
            if self.identity not in _loaded:
                while len(_loaded) >= MOST_LOADED:
                    del _loaded[next(iter(_loaded))]
                _loaded[self.identity] = self.held or self._load()
            return _loaded[self.identity]

    def _load(self) -> Dataset:
        dataset = load_dataset(
            self.name,
            self.root,
            download=False,
            preprocess=self.preprocess,
            polarity=self.polarity,
            warn=lambda message: None,
        )
        if dataset.provenance["sha256"] != dict(self.hashes):
            raise DataError(f"data set {self.name}: has changed since the grid was made")
        return dataset


# Data sets that were used last, by their identity: a grid has one, seldom two.
_loaded: dict[tuple[str, ...], Dataset] = {}
MOST_LOADED = 4
# Held by the thread that looks there: a worker of a cluster may do several cells at once.
_loading = threading.Lock()

Work = Callable[[Dataset, Mapping[str, Any]], Result]


class Task(Protocol):
    """A piece of work that can be pickled and done in any process."""

    @property
    def threads(self) -> int | None:
        """By how many threads it computes; None leaves them as they are."""
        ...

    def do(self) -> Result:
        """Do the work."""
        ...


@dataclass(frozen=True, eq=False)
class Cell:
    """One piece of work, independent of all others, that can be done in any process.

    work: a function of a module, called with the data set and the arguments. Its numbers must depend on these alone.
    arguments: JSON-able: settings, classes, seed.
    source: of the data set.
    threads: by which it computes, pinned so that its bits do not hang on where it is done.
    """

    work: Work
    arguments: Mapping[str, Any]
    source: Source
    threads: int = 1

    @cached_property
    def spec(self) -> dict[str, Any]:
        """All that decides the numbers, JSON-able."""
        return {
            "work": f"{self.work.__module__}:{self.work.__qualname__}",
            **computed_by(self.work, self.arguments),
            "data": dict(self.source.hashes),
            "threads": self.threads,
            "arguments": json.loads(json.dumps(self.arguments)),
        }

    @cached_property
    def key(self) -> str:
        """The hash by which the cell is kept."""
        return hashlib.sha256(json.dumps(self.spec, sort_keys=True).encode()).hexdigest()[:KEY]

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process, the spec with it: by that, it is seen whether the same code computes there."""
        return {**self.__dict__, "spec": self.spec}

    def do(self) -> Result:
        """Do the work, by the pinned number of threads. ConfigError where other code or another machine would."""
        differs = differences(computed_by(self.work, self.arguments), self.spec)
        if differs:
            raise ConfigError(f"the process that works differs from where the grid was made: {differs}")
        with limited(self.threads):
            return self.compute()

    def compute(self) -> Result:
        """Do the work, by as many threads as there are."""
        return self.work(self.source.load(), self.arguments)


@dataclass(frozen=True, eq=False)
class Done:
    """How a task ended, wherever it was done.

    index: of the task among those handed out.
    result: None where it failed.
    problem: a line that says why it failed.
    died: whether the process ended, so that it may have been another task's fault.
    seconds: wall clock.
    """

    index: int
    result: Result | None = None
    problem: str = ""
    died: bool = False
    seconds: float = 0.0


def attempt(index: int, task: Task) -> Done:
    """Do a task; whatever is raised becomes a line. Called in the process that works."""
    begun = time.perf_counter()
    try:
        result = task.do()
    except Exception as error:
        return Done(index, problem=_line(error), seconds=time.perf_counter() - begun)
    fault = _fault(result)
    return Done(index, None if fault else result, fault, seconds=time.perf_counter() - begun)


def _line(error: Exception) -> str:
    message = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {message}"


def _fault(result: Any) -> str:
    """Say why a result cannot be kept; "" where it can."""
    if not isinstance(result, Result):
        return f"gave a {type(result).__name__}, no result"
    for name, value in result.numbers.items():
        try:
            files.json_bytes({name: value})
        except (TypeError, ValueError, RecursionError) as error:
            return f"number {name!r} cannot be kept: {_line(error)}"
    for name, array in result.arrays.items():
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        if not isinstance(kind, np.dtype) or kind.kind not in "biuf" or kind.itemsize > LARGEST_NUMBER:
            return f"array {name!r} cannot be kept: {kind}, no array of numbers"
        if not np.isfinite(array).all():
            return f"array {name!r} cannot be kept: {int((~np.isfinite(array)).sum())} values are not finite"
    return ""
