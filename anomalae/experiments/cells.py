"""Cells: independent pieces of a grid's work, each known by the hash of all that decides its numbers."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib
import inspect
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import anomalae
from anomalae.datasets.load import DATASETS, Dataset, is_there, load_dataset
from anomalae.errors import ConfigError, DataError
from anomalae.network_kinds import REGISTRIES
from anomalae.runs.environment import versions_of
from anomalae.threads import limited
from anomalae.version import __version__

# Hexadecimal digits of a key.
KEY = 20
# Those of a hash that are shown.
PART_OF_HASH = 8
# Where a training's numbers are made.
COMPUTING_ROOMS = ("models", "scores")
COMPUTING_FILES = (
    "settings",
    "network_kinds",
    "seeds",
    "arithmetic",
    "compiling",
    "datasets/classes",
    "datasets/dataset",
    "datasets/splits",
    "evaluation/checks",
    "evaluation/delong_covariance",
    "evaluation/metrics",
    "evaluation/intervals",
    "evaluation/conformal",
    "detectors/detector",
    "detectors/fitting",
    "detectors/ensemble",
    "detectors/member",
    "detectors/neighbours",
    "detectors/saving",
    "detectors/batches",
    "experiments/baselines/registry",
    "experiments/grid",
    "experiments/run",
)
# Others' code that makes numbers; another version of it may make other ones.
COMPUTING_PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "numba", "pyod")


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
        """Do the work, by the pinned number of threads. ConfigError where other code or versions would do it."""
        differs = differences(computed_by(self.work, self.arguments), self.spec)
        if differs:
            raise ConfigError(f"the process that works differs from where the grid was made: {differs}")
        with limited(self.threads):
            return self.compute()

    def compute(self) -> Result:
        """Do the work, by as many threads as there are."""
        return self.work(self.source.load(), self.arguments)


def computed_by(work: Work, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what computes a cell's numbers, JSON-able.

    work, arguments: of the cell.

    Returns the `revision` of our code, the `versions` of packages, and `parts`: whence the networks, scores and views
    are that the arguments name and that do not come with anomalae, each with a hash of its code.
    """
    return {"revision": revision(work), "versions": dict(_versions()), "parts": _parts(arguments)}


def differences(those: Mapping[str, Any], these: Mapping[str, Any]) -> str:
    """Say in what two cells' specs differ, but for work, threads and arguments; "" where in nothing.

    >>> differences({"revision": "a", "versions": {"torch": "2.5"}}, {"revision": "a", "versions": {"torch": "2.6"}})
    'torch 2.5, not 2.6'
    """
    said = ["other code"] if those.get("revision") != these.get("revision") else []
    for key, words in (("versions", "{}"), ("parts", "{}"), ("data", "other data: {} part")):
        # A spec that lacks what the other has is an old one, or of what computes alone.
        some, others = those.get(key), these.get(key)
        if not isinstance(some, dict) or not isinstance(others, dict):
            said += ["versions that are not recorded"] if key == "versions" and some != others else []
            continue
        for name in dict.fromkeys((*others, *some)):
            one, other = (
                str(each.get(name, "none"))[: PART_OF_HASH if key == "data" else None]
                for each in (some, others)
            )
            if some.get(name) != others.get(name):
                said.append(f"{words.format(name)} {one}, not {other}")
    return "; ".join(said)


@functools.cache
def _versions() -> Mapping[str, str]:
    return {"anomalae": __version__, **versions_of(COMPUTING_PACKAGES)}


def _parts(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Whence the parts are that are named in arguments and are not ours, with a hash of their code."""
    named = set(_texts(arguments))
    return {
        f"{sort} {name}": f"{registry.origin(name)} {_hash_of(registry.modules(name))}"
        for sort, registry in REGISTRIES.items()
        for name in sorted(named.intersection(registry.names()).difference(registry.ours()))
    }


def _texts(value: Any) -> Iterator[str]:
    """All texts in something JSON-able."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _texts(each)


@functools.cache
def _hash_of(modules: tuple[str, ...]) -> str:
    """A hash of the code of modules; of those that have no file, as a notebook, nothing goes into it."""
    codes = []
    for module in modules:
        # Whatever a module of others raises is told where it is used.
        with contextlib.suppress(Exception):
            codes.append(_code(inspect.getsource(importlib.import_module(module))))
    return hashlib.sha256("".join(codes).encode()).hexdigest()[:PART_OF_HASH]


def revision(work: Work) -> str:
    """Return the revision of what computes: a hash of the code of the work, of all that it names in its module and in
    those beside it, and of all that trains and scores.

    Comments, docstrings, layout, a move to a module beside, and what the work does not name, as the words of an answer,
    do not change it.
    """
    return hashlib.sha256(f"{_code_of(work)} {_computing()}".encode()).hexdigest()[:KEY]


@functools.cache
def _computing() -> str:
    """A hash of the code in which numbers are made."""
    package = Path(anomalae.__file__).parent
    found = [package / f"{name}.py" for name in COMPUTING_FILES]
    found += [path for name in COMPUTING_ROOMS for path in sorted((package / name).rglob("*.py"))]
    codes = "".join(_code(path.read_text(encoding="utf-8")) for path in found)
    return hashlib.sha256(codes.encode()).hexdigest()


@functools.cache
def _code_of(work: Work) -> str:
    """The code of a function, and of all that it names in its module and in those beside it, and so on."""
    package = work.__module__.rpartition(".")[0]
    seen, codes = set(), set()
    waiting = [(work.__module__, work.__qualname__.partition(".")[0])]
    while waiting:
        module, name = place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        for statement in _statements(module).get(name, ()):
            if not isinstance(statement, ast.ImportFrom):
                codes.add(ast.dump(statement))
                waiting += [(module, node.id) for node in ast.walk(statement) if isinstance(node, ast.Name)]
                continue
            names = [alias.name for alias in statement.names if name in (alias.name, alias.asname)]
            if (statement.module or "").startswith(f"{package}."):
                waiting += [(str(statement.module), each) for each in names]
            else:
                codes.add(f"{statement.module} {names} {name}")
    return "".join(sorted(codes))


@functools.cache
def _statements(module: str) -> Mapping[str, Sequence[ast.stmt]]:
    """The statements of a module's top level, without docstrings, by each name they give a meaning to."""
    found: dict[str, list[ast.stmt]] = {}
    for statement in _tree(inspect.getsource(sys.modules[module])).body:
        match statement:
            case ast.Import() | ast.ImportFrom():
                names = {alias.asname or alias.name for alias in statement.names}
            case ast.FunctionDef() | ast.ClassDef():
                names = {statement.name}
            case _:
                used = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
                # An assignment gives a meaning to its targets; what fills a table, to all that it uses.
                names = {node.id for node in used if isinstance(node.ctx, ast.Store)}
                names = names or {node.id for node in used}
        for name in names:
            found.setdefault(name, []).append(statement)
    return found


def _code(source: str) -> str:
    """Return code without comments, docstrings and layout."""
    return ast.dump(_tree(source))


def _tree(source: str) -> ast.Module:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and _is_text(node.body[:1]):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _is_text(body: list[ast.stmt]) -> bool:
    return any(
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for node in body
    )


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
        problem = " ".join(str(error).split()) or "no message"
        return Done(index, problem=f"{type(error).__name__}: {problem}", seconds=time.perf_counter() - begun)
    return Done(index, result, seconds=time.perf_counter() - begun)
