"""The study of widths: what it says follows from its table, whichever way that turns out."""

from __future__ import annotations

import pytest

from anomalae.experiments.cells import Cell, Result
from anomalae.experiments.executors.here import Here
from anomalae.experiments.kept_cells import Outcome, Shelf, do_all
from anomalae.experiments.studies import latent_dim
from anomalae.experiments.studies.base import Scope


def row(model, width, auc, *, kind="one", held_out=0.01, anomalies=0.05, score=1.0):
    return {
        "normal_classes": kind,
        "model": model,
        "width": width,
        "roc_auc": auc,
        "mse_held_out": held_out,
        "mse_anomalies": anomalies,
        "held_out_score": score,
    }


def test_the_best_and_the_worst_width_are_those_of_the_table():
    table = [
        row("plain AE", 2, 0.9, score=3),
        row("plain AE", 8, 0.95, score=2),
        row("plain AE", 64, 0.85, score=1),
    ]
    best, cost, chosen = latent_dim.answer(table)
    assert best == "With one class normal, the best width is 8 for the plain AE (ROC-AUC 0.9500)."
    assert (
        "costs a ROC-AUC of 0.1000 for the plain AE (width 64); the widest, 64, costs 0.1000 for the" in cost
    )
    assert chosen.endswith("takes width 64 for the plain AE (0.1000 below the best) with one class normal.")
    turned = [
        row("plain AE", 2, 0.85, score=1),
        row("plain AE", 8, 0.9, score=2),
        row("plain AE", 64, 0.9004, score=0.5),
    ]
    best, cost, chosen = latent_dim.answer(turned)
    assert "the best width is 64" in best
    assert "(width 2); the widest, 64, costs nothing for the plain AE" in cost
    assert "takes width 64 for the plain AE (as good as the best)" in chosen


@pytest.mark.parametrize(
    ("plain", "denoising", "said"),
    [
        # ROC-AUC and MSE of anomalies at widths 8 and 64; that of held-out normals is 0.01.
        (((0.9, 0.05), (0.8, 0.02)), ((0.8, 0.03), (0.9, 0.03)), ". It may be that it copies anomalies: "),
        (((0.9, 0.05), (0.8, 0.05)), ((0.8, 0.03), (0.9, 0.03)), ". It is not that it copies anomalies: "),
        (((0.9, 0.05), (0.8, 0.06)), ((0.8, 0.03), (0.9, 0.02)), ". It is not that it copies anomalies: "),
        (
            ((0.9, 0.05), (0.8, 0.02)),
            ((0.8, 0.03), (0.9, 0.02)),
            ". It copies anomalies more, but so does the denoising AE: ",
        ),
        (
            ((0.9, 0.05), (0.8, 0.02)),
            ((0.9, 0.03), (0.8, 0.03)),
            "costs the denoising AE no less than the plain AE.",
        ),
        (
            ((0.8, 0.05), (0.9, 0.02)),
            ((0.9, 0.03), (0.8, 0.03)),
            "costs the plain AE nothing, so there is nothing to explain.",
        ),
    ],
)
def test_why_width_costs_the_plain_ae_alone(plain, denoising, said):
    table = [
        row(model, width, auc, anomalies=error)
        for model, some in (("plain AE", plain), ("denoising AE", denoising))
        for width, (auc, error) in zip((8, 64), some, strict=True)
    ]
    (sentence,) = [
        sentence for sentence in latent_dim.answer(table) if "normal, a width of 64 costs" in sentence
    ]
    assert said in sentence
    if "copies" in said:
        (before, after), (other, later) = ([100 * error for _, error in some] for some in (plain, denoising))
        assert sentence.endswith(
            f": its MSE is {after:.2f} times as high on them as on held-out normals, and {before:.2f} times with its "
            f"best width, 8; that of the denoising AE is {later:.2f} and {other:.2f} times as high."
        )
    # Nothing is said where one of the two is missing.
    assert "a width of" not in " ".join(latent_dim.answer(table[:2]))
    assert "a width of" not in " ".join(latent_dim.answer(table[:3]))


def test_an_interval_that_is_a_mean_says_so(digits):
    titles = {column.key: column.title for column in latent_dim.COLUMNS}
    assert (titles["roc_auc_low"], titles["roc_auc_high"]) == ("95% from (mean)", "95% to (mean)")
    assert "no interval of the mean" in " ".join(latent_dim.method(Scope(digits)))


