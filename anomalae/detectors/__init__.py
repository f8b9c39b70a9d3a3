"""What judges images: networks, their ensemble, nearest neighbours, calibrated verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomalae.lazy import front_door

if TYPE_CHECKING:
    from anomalae.detectors.detector import Detector as Detector
    from anomalae.detectors.judging import judge as judge
    from anomalae.detectors.judging import write_heatmaps as write_heatmaps
    from anomalae.detectors.tabular import TableDetector as TableDetector
    from anomalae.detectors.verifying import Verification as Verification
    from anomalae.detectors.verifying import verify as verify

_HOMES = {
    "Detector": "anomalae.detectors.detector",
    "TableDetector": "anomalae.detectors.tabular",
    "Verification": "anomalae.detectors.verifying",
    "verify": "anomalae.detectors.verifying",
    "judge": "anomalae.detectors.judging",
    "write_heatmaps": "anomalae.detectors.judging",
}

__all__ = list(_HOMES)
__getattr__, __dir__ = front_door(__name__, _HOMES)
