"""kill -9 at random moments, in training, saving, benchmark, calibrate: all loads and goes on, nothing is lost.

Each process is a fork of this one, so that fifty of them take no longer than their work. Scoring has its own test, in
`test_score_stream.py`, as its processes cannot be forked so.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from anomalae import Detector
from tests.cli import QUICK, ok, parsed, run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")

# How often each is killed: a fixed part in each call of the tests, all when there is time.
TIMES = [1, pytest.param(50, marks=pytest.mark.slow)]


def quietly(*words: str) -> None:
    result = run(*words)
    assert result.exit_code == 0, result.output


def forked(work: Callable[[], object]) -> int:
    """Start the work in a process of its own, the first of its group, and return its number."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.setsid()
        # Other threads are not forked: OpenMP's would be waited for without end, if tests of before had some.
        torch.set_num_threads(1)
        status = 1
        with contextlib.suppress(BaseException):
            work()
            status = 0
        os._exit(status)
    return child


@dataclass
class Killer:
    """Kills a work at moments drawn from the time that it takes, and counts how often it was still at work then."""

    work: Callable[[], object]
    drawn: random.Random = field(default_factory=lambda: random.Random(0))
    whole: float = 0.0
    ends: int = 0

    def __post_init__(self) -> None:
        """Find out how long the work takes when nobody kills it; twice, as the first time takes longer."""
        self.whole = min(self.once(60.0), self.once(60.0))

    def once(self, after: float) -> float:
        """Begin the work, kill its process after so many seconds, and return how many it was at work."""
        began = time.monotonic()
        child = forked(self.work)
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            seconds = time.monotonic() - began
            if ended:
                break
            if seconds > after:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.001)
        killed = os.WIFSIGNALED(status)
        assert killed or os.WEXITSTATUS(status) == 0
        self.ends += killed
        self.whole = self.whole if killed else min(self.whole or seconds, seconds)
        return seconds

    def kill(self) -> None:
        self.once(self.drawn.uniform(0, self.whole))


TRAINING = ["train", "--normal", "0", *QUICK[:2], "--epochs", "6", "--hidden", "32", "--latent-dim", "8"]


def trained(name: str) -> tuple[bytes, ...]:
    """What a finished run holds that a training decides."""
    folder = Path("runs", name)
    return tuple((folder / file).read_bytes() for file in ("weights.safetensors", "calibration.safetensors"))


@pytest.mark.parametrize("times", TIMES)
def test_training(times: int):
    def step() -> None:
        """What a person would do next."""
        listed = (
            {one["run"]: one["status"] for one in parsed("runs", "--json")} if Path("runs").exists() else {}
        )
        if "r" not in listed:
            quietly(*TRAINING, "--name", "r", "--threads", "1", "--quiet")
        elif listed["r"] != "finished":
            quietly("train", "--resume", "r", "--quiet")

    ok(*TRAINING, "--name", "whole", "--threads", "1", "--quiet")
    shutil.rmtree("runs/r", ignore_errors=True)
    killer = Killer(step)
    for _ in range(times):
        shutil.rmtree("runs/r", ignore_errors=True)
        killer.kill()
        for last in (False, True):
            listed = {one["run"]: one["status"] for one in parsed("runs", "--json")}
            assert listed["whole"] == "finished"
            assert listed.get("r", "absent") in ("absent", "interrupted", "finished")
            if last:
                step()
            else:
                killer.kill()
        assert trained("r") == trained("whole")
        assert run("verify", "r").exit_code == 0
        assert {path.name for path in Path("runs/r").iterdir()} >= {"config.json", "manifest.json"}
    assert times == 1 or killer.ends > times / 4


@pytest.mark.parametrize("times", TIMES)
def test_saving(times: int, small: Detector, digits, images: np.ndarray):
    """The folder holds the one detector or the other, whole."""
    split = digits.one_class(normal=[0], seed=1)
    other = Detector(epochs=1, hidden=(64,), seed=4).fit(split.train.images, conformal="split")
    expected = [detector.score(images) for detector in (small, other)]
    place = Path("there")
    small.save(place)

    def work() -> None:
        for detector in (other, small) * 4:
            detector.save(place)

    seen = set()
    killer = Killer(work)
    for _ in range(times):
        killer.kill()
        scores = Detector.load(place).score(images)
        same = [np.array_equal(scores, one) for one in expected]
        assert sum(same) == 1
        seen.add(same.index(True))
    small.save(place)
    assert {path.name for path in Path().iterdir()} <= {"there"} | {p.name for p in Path().glob(".there*")}
    if times > 10:
        assert seen == {0, 1}


@pytest.mark.parametrize("times", TIMES)
def test_benchmark(times: int):
    words = [
        "benchmark",
        *QUICK[:2],
        "--hidden",
        "32",
        "--epochs",
        "3",
        "--threads",
        "1",
        "--normal",
        "0,1",
        "--quiet",
    ]

    def work() -> None:
        quietly(*words, "--output", "b")

    def table(folder: str) -> list[dict]:
        rows = json.loads(Path(folder, "table.json").read_text())["rows"]
        return [{key: value for key, value in row.items() if "seconds" not in key} for row in rows]

    ok(*words, "--output", "whole")

    def begin() -> None:
        shutil.rmtree("b", ignore_errors=True)
        work()

    killer = Killer(begin)
    for _ in range(times):
        killer.work = begin
        killer.kill()
        killer.work = work
        killer.kill()
        kept = len(list(Path("b/cells").glob("*.json")))
        again = ok(*words[:-1], "--output", "b")
        assert kept <= 2
        assert table("b") == table("whole")
        assert len(list(Path("b/cells").glob("*.json"))) == 2, again.output
    assert times == 1 or killer.ends > times / 4


@pytest.mark.parametrize("times", TIMES)
def test_calibrate(times: int, small: Detector, digits):
    zeros = digits.whole.images[digits.whole.labels == 0]
    np.save("mine.npy", zeros[:60])
    np.save("other.npy", zeros[60:120])
    small.save("runs/small")
    words = ["calibrate", "--run", "small", "--name", "mine", "--quiet"]

    def work() -> None:
        for name in ("other.npy", "mine.npy") * 2:
            quietly(*words, name, "--replace")

    quietly(*words, "mine.npy")
    wanted = {}
    for name in ("mine.npy", "other.npy"):
        quietly(*words, name, "--replace")
        wanted[name] = Detector.load("runs/small").calibrations["mine"].scores["bent"]
    killer = Killer(work)
    for _ in range(times):
        killer.kill()
        detector = Detector.load("runs/small")
        found = detector.calibrations["mine"].scores["bent"]
        assert sum(np.array_equal(found, one) for one in wanted.values()) == 1
        assert run("verify", "small").exit_code == 0
        quietly(*words, "mine.npy", "--replace")
        found = Detector.load("runs/small").calibrations["mine"].scores["bent"]
        np.testing.assert_array_equal(found, wanted["mine.npy"])
    assert times == 1 or killer.ends > times / 4
