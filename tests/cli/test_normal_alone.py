"""A folder of nothing but normal images, all in one place: the way of its owner, from training to scores."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalae import Detector, load_dataset
from anomalae.evaluation.conformal import false_alarm_band, p_values
from anomalae.experiments.run import Run
from anomalae.reports import collect
from tests.cli import fails, ok, parsed, run

SMALL = ["--epochs", "2", "--hidden", "32", "--latent-dim", "8", "--quiet"]
# One training, not one a fold.
QUICK = ["--conformal", "split", *SMALL]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The threes of the bundled digits in one folder, `scans`, some others in `mixed`, and a run on the threes."""
    folder = tmp_path_factory.mktemp("normal-alone")
    ok("data", "export", "digits", folder / "all", "--split", "train", "--class", "3", "--quiet")
    (folder / "all" / "3").rename(folder / "scans")
    (folder / "scans" / "notes.txt").write_text("not an image")
    ok("data", "export", "digits", folder / "mixed", "--limit", "20", "--quiet")
    ok("train", "--dataset", folder / "scans", "--runs-dir", folder / "runs", *QUICK)
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a run of its own, whose data are where they were."""
    shutil.copytree(made / "runs", "runs")
    # Data elsewhere are read with a warning.
    monkeypatch.setenv("ANOMALAE_DATA", str(made))
    return made


RUN = "scans-normal-ae"


def test_training_says_what_is_known(here: Path):
    told = run("train", "--dataset", here / "scans", *QUICK[:-1], "--name", "told")
    assert told.exit_code == 0, told.output
    assert "nothing but normal images, 63 training images" in told.stderr
    assert "passed over for its ending: .txt 1" in told.stderr
    assert "none: all test images are normal" in told.stdout
    low, high = false_alarm_band(34, 26, 0.05)
    line = next(line for line in told.stdout.splitlines() if line.startswith("false alarms"))
    assert f"of 26 normal test images, {100 * low:.1f}% to {100 * high:.1f}% expected" in line
    assert "detected" not in told.stdout


def test_what_judges_was_never_learned_from(here: Path):
    """Each test image is a file of its own, and neither trained, validated nor calibrated."""
    data = load_dataset(here / "scans", warn=lambda line: None)
    assert data.classes == ("normal",)
    split = data.one_class()
    parts = [split.train, split.validation, split.calibration, split.test]
    pictures = [{image.tobytes() for image in part.images} for part in parts]
    files = {np.asarray(Image.open(path)).tobytes() for path in (here / "scans").glob("*.png")}
    assert [len(part) for part in parts] == [len(some) for some in pictures] == [63, 5, 34, 26]
    assert set.union(*pictures) == files
    assert len(files) == sum(map(len, pictures)) == 128
    # The scores that the run keeps are of these images, and its p-values of the calibration images.
    detector = Detector.load(f"runs/{RUN}")
    with Path(f"runs/{RUN}/scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    scores = detector.score(split.test.images)
    assert [float(row["score"]) for row in rows] == scores.tolist()
    np.testing.assert_array_equal(detector.calibration_scores(), detector.score(split.calibration.images))
    assert [float(row["p_value"]) for row in rows] == p_values(scores, detector.calibration_scores()).tolist()
    assert {(row["label"], row["is_anomaly"]) for row in rows} == {("normal", "0")}
    # In Python the folder needs no class either.
    assert Detector(epochs=1, hidden=(16,), latent_dim=4).fit(split.train.images).n_calibration


def test_the_numbers_are_those_that_there_are(here: Path):
    document = parsed("evaluate", RUN, "--json")
    assert document == json.loads(Path(f"runs/{RUN}/evaluation.json").read_text())
    for name in ("roc_auc", "roc_auc_interval", "average_precision", "fpr_at_95_tpr", "detection_rate"):
        assert document[name] is None
    assert (document["n_normal"], document["n_anomalous"]) == (26, 0)
    assert document["false_alarm_band"] == list(false_alarm_band(34, 26, 0.05))
    table = ok("evaluate", RUN).stdout
    for words in ("26 test images, all normal", "expected 0.0% to", "p-values", "one kind of image only"):
        assert words in table
    for words in ("precision", "FPR", "detection", "anomalous"):
        assert words not in table
    told = ok("runs", RUN).stdout
    assert "none: all test images are normal" in told
    assert "of 26 normal test images, 0.0% to" in told


def test_the_list_of_runs_has_a_column_for_it(here: Path):
    ok("train", "--dataset", "digits", "--normal", "0", *QUICK)
    assert parsed("runs", RUN, "--json")["evaluation"]["false_alarm_rate"] is not None
    table = ok("runs").stdout.splitlines()
    assert "false alarms" in table[0]
    (line,) = [line for line in table if line.startswith(RUN)]
    assert line.split().count("-") == 1
    shutil.rmtree(f"runs/{RUN}")
    assert "false alarms" not in ok("runs").stdout


def test_the_report_shows_it_with_pictures(here: Path):
    told = ok("report", RUN).stdout
    assert "no ROC-AUC, for no test image is anomalous" in told
    page = Path(f"reports/{RUN}/index.html").read_text()
    for words in (
        "all test images are normal",
        "there is no ROC-AUC",
        "Normal images that look most anomalous",
    ):
        assert words in page
    for words in ("Anomalies detected", "FPR at 95%", "Which classes are hard?", 'data-live="detected"'):
        assert words not in page
    assert page.count('<button type="button" class="card') == 24
    drawn = {path.stem for path in Path(f"reports/{RUN}").rglob("*.svg")}
    assert {"scores", "calibration", "reconstructions", "latent", "history"} <= drawn
    assert not drawn & {"roc", "pr", "classes"}
    metrics = json.loads(Path(f"reports/{RUN}/metrics.json").read_text())
    assert metrics["false_alarm_band"] == list(false_alarm_band(34, 26, 0.05))


def test_reports_of_several_runs_take_it(here: Path):
    """Beside another on the same images there is nothing to test; beside one with anomalies its curve stands alone."""
    ok("train", "--dataset", here / "scans", *QUICK, "--name", "again", "--seed", "1")
    ok("train", "--dataset", "digits", "--normal", "0", *QUICK)
    machine = {"pictures": False}
    own = [collect.run_report(Path("runs") / name, **machine) for name in (RUN, "again")]
    assert collect.compare(own).pairs == ()
    assert "no test image is anomalous" in ok("report", RUN, "again", "--output", "same").stdout
    assert "there is no ROC curve" in Path("same/index.html").read_text()
    ok("report", RUN, "digits-0-ae", "--output", "both")
    assert (Path("both/index.html").read_text()).count('data-figure="roc"') == 1


@pytest.mark.parametrize("figure", ["scores", "calibration", "reconstructions", "latent", "traverse"])
def test_figures_that_need_no_anomaly_are_drawn(here: Path, figure: str):
    ok("plot", figure, "--run", RUN, "--output", "figure.png")
    assert "0 anomalous and 26 normal" in fails(1, "plot", "roc", "--run", RUN, "--output", "roc.png")


def test_what_needs_anomalies_says_so(here: Path):
    scans = here / "scans"
    assert "no anomalous image" in fails(1, "benchmark", "--dataset", scans)
    assert "no class 0, normal in this run" in fails(1, "benchmark", "--dataset", "digits", "--also", scans)
    for words in (["latent-dim"], ["--grid", "latent-dim=1"]):
        assert "has one class" in fails(2, "study", *words, "--dataset", scans)
    assert "no anomalous image" in fails(1, "compare", RUN)
    before = sorted(Path("runs").iterdir())
    assert "all images of this data set are normal" in fails(
        2, "compare", "--normal", "normal", "--dataset", scans
    )
    assert sorted(Path("runs").iterdir()) == before
    assert "no normal class is left" in fails(2, "train", "--anomalous", "normal", "--dataset", scans)


def test_other_folders_are_scored_and_judged(here: Path):
    ok("score", here / "mixed", "--run", RUN, "--output", "scores.csv", "--quiet")
    assert len(Path("scores.csv").read_text().splitlines()) == 21
    # Normal images of another day are a folder of the same class; with anomalies there is a ROC-AUC.
    shutil.copytree(here / "scans", "day")
    assert parsed("evaluate", RUN, "--dataset", "day", "--json")["n_anomalous"] == 0
    shutil.copytree(here / "scans", "sorted/normal")
    shutil.copytree(here / "mixed" / "1", "sorted/scratched")
    document = parsed("evaluate", RUN, "--dataset", "sorted", "--json")
    assert document["roc_auc"] is not None
    assert "false_alarm_band" not in document


def test_a_folder_that_has_grown_is_not_judged_by_what_was_trained_on(here: Path):
    shutil.copytree(here / "scans", "growing")
    ok("train", "--dataset", "growing", *QUICK)
    ok("evaluate", "growing-normal-ae", "--dataset", "growing")
    shutil.copy(next((here / "mixed" / "3").iterdir()), "growing/new.png")
    assert "not the one this run was trained on" in fails(1, "evaluate", "growing-normal-ae")
    said = fails(1, "evaluate", "growing-normal-ae", "--dataset", "growing")
    assert "has changed since this run was trained on it" in said
    # What it keeps can still be told.
    assert "cannot be read any more" in ok("report", "growing-normal-ae").stdout
    assert "finished" in ok("runs", "growing-normal-ae").stdout


def test_several_classes_are_asked_for_before_an_image_is_read(here: Path):
    Path("two/a").mkdir(parents=True)
    Path("two/b").mkdir()
    Path("two/a/1.png").write_text("not a picture")
    assert "say which classes are normal" in fails(2, "train", "--dataset", "two")
    assert "say which classes are normal" in fails(2, "tune", "--dataset", "two")


def test_an_interrupted_training_goes_on(here: Path, monkeypatch: pytest.MonkeyPatch):
    from anomalae.cli.training_display import TrainingShown

    def interrupt(self: TrainingShown, state: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingShown, "on_epoch", interrupt)
        assert run("train", "--dataset", here / "scans", *QUICK, "--name", "x").exit_code == 130
    ok("train", "--resume", "x", "--quiet")
    first, second = (Run(Path("runs") / name).evaluation().scores for name in (RUN, "x"))
    np.testing.assert_array_equal(first, second)


def test_settings_are_found_without_a_class(here: Path):
    pytest.importorskip("optuna")
    ok("tune", "--dataset", here / "scans", "--trials", "1", *SMALL)
    assert Path("reports/tuning/scans-normal/winner.toml").is_file()
    ok("train", "--config", "reports/tuning/scans-normal/winner.toml", "--name", "tuned", "--quiet")


def test_a_log_takes_it(here: Path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    ok("train", "--dataset", here / "scans", *QUICK, "--name", "logged", "--log", "tensorboard")
    kept = EventAccumulator("logs/logged").Reload()
    assert "roc" not in kept.Tags()["images"]
    assert "scores" in kept.Tags()["images"]
    assert kept.Scalars("false_alarm_rate")
