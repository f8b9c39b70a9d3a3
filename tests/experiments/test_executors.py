"""Executors: the same bits by this process, joblib and Dask though workers die; each death costs its own cell alone."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from anomalae import load_dataset
from anomalae.cli.console import said
from anomalae.errors import AnomalaeError, ConfigError
from anomalae.experiments.cells import Cell, Source
from anomalae.experiments.executors import make_executor
from anomalae.experiments.executors.here import Here
from anomalae.experiments.executors.processes import IDLE
from anomalae.experiments.kept_cells import Shelf, do_all
from tests.experiments import working


@pytest.fixture(scope="module")
def source():
    return Source.of(load_dataset("digits"))


def trainings(source, marker):
    """Cells the second of which kills its first process, unless it has died before."""
    return [
        Cell(
            working.train,
            {"normal": [n], "seed": 0, "width": 2 + n, "dies": str(marker) if n == 1 else None},
            source,
        )
        for n in range(3)
    ]


@pytest.fixture(scope="module")
def by_this_process(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("here")
    (folder / "dead").touch()
    return do_all(trainings(source, folder / "dead"), Shelf(folder), Here())


def assert_same(outcomes, expected):
    for outcome, other in zip(outcomes, expected, strict=True):
        assert outcome.result is not None, outcome.problem
        assert outcome.result.numbers == other.result.numbers
        assert outcome.result.numbers["threads"] == 1
        np.testing.assert_array_equal(outcome.result.arrays["scores"], other.result.arrays["scores"])


# --- processes of this machine ---


@pytest.fixture(scope="module")
def by_joblib(source, tmp_path_factory):
    """What two processes make of the trainings, of a cell that kills whatever does it, and of one that does not.

    Starting processes takes most of the time: one run for all that is asked of them.
    """
    folder = tmp_path_factory.mktemp("joblib")
    dead = folder / "dead"
    # Dies after the training that dies, so that the processes are started anew once.
    deadly = [Cell(working.die, {"normal": n, "after": str(dead)}, source) for n in (1, 2)]
    cells = [*trainings(source, dead)[::-1], *deadly]
    cells.sort(key=lambda cell: cell.arguments["normal"] not in ([1], 1))
    inside, together, threads = [], [], set()

    def change(progress):
        inside.append(None)
        together.append(len(inside))
        threads.add(threading.get_ident())
        time.sleep(0.05)
        inside.pop()

    executor = make_executor(2)
    try:
        outcomes = do_all(cells, Shelf(folder / "cells"), executor, change)
    finally:
        executor.close()
    assert dead.exists()
    return {
        "trained": sorted(
            (outcome for outcome in outcomes if outcome.cell.work is working.train),
            key=lambda outcome: outcome.cell.arguments["normal"],
        ),
        "deadly": [outcome for outcome in outcomes if outcome.cell.work is working.die],
        "together": max(together),
        "threads": len(threads),
    }


def test_joblib_gives_the_same_bits_though_a_worker_dies(by_joblib, by_this_process):
    assert_same(by_joblib["trained"], by_this_process)


def test_a_dying_process_costs_its_own_cell_alone(by_joblib):
    dies, lives = by_joblib["deadly"]
    assert (dies.result, dies.problem) == (None, "its process died")
    assert lives.result.numbers == {"n": 2}


def test_progress_is_told_by_one_thread_at_a_time(by_joblib):
    """Joblib hands cells out in a thread of its own, while this one tells of those that are done."""
    assert by_joblib["threads"] > 1
    assert by_joblib["together"] == 1


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


# --- a Dask cluster ---


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler and two workers with a thread each, every one a process; the scheduler's address and process."""
    distributed = pytest.importorskip("distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    folder = tmp_path_factory.mktemp("dask")
    common = ["--no-dashboard", "--host", "127.0.0.1"]
    calls = [["dask_scheduler", "--port", str(port), "--idle-timeout", "300s", *common]]
    calls += 2 * [
        ["dask_worker", address, "--no-nanny", "--nthreads", "1", "--local-directory", str(folder), *common]
    ]
    with (folder / "log").open("w") as log:
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{name}", *words],
                stdout=log,
                stderr=log,
            )
            for name, *words in calls
        ]
    try:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.1)
        with distributed.Client(address, timeout=120, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=120)
        yield address, processes[0]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_dask_gives_the_same_bits_though_a_worker_dies(source, tmp_path, by_this_process, cluster):
    executor = make_executor(1, "dask", cluster[0])
    try:
        assert executor.jobs == 2
        cells = trainings(source, tmp_path / "dead")
        assert_same(do_all(cells, Shelf(tmp_path / "dask"), executor), by_this_process)
        assert (tmp_path / "dead").exists()
        assert executor.jobs == 1
    finally:
        executor.close()


def test_a_scheduler_that_dies_in_the_middle_is_said_in_a_line_and_what_was_done_is_kept(
    source, tmp_path, cluster, capfd
):
    address, process = cluster
    executor = make_executor(1, "dask", address)
    first, last = (Cell(working.die, {"normal": n, "other": process.pid}, source) for n in (0, 1))
    shelf = Shelf(tmp_path / "cells")
    line = f"scheduler {address}: is gone in the middle of the work"
    try:
        assert do_all([first], shelf, executor)[0].result is not None
        for _ in range(2):
            # Afterwards too, as where a search asks for its next trials.
            with pytest.raises(AnomalaeError) as caught:
                do_all([first, last], shelf, executor)
            assert (
                said(caught.value)
                == f"{line}; start one, and the same command goes on; what was done is kept"
            )
        with pytest.raises(AnomalaeError, match=line):
            list(executor.in_order(abs, [1]))
    finally:
        executor.close()
    assert Shelf(shelf.folder).take(first) is not None
    assert process.wait() == -9
    assert capfd.readouterr() == ("", "")


# --- what cannot be ---


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


def test_a_scheduler_that_does_not_answer(monkeypatch):
    pytest.importorskip("distributed")
    from anomalae.experiments.executors import cluster

    monkeypatch.setattr(cluster, "PATIENCE", 1)
    with pytest.raises(ConfigError, match=r"scheduler tcp://127.0.0.1:9: does not answer within 1 s"):
        make_executor(1, "dask", "tcp://127.0.0.1:9")
