"""Benchmarks that score other data too: all of them, by the detectors of the cells, in every table."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from anomalae import Detector, files
from anomalae.datasets.dataset import Dataset
from anomalae.datasets.load import load_dataset
from anomalae.evaluation.intervals import mean_auc_interval
from tests.cli import QUICK, SMALL, fails, ok, parsed

CALL = ("benchmark", "--normal", "3,8", *SMALL, "--output", "b")
ONE = ("benchmark", "--normal", "3", *SMALL, "--output", "b")


def write(name: str, digits: Dataset, first: int) -> Path:
    """Every sixth of the digits' test part, from the first on, with a frame around them, in a file."""
    some = digits.test.take(np.arange(first, len(digits.test), 6))
    np.savez(name, images=np.pad(some.images, ((0, 0), (3, 3), (3, 3))), labels=some.labels)
    return Path(name)


@pytest.fixture
def file(digits: Dataset) -> Path:
    return write("some.npz", digits, 0)


def cell_file(name: str = "normal-3_seed-0", ending: str = ".json") -> Path:
    stem = json.loads(Path("b/table.json").read_text())["cells"][name]
    return Path(f"b/cells/{stem}{ending}")


def cell() -> dict[str, Any]:
    return json.loads(cell_file().read_text())["numbers"]


@pytest.mark.parametrize("part", ["test", "development"])
def test_the_numbers_are_those_of_the_same_detector(file: Path, digits: Dataset, part: str):
    words = ["--seeds", "0,1", "--alpha", "0.1", "--part", part]
    result = ok(*CALL, *words, "--also", file)
    table = json.loads(Path("b/table.json").read_text())
    whole = load_dataset(file).whole
    ok("train", "--normal", "8", *QUICK, "--seed", "1", "--quiet")
    detector = Detector.load("runs/digits-8-ae")
    anomalous = whole.labels != 8
    row = table["rows"][1]["also"]["some"]
    assert (row["n_normal"], row["n_anomalous"]) == ((~anomalous).sum(), anomalous.sum())
    for rule in ("bent", "mse"):
        expected = roc_auc_score(anomalous, detector.score(whole.images, rule))
        assert row["roc_auc"][rule]["values"][1] == pytest.approx(expected, abs=1e-9)
    flags = detector.flags(whole.images, 0.1)
    assert row["false_alarm_rates"][1] == pytest.approx(flags[~anomalous].mean())
    assert row["detection_rate"]["values"][1] == pytest.approx(flags[anomalous].mean())

    over_all, of_rule = (
        table["also"]["some"],
        lambda row: row["also"]["some"]["roc_auc"]["bent"]["values"],
    )
    assert (over_all["dataset"], over_all["n"]) == (str(file.absolute()), len(whole))
    for key, values in (
        ("mean", [[of_rule(row)[s] for row in table["rows"]] for s in (0, 1)]),
        ("false_alarm_rate", [[row["also"]["some"]["false_alarm_rates"][s] for row in table["rows"]] for s in (0, 1)]),
    ):  # fmt: skip
        spread = over_all[key]["bent"] if key == "mean" else over_all[key]
        assert spread["values"] == pytest.approx(np.mean(values, axis=1))
        assert spread["mean"] == pytest.approx(np.mean(values))
    cells = [(label, seed) for seed in (0, 1) for label in (3, 8)]
    scores = [
        files.read_arrays(cell_file(f"normal-{label}_seed-{seed}", ".safetensors"))[0][
            f"bent on {file.absolute()}"
        ]
        for label, seed in cells
    ]
    truths = np.stack([whole.labels != label for label, _ in cells])
    assert over_all["interval"] == list(mean_auc_interval(np.stack(scores), truths, whole.labels))

    text = Path("b/table.md").read_text()
    mean, alarms = over_all["mean"]["bent"]["mean"], over_all["false_alarm_rate"]["mean"]
    assert "| ROC-AUC on some | false alarms on some |" in text
    assert f"**{mean:.4f} ± " in text
    assert f"**{100 * alarms:.1f}%** |" in text
    assert f"All {len(whole)} images of {file.absolute()}, none of them trained on" in text
    assert f"--also {file.absolute()}" in table["command"]
    assert ", on some 0." in result.stderr
    with Path("b/table.csv").open() as opened:
        lines = {
            (line["normal"], line["seed"], line["method"], line["score"]): line
            for line in csv.DictReader(opened)
        }
    line = lines["8", "1", "anomalae on some", "bent"]
    assert float(line["roc_auc"]) == row["roc_auc"]["bent"]["values"][1]
    assert float(line["false_alarm_rate"]) == row["false_alarm_rates"][1]
    assert lines["8", "1", "anomalae on some", "mse"]["false_alarm_rate"] == ""


