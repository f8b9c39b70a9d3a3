"""Cells: known by all that decides their numbers, done once, kept at once, the same bits wherever they are done."""

from __future__ import annotations

import importlib
import json
import linecache
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anomalae import load_dataset
from anomalae.datasets.dataset import Part, make_dataset
from anomalae.errors import BundleError, ConfigError, DataError
from anomalae.experiments import cells as module
from anomalae.experiments.cells import Cell, Result, Source, attempt, revision
from anomalae.experiments.executors import make_executor
from anomalae.experiments.executors.here import Here
from anomalae.experiments.executors.processes import IDLE
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


def test_a_revision_follows_the_code_and_not_its_comments(monkeypatch):
    code = 'def f():\n    """Old."""\n    return 1  # why\n'
    same = 'def f():\n\n    """New, in other words."""\n    return (1)\n'
    assert module._code(code) == module._code(same) != module._code(code.replace("1", "2"))
    before = revision(working.train)
    monkeypatch.setattr(module, "_computing", lambda: "changed")
    assert revision(working.train) != before


def test_a_revision_follows_what_the_work_names_and_nothing_else(monkeypatch, tmp_path):
    work = """
from beside.other import unused, used as helper
LIMIT: dict[str, int] = {"most": 3}
WORDS: dict[str, str] = {"a": "b"}
TABLE = {}
def measure(dataset, arguments):
    return Step().do(LIMIT, TABLE)
class Step:
    def do(self, limit, table):
        return helper(limit)
def answer(rows):
    return WORDS
TABLE["entry"] = 1
"""
    other = """
FACTOR = 2
def used(limit):
    return FACTOR
def unused():
    return 0
"""

    def of(work: str, other: str = other) -> str:
        module._statements.cache_clear()
        (tmp_path / "beside" / "work.py").write_text(work)
        (tmp_path / "beside" / "other.py").write_text(other)
        for name in ("beside", "beside.work", "beside.other"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        linecache.clearcache()
        return revision(importlib.import_module("beside.work").measure)

    (tmp_path / "beside").mkdir()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    before = of(work)
    assert of(work) == before
    for old, new in (('"b"', '"c"'), ("return WORDS", "return 0"), ("def answer", "def reply")):
        assert of(work.replace(old, new)) == before, old
    assert of(work, other.replace("return 0", "return 1")) == before
    moved = 'LIMIT: dict[str, int] = {"most": 3}\n'
    assert of(work.replace(moved, "").replace("used as", "LIMIT, used as"), moved + other) == before
    for old, new in (('"most": 3', '"most": 4'), ('"entry"', '"name"'), ("Step().do(", "Step().do(*")):
        assert of(work.replace(old, new)) != before, old
    assert of(work, other.replace("FACTOR = 2", "FACTOR = 3")) != before
    module._statements.cache_clear()


def test_what_trains_and_scores_is_part_of_the_revision():
    package = module.Path(module.anomalae.__file__).parent
    for name in module.COMPUTING_FILES:
        assert (package / f"{name}.py").is_file(), name
    for name in module.COMPUTING_ROOMS:
        assert (package / name / "__init__.py").is_file(), name


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


@pytest.mark.slow
def test_processes_end_when_the_one_that_gave_them_work_is_killed(tmp_path):
    code = f"""
import os, signal
from anomalae import load_dataset
from anomalae.experiments.cells import Cell, Source
from anomalae.experiments.executors import make_executor
from tests.experiments import working
source = Source.of(load_dataset("digits"))
tasks = [Cell(working.name_process, {{"file": {str(tmp_path)!r} + f"/{{n}}"}}, source) for n in range(4)]
for done in make_executor(2).run(tasks, lambda index: None):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    processes = {int(path.read_text()) for path in tmp_path.iterdir()}
    assert processes
    until = time.monotonic() + 6 * IDLE
    while any(Path(f"/proc/{process}").exists() for process in processes) and time.monotonic() < until:
        time.sleep(0.5)
    assert not any(Path(f"/proc/{process}").exists() for process in processes)


def test_what_is_torn_or_of_another_cell_is_done_again(source, tmp_path):
    cells, shelf = [counting(source, tmp_path, n) for n in (0, 1, 2, 3)], Shelf(tmp_path / "cells")
    do_all(cells, shelf, Here())
    numbers = [shelf.folder / f"{cell.key}.json" for cell in cells]
    numbers[0].write_text(numbers[0].read_text()[:40])
    numbers[1].with_suffix(".safetensors").unlink()
    written = json.loads(numbers[2].read_text())
    numbers[2].write_text(json.dumps({**written, "spec": {**written["spec"], "threads": 7}}))
    again = do_all(cells, Shelf(shelf.folder), Here())
    assert [outcome.kept for outcome in again] == [False, False, False, True]
    assert [outcome.result.numbers["n"] for outcome in again] == [125, 127, 124, 128]


@pytest.mark.parametrize(
    "changed",
    [
        {"spec": [1]},
        {"numbers": []},
        {"numbers": {}},
        {"numbers": {"n": float("nan")}},
        {"numbers": {"n": 126}},
        {"seconds": "x"},
        {"spec": {"work": "a"}},
    ],
)
def test_a_file_that_is_no_cell_counts_as_not_there(source, tmp_path, changed):
    cell, shelf = counting(source, tmp_path), Shelf(tmp_path / "cells")
    do_all([cell], shelf, Here())
    path = shelf.folder / f"{cell.key}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    shelf = Shelf(shelf.folder)
    assert shelf.estimate([cell]) == (1, None)
    assert shelf.others([cell]) == {}
    (outcome,) = do_all([cell], shelf, Here())
    assert (outcome.kept, outcome.result.numbers["n"]) == (False, 125)


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


def test_progress_adds_up(source, tmp_path):
    cells = [counting(source, tmp_path, n, fails=2 * (n == 2)) for n in (0, 1, 2)]
    do_all(cells[:1], Shelf(tmp_path / "cells"), Here())
    told = []
    do_all(cells, Shelf(tmp_path / "cells"), Here(), lambda p: told.append(replace(p)))
    assert (told[0].kept, told[0].left, told[0].seconds_left) == (1, 2, None)
    assert (told[-1].done, told[-1].failed, told[-1].left, told[-1].running) == (1, 1, 0, 0)
    assert told[-1].seconds_left == 0
    assert told[2].seconds_left > 0


def test_progress_is_told_by_one_thread_at_a_time(source, tmp_path):
    """Joblib hands cells out in a thread of its own, while this one tells of those that are done."""
    cells = [Cell(working.die, {"normal": 10 + n}, source) for n in range(6)]
    inside, together, threads = [], [], set()

    def change(progress):
        inside.append(None)
        together.append(len(inside))
        threads.add(threading.get_ident())
        time.sleep(0.05)
        inside.pop()

    do_all(cells, Shelf(tmp_path / "cells"), make_executor(2), change)
    assert len(threads) > 1
    assert max(together) == 1


def test_several_threads_load_a_data_set_once(tmp_path):
    """A worker of a cluster has several: each cell gets its data, whichever was put out meanwhile."""
    rng, sources = np.random.default_rng(0), []
    for n in range(module.MOST_LOADED + 2):
        path = tmp_path / f"{n}.npz"
        np.savez(path, images=rng.integers(0, 255, (40, 28, 28), np.uint8), labels=np.arange(40) % 2)
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


def test_cells_of_other_data_stay_and_are_counted(source, tmp_path):
    cell = counting(source, tmp_path)
    dataset = load_dataset("digits")
    fewer = Part(dataset.train.images[:-1], dataset.train.labels[:-1])
    changed = make_dataset("changed", fewer, dataset.test, dataset.classes, None, False)
    other = Cell(cell.work, cell.arguments, Source.of(changed))
    shelf = Shelf(tmp_path / "cells")
    do_all([cell], shelf, Here())
    assert shelf.others([cell]) == {}
    ((said, count),) = shelf.others([other]).items()
    train = [each.source.hashes["train"][:8] for each in (cell, other)]
    assert (said, count) == (f"other data: train part {train[0]}, not {train[1]}", 1)
    assert not do_all([other], shelf, Here())[0].kept
    assert len(list(shelf.folder.glob("*.json"))) == 2


def test_an_estimate_is_made_of_the_most_alike(source, tmp_path):
    shelf = Shelf(tmp_path / "cells")
    small, large = (counting(source, tmp_path, 0, width=width) for width in (1, 9))
    assert shelf.estimate([small]) == (1, None)
    do_all([small, large], shelf, Here())
    for cell, seconds in ((small, 2.0), (large, 30.0)):
        path = shelf.folder / f"{cell.key}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "seconds": seconds}))
    shelf = Shelf(shelf.folder)
    wanted = [counting(source, tmp_path, 1, width=width) for width in (1, 9)]
    assert shelf.estimate([small, *wanted]) == (2, 32.0)


def test_an_estimate_is_made_of_the_same_data_alone(source, tmp_path):
    shelf = Shelf(tmp_path / "cells")
    do_all([counting(source, tmp_path)], shelf, Here())
    other = counting(replace(source, hashes={"train": "a", "test": "b"}), tmp_path, 1)
    assert shelf.estimate([other]) == (1, None)
    assert shelf.estimate([counting(source, tmp_path, 1)])[1] is not None


def test_cells_of_another_version_are_not_taken_and_named_with_what_differs(source, tmp_path, monkeypatch):
    shelf = Shelf(tmp_path / "cells")
    do_all([counting(source, tmp_path)], shelf, Here())
    before = counting(source, tmp_path).spec["versions"]
    assert set(before) == {"anomalae", "torch", "numpy", "scipy", "scikit-learn", "numba", "pyod"}
    for package in ("torch", "scikit-learn"):
        folder = tmp_path / "site" / f"{package.replace('-', '_')}-99.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 99.0\n")
    with monkeypatch.context() as upgraded:
        upgraded.syspath_prepend(tmp_path / "site")
        module._versions.cache_clear()
        cell = counting(source, tmp_path)
        assert shelf.take(cell) is None
        learn = before["scikit-learn"]
        said = f"torch {before['torch']}, not 99.0; scikit-learn {learn}, not 99.0"
        assert shelf.others([cell]) == {said: 1}
    module._versions.cache_clear()
    assert shelf.take(counting(source, tmp_path)) is not None


def test_cells_of_before_versions_were_recorded_are_named(source, tmp_path):
    cell, shelf = counting(source, tmp_path), Shelf(tmp_path / "cells")
    do_all([cell], shelf, Here())
    written = json.loads((shelf.folder / f"{cell.key}.json").read_text())
    old = {key: value for key, value in written["spec"].items() if key not in ("versions", "parts")}
    (shelf.folder / "0123.json").write_text(json.dumps({**written, "spec": {**old, "version": "0.1.0"}}))
    assert Shelf(shelf.folder).others([cell]) == {"versions that are not recorded": 1}


def test_nothing_can_be_written(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="cannot be written"):
        do_all([counting(source, tmp_path)], Shelf(tmp_path / "file" / "cells"), Here())


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


@pytest.mark.parametrize(
    "address", ["nonsense", "", "tcp://", "tcp://host:abc", "http://localhost:1", "inproc://x"]
)
def test_an_address_that_is_none(address):
    pytest.importorskip("distributed")
    with pytest.raises(ConfigError, match=r"must be an address, as in tcp://HOST:8786"):
        make_executor(1, "dask", address)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ((0,), "jobs 0: must be from 1 to 1024"),
        ((2, "slurm"), "backend 'slurm': must be one of joblib, dask"),
        ((1, "dask"), "backend dask: needs a scheduler's address"),
        ((1, "joblib", "tcp://x:1"), "scheduler: needs backend dask"),
    ],
)
def test_an_executor_that_cannot_be(asked, message):
    with pytest.raises(ConfigError, match=message):
        make_executor(*asked)


def test_a_dying_process_costs_its_own_cell_alone(source, tmp_path):
    cells = [Cell(working.die, {"normal": n}, source) for n in (0, 1, 2)]
    outcomes = do_all(cells, Shelf(tmp_path / "cells"), make_executor(2))
    assert [outcome.result and outcome.result.numbers["n"] for outcome in outcomes] == [0, None, 2]
    assert outcomes[1].problem == "its process died"


def trainings(source, tmp_path, name):
    """Cells the second of which kills its first process, unless it has died before."""
    return [
        Cell(
            working.train,
            {"normal": [n], "seed": 0, "width": 2 + n, "dies": str(tmp_path / name) if n == 1 else None},
            source,
        )
        for n in range(3)
    ]


@pytest.fixture
def by_this_process(source, tmp_path):
    (tmp_path / "dead").touch()
    return do_all(trainings(source, tmp_path, "dead"), Shelf(tmp_path / "here"), Here())


def assert_same(outcomes, expected):
    for outcome, other in zip(outcomes, expected, strict=True):
        assert outcome.result is not None, outcome.problem
        assert outcome.result.numbers == other.result.numbers
        assert outcome.result.numbers["threads"] == 1
        np.testing.assert_array_equal(outcome.result.arrays["scores"], other.result.arrays["scores"])


def test_joblib_gives_the_same_bits_though_a_worker_dies(source, tmp_path, by_this_process):
    cells = trainings(source, tmp_path, "dead-of-joblib")
    assert_same(do_all(cells[::-1], Shelf(tmp_path / "joblib"), make_executor(2))[::-1], by_this_process)
    assert (tmp_path / "dead-of-joblib").exists()


def test_dask_gives_the_same_bits_though_a_worker_dies(source, tmp_path, by_this_process):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address=":0",
        silence_logs=60,
        local_directory=str(tmp_path),
    ) as cluster:
        executor = make_executor(1, "dask", cluster.scheduler_address)
        try:
            assert executor.jobs == 2
            cells = trainings(source, tmp_path, "dead-of-dask")
            assert_same(do_all(cells, Shelf(tmp_path / "dask"), executor), by_this_process)
            assert (tmp_path / "dead-of-dask").exists()
        finally:
            executor.close()


def test_a_scheduler_that_does_not_answer(monkeypatch):
    pytest.importorskip("distributed")
    from anomalae.experiments.executors import cluster

    monkeypatch.setattr(cluster, "PATIENCE", 1)
    with pytest.raises(ConfigError, match=r"scheduler tcp://127.0.0.1:9: does not answer within 1 s"):
        make_executor(1, "dask", "tcp://127.0.0.1:9")


def test_a_result_needs_no_arrays():
    assert Result({"n": 1}).arrays == {}
