"""From a run's folder, its detector and its data to what a report holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomalae.lazy import front_door

if TYPE_CHECKING:
    from anomalae.reports.collect.runs import compare as compare
    from anomalae.reports.collect.runs import run_report as run_report
    from anomalae.reports.collect.scored import scored_report as scored_report

_HOMES = {
    "compare": "anomalae.reports.collect.runs",
    "run_report": "anomalae.reports.collect.runs",
    "scored_report": "anomalae.reports.collect.scored",
}

__all__ = list(_HOMES)
__getattr__, __dir__ = front_door(__name__, _HOMES)
