"""`train` with few normal images, and the commands that come after: what a user reads, and what is kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from anomalae.datasets import export
from anomalae.evaluation.cross_conformal import proved_rate
from anomalae.experiments import few_images
from anomalae.experiments.command_lines import train_command
from anomalae.experiments.run import Run
from tests.cli import SMALL, fails, ok, parsed

WORDS = [*SMALL, "--epochs", "6", "--normal", "0", "--threads", "1"]
TABLE = Path(__file__).parents[2] / "reports" / "few-images" / "table.json"


def flat(text: str) -> str:
    """Text without the breaks of a terminal."""
    return " ".join(text.split())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A run of folds, and what its training said to both streams."""
    folder = tmp_path_factory.mktemp("few-images")
    result = ok("train", *WORDS, "--name", "few", "--runs-dir", folder / "runs")
    return folder / "runs", result.stdout, result.stderr


@pytest.fixture
def few(made: tuple[Path, str, str]) -> Run:
    """The run, in a working folder of its own."""
    shutil.copytree(made[0], "runs")
    return Run("runs/few")


def test_train_says_what_is_promised_and_what_was_measured(made: tuple[Path, str, str]):
    said = flat(made[1])
    assert "125 training images in 5 folds" in made[2]
    assert "125 training and calibration (the same, in 5 folds) images of 0" in said
    assert "how many of the 125 an image is above, by networks that did not see them, 0 to 126" in said
    # 2 alpha, and 2 (1 - 1/5) / (125/5 + 1) by theorem 4.
    assert "at most 2 alpha, and with 125 images a little more, 16.2%, on the average" in said
    row = few_images.nearest(125, 5)
    assert row is not None
    assert f"measured with 100 {row.in_words()}" in said
    assert row.in_words().startswith(f"ROC-AUC {row.roc_auc:.3f} ± {row.roc_auc_sd:.3f}, false alarms ")
    assert f"{row.cells} trainings by default settings, {row.draws} or more of each of the digits" in said


def test_runs_evaluate_and_verify_know_of_folds(few: Run):
    shown = flat(ok("runs", "few").stdout)
    assert "125 training and calibration (the same, in 5 folds), 539 test" in shown
    assert parsed("runs", "few", "--json")["data"]["folds"] == 5
    assert "--conformal" not in train_command(few.record.data, few.record.settings, few.record.environment)
    evaluated = flat(ok("evaluate", "--run", "few").stdout)
    assert "In folds: false alarms of at most 2 alpha" in evaluated
    assert "expected" not in evaluated
    kept = json.loads(Path("runs/few/evaluation.json").read_text())
    assert kept["proved_rate"] == proved_rate(125, 5, 0.05)
    assert "false_alarm_band" not in kept
    assert parsed("verify", "few", "--json")[0]["sound"]


def test_by_a_calibration_of_ones_own_the_promise_is_that_of_images_put_aside(few: Run, digits):
    export(digits.test, "images", classes=[0])
    said = flat(ok("calibrate", "images", "--run", "few", "--name", "mine").stdout)
    assert "(about 95 times in 100: " in said
    assert "(p = about " in said
    judged = ok("evaluate", "--run", "few", "--calibration", "mine", "--json")
    document = json.loads(judged.stdout)
    assert "proved_rate" not in document
    assert "In folds" not in flat(ok("evaluate", "--run", "few", "--calibration", "mine").stdout)
    assert Run("runs/few").false_alarm_band(Run("runs/few").evaluation(), "mine") is not None
    rows = parsed("score", "images", "--run", "few", "--calibration", "mine", "--json")["rows"]
    n = few.record.data.n_train
    # They are the images that calibrate, so each has a rank, but for some that are next to equal.
    assert len(rows) - 3 <= len({row["p_value"] for row in rows}) <= len(rows) <= n


def test_rows_thresholds_fdr_and_drift_agree(few: Run, digits):
    export(digits.test, "images", classes=[0, 1])
    document = parsed("score", "images", "--run", "few", "--json", "--alpha", "0.1")
    rows = document["rows"]
    assert document["threshold"] == few.detector.threshold(0.1) == 126 - 12
    for row in rows:
        assert row["p_value"] == pytest.approx((1 + 125 - np.floor(row["score"])) / 126)
        assert row["flagged"] == (row["score"] > document["threshold"]) == (row["p_value"] <= 0.1)
    ok("score", "images", "--run", "few", "--output", "scores.csv", "--fdr", "0.2", "--quiet")
    assert ",1,\n" in Path("scores.csv").read_text()
    assert parsed("drift", "scores.csv", "--run", "few", "--json")["n_calibration"] == 125


