"""Cells: known by all that decides their numbers, done once, kept at once, the same bits wherever they are done."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from anomalae import load_dataset
from anomalae.datasets.dataset import make_dataset
from anomalae.errors import DataError
from anomalae.experiments import cells as module
from anomalae.experiments.cells import Cell, Result, Source, attempt
from anomalae.experiments.executors.here import Here
from anomalae.experiments.kept_cells import Shelf, do_all
from tests.experiments import working


@pytest.fixture(scope="module")
def source():
    return Source.of(load_dataset("digits"))


def counting(source, tmp_path, normal=0, **more):
    return Cell(working.count, {"normal": normal, "log": str(tmp_path / "log"), **more}, source)


def test_a_key_is_of_all_that_decides_the_numbers(source, tmp_path):
    cell = Cell(working.train, {"normal": [0], "seed": 0}, source)
    others = [
        Cell(working.count, {"normal": [0], "seed": 0}, source),
        Cell(working.train, {"normal": [0], "seed": 1}, source),
        Cell(working.train, {"normal": [0], "seed": 0}, source, threads=2),
        Cell(working.train, {"normal": [0], "seed": 0}, replace(source, hashes={"train": "a", "test": "b"})),
    ]
    assert len({cell.key, *(other.key for other in others)}) == 5
    assert cell.key == Cell(working.train, {"seed": 0, "normal": (0,)}, source).key
    assert cell.key == Cell(working.train, {"normal": [0], "seed": 0}, replace(source, root="elsewhere")).key


def test_a_cell_is_done_once_and_kept_at_once(source, tmp_path):
    cells = [counting(source, tmp_path, normal) for normal in (0, 1)]
    shelf = Shelf(tmp_path / "cells")
    there = []
    outcomes = do_all(
        cells,
        shelf,
        Here(),
        lambda p: there.append((p.done, p.running, len(list(shelf.folder.glob("*.json"))))),
    )
    assert [outcome.result.numbers["n"] for outcome in outcomes] == [125, 127]
    # Begun, done and kept, begun, done and kept.
    assert there == [(0, 1, 0), (1, 0, 1), (1, 1, 1), (2, 0, 2)]
    again = do_all(cells, Shelf(tmp_path / "cells"), Here())
    assert all(outcome.kept for outcome in again)
    np.testing.assert_array_equal(again[0].result.arrays["n"], np.ones(2))
    assert (tmp_path / "log").read_text() == "0\n1\n"


def test_a_grid_that_is_killed_keeps_what_was_done(tmp_path):
    code = f"""
from anomalae import load_dataset
from anomalae.experiments.cells import Cell, Source
from anomalae.experiments.executors.here import Here
from anomalae.experiments.executors.processes import IDLE
from anomalae.experiments.kept_cells import Shelf, do_all
from pathlib import Path
from tests.experiments import working
source = Source.of(load_dataset("digits"))
cells = [Cell(working.die, {{"normal": n}}, source) for n in (0, 1, 2)]
do_all(cells, Shelf(Path({str(tmp_path)!r})), Here())
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert len(list(tmp_path.glob("*.json"))) == 1
    assert not list(tmp_path.glob(".*"))


def test_a_cell_that_fails_is_tried_once_more_then_a_row_says_why(source, tmp_path):
    once, twice = (counting(source, tmp_path, n, fails=n) for n in (1, 2))
    outcomes = do_all([twice, once], Shelf(tmp_path / "cells"), Here())
    assert outcomes[1].result is not None
    assert outcomes[0].result is None
    assert outcomes[0].problem == "ValueError: not yet and on another line"
    assert not outcomes[0].kept
    assert (tmp_path / "log").read_text().split() == ["2", "1", "2", "1"]
    # Nothing is kept of it, so it is tried again.
    assert do_all([twice], Shelf(tmp_path / "cells"), Here())[0].result is not None


@pytest.mark.parametrize(
    ("gives", "why"),
    [
        ("nan", "number 'n' cannot be kept: ValueError: Out of range float values are not JSON compliant"),
        ("inf", "number 'n' cannot be kept: ValueError: Out of range float values are not JSON compliant"),
        ("scalar", "number 'n' cannot be kept: TypeError: Object of type float32 is not JSON serializable"),
        ("texts", "array 'a' cannot be kept: <U3, no array of numbers"),
        ("objects", "array 'a' cannot be kept: object, no array of numbers"),
        ("long", f"array 'a' cannot be kept: {np.dtype(np.clongdouble)}, no array of numbers"),
        ("list", "array 'a' cannot be kept: list, no array of numbers"),
        ("holes", "array 'a' cannot be kept: 1 values are not finite"),
        ("nothing", "gave a NoneType, no result"),
    ],
)
def test_a_result_that_cannot_be_kept_is_a_failure_of_its_cell_alone(source, tmp_path, gives, why):
    bad, good = Cell(working.give, {"gives": gives}, source), counting(source, tmp_path)
    folder = tmp_path / "cells"
    outcomes = do_all([bad, good], Shelf(folder), Here())
    assert outcomes[0].result is None
    assert outcomes[0].problem.startswith(why)
    assert outcomes[1].result.numbers["n"] == 125
    assert [path.stem for path in folder.glob("*.json")] == [good.key]


def test_progress_adds_up(source, tmp_path):
    cells = [counting(source, tmp_path, n, fails=2 * (n == 2)) for n in (0, 1, 2)]
    do_all(cells[:1], Shelf(tmp_path / "cells"), Here())
    told = []
    do_all(cells, Shelf(tmp_path / "cells"), Here(), lambda p: told.append(replace(p)))
    assert (told[0].kept, told[0].left, told[0].seconds_left) == (1, 2, None)
    assert (told[-1].done, told[-1].failed, told[-1].left, told[-1].running) == (1, 1, 0, 0)
    assert told[-1].seconds_left == 0
    assert told[2].seconds_left > 0


def test_several_threads_load_a_data_set_once(tmp_path):
    """A worker of a cluster has several: each cell gets its data, whichever was put out meanwhile."""
    rng, sources = np.random.default_rng(0), []
    for n in range(module.MOST_LOADED + 2):
        path = tmp_path / f"{n}.npz"
        np.savez(path, images=rng.integers(0, 255, (10, 28, 28), np.uint8), labels=np.arange(10) % 2)
        sources.append(Source.of(load_dataset(str(path))))
    module._loaded.clear()
    ready = threading.Barrier(8)

    def load(_):
        ready.wait()
        return sources[0].load()

    with ThreadPoolExecutor(8) as pool:
        assert len({id(dataset) for dataset in pool.map(load, range(8))}) == 1
        mixed = [sources[n % len(sources)] for n in range(60)]
        for source, dataset in zip(mixed, pool.map(Source.load, mixed), strict=True):
            assert dataset.provenance["sha256"] == dict(source.hashes)
    assert len(module._loaded) <= module.MOST_LOADED


def test_data_that_changed_meanwhile_are_refused(source):
    other = replace(source, hashes={"train": "a", "test": "b"})
    with pytest.raises(DataError, match="has changed since the grid was made"):
        other.load()
    done = attempt(0, Cell(working.train, {"normal": [0], "seed": 0}, other))
    assert done.problem.startswith("DataError: data set digits: has changed")


def test_a_data_set_of_arrays_is_sent_along():
    dataset = load_dataset("digits")
    made = make_dataset("made", dataset.train, dataset.test, dataset.classes, None, False)
    assert Source.of(made).held is made
    assert Source.of(dataset).held is None


def test_a_result_needs_no_arrays():
    assert Result({"n": 1}).arrays == {}
