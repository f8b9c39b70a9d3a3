"""Cells done once and kept: each is written as soon as it is done, and a grid that was killed goes on where it was."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from anomalae import files
from anomalae.errors import BundleError
from anomalae.experiments.cells import Cell, Done, Result
from anomalae.experiments.executors import Executor, run_twice
from anomalae.experiments.revision import differences

NUMBERS, ARRAYS = ".json", ".safetensors"
# More than any cell takes: thirty years.
MOST_SECONDS = 1e9


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a cell.

    result: None where it failed, twice.
    problem: a line that says why.
    kept: whether it was there already.
    seconds: that it took, by the wall clock, when it was done.
    """

    cell: Cell
    result: Result | None
    problem: str = ""
    kept: bool = False
    seconds: float = 0.0


@dataclass
class Progress:
    """How far a grid is.

    total: number of cells.
    kept: of those that were there already.
    done, failed: of those that were done now, and of those that failed for good.
    running: under way, as far as that is known.
    seconds_left: estimated; None before the first cell is done.
    last: the outcome that this is told for; None where a cell begins.
    """

    total: int
    kept: int = 0
    done: int = 0
    failed: int = 0
    running: int = 0
    seconds_left: float | None = None
    last: Outcome | None = None

    @property
    def left(self) -> int:
        """Cells that are not done."""
        return self.total - self.kept - self.done - self.failed


@dataclass
class Shelf:
    """The folder in which cells are kept, by their keys.

    folder: made when the first is written.
    """

    folder: Path
    _kept: dict[str, dict[str, Any]] | None = field(default=None, repr=False)
    _broken: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def kept(self) -> dict[str, dict[str, Any]]:
        """What is written of each cell that is there, by its key. A file that is broken counts as not there."""
        if self._kept is None:
            self._kept = {}
            for path in sorted(self.folder.glob(f"*{NUMBERS}")):
                try:
                    written = files.read_json(path)
                    if not _is_cell(written):
                        raise BundleError(
                            f"{path}: not what is written of a cell, or another than was written"
                        )
                except BundleError as error:
                    self._broken[path.stem] = str(error)
                else:
                    self._kept[path.stem] = written
        return self._kept

    def make(self) -> None:
        """Make the folder, if it is not there. BundleError where it cannot."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BundleError(f"{self.folder}: cannot be written: {error.strerror}") from None

    def take(self, cell: Cell) -> Outcome | None:
        """Return what is kept of a cell; None where it is not there, whole and sound."""
        found = self._found(cell)
        return found if isinstance(found, Outcome) else None

    def broken(self, cells: Sequence[Cell]) -> list[str]:
        """Return a line for each of these cells that is there but not whole and sound, so that it is done again."""
        return [found for cell in cells if isinstance(found := self._found(cell), str)]

    def _found(self, cell: Cell) -> Outcome | str | None:
        """What is kept of a cell, or a line that says in what it is broken; None where it is not there."""
        written = self.kept.get(cell.key)
        if written is None:
            return self._broken.get(cell.key)
        path = self.folder / f"{cell.key}{NUMBERS}"
        if written["spec"] != cell.spec:
            return f"{path}: is of another cell"
        arrays: dict[str, np.ndarray] = {}
        if written["arrays"] or written.get("arrays_sha256"):
            path = path.with_name(f"{cell.key}{ARRAYS}")
            try:
                if files.sha256(path) != written.get("arrays_sha256"):
                    return f"{path}: its arrays are not those that were written"
                arrays = files.read_arrays(path)[0]
            except BundleError as error:
                return str(error)
        return Outcome(cell, Result(written["numbers"], arrays), kept=True, seconds=written["seconds"])

    def put(self, cell: Cell, done: Done) -> None:
        """Write a cell's result, arrays first: a cell is there when its numbers are. BundleError where it cannot."""
        if done.result is None:
            return
        self.make()
        arrays = dict(done.result.arrays)
        content = files.arrays_bytes(arrays) if arrays else b""
        if arrays:
            files.write_bytes(self.folder / f"{cell.key}{ARRAYS}", content)
        written = {
            "spec": cell.spec,
            "numbers": dict(done.result.numbers),
            "arrays": sorted(arrays),
            "arrays_sha256": hashlib.sha256(content).hexdigest() if arrays else "",
            "seconds": round(done.seconds, 3),
            "sha256": _digest(json.loads(json.dumps(dict(done.result.numbers)))),
        }
        files.write_json(self.folder / f"{cell.key}{NUMBERS}", written)
        self.kept[cell.key] = written

    def others(self, cells: Sequence[Cell]) -> dict[str, int]:
        """Return how many kept cells are these but for data, code or versions, by what differs; see `differences`.

        They stay where they are.
        """
        keys, wanted = {cell.key for cell in cells}, {_asked(cell.spec): cell.spec for cell in cells}
        others = [written["spec"] for key, written in self.kept.items() if key not in keys]
        counts = Counter(differences(spec, wanted[_asked(spec)]) for spec in others if _asked(spec) in wanted)
        return {words: count for words, count in counts.items() if words}

    def estimate(self, cells: Sequence[Cell]) -> tuple[int, float | None]:
        """Return how many of these are not there, and the seconds they would take one after another.

        A cell is taken to need as long as the median of those kept of the same work and data with most of its
        arguments; None where no cell of its work was ever done here on its data.
        """
        missing = [cell for cell in cells if self.take(cell) is None]
        total = 0.0
        for cell in missing:
            alike = [
                (_shared(written["spec"]["arguments"], cell.spec["arguments"]), written["seconds"])
                for written in self.kept.values()
                if all(written["spec"].get(key) == cell.spec[key] for key in ("work", "data"))
            ]
            if not alike:
                return len(missing), None
            most = max(shared for shared, _ in alike)
            total += median(seconds for shared, seconds in alike if shared == most)
        return len(missing), total


