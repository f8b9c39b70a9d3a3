"""Nothing that a user has breaks: trainings give the numbers of before, and what was kept then is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from anomalae import Detector
from anomalae.cli.commands import train
from anomalae.cli.setting_options import make_settings
from anomalae.evaluation.conformal import p_values
from anomalae.experiments.baselines.trials import versions
from anomalae.experiments.command_lines import train_command
from anomalae.experiments.run import Run
from anomalae.settings import Settings
from anomalae.text import short
from tests.before import BEFORE, MACHINE, SCORED, compare, found_for, of_detector, read, split_of_digits
from tests.cli import ok, parsed
from tests.experiments.test_command_lines import parsed as parsed_command

RELATIVE = 1e-5  # of the largest number in a list: other processors round otherwise
# Likelihood ratios and standardised bounds are small differences of hundreds of nats.
NATS = 20.0
# The noise of a step is made by one product since, and rounded otherwise: a training makes more of that.
OF_TRAINING = 2e-3
EXPECTED = read("expected")
# Estimators of images have today's defaults, which are others, and name no view.
NUMBERS = {
    name: row for name, row in read("numbers").items() if not name.startswith("estimator-") or "table" in row
}


@pytest.fixture(scope="module")
def split():
    return split_of_digits()


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A copy of what was kept, for some of it is written to."""
    shutil.copytree(BEFORE, tmp_path / "before")
    return tmp_path / "before"


def settings_of(command: str, n_train: int) -> Settings:
    """What a command trains with, filled in for so many images."""
    given = parsed_command(train.command, command)
    return make_settings(given, seed=given["seed"]).for_images(n_train)


# Those of several latent variables and convolutions take as long as all others.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in ("ladder-vae-conv", "adgm-conv") else [])
        for name in NUMBERS
    ],
)
def test_a_training_gives_the_numbers_of_before(name, split):
    row = NUMBERS[name]
    asked = {key: value for key, value in row.items() if key not in ("given", "table", "rows")}
    if name.startswith("estimator-"):
        del asked["settings"]
    assert compare(found_for(name, row, split), asked, OF_TRAINING) == []


@pytest.mark.parametrize("name", EXPECTED)
def test_a_run_of_before_is_read(name, split):
    detector = Detector.load(BEFORE / "runs" / name, **MACHINE)
    expected = dict(EXPECTED[name])
    # Today's command names what has another default by now.
    del expected["train_command"]
    again = train_command(detector.data, detector.settings, detector.environment)
    assert settings_of(again, detector.data.n_train) == detector.settings
    least = NATS if detector.settings.kind.density else 0.0
    assert compare(of_detector(detector, split.test.images[:SCORED]), expected, RELATIVE, least=least) == []


def test_an_interrupted_training_of_before_goes_on(kept, split):
    ok("train", "--resume", "interrupted", "--runs-dir", kept / "runs", "--threads", "1", "--quiet")
    detector = Detector.load(kept / "runs" / "interrupted", **MACHINE)
    expected = dict(read("resumed")["interrupted"])
    # Today's command names what has another default by now.
    del expected["train_command"]
    again = train_command(detector.data, detector.settings, detector.environment)
    assert settings_of(again, detector.data.n_train) == detector.settings
    least = NATS if detector.settings.kind.density else 0.0
    assert compare(of_detector(detector, split.test.images[:SCORED]), expected, RELATIVE, least=least) == []


def test_runs_of_before_are_listed_evaluated_and_reported(kept):
    words = ("ae", "--runs-dir", kept / "runs", "--output", kept / "report", "--threads", "1", "--json")
    threshold = Detector.load(kept / "runs" / "ae", **MACHINE).threshold()
    assert parsed("report", *words)["runs"][0]["threshold"] == threshold
    assert json.loads((kept / "report" / "metrics.json").read_text())["threshold"] == threshold
    assert "pca (fair)" in (kept / "report" / "index.html").read_text()
    listed = {run["run"]: run for run in parsed("runs", "--runs-dir", kept / "runs", "--json")}
    assert set(listed) == {*EXPECTED, "interrupted"}
    assert {run["status"] for name, run in listed.items() if name != "interrupted"} == {"finished"}
    for name in EXPECTED:
        before = json.loads((BEFORE / "runs" / name / "evaluation.json").read_text())
        again = parsed("evaluate", "--run", name, "--runs-dir", kept / "runs", "--json")
        assert compare(again, {k: before[k] for k in ("roc_auc", "score")}, RELATIVE) == []
        # Higher by what counts as a tie.
        assert 0 <= again["threshold"] - before["threshold"] < 1e-3 * abs(before["threshold"])


