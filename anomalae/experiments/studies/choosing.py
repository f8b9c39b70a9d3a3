"""Rules that choose settings without an anomaly, how each ranks candidates, and what its choice loses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from anomalae.experiments.studies.base import Row
from anomalae.experiments.studies.synthetic import KINDS

DEFAULT = "default AE"
# Rules by name; all but the first are ROC-AUC of held-out normals against synthetic anomalies.
LOSS, SYNTHETIC = "held-out MSE", "synthetic anomalies"
RULES = (LOSS, SYNTHETIC, *KINDS)
# What a choice without any rule would lose.
ANY, ALWAYS = "drawn at random", "always the default"
# In a table, all problems together.
TOGETHER = "all"


def of_problem(name: str, candidates: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """How each rule ranks the candidates of a problem, and what its choice loses."""
    true = {candidate: numbers["roc_auc"] for candidate, numbers in candidates.items()}
    best = max(true, key=lambda candidate: true[candidate])
    shared: Row = {"normal": name, "problems": 1, "best": best, "best_roc_auc": true[best]}
    made = []
    for rule in RULES:
        values = {
            candidate: numbers[rule] * (-1 if rule == LOSS else 1)
            for candidate, numbers in candidates.items()
        }
        chosen = max(values, key=lambda candidate: values[candidate])
        made.append(
            {
                **shared,
                "rule": rule,
                "spearman": _spearman(list(values.values()), list(true.values())),
                "chosen": chosen,
                "roc_auc": true[chosen],
                "lost": true[best] - true[chosen],
            }
        )
    drawn = float(np.mean(list(true.values())))
    references = {ANY: (None, drawn), **({ALWAYS: (DEFAULT, true[DEFAULT])} if DEFAULT in true else {})}
    for rule, (taken, value) in references.items():
        made.append(
            {
                **shared,
                "rule": rule,
                "spearman": None,
                "chosen": taken,
                "roc_auc": value,
                "lost": true[best] - value,
            }
        )
    return made


def _spearman(values: Sequence[float], true: Sequence[float]) -> float | None:
    """The rank correlation; None where either has no order."""
    if len(values) < 3 or len(set(values)) < 2 or len(set(true)) < 2:
        return None
    return float(spearmanr(values, true).statistic)
