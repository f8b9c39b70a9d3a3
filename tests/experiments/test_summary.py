"""The table of a grid against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest

from anomalae.datasets.load import Dataset
from anomalae.evaluation.conformal import false_alarm_band
from anomalae.evaluation.intervals import mean_auc_interval
from anomalae.experiments.grid import Grid
from anomalae.experiments.summary import spread, summarise
from anomalae.settings import Settings

AUC = {(0, 0): 0.9, (8, 0): 0.7, (0, 1): 0.8, (8, 1): 0.8}  # by class and seed


def cell(chosen: int, seed: int) -> dict:
    numbers = {"roc_auc": AUC[chosen, seed], "false_alarm_rate": 0.05, "detection_rate": 0.5}
    counts = {"n_normal": 50, "n_anomalous": 450}
    return {
        "normal": chosen, "seed": seed, "n_train": 100, "n_calibration": 40, "seconds": 1.0 + seed,
        "scores": {"bent": {**numbers, **counts}, "mse": {**numbers, **counts, "roc_auc": 0.6}},
        "members": {"pixels": AUC[chosen, seed] - 0.1},
    }  # fmt: skip


def test_the_table_is_what_the_cells_sum_to(digits: Dataset):
    grid = Grid(digits, (0, 8), (0, 1), Settings(), alpha=0.1)
    cells = [cell(chosen, seed) for chosen, seed in AUC]
    labels = digits.test.labels
    scores = {(c, s): np.random.default_rng([c, s]).normal(size=labels.size) + (labels != c) for c, s in AUC}
    table = summarise(grid, cells, [{"bent": scores[key], "mse": scores[key]} for key in AUC])
    assert [row["normal"] for row in table["rows"]] == [0, 8]
    assert table["rows"][1]["roc_auc"]["bent"]["values"] == [0.7, 0.8]
    assert table["rows"][0]["roc_auc"]["bent"]["mean"] == pytest.approx(0.85)
    assert table["rows"][0]["false_alarm_band"] == list(false_alarm_band(40, 50, 0.1))
    assert table["rows"][0]["seconds"]["values"] == [1.0, 2.0]
    assert table["mean"]["bent"]["values"] == pytest.approx([0.8, 0.8])
    assert table["mean"]["bent"]["sd"] == pytest.approx(0)
    assert table["members"]["pixels"]["values"] == pytest.approx([0.7, 0.7])
    assert table["worst"] == pytest.approx(0.75)
    assert "--alpha 0.1" in table["command"]
    anomalous = np.stack([labels != chosen for chosen, _ in AUC])
    expected = mean_auc_interval(np.stack([scores[key] for key in AUC]), anomalous, labels)
    assert table["mean"]["bent"]["interval"] == list(expected)


def test_development_images_have_no_interval_in_common(digits: Dataset):
    grid = Grid(digits, (0, 8), (0, 1), Settings(), part="development")
    table = summarise(grid, [cell(*key) for key in AUC], [{}] * len(AUC))
    assert table["mean"]["bent"]["interval"] is None


def test_what_hangs_on_a_cell_that_failed_is_not_there(digits: Dataset):
    grid = Grid(digits, (0, 8), (0, 1), Settings())
    cells = [{"normal": 8, "seed": 1} if key == (8, 1) else cell(*key) for key in AUC]
    table = summarise(grid, cells, [{}] * len(AUC))
    assert table["rows"][1]["roc_auc"]["bent"] == {"mean": None, "sd": None, "values": [0.7, None]}
    assert table["rows"][1]["n_train"] == 100
    assert table["rows"][0]["roc_auc"]["bent"]["mean"] == pytest.approx(0.85)
    assert table["mean"]["bent"] == {
        "mean": None,
        "sd": None,
        "values": [pytest.approx(0.8), None],
        "interval": None,
    }
    assert table["worst"] is None


def test_a_missing_value_leaves_no_mean():
    assert spread([0.5]) == {"mean": 0.5, "sd": None, "values": [0.5]}
    assert spread([0.5, None]) == {"mean": None, "sd": None, "values": [0.5, None]}
