"""A folder that is scored by a Dask cluster."""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalae.errors import ConfigError
from anomalae.experiments.executors.cluster import Cluster
from anomalae.experiments.spread import By, Spread
from anomalae.images.inputs import Reading
from tests.cli import QUICK, fails, ok, run

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and a folder of many digits with a broken file, a page of two pictures and a long array."""
    folder = tmp_path_factory.mktemp("spread")
    before = Path.cwd()
    os.chdir(folder)
    try:
        ok("train", "--normal", "0", *QUICK, "--name", "zeros", "--quiet")
        ok("data", "export", "digits", "images", "--limit", "700", "--quiet")
        Path("images/3/broken.png").write_bytes(b"no picture")
        page = [Image.fromarray(np.full((28, 28), level, np.uint8)) for level in (3, 9)]
        page[0].save("images/pages.tif", save_all=True, append_images=page[1:])
        array = np.random.default_rng(0).integers(0, 256, (600, 28, 28), np.uint8)
        np.save("images/long.npy", array)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[distributed.LocalCluster]:
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address=":0",
        silence_logs=60,
        local_directory=str(tmp_path_factory.mktemp("workers")),
    ) as cluster:
        yield cluster


@pytest.fixture
def cluster(workers, place, monkeypatch):
    monkeypatch.chdir(place)
    return workers


def rows_of(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_same_rows_though_a_worker_is_killed(cluster, tmp_path):
    here, there = str(tmp_path / "here.csv"), str(tmp_path / "there.csv")
    call = ("score", "images", "--run", "zeros", "--threads", "1", "--quiet", "--output")
    assert run(*call, here).exit_code == 4
    first = next(iter(cluster.workers.values()))

    def kill() -> None:
        # As soon as its first rows are there, so that it holds others.
        while not Path(f"{there}.part").exists() or len(Path(f"{there}.part").read_bytes()) < 100:
            time.sleep(0.01)
        os.kill(first.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    result = run(*call, there, "--scheduler", cluster.scheduler_address, "--jobs", "2")
    assert result.exit_code == 4
    assert "--jobs is of processes of this machine" in result.stderr
    killer.join()
    assert Path(there).read_bytes() == Path(here).read_bytes()
    rows = rows_of(there)
    assert len(rows) == len({row["path"] for row in rows}) > 1100
    assert [row["path"] for row in rows if row["error"]] == ["images/3/broken.png"]


def test_a_run_that_is_another_one_where_the_workers_are_is_refused(cluster):
    by = By(str(Path("runs/zeros").absolute()), "of another training", "mse")
    with contextlib.closing(Cluster(cluster.scheduler_address)) as asked:
        spread = Spread(asked, Reading(), by)
        with pytest.raises(
            ConfigError, match=r"a worker failed: .*zeros: is another run than the one that asks"
        ):
            list(spread.read(sorted(Path("images/0").iterdir())))


def test_what_only_this_machine_has_is_refused(place, monkeypatch, tmp_path):
    monkeypatch.chdir(place)
    picture = next(Path("images/0").iterdir()).read_bytes()
    result = run("score", "-", "--run", "zeros", "--scheduler", "tcp://127.0.0.1:9", stdin=picture)
    assert result.exit_code == 2
    assert "a file on standard input is not where the workers are" in result.stderr
    here = ("score", "images", "--run", "zeros", "--output", str(tmp_path / "scores.csv"))
    assert "backend dask: needs a scheduler's address" in fails(2, *here, "--backend", "dask")
    assert "must be an address" in fails(2, *here, "--scheduler", "nowhere")
    # No part of rows is in the way of the next call.
    assert list(tmp_path.iterdir()) == []
