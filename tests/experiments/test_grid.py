"""Benchmarks with baselines, and with each class anomalous in turn: columns equal direct calls, tests are paired,
nothing is fitted twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from anomalae import files
from anomalae.evaluation.significance import delong_test
from anomalae.experiments import kept_cells
from anomalae.experiments.baselines.registry import BaselineDetector
from anomalae.experiments.grid import Grid, scored_part
from anomalae.settings import Settings
from tests.cli import SMALL, fails, ok, parsed, run


def table(folder: str | Path) -> dict:
    return json.loads((Path(folder) / "table.json").read_text())


def cell_file(folder: str | Path, name: str, ending: str = ".safetensors") -> Path:
    """The file of a cell, as the table names it."""
    return Path(folder) / "cells" / f"{table(folder)['cells'][name]}{ending}"


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> dict:
    place = tmp_path_factory.mktemp("benchmark") / "out"
    call = (
        "benchmark",
        "--normal",
        "0,8",
        "--seeds",
        "0,1",
        *SMALL,
        "--baseline",
        "knn,iforest",
        "--output",
        place,
    )
    first = ok(*call)
    again = ok(*call)
    return {"table": table(place), "first": first, "again": again, "place": place}


@pytest.fixture
def begun(compared) -> str:
    """The folder where a benchmark is put that is not told where to; it holds the cells and baselines made above."""
    shutil.copytree(compared["place"], "reports/benchmark-digits-ae")
    return "reports/benchmark-digits-ae"


def test_columns_equal_direct_calls(compared, digits):
    found = compared["table"]["baselines"]
    assert list(found) == ["knn", "iforest"]
    assert found["knn"]["seeds"] == [0]
    assert found["iforest"]["seeds"] == [0, 1]
    for label, seed in (("knn", 0), ("iforest", 1)):
        split = digits.one_class(normal=[8], seed=seed)
        train = np.concatenate([split.train.images, split.validation.images])
        scores = BaselineDetector(label, seed).fit(train).score(split.test.images)
        value = found[label]["values"]["8"][found[label]["seeds"].index(seed)]
        assert value == pytest.approx(roc_auc_score(split.test.labels != 8, scores), abs=1e-12)
    means = [np.mean([found["iforest"]["values"][n][place] for n in ("0", "8")]) for place in (0, 1)]
    assert found["iforest"]["means"] == pytest.approx(means)
    assert found["iforest"]["mean"] == pytest.approx(np.mean(means))


def test_on_development_images_a_baseline_does_not_see_what_judges_it(digits):
    call = ("benchmark", "--normal", "8", *SMALL, "--part", "development", "--quiet")
    folder = "reports/benchmark-digits-ae"
    ok(*call, "--baseline", "knn")
    split = digits.one_class(normal=[8], seed=0)
    part = scored_part(Grid(digits, (8,), (0,), Settings.of(), "development"), split)
    scores = BaselineDetector("knn", 0).fit(split.train.images).score(part.images)
    found = table(folder)
    assert found["baselines"]["knn"]["rows"]["8"] == roc_auc_score(part.labels != 8, scores)
    assert "fitted on the training images of the same split" in Path(folder, "table.md").read_text()
    ok(*call)
    assert table(folder)["baselines"] == found["baselines"]
    # One of before does not say so: it was fitted on validation images too.
    del found["baseline_images"]
    Path(folder, "table.json").write_text(json.dumps(found))
    ok(*call)
    assert "baselines" not in table(folder)


def test_the_tests_are_paired_and_corrected_together(compared, digits):
    found, p_values = compared["table"]["baselines"], {}
    for normal in (0, 8):
        split = digits.one_class(normal=[normal], seed=0)
        ours = files.read_arrays(cell_file(compared["place"], f"normal-{normal}_seed-0"))[0]["bent"]
        train = np.concatenate([split.train.images, split.validation.images])
        for label in ("knn", "iforest"):
            scores = BaselineDetector(label, 0).fit(train).score(split.test.images)
            test = delong_test(ours, scores, split.test.labels != normal)
            assert found[label]["tests"][str(normal)]["difference"] == pytest.approx(test.difference)
            p_values[label, str(normal)] = test.p_value
    smallest = min(p_values, key=lambda cell: p_values[cell])
    corrected = found[smallest[0]]["tests"][smallest[1]]["p_value"]
    assert corrected == pytest.approx(min(1.0, 4 * p_values[smallest]))


def test_the_second_call_fits_nothing(compared):
    assert "fitting" in compared["first"].stderr
    assert "fitting" not in compared["again"].stderr
    assert "--baseline knn,iforest" in compared["table"]["command"]
    assert "| knn |" in (compared["place"] / "table.md").read_text()
    assert "| knn |" in compared["first"].stdout


def test_each_class_anomalous_in_turn(digits):
    found = parsed("benchmark", "--anomalous", "1,9", *SMALL, "--json", "--quiet")
    assert found["side"] == "anomalous"
    assert [row["anomalous"] for row in found["rows"]] == [1, 9]
    row = found["rows"][0]
    labels = digits.test.labels
    assert (row["n_anomalous"], row["n_normal"]) == ((labels == 1).sum(), (labels != 1).sum())
    arrays, _ = files.read_arrays(cell_file("reports/benchmark-digits-ae-anomalous", "anomalous-1_seed-0"))
    assert row["roc_auc"]["bent"]["mean"] == pytest.approx(roc_auc_score(labels == 1, arrays["bent"]))
    assert "--anomalous 1,9" in found["command"]


def test_what_each_member_gives_stands_below_the_table(digits):
    words = ["--views", "pixels,edges", "--neighbours", "3", "--seeds", "0,1"]
    found = parsed("benchmark", "--normal", "8", *SMALL, *words, "--json", "--quiet")
    folder = Path("reports/benchmark-digits-ae")
    assert list(found["members"]) == ["pixels", "edges", "neighbours", "all networks"]
    arrays, _ = files.read_arrays(cell_file(folder, "normal-8_seed-1"))
    for name in found["members"]:
        value = found["rows"][0]["members"][name]["values"][1]
        expected = roc_auc_score(digits.test.labels != 8, arrays[f"bent of {name}"])
        assert value == pytest.approx(expected, abs=1e-12)
    assert "of each member alone" in (folder / "table.md").read_text()
    assert '8,1,"anomalae, edges alone",bent,' in (folder / "table.csv").read_text()


def test_a_failed_baseline_is_said_and_the_others_stand(begun):
    call = (
        "benchmark",
        "--normal",
        "0",
        *SMALL,
        "--baseline",
        "lof,deep-svdd",
        "--time-limit",
        "0.01",
        "--json",
    )
    result = run(*call, "--quiet")
    assert result.exit_code == 4
    found = json.loads(result.stdout)["baselines"]
    assert found["lof"]["rows"]["0"] is None
    assert "time limit" in str(found["lof"]["failures"])
    assert "time limit" in Path(begun, "table.md").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--normal", "0", "--anomalous", "1"], "exclude each other"),
        (["--normal", "0", "--baseline", "knnn"], "did you mean 'knn'"),
        (["--normal", "0", "--baseline", "knn", "--time-limit", "0"], "above 0"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_trained(words, said):
    assert said in fails(2, "benchmark", *words, *SMALL)
    assert not Path("reports").exists()


def test_baselines_stay_when_the_table_is_made_again_without_them(begun):
    call = ("benchmark", "--normal", "0", *SMALL, "--quiet")
    ok(*call, "--baseline", "pca (fair),knn")
    with_them = table(begun)
    assert "--baseline 'knn,pca (fair)'" in with_them["command"]
    ok(*call)
    assert table(begun)["baselines"] == with_them["baselines"]
    text = Path(begun, "table.csv").read_text()
    assert "0,0,pca (fair),," in text
    ok(*call, "--seeds", "0,1")
    assert "baselines" not in table(begun)  # they were of other seeds


def test_older_cells_with_fewer_scores_stand_beside_newer_ones(begun):
    call = ("benchmark", "--normal", "0", *SMALL, "--quiet", "--json")
    path = cell_file(begun, "normal-0_seed-0", ".json")
    cell = json.loads(path.read_text())
    del cell["numbers"]["scores"]["sap"]
    cell["sha256"] = kept_cells._digest(cell["numbers"])
    path.write_text(json.dumps(cell))
    found = parsed(*call, "--seeds", "1,0")
    assert "sap" not in found["mean"]
    assert "nap" in found["mean"]
