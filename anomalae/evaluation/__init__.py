"""Numbers from scores: ROC-AUC and its intervals, tests between methods, conformal p-values. Knows no model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomalae.lazy import front_door

if TYPE_CHECKING:
    from anomalae.evaluation.metrics import ClassResult as ClassResult
    from anomalae.evaluation.metrics import Evaluation as Evaluation
    from anomalae.evaluation.metrics import evaluate as evaluate

_HOMES = {
    "ClassResult": "anomalae.evaluation.metrics",
    "Evaluation": "anomalae.evaluation.metrics",
    "evaluate": "anomalae.evaluation.metrics",
}

__all__ = list(_HOMES)
__getattr__, __dir__ = front_door(__name__, _HOMES)
