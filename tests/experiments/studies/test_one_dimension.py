"""The study of one dimension: its yardsticks against scikit-learn and by hand, its grid, its words."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from anomalae.datasets.dataset import Dataset, Part
from anomalae.experiments.cells import Result
from anomalae.experiments.executors.here import Here
from anomalae.experiments.kept_cells import Outcome, Shelf, do_all
from anomalae.experiments.studies import lines
from anomalae.experiments.studies import one_dimension as study
from anomalae.experiments.studies.base import Scope

RNG = np.random.default_rng(0)


def row(kind="one", model=lines.REFERENCE, width=1, mse=0.03, **own):
    classes = {"one": "one class", "two": "0 and 1", "all": "all 10 classes"}[kind]
    line = {
        "classes": classes,
        "kind": kind,
        "model": model,
        "width": width,
        "mse_held_out": mse,
        "jumps": 1.0,
    }
    return {**line, "explained": 40.0, "within": 30.0, "told_apart": None if kind == "one" else 0.9, **own}


# --- mathematics ---


def test_pca_against_scikit_learn():
    train, others = (RNG.integers(0, 256, (n, 28, 28), np.uint8) for n in (40, 15))
    flat, held_out = (images.reshape(len(images), -1) / 255 for images in (train, others))
    for width, (inside, outside) in study.principal_errors(train, others, (1, 3)).items():
        fitted = PCA(width, svd_solver="full").fit(flat)
        for values, error in ((flat, inside), (held_out, outside)):
            left = values - fitted.inverse_transform(fitted.transform(values))
            assert error == pytest.approx(np.square(left).mean(), rel=1e-6)


def test_errors_of_means_by_hand():
    images = np.stack([np.full((28, 28), value, np.uint8) for value in (0, 255, 51, 51)])
    labels = np.array(["a", "a", "b", "b"])
    by_class = lines.means(images, labels)
    assert by_class["b"] == pytest.approx(np.full((28, 28), 0.2))
    assert lines.error_of_means(images, labels, by_class) == pytest.approx(0.125)
    assert lines.error_of_means(images[:1], labels[:1], {"a": np.full((28, 28), 0.25)}) == pytest.approx(
        0.0625
    )


def test_jumps_are_counted_in_shares_of_the_variance():
    walk = np.zeros((5, 28, 28))
    walk[2:] = 0.1
    walk[4:] = 0.11
    assert lines.jumps(walk, 0.05) == {"jumps": 1, "largest_step": pytest.approx(0.2)}
    assert lines.jumps(walk, 0.2)["jumps"] == 0


def test_classes_told_apart():
    codes, labels = np.arange(40.0), np.repeat([0, 1], 20)
    assert lines.told_apart(codes, labels, np.array([2.0, 3.0, 38.0]), np.array([0, 1, 1])) == pytest.approx(
        2 / 3
    )
    assert lines.told_apart(codes, np.zeros(40), codes, np.zeros(40)) is None


def test_places_are_shares_of_the_images():
    codes = 2.0 ** np.arange(2 * lines.BINS)
    labels = np.repeat(["a", "b"], lines.BINS)
    counts = lines.places(codes, labels, ["b", "a", "none"])
    assert (counts.sum(0) == 2).all()
    assert counts.sum(1).tolist() == [lines.BINS, lines.BINS, 0]
    assert counts[1, 0] == counts[0, -1] == 2


# --- grid and table ---


@pytest.mark.parametrize(("quick", "number"), [(True, 28), (False, 273)])
def test_the_grid(digits, quick, number):
    cells = study.cells(Scope(digits, quick))
    assert len(cells) == len({cell.key for cell in cells}) == number
    assert {tuple(cell.arguments["settings"]["views"]) for cell in cells if "settings" in cell.arguments} == {
        ("pixels",)
    }


def test_parts_are_of_the_chosen_classes_and_do_not_meet(digits):
    parts = lines.divided(digits, {"classes": [3, 5], "seed": 1})
    together = np.concatenate(parts)
    assert sorted(together.tolist()) == np.flatnonzero(np.isin(digits.train.labels, [3, 5])).tolist()


def named(names, number=24):
    labels = np.array([names[index % len(names)] for index in range(number)])
    images = RNG.integers(0, 256, (number, 28, 28), np.uint8)
    part = Part(images, labels)
    return Dataset("made", part, part, tuple(names), {"sha256": {"train": "a", "test": "b"}})


def test_classes_of_any_name():
    two = study.problems(Scope(named(["left", "right"])))
    assert two == [("one", ["left"]), ("one", ["right"]), ("two", ["left", "right"])]
    some = study.problems(Scope(named([0, 1, 9])))
    assert some == [("one", [0]), ("one", [1]), ("two", [0, 1]), ("all", [0, 1, 9])]
    result = study.yardsticks(
        named(["left", "right"]), {"classes": ["left", "right"], "seed": 0, "widths": [1]}
    )
    assert set(result.numbers) == {lines.MEAN, lines.CLASS_MEANS, "PCA-1"}


def test_rows_have_means_and_a_line_for_each_class(digits):
    scope = Scope(digits)
    outcomes = []
    for kind, classes, errors in (
        ("one", [0], (0.02, 0.04)),
        ("one", [1], (0.01, 0.03)),
        ("two", [0, 1], (0.05, 0.05)),
    ):
        for seed, error in enumerate(errors):
            numbers = {
                "mse_train": error,
                "mse_held_out": error,
                "mean_image": 0.1,
                "class_means": 0.05,
                "jumps": seed,
            }
            asked = {"kind": kind, "classes": classes, "model": lines.REFERENCE, "width": 1, "seed": seed}
            outcomes.append(
                Outcome(scope.cell(study.measure, **asked), Result({**numbers, "told_apart": None}))
            )
    yardsticks = {
        name: {"mse_train": 0.1, "mse_held_out": 0.08} for name in (lines.MEAN, lines.CLASS_MEANS, "PCA-2")
    }
    asked = {"kind": "two", "classes": [0, 1], "seed": 0, "widths": [2]}
    outcomes.append(Outcome(scope.cell(study.yardsticks, **asked), Result(yardsticks)))
    outcomes.append(Outcome(scope.cell(study.yardsticks, **asked, more=1), None, "died"))
    table = {(line["classes"], line["model"]): line for line in study.rows(outcomes)}
    one, two = table["one class", lines.REFERENCE], table["0 and 1", lines.REFERENCE]
    assert one["mse_held_out"] == pytest.approx(0.025)
    assert one["mse_sd"] == pytest.approx(np.std([0.02, 0.04, 0.01, 0.03], ddof=1))
    assert one["within"] == pytest.approx(50)
    assert one["explained"] == pytest.approx(75)
    assert two["line_each"] == pytest.approx(0.025)
    assert two["within"] == pytest.approx(0)
    assert table["0 and 1", "PCA-2"]["width"] == 2
    gone = study.rows([outcome for outcome in outcomes if outcome.cell.arguments["classes"] != [1]])
    assert next(line for line in gone if line["kind"] == "two" and line["width"] == 1)["line_each"] is None


def test_a_tiny_cell(digits):
    asked = {
        "model": "ae",
        "noise": 0.0,
        "score": "mse",
        "views": ["pixels"],
        "hidden": [16],
        "latent_dim": 1,
    }
    arguments = {"kind": "two", "classes": [0, 1], "width": 1, "seed": 0, "settings": {**asked, "epochs": 40}}
    result = Scope(digits, quick=True).cell(study.measure, **arguments).do()
    assert (
        result.numbers["n_train"] + result.numbers["n_held_out"] == np.isin(digits.train.labels, [0, 1]).sum()
    )
    assert result.numbers["mse_held_out"] < result.numbers["mean_image"]
    assert result.numbers["told_apart"] > 0.9
    assert result.arrays["frames"].shape == (lines.FRAMES, 28, 28)
    assert result.arrays["counts"].sum() == result.numbers["n_train"]
    own = study.yardsticks(digits, {**arguments, "widths": [1]}).numbers
    assert own[lines.MEAN]["mse_held_out"] == pytest.approx(result.numbers["mean_image"])
    assert own[lines.CLASS_MEANS]["mse_held_out"] == pytest.approx(result.numbers["class_means"])


# --- words ---


@pytest.mark.parametrize(
    ("one", "two", "said"),
    [
        (30.0, 4.0, "Yes, the note is right: on held-out images one dimension of a deep AE explains 30%"),
        (30.0, 20.0, "No, one dimension learns two classes too"),
        (5.0, 20.0, "No, it is the other way round"),
        (5.0, -20.0, "No, one dimension learns neither one class nor two"),
    ],
)
def test_the_verdict(one, two, said):
    table = [row(within=one), row("two", within=two)]
    assert study.answer(table)[0].startswith(said)
    assert study.answer(table[:1])[0].endswith("a training is missing.")
    assert "%" not in study.answer(table[:1])[0]
    assert study.answer([row("two", "PCA-1")]) == (
        "No network of one dimension was trained, so the question stays open.",
    )


@pytest.mark.parametrize(
    ("within", "said"),
    [
        (4.0, "but only 4% of the variance within the classes of a pair."),
        (0.2, "but only 0% of the variance within the classes of a pair."),
        (-0.2, "but only 0% of the variance within the classes of a pair."),
        (-100.2, "a pair (the MSE is 100% higher than that of the mean image of the right class)."),
    ],
)
def test_no_share_is_said_to_be_negative(within, said):
    words = study.answer([row(), row("two", within=within), row("all", explained=-3.0)])[0]
    assert words.endswith(said)
    assert "-" not in words.replace("held-out", "")


@pytest.mark.parametrize(
    ("mse", "said"),
    [(0.03, "less than PCA of one dimension (0.0400)"), (0.05, "more than PCA"), (0.0402, "as much as PCA")],
)
def test_one_class_beside_others(mse, said):
    table = [row(mse=mse), row(model="PCA-1", mse=0.04), row(width=2, mse=0.01), row(width=4, mse=0.009)]
    words = study.answer(table)[1]
    assert said in words
    assert "leave 0.0100 with a width of 2 and 0.00900 with a width of 4." in words


@pytest.mark.parametrize(
    ("each", "said"),
    [
        (0.02, "and 50% more than a network for each class alone"),
        (0.04, "and 25% less than a network"),
        (0.02995, "and as much as a network for each class alone"),
        (0.03005, "and as much as a network for each class alone"),
    ],
)
def test_a_pair(each, said):
    words = " ".join(study.answer([row("two", line_each=each), row("two", lines.CLASS_MEANS, 0, 0.025)]))
    assert (
        "an MSE of 0.0300 for 0 and 1, which is more than the mean image of the right class (0.0250) and"
        in words
    )
    assert said in words


@pytest.mark.parametrize(
    ("mse", "explained", "said"),
    [
        (
            0.01,
            40,
            "explains 40% of the variance of the images, and leaves an MSE of 0.0100: less than the mean image",
        ),
        (0.03, 40, "leaves an MSE of 0.0300: more than the mean image of the right class (0.0200)."),
        (0.0202, 40, "as much as the mean image"),
        (
            0.03,
            -5,
            "explains 0% of the variance of the images (the MSE is 5% higher than that of the mean image)",
        ),
    ],
)
def test_all_classes(mse, explained, said):
    table = [row("all", mse=mse, explained=explained), row("all", lines.CLASS_MEANS, 0, 0.02)]
    assert said in " ".join(study.answer(table))


def test_the_order_of_the_networks():
    table = [
        row(mse=0.03),
        row(model="deep VAE", mse=0.02),
        row("two", mse=0.01),
        row(model="PCA-1", mse=0.04),
    ]
    assert study.answer(table)[-1].endswith(
        "lowest first for one class: deep VAE 0.0200, deep AE 0.0300, PCA 0.0400."
    )
    table[1]["mse_held_out"] = 0.05
    assert study.answer(table)[-1].endswith(": deep AE 0.0300, PCA 0.0400, deep VAE 0.0500.")


def test_what_lies_on_the_line():
    words = " ".join(study.answer([row(jumps=0.5), row("two", told_apart=0.99)]))
    assert "tells the class right for 99.0% of the held-out images of 0 and 1" in words
    assert "mean over trainings: 0.5 with one class and 1.0 with 0 and 1." in words


def test_seeds_of_the_same_widths_stand_together(digits):
    full, quick = (" ".join(study.method(Scope(digits, some))) for some in (False, True))
    assert "Seeds: 0, 1 and 2 for width 1; 0 and 1 for widths 2, 4 and 64." in full
    assert "Seeds: 0 for widths 1, 2 and 64." in quick


@pytest.mark.slow
def test_the_quick_study(digits, tmp_path):
    scope = Scope(digits, quick=True)
    outcomes = do_all(study.cells(scope), Shelf(tmp_path), Here())
    assert [outcome.problem for outcome in outcomes if outcome.problem] == []
    table = study.rows(outcomes)
    assert len(study.answer(table)) == 6
    assert [drawing.name for drawing in study.drawings(table, outcomes)] == ["line", "mse", "networks"]
    errors = {(line["classes"], line["model"], line["width"]): line["mse_held_out"] for line in table}
    assert errors["0 and 1", lines.REFERENCE, 1] < errors["0 and 1", lines.CLASS_MEANS, 0]
    assert errors["0 and 1", lines.REFERENCE, 64] < errors["0 and 1", lines.REFERENCE, 1]
