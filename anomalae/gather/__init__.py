"""From a run's folder, its detector and its data to what a report holds."""

from anomalae.gather.runs import compare, run_report
from anomalae.gather.scored import scored_report

__all__ = ["compare", "run_report", "scored_report"]
