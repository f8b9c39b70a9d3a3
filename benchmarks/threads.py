"""What a default training costs by two threads, in what it costs by one, while other processes keep the machine busy.

    python benchmarks/threads.py          # --normal 2 --rounds 3 --busy 2 --images 3000 --data-dir DIR

Each training is a process of its own, by one thread, by two, and by two that spin while they wait
(as they do where nobody says OMP_WAIT_POLICY), in turn. Prints CPU and wall seconds of the whole process, medians, and
the share of the two threads' CPU in that of one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from anomalae import load_dataset

# By name: threads, and what they do while they wait.
WAYS = {"one": (1, "PASSIVE"), "two": (2, "PASSIVE"), "two that spin": (2, "ACTIVE")}
FIT = """
import sys, numpy
from anomalae import Detector
images = numpy.load(sys.argv[1])
Detector(threads=int(sys.argv[2])).fit(images)
"""


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """Let so many processes compute beside the block."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def training(images: Path, threads: int, waiting: str) -> tuple[float, float]:
    """Return CPU and wall seconds of a process that trains by the defaults."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", FIT, str(images), str(threads)],
        check=True,
        env={**os.environ, "OMP_WAIT_POLICY": waiting},
    )
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def measure(
    images: np.ndarray, *, rounds: int = 3, processes: int = 2, ways: Sequence[str] = tuple(WAYS)
) -> dict[str, Any]:
    """Train in turn, and return medians of `cpu` and `wall` seconds by way, and CPU in that of one thread.

    images: normal ones, as `Detector.fit` takes them.
    rounds: how often.
    processes: that keep the machine busy meanwhile.
    ways: of WAYS; the first is what the others are measured against.
    """
    seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder, busy(processes):
        path = Path(folder) / "images.npy"
        np.save(path, images)
        for _ in range(rounds):
            for way in ways:
                seconds[way].append(training(path, *WAYS[way]))
    cpu = {way: median(one[0] for one in of_way) for way, of_way in seconds.items()}
    wall = {way: median(one[1] for one in of_way) for way, of_way in seconds.items()}
    ratios = {
        way: median(one[0] / first[0] for one, first in zip(seconds[way], seconds[ways[0]], strict=True))
        for way in ways
    }
    return {"cpu": cpu, "wall": wall, "cpu_ratio": ratios, "busy": processes, "rounds": rounds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--normal", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", type=int, default=2, help="processes beside the training")
    parser.add_argument("--images", type=int, default=3000, help="images to train on")
    parser.add_argument("--ways", default=",".join(WAYS), help=f"of {', '.join(WAYS)}")
    parser.add_argument("--data-dir")
    given = parser.parse_args()
    split = load_dataset("mnist", given.data_dir).one_class(normal=[given.normal], seed=0)
    images = split.train.images[: given.images]
    ways = tuple(given.ways.split(","))
    print(json.dumps(measure(images, rounds=given.rounds, processes=given.busy, ways=ways), indent=2))


if __name__ == "__main__":
    main()
