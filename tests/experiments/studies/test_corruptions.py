"""The study of corruptions: its table is means of what cells measure, and its words turn with the table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from anomalae import Detector, load_dataset
from anomalae.datasets.dataset import Part, make_dataset
from anomalae.experiments.executors.here import Here
from anomalae.experiments.kept_cells import Outcome, Shelf, do_all
from anomalae.experiments.studies import corruptions, load_study
from anomalae.experiments.studies.base import Scope
from anomalae.experiments.studies.corrupted import KINDS, corrupt
from anomalae.experiments.studies.trained import Problem

STUDY = load_study("corruptions")
DIGITS = load_dataset("digits")
TINY = {"hidden": (8,), "epochs": 1, "latent_dim": 2, "views": ("pixels",)}


def row(kind: str, model: str = "AE", score: str = "bent", **values: Any) -> dict[str, Any]:
    """A line as the study makes it, of one score: the same at each strength, unless said otherwise."""
    flagged, auc = values.pop("flagged", 0.2), values.pop("roc_auc", 0.8)
    line = {"corruption": kind, "model": model, "score": score, "trainings": 1}
    for word in ("mild", "medium", "strong"):
        line |= {f"flagged_{word}": flagged, f"roc_auc_{word}": auc, f"roc_auc_{word}_{score}": auc}
    return {**line, **values}


def outcomes(numbers: list[dict[str, Any]], model: str = "AE") -> list[Outcome]:
    cells = [cell for cell in STUDY.cells(Scope(DIGITS)) if cell.arguments["model"] == model]
    return [Outcome(cell, corruptions.Result(each)) for cell, each in zip(cells, numbers, strict=False)]


def numbers(**of_blur: list[list[float]]) -> dict[str, Any]:
    """What a cell measures: half of all is flagged, and what is named of blur, at the three strengths."""
    even = {"bent": [0.5, 0.7], "nap": [0.5, 0.9]}
    corrupted: dict[str, Any] = {kind: [even] * 3 for kind in KINDS}
    if of_blur:
        corrupted["blur"] = [{rule: of_blur[rule][at] for rule in of_blur} for at in range(3)]
    return {
        "clean": {"bent": [0.05, 0.5], "nap": [0.04, 0.5]},
        "corrupted": corrupted,
        "others": {"bent": [0.9, 0.99], "nap": [0.8, 0.98]},
    }


def test_rows_are_means_over_classes_and_seeds():
    first = numbers(bent=[[0.1, 0.5], [0.2, 0.6], [0.3, 0.7]], nap=[[0.0, 0.4], [0.1, 0.5], [0.2, 0.55]])
    second = numbers(bent=[[0.3, 0.7], [0.4, 0.8], [0.9, 0.9]], nap=[[0.0, 0.4], [0.3, 0.7], [0.2, 0.75]])
    table = STUDY.rows(outcomes([first, second]))
    assert [line["corruption"] for line in table] == [*KINDS, corruptions.CLEAN, corruptions.OTHER]
    blur, other = table[0], table[-1]
    assert (blur["model"], blur["score"], blur["trainings"]) == ("AE", "bent", 2)
    assert [blur[f"flagged_{word}"] for word in ("mild", "medium", "strong")] == pytest.approx(
        [0.2, 0.3, 0.6]
    )
    assert blur["roc_auc_medium"] == pytest.approx(0.7)
    assert blur["roc_auc_medium_nap"] == pytest.approx(0.6)
    assert blur["roc_auc_sd"] == pytest.approx(np.std([0.6, 0.8], ddof=1))
    assert (blur["best_score"], blur["best_roc_auc"]) == ("bent", pytest.approx(0.7))
    assert table[1]["best_score"] == "nap"
    assert (other["flagged_medium"], other["roc_auc_medium"]) == (0.9, 0.99)
    assert "flagged_mild" not in other
    assert STUDY.answer(table)
    assert len(STUDY.drawings(table, outcomes([first, second]))) == 2


def test_a_cell_that_failed_and_one_that_cannot_flag_leave_the_rest():
    cell = STUDY.cells(Scope(DIGITS))[0]
    none = numbers(bent=[[None, 0.5]] * 3, nap=[[None, 0.4]] * 3)
    table = STUDY.rows([*outcomes([none]), Outcome(cell, None, "broken")])
    assert table[0]["flagged_medium"] is None
    assert table[0]["trainings"] == 1
    assert STUDY.answer(table)
    assert STUDY.rows([Outcome(cell, None, "broken")]) == []
    assert STUDY.answer([]) == ()


def test_the_answer_counts_what_is_flagged_by_half():
    table = [row("blur", flagged=0.5), row("noise", flagged=0.49), row("fog", "VAE", "elbo", flagged=0.9)]
    said = STUDY.answer(table)[0]
    assert said == (
        "Of the corruptions at medium strength these are flagged in at least half of the images: 1 of 2 by the default "
        "AE, judging by bent; 1 of 1 by the VAE, judging by elbo."
    )
    assert "For comparison" not in said
    table += [row(corruptions.CLEAN, flagged=0.05), row(corruptions.OTHER, flagged=0.9)]
    assert STUDY.answer(table)[0].endswith(
        "For comparison, 5.0% of clean images and 90.0% of images of other classes are flagged."
    )


def test_the_answer_names_what_is_overlooked_or_that_nothing_is():
    table = [row("blur", flagged_strong=0.1), row("noise", flagged_strong=0.11)]
    assert STUDY.answer(table)[1].startswith(
        "The default AE overlooks blur: even at full strength it flags at most 10% of the images."
    )
    table[0]["flagged_strong"] = 0.12
    assert STUDY.answer(table)[1] == (
        "The default AE overlooks no strong corruption: it flags 11.0% of the images or more, the least with noise."
    )


def test_scores_that_lack_a_corruption_are_not_compared():
    # By what it has, the VAE's kl would be the best: it lacks the corruption that is hard for all.
    table = [row("blur", roc_auc=0.9), row("noise", roc_auc=0.5)]
    table += [
        row("blur", "VAE", "elbo", roc_auc=0.8, roc_auc_medium_kl=0.99),
        row("noise", "VAE", "elbo", roc_auc=0.4),
    ]
    said = STUDY.answer(table)
    assert said[-2].startswith("Of all scores, bent of the default AE tells corrupted from clean images best")
    assert "elbo of the VAE worst (0.600)" in said[-2]
    assert said[-1] == "Not compared, as they lack corruptions: kl of the VAE (1 of 2 corruptions)."
    table[-1]["roc_auc_medium_kl"] = None
    assert STUDY.answer(table) == said
    table[-1]["roc_auc_medium_kl"] = 0.98
    assert "kl of the VAE tells corrupted from clean images best" in STUDY.answer(table)[-1]
    assert STUDY.answer([table[0], row("fog", "VAE", "elbo")])[-1].startswith("Not compared")


def test_a_network_of_fewer_trainings_is_not_compared():
    table = [
        row("blur"),
        row("blur", "VAE", "elbo", roc_auc=0.99, missing=1),
        row("noise", "VAE", "elbo", missing=1),
    ]
    for line in table:
        line.setdefault("missing", None)
    said = STUDY.answer(table)
    assert "VAE" not in " ".join(said[:-1])
    assert said[-1] == "Not compared, as trainings are missing that others have: the VAE (1 of 2)."


def test_the_answer_names_what_looks_more_normal_or_that_nothing_does():
    table = [row("blur", roc_auc=0.44), row("noise", roc_auc=0.9), row("fog", "textbook", "mse", roc_auc=0.2)]
    said = " ".join(STUDY.answer(table))
    assert "fog most of all, to the textbook AE (ROC-AUC 0.200" in said
    assert "for at least one network so do blur." in said
    said = " ".join(STUDY.answer([row("blur", roc_auc=0.45), row("noise", roc_auc=0.9)]))
    assert "No corruption makes images look more normal" in said


def test_the_answer_names_the_score_that_sees_the_most_and_the_least():
    table = [row("blur", roc_auc=0.6), row("blur", "VAE", "elbo", roc_auc=0.7)]
    last = "Of all scores, {} tells corrupted from clean images best (mean ROC-AUC {} over all corruptions at medium "
    last += "strength), {} worst ({})."
    assert STUDY.answer(table)[-1] == last.format(
        "elbo of the VAE", "0.700", "bent of the default AE", "0.600"
    )
    table[0]["roc_auc_medium_bent"] = 0.9
    assert STUDY.answer(table)[-1] == last.format(
        "bent of the default AE", "0.900", "elbo of the VAE", "0.700"
    )
    assert (
        "bent of the default AE has a mean ROC-AUC of 0.600" in STUDY.answer([row("blur", roc_auc=0.6)])[-1]
    )


def test_cells_are_fixed_and_none_touches_the_test_part():
    full, quick = STUDY.cells(Scope(DIGITS)), STUDY.cells(Scope(DIGITS, quick=True))
    assert (len(full), len(quick)) == (60, 3)
    assert len({cell.key for cell in full + quick}) == 63
    assert all("part" not in cell.arguments for cell in full + quick)
    assert quick[0].arguments["normal"] == [0, 1, 2, 3, 5, 6, 7, 8, 9]


def test_cells_are_there_for_classes_of_any_name():
    part = Part(DIGITS.train.images[:6], np.array(["coat", "bag"] * 3))
    clothes = make_dataset("clothes", part, part, ("bag", "coat"), None, False)
    assert [cell.arguments["normal"] for cell in STUDY.cells(Scope(clothes, quick=True))] == [["bag"]] * 3
    assert len(STUDY.cells(Scope(clothes))) == 12


def test_a_cell_measures_what_its_detector_says():
    asked = {"normal": [0, 1, 2, 3, 4], "seed": 0, "settings": TINY, "rules": ["bent", "mse"]}
    result = corruptions.measure(DIGITS, asked)
    task = Problem(DIGITS, (0, 1, 2, 3, 4), 0)
    detector: Detector = task.fit(TINY)
    made = corrupt(task.held_out, "noise", 3, 0)
    scores, clean = detector.score(made, "mse"), detector.score(task.held_out, "mse")
    flagged, auc = result.numbers["corrupted"]["noise"][2]["mse"]
    assert flagged == detector.flags(made, 0.05, "mse").mean()
    assert auc == pytest.approx(roc_auc_score([0] * len(clean) + [1] * len(scores), [*clean, *scores]))
    assert result.numbers["clean"]["bent"][0] == detector.flags(task.held_out).mean()
    assert list(result.numbers["corrupted"]) == list(KINDS)
    shown = result.arrays["shown"]
    assert shown.shape == (20, 4, 28, 28)
    np.testing.assert_array_equal(shown[0, 0], task.held_out[0])
    np.testing.assert_array_equal(shown[3, 3], corrupt(task.held_out[:1], "noise", 3, 0)[0])


@pytest.mark.slow
@pytest.mark.always
def test_the_quick_study_answers(tmp_path):
    scope = Scope(DIGITS, quick=True)
    done = do_all(STUDY.cells(scope), Shelf(tmp_path), Here())
    table = STUDY.rows(done)
    assert len(table) == 3 * (len(KINDS) + 2)
    assert 3 <= len(STUDY.answer(table)) <= 6
    assert [drawing.name for drawing in STUDY.drawings(table, done)] == ["examples", "flagged", "roc-auc"]
    assert STUDY.method(scope) != STUDY.method(Scope(DIGITS))
