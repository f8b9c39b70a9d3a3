"""The study of a detector's parts."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_rel
from sklearn.metrics import roc_auc_score

from anomalae import Detector
from anomalae.experiments.cells import Cell
from anomalae.experiments.studies import ablation as study
from anomalae.experiments.studies.base import Scope
from anomalae.experiments.studies.trained import Problem
from anomalae.settings import PRESETS, Settings
from tests.experiments.studies.made_up import check_cells, outcome, run_quick

SECONDS = {"3 members": 30.0, "accurate": 12.0}
# ROC-AUC by network and score, on average over classes and seeds.
USUAL: dict[str, dict[str, float]] = {
    "default": {"bent": 0.95, "mse": 0.93},
    "no noise": {"bent": 0.92, "mse": 0.90},
    "pixels": {"bent": 0.94},
    "3 members": {"bent": 0.95},
    "accurate": {"bent": 0.99, study.ALONE: 0.985},
    "textbook": {"mse": 0.85},
}


def made_up(
    values: dict[str, dict[str, float]] | None = None, luck: float = 0.0, places: int = 3
) -> list[Any]:
    """Outcomes of a seed each on one class; `luck` moves the default's own score by turns."""
    made = []
    for network, by_rule in {**USUAL, **(values or {})}.items():
        own = next(iter(by_rule))
        for seed in range(places):
            moved = {"bent": luck * (-1) ** seed if network == "default" else 0.0}
            numbers = {
                "own": own,
                "roc_auc": {
                    rule: value + moved.get(rule, 0.0) + 0.001 * seed for rule, value in by_rule.items()
                },
                "cpu_seconds": SECONDS.get(network, 10.0),
                "scoring_seconds": {rule: 1.0 for rule in by_rule if rule != study.ALONE},
            }
            made.append(outcome({"network": network, "normal": [8], "seed": seed}, numbers))
    return made


def by_name(outcomes: list[Any]) -> dict[str, Any]:
    return {row["change"]: row for row in study.rows(outcomes)}


def answer(*arguments: Any, **named: Any) -> str:
    return " ".join(study.answer(study.rows(made_up(*arguments, **named))))


def test_cells():
    check_cells("ablation", quick=9 * 4, full=25 * 4 * 2)


def test_every_row_is_trained_and_all_that_is_trained_has_a_row(digits):
    networks = {change.network for change in (*study.CHANGES, *study.STEPS)}
    assert set(study.trained_settings(quick=False)) == networks
    assert set(study.trained_settings(quick=True)) == networks - set(study.FULL_ONLY)
    assert set(study.FULL_ONLY) < networks
    for quick in (True, False):
        for cell in study.cells(Scope(digits, quick)):
            rules = Settings.of(**cell.arguments["settings"]).rules
            assert set(cell.arguments["rules"]) <= set(rules)


def test_changes_are_of_the_default_one_at_a_time():
    default = Settings().to_dict()
    trained = {
        name: Settings.of(**asked).to_dict() for name, (asked, _) in study.trained_settings(False).items()
    }
    assert trained["default"] == default
    apart = {
        name: {key for key, value in settings.items() if value != default[key]}
        for name, settings in trained.items()
    }
    assert apart.pop("textbook") == {"views", "noise", "score"}
    assert apart.pop("conv layers") == {"architecture", "hidden"}
    assert apart.pop("8 neighbours, sums") == {"neighbours", "distance"}
    assert apart.pop("8, settled + edges") == {"neighbours", "views"}
    same = {"default", "half the epochs", "twice the epochs"}
    assert {name for name, keys in apart.items() if len(keys) != 1} == same
    times = {name: times for name, (_, times) in study.trained_settings(False).items() if times != 1}
    assert times == {"half the epochs": 0.5, "twice the epochs": 2.0}


def test_steps_lead_from_textbook_to_accurate():
    """Each step adds what its name says, and nothing is left out."""
    trained = study.trained_settings(quick=False)
    steps = [
        Settings.of(**{**trained[step.network][0], **({"score": step.rule} if step.rule else {})}).to_dict()
        for step in study.STEPS
    ]
    assert steps[0] == Settings.of(**PRESETS["textbook"]).to_dict()
    assert steps[-1] == Settings.of(**PRESETS["accurate"]).to_dict()
    apart = [
        {key for key in before if before[key] != after[key]} for before, after in itertools.pairwise(steps)
    ]
    assert apart == [{"views"}, {"noise"}, {"score"}, {"neighbours"}]


