"""Detectors of folds, each trained without the normal images of its own: together one ensemble with one score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from anomalae.datasets.splits import fold_slices
from anomalae.detectors.ensemble import Arrays, Ensemble, comparable, standard_of
from anomalae.errors import ConfigError
from anomalae.evaluation.cross_conformal import calibration_positions, positions


def share_sizes(part: Ensemble, first: Ensemble) -> None:
    """Let the networks of a fold compute in blocks of the sizes found for those of the first, which are alike."""
    for mine, other in zip(part.networks, first.networks, strict=True):
        mine.block_sizes = other.block_sizes


class FoldEnsemble(Ensemble):
    """The ensembles of all folds; its members are all of theirs, fold by fold.

    Its score is the position of an image among the normal ones; see `anomalae.evaluation.cross_conformal`.

    parts: an ensemble a fold.
    calibration: scores of the normal images by rule, float64 (n,) each, ordered by fold, an image's by the part that
        was trained without it.
    """

    def __init__(self, parts: Sequence[Ensemble]) -> None:
        """Take the parts, before or after they have their standards; `calibrate` follows."""
        self.parts, self.calibration = tuple(parts), Arrays()
        super().__init__([member for part in parts for member in part.members])
        for part in parts[1:]:
            share_sizes(part, parts[0])

    def calibrate(self, calibration: Arrays, standards: Arrays | None = None) -> None:
        """Take what every position follows from.

        calibration: see the class.
        standards: of all members by rule, float64 (M, 2); None leaves the parts those they have. Of parts with a single
            member there are none.
        """
        self.calibration = calibration
        if standards:
            shares = {rule: np.split(array, len(self.parts)) for rule, array in standards.items()}
            for place, part in enumerate(self.parts):
                part.standards = {rule: arrays[place] for rule, arrays in shares.items()}
        self.standards = {
            rule: np.concatenate([part.standards[rule] for part in self.parts])
            for rule in self.parts[0].standards
        }

    @property
    def n_calibration(self) -> int:
        """Number of normal images, all of which calibrate."""
        return len(next(iter(self.calibration.values())))

    @property
    def calibration_scores(self) -> Arrays:
        """What positions are set against, by rule, float64 (n,): 1, 2, ... n."""
        return dict.fromkeys(self.calibration, calibration_positions(self.n_calibration))

    @property
    def names(self) -> list[str]:
        """The members' names, in their order: `fold 1 settled` and so on."""
        return [f"fold {k} {name}" for k, part in enumerate(self.parts, 1) for name in part.names]

    @property
    def single(self) -> bool:
        """Whether parts have one member each, whose scores are as they are."""
        return len(self.members) == len(self.parts)

    def combine(self, rule: str, scores: np.ndarray, names: Sequence[str] | None = None) -> np.ndarray:
        """Positions, float64 (N,), of the scores of all members (M, N). ConfigError for those of some of them."""
        return positions(self.by_fold(rule, scores), self.held_out(rule), self.smooth(rule, scores))

    def smooth(self, rule: str, scores: np.ndarray) -> np.ndarray:
        """The mean of the folds' scores (see `Ensemble.smooth`), in deviations from the usual one of normal images."""
        usual, spread = self.usual(rule)
        return np.asarray((self._scaled(rule, self.by_fold(rule, scores)).mean(0) - usual) / spread)

    def usual(self, rule: str) -> tuple[float, float]:
        """Mean and standard deviation of the normal images' scores, of errors that of logarithms."""
        mean, spread = standard_of(self._scaled(rule, self.calibration[rule]))
        return float(mean), float(spread)

    def by_fold(self, rule: str, scores: np.ndarray) -> np.ndarray:
        """Scores (K, N) by the networks of each fold, of those of all members (M, N). ConfigError for some of them."""
        if len(scores) != len(self.members):
            raise ConfigError(f"scores of {len(scores)} members: folds need those of all {len(self.members)}")
        split = np.split(scores, len(self.parts))
        return np.stack([part.combine(rule, some) for part, some in zip(self.parts, split, strict=True)])

    def held_out(self, rule: str) -> list[np.ndarray]:
        """Scores of each fold's normal images by its own networks, which did not see them, float64."""
        known = self.calibration[rule]
        return [known[fold] for fold in fold_slices(len(known), len(self.parts))]

    def _scaled(self, rule: str, scores: np.ndarray) -> np.ndarray:
        # Scores of several members are comparable already.
        return comparable(rule, scores) if self.single else scores

    def shares(self, rule: str) -> np.ndarray:
        """What each member's heatmap is multiplied by: theirs are the means of the folds' heatmaps."""
        return np.concatenate([part.shares(rule) for part in self.parts]) / len(self.parts)

    def sums(self, rule: str, scores: Mapping[str, np.ndarray]) -> np.ndarray:
        """What the absolute terms of a heatmap sum to for the normal images, float64 (n,), by the part of each.

        Positions do not tell it, so `scores` are not looked at.
        """
        known = self.calibration
        folds = fold_slices(self.n_calibration, len(self.parts))
        return np.concatenate(
            [
                part.sums(rule, {name: array[fold] for name, array in known.items()})
                for part, fold in zip(self.parts, folds, strict=True)
            ]
        )
