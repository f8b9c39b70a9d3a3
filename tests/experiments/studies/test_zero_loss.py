"""The study of the loss of zero: its closed forms against NumPy and scikit-learn, its grid, its words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from anomalae.experiments.cells import Result
from anomalae.experiments.executors.here import Here
from anomalae.experiments.kept_cells import Outcome, Shelf, do_all
from anomalae.experiments.studies import wide_networks, zero_loss_answer
from anomalae.experiments.studies import zero_loss as study
from anomalae.experiments.studies.base import Scope

RNG = np.random.default_rng(0)
# More rows than columns, and columns of different variance.
ROWS = RNG.random((60, 16)) * np.linspace(0.1, 1, 16)


def row(model=wide_networks.LINEAR, *, narrow=False, few=False, precision="single", loss=1e-4, **own):
    return {
        "model": model,
        "width": 16 if narrow else 196,
        "bottleneck": narrow,
        "images": 100 if few else 965,
        "few": few,
        "precision": precision,
        "trainings": 2,
        "steps": 1500,
        "zeros": 0,
        "mse_train": loss,
        "mse_held_out": loss,
        "optimum": 0.01 if narrow else 0.0,
        "steps_to_level": None if narrow else 300.0,
        "roc_auc": 0.8,
        **own,
    }


# --- mathematics ---


def test_the_optimum_is_what_pca_leaves():
    rebuilt = PCA(5).fit(ROWS)
    error = np.square(ROWS - rebuilt.inverse_transform(rebuilt.transform(ROWS))).mean()
    assert wide_networks.optimum(ROWS, 5) == pytest.approx(error, rel=1e-9)
    network = wide_networks.principal(ROWS, 5, "double")
    assert wide_networks.errors(network, ROWS).mean() == pytest.approx(error, rel=1e-9)
    assert wide_networks.rebuild(network, ROWS) == pytest.approx(
        rebuilt.inverse_transform(rebuilt.transform(ROWS))
    )


def test_a_linear_autoencoder_comes_within_a_hundredth_of_pca():
    network = wide_networks.build(wide_networks.LINEAR, 16, 4, "single", 0)
    curve = wide_networks.train(network, ROWS, 3000, 3e-2, 0)
    least = wide_networks.optimum(ROWS, 4)
    assert curve[3000] == pytest.approx(wide_networks.errors(network, ROWS).mean(), rel=1e-6)
    assert least <= curve[3000] * (1 + 1e-6) <= (1 + zero_loss_answer.AT_OPTIMUM) * least
    assert curve[1] > 10 * curve[3000]


@pytest.mark.parametrize("precision", wide_networks.PRECISIONS)
def test_the_identity_copies_exactly(precision):
    assert wide_networks.errors(wide_networks.identity(16, precision), ROWS).max() == 0


def test_all_principal_axes_are_off_by_rounding():
    single, double = (
        wide_networks.errors(wide_networks.principal(ROWS, 16, p), ROWS).mean() for p in ("single", "double")
    )
    assert 1e-17 < single < 1e-12
    assert 0 < double < 1e-28


def test_both_precisions_begin_alike_and_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    single, double = (wide_networks.build(wide_networks.NONLINEAR, 9, 4, p, 3) for p in ("single", "double"))
    for some, others in zip(single.parameters(), double.parameters(), strict=True):
        assert others.dtype == torch.float64
        assert torch.equal(some.double(), others)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(
        wide_networks.build(wide_networks.LINEAR, 9, 4, "single", 4)[0].weight, single[0].weight[:4]
    )


def test_a_training_depends_on_its_seed_alone():
    many = RNG.random((wide_networks.BATCH + 30, 9))
    ends = [
        wide_networks.train(
            wide_networks.build(wide_networks.SIGMOID, 9, 9, "single", 0), many, 20, 1e-3, seed
        )[20]
        for seed in (0, 0, 1)
    ]
    assert ends[0] == ends[1] != ends[2]


def test_images_are_halved_by_the_mean_of_blocks():
    images = RNG.integers(0, 256, (3, 28, 28), np.uint8)
    rows = wide_networks.flat(images, 14)
    assert rows[1, 15] == pytest.approx(images[1, 2:4, 2:4].mean() / 255)
    assert np.array_equal(wide_networks.flat(images, 28), images.reshape(3, -1) / 255)


# --- grid and table ---


@pytest.mark.parametrize(("quick", "number"), [(True, 21), (False, 68)])
def test_the_grid(digits, quick, number):
    cells = study.cells(Scope(digits, quick))
    assert len(cells) == len({cell.key for cell in cells}) == number
    assert all("part" not in cell.arguments for cell in cells)
    assert {cell.arguments["seed"] for cell in cells} == ({0} if quick else {0, 1})


def test_rows_are_means_over_seeds(digits):
    cell = next(c for c in study.cells(Scope(digits)) if c.arguments["model"] == wide_networks.LINEAR)
    outcomes = []
    for seed, loss in ((0, 0.0), (1, 2e-4)):
        asked = Scope(digits).cell(study.measure, **{**cell.arguments, "seed": seed})
        numbers = {
            "mse_train": loss,
            "mse_held_out": 3e-4,
            "mse_anomalies": 1e-3,
            "optimum": 0.0,
            "curve": [[1, 0.1], [10, loss]],
            "steps_to_level": 10 + seed,
            "n_train": 100,
            "cpu_seconds": 1.0,
            "roc_auc": 0.7 + seed / 10,
            "interval": [0.6, 0.9],
        }
        outcomes.append(Outcome(asked, Result(numbers)))
    outcomes.append(Outcome(cell, None, "died"))
    (made,) = study.rows(outcomes)
    assert (made["mse_train"], made["zeros"], made["trainings"]) == (1e-4, 1, 2)
    assert made["roc_auc"] == pytest.approx(0.75)
    assert made["steps_to_level"] == 10.5
    assert not made["bottleneck"]
    assert study.answer([made])[0].startswith("Yes: 1 of 2 trainings")
    drawn = study.drawings([made], outcomes)
    assert [drawing.name for drawing in drawn] == ["loss-few", "roc-auc"]


def test_a_tiny_cell(digits):
    asked = {"model": wide_networks.LINEAR, "width": 8, "few": True, "precision": "double", "side": 14}
    scope = Scope(digits, quick=True)
    result = scope.cell(study.measure, **asked, normal=[0, 1], seed=0, steps=60, rate=1e-2).do()
    assert result.numbers["n_train"] == study.FEW
    assert result.numbers["mse_train"] >= result.numbers["optimum"] > 0
    assert [steps for steps, _ in result.numbers["curve"]] == wide_networks.checkpoints(60)
    assert result.numbers["interval"][0] <= result.numbers["roc_auc"] <= result.numbers["interval"][1]
    assert result.arrays["rebuilt"].shape == (10, 14, 14)
    copy = scope.cell(
        study.measure, **{**asked, "model": wide_networks.IDENTITY, "width": 196}, normal=[0, 1], seed=0
    ).do()
    assert copy.numbers["roc_auc"] == 0.5
    assert np.array_equal(copy.arrays["images"], copy.arrays["rebuilt"])


# --- words ---


def test_zero_is_said_only_where_it_was_reached():
    assert study.answer([row()])[0].startswith("No: none of 2 trainings")
    assert "1,500 steps" in study.answer([row()])[0]
    reached = study.answer([row(), row(wide_networks.NONLINEAR, loss=0.0, zeros=1)])[0]
    assert reached.startswith(
        "Yes: 1 of 4 trainings ended with an MSE of exactly zero (nonlinear AE of width 196"
    )
    assert "stays open" in study.answer([row(wide_networks.IDENTITY, loss=0.0)])[0]


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (2e-3, "is higher by a factor of 20 than without"),
        (1e-5, "lower by a factor of 10 than"),
        (1.02e-4, "is about as high as without"),
    ],
)
def test_a_bottleneck(loss, said):
    assert said in " ".join(study.answer([row(), row(narrow=True, loss=loss, optimum=loss)]))


@pytest.mark.parametrize(
    ("above", "said"),
    [
        (1.004, "finds its optimum there: its MSE is at most 0.4%"),
        (1.03, "does not reach its optimum there: its MSE is up to 3.0%"),
    ],
)
def test_the_optimum_of_the_linear_one(above, said):
    assert said in " ".join(study.answer([row(narrow=True, loss=0.01 * above)]))


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (1e-5, "In double precision the training MSE is lower by a factor of 10 than in single"),
        (1e-3, "is higher by a factor of 10 than in single"),
        (1.05e-4, "changes next to nothing"),
    ],
)
def test_precision(loss, said):
    assert said in " ".join(study.answer([row(), row(precision="double", loss=loss)]))


def test_precision_that_helps_in_one_row_alone():
    more = [row(few=True, loss=1e-12), row(few=True, precision="double", loss=1e-30)]
    said = study.answer([row(), row(precision="double", loss=1.3e-4), *more])[-1]
    which = "about 10^-18 to 1.3 times as high, by row of the table, as in single precision"
    assert said == f"In double precision the training MSE is {which}."


@pytest.mark.parametrize(
    ("single", "double", "said"),
    [
        # A second row of the table in which precision changes nothing, beside one in which a loss is exactly zero.
        (1e-10, 0.0, "is 0 to 1 times as high, by row of the table, as in single precision."),
        (
            0.0,
            1e-10,
            "is 1 to infinity (one of the two is exactly zero) times as high, by row of the table, as in",
        ),
        (0.0, 0.0, "Double precision changes next to nothing"),
    ],
)
def test_a_loss_of_exactly_zero_is_not_passed_over(single, double, said):
    table = [row(), row(precision="double")]
    table += [row(few=True, loss=single), row(few=True, precision="double", loss=double)]
    assert said in study.answer(table)[-1]


def test_a_loss_of_exactly_zero_alone():
    words = study.answer([row(loss=1e-10), row(precision="double", loss=0.0)])[-1]
    assert (
        "is lower by a factor of infinity (one of the two is exactly zero) than in single precision" in words
    )
    words = study.answer([row(loss=0.0), row(precision="double", loss=1e-10)])[-1]
    assert (
        "is higher by a factor of infinity (one of the two is exactly zero) than in single precision" in words
    )
    words = " ".join(study.answer([row(few=True, loss=0.0, mse_held_out=1e-3)]))
    assert "held-out images then have infinity (one of the two is exactly zero) times the MSE" in words


def test_rows_that_never_reach_the_level_are_counted():
    table = [row(steps_to_level=10), row(precision="double", steps_to_level=30)]
    assert "without a bottleneck it took 10 to 30 steps to reach 0.001." in study.answer(table)[0]
    table += [row(few=True, steps_to_level=None)]
    assert (
        "without a bottleneck 2 of 3 rows of the table reach 0.001, in 10 to 30 steps."
        in study.answer(table)[0]
    )


def test_a_row_that_lacks_a_seed_is_not_compared():
    table = [row(), row(precision="double", loss=1e-20, trainings=1, missing=1)]
    words = " ".join(study.answer(table))
    assert "double precision the" not in words
    assert "in double precision (1 of 2)." in words


def test_images_and_layers():
    table = [row(), row(few=True, loss=1e-5, mse_held_out=2e-3), row(wide_networks.NONLINEAR, loss=4e-4)]
    words = " ".join(study.answer([*table, row(wide_networks.SIGMOID, loss=4e-4)]))
    assert "the training MSE of 100 images is lower by a factor of 10 than that of 965" in words
    assert "held-out images then have 200 times the MSE of these few, which are overfitted" in words
    assert "that of the nonlinear AE is higher by a factor of 4 than that of the linear one" in words
    assert "that of the AE with a sigmoid output is about as high as without the sigmoid" in words
    tiny = study.answer([row(), row(few=True, loss=2e-15, mse_held_out=2e-3)])
    assert "have about 10^12 times the MSE of these few" in " ".join(tiny)
    more = [row(precision="double"), row(few=True, precision="double", loss=4e-4, mse_held_out=8e-4)]
    mixed = " ".join(study.answer([row(), row(few=True, loss=1e-12, mse_held_out=2e-3), *more]))
    assert "MSE of 100 images is about 10^-8 to 4 times as high, by row of the table, as that of 965" in mixed
    assert "held-out images then have 2 to about 10^9 times the MSE of these few" in mixed
    assert (
        "double precision the training MSE is 1 to about 10^9 times as high, by row of the table, as in"
        in mixed
    )
    alike = study.answer([row(few=True, loss=1e-5, mse_held_out=1e-5)])
    assert "held-out images then have about the MSE of these few" in " ".join(alike)


@pytest.mark.parametrize(
    ("wide", "narrow", "said"),
    [
        (0.8, 0.9, ["0.800 (linear AE), more than the 0.5", "raises it on average: 0.900 (linear AE)."]),
        (0.9, 0.8, ["a bottleneck lowers it"]),
        (0.8, 0.801, ["a bottleneck hardly changes it"]),
        (0.5, 0.8, ["(linear AE), no more than the 0.5 of an exact copy"]),
    ],
)
def test_what_is_detected(wide, narrow, said):
    table = [row(roc_auc=wide), row(narrow=True, roc_auc=narrow)]
    words = study.answer(table)[1]
    assert all(part in words for part in said), words
    other = row(wide_networks.NONLINEAR, roc_auc=0.3)
    count = "1 of 2 more" if wide > 0.51 else "no more"
    assert f"0.300 (nonlinear AE), {count} than the 0.5 of an exact copy" in study.answer([*table, other])[1]


def test_what_is_set_by_hand():
    table = [row(wide_networks.IDENTITY, loss=0.0, roc_auc=0.5), row(wide_networks.PRINCIPAL, loss=3e-15)]
    said = study.answer([row(), *table])[2]
    assert "have an MSE of exactly zero and a ROC-AUC of 0.50" in said
    assert "3e-15 in single precision" in said
    assert "an MSE of 1e-09" in study.answer([row(), row(wide_networks.IDENTITY, loss=1e-9)])[2]


@pytest.mark.slow
def test_the_quick_study(digits, tmp_path):
    scope = Scope(digits, quick=True)
    outcomes = do_all(study.cells(scope), Shelf(tmp_path), Here())
    assert [outcome.problem for outcome in outcomes if outcome.problem] == []
    table = study.rows(outcomes)
    linear = [line for line in table if line["model"] == wide_networks.LINEAR and line["bottleneck"]]
    assert all(line["mse_train"] <= (1 + zero_loss_answer.AT_OPTIMUM) * line["optimum"] for line in linear)
    assert len(study.answer(table)) == 6
    assert len(study.drawings(table, outcomes)) == 4