def test_the_card_says_what_is_proved(few: Run):
    card = flat(ok("card", "few").stdout)
    assert "Training and calibration images are the same normal ones, in 5 folds" in card
    assert (
        "Of false alarms 2 alpha is proved, and of so few images a little more: 16.2% at alpha 0.05" in card
    )
    assert "disjoint" not in card


@pytest.mark.slow
def test_the_report_and_its_picture_have_no_band(few: Run):
    ok("plot", "calibration", "--run", "few", "--output", "calibration.svg")
    assert "band" not in Path("calibration.svg").read_text()
    ok("report", "few", "--output", "report")
    page = flat(Path("report/index.html").read_text())
    assert "5 detectors were trained, each without one of 5 folds of them" in page
    assert "put aside" not in page


@pytest.mark.slow
def test_an_exported_run_of_folds_judges_as_the_run_does(few: Run, digits):
    export(digits.test, "images", classes=[0, 1])
    told = parsed("export", "--run", "few", "--score", "mse", "few.onnx", "--json")
    assert told["relative"] < 1e-3
    assert told["n_p_values"] <= told["n_near"]
    assert ok("verify", "few.onnx").exit_code == 0
    words = ("score", "images", "--json")
    there = parsed(*words, "--run", "few.onnx", "--engine", "onnx")
    here = parsed(*words, "--run", "few", "--score", "mse")
    assert there["threshold"] == here["threshold"]
    for mine, theirs in zip(there["rows"], here["rows"], strict=True):
        assert mine["path"] == theirs["path"]
        assert mine["score"] == pytest.approx(theirs["score"], abs=1e-3)
        assert (mine["p_value"], mine["flagged"]) == (theirs["p_value"], theirs["flagged"])


@pytest.mark.slow
def test_baselines_beside_folds_learn_from_all_that_the_folds_saw(few: Run):
    pytest.importorskip("pyod")
    compared = parsed("compare", "--run", "few", "--baseline", "knn", "--json")
    assert compared["n_train"] == 125


def test_put_aside_if_asked():
    result = ok("train", *WORDS, "--conformal", "split", "--name", "split")
    assert "79 training, 6 validation, 40 calibration images of 0" in flat(result.stdout)
    assert "folds" not in result.stdout + result.stderr
    record = Run("runs/split").record
    command = train_command(record.data, record.settings, record.environment)
    assert "--conformal split" in command
    assert json.loads(Path("runs/split/config.json").read_text())["format_version"] < 6
    document = parsed("train", *WORDS, "--conformal", "split", "--json", "--quiet")
    assert not {"folds", "proved_rate", "measured"} & set(document)


def test_a_training_starts_from_one_of_folds_and_the_numbers_are_there_as_json(few: Run):
    result = ok("train", *WORDS, "--name", "next", "--start", "few", "--json", "--quiet")
    assert "start:" not in result.stderr
    document = json.loads(result.stdout)
    assert document["folds"] == 5
    assert document["proved_rate"] == pytest.approx(0.1 + 1.6 / 26)
    assert document["measured"]["n"] == 100
    assert Run("runs/next").record.start["run"] == "few"
    # Each of its networks saw four fifths of what calibrates here.
    warned = ok("train", *WORDS, "--name", "split", "--start", "few", "--conformal", "split", "--quiet")
    assert "may have been trained on images that calibrate here" in flat(warned.stderr)
    assert Run("runs/split").record.data.folds == 0


def test_other_words_are_refused_before_anything_is_written():
    assert "Did you mean 'cross'?" in fails(2, "train", *WORDS, "--conformal", "cros")
    said = fails(2, "train", "--resume", "few", "--conformal", "split")
    assert "--conformal cannot be given with --resume" in said
    assert not Path("runs").exists()


def test_a_config_file_may_say_it():
    Path("c.toml").write_text('conformal = "split"\n')
    ok("train", *WORDS, "--config", "c.toml", "--name", "split", "--quiet")
    assert Run("runs/split").record.data.folds == 0


def test_the_table_that_is_packaged_is_the_one_of_the_report():
    kept, packaged = (json.loads(path.read_text()) for path in (TABLE, few_images.TABLE))
    assert packaged == {key: kept[key] for key in packaged}
    assert [row.n for row in few_images.table()] == [30, 100, 300, 1000]
    assert all(row.draws >= 1 and row.cells >= row.draws * len(kept["digits"]) for row in few_images.table())


def test_the_nearest_row_is_nearest_in_proportion_and_of_the_same_kind():
    assert [few_images.nearest(n, 5).n for n in (5, 54, 55, 173, 174, 399)] == [30, 30, 100, 100, 300, 300]
    assert few_images.nearest(2000, 0).n == 1000
    assert few_images.nearest(400, 0).n == 1000
    assert few_images.nearest(2001, 0) is None
    # No row tells of images that were put aside where folds are usual, nor the other way round.
    assert few_images.nearest(30, 0) is few_images.nearest(400, 5) is None
