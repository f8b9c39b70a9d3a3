"""Ensembles that tests share, and what is asked of them."""

from __future__ import annotations

import numpy as np
import torch

from anomalae import Detector
from anomalae.plugins import VIEWS
from tests.conftest import SMALL

THREE = {**SMALL, "views": VIEWS.names(), "seed": 3}  # one network a view
NEAR = {**SMALL, "views": ("normalised", "edges"), "neighbours": 5, "seed": 3}


def apart_by(detector: Detector, images: np.ndarray, rule: str) -> np.ndarray:
    """Scores of each member, (M, N)."""
    return np.stack(list(detector.score_members(images)[rule].values()))


def networks_of(detector: Detector, by_member: dict) -> dict:
    """The scores of the networks alone."""
    return {rule: {n: scores[n] for n in detector.network_names} for rule, scores in by_member.items()}


def fitted(split, **settings) -> Detector:
    return Detector(**settings).fit(split.train.images, split.validation.images, split.calibration.images)


def tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images[:, None].astype(np.float32) / 255)