def test_differences_are_of_pairs():
    table = by_name(made_up(luck=0.002))
    row = table["pixels"]
    pairs = [0.94 - 0.952, 0.94 - 0.948, 0.94 - 0.952]
    assert row["roc_auc"] == pytest.approx(0.941)
    assert row["difference"] == pytest.approx(np.mean(pairs))
    assert row["difference_sd"] == pytest.approx(np.std(pairs, ddof=1))
    interval = ttest_rel([0.94] * 3, [0.952, 0.948, 0.952]).confidence_interval(0.95)
    assert row["difference"] - row["difference_margin"] == pytest.approx(interval.low)
    assert row["difference"] + row["difference_margin"] == pytest.approx(interval.high)
    assert (row["training_seconds"], row["scoring_seconds"]) == (10.0, 1.0)
    assert table["the default"]["difference"] is None


def test_a_pair_that_lacks_one_is_left_out():
    whole = made_up(luck=0.002)
    broken = [
        outcome(dict(one.cell.arguments), None)
        if (one.cell.arguments["network"], one.cell.arguments["seed"]) == ("default", 1)
        else one
        for one in whole
    ]
    row = by_name(broken)["pixels"]
    assert row["trainings"] == 3
    assert row["difference"] == pytest.approx(0.94 - 0.952)
    assert row["difference_sd"] == pytest.approx(0, abs=1e-12)


def test_steps_are_set_against_the_one_before():
    table = by_name(made_up())
    assert table["textbook"]["over_last"] is None
    steps = [table[step.name]["over_last"] for step in study.STEPS[1:]]
    assert steps == pytest.approx([0.05, 0.03, 0.02, 0.04])
    assert table["8 neighbours alone"]["network"] == pytest.approx(0.005)
    assert table["8 neighbours alone"]["training_seconds"] is None


def test_one_slow_training_does_not_make_a_detector_slow():
    outcomes = made_up()
    slow = {**outcomes[0].result.numbers, "cpu_seconds": 900.0}
    outcomes[0] = outcome(dict(outcomes[0].cell.arguments), slow)
    assert by_name(outcomes)["the default"]["training_seconds"] == 10.0


def test_what_gives_most_is_what_the_table_says():
    usual = answer()
    assert usual.startswith(
        "Most gives 8 neighbours: +0.0400 ± 0.0000 of ROC-AUC, gained with it; then come noise"
    )
    assert "in training +0.0300 ± 0.0000, the score bent (instead of mse) +0.0200" in usual
    turned = answer({"no noise": {"bent": 0.85, "mse": 0.8}})
    assert turned.startswith(
        "Most gives noise in training: +0.1000 ± 0.0000 of ROC-AUC, lost without it; then come 8"
    )
    harmful = answer({"no noise": {"bent": 0.97, "mse": 0.96}})
    assert "Worse with it than without: noise in training (-0.0200 ± 0.0000)." in harmful
    assert "Worse with it" not in usual


def test_where_nothing_helps_it_is_said():
    worse = {name: {"bent": 0.96} for name in ("pixels", "no noise")} | {
        "accurate": {"bent": 0.94, study.ALONE: 0.93},
        "default": {"bent": 0.95, "mse": 0.96},
        "3 members": {"bent": 0.94},
    }
    assert answer(worse).startswith("No part gives anything at all: the best is")
    # Luck of 0.1 hides whatever is there.
    assert answer(luck=0.1).startswith("No part gives anything beyond luck: the best is noise in training")
    only = {
        "no noise": {"bent": 0.95, "mse": 0.9},
        "pixels": {"bent": 0.95},
        "default": {"bent": 0.95, "mse": 0.95},
    }
    assert "gained with it; no other part gives anything beyond luck." in answer(only)


def test_luck_is_told_from_differences():
    some = answer()
    assert "1 of 6 changes makes no difference beyond luck" in some
    assert "holds 0: 3 members (+0.0000)." in some
    assert "6 of 6 changes make no difference beyond luck" in answer(luck=0.1)
    assert "view pixels (" in answer(luck=0.1)
    assert "All 6 changes make a difference beyond luck." in answer({"3 members": {"bent": 0.96}})
    once = answer(places=1)
    assert "Each was trained once" in once
    assert "±" not in once
    # Nor is it known which of the parts gives anything.
    assert once.startswith(
        "What each part gives is not known, as each was changed in one pair of trainings alone; the highest difference "
        "has 8 neighbours, +0.0400 of ROC-AUC."
    )
    assert "so a network beside them makes +0.0050, by luck or not." in once
    assert "it gains, by luck or not (+0.0010)" in answer({"3 members": {"bent": 0.951}}, places=1)


def test_a_part_of_one_pair_alone_is_not_sure():
    # Noise would give most, but has one training.
    outcomes = made_up({"no noise": {"bent": 0.8, "mse": 0.8}})
    outcomes = [
        one
        for one in outcomes
        if one.cell.arguments["network"] != "no noise" or one.cell.arguments["seed"] == 0
    ]
    said = study.answer(study.rows(outcomes))[0]
    assert said.startswith("Most gives 8 neighbours: +0.0400 ± 0.0000 of ROC-AUC")
    assert said.endswith("Not known, as there is one pair of trainings alone: noise in training (+0.1500).")


