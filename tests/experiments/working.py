"""What the cells of tests do; of a module, so that other processes find it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anomalae.datasets.dataset import Dataset
from anomalae.experiments.cells import Result
from anomalae.experiments.studies.trained import problem


def train(dataset: Dataset, arguments: Mapping[str, Any]) -> Result:
    """Train a small network. The first process that does the cell dies where `dies` names a file that is not there."""
    marker = arguments.get("dies")
    if marker and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    task = problem(dataset, arguments)
    detector = task.fit({"hidden": (16,), "epochs": 2, "latent_dim": arguments.get("width", 4)})
    scores = detector.score(task.judged.images[:50])
    numbers = {"score": float(scores.sum()), "threads": torch.get_num_threads()}
    return Result(numbers, {"scores": scores})


def count(dataset: Dataset, arguments: Mapping[str, Any]) -> Result:
    """Count images, and how often the cell was done."""
    log = Path(arguments["log"])
    with log.open("a") as file:
        file.write(f"{arguments['normal']}\n")
    if arguments.get("fails") and log.read_text().count(str(arguments["normal"])) <= arguments["fails"]:
        raise ValueError("not yet\nand on another line")
    return Result({"n": int((dataset.train.labels == arguments["normal"]).sum())}, {"n": np.ones(2)})


def die(dataset: Dataset, arguments: Mapping[str, Any]) -> Result:
    """End the process, whatever it is, or an `other` one; once a file is there, where `after` names one."""
    if arguments["normal"] == 1:
        until = time.monotonic() + 600
        while not Path(arguments.get("after", ".")).exists() and time.monotonic() < until:
            time.sleep(0.05)
        os.kill(arguments.get("other", os.getpid()), signal.SIGKILL)
    return Result({"n": arguments["normal"]})


def name_process(dataset: Dataset, arguments: Mapping[str, Any]) -> Result:
    """Write which process does the cell."""
    Path(arguments["file"]).write_text(str(os.getpid()))
    return Result({})


def give(dataset: Dataset, arguments: Mapping[str, Any]) -> Any:
    """Return what cannot be kept."""
    numbers = {"nan": float("nan"), "inf": [1, {"x": float("inf")}], "scalar": np.float32(1)}
    arrays = {
        "texts": np.array(["one", "a"]),
        "objects": np.array([None]),
        "long": np.ones(2, np.clongdouble),
        "list": [1.0],
        "holes": np.array([1.0, np.nan]),
    }
    gives = arguments["gives"]
    if gives == "nothing":
        return None
    return Result({"n": numbers.get(gives, 1)}, {"a": arrays.get(gives, np.ones(2))})
