"""Works side by side, each once a round: what one costs in that of another, and how far rounds differ."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anomalae import Detector
from anomalae.datasets.dataset import OneClassSplit
from anomalae.network_kinds import MODELS, Kind
from anomalae.settings import PRESETS, Settings

Work = Callable[[], Any]
SHARE = "%"


@dataclass(frozen=True)
class Task:
    """What is measured with: images of one normal class, and how often.

    split: whose training, validation and calibration images are fitted on.
    some: images of all classes to score, of the training part: nothing here depends on how well anybody does.
    seed: of everything that is fitted.
    threads: of everything that computes.
    rounds: of each section; None leaves it to the section.
    quick: few images, small networks, one round: to see that everything runs.
    """

    split: OneClassSplit
    some: np.ndarray = field(repr=False)
    seed: int = 0
    threads: int = 1
    rounds: int | None = None
    quick: bool = False

    @property
    def parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Training, validation and calibration images."""
        return self.split.train.images, self.split.validation.images, self.split.calibration.images

    @property
    def for_pyod(self) -> np.ndarray:
        """Training and validation images: PyOD has no use for others."""
        return np.concatenate(self.parts[:2])

    def images(self, count: int) -> np.ndarray:
        """So many images of all classes, uint8 (N, 28, 28); a few where it is quick."""
        return np.resize(self.some, (16 if self.quick else count, 28, 28))

    def times(self, usual: int) -> int:
        """How many rounds a section has that usually has so many."""
        return self.rounds or (1 if self.quick else usual)

    def kinds(self) -> dict[str, dict[str, Any]]:
        """Settings by name: what is had without a preset, by either model, and the presets."""
        kinds = {"default": {}, "vae": {"model": "vae"}, **PRESETS}
        if not self.quick:
            return kinds
        return {name: {**kind, **_quick(MODELS[Settings.of(**kind).model])} for name, kind in kinds.items()}

    def detector(self, **settings: Any) -> Detector:
        """A detector that is not fitted yet."""
        return Detector(device="cpu", threads=self.threads, **{"seed": self.seed, **settings})


@dataclass(frozen=True)
class Row:
    """One figure of the table, less being better but for shares.

    name: what was measured; `A / B` is A's cost in that of B.
    unit: of the figure.
    values: a figure a round.
    note: what else is worth knowing.
    """

    section: str
    name: str
    unit: str
    values: Sequence[float] = field(repr=False)
    note: str = ""

    @property
    def median(self) -> float:
        """The figure that counts."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float | None:
        """Half of what least and greatest round differ by, in the median; None of a single round."""
        if len(self.values) < 2:
            return None
        return (max(self.values) - min(self.values)) / 2 / abs(self.median) if self.median else 0.0


def cpu_seconds() -> float:
    """CPU time of this process, all threads, and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def interleaved(
    works: Mapping[str, Work],
    rounds: int,
    clock: Callable[[], float] = cpu_seconds,
    on_done: Callable[[str, float], None] = lambda name, seconds: None,
) -> dict[str, list[float]]:
    """Do each work once a round, every other round in the opposite order; returns the seconds of each, a round each.

    What is set up on first use is not left out: whoever wants that does each work once before.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds):
        order = list(works) if number % 2 == 0 else list(works)[::-1]
        for name in order:
            begun = clock()
            works[name]()
            seconds[name].append(clock() - begun)
            on_done(name, seconds[name][-1])
    return seconds


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """What one cost in that of another, round by round."""
    return [a / b for a, b in zip(above, below, strict=True)]


def scaled(seconds: Sequence[float], count: float) -> list[float]:
    """Microseconds of each of `count` things that were done in so many seconds."""
    return [1e6 * s / count for s in seconds]


def least(seconds: Mapping[str, Sequence[float]]) -> str:
    """Name of the work that took the least, by medians."""
    return min(seconds, key=lambda name: statistics.median(seconds[name]))


def _quick(kind: Kind) -> dict[str, Any]:
    """Settings of a small network that is hardly trained."""
    small = {"epochs": 1, "hidden": (32,), "latent_dim": 4}
    return small | {"samples": 1} if "samples" in kind.own else small