def test_verdicts_of_before_are_shown_as_they_are_now(kept):
    """A threshold that is shown is that by which `score` judges, though the run keeps that of then."""
    at = ("--runs-dir", kept / "runs")
    for name in EXPECTED:
        before = json.loads((kept / "runs" / name / "evaluation.json").read_text())
        detector = Detector.load(kept / "runs" / name, **MACHINE)
        threshold = detector.threshold(before["alpha"])
        assert threshold != before["threshold"]
        shown = parsed("runs", name, *at, "--json")["evaluation"]
        assert shown == {**before, "threshold": threshold}
        evaluation = Run(kept / "runs" / name).kept_evaluation()
        assert evaluation.threshold == threshold
        np.testing.assert_array_equal(
            evaluation.p_values, p_values(evaluation.scores, detector.calibration_scores())
        )
        assert json.loads((kept / "runs" / name / "evaluation.json").read_text()) == before
        assert f"| {short(threshold)} |" in ok("card", name, *at, "--threads", "1").stdout


def test_an_image_between_the_thresholds_of_then_and_now_is_judged_as_now(kept):
    """Rates and flags go with the threshold, of which few images lie so near as to tell."""
    folder = kept / "runs" / "ae"
    document, table = (
        json.loads((folder / "evaluation.json").read_text()),
        (folder / "scores.csv").read_text(),
    )
    threshold = Detector.load(folder, **MACHINE).threshold(document["alpha"])
    rows = [line.split(",") for line in table.splitlines()]
    place = next(i for i, row in enumerate(rows) if row[2] == "0" and row[5] == "0")
    # Flagged then.
    rows[place][3], rows[place][5] = repr((document["threshold"] + threshold) / 2), "1"
    (folder / "scores.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    flags = sum(row[2] == "0" and row[5] == "1" for row in rows) - 1
    shown = parsed("runs", "ae", "--runs-dir", kept / "runs", "--json")["evaluation"]
    assert shown["false_alarm_rate"] == flags / document["n_normal"] == document["false_alarm_rate"]
    evaluation = Run(folder).kept_evaluation()
    assert not evaluation.flagged[place - 1]
    assert evaluation.p_values[place - 1] > document["alpha"]


def test_baselines_kept_before_are_not_fitted_again(kept):
    before = json.loads((BEFORE / "runs" / "ae" / "comparison.json").read_text())
    here = versions()
    if any(before["versions"].get(package, version) != version for package, version in here.items()):
        pytest.skip("results are kept by version, and these are others")
    done = ok(
        "compare",
        "--run",
        "ae",
        "--runs-dir",
        kept / "runs",
        "--baseline",
        "pca (fair),knn",
        "--threads",
        "1",
    )
    assert done.stderr.count("(kept)") == 2


def test_a_benchmark_of_before_is_measured_again_beside_its_cells(kept):
    spec = json.loads((BEFORE / "benchmark" / "table.json").read_text())
    # What has another default by now is named.
    words = [*spec["command"].split()[1:], "--score", "smooth", "--passes", "2"]
    ok("report", "--benchmark", kept / "benchmark", "--output", kept / "report-of-before", "--quiet")
    assert "Not all cells are there" not in (kept / "report-of-before" / "index.html").read_text()
    cells = {path: path.read_bytes() for path in (kept / "benchmark" / "cells").glob("normal-*")}
    done = ok(*words, "--threads", "1", "--output", kept / "benchmark")
    # They say nothing of what made them.
    assert "of another description are left as they are" in done.stderr
    assert "normal-0_seed-0, normal-1_seed-0" in done.stderr
    assert {path: path.read_bytes() for path in cells} == cells
    table = json.loads((kept / "benchmark" / "table.json").read_text())
    # Other defaults make other numbers; those of before are guarded above.
    for row, before in zip(table["rows"], spec["rows"], strict=True):
        for key in ("normal", "n_train", "n_calibration", "n_normal", "n_anomalous"):
            assert row[key] == before[key]
    assert set(spec["mean"]) <= set(table["mean"])
    ok("report", "--benchmark", kept / "benchmark", "--output", kept / "report", "--quiet")


def test_two_trainings_of_one_seed_are_the_same_bit_for_bit(split):
    row = NUMBERS["vae-ensemble"]
    first, second = (found_for("vae-ensemble", row, split) for _ in range(2))
    assert compare(first, {k: v for k, v in second.items() if k != "settings"}, relative=0.0) == []
    assert np.isfinite(first["scores"]["elbo"]).all()