def _is_cell(written: Any) -> bool:
    """Tell whether this is what is written of a cell, its numbers as they were."""
    kinds = {"spec": dict, "numbers": dict, "arrays": list, "seconds": float}
    if not isinstance(written, dict) or not all(isinstance(written.get(key), kinds[key]) for key in kinds):
        return False
    return (
        0 <= written["seconds"] <= MOST_SECONDS
        and isinstance(written["spec"].get("arguments"), dict)
        and written.get("sha256") == _digest(written["numbers"])
    )


def _digest(numbers: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(dict(numbers), sort_keys=True).encode()).hexdigest()


def _asked(spec: Mapping[str, Any]) -> str:
    return json.dumps([spec.get(key) for key in ("work", "threads", "arguments")], sort_keys=True)


def _shared(some: Any, others: Any) -> int:
    """Return how many values two JSON-able things have in common."""
    if isinstance(some, dict) and isinstance(others, dict):
        return sum(_shared(some[key], others[key]) for key in some if key in others)
    return int(some == others)


def do_all(
    cells: Sequence[Cell],
    shelf: Shelf,
    executor: Executor,
    on_change: Callable[[Progress], None] = lambda progress: None,
) -> list[Outcome]:
    """Do the cells that are not kept yet, and keep each as soon as it is done.

    A cell that fails is done once more, at the end, alone; one that fails again is a row with its problem, and is done
    again when the grid is.

    cells: none twice.
    on_change: called when a cell begins or ends, always with the same object; by any thread, one call at a time.

    Returns the outcomes in the order of the cells. Raises BundleError where nothing can be written.
    """
    outcomes: dict[str, Outcome] = {}
    progress = Progress(len({cell.key for cell in cells}))
    begun_at = time.monotonic()
    # Executors say that a task begins from any thread, joblib from one of its own.
    changing = threading.Lock()

    def tell(outcome: Outcome | None) -> None:
        progress.last = outcome
        if progress.done:
            progress.seconds_left = (time.monotonic() - begun_at) / progress.done * progress.left
        on_change(progress)

    for cell in cells:
        there = None if cell.key in outcomes else shelf.take(cell)
        if there is not None:
            outcomes[cell.key] = there
            progress.kept += 1
            tell(there)

    handed_out: set[int] = set()

    def count(index: int, begins: bool) -> None:
        (handed_out.add if begins else handed_out.discard)(index)
        # One that waits in front of a process is handed out too.
        progress.running = min(len(handed_out), executor.jobs)

    def begin(index: int) -> None:
        with changing:
            count(index, True)
            tell(None)

    def failed(index: int) -> None:
        with changing:
            count(index, False)

    waiting = list({cell.key: cell for cell in cells if cell.key not in outcomes}.values())
    for done in run_twice(executor, waiting, begin, failed) if waiting else ():
        cell = waiting[done.index]
        shelf.put(cell, done)
        outcomes[cell.key] = Outcome(cell, done.result, done.problem, seconds=done.seconds)
        with changing:
            count(done.index, False)
            progress.done += done.result is not None
            progress.failed += done.result is None
            tell(outcomes[cell.key])
    return [outcomes[cell.key] for cell in cells]
