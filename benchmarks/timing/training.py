"""Training of each preset, beside PyOD's AutoEncoder and the matrix products that no training can do without."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

from anomalae import Settings
from anomalae.experiments.baselines.registry import BaselineDetector
from timing.products import libraries, products, steps
from timing.rounds import Row, Task, Work, interleaved, least, ratios

SECTION = "training"
ROUNDS = 3
PYOD = {"defaults": "autoencoder (defaults)", "fair": "autoencoder (fair)"}
# Steps of the floor that are measured; what all take is made of them.
FLOOR_STEPS = 20


def measure(task: Task) -> list[Row]:
    """Rows of fitting: networks, neighbours and calibration, in CPU seconds, PyOD's time and the floor's."""
    train, count = len(task.split.train.images), 2 if task.quick else FLOOR_STEPS
    works: dict[str, Work] = {}
    floors: dict[str, dict[str, str]] = {}
    scales: dict[str, float] = {}
    for name, asked in task.kinds().items():
        works[name] = partial(_fit, task, asked)
        settings = Settings.of(**asked)
        schedule = settings.schedule(train)
        made = products(settings, schedule.batch_size)
        floors[name] = {library: f"{name}: products by {library}" for library in libraries()}
        for library, work in floors[name].items():
            works[work] = steps(library, made, count)
        # Of the last batch of an epoch only the images that it has.
        scales[name] = schedule.epochs * train / schedule.batch_size / count
    for name, label in PYOD.items():
        works[f"PyOD, {name}"] = partial(_fit_pyod, task, label)
    for name in task.kinds():
        for work in floors[name].values():
            works[work]()
    # What is set up on first use is nobody's training.
    few = task.split.train.images[:64]
    for asked in task.kinds().values():
        task.detector(**{**asked, "epochs": 1}).fit(few)
    BaselineDetector(PYOD["defaults"]).fit(few)
    seconds = interleaved(works, task.times(ROUNDS), on_done=_tell)
    fits = [*task.kinds(), *(f"PyOD, {pyod}" for pyod in PYOD)]
    rows = [Row(SECTION, name, "CPU s", seconds[name]) for name in fits]
    for name in task.kinds():
        rows += [
            Row(SECTION, f"{name} / PyOD, {pyod}", "times", ratios(seconds[name], seconds[f"PyOD, {pyod}"]))
            for pyod in PYOD
        ]
        taken = {library: seconds[work] for library, work in floors[name].items()}
        best = least(taken)
        floor = [scales[name] * value for value in taken[best]]
        note = f"{statistics.median(floor):.2f} CPU s by {best}"
        rows.append(Row(SECTION, f"{name} / its products alone", "times", ratios(seconds[name], floor), note))
    return rows


def _fit(task: Task, asked: dict[str, Any]) -> None:
    task.detector(**asked).fit(*task.parts)


def _fit_pyod(task: Task, label: str) -> None:
    BaselineDetector(label, task.seed).fit(task.for_pyod)


def _tell(name: str, seconds: float) -> None:
    if "products" not in name:
        print(f"  {name}: {seconds:.2f} CPU s", flush=True)