def test_a_cell_is_kept_only_with_the_scores_that_are_asked_for(file: Path, digits: Dataset):
    quiet = (*ONE, "--quiet", "--json")
    plain = parsed(*quiet)
    assert "also" not in plain
    assert "also" not in plain["rows"][0]
    first = ok(*ONE, "--also", file)
    assert first.stderr.count("trained in") == 1
    path = cell_file()
    made = path.stat().st_mtime_ns
    # The same training: the numbers on its own data stay.
    again = parsed(*quiet, "--also", file)
    assert again["mean"] == plain["mean"]
    # Without other data the cells do as well.
    assert parsed(*quiet)["mean"] == plain["mean"]
    assert path.stat().st_mtime_ns == made
    more = ok(*ONE, "--also", file, "--also", write("more.npz", digits, 1))
    assert more.stderr.count("trained in") == 1
    assert list(cell()["also"]) == [str(file.absolute()), str(Path("more.npz").absolute())]
    write(file.name, digits, 2)
    assert ok(*ONE, "--also", file).stderr.count("trained in") == 1
    assert cell()["also"][str(file.absolute())]["sha256"] == load_dataset(file).provenance["sha256"]


def test_the_foreign_images_are_prepared_once(file: Path, monkeypatch: pytest.MonkeyPatch):
    from anomalae.images import sources

    prepared = []
    original = sources.to_canonical

    def counted(*args: Any) -> np.ndarray:
        prepared.append(1)
        return original(*args)

    monkeypatch.setattr(sources, "to_canonical", counted)
    ok(*CALL, "--also", file, "--quiet")
    assert len(prepared) == len(np.load(file)["labels"])


def test_members_are_told_apart_on_other_data_too(file: Path):
    found = parsed(*ONE, "--neighbours", "3", "--also", file, "--json", "--quiet")
    assert list(found["also"]["some"]["members"]) == ["settled", "neighbours"]
    values = [row["also"]["some"]["members"]["neighbours"]["mean"] for row in found["rows"]]
    assert found["also"]["some"]["members"]["neighbours"]["mean"] == pytest.approx(np.mean(values))
    assert "| neighbours alone |" in Path("b/table.md").read_text()


def test_two_of_one_name_and_baselines_beside_them(digits: Dataset):
    Path("a").mkdir()
    pair = ["--also", write("a/some.npz", digits, 0), "--also", write("some.npz", digits, 1)]
    ok(*ONE, *pair, "--baseline", "knn", "--threads", "1", "--quiet")
    # Baselines stay, and the command is that of what is there.
    found = parsed(*ONE, *pair[:2], "--json", "--quiet")
    assert list(found["also"]) == ["some"]
    assert found["command"].count("--also") == 1
    assert found["command"].endswith("--baseline knn --threads 1")
    both = parsed(*ONE, *pair, "--json", "--quiet")
    assert list(both["also"]) == ["some", "some (2)"]


def test_the_report_shows_them(file: Path):
    found = parsed(*ONE, "--also", file, "--json", "--quiet")
    ok("report", "--benchmark", "b")
    page = Path("b/index.html").read_text()
    assert "ROC-AUC on some" in page
    assert f"{found['also']['some']['mean']['bent']['mean']:.4f}" in page


def test_each_class_anomalous_in_turn(file: Path):
    found = parsed(*ONE[:1], "--anomalous", "8", *SMALL, "--also", file, "--json", "--quiet")
    assert found["rows"][0]["also"]["some"]["n_anomalous"] == (np.load(file)["labels"] == 8).sum()


def test_what_cannot_be_scored_is_refused_before_anything_is_trained(file: Path, digits: Dataset):
    few = digits.test.take(np.flatnonzero(digits.test.labels != 8))
    np.savez("few.npz", images=few.images, labels=few.labels)
    eights = digits.test.take(np.flatnonzero(digits.test.labels == 8))
    np.savez("eights.npz", images=eights.images, labels=eights.labels)
    assert "few.npz: no class 8, normal in this run" in fails(1, *CALL, "--also", "few.npz")
    said = fails(1, "benchmark", "--normal", "8", *SMALL, "--output", "b", "--also", "eights.npz")
    assert "eights.npz: has no anomalous image where normal is 8" in said
    assert "digits: not all of it can be scored" in fails(1, *CALL, "--also", "digits")
    assert "--also: a data set is named twice" in fails(1, *CALL, "--also", file, "--also", file)
    assert "did you mean 'kmnist'" in fails(2, *CALL, "--also", "kmnits")
    assert not Path("b").exists()
