"""Trials of a search for settings: each is trained on normal images, and judged on anomalies made of held-out ones.

It is judged before its training ends too, so that one that does worse than others did can be broken off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from anomalae.datasets.dataset import Dataset
from anomalae.detectors.batches import batches, to_tensor
from anomalae.detectors.detector import Detector
from anomalae.detectors.neighbours import Neighbours
from anomalae.detectors.saving import assemble
from anomalae.errors import AnomalaeError
from anomalae.experiments.cells import Result
from anomalae.experiments.studies.synthetic import ALL, told_apart
from anomalae.experiments.studies.trained import Problem, problem
from anomalae.models.training.state import Training
from anomalae.plugins import SCORES
from anomalae.settings import Settings

SETTINGS, PRUNING, VALUE, BY_EPOCH = "settings", "pruning", "value", "by_epoch"
# Shares of the epochs after which a training is judged. Each time costs as much as judging it at its end.
LOOKS = (1 / 8, 1 / 4, 1 / 2)


@dataclass(frozen=True)
class Trial:
    """A trial is settings, and what the rule says of them.

    number: counted from 1.
    settings: those that are not at their default.
    value: mean ROC-AUC of held-out normals against synthetic anomalies over the seeds; None where it was broken off.
    pruned: whether it was broken off, in a training or after a seed, because it was worse than half of the others.
    reached: of one that was broken off, the value at that time.
    problem: why it failed, if it did.
    seconds: that it took.
    """

    number: int
    settings: dict[str, Any]
    value: float | None
    pruned: bool = False
    reached: float | None = None
    problem: str = ""
    seconds: float = 0.0


def winner(trials: Sequence[Trial]) -> Trial:
    """Return the trial with the highest value, the first of several. AnomalaeError where none of `trials` has one."""
    rated = [trial for trial in trials if trial.value is not None]
    if not rated:
        problems = [trial.problem for trial in trials if trial.problem]
        raise AnomalaeError(f"no trial gave a value: {problems[0] if problems else 'all were broken off'}")
    return max(rated, key=lambda trial: trial.value or 0.0)


@dataclass(frozen=True)
class Pruning:
    """By what a training of a trial is broken off.

    before: values of the trial by other seeds.
    best: highest mean value that it had; 0 where it had none.
    bars: what it must have reached, by epoch: as Optuna's MedianPruner, which compares the best so far.
    """

    before: tuple[float, ...] = ()
    best: float = 0.0
    bars: Mapping[int, float] = field(default_factory=dict)

    def mean(self, value: float) -> float:
        """Return the mean of a value and those before it."""
        return float(np.mean([*self.before, value]))

    def hopeless(self, by_epoch: Mapping[int, float]) -> bool:
        """Say whether a training that has these values, the last of them new, is to be broken off."""
        best = max(self.best, *map(self.mean, by_epoch.values()))
        return best < self.bars.get(max(by_epoch), 0.0)


class _BrokenOffError(Exception):
    """Ends a training."""


def look_epochs(epochs: int) -> tuple[int, ...]:
    """Return after which of so many epochs a training is judged, but for the last.

    >>> look_epochs(20), look_epochs(2), look_epochs(1)
    ((3, 5, 10), (1,), ())
    """
    return tuple(sorted({math.ceil(epochs * share) for share in LOOKS} - {epochs}))


def measure(dataset: Dataset, arguments: Mapping[str, Any]) -> Result:
    """Train on normals, and tell held-out ones from anomalies made of them.

    arguments: `normal`, `seed`, `settings`; under `pruning` the fields of a Pruning, or None to train to
        the end without a look.

    Returns `value`, which is None where the training was broken off, and `by_epoch`: pairs of an epoch and the value
    after it.
    """
    task, pruning = problem(dataset, arguments), arguments[PRUNING]
    judge = None if pruning is None else Pruning(**pruning)
    settings = Settings.of(**{**arguments[SETTINGS], "seed": task.seed})
    seen: dict[int, float] = {}

    def look(state: Training) -> None:
        if judge is None or state.epoch not in look_epochs(state.epochs):
            return
        seen[state.epoch] = told_apart(_score_of(state, settings, task), task.held_out, task.seed)[ALL]
        if judge.hopeless(seen):
            raise _BrokenOffError

    detector = Detector(device="cpu", threads=torch.get_num_threads(), **settings.to_dict())
    try:
        detector.fit(task.train, task.held_out, task.calibration, on_epoch=look)
    except _BrokenOffError:
        return Result({VALUE: None, BY_EPOCH: list(seen.items())})
    value = told_apart(detector.score, task.held_out, task.seed)[ALL]
    return Result({VALUE: value, BY_EPOCH: list(seen.items())})


def _score_of(state: Training, settings: Settings, task: Problem) -> Callable[[np.ndarray], np.ndarray]:
    """The score of a training's networks as they are now."""
    rule, images = (settings.rule,), to_tensor(task.train)
    neighbours = None
    if settings.neighbours:
        neighbours = Neighbours.fit(
            images, settings.neighbours, distance=settings.distance, arithmetic=state.arithmetic
        )
    networks = [learner.network for learner in state.learners]
    used = replace(settings, epochs=state.epochs, batch_size=state.schedule.batch_size)
    ensemble = assemble(used, networks, neighbours, state.arithmetic)
    for member in ensemble.networks:
        member.learn(images, [SCORES[settings.rule]])
    if len(ensemble.members) > 1:
        ensemble.standardise_by(ensemble.score_members(batches(task.held_out), rule))
    return lambda some: ensemble.combine(
        settings.rule, ensemble.score_members(batches(some), rule)[settings.rule]
    )


__all__ = ["Pruning", "Trial", "look_epochs", "measure", "winner"]
