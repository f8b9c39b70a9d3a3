"""A detector as an ONNX model: made and compared here, and judged by without PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomalae.lazy import front_door

if TYPE_CHECKING:
    from anomalae.detectors.export.comparing import Comparison as Comparison
    from anomalae.detectors.export.comparing import compare as compare
    from anomalae.detectors.export.engine import OnnxDetector as OnnxDetector
    from anomalae.detectors.export.writing import export as export
    from anomalae.detectors.export.writing import exported as exported
    from anomalae.detectors.export.writing import exported_decoder as exported_decoder

_HOMES = {
    "Comparison": "anomalae.detectors.export.comparing",
    "OnnxDetector": "anomalae.detectors.export.engine",
    "compare": "anomalae.detectors.export.comparing",
    "export": "anomalae.detectors.export.writing",
    "exported": "anomalae.detectors.export.writing",
    "exported_decoder": "anomalae.detectors.export.writing",
}

__all__ = list(_HOMES)
__getattr__, __dir__ = front_door(__name__, _HOMES)
