"""The number of threads governs everything that computes, here and in what we start, while it is asked."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from anomalae import Detector
from anomalae.detectors.tabular import TableDetector
from anomalae.errors import ConfigError
from anomalae.experiments.baselines import trials
from anomalae.threads import limited, of_process, variables
from tests.cli import ok

NUMBERS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def counts() -> dict[str, int]:
    """The threads of every library that is loaded, and of PyTorch."""
    return {row["filepath"]: row["num_threads"] for row in threadpool_info()} | {
        "torch": torch.get_num_threads()
    }


def test_everything_that_is_loaded_is_limited_and_put_back():
    numba = pytest.importorskip("numba")
    # Asking starts numba's threads, and that sets OpenMP's number.
    started = numba.get_num_threads()
    before = counts(), started
    with limited(1):
        assert set(counts().values()) == {1}
        assert numba.get_num_threads() == 1
        with limited(2):
            assert set(counts().values()) == {2}
            assert numba.get_num_threads() == min(2, before[1])
        assert set(counts().values()) == {1}
        with limited(None):
            assert set(counts().values()) == {1}
    assert (counts(), numba.get_num_threads()) == before
    with pytest.raises(ZeroDivisionError), limited(2):
        raise ZeroDivisionError
    assert (counts(), numba.get_num_threads()) == before


def test_python_threads_do_not_undo_each_other():
    """They begin and end in turn, not one in the other."""
    before, told = counts(), []
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))

    def first() -> None:
        with limited(2):
            first_is_in.set()
            second_is_in.wait(60)
            told.append(torch.get_num_threads())
        first_is_out.set()

    def second() -> None:
        first_is_in.wait(60)
        with limited(1):
            second_is_in.set()
            first_is_out.wait(60)
            told.append(torch.get_num_threads())

    several = [threading.Thread(target=first), threading.Thread(target=second)]
    for thread in several:
        thread.start()
    for thread in several:
        thread.join(60)
    assert told == [2, 1]
    assert counts() == before


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "1"])
def test_numbers_are_checked(threads):
    for block in (limited, of_process):
        with pytest.raises(ConfigError, match=r"threads .*: must be a whole number"), block(threads):
            pass


def test_the_environment_is_that_of_before(monkeypatch):
    for name in ("OMP_WAIT_POLICY", *NUMBERS):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    with of_process(2):
        assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
        assert os.environ["OMP_NUM_THREADS"] == "2"
        with of_process(None):
            assert os.environ["OMP_NUM_THREADS"] == "2"
    assert dict(os.environ) == before
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert variables(None) == {"OMP_WAIT_POLICY": "ACTIVE"}


def test_processes_that_we_start_compute_by_as_many():
    told = trials._environment(3)
    assert {told[name] for name in NUMBERS} == {"3"}
    assert told["OMP_WAIT_POLICY"] == "PASSIVE"


COMMAND = """
import os, sys
from anomalae.cli import main
from anomalae.cli.commands import generate
def told(self, *args, **options):
    import numpy, scipy.linalg, torch
    from threadpoolctl import threadpool_info
    counts = {row["num_threads"] for row in threadpool_info()} | {torch.get_num_threads()}
    print(loaded, counts, os.environ["OMP_WAIT_POLICY"], os.environ["NUMBA_NUM_THREADS"])
loaded = "torch" in sys.modules
generate.command.callback = lambda **options: told(None)
main(["generate", "--threads", "1", "--output", "digits.png"])
"""


def test_the_command_line_sets_them_before_anything_is_loaded():
    """Of a process of its own: how threads wait is read when PyTorch is imported."""
    clean = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", *NUMBERS)}
    done = subprocess.run([sys.executable, "-c", COMMAND], capture_output=True, text=True, env=clean)
    assert done.stdout == "False {1} PASSIVE 1\n", done.stderr


def test_a_command_leaves_the_process_as_it_was(small, tmp_path, images):
    small.save(tmp_path / "runs" / "zeros")
    before = counts(), dict(os.environ)
    ok("plot", "--help")
    ok(
        "train",
        "--dataset",
        "digits",
        "--normal",
        "0",
        "--epochs",
        "1",
        "--hidden",
        "8",
        "--threads",
        "2",
        "--quiet",
    )
    assert (counts(), dict(os.environ)) == before
    assert Detector.load("runs/digits-0-ae").environment.threads == 2


def test_a_detector_computes_by_its_number_and_leaves_the_process_alone(digits, images):
    split, before, seen = digits.one_class(normal=[0], seed=0), counts(), []
    parts = split.train.images, split.validation.images, split.calibration.images
    look = lambda *_: seen.append(set(counts().values()))  # noqa: E731
    detector = Detector(hidden=(16,), epochs=1, threads=2).fit(*parts, on_epoch=look)
    detector.score(images, on_scored=look)
    assert seen == [{2}, {2}]
    assert detector.environment.threads == 2
    TableDetector(threads=2, epochs=1).fit(np.random.default_rng(0).normal(size=(30, 3)))
    assert counts() == before


@pytest.mark.parametrize(
    ("settings", "usual"),
    [
        ({}, 1),
        ({"model": "vae"}, 1),
        ({"neighbours": 2}, None),
        ({"architecture": "conv"}, None),
        ({"threads": 4}, 4),
    ],
    ids=str,
)
def test_the_usual_number_is_that_of_the_work(settings, usual):
    assert Detector(**settings).threads_used == usual


def test_the_same_seed_and_threads_give_the_same_bits(digits, images):
    split = digits.one_class(normal=[0], seed=0)
    parts = split.train.images, split.validation.images, split.calibration.images
    for threads in (1, 2):
        first, second = (
            Detector(hidden=(64, 32), epochs=2, threads=threads, neighbours=2).fit(*parts) for _ in range(2)
        )
        assert [line.loss for line in first.history] == [line.loss for line in second.history]
        for rule, scores in first.score_all(images).items():
            np.testing.assert_array_equal(second.score_all(images)[rule], scores)
