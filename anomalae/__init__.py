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

from typing import TYPE_CHECKING

from anomalae.lazy import front_door
from anomalae.version import __version__

if TYPE_CHECKING:
    from anomalae.datasets.dataset import Dataset as Dataset
    from anomalae.datasets.load import load_dataset as load_dataset
    from anomalae.detectors.detector import Detector as Detector
    from anomalae.errors import AnomalaeError as AnomalaeError
    from anomalae.evaluation.metrics import Evaluation as Evaluation
    from anomalae.evaluation.metrics import evaluate as evaluate
    from anomalae.models.views import View as View
    from anomalae.network_kinds import Kind as Kind
    from anomalae.network_kinds import register_model as register_model
    from anomalae.plugins import register_score as register_score
    from anomalae.plugins import register_view as register_view
    from anomalae.scores.base import Evidence as Evidence
    from anomalae.scores.base import Score as Score
    from anomalae.settings import Settings as Settings

# Loaded on first use, so that `anomalae --help` does not pay for torch and scikit-learn.
_HOMES = {
    "AnomalaeError": "anomalae.errors",
    "Dataset": "anomalae.datasets.dataset",
    "Detector": "anomalae.detectors.detector",
    "Evaluation": "anomalae.evaluation.metrics",
    "Evidence": "anomalae.scores.base",
    "Kind": "anomalae.network_kinds",
    "Score": "anomalae.scores.base",
    "Settings": "anomalae.settings",
    "View": "anomalae.models.views",
    "evaluate": "anomalae.evaluation.metrics",
    "load_dataset": "anomalae.datasets.load",
    "register_model": "anomalae.network_kinds",
    "register_score": "anomalae.plugins",
    "register_view": "anomalae.plugins",
}

__all__ = ["__version__", *_HOMES]
__getattr__, __dir__ = front_door(__name__, _HOMES)
