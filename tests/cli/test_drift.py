"""`drift`: a scored folder against the run that scored it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalae import Detector
from anomalae.evaluation import p_values
from tests.cli import fails, ok, parsed


@pytest.fixture(autouse=True)
def there(small: Detector, images: np.ndarray, tmp_path: Path) -> None:
    small.save(tmp_path / "runs" / "small")
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(30):
        Image.fromarray(images[index % len(images)]).save(folder / f"{index:02d}.png")
        os.utime(folder / f"{index:02d}.png", (1000 - index, 1000 - index))
    np.save("noise.npy", np.random.default_rng(0).integers(0, 256, (60, 28, 28), dtype=np.uint8))
    ok("score", "images", "--output", "scores.csv", "--quiet")


def test_noise_is_drift_and_is_drawn():
    ok("score", "noise.npy", "--output", "noise.csv", "--quiet")
    result = ok("drift", "noise.csv", "--output", "drift.png")
    assert "drift: 20 : 1 reached at row " in result.stdout
    assert Path("drift.png").stat().st_size > 5000
    found = parsed("drift", "noise.csv", "--json")
    assert found["highest"] > 20
    assert found["alarm"]["path"] == f"noise.npy[{found['alarm']['row'] - 1}]"
    assert parsed("drift", "noise.csv", "--json", "--odds", "1e9")["odds"] == 1e9


def test_the_order_of_time_is_another():
    by_rows, by_time = (
        parsed("drift", "scores.csv", "--json", "--order", order) for order in ("rows", "time")
    )
    assert by_rows["n"] == by_time["n"] == 30
    assert by_rows["highest"] != by_time["highest"]
    assert json.dumps(by_rows) == json.dumps(parsed("drift", "scores.csv", "--json"))


def test_a_file_of_before_is_told_and_reported_though_it_knew_no_ties(small):
    known = np.sort(small.calibration_scores())
    scores = known + 1e-7
    p = p_values(scores, known, ties=False)
    assert (p != p_values(scores, known)).any()
    rows = [
        f"gone/{n}.png,{s!r},{q!r},{int(q <= 0.05)},"
        for n, (s, q) in enumerate(zip(scores.tolist(), p.tolist(), strict=True))
    ]
    Path("old.csv").write_text("\n".join(["path,score,p_value,flagged,error", *rows, ""]))
    assert parsed("drift", "old.csv", "--json")["n"] == len(known)
    ok("report", "small", "--scores", "old.csv", "--output", "report", "--quiet")
    # The line is drawn between what was flagged and what was not.
    shown = json.loads(Path("report/metrics.json").read_text())
    assert shown["threshold"] == scores[p > 0.05].max()


def test_what_cannot_be_is_one_line(small):
    assert "nothing.csv: no such file" in fails(1, "drift", "nothing.csv")
    Path("images/03.png").unlink()
    assert "images/03.png: has no time" in fails(1, "drift", "scores.csv", "--order", "time")
    assert "--odds" in fails(2, "drift", "scores.csv", "--odds", "1")
    assert "its p-values are not those of run small, score mse" in fails(
        1, "drift", "scores.csv", "--score", "mse"
    )
    assert ".png, .svg, .pdf" in fails(2, "drift", "scores.csv", "--output", "x.txt")
