"""`evaluate`, `runs`, `benchmark` and `data`: numbers that equal scikit-learn's, kept where they should be."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from anomalae import Detector, runs
from anomalae.datasets.load import Dataset
from anomalae.runs.record import NEWEST
from tests.cli import QUICK, SMALL, fails, ok, parsed, run

KEYS = [
    "run", "dataset", "normal", "score", "roc_auc", "roc_auc_interval", "average_precision", "prevalence",
    "fpr_at_95_tpr", "alpha", "threshold", "false_alarm_rate", "detection_rate", "n_normal", "n_anomalous", "per_class",
]  # fmt: skip


@pytest.fixture
def trained() -> Path:
    # So that it has learned something in two epochs.
    ok("train", "--normal", "0", *QUICK, "--views", "pixels", "--score", "smooth", "--quiet")
    return Path("runs/digits-0-ae")


def test_json_is_what_it_says(trained: Path, digits: Dataset):
    document = parsed("evaluate", "--alpha", "0.1", "--keep", "--json")
    assert list(document) == KEYS
    detector = Detector.load(trained)
    scores, anomalous = detector.score(digits.test.images), digits.test.labels != 0
    assert document["roc_auc"] == pytest.approx(roc_auc_score(anomalous, scores))
    assert document["threshold"] == detector.threshold(0.1)
    flags = detector.flags(digits.test.images, 0.1)
    assert document["false_alarm_rate"] == pytest.approx(flags[~anomalous].mean())
    assert document["detection_rate"] == pytest.approx(flags[anomalous].mean())
    assert list(document["per_class"]) == [str(c) for c in range(1, 10)]
    three = (digits.test.labels == 3) | ~anomalous
    assert document["per_class"]["3"]["roc_auc"] == pytest.approx(
        roc_auc_score(anomalous[three], scores[three])
    )
    low, high = document["roc_auc_interval"]
    assert low <= document["roc_auc"] <= high
    assert json.loads((trained / "evaluation.json").read_text()) == document
    with (trained / "scores.csv").open() as file:
        kept = list(csv.DictReader(file))
    assert list(kept[0]) == ["index", "label", "is_anomaly", "score", "p_value", "flagged"]
    np.testing.assert_array_equal([float(row["score"]) for row in kept], scores)
    np.testing.assert_array_equal([row["flagged"] == "1" for row in kept], flags)
    np.testing.assert_array_equal([int(row["label"]) for row in kept], digits.test.labels)


def test_other_rule_and_other_data_are_not_kept(trained: Path):
    before = (trained / "evaluation.json").read_text()
    other = parsed("evaluate", "--score", "mse", "--json", "--output", "mse.json")
    assert other["score"] == "mse"
    assert json.loads(Path("mse.json").read_text()) == other
    ok("data", "export", "digits", "folder/train", "--limit", "20")
    ok("data", "export", "digits", "folder/test", "--limit", "30")
    elsewhere = parsed("evaluate", "--dataset", "folder", "--json")
    assert elsewhere["n_normal"] == 3
    assert (trained / "evaluation.json").read_text() == before


def test_another_alpha_is_told_and_not_kept(trained: Path):
    before = [(trained / name).read_bytes() for name in ("evaluation.json", "scores.csv")]
    other = ok("evaluate", "--alpha", "0.2").stdout
    assert "threshold at alpha 0.2" in other
    assert "not kept: the run keeps its numbers at alpha 0.05; --keep puts these in their place" in other
    assert parsed("evaluate", "--alpha", "0.01", "--json")["detection_rate"] is None
    assert [(trained / name).read_bytes() for name in ("evaluation.json", "scores.csv")] == before
    assert "alpha 0.05" in ok("runs", "digits-0-ae").stdout
    assert parsed("report", "--json")["runs"][0]["detection_rate"] > 0


def test_an_alpha_that_shall_be_kept_is_the_runs_own_from_then_on(trained: Path):
    kept = parsed("evaluate", "--alpha", "0.2", "--keep", "--json")
    assert json.loads((trained / "evaluation.json").read_text()) == kept
    assert parsed("evaluate", "--json") == kept
    assert "not kept: the run keeps its numbers at alpha 0.2;" in ok("evaluate", "--alpha", "0.05").stdout
    assert json.loads((trained / "evaluation.json").read_text()) == kept
    # One that cannot be read is made anew.
    (trained / "evaluation.json").write_text("{")
    assert parsed("evaluate", "--json")["alpha"] == 0.05
    assert json.loads((trained / "evaluation.json").read_text())["alpha"] == 0.05


def test_exploring_a_run_that_keeps_nothing_keeps_nothing(trained: Path):
    for name in ("evaluation.json", "scores.csv"):
        (trained / name).unlink()
    for words in (["--alpha", "0.2"], ["--score", "mse"]):
        assert "not kept" in ok("evaluate", *words).stdout
    assert not (trained / "evaluation.json").exists()
    assert "kept: runs/digits-0-ae/evaluation.json" in ok("evaluate").stdout
    assert (trained / "scores.csv").is_file()


def test_numbers_that_cannot_be_kept_are_told_all_the_same(trained: Path):
    (trained / "scores.csv").unlink()
    (trained / "scores.csv").mkdir()
    result = ok("evaluate", "--json", "--quiet")
    assert json.loads(result.stdout)["roc_auc"] > 0.5
    assert result.stderr.startswith("Warning: not kept: runs/digits-0-ae/scores.csv: cannot be written")


@pytest.mark.parametrize("version", [-1, 0, True, "2", None, 1.5, [], 99])
def test_a_format_that_is_none_is_one_line(trained: Path, version: Any):
    config = json.loads((trained / runs.CONFIG).read_text())
    (trained / runs.CONFIG).write_text(json.dumps({**config, "format_version": version}))
    reason = f"is newer than {NEWEST}" if version == 99 else f"must be a whole number from 1 to {NEWEST}"
    assert f"config.json: format version {version!r}" in (line := fails(1, "evaluate"))
    assert reason in line


def test_table_names_the_run_and_the_band(trained: Path):
    text = ok("evaluate", "--alpha", "0.1").stdout
    assert "digits-0-ae: digits, normal 0, score smooth" in text
    assert "expected" in text
    assert "FPR at 95% TPR" in text
    assert ok("evaluate", "--quiet").stdout == ""


def test_other_data_without_the_normal_class_is_refused(trained: Path):
    ok("data", "export", "digits", "folder/train", "--class", "3-5")
    ok("data", "export", "digits", "folder/test", "--class", "3-5")
    assert "no class 0, normal in this run" in fails(1, "evaluate", "--dataset", "folder")


def test_one_kind_of_image_only_has_no_roc(trained: Path):
    ok("data", "export", "digits", "folder/train", "--class", "0")
    ok("data", "export", "digits", "folder/test", "--class", "0")
    document = parsed("evaluate", "--dataset", "folder", "--alpha", "0.1", "--json")
    assert document["roc_auc"] is None
    assert document["false_alarm_rate"] is not None
    assert "one kind of image only" in ok("evaluate", "--dataset", "folder").stdout


def test_data_that_is_gone_or_has_changed(tmp_path: Path):
    ok("data", "export", "digits", "folder", "--class", "0,1")
    ok("train", "--normal", "0", "--dataset", "folder", *SMALL[2:], "--quiet")
    assert Detector.load("runs/folder-0-ae").data.name is not None
    image = next(Path("folder/1").iterdir())
    image.unlink()
    assert "not the one this run was trained on" in fails(1, "evaluate")
    Path("folder").rename("moved")
    assert "folder" in fails(1, "evaluate")


def test_few_calibration_images_warn(trained: Path):
    result = ok("evaluate", "--alpha", "0.01")
    assert "Warning: " in result.stderr
    assert "smallest alpha that can flag" in result.stderr
    assert parsed("evaluate", "--alpha", "0.01", "--json")["threshold"] is None


def test_runs_lists_and_shows(trained: Path):
    ok("train", "--normal", "1", *QUICK, "--quiet")
    listed = parsed("runs", "--json")
    assert [one["run"] for one in listed] == ["digits-1-ae", "digits-0-ae"]
    assert listed[0]["evaluation"]["roc_auc"] is not None
    text = ok("runs").stdout
    assert "digits-0-ae" in text
    assert "finished" in text
    shown = ok("runs", "digits-0-ae").stdout
    assert "latent dim" in shown
    assert "validation" in shown
    assert parsed("runs", "digits-0-ae", "--json")["settings"]["latent_dim"] == 8
    assert "no such run" in fails(2, "runs", "none")
    assert "No runs" in ok("runs", "--runs-dir", "elsewhere").stderr


@pytest.mark.parametrize("content", ["5", "[]", '{"a": 1}', "{"])
def test_a_broken_evaluation_is_one_line(trained: Path, content: str):
    (trained / "evaluation.json").write_text(content)
    assert "broken: " in ok("runs").stdout
    assert "evaluation.json" in fails(1, "runs", "digits-0-ae")


def test_a_run_on_arrays_knows_no_classes(small: Detector):
    small.save("runs/arrays")
    assert "does not know which classes are normal" in fails(1, "evaluate", "--dataset", "digits")


def test_a_broken_run_is_listed_as_such_and_spoils_nothing(trained: Path):
    ok("train", "--normal", "1", *QUICK, "--quiet")
    (trained / runs.CONFIG).write_text("{")
    assert "broken: " in ok("runs").stdout
    assert "not valid JSON" in fails(1, "runs", "digits-0-ae")


class TestBenchmark:
    ARGS = ("benchmark", *SMALL, "--alpha", "0.1", "--normal", "0,1", "--threads", "1")

    def test_cells_go_on_where_they_were(self):
        table = parsed(*self.ARGS, "--json")
        cells = Path("reports/benchmark-digits-ae/cells")
        first = {p.name: p.stat().st_mtime_ns for p in cells.iterdir() if p.name != ".lock"}
        name, other = (table["cells"][f"normal-{d}_seed-0"] for d in (0, 1))
        assert set(first) == {f"{stem}.{s}" for stem in (name, other) for s in ("json", "safetensors")}
        (cells / f"{other}.json").unlink()  # as after a kill
        result = ok(*self.ARGS, "--seeds", "0,1")
        assert "normal-0_seed-0: ROC-AUC" in result.stderr
        assert "(kept)" in result.stderr
        second = {p.name: p.stat().st_mtime_ns for p in cells.iterdir() if p.name != ".lock"}
        assert second[f"{name}.json"] == first[f"{name}.json"]
        assert len(second) == 8
        more = json.loads(Path("reports/benchmark-digits-ae/table.json").read_text())
        assert (
            more["rows"][1]["roc_auc"]["bent"]["values"][0]
            == table["rows"][1]["roc_auc"]["bent"]["values"][0]
        )
        values = [[row["roc_auc"]["bent"]["values"][s] for row in more["rows"]] for s in (0, 1)]
        assert more["mean"]["bent"]["values"] == pytest.approx(np.mean(values, axis=1))
        assert more["mean"]["bent"]["sd"] == pytest.approx(np.std(np.mean(values, axis=1), ddof=1))
        low, high = more["mean"]["bent"]["interval"]
        assert low <= more["mean"]["bent"]["mean"] <= high
        assert "| **mean** |" in result.stdout
        command = "anomalae benchmark --dataset digits --normal 0,1 --seeds 0,1"
        assert more["command"].startswith(command)
        assert "--latent-dim 8 --hidden 32 --epochs 2" in more["command"]
        assert Path("reports/benchmark-digits-ae/table.md").read_text().rstrip() == result.stdout.rstrip()

    def test_a_cell_equals_the_run_of_the_same_seed(self):
        table = parsed(*self.ARGS, "--json", "--output", "b")
        ok("train", "--normal", "1", *QUICK, "--threads", "1", "--quiet")
        alone = parsed("evaluate", "--threads", "1", "--alpha", "0.1", "--json")
        assert table["rows"][1]["roc_auc"]["bent"]["mean"] == alone["roc_auc"]
        assert table["rows"][1]["false_alarm_rates"] == [alone["false_alarm_rate"]]

    def test_other_settings_need_another_folder(self):
        ok(*self.ARGS, "--quiet", "--output", "b")
        complaint = fails(1, *self.ARGS, "--output", "b", "--noise", "0.5")
        assert "noise: 1.0 there, 0.5 here" in complaint

    def test_development_part_leaves_the_test_part_alone(self, digits: Dataset):
        table = parsed(*self.ARGS, "--part", "development", "--json")
        assert table["part"] == "development"
        row = table["rows"][0]
        assert row["n_anomalous"] == int((digits.train.labels != 0).sum())
        assert table["mean"]["bent"]["interval"] is None

    def test_a_test_part_without_the_class_is_refused_before_training(self):
        ok("data", "export", "digits", "folder/train", "--class", "0,1")
        ok("data", "export", "digits", "folder/test", "--class", "0")
        complaint = fails(1, "benchmark", "--dataset", "folder", *SMALL[2:], "--output", "b")
        assert "has no anomalous image" in complaint
        assert "cannot be written" in fails(1, *self.ARGS, "--output", "/proc/x/y")

    def test_bad_arguments(self):
        assert "--seeds 'x'" in fails(2, *self.ARGS, "--seeds", "x")
        assert "none may be named twice" in fails(2, *self.ARGS, "--seeds", "1,1")
        assert "class 12" in fails(2, "benchmark", "--dataset", "digits", "--normal", "12")


class TestData:
    def test_list_names_them_all(self):
        found = {one["name"]: one for one in parsed("data", "list", "--json")}
        assert set(found) == {"mnist", "fashion-mnist", "kmnist", "emnist-digits", "digits"}
        assert "digits" in ok("data", "list").stdout

    def test_export_writes_class_and_index(self, digits: Dataset):
        from PIL import Image

        ok("data", "export", "digits", "out", "--split", "test", "--class", "3", "--limit", "4")
        paths = sorted(Path("out/3").iterdir())
        assert len(paths) == 4
        index = int(paths[0].stem)
        assert digits.test.labels[index] == 3
        with Image.open(paths[0]) as image:
            assert np.array_equal(np.asarray(image), digits.test.images[index])
        assert "class x: not in digits" in fails(2, "data", "export", "digits", "out", "--class", "x")
        assert "0 is not in the range" in fails(2, "data", "export", "digits", "out", "--limit", "0")

    def test_fetch_of_an_unknown_name(self):
        assert "nothing-such" in fails(2, "data", "fetch", "nothing-such")
        assert run("data", "fetch", "digits").exit_code == 0