def test_what_costs_most_for_what_it_gives():
    assert (
        "Costliest for what it gives is 3 members: 2.8 times the default's CPU time to train and score 10,000 images "
        "(31.0 s for 11.0 s), and it gains nothing (+0.0000 ± 0.0000)." in answer()
    )
    # Both gain: 20 s for 0.001 are more than 2 s for 0.04, 20 s for 0.5 less.
    assert "for what it gives is 3 members" in answer({"3 members": {"bent": 0.951}})
    assert "for what it gives is 8 neighbours: 1.2 times" in answer(
        {"3 members": {"bent": 0.999}, "accurate": {"bent": 0.952, study.ALONE: 0.95}}
    )
    # What gives nothing is dearer at any price than what gives something.
    useless = {"3 members": {"bent": 0.99}, "accurate": {"bent": 0.94, study.ALONE: 0.93}}
    assert "for what it gives is 8 neighbours: 1.2 times" in answer(useless)
    assert "it gains (+0.0010" in answer({"3 members": {"bent": 0.951}})
    assert "gains nothing beyond luck" in answer({"3 members": {"bent": 0.99}}, luck=0.1)


def test_the_way_and_the_neighbours_part_in_it():
    usual = answer()
    assert (
        "From the textbook's autoencoder (0.8510) to the accurate preset (0.9910), one after another: "
        "settled view +0.0500 ± 0.0000, noise +0.0300 ± 0.0000, score bent +0.0200 ± 0.0000 and "
        "8 neighbours +0.0400 ± 0.0000." in usual
    )
    assert (
        "neighbours without a network make +0.0350 ± 0.0000, so a network beside them adds +0.0050" in usual
    )
    turned = answer({"accurate": {"bent": 0.96, study.ALONE: 0.98}})
    assert "make +0.0300 ± 0.0000, so a network beside them takes -0.0200" in turned
    equal = answer({"accurate": {"bent": 0.96, study.ALONE: 0.96}})
    assert "so a network beside them makes no difference beyond luck" in equal


@pytest.mark.parametrize("missing", [*USUAL])
def test_a_detector_that_failed_is_passed_over(missing):
    outcomes = [one for one in made_up() if one.cell.arguments["network"] != missing]
    table = study.rows(outcomes)
    said = study.answer(table)
    assert bool(said) == (missing != "default")
    assert study.drawings(table, outcomes)


def test_without_rows_nothing_is_said():
    assert study.answer(study.rows([])) == ()
    alone = {"default": {"bent": 0.95}}
    assert study.answer(study.rows(made_up(alone)[:3])) == ()


def test_figures_have_every_change_of_their_group_the_best_first():
    outcomes = made_up()
    table = study.rows(outcomes)
    differences, steps, cost = study.drawings(table, outcomes)
    (axes,) = differences.figure.axes
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown == ["pixels", "mse", "no noise", "3 members", "accurate: 8 neighbours", "8 neighbours alone"]
    (axes,) = steps.figure.axes
    lengths = [patch.get_width() for patch in axes.patches]
    assert lengths == pytest.approx([1000 * (1 - value) for value in (0.851, 0.901, 0.931, 0.951, 0.991)])
    (axes,) = cost.figure.axes
    by_group = {line.get_label(): line.get_xdata().tolist() for line in axes.lines}
    assert by_group["members"] == [31.0]
    # Those of neighbours alone are not known.
    assert math.isnan(by_group["neighbours"][1])
    assert "score" not in by_group


def test_a_cell_measures_what_it_says(digits):
    cell = next(
        cell
        for cell in study.cells(Scope(digits, quick=True))
        if cell.arguments["network"] == "accurate" and cell.arguments["seed"] == 1
    )
    settings = {**cell.arguments["settings"], "epochs": 2, "hidden": (8,), "latent_dim": 3}
    arguments = {**cell.arguments, "settings": settings, "times_epochs": 1.6, "rules": ["mse"]}
    numbers = Cell(cell.work, arguments, cell.source).do().numbers
    assert numbers["epochs"] == 3
    assert numbers["own"] == "bent"
    assert set(numbers["scoring_seconds"]) == {"bent", "mse"}
    assert min(numbers["scoring_seconds"].values()) > 0
    task = Problem(digits, tuple(arguments["normal"]), 1)
    detector = Detector(**{**settings, "epochs": 3, "seed": 1}, threads=1)
    detector.fit(task.train, task.held_out, task.calibration)
    for rule in ("bent", "mse"):
        scores = detector.score(task.judged.images, rule)
        assert numbers["roc_auc"][rule] == roc_auc_score(task.is_anomaly, scores)
    alone = detector.score_members(task.judged.images)["bent"]["neighbours"]
    assert numbers["roc_auc"][study.ALONE] == roc_auc_score(task.is_anomaly, alone)


@pytest.mark.slow
def test_the_quick_study_gives_an_answer(tmp_path):
    run_quick("ablation", tmp_path)
