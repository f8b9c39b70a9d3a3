"""How far scores agree: rank correlations of the same images, and of two ways of judging over all problems."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from anomalae.experiments.kept_cells import Outcome
from anomalae.experiments.studies.base import mean

# A loss and the score that judges.
Way = tuple[str, str]


def agreement(some: np.ndarray, others: np.ndarray) -> float | None:
    """Return Spearman's rank correlation of two scores of the same images; None where one is constant.

    >>> agreement(np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0]))
    0.5
    """
    ranks = [rankdata(values) for values in (some, others)]
    first, second = (values - values.mean() for values in ranks)
    length = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / length if length else None


def agreements(outcomes: Sequence[Outcome]) -> dict[tuple[Way, Way], float | None]:
    """Rank correlations of all pairs of a loss and a score on unseen normal images: means over classes and seeds."""
    problems: dict[str, dict[Way, np.ndarray]] = {}
    for outcome in outcomes:
        if outcome.result is not None:
            asked = outcome.cell.arguments
            ranked = problems.setdefault(f"{asked['normal']} {asked['seed']}", {})
            for name, ranks in outcome.result.arrays.items():
                if name.startswith("ranks "):
                    ranked[asked["loss"], name.removeprefix("ranks ")] = ranks
    ways = list(dict.fromkeys(way for ranked in problems.values() for way in ranked))
    found: dict[tuple[Way, Way], float | None] = {}
    for pair in itertools.product(ways, ways):
        values = [
            agreement(*(ranked[way] for way in pair))
            for ranked in problems.values()
            if all(way in ranked for way in pair)
        ]
        found[pair] = mean(values)
    return found
