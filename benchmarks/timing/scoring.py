"""Scoring by each preset, beside the bare forward pass of its networks and PyOD's decision functions; where it goes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from anomalae import Detector, Settings
from anomalae.detectors.batches import to_tensor
from anomalae.experiments.baselines.registry import BaselineDetector
from anomalae.models.base import build, networks
from timing.parts import NETWORK, SCORE, VIEW, Stopwatch, timed
from timing.products import PRECISIONS, libraries, multiplied_by
from timing.rounds import SHARE, Row, Task, Work, interleaved, least, ratios, scaled

SECTION = "scoring"
ROUNDS = 5
IMAGES, BLOCK = 2000, 256
PYOD = {"PyOD AutoEncoder": "autoencoder (defaults)", "LOF": "lof", "kNN": "knn"}


def measure(task: Task) -> list[Row]:
    """Rows of scoring 2,000 images; weights of one epoch, which take as long as others."""
    images = task.images(IMAGES)
    kinds = {name: {**asked, "epochs": 1} for name, asked in task.kinds().items()}
    works: dict[str, Work] = {}
    forward: dict[str, dict[str, str]] = {}
    detectors = {name: _fitted(task, asked) for name, asked in kinds.items()}
    for name, detector in detectors.items():
        works[name] = partial(detector.score, images)
        forward[name] = {lib: f"{name}: forward by {lib}" for lib in libraries() if lib in PRECISIONS}
        for library, work in forward[name].items():
            works[work] = _forward(detector.settings, images, library)
    for name, label in PYOD.items():
        works[name] = partial(BaselineDetector(label, task.seed).fit(task.for_pyod).score, images)
    for work in works.values():
        work()
    seconds = interleaved(works, task.times(ROUNDS))
    n = len(images)
    rows = [Row(SECTION, name, "us an image", scaled(seconds[name], n)) for name in [*kinds, *PYOD]]
    for name in kinds:
        taken = {library: seconds[work] for library, work in forward[name].items()}
        best = least(taken)
        note = f"{1e6 * statistics.median(taken[best]) / n:.1f} us an image by {best}"
        passed = ratios(seconds[name], taken[best])
        rows.append(Row(SECTION, f"{name} / its forward pass", "times", passed, note))
        rows += [Row(SECTION, f"{name} / {of}", "times", ratios(seconds[name], seconds[of])) for of in PYOD]
    for name, asked in kinds.items():
        rows += _shares(task, name, Settings.of(**asked), images)
    return rows


def _fitted(task: Task, asked: Mapping[str, Any]) -> Detector:
    return task.detector(**asked).fit(*task.parts)


def _forward(settings: Settings, images: np.ndarray, library: str) -> Callable[[], None]:
    """One reconstruction by each network, in blocks, of images that are tensors already."""
    built = [build(own).eval() for own in networks(settings)]
    blocks = to_tensor(images).split(BLOCK)

    def work() -> None:
        with torch.no_grad(), multiplied_by(library):
            for network in built:
                for block in blocks:
                    network.reconstruct(block)

    return work


def _shares(task: Task, name: str, settings: Settings, images: np.ndarray) -> list[Row]:
    """What view, networks, score and neighbours take of the scoring, in percent; the rest is what is around them.

    Neighbours: by how much less the same detector takes without them.
    """
    watch = Stopwatch()
    whole = _fitted(task, timed(settings, watch))
    alone = None
    if settings.neighbours:
        alone = _fitted(task, {**settings.to_dict(), "neighbours": 0})
    works = {"whole": partial(whole.score, images)}
    if alone is not None:
        works["alone"] = partial(alone.score, images)
    shares: dict[str, list[float]] = {}
    for work in works.values():
        work()
    for _ in range(task.times(ROUNDS)):
        watch.seconds.clear()
        seconds = {part: taken[0] for part, taken in interleaved(works, 1).items()}
        parts = {part: watch.seconds[part] for part in (VIEW, NETWORK, SCORE)}
        if alone is not None:
            parts["neighbours"] = seconds["whole"] - seconds["alone"]
        parts["rest"] = seconds["whole"] - sum(parts.values())
        for part, value in parts.items():
            shares.setdefault(part, []).append(100 * value / seconds["whole"])
    return [Row(SECTION, f"{name}: {part}", SHARE, values) for part, values in shares.items()]
