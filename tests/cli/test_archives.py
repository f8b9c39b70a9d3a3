"""`.npz` files where a data set is named: trained on, judged by, written as a folder, scored as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from anomalae import Detector
from anomalae.datasets.load import Dataset, load_dataset
from tests.cli import QUICK, fails, ok, parsed

HOW = QUICK[2:]


@pytest.fixture
def file(digits: Dataset) -> Path:
    """Some of the digits' test part, cut to 20x20, in a file."""
    some = digits.test.take(np.arange(0, len(digits.test), 3))
    np.savez("some.npz", images=some.images[:, 4:24, 4:24], labels=some.labels)
    return Path("some.npz")


@pytest.fixture
def trained() -> Path:
    ok("train", "--normal", "3", *QUICK, "--quiet")
    return Path("runs/digits-3-ae")


def test_a_run_on_a_file_is_evaluated_later(file: Path):
    ok("train", "--normal", "3", "--dataset", file, *HOW, "--preprocess", "resize", "--quiet")
    run = Path("runs/some-3-ae")
    data = json.loads((run / "config.json").read_text())["data"]
    assert (data["name"], data["preprocess"]) == (str(file.absolute()), "resize")
    kept = json.loads((run / "evaluation.json").read_text())
    assert parsed("evaluate", "--json") == kept
    ok("report")
    assert parsed("compare", "--baseline", "knn", "--json", "--quiet")["rows"][1]["status"] == "ok"
    np.savez(file, **{**np.load(file), "labels": np.roll(np.load(file)["labels"], 1)})
    assert "its train part is not the one this run was trained on" in fails(1, "evaluate")
    file.unlink()
    assert "the folder or file that this run was trained on is gone" in fails(1, "evaluate")


def test_a_file_is_written_as_a_folder(file: Path):
    ok("data", "export", file, "folder", "--preprocess", "resize", "--class", "3")
    there = load_dataset(file, preprocess="resize").test
    assert len(list(Path("folder/3").iterdir())) == (there.labels == 3).sum()


def test_all_of_a_foreign_file_is_scored(trained: Path, file: Path):
    before = (trained / "evaluation.json").read_text()
    document = parsed("evaluate", "--dataset", file, "--part", "all", "--json")
    whole = load_dataset(file).whole
    detector, anomalous = Detector.load(trained), whole.labels != 3
    assert (document["part"], document["n_normal"]) == ("all", (~anomalous).sum())
    assert document["n_anomalous"] == anomalous.sum()
    assert document["roc_auc"] == pytest.approx(roc_auc_score(anomalous, detector.score(whole.images)))
    low, high = document["roc_auc_interval"]
    assert low <= document["roc_auc"] <= high
    flags = detector.flags(whole.images, 0.05)
    assert document["false_alarm_rate"] == pytest.approx(flags[~anomalous].mean())
    table = ok("evaluate", "--dataset", file, "--part", "all").stdout
    assert f"{(~anomalous).sum()} normal and {anomalous.sum()} anomalous images, all there are" in table
    test = parsed("evaluate", "--dataset", file, "--json")
    assert "part" not in test
    assert test["n_normal"] == (load_dataset(file).test.labels == 3).sum()
    assert (trained / "evaluation.json").read_text() == before


def test_names_of_classes_are_told_by_what_they_are_called(file: Path):
    whole = load_dataset(file).whole
    names = np.array([f"digit {label}" for label in whole.labels])
    np.savez("named.npz", images=whole.images, labels=names)
    ok("data", "export", "named.npz", "named/train")
    ok("data", "export", "named.npz", "named/test")
    ok("train", "--normal", "digit 3", "--dataset", "named", *HOW, "--quiet")
    document = parsed("evaluate", "--dataset", "named.npz", "--part", "all", "--json")
    assert document["n_normal"] == (whole.labels == 3).sum()
    assert "no class digit 3, normal in this run" in fails(1, "evaluate", "--dataset", file, "--part", "all")


def test_foreign_images_are_read_as_is_asked(trained: Path, file: Path):
    there = dict(np.load(file))
    np.savez("dark.npz", images=255 - there["images"], labels=there["labels"])
    words = ("--preprocess", "resize", "--polarity", "dark")
    found = parsed("evaluate", "--dataset", "dark.npz", "--part", "all", *words, "--json")
    whole = load_dataset("dark.npz", preprocess="resize", polarity="dark").whole
    scores = Detector.load(trained).score(whole.images)
    assert found["roc_auc"] == pytest.approx(roc_auc_score(whole.labels != 3, scores))
    assert found != parsed("evaluate", "--dataset", "dark.npz", "--part", "all", "--json")
    assert "are of another --dataset" in fails(2, "evaluate", "--polarity", "dark")


def test_what_was_trained_on_is_not_scored_as_foreign(trained: Path, digits: Dataset):
    assert "--part all needs another --dataset" in fails(2, "evaluate", "--part", "all")
    assert "not all of it can be scored" in fails(1, "evaluate", "--dataset", "digits", "--part", "all")
    np.savez(
        "copy.npz",
        train_images=digits.train.images,
        train_labels=digits.train.labels,
        test_images=digits.test.images,
        test_labels=digits.test.labels,
    )
    said = fails(1, "evaluate", "--dataset", "copy.npz", "--part", "all")
    assert "copy.npz: not all of it can be scored, for its train part is what was trained on" in said
    # Its test part was not trained on, wherever it comes from.
    ok("evaluate", "--dataset", "copy.npz", "--quiet")
