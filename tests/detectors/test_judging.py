"""Verdicts on inputs are the detector's own, in the order of the inputs, with an error where there is no image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from anomalae import Detector
from anomalae.detectors import judged_rows as rows
from anomalae.detectors import judging
from anomalae.errors import BundleError, ConfigError
from anomalae.evaluation.conformal import benjamini_hochberg
from anomalae.images.inputs import Input
from anomalae.reports.collect.scores_file import read_scores


@pytest.fixture
def inputs(images: np.ndarray) -> list[Input]:
    """Nine images, and in their midst one that could not be read."""
    entries = [Input(f"a/{place}.png", image) for place, image in enumerate(images[:9])]
    return [*entries[:4], Input("gone.png", None, "gone.png: no such file"), *entries[4:]]


def test_rows_are_what_the_detector_says(small: Detector, inputs: list[Input], images: np.ndarray):
    judged = judging.judge(small, inputs, alpha=0.2, run="a")
    assert [row.path for row in judged.rows] == [entry.name for entry in inputs]
    there = [row for row in judged.rows if row.error is None]
    np.testing.assert_array_equal([row.score for row in there], small.score(images[:9]))
    np.testing.assert_array_equal([row.p_value for row in there], small.p_values(images[:9]))
    np.testing.assert_array_equal([row.flagged for row in there], small.flags(images[:9], 0.2))
    assert judged.rows[4] == rows.Row("gone.png", None, None, None, "gone.png: no such file")
    assert (judged.run, judged.score, judged.alpha, judged.fdr) == ("a", "bent", 0.2, None)
    assert judged.threshold == small.threshold(0.2)
    assert (judged.n_failed, judged.n_flagged) == (1, int(small.flags(images[:9], 0.2).sum()))


def test_a_false_discovery_rate_decides_instead(small: Detector, inputs: list[Input], images: np.ndarray):
    judged = judging.judge(small, inputs, "mse", fdr=0.3)
    expected = benjamini_hochberg(small.p_values(images[:9], "mse"), 0.3)
    assert [row.flagged for row in judged.rows if row.error is None] == expected.tolist()
    assert (judged.alpha, judged.fdr, judged.threshold, judged.score) == (None, 0.3, None, "mse")


def test_parts_and_their_progress(small: Detector, inputs: list[Input], monkeypatch: pytest.MonkeyPatch):
    whole, counts = judging.judge(small, inputs).rows, []
    monkeypatch.setattr(judging, "SCORED", 4)
    parts = judging.judge(small, inputs, on_scored=counts.append).rows
    assert [row.path for row in parts] == [row.path for row in whole]
    scores = [[row.score for row in judged if row.score is not None] for judged in (parts, whole)]
    np.testing.assert_allclose(*scores, rtol=1e-5)
    assert counts == [4, 7, 9]
    nothing = judging.judge(small, [Input("x", None, "x: broken")])
    assert (len(nothing.rows), nothing.n_failed) == (1, 1)
    assert judging.judge(small, []).rows == []
    with pytest.raises(ConfigError, match="score 'elbo'"):
        judging.judge(small, inputs, "elbo")


def test_heatmaps_are_numbered_as_the_rows(small: Detector, inputs: list[Input], tmp_path: Path):
    counts: list[int] = []
    made = judging.write_heatmaps(tmp_path / "heat", small, inputs, on_drawn=counts.append)
    assert [path.name for path in made] == [
        f"{row:05d}_{place}.png" for place, row in enumerate([0, 1, 2, 3, 5, 6, 7, 8, 9])
    ]
    assert sorted(made) == sorted((tmp_path / "heat").iterdir())
    assert counts == [9]
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="cannot be written"):
        judging.write_heatmaps(tmp_path / "file", small, inputs)


def test_heatmaps_are_called_as_their_images(small: Detector, inputs: list[Input], tmp_path: Path):
    names = ["a/三.png", "b/a b.JPG", "c/é?.png", f"d/{'三' * 85}.png"]
    named = [Input(name, inputs[0].image, None) for name in names]
    made = judging.write_heatmaps(tmp_path / "heat", small, named)
    assert [path.name for path in made] == [
        "00000_三.png",
        "00001_a b.png",
        "00002_é_.png",
        f"00003_{'三' * 66}.png",
    ]


def test_the_csv_is_read_as_it_was_written(small: Detector, inputs: list[Input], tmp_path: Path):
    judged = judging.judge(small, inputs)
    rows.write(tmp_path / "s.csv", judged)
    read = read_scores(tmp_path / "s.csv")
    assert [(row.path, row.score, row.p_value) for row in read] == [
        (row.path, row.score, row.p_value) for row in judged.rows
    ]
    assert [row.flagged for row in read] == [bool(row.flagged) for row in judged.rows]
    assert [row.error for row in read] == [row.error or "" for row in judged.rows]


def test_other_forms_hold_the_same(small: Detector, inputs: list[Input], tmp_path: Path):
    judged = judging.judge(small, inputs)
    document = json.loads(rows.text("json", judged))
    assert document == judged.to_dict()
    assert [json.loads(line) for line in rows.text("jsonl", judged).splitlines()] == document["rows"]
    with pytest.raises(ConfigError, match="form 'xml'"):
        rows.write(tmp_path / "s.xml", judged)


@pytest.mark.parametrize("levels", [{"alpha": 5}, {"fdr": 5}, {"alpha": 0, "fdr": 0.1}])
def test_levels_are_checked_before_anything_is_judged(levels, small):
    with pytest.raises(ConfigError, match="must be above 0 and below 1"):
        judging.judge(small, [], **levels)
