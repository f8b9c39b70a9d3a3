"""Grids of one's own: baselines do not see what judges them, and means are compared over the same trainings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anomalae import load_dataset
from anomalae.experiments.baselines.registry import BaselineDetector
from anomalae.experiments.studies import own_grid
from anomalae.experiments.studies.trained import Problem, judge
from tests.experiments.studies.made_up import outcome


@pytest.mark.parametrize("label", ["knn", "pca (fair)"])
def test_a_baseline_is_fitted_on_training_images_alone(digits, label):
    task = Problem(digits, (8,), 0)
    numbers = own_grid.measure(digits, {"normal": [8], "seed": 0, "baseline": label}).numbers
    apart = BaselineDetector(label, 0).fit(task.train)
    assert numbers == judge(apart.score(task.judged.images), task.is_anomaly)
    together = BaselineDetector(label, 0).fit(np.concatenate([task.train, task.held_out]))
    assert numbers != judge(together.score(task.judged.images), task.is_anomaly)


def grid(values: dict[tuple[float, int, int], float | None], *axes: str, **more: list[Any]):
    """A grid of noise, and outcomes by noise, normal class and seed; None is a training that failed."""
    noise = list(dict.fromkeys(value for value, *_ in values))
    classes, seeds = (sorted({key[at] for key in values}) for at in (1, 2))
    parsed = {"noise": noise, **more}
    digits = load_dataset("digits")
    study = own_grid.own_study(parsed, {}, [(digits, (name,)) for name in classes], seeds)
    outcomes = [
        outcome(
            {"normal": [name], "seed": seed, "axes": {**dict.fromkeys(axes, f"{name}"), "noise": value}},
            None if auc is None else {"roc_auc": auc},
        )
        for (value, name, seed), auc in values.items()
    ]
    return study, study.rows(outcomes), outcomes


EASY = {(0.0, 8, 0): 0.9, (0.0, 2, 0): 0.8, (1.0, 8, 0): 0.88, (1.0, 2, 0): 0.78}


def test_means_over_fewer_trainings_are_not_compared():
    study, table, _ = grid(EASY)
    assert study.answer(table)[0] == (
        "The highest mean ROC-AUC, 0.8500, has noise 0.0; the lowest, 0.8300, noise 1.0."
    )
    # Without the harder class the mean of noise 1 is higher.
    study, table, _ = grid({**EASY, (1.0, 2, 0): None})
    assert table[1]["roc_auc"] > table[0]["roc_auc"]
    assert study.answer(table) == (
        "noise 0.0 has a mean ROC-AUC of 0.8500.",
        "Not compared, as trainings are missing that others have: noise 1.0 (1 of 2).",
    )
    study, table, _ = grid({**EASY, (1.0, 2, 0): None, (3.0, 8, 0): 0.7, (3.0, 2, 0): 0.7})
    assert study.answer(table)[0].endswith("has noise 0.0; the lowest, 0.7000, noise 3.0.")
    assert study.answer(table)[-1].startswith("Not compared")
    # What failed everywhere is missing for none.
    study, table, _ = grid({**EASY, (0.0, 2, 0): None, (1.0, 2, 0): None})
    assert "Not compared" not in " ".join(study.answer(table))


def test_classes_with_rows_of_their_own_are_compared():
    study, table, _ = grid(EASY, "normal", normal=[(8,), (2,)])
    assert len(table) == 4
    assert study.answer(table)[0].startswith("The highest mean ROC-AUC, 0.9000, has normal 8, noise 0.0;")


def test_the_spread_over_seeds_is_within_a_class():
    values = {
        (noise, name, seed): name / 10 + seed / 100
        for noise in (0.0, 1.0)
        for name in (8, 2)
        for seed in (0, 1)
    }
    _, table, _ = grid(values)
    assert [row["seed_sd"] for row in table] == pytest.approx([np.std([0, 0.01], ddof=1)] * 2)
    assert grid(EASY)[1][0]["seed_sd"] is None


@pytest.mark.parametrize(("noises", "joined"), [((0.0, 1.0), False), ((0.0, 1.0, 2.0), True)])
def test_two_values_are_points_with_bars_and_more_a_line_with_a_band(noises, joined):
    values = {(noise, 8, seed): 0.9 + seed / 100 + noise / 50 for noise in noises for seed in (0, 1)}
    study, table, outcomes = grid(values)
    (drawing,) = study.drawings(table, outcomes)
    (axes,) = drawing.figure.axes
    assert list(axes.get_xticks()) == list(noises)
    assert [label.get_text() for label in axes.get_xticklabels()] == [f"{noise:g}" for noise in noises]
    line = axes.lines[0]
    assert (line.get_linestyle() not in ("None", "none")) == joined
    np.testing.assert_allclose(line.get_ydata(), [0.905 + noise / 50 for noise in noises])
    # Bars or band reach a standard deviation up and down.
    ends = np.concatenate([path.vertices[:, 1] for path in axes.collections[0].get_paths()])
    assert ends.min() == pytest.approx(0.905 - table[0]["seed_sd"])
    assert ("band is" if joined else "bars are") in drawing.caption
    single = {key: value for key, value in values.items() if key[2] == 0}
    study, table, outcomes = grid(single)
    assert study.drawings(table, outcomes)[0].caption == "Mean over classes and seeds."


def test_names_have_bars_with_the_spread():
    study, table, outcomes = grid({(0.0, 8, seed): 0.9 + seed / 100 for seed in (0, 1)}, baseline=["knn"])
    knn = [
        outcome({"normal": [8], "seed": seed, "axes": {}, "baseline": "knn"}, {"roc_auc": 0.8})
        for seed in (0, 1)
    ]
    table = study.rows([*outcomes, *knn])
    (drawing,) = study.drawings(table, outcomes)
    (axes,) = drawing.figure.axes
    assert [patch.get_width() for patch in axes.patches] == pytest.approx([0.905, 0.8])
    assert "one standard deviation over the seeds of a class" in drawing.caption
    assert study.answer(table)[0].endswith("the lowest, 0.8000, knn.")
