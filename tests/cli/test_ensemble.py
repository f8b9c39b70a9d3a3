"""Ensembles and presets on the command line: trained, scored, listed, resumed; wrong words in one line each."""

from __future__ import annotations

import json

import pytest

from tests.cli import QUICK, fails, ok, parsed, run


@pytest.fixture
def three() -> str:
    ok("train", "--normal", "0", *QUICK, "--views", "pixels,deskewed,edges", "--name", "three", "--quiet")
    return "three"


def test_an_ensemble_is_trained_evaluated_and_shown(three):
    found = parsed("evaluate", "--run", three, "--json")
    assert 0.5 < found["roc_auc"] <= 1
    settings = json.loads(ok("runs", three, "--json").stdout)["settings"]
    assert settings["views"] == ["pixels", "deskewed", "edges"]
    assert "pixels,deskewed,edges" in ok("runs", three).stdout


def test_a_flag_wins_over_a_preset_and_it_is_said():
    words = ["--preset", "textbook", "--views", "normalised", "--members", "2", "--name", "book"]
    result = ok("train", "--normal", "0", *QUICK, *words)
    assert "--views normalised wins over pixels of --preset textbook" in result.stderr
    assert "--members" not in [line for line in result.stderr.splitlines() if "wins" in line].__str__()
    settings = json.loads(ok("runs", "book", "--json").stdout)["settings"]
    assert (settings["noise"], settings["score"], settings["members"]) == (0, "mse", 2)


def test_a_score_wins_over_that_of_a_preset():
    result = ok(
        "train", "--normal", "0", *QUICK, "--preset", "textbook", "--score", "smooth", "--name", "other"
    )
    assert "--score smooth wins over mse of --preset textbook" in result.stderr
    settings = json.loads(ok("runs", "other", "--json").stdout)["settings"]
    assert (settings["score"], settings["views"]) == ("smooth", ["pixels"])


def test_an_ensemble_with_neighbours_is_trained_scored_and_reported(images):
    import numpy as np

    words = ["--preset", "accurate", "--hidden", "32", "--epochs", "2", "--name", "best", "--quiet"]
    ok("train", "--normal", "0", "--dataset", "digits", *words)
    np.save("x.npy", images[:3])
    ok("score", "x.npy", "--run", "best", "--heatmaps", "heat", "--format", "json")
    assert "8 nearest training images" in ok("report", "best", "--output", "page").stdout + open_page("page")
    assert "neighbours" in ok("runs", "best").stdout


def open_page(folder: str) -> str:
    from pathlib import Path

    return next(Path(folder).glob("*.html")).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--neighbours", "-1"], "-1"),
        (
            ["--views", "pixels,sideways"],
            "view 'sideways': must be one of pixels, deskewed, normalised, settled, edges",
        ),
        (["--views", "edges,edges"], "view 'edges': named twice"),
        (["--views", ""], "view ''"),
        (["--members", "0"], "0"),
        (["--preset", "best"], "best"),
    ],
)
def test_wrong_words_are_named(words, said):
    assert said in fails(2, "train", "--normal", "0", *QUICK, *words)


def test_score_writes_heatmaps_of_an_ensemble(three, images):
    import numpy as np

    np.save("x.npy", images[:3])
    result = run("score", "x.npy", "--run", three, "--heatmaps", "heat", "--format", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["n"] == 3


@pytest.mark.parametrize(
    ("model", "more", "scores"),
    [
        ("ladder-vae", ["--layers", "3"], {"elbo", "iwae", "llr-1", "llr-2", "sap", "nap", "smooth"}),
        ("adgm", ["--auxiliary-dim", "4"], {"elbo", "iwae", "sap", "nap", "smooth"}),
    ],
)
def test_hierarchies_train_score_generate_and_load(model, more, scores, images):
    import numpy as np

    from anomalae import Detector

    ok("train", "--normal", "0", *QUICK, "--model", model, *more, "--samples", "2", "--name", "it", "--quiet")
    detector = Detector.load("runs/it")
    assert scores <= set(detector.rules)
    assert detector.settings.rule == "elbo"
    again = Detector.load("runs/it")
    for rule, values in detector.score_all(images).items():
        assert np.isfinite(values).all()
        np.testing.assert_array_equal(values, again.score(images, rule))
    ok("generate", "--run", "it", "--count", "4", "--output", "grid.png")
    ok("plot", "traverse", "--run", "it", "--output", "walk.png")
    for rule in scores:
        ok("evaluate", "--run", "it", "--score", rule, "--quiet")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "ladder-vae", "--layers", "2", "--score", "llr-2"], "a ladder-vae of 2 layers"),
        (["--model", "ladder-vae", "--layers", "7"], "7"),
        (["--layers", "2"], "layers 2: only a ladder-vae has one, and model is 'ae'"),
        (["--model", "vae", "--auxiliary-dim", "2"], "only an adgm has one"),
        (
            ["--views", "edges", "--score", "nap"],
            "an ae that sees edges has bent, worst-place, mse, relative, smooth",
        ),
    ],
)
def test_settings_that_do_not_belong_together_are_named(words, said):
    assert said in fails(2, "train", "--normal", "0", *QUICK, *words)
