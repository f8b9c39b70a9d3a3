"""anomalae learns what some handwritten digits look like and tells which other images do not belong.

>>> from anomalae import Detector, evaluate, load_dataset
>>> split = load_dataset("digits").one_class(normal=[0], seed=0)
>>> detector = Detector(epochs=2, hidden=(32,), latent_dim=8).fit(
...     split.train.images, split.validation.images, split.calibration.images
... )
>>> scores = detector.score(split.test.images)  # float64 (N,), higher = more anomalous
>>> scores.shape == split.test.labels.shape
True
>>> evaluation = evaluate(scores, is_anomaly=split.test.labels != 0)
>>> evaluation.n_normal + evaluation.n_anomalous == len(scores)
True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from anomalae.version import __version__

if TYPE_CHECKING:
    from anomalae.config import Settings as Settings
    from anomalae.datasets import Dataset as Dataset
    from anomalae.datasets import load_dataset as load_dataset
    from anomalae.detector import Detector as Detector
    from anomalae.errors import AnomalaeError as AnomalaeError
    from anomalae.evaluation import Evaluation as Evaluation
    from anomalae.evaluation import evaluate as evaluate

# Loaded on first use (PEP 562), so that `anomalae --help` does not pay for torch and scikit-learn.
_HOMES = {
    "AnomalaeError": "errors",
    "Dataset": "datasets",
    "Detector": "detector",
    "Evaluation": "evaluation",
    "Settings": "config",
    "evaluate": "evaluation",
    "load_dataset": "datasets",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'anomalae' has no attribute {name!r}")
    return getattr(importlib.import_module(f"anomalae.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
