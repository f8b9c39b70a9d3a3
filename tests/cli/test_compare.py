"""`compare`: a table whose numbers are PyOD's and DeLong's, kept in the run; failures in rows; mistakes told early."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from anomalae import Detector, files
from anomalae.datasets.load import Dataset
from anomalae.evaluation.intervals import delong_interval
from anomalae.evaluation.significance import delong_test
from anomalae.experiments.baselines import registry as baselines
from anomalae.experiments.baselines import trials
from anomalae.network_kinds import MODELS
from tests.cli import QUICK, fails, ok, parsed, run

ROW = [
    "method", "settings", "roc_auc", "roc_auc_interval", "average_precision", "fpr_at_95_tpr", "fit_seconds",
    "score_seconds", "peak_memory_bytes", "p_value_vs_run", "status",
]  # fmt: skip

ODD = """
    import numpy as np

    class Nan:
        def fit(self, rows):
            pass
        def decision_function(self, rows):
            return np.full(len(rows), np.nan)

    class Constant(Nan):
        def decision_function(self, rows):
            return np.ones(len(rows))

    class Norm(Nan):
        def decision_function(self, rows):
            return (rows**2).sum(1)

    class Needs(Nan):
        def fit(self, rows):
            import no_such_part
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of eights, which are not easy, trained briefly."""
    folder = tmp_path_factory.mktemp("made")
    ok("train", "--normal", "8", *QUICK, "--seed", "3", "--quiet", "--runs-dir", folder / "runs")
    return folder / "runs"


@pytest.fixture
def trained(made: Path) -> Path:
    shutil.copytree(made, "runs")
    return Path("runs/digits-8-ae")


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of PyOD's: quick detectors, some of which fail."""
    (tmp_path / "odd_rows.py").write_text(textwrap.dedent(ODD))
    monkeypatch.syspath_prepend(tmp_path)
    names = ("Norm", "Constant", "Nan", "Needs")
    made = [baselines.Baseline(name.lower(), name.lower(), "a fake", f"odd_rows.{name}") for name in names]
    monkeypatch.setattr(baselines, "BASELINES", tuple(made))
    monkeypatch.setattr(baselines, "NAMES", tuple(b.name for b in made))


def method(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in document["rows"] if row["method"] == name)