def test_the_widest_row_is_that_of_all_models():
    table = [row(model, width, 0.9 - width / 1000) for model in ("plain AE", "VAE") for width in (8, 64)]
    (cost,) = [sentence for sentence in latent_dim.answer(table) if "the widest" in sentence]
    assert cost.endswith("the widest, 64, costs 0.0560 for the plain AE and 0.0560 for the VAE.")
    (cost,) = [sentence for sentence in latent_dim.answer(table[:3]) if "the widest" in sentence]
    assert cost.endswith("the widest, 64, costs 0.0560 for the plain AE, and is not known for the VAE.")


def test_two_problems_make_seven_sentences():
    table = [
        row(model, width, 0.9 + width / 100, kind=kind)
        for kind in ("one", "all but one")
        for model in latent_dim.MODELS
        for width in (2, 8)
    ]
    said = latent_dim.answer(table)
    assert len(said) == 7
    assert said[1].startswith("With all classes but one normal, the best width is 8 for the plain AE")
    assert "with one class normal; 2 for the plain AE (0.0600 below the best)" in said[4]


def test_rows_that_are_missing_are_passed_over():
    assert latent_dim.answer([]) == ()
    table = [row("VAE", 8, None), row("denoising AE", 8, 0.9)]
    assert all("VAE" not in sentence for sentence in latent_dim.answer(table))


def test_rows_are_means_over_classes_and_seeds(digits):
    scope = Scope(digits)
    cells = [
        scope.cell(latent_dim.measure, kind="one", model="VAE", width=4, normal=[n], seed=s)
        for n in (0, 1)
        for s in (0, 1)
    ]
    outcomes = []
    for place, cell in enumerate(cells):
        numbers = dict.fromkeys(latent_dim.MEANS, float(place)) | {"interval": [place - 1, place + 1]}
        outcomes.append(Outcome(cell, Result(numbers)))
    (made,) = latent_dim.rows([*outcomes, Outcome(cells[0], None, "failed")])
    assert made["trainings"] == 4
    assert {made[key] for key in latent_dim.MEANS} == {1.5}
    assert (made["roc_auc_low"], made["roc_auc_high"]) == (0.5, 2.5)
    assert made["roc_auc_sd"] == pytest.approx(1.2909944)


def test_a_width_that_lacks_a_training_is_not_compared(digits):
    # Width 16 lacks the harder class: by means it would be the best.
    values = {(8, 0): 0.9, (8, 1): 0.8, (16, 0): 0.89, (16, 1): 0.79}
    outcomes = []
    for (width, normal), auc in values.items():
        cell = Scope(digits).cell(
            latent_dim.measure, kind="one", model="VAE", width=width, normal=[normal], seed=0
        )
        numbers = dict.fromkeys(latent_dim.MEANS, 0.5) | {"roc_auc": auc, "interval": [auc, auc]}
        outcomes.append(Outcome(cell, Result(numbers)))
    assert "the best width is 8 for" in latent_dim.answer(latent_dim.rows(outcomes))[0]
    said = latent_dim.answer(latent_dim.rows(outcomes[:-1]))
    assert "the best width is 8 for" in said[0]
    assert said[-1] == (
        "Not compared, as trainings are missing that others have: width 16 of the VAE, one class normal (1 of 2)."
    )


def test_cells_are_fixed_beforehand(digits):
    full, quick = latent_dim.cells(Scope(digits)), latent_dim.cells(Scope(digits, quick=True))
    assert len(full) == 3 * 3 * len(latent_dim.WIDTHS) * len(latent_dim.SEEDS)
    assert len(quick) == 2 * 3 * len(latent_dim.QUICK_WIDTHS)
    for cells in (full, quick):
        assert len({cell.key for cell in cells}) == len(cells)
        assert all(cell.arguments.get("part", "development") == "development" for cell in cells)


def test_a_cell_measures_what_it_says(digits):
    cell = next(
        cell for cell in latent_dim.cells(Scope(digits, quick=True)) if cell.arguments["model"] == "VAE"
    )
    settings = {**cell.arguments["settings"], "epochs": 1, "hidden": (8,)}
    numbers = Cell(cell.work, {**cell.arguments, "settings": settings}, cell.source).do().numbers
    assert 0 <= numbers["interval"][0] <= numbers["roc_auc"] <= numbers["interval"][1] <= 1
    assert numbers["active_units"] <= cell.arguments["width"]
    assert min(numbers[key] for key in ("mse_train", "mse_held_out", "mse_anomalies")) > 0


@pytest.mark.slow
def test_the_quick_study_gives_an_answer(digits, tmp_path):
    outcomes = do_all(latent_dim.cells(Scope(digits, quick=True)), Shelf(tmp_path), Here())
    table = latent_dim.rows(outcomes)
    assert len(table) == 30
    assert len(latent_dim.answer(table)) == 7
    assert len(latent_dim.drawings(table, outcomes)) == 4
