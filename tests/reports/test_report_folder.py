"""Report folders: only what an earlier report wrote is replaced; scored files are told apart; odd names survive."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalae import files
from tests.cli import QUICK, SMALL, fails, ok, parsed


@pytest.fixture
def trained(digits) -> Path:
    ok("train", "--normal", "0", *QUICK, "--name", "d0", "--quiet")
    Path("imgs").mkdir()
    for place in range(6):
        Image.fromarray(digits.test.images[place]).save(f"imgs/{place}.png")
    return Path("runs/d0")


def test_foreign_files_stay(trained):
    Path("mine").mkdir()
    for name in ("samples.png", "matrix.svg", "notes.txt"):
        (Path("mine") / name).write_text("mine")
    ok("report", "d0", "--output", "mine", "--quiet")
    ok("report", "d0", "--output", "mine", "--quiet")
    for name in ("samples.png", "matrix.svg", "notes.txt"):
        assert (Path("mine") / name).read_text() == "mine"


def test_what_an_earlier_report_left_over_goes(trained):
    ok("score", "imgs", "--output", "scores.csv", "--quiet")
    ok("report", "d0", "--output", "it", "--quiet")
    before = set(json.loads(Path("it/metrics.json").read_text())["files"])
    assert before == {path.name for path in Path("it").iterdir()}
    ok("report", "d0", "--scores", "scores.csv", "--output", "it", "--quiet")
    after = json.loads(Path("it/metrics.json").read_text())["files"]
    assert set(after) == {path.name for path in Path("it").iterdir()} < before | set(after)
    assert "roc.svg" in before - set(after)


def test_two_files_of_one_name_do_not_share_a_report(trained):
    for folder in ("a", "b"):
        Path(folder).mkdir()
        ok(
            "score",
            f"imgs/{'0' if folder == 'a' else '1'}.png",
            "--output",
            f"{folder}/scores.csv",
            "--quiet",
        )
    ok("report", "d0", "--scores", "a/scores.csv", "--quiet")
    ok("report", "d0", "--scores", "a/scores.csv", "--quiet")
    assert "holds the report of" in fails(1, "report", "d0", "--scores", "b/scores.csv")


def test_the_rule_is_told_by_the_pictures_where_all_p_values_fit(trained):
    """The images are all anomalies, so that every rule gives them the same p-value."""
    Image.fromarray(np.full((28, 28), 255, np.uint8)).save("white.png")
    ok("score", "white.png", "--score", "mse", "--output", "one.csv", "--preprocess", "none", "--quiet")
    found = parsed("report", "d0", "--scores", "one.csv", "--json")
    assert found["score"] in ("mse", "smooth")
    ok("score", "imgs/1.png", "--score", "relative", "--output", "two.csv", "--quiet")
    assert parsed("report", "d0", "--scores", "two.csv", "--json")["score"] == "relative"


def test_flags_of_a_false_discovery_rate_name_no_alpha(trained):
    ok("score", "imgs", "--fdr", "0.3", "--output", "fdr.csv", "--quiet")
    rows = list(csv.DictReader(Path("fdr.csv").read_text().splitlines()))
    same = all((float(row["p_value"]) <= 0.05) == (row["flagged"] == "1") for row in rows)
    found = parsed("report", "d0", "--scores", "fdr.csv", "--json")
    assert found["alpha"] == (0.05 if same else None)


def test_a_benchmark_with_anomalous_classes_in_turn(digits):
    ok("benchmark", "--anomalous", "1,9", *SMALL, "--output", "ba", "--quiet")
    ok("report", "--benchmark", "ba", "--quiet")
    page = Path("ba/index.html").read_text()
    assert "in turn is anomalous and all others are normal" in " ".join(page.split())


def test_the_same_run_by_two_words_is_refused(trained):
    assert "named twice" in fails(2, "report", "d0", "runs/d0")


def test_a_run_by_a_dot_keeps_its_name(trained, monkeypatch):
    monkeypatch.chdir(trained)
    assert parsed("evaluate", "--run", ".", "--json")["run"] == "d0"


def test_cells_with_a_carriage_return_are_quoted():
    writer = files.CsvText()
    writer.writerows([["a\rb", 1], ["c\nd", 2], ['e"f', 3]])
    assert writer.text() == '"a\rb",1\n"c\nd",2\n"e""f",3\n'
    assert list(csv.reader(io.StringIO(writer.text(), newline=""))) == [
        ["a\rb", "1"],
        ["c\nd", "2"],
        ['e"f', "3"],
    ]


def test_a_class_with_a_carriage_return_can_be_reported(digits):
    for name, label in (("ze\rro", 0), ("one", 1)):
        folder = Path("odd") / name
        folder.mkdir(parents=True)
        for place, image in enumerate(digits.train.images[digits.train.labels == label][:40]):
            Image.fromarray(image).save(folder / f"{place}.png")
    words = [*QUICK[2:], "--dataset", "odd", "--preprocess", "none"]
    ok("train", "--normal", "ze\rro", *words, "--name", "cr", "--quiet")
    ok("report", "cr", "--quiet")