def test_numbers_are_those_of_pyod_and_of_delong(trained: Path, digits: Dataset):
    from pyod.models.knn import KNN
    from pyod.models.lof import LOF

    document = parsed("compare", "--baseline", "lof,knn", "--json", "--quiet", "--output", "table.csv")
    assert next(iter(document)) == "run"
    assert [list(row) for row in document["rows"]] == [ROW] * 3
    assert [row["method"] for row in document["rows"]] == ["anomalae", "knn", "lof"]
    assert json.loads((trained / "comparison.json").read_text()) == document

    split = digits.one_class(normal=[8], seed=3)
    train = np.concatenate([split.train.images, split.validation.images]).reshape(-1, 784) / 255
    test, anomalous = split.test.images.reshape(-1, 784) / 255, split.test.labels != 8
    own = Detector.load(trained).score(split.test.images)
    p_values = []
    for name, detector in (("knn", KNN()), ("lof", LOF())):
        scores = detector.fit(train).decision_function(test)
        row = method(document, name)
        assert row["roc_auc"] == pytest.approx(roc_auc_score(anomalous, scores))
        assert row["average_precision"] == pytest.approx(average_precision_score(anomalous, scores))
        assert row["roc_auc_interval"] == pytest.approx(delong_interval(scores, anomalous))
        assert row["status"] == "ok"
        assert min(row["fit_seconds"], row["score_seconds"], row["peak_memory_bytes"]) > 0
        p_values.append(delong_test(scores, own, anomalous).p_value)
    low, high = sorted(p_values)
    corrected = {low: min(1.0, 2 * low), high: min(1.0, max(2 * low, high))}
    for name, p_value in zip(("knn", "lof"), p_values, strict=True):
        assert method(document, name)["p_value_vs_run"] == pytest.approx(corrected[p_value])
    mine = method(document, "anomalae")
    assert mine["roc_auc"] == pytest.approx(roc_auc_score(anomalous, own))
    assert mine["fit_seconds"] == json.loads((trained / "config.json").read_text())["seconds"]
    assert mine["p_value_vs_run"] is None
    assert mine["peak_memory_bytes"] is None
    arrays, _ = files.read_arrays(trained / "comparison.safetensors")
    assert list(arrays) == ["anomalae", "knn", "lof"]
    np.testing.assert_array_equal(arrays["anomalae"], own)
    with Path("table.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["roc_auc"]) for line in lines] == [row["roc_auc"] for row in document["rows"]]
    assert float(lines[1]["roc_auc_low"]) == document["rows"][1]["roc_auc_interval"][0]


def test_a_second_call_fits_nothing_and_says_so(trained: Path, odd: None):
    first = run("compare", "--baseline", "norm")
    again = run("compare", "--baseline", "norm", "--output", "table.md")
    assert "[1/1] norm: ROC-AUC" in first.stderr
    assert "(fitted in" in first.stderr
    assert "(kept)" in again.stderr
    assert ok("runs", "--json").stdout.count('"name"') == 1  # the folder of kept results is no run


def test_table_for_people(trained: Path, odd: None):
    found = ok("compare", "--baseline", "norm", "--output", "table.md", "--seed", "7")
    table = Path("table.md").read_text()
    for text in (found.stdout, table):
        words = " ".join(text.split())
        assert "a difference of these fitted models on these test images" in words
        assert "Holm-corrected" in words
        assert "pyod" in words
    assert table.splitlines()[0].startswith("| method | settings | ROC-AUC |")
    assert "anomalae compare --run digits-8-ae --baseline norm --seed 7" in table
    assert "**" in table
    assert "kept: runs/digits-8-ae/comparison.json" in found.stdout


def test_failures_have_rows_and_a_status(trained: Path, odd: None):
    done = run("compare", "--baseline", "all", "--json", "--quiet")
    assert done.exit_code == 4
    document = json.loads(done.stdout)
    assert method(document, "norm")["status"] == "ok"
    constant = method(document, "constant")
    assert constant["status"] == "returned the same score, 1, for all 539 images"
    assert constant["roc_auc"] == 0.5
    assert constant["p_value_vs_run"] is None
    nan = method(document, "nan")
    assert nan["status"] == "returned NaN as the score of 539 of 539 images"
    assert nan["roc_auc"] is nan["roc_auc_interval"] is None
    assert method(document, "needs")["status"] == "needs no_such_part: pip install no_such_part"
    assert list(files.read_arrays(trained / "comparison.safetensors")[0]) == ["anomalae", "norm"]
    assert document["best"] in ("anomalae", "norm")
    table = run("compare", "--baseline", "norm,nan").stdout
    assert "returned NaN" in " ".join(table.split())
    assert run("compare", "--baseline", "nan,needs", "--quiet").exit_code == 1
    kept = json.loads((trained / "comparison.json").read_text())
    assert kept["rows"][1]["status"] == "ok"  # a call in which all fail does not replace what is there


def test_a_time_limit_is_a_row(trained: Path, odd: None):
    done = run("compare", "--baseline", "norm", "--time-limit", "0.001", "--json", "--quiet")
    assert done.exit_code == 1
    assert method(json.loads(done.stdout), "norm")["status"] == "passed the time limit of 0.001 s"


def test_normal_trains_a_run_first(odd: None, monkeypatch: pytest.MonkeyPatch):
    short = dataclasses.replace(MODELS["ae"], schedule=(1, 1))
    monkeypatch.setitem(MODELS._ours, "ae", short)
    document = parsed("compare", "--baseline", "norm", "--normal", "0", "--dataset", "digits", "--json", "--quiet",
                      "--seed", "2")  # fmt: skip
    assert document["run"] == "digits-0-ae"
    assert document["normal"] == [0]
    assert document["seed"] == 2
    record = json.loads(Path("runs/digits-0-ae/config.json").read_text())
    assert record["data"]["seed"] == record["settings"]["seed"] == 2
    assert document["n_train"] == record["data"]["n_train"] + record["data"]["n_validation"]
    assert Path("runs/digits-0-ae/evaluation.json").is_file()


def test_ctrl_c_leaves_one_line(trained: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*args: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trials, "_run", interrupt)
    done = run("compare", "--baseline", "lof")
    assert done.exit_code == 130
    assert "Interrupted with 0 of 1 baselines done; the same command goes on." in done.stderr
    assert not (trained / "comparison.json").exists()


def test_list_names_each_with_a_line():
    lines = ok("compare", "--list").stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == [b.label for b in baselines.BASELINES]
    named = parsed("compare", "--list", "--json")
    assert [row["label"] for row in named] == [b.label for b in baselines.BASELINES]
    assert {row["name"] for row in named} >= {
        "knn", "lof", "pca", "ocsvm", "kde", "gmm", "iforest", "ecod", "copod", "hbos", "inne", "deep-svdd",
        "autoencoder", "vae",
    }  # fmt: skip


@pytest.fixture
def nothing_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any, **more: Any) -> None:
        raise AssertionError("fitted")

    monkeypatch.setattr(trials, "_run", never)
    monkeypatch.setattr(Detector, "fit", never)


@pytest.mark.parametrize(
    ("status", "words", "message"),
    [
        (2, ["--baseline", "loff"], "did you mean 'lof'?"),
        (2, ["--baseline", ""], "baseline '': unknown"),
        (2, ["--output", "table.txt"], "the suffix must be one of .csv, .json, .md"),
        (1, ["--output", "nowhere/table.md"], "the folder does not exist"),
        (2, ["--time-limit", "0"], "above 0"),
        (2, ["--time-limit", "nan"], "above 0"),
        (2, ["--time-limit", "inf"], "above 0"),
        (2, ["--pca", "0"], "--pca"),
        (2, ["--pca", "785"], "--pca"),
        (1, ["--pca", "700", "--baseline", "lof"], "pca 700: must be from 1 to"),
        (1, ["--pca", "700", "--normal", "0", "--dataset", "digits"], "pca 700: must be from 1 to 125"),
        (2, ["--run", "digits-8-ae", "--normal", "0"], "exclude each other"),
        (2, ["--dataset", "digits"], "--dataset needs --normal"),
        (2, ["--run", "none"], "no such run"),
    ],
)  # fmt: skip
def test_mistakes_are_told_before_anything_is_fitted(
    status: int, words: list[str], message: str, trained: Path, nothing_is_fitted: None
):
    assert message in fails(status, "compare", *words)


def test_data_that_are_gone_or_changed_are_named():
    ok("data", "export", "digits", "mine/train", "--limit", "400", "--quiet")
    ok("data", "export", "digits", "mine/test", "--limit", "60", "--quiet")
    ok("train", "--normal", "0", "--dataset", "mine", *QUICK[2:], "--quiet")
    next(Path("mine/test/3").iterdir()).unlink()
    assert "its test part is not the one" in fails(1, "compare", "--baseline", "lof")
    shutil.rmtree("mine")
    assert "mine" in fails(1, "compare", "--baseline", "lof")
