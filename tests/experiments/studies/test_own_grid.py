"""Cells of a grid of one's own: baselines do not see what judges them."""

from __future__ import annotations

import numpy as np
import pytest

from anomalae.experiments.baselines.registry import BaselineDetector
from anomalae.experiments.studies import own_grid
from anomalae.experiments.studies.trained import Problem, judge


@pytest.mark.parametrize("label", ["knn", "pca (fair)"])
def test_a_baseline_is_fitted_on_training_images_alone(digits, label):
    task = Problem(digits, (8,), 0)
    numbers = own_grid.measure(digits, {"normal": [8], "seed": 0, "baseline": label}).numbers
    apart = BaselineDetector(label, 0).fit(task.train)
    assert numbers == judge(apart.score(task.judged.images), task.is_anomaly)
    together = BaselineDetector(label, 0).fit(np.concatenate([task.train, task.held_out]))
    assert numbers != judge(together.score(task.judged.images), task.is_anomaly)
