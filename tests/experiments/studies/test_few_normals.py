"""The study of the number of normal images."""

from __future__ import annotations

import numpy as np
import pytest

from anomalae.experiments.studies import few_normals as study
from anomalae.experiments.studies.base import Scope
from anomalae.experiments.studies.trained import Problem
from tests.experiments.studies.made_up import check_cells, outcome, run_quick


def made_up(method: str, size: int | str, roc_auc: float, normal: int = 8, seed: int = 0):
    numbers = {
        "roc_auc": roc_auc,
        "interval": [roc_auc - 0.01, roc_auc + 0.01],
        "n_train": 5000 if size == study.ALL else size,
    }
    return outcome({"method": method, "size": size, "normal": [normal], "seed": seed}, numbers)


def test_cells():
    # A class of the bundled digits has some 80 training images, half of the classes 536.
    check_cells("few-normals", quick=6 * 5, full=6 * 3 * 10 * 2)


def test_numbers_end_below_the_smallest_problem(digits):
    scope = Scope(digits)
    assert study.sizes(scope, [[0, 1, 2, 3, 4]]) == [10, 30, 100, 300, "all"]
    assert study.sizes(scope, [[0, 1, 2, 3, 4], [8]]) == [10, 30, "all"]


def test_few_images_are_among_the_more():
    images = np.arange(50, dtype=np.uint8).repeat(784).reshape(50, 28, 28)
    few, more = (study.drawn(images, size, 0)[:, 0, 0] for size in (10, 30))
    assert len(set(few)) == 10
    assert set(few) < set(more)
    assert set(study.drawn(images, 10, 1)[:, 0, 0]) != set(few)
    assert study.drawn(images, "all", 0) is images


def test_rows_are_means_with_the_spread_of_draws_within_a_class():
    table = study.rows(
        [
            made_up("knn", 10, 0.8, 8, 0),
            made_up("knn", 10, 0.9, 8, 1),
            made_up("knn", 10, 0.3, 2, 0),
            made_up("knn", 10, 0.3, 2, 1),
        ]
    )
    (row,) = table
    assert row["roc_auc"] == pytest.approx(0.575)
    assert row["roc_auc_least"] == 0.3
    assert row["seed_sd"] == pytest.approx(np.sqrt((0.1**2 / 2 + 0) / 2))
    assert study.rows([made_up("knn", 10, 0.8)])[0]["seed_sd"] is None


@pytest.mark.parametrize(
    ("values", "need"),
    [
        ({10: 0.9, 100: 0.998, "all": 1.0}, 100),
        ({10: 0.9, 100: 0.9, "all": 1.0}, "all"),
        ({10: 0.996, 100: 0.997, "all": 1.0}, 10),
        # From which on: a number that is good by chance is not enough.
        ({10: 0.999, 100: 0.9, 300: 1.0, "all": 1.0}, 300),
        ({10: 0.9}, None),
    ],
)
def test_the_number_needed(values, need):
    assert study.needed([{"size": size, "roc_auc": value} for size, value in values.items()]) == need


def answer(values):
    outcomes = [
        made_up(method, size, value) for method, sizes in values.items() for size, value in sizes.items()
    ]
    return study.answer(study.rows(outcomes))


def test_the_answer_turns_with_the_numbers():
    few = answer({"default AE": {10: 0.9, 100: 0.99, "all": 0.991}, "knn": {10: 0.5, 100: 0.6, "all": 0.9}})
    assert few[0].startswith("100 images suffice: with so many the best method (default AE) is within 0.005")
    assert (
        "With 10 images the best method is the same, with a ROC-AUC of 0.9000; the others have 0.5000 (knn)."
        in few
    )
    assert "is 100 (default AE) and all (knn)." in few[2]
    assert few[3] == "The default AE has a higher ROC-AUC than the best baseline with every number of images."
    many = answer({"default AE": {10: 0.5, "all": 0.9}, "knn": {10: 0.6, "all": 0.95}})
    assert many[0].startswith("All are needed: the best method (knn) has a ROC-AUC of 0.9500")
    assert many[3] == "The default AE has a higher ROC-AUC than the best baseline with no number of images."
    assert (
        many[2] == "From no smaller number on does a method stay within 0.005 of its ROC-AUC with all images."
    )
    crossing = answer({"default AE": {10: 0.7, "all": 0.9}, "knn": {10: 0.6, "all": 0.95}})
    assert (
        "With 10 images the best method is default AE, with a ROC-AUC of 0.7000; the others have 0.6000 (knn)."
        in crossing
    )
    assert crossing[3].endswith("with 10 images, but not with all (knn is as good or better).")


