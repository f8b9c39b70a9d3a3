"""Numbers from scores: ROC-AUC and its intervals, tests between methods, conformal p-values. Knows no model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomalae.lazy import front_door

if TYPE_CHECKING:
    from anomalae.evaluation.conformal import benjamini_hochberg as benjamini_hochberg
    from anomalae.evaluation.conformal import calibration_warning as calibration_warning
    from anomalae.evaluation.conformal import false_alarm_band as false_alarm_band
    from anomalae.evaluation.conformal import fdr_warning as fdr_warning
    from anomalae.evaluation.conformal import p_values as p_values
    from anomalae.evaluation.conformal import threshold as threshold
    from anomalae.evaluation.delong_covariance import delong_covariance as delong_covariance
    from anomalae.evaluation.drift import Drift as Drift
    from anomalae.evaluation.drift import detect_drift as detect_drift
    from anomalae.evaluation.intervals import bootstrap_interval as bootstrap_interval
    from anomalae.evaluation.intervals import delong_interval as delong_interval
    from anomalae.evaluation.intervals import mean_auc_interval as mean_auc_interval
    from anomalae.evaluation.intervals import roc_band as roc_band
    from anomalae.evaluation.metrics import ClassResult as ClassResult
    from anomalae.evaluation.metrics import Evaluation as Evaluation
    from anomalae.evaluation.metrics import evaluate as evaluate
    from anomalae.evaluation.significance import DelongTest as DelongTest
    from anomalae.evaluation.significance import delong_test as delong_test
    from anomalae.evaluation.significance import holm as holm
    from anomalae.evaluation.two_calibrations import TwoCalibrations as TwoCalibrations
    from anomalae.evaluation.two_calibrations import compare_calibrations as compare_calibrations

_HOMES = {
    "compare_calibrations": "anomalae.evaluation.two_calibrations",
    "TwoCalibrations": "anomalae.evaluation.two_calibrations",
    "ClassResult": "anomalae.evaluation.metrics",
    "DelongTest": "anomalae.evaluation.significance",
    "Drift": "anomalae.evaluation.drift",
    "Evaluation": "anomalae.evaluation.metrics",
    "benjamini_hochberg": "anomalae.evaluation.conformal",
    "bootstrap_interval": "anomalae.evaluation.intervals",
    "calibration_warning": "anomalae.evaluation.conformal",
    "delong_covariance": "anomalae.evaluation.delong_covariance",
    "delong_interval": "anomalae.evaluation.intervals",
    "delong_test": "anomalae.evaluation.significance",
    "detect_drift": "anomalae.evaluation.drift",
    "evaluate": "anomalae.evaluation.metrics",
    "false_alarm_band": "anomalae.evaluation.conformal",
    "fdr_warning": "anomalae.evaluation.conformal",
    "holm": "anomalae.evaluation.significance",
    "mean_auc_interval": "anomalae.evaluation.intervals",
    "p_values": "anomalae.evaluation.conformal",
    "roc_band": "anomalae.evaluation.intervals",
    "threshold": "anomalae.evaluation.conformal",
}

__all__ = list(_HOMES)
__getattr__, __dir__ = front_door(__name__, _HOMES)
