"""Start-up: commands that train nothing, and `import anomalae`, beside `import torch`; a process each."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial

from timing.rounds import Row, Task, Work, cpu_seconds, ratios

SECTION = "start-up"
ROUNDS = 5
TORCH = "import torch"
# How many threads each of the libraries that compute may have.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
COMMANDS = {
    TORCH: ["-c", "import torch"],
    "import anomalae": ["-c", "import anomalae"],
    "anomalae --version": ["-m", "anomalae", "--version"],
    "anomalae train --help": ["-m", "anomalae", "train", "--help"],
}


def measure(task: Task) -> list[Row]:
    """Rows of CPU time and wall clock, of each and in those of `import torch`."""
    works: dict[str, Work] = {
        name: partial(_run, arguments, task.threads) for name, arguments in COMMANDS.items()
    }
    # Into the disk's cache, and compiled.
    for work in [] if task.quick else works.values():
        work()
    cpu: dict[str, list[float]] = {name: [] for name in works}
    wall: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(task.times(ROUNDS)):
        for name, work in works.items():
            before, begun = cpu_seconds(), time.perf_counter()
            work()
            wall[name].append(time.perf_counter() - begun)
            cpu[name].append(cpu_seconds() - before)
    rows = []
    for kind, seconds in {"CPU": cpu, "wall": wall}.items():
        rows += [Row(SECTION, f"{name}, {kind}", "s", seconds[name]) for name in works]
        rows += [
            Row(SECTION, f"{name} / {TORCH}, {kind}", "times", ratios(seconds[name], seconds[TORCH]))
            for name in works
            if name != TORCH
        ]
    return rows


def _run(arguments: list[str], threads: int) -> None:
    surroundings = os.environ | dict.fromkeys(THREADS, str(threads)) | {"OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=surroundings, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {done.stderr.strip().splitlines()[-1:]}")
