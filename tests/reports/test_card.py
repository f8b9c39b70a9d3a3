"""`card`: a run's model card, whose header hubs read and whose every name shows as it is."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt

from anomalae import Detector
from anomalae.evaluation import evaluate
from anomalae.reports.collect import run_report
from anomalae.reports.pages.card import model_card
from tests.cli import QUICK, fails, ok, parsed


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card")
    ok("train", "--normal", "3", *QUICK, "--quiet", "--runs-dir", folder / "runs")
    return folder / "runs" / "digits-3-ae"


def header(card: str) -> dict:
    """The header; each of its values is JSON, as YAML may be."""
    empty, head, _ = card.split("---\n", 2)
    assert empty == ""
    pairs = (line.split(": ", 1) for line in head.splitlines())
    return {key: json.loads(value) for key, value in pairs}


def shown(card: str) -> str:
    return MarkdownIt("commonmark").enable("table").render(card.split("---\n", 2)[2])


def test_its_numbers_are_those_of_the_run(place: Path):
    card = ok("card", "--runs-dir", place.parent).stdout
    kept = json.loads((place / "evaluation.json").read_text())
    (entry,) = header(card)["model-index"]
    measured = {one["type"]: one["value"] for one in entry["results"][0]["metrics"]}
    assert entry["name"] == "digits-3-ae"
    assert measured == {
        "roc_auc": pytest.approx(kept["roc_auc"], abs=1e-6),
        "average_precision": pytest.approx(kept["average_precision"], abs=1e-6),
        "recall": pytest.approx(kept["detection_rate"], abs=1e-6),
        "false_positive_rate": pytest.approx(kept["false_alarm_rate"], abs=1e-6),
    }
    low, high = kept["roc_auc_interval"]
    assert f"<td>{kept['roc_auc']:.4f} ({low:.4f} to {high:.4f})</td>" in shown(card)
    assert "anomalae score images/ --run digits-3-ae\n$ anomalae verify" in card
    assert "datasets" not in header(card)
    assert shown(card).count("<table>") == 4


def test_a_threshold_of_ones_own(place: Path, digits, tmp_path: Path):
    np.save("threes.npy", digits.whole.images[digits.whole.labels == 3][:60])
    ok("calibrate", "threes.npy", "--run", place, "--name", "mine", "--quiet")
    document = parsed("calibrate", "threes.npy", "--run", place, "--name", "mine", "--replace", "--json")
    card = ok("card", place, "--calibration", "mine").stdout
    assert "--run digits-3-ae --calibration mine\n" in card
    assert "flags(\"images/\", calibration='mine')" in card
    called = re.findall(r"detector\.(\w+)\(", card)
    assert called
    assert all(hasattr(Detector, name) for name in called)
    assert f"60 images of threes.npy | {document['threshold']:.5g} |" in card
    assert "No alpha below 0.0164 flags anything" in card
    assert "calibration 'other'" in fails(2, "card", place, "--calibration", "other")


def test_names_from_anywhere_are_only_text(place: Path):
    report = run_report(place, pictures=False)
    name = "a|b<img src=x> `c` [d](e)\n# f *g* _h_ ~i~"
    trained = dataclasses.replace(report.trained, dataset=name, normal=(name,))
    card = model_card(dataclasses.replace(report, trained=trained))
    page = shown(card)
    assert "<img" not in page
    assert "<em>" not in page
    assert "<a " not in page
    assert page.count("<h1>") == 1
    assert page.count("a|b&lt;img src=x&gt; `c` [d](e)\\n# f *g* _h_ ~i~") == 4
    assert header(card)["model-index"][0]["results"][0]["dataset"]["name"] == name


def test_a_folder_of_ones_own_has_its_name_alone(place: Path):
    report = run_report(place, pictures=False)
    facts = dataclasses.replace(report.trained.facts, commands=("anomalae train --dataset /home/me/scans",))
    trained = dataclasses.replace(report.trained, dataset="/home/me/scans", facts=facts)
    card = model_card(dataclasses.replace(report, trained=trained))
    assert "/home/me" not in card
    assert "| command | `anomalae train --dataset scans` |" in card
    assert header(card)["model-index"][0]["results"][0]["dataset"]["name"] == "scans"


def test_of_normal_images_alone_it_says_that_there_is_no_roc_auc(place: Path):
    report = run_report(place, pictures=False)
    normal = ~report.evaluation.is_anomaly
    alone = evaluate(report.evaluation.scores[normal], report.evaluation.is_anomaly[normal], threshold=0.1)
    card = model_card(dataclasses.replace(report, evaluation=alone))
    assert "ROC-AUC (95%" not in card
    assert "nothing is known of how well anomalies are detected" in card
    assert {one["type"] for one in header(card)["model-index"][0]["results"][0]["metrics"]} == {
        "false_positive_rate"
    }


def test_it_is_written_and_lies_beside_the_report(place: Path):
    ok("report", place, "--output", "r", "--quiet")
    assert ok("card", place, "--output", "README.md").stdout == "model card: README.md\n"
    assert Path("README.md").read_bytes() == Path("r/card.md").read_bytes()
    assert "card.md" in json.loads(Path("r/metrics.json").read_text())["files"]
    assert "card.md" in Path("r/index.html").read_text()
    assert "nope" in fails(2, "card", "nope")
    assert "no/such/README.md" in fails(1, "card", place, "--output", "no/such/README.md")