def test_the_answer_copes_with_missing_rows():
    assert study.answer([]) == ()
    assert (
        study.answer(study.rows([outcome({"method": "knn", "size": 10, "normal": [8], "seed": 0}, None)]))
        == ()
    )
    alone = study.rows([made_up("knn", 10, 1.0)])
    assert study.answer(alone)
    assert len(study.drawings(alone, [])) == 1


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {10: 0.9, 100: 0.9},
            "no training with all is there; the best method (knn) has a ROC-AUC of 0.9000 with 100",
        ),
        (
            {"all": 0.9},
            "no training with fewer is there; the best method (knn) has a ROC-AUC of 0.9000 with all",
        ),
    ],
)
def test_what_is_needed_stays_open_where_a_training_is_missing(values, said):
    words = answer({"knn": values})
    assert words[0].startswith(f"How many are needed stays open: {said}")
    assert not any("No method" in sentence or "least number" in sentence for sentence in words)


def test_a_method_without_its_training_on_all_is_not_said_to_need_all():
    words = answer({"knn": {10: 0.5, "all": 0.9}, "pca": {10: 0.9}})
    assert words[0].startswith("All are needed: the best method (knn)")
    assert words[2].endswith("of its ROC-AUC with all, or above it, is all (knn).")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {10: 0.999, 100: 0.9, "all": 1.0},
            "All are needed: the best method (knn) has a ROC-AUC of 1.0000 with all training images; with 10 it is as "
            "good too (0.9990), but with 100 it is not (0.9000).",
        ),
        (
            {10: 0.998, 30: 0.95, 100: 0.9, 300: 1.0, "all": 1.0},
            "300 images suffice: with so many the best method (knn) is within 0.005 of its ROC-AUC with all training "
            "images, which is 1.0000; with 10 it is as good too (0.9980), but with 100 it is not (0.9000).",
        ),
        (
            {10: 0.5, 100: 0.99, "all": 0.95},
            "100 images suffice: with so many the best method (knn) has a higher ROC-AUC, 0.9900, than with all "
            "training images, 0.9500.",
        ),
        (
            {10: 0.5, 100: 0.951, 300: 0.99, "all": 0.95},
            "100 images suffice: with so many the best method (knn) is within 0.005 of its ROC-AUC with all training "
            "images, which is 0.9500; it is highest with 300, 0.9900.",
        ),
        (
            {10: 0.5, 100: 0.6, "all": 0.95},
            "All are needed: the best method (knn) has a ROC-AUC of 0.9500 with all training images, and is not within "
            "0.005 of that with fewer.",
        ),
    ],
)
def test_a_curve_that_falls_is_not_told_as_rising(values, said):
    assert answer({"knn": values})[0] == said


def test_means_over_fewer_classes_are_not_compared():
    # Of the class that the default lacks with 10 images, knn has a low ROC-AUC: by means the default would be best.
    both = [
        made_up("knn", size, value, normal) for size in (10, "all") for normal, value in ((8, 0.99), (2, 0.6))
    ]
    both += [made_up("default AE", "all", value, normal) for normal, value in ((8, 0.98), (2, 0.7))]
    words = study.answer(study.rows([*both, made_up("default AE", 10, 0.9, 8)]))
    assert words[1] == "With 10 images the best method is knn, with a ROC-AUC of 0.7950."
    assert words[-1] == (
        "Not compared, as trainings are missing that others have: default AE with 10 images (1 of 2)."
    )
    assert "with every number" not in " ".join(words[:-2])
    whole = study.answer(study.rows([*both, *(made_up("default AE", 10, 0.9, normal) for normal in (8, 2))]))
    assert "the best method is the same, with a ROC-AUC of 0.9000; the others have 0.7950 (knn)." in whole[1]
    assert "Not compared" not in " ".join(whole)


def test_one_cell_end_to_end(digits):
    settings = {"hidden": (8,), "epochs": 2, "views": ("pixels",), "noise": 0.0, "score": "mse"}
    arguments = {
        "method": study.SHOWN,
        "settings": settings,
        "normal": [0],
        "seed": 0,
        "size": 10,
        "shown": True,
    }
    result = study.measure(digits, arguments)
    assert result.numbers["n_train"] == 10
    assert 0 <= result.numbers["roc_auc"] <= 1
    held_out = Problem(digits, (0,), 0).held_out
    assert np.array_equal(result.arrays["images"], held_out[: study.PICTURES])
    assert result.arrays["rebuilt"].shape == result.arrays["images"].shape
    assert result.arrays["rebuilt"].dtype == np.uint8
    done = outcome(arguments, dict(result.numbers), dict(result.arrays))
    assert [drawing.name for drawing in study.drawings(study.rows([done]), [done])] == [
        "roc-auc",
        "missing",
        "rebuilt",
    ]
    assert study.measure(digits, {**arguments, "shown": False}).arrays == {}


@pytest.mark.slow
def test_the_whole_quick_study(tmp_path):
    run_quick("few-normals", tmp_path)
