"""The study of luck."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from anomalae.evaluation.significance import delong_test
from anomalae.experiments.studies import sample_size
from anomalae.experiments.studies import seeds as study
from anomalae.experiments.studies.trained import Problem
from tests.experiments.studies.made_up import check_cells, outcome, run_quick

A, B = "textbook AE", "default AE"


def made_up(a: float, b: float, split: int = 0, weights: int = 0, normal: int = 8, judged: float = 0.001):
    numbers = {
        "roc_auc": {A: a, B: b},
        "judged_sd": {A: judged, B: judged},
        "pair_judged_sd": {f"{B} - {A}": judged},
    }
    return outcome({"normal": [normal], "split": split, "weights": weights, "recipes": {}}, numbers)


def trainings(a: float, b: float, by_weights: float, by_splits: float, judged: float = 0.001):
    """Three seeds of weights and three splits, so far apart; the second recipe steady."""
    return [
        made_up(a, b, judged=judged),
        *(made_up(a + by_weights * k, b, weights=place, judged=judged) for place, k in ((1, 1), (2, -1))),
        *(made_up(a + by_splits * k, b, split=place, judged=judged) for place, k in ((1, 1), (2, -1))),
    ]


def test_cells():
    check_cells("seeds", quick=9, full=4 * 19)


def test_deviations_are_of_what_is_drawn_anew():
    first, second, pair = study.rows(trainings(0.9, 0.99, 0.01, 0.02))
    assert (first["what"], second["what"], pair["what"]) == (A, B, f"{B} - {A}")
    assert first["weights_sd"] == pytest.approx(0.01)
    assert first["splits_sd"] == pytest.approx(0.02)
    assert second["weights_sd"] == second["splits_sd"] == 0
    assert pair["weights_sd"] == pytest.approx(0.01)
    assert pair["mean"] == pytest.approx(0.09)
    assert first["weights_span"] == pytest.approx(0.02)
    assert first["seeds_weights"] is None
    assert pair["seeds_weights"] == sample_size.seeds_needed(pair["weights_sd"], study.WANTED)


def test_classes_are_pooled_by_their_variance_and_averaged_by_seed():
    outcomes = [
        made_up(0.90, 0.99, weights=0, normal=8),
        made_up(0.92, 0.99, weights=1, normal=8),
        made_up(0.80, 0.99, weights=0, normal=2),
        made_up(0.74, 0.99, weights=1, normal=2),
    ]
    first = study.rows(outcomes)[0]
    variances = [np.var([0.90, 0.92], ddof=1), np.var([0.80, 0.74], ddof=1)]
    assert first["weights_sd"] == pytest.approx(np.sqrt(np.mean(variances)))
    assert first["weights_sd_of_mean"] == pytest.approx(np.std([0.85, 0.83], ddof=1))
    # Of split 0 alone there is no spread.
    assert first["splits_sd"] is None
    # A seed that a class lacks is left out of the mean over classes.
    alone = study.rows(outcomes[:3])[0]
    assert alone["weights_sd_of_mean"] is None
    assert alone["weights_sd"] == pytest.approx(np.sqrt(variances[0]))


@pytest.mark.parametrize("effect", [0.5, 1.0, 2.0])
def test_so_many_seeds_find_the_difference(effect):
    count = sample_size.seeds_needed(1.0, effect)
    draws = np.random.default_rng(0).normal(effect, 1, (20_000, count))
    assert np.mean(ttest_1samp(draws, 0, axis=1).pvalue < 0.05) >= 0.79
    assert np.mean(ttest_1samp(draws[:, :-1], 0, axis=1).pvalue < 0.05) < 0.81


def test_more_luck_needs_more_seeds():
    counts = [
        sample_size.seeds_needed(sd, 0.001)
        for sd in (0.0, 1e-6, 1e-4, 3e-4, 1e-3, 3e-3, 5.9e-3, 6.1e-3, 6.3e-3, 0.1)
    ]
    assert counts == sorted(counts)
    assert counts[0] == counts[1] == 2
    assert counts[-1] == pytest.approx(((1.959964 + 0.841621) * 100) ** 2, abs=4)
    assert sample_size.seeds_needed(None, 0.001) is None


def test_a_larger_difference_needs_no_more_seeds():
    counts = [sample_size.seeds_needed(1.0, effect) for effect in np.linspace(0.5, 20, 80)]
    assert counts == sorted(counts, reverse=True)


def answer(*arguments: Any) -> str:
    return " ".join(study.answer(study.rows(trainings(*arguments))))


def test_the_answer_turns_with_the_numbers():
    clear = answer(0.9, 0.99, 0.001, 0.002)
    assert (
        f"ROC-AUCs less than {1.96 * math.sqrt(2) * 0.001:.4f} (textbook AE) and 0.0000 (default AE) apart"
        in clear
    )
    assert "One training of each tells these recipes apart; mean" in clear
    assert "+0.0900 (default AE - textbook AE, 23.0 times ±0.0039)." in clear
    lucky = answer(0.9, 0.901, 0.01, 0.002)
    assert "One training of each does not tell these recipes apart" in lucky
    assert "+0.0900 (default AE - textbook AE, with no luck in it)." in answer(0.9, 0.99, 0.0, 0.0)
    assert "787 seeds of the weights on one split, or" in lucky


def test_the_answer_sets_weights_against_splits():
    def by(a_weights, a_splits, b_weights, b_splits):
        made = trainings(0.9, 0.9, a_weights, a_splits)
        both = []
        for one, other in zip(made, trainings(0.9, 0.9, b_weights, b_splits), strict=True):
            roc_auc = {A: one.result.numbers["roc_auc"][A], B: other.result.numbers["roc_auc"][A]}
            both.append(outcome(dict(one.cell.arguments), {**one.result.numbers, "roc_auc": roc_auc}))
        return " ".join(study.answer(study.rows(both)))

    assert "changes the ROC-AUC less than" in by(0.01, 0.02, 0.01, 0.02)
    assert "changes the ROC-AUC more than" in by(0.02, 0.01, 0.02, 0.01)
    assert (
        "changes the ROC-AUC more than (textbook AE) and less than (default AE) another split of the images"
        in by(0.02, 0.01, 0.01, 0.02)
    )
    # As much is neither less nor more.
    assert "changes the ROC-AUC as much as another split" in by(0.01, 0.01, 0.01, 0.01)
    assert "changes the ROC-AUC as much as another split" in by(0.01, 0.0105, 0.0105, 0.01)
    assert "changes the ROC-AUC as much as another split" in by(0.0, 0.0, 0.01, 0.01)
    assert "less than (textbook AE) and as much as (default AE)" in by(0.01, 0.02, 0.01, 0.01)


def test_seeds_and_splits_are_compared_over_the_same_classes():
    # Class 2, whose seeds scatter far, has no other split.
    far = [made_up(0.5 + 0.2 * weights, 0.9, weights=weights, normal=2) for weights in range(2)]
    first = study.rows([*trainings(0.9, 0.99, 0.01, 0.02), *far])[0]
    assert (first["weights_sd"], first["splits_sd"]) == (pytest.approx(0.01), pytest.approx(0.02))


@pytest.mark.parametrize(
    ("judged", "words"),
    [
        (0.01, "covers about what another split changes"),
        (0.001, "covers less than what another split changes"),
        (0.1, "covers more than what another split"),
    ],
)
def test_the_answer_sets_splits_against_the_interval(judged, words):
    assert words in answer(0.9, 0.99, 0.01, 0.01, judged)


def test_the_answer_tells_whether_the_images_suffice():
    assert "are too few for it: their choice alone changes it by ±0.0020" in answer(
        0.9, 0.99, 0.01, 0.01, 0.00102
    )
    assert "the judged images of one problem are enough for it" in answer(0.9, 0.99, 0.01, 0.01, 0.0001)


def test_the_answer_copes_with_failed_cells():
    failed = outcome({"normal": [8], "split": 0, "weights": 0}, None)
    assert study.rows([failed]) == []
    assert study.answer([]) == ()
    alone = [made_up(0.9, 0.99)]
    assert study.answer(study.rows(alone)) == ()
    assert study.drawings(study.rows(alone), alone)
    weights_alone = [failed, made_up(0.9, 0.99), made_up(0.91, 0.99, weights=1)]
    assert study.answer(study.rows(weights_alone))
    assert study.drawings(study.rows(weights_alone), weights_alone)


def test_one_cell_end_to_end(digits):
    # Without the view settled and without noise a training takes a fraction of the time.
    small = {"hidden": (8,), "epochs": 2, "views": ("pixels",), "noise": 0.0, "score": "mse"}
    recipes = {A: small, B: {**small, "latent_dim": 2}}
    arguments = {"normal": [8], "split": 1, "weights": 0, "recipes": recipes}
    numbers = study.measure(digits, arguments).numbers
    assert list(numbers["roc_auc"]) == [A, B]
    # Split and seed are each their own: scores made anew by hand.
    task = Problem(digits, (8,), 1)
    scores = [study._scores(task, recipes[name], 0) for name in (A, B)]
    test = delong_test(scores[1], scores[0], task.is_anomaly)
    assert numbers["roc_auc"][B] - numbers["roc_auc"][A] == pytest.approx(test.difference)
    assert numbers["pair_judged_sd"][f"{B} - {A}"] == pytest.approx(test.difference / test.z)
    others = [
        study.measure(digits, {**arguments, **change, "recipes": {A: recipes[A]}}).numbers["roc_auc"][A]
        for change in ({"split": 0}, {"weights": 1})
    ]
    assert len({numbers["roc_auc"][A], *others}) == 3


def test_pairs_are_all_there():
    assert len(list(itertools.combinations(study.RECIPES, 2))) == 3
    assert set(study.QUICK_RECIPES) < set(study.RECIPES)


@pytest.mark.slow
def test_the_whole_quick_study(tmp_path):
    run_quick("seeds", tmp_path)
