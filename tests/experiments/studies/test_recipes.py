"""Methods and problems that several studies share."""

from __future__ import annotations

import pytest

from anomalae.detectors.detector import Detector
from anomalae.experiments.baselines.registry import BaselineDetector
from anomalae.experiments.studies import recipes
from anomalae.experiments.studies.trained import Problem
from tests.experiments.studies.made_up import other_names


def test_wanted_classes_that_are_there_are_normal_in_turn(digits):
    assert recipes.normal_classes(digits, (8, 11, 2), False) == [[8], [2]]


def test_a_data_set_of_other_names_has_its_own_classes(digits):
    assert recipes.normal_classes(other_names(digits), (8, 2), False) == [["bag"], ["coat"]]


def test_half_the_classes_are_normal_where_it_should_be_quick(digits):
    assert recipes.normal_classes(digits, (8,), True) == [[0, 1, 2, 3, 4]]
    assert recipes.normal_classes(other_names(digits), (8,), True) == [["bag"]]


def test_methods_are_settings_or_baselines():
    assert recipes.method_arguments("knn", True) == {"method": "knn", "baseline": "knn"}
    assert recipes.method_arguments("textbook AE", False)["settings"] == {
        "views": ("pixels",),
        "noise": 0.0,
        "score": "mse",
    }
    assert recipes.method_arguments("accurate preset", True)["settings"] == {"neighbours": 8, "hidden": (64,)}


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"baseline": "knn"}, BaselineDetector),
        ({"settings": {"hidden": (8,), "epochs": 1, "views": ("pixels",)}}, Detector),
    ],
)
def test_what_is_named_is_fitted_on_the_images(digits, arguments, kind):
    task = Problem(digits, (0,), 0)
    fitted = recipes.fit_method(task, arguments, task.train[:20])
    assert isinstance(fitted, kind)
    assert fitted.score(task.held_out).shape == (len(task.held_out),)
    if isinstance(fitted, Detector):
        assert fitted.data.n_train == 20


def test_highest_and_lowest_pass_over_what_is_missing():
    table = [{"a": None}, {"a": 1.0}, {"a": 3.0}, {}]
    assert recipes.highest(table, "a") == {"a": 3.0}
    assert recipes.lowest(table, "a") == {"a": 1.0}
    assert recipes.highest([{"a": None}], "a") is None


def test_problems_are_named():
    assert recipes.described_problems([[0, 1]]).startswith("Normal: classes 0, 1;")
    assert recipes.described_problems([[8], ["bag"]]).startswith("Normal in turn: 8, bag;")
