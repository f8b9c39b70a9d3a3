"""The study of generating: distances and draws against independent answers, its words against other numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from anomalae import load_dataset
from anomalae.experiments.cells import Result
from anomalae.experiments.executors.here import Here
from anomalae.experiments.kept_cells import Outcome, Shelf, do_all
from anomalae.experiments.studies import generate_or_rebuild as study
from anomalae.experiments.studies import reader
from anomalae.experiments.studies.base import Scope
from anomalae.experiments.studies.trained import problem


def random_images(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 28, 28), dtype=np.uint8)


# --- the mathematics


def test_the_nearest_image_is_the_one_that_scikit_learn_finds():
    images, others = random_images(7, 1) / 255, random_images(5000, 2)
    others[4500] = np.rint(images[3] * 255)
    distance, place = reader.nearest(images, others)
    search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(others.reshape(5000, -1) / 255.0)
    theirs, at = search.kneighbors(images.reshape(7, -1))
    np.testing.assert_array_equal(place, at[:, 0])
    np.testing.assert_allclose(distance, theirs[:, 0] / 28, atol=1e-7)
    assert distance[3] < 1e-7


def test_the_share_nearer_counts_ties_half():
    assert reader.share_nearer(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 2.0, 2.0, 2.0])) == 0.375


def test_halves_have_no_image_in_common_and_the_same_size():
    images = random_images(21)
    for few, size in ((0, 10), (4, 4), (50, 10)):
        seen, unseen = study.halves(images, few, np.random.default_rng(0))
        assert len(seen) == len(unseen) == size
        assert not {image.tobytes() for image in seen} & {image.tobytes() for image in unseen}


def test_draws_have_the_mean_and_covariance_of_the_codes():
    source = np.random.default_rng(0)
    codes = (
        source.standard_normal((4000, 3)) @ np.array([[2, 0, 0], [1, 0.5, 0], [0, 0, 0]]) + [5, 0, 1]
    ).astype(np.float32)
    draws = study.like(codes, 40_000, source)
    np.testing.assert_allclose(draws.mean(0), codes.mean(0), atol=0.05)
    np.testing.assert_allclose(np.cov(draws.T), np.cov(codes.T), atol=0.12)


def test_classes_in_effect():
    assert reader.effective(np.array([3, 3, 3, 0])) == pytest.approx(3)
    assert reader.effective(np.array([3, 1])) == pytest.approx(
        np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))
    )


class Sure:
    classes_ = np.array([0, 1, 2])

    def predict_proba(self, rows: np.ndarray) -> np.ndarray:
        return np.array(
            [[0.9, 0.1, 0.0], [0.1, 0.85, 0.05], [0.5, 0.4, 0.1], [0.0, 0.0, 1.0], [0.95, 0.05, 0.0]]
        )


def test_recognised_is_what_is_sure_normal_and_near():
    judge = reader.Reader(Sure(), (0, 1), 0.8, 1.0)
    looked = judge.look(np.zeros((5, 28, 28)), np.array([True, True, True, True, False]))
    assert looked["recognised"] == 0.4
    assert looked["kinds"] == pytest.approx(2)
    none = judge.look(np.zeros((5, 28, 28)), np.zeros(5, bool))
    assert (none["recognised"], none["kinds"]) == (0.0, 0.0)


def test_the_classifier_knows_real_digits_and_has_not_seen_the_held_out_ones():
    task = problem(load_dataset("digits"), {"normal": [0, 1, 2], "seed": 0})
    judge = reader.Reader.trained(task, units=32, images=800, epochs=40)
    assert judge.accuracy > 0.8
    confidence = judge.confidence(task.held_out / 255.0)
    assert (confidence >= judge.threshold).mean() == pytest.approx(reader.PASS, abs=1.5 / len(confidence))


# --- the grid of cells


def test_cells_are_fixed_and_none_is_twice():
    digits = load_dataset("digits")
    full, quick = (study.cells(Scope(digits, some)) for some in (False, True))
    assert (len(full), len(quick)) == (28, 5)
    for made in (full, quick):
        assert len({cell.key for cell in made}) == len(made)
        assert "part" not in {key for cell in made for key in cell.arguments}
    assert {len(cell.arguments["normal"]) for cell in full} == {1, 9}
    assert sum(bool(cell.arguments["few"]) for cell in quick) == 1


# --- rows and words


def outcome(model: str, width: int = 2, few: int = 0, seed: int = 0, share: float = 0.5) -> Outcome:
    values = {"recognised": share, "kinds": 3.0, "distance": 0.1, "nearest_seen": 0.5}
    numbers = {
        "n_train": few or 100, "classifier_accuracy": 0.9, "code_rms": 1.0,
        reader.REAL: {**values, "class_kept": 0.9}, reader.REBUILT: {**values, "class_kept": 0.8}, reader.DRAWN: values,
    }  # fmt: skip
    cell = Scope(load_dataset("digits"), True).cell(
        study.measure, model=model, kind="all but one", width=width, few=few, seed=seed
    )
    return Outcome(cell, Result(numbers))


def test_rows_are_means_and_real_images_come_once():
    table = study.rows(
        [outcome("AE"), outcome("AE", seed=1, share=0.7), outcome("VAE"), outcome("VAE", few=50)]
    )
    assert [(row["model"], row["images"], row["few"]) for row in table] == [
        (None, reader.REAL, False), ("AE", reader.REBUILT, False), ("AE", reader.DRAWN, False),
        ("VAE", reader.REBUILT, False), ("VAE", reader.DRAWN, False),
        (None, reader.REAL, True), ("VAE", reader.REBUILT, True), ("VAE", reader.DRAWN, True),
    ]  # fmt: skip
    assert table[2]["recognised"] == pytest.approx(0.6)
    assert table[2]["recognised_sd"] == pytest.approx(np.std([0.5, 0.7], ddof=1))
    assert table[2]["class_kept"] is None
    assert study.rows([Outcome(outcome("AE").cell, None, "failed")]) == []


def line(images: str, model: str | None = "VAE", **values: Any) -> dict[str, Any]:
    row = {
        "normal_classes": "all but one", "model": None if images == reader.REAL else model, "width": 2, "few": False,
        "trained_on": 100, "images": images, "recognised": 0.9, "kinds": 8.0, "nearest_seen": 0.5, "code_rms": 1.0,
        "class_kept": None if images in (reader.DRAWN, reader.REDRAWN) else 0.9,
    }  # fmt: skip
    return {**row, **values}


REAL = line(reader.REAL)


def said(*table: dict[str, Any]) -> str:
    return " ".join(study.answer(table))


@pytest.mark.parametrize(
    ("drawn", "rebuilt", "words"),
    [
        (0.9, 0.9, "The VAE generates, and rebuilds as well"),
        (0.8, 0.9, "The VAE generates, and rebuilds better"),
        (0.6, 0.5, "The VAE generates in part, and rebuilds worse"),
        (0.2, 0.9, "The VAE hardly generates, and rebuilds better"),
    ],
)
def test_the_answer_says_whether_it_generates(drawn: float, rebuilt: float, words: str):
    table = [line(reader.DRAWN, recognised=drawn), line(reader.REBUILT, recognised=rebuilt), REAL]
    assert words in said(*table)
    assert (
        f"recognises {drawn:.0%} of the images drawn from its prior and {rebuilt:.0%} of its reconstructions"
        in said(*table)
    )
    assert said(*table, {**REAL, "normal_classes": "one"}).startswith(
        "With all classes but one normal, the VAE"
    )
    assert "of the drawn images 12% with a width of 16." in said(
        *table, line(reader.DRAWN, width=16, recognised=0.12)
    )


@pytest.mark.parametrize(
    ("share", "real", "words"),
    [
        (0.5, 0.5, "are no copies"),
        (0.65, 0.65, "are no copies"),
        (0.65, 0.5, "are partly copies"),
        (0.8, 0.5, "are mostly copies"),
        (0.3, 0.5, "are no copies"),
    ],
)
def test_the_answer_says_whether_it_copies(share: float, real: float, words: str):
    table = [
        line(reader.DRAWN, nearest_seen=share),
        line(reader.REBUILT),
        line(reader.REAL, nearest_seen=real),
    ]
    assert f"The drawn images {words} of training images: {share:.0%} of them" in said(*table)


def test_the_answer_says_whether_the_control_copies():
    few = line(reader.REAL, few=True)
    for share, words in ((0.9, "VAE copies"), (0.6, "copies in part"), (0.5, "does not copy either")):
        assert words in said(few, line(reader.DRAWN, few=True, nearest_seen=share, trained_on=50))


def test_the_answer_sets_the_autoencoder_beside_it():
    own = line(reader.DRAWN, recognised=0.6)
    for share, words in (
        (0.3, "worse than the VAE"),
        (0.9, "better than the VAE"),
        (0.61, "as well as the VAE"),
    ):
        assert f"generates {words}: recognised are {share:.0%} against 60%" in said(
            own, line(reader.DRAWN, "AE", recognised=share)
        )
    wide = line(reader.DRAWN, width=16, recognised=0.6), line(reader.DRAWN, "AE", width=16, recognised=0.9)
    words = said(own, line(reader.DRAWN, "AE", recognised=0.3), *wide)
    assert (
        "generates better than the VAE with a width of 16 and worse than the VAE with a width of 2:" in words
    )
    words = said(own, line(reader.DRAWN, "AE", recognised=0.61), *wide)
    assert "generates better than the VAE with a width of 16, else as well (within 3 points):" in words


def test_the_answer_says_whether_the_prior_is_where_the_codes_are():
    own = line(reader.DRAWN, recognised=0.6)
    for share, words in ((0.9, "instead of the prior helps"), (0.61, "changes little"), (0.3, "does harm")):
        assert words in said(own, line(reader.REDRAWN, recognised=share))
    wide = line(reader.DRAWN, width=16, recognised=0.6), line(reader.REDRAWN, width=16, recognised=0.9)
    assert (
        "does harm with a width of 2 and helps with a width of 16 (there the prior does not match the codes)"
        in said(own, line(reader.REDRAWN, recognised=0.3), *wide)
    )
    # What helps at one width does not help at all of them.
    some = said(own, line(reader.REDRAWN, recognised=0.61), *wide)
    assert (
        "changes little with a width of 2 and helps with a width of 16 (there the prior does not match"
        in some
    )
    assert "so the prior" not in some
    assert "changes little with a width of 16 and does harm with a width of 2: recognised" in said(
        line(reader.DRAWN, width=16, recognised=0.6),
        line(reader.REDRAWN, width=16, recognised=0.61),
        own,
        line(reader.REDRAWN, recognised=0.3),
    )


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (
            0.79,
            "takes 79% of the reconstructions with a width of 2 for the class of their image, less often than new real",
        ),
        (0.95, "of their image, more often than new real images (90%)."),
        (0.88, "of their image, as often as new real images (90%)."),
        (None, "The VAE generates"),
    ],
)
def test_the_answer_says_whether_reconstructions_keep_their_class(kept: float | None, words: str):
    spoken = said(line(reader.DRAWN), line(reader.REBUILT, class_kept=kept), REAL)
    assert words in spoken
    assert ("The classifier takes" in spoken) == (kept is not None)


def test_a_network_of_fewer_seeds_is_not_compared():
    table = [
        line(reader.DRAWN, recognised=0.6),
        line(reader.DRAWN, "AE", recognised=0.9, trainings=1, missing=1),
    ]
    words = said(*table)
    assert "A plain autoencoder" not in words
    assert "Not compared, as trainings are missing that others have: AE of width 2 (1 of 2)." in words


def test_the_answer_says_how_many_classes_there_are():
    table = [line(reader.DRAWN, kinds=3.0), REAL]
    assert "less varied than new real images: 3.0 classes in effect" in said(*table)
    assert "as varied as" in said(line(reader.DRAWN, kinds=7.9), REAL)


def test_the_answer_copes_with_what_is_missing():
    assert study.answer([]) == ()
    assert study.answer([REAL]) == ()
    assert said(line(reader.DRAWN)) == ""
    assert said(line(reader.DRAWN), line(reader.REBUILT))
    assert said(line(reader.DRAWN), line(reader.REBUILT), REAL, line(reader.REDRAWN, code_rms=None))
    assert (
        len(study.answer([REAL, *(line(what) for what in (reader.DRAWN, reader.REBUILT, reader.REDRAWN))]))
        <= 7
    )


@pytest.mark.parametrize("model", ["AE", "VAE"])
def test_one_cell_from_end_to_end(model: str):
    cell = next(
        cell for cell in study.cells(Scope(load_dataset("digits"), True)) if cell.arguments["model"] == model
    )
    arguments = {
        **cell.arguments, "draws": 20, "reader": {"units": 8, "images": 200, "epochs": 3},
        "settings": {**cell.arguments["settings"], "hidden": (16,), "epochs": 1},
    }  # fmt: skip
    done = Outcome(type(cell)(cell.work, arguments, cell.source), cell.work(cell.source.load(), arguments))
    table = study.rows([done])
    sorts = [reader.REAL, reader.REBUILT, reader.DRAWN, reader.REDRAWN]
    assert [row["images"] for row in table] == (sorts if model == "VAE" else sorts[:3])
    assert done.result is not None
    assert sum(len(done.result.arrays[name]) for name in ("real", "nearest")) <= 100
    task = problem(load_dataset("digits"), arguments)
    known = {image.tobytes() for image in task.train}
    assert all(image.tobytes() in known for image in done.result.arrays["nearest"])
    names = ["rebuilt-all-but-one", "drawn-all-but-one", "recognised-all-but-one", "nearest-all-but-one"]
    assert [drawing.name for drawing in study.drawings(table, [done])] == names


@pytest.mark.slow
def test_the_quick_study_gives_an_answer(tmp_path):
    scope = Scope(load_dataset("digits"), True)
    outcomes = do_all(study.cells(scope), Shelf(tmp_path), Here())
    assert all(outcome.result for outcome in outcomes)
    table = study.rows(outcomes)
    assert len(study.answer(table)) == 7
    assert "Trained on no more than 50 images, the VAE copies" in " ".join(study.answer(table))
    assert len(study.drawings(table, outcomes)) == 4
    assert study.method(scope)
