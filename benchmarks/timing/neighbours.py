"""Neighbours alone: an image, a pair that is compared, and beside the nearest neighbours of pixels."""

from __future__ import annotations

from functools import partial

from anomalae.detectors.batches import to_tensor
from anomalae.detectors.neighbours import Neighbours
from anomalae.experiments.baselines.registry import BaselineDetector
from anomalae.settings import PRESETS
from timing.rounds import Row, Task, interleaved, ratios, scaled

SECTION = "neighbours"
ROUNDS = 5
IMAGES = 1000
# Where no preset says how many.
COUNT = 5


def measure(task: Task) -> list[Row]:
    """Rows of keeping the training images, and of setting others against them."""
    count = next((preset["neighbours"] for preset in PRESETS.values() if preset.get("neighbours")), COUNT)
    train, images = to_tensor(task.split.train.images), to_tensor(task.images(IMAGES))
    neighbours = Neighbours.fit(train, count)
    knn = BaselineDetector("knn", task.seed).fit(task.split.train.images)
    works = {
        "keeping": partial(Neighbours.fit, train, count),
        "neighbours": partial(neighbours.score, images, ["mse"]),
        "kNN on pixels": partial(knn.score, task.images(IMAGES)),
    }
    for work in works.values():
        work()
    seconds = interleaved(works, task.times(ROUNDS))
    n, kept = len(images), len(train)
    pairs = n * neighbours.candidates
    of = f"{count} neighbours of {kept:,} images kept"
    return [
        Row(SECTION, "keeping a training image", "us an image", scaled(seconds["keeping"], kept), of),
        Row(SECTION, "scoring an image", "us an image", scaled(seconds["neighbours"], n), of),
        Row(SECTION, "scoring, by pairs compared", "us a pair", scaled(seconds["neighbours"], pairs),
            f"{neighbours.candidates} pairs an image; the search for them is in it"),
        Row(SECTION, "scoring / kNN on pixels", "times", ratios(seconds["neighbours"], seconds["kNN on pixels"])),
    ]  # fmt: skip
