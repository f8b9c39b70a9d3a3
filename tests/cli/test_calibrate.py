"""`calibrate`: a threshold of one's own, and everywhere that it judges."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalae import Detector, runs
from anomalae.evaluation import compare_calibrations, p_values
from anomalae.evaluation.conformal import raised
from tests.cli import fails, ok, parsed, run


@pytest.fixture(autouse=True)
def there(small: Detector, digits, tmp_path: Path) -> None:
    """A run, 60 zeros of other hands, and 20 more with 20 other digits to judge."""
    small.save(tmp_path / "runs" / "small")
    zeros = digits.whole.images[digits.whole.labels == 0] // 2
    others = digits.test.images[digits.test.labels != 0][:20] // 2
    for folder, images in (("normal", zeros[:60]), ("scans", np.concatenate([zeros[60:80], others]))):
        Path(folder).mkdir()
        for index, image in enumerate(images):
            Image.fromarray(image).save(f"{folder}/{index:02d}.png")


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def test_it_says_what_it_found_as_numbers(small, digits):
    document = parsed("calibrate", "normal", "--name", "mine", "--json", "--jobs", "1")
    own = Detector.load("runs/small").calibrations["mine"]
    zeros = digits.whole.images[digits.whole.labels == 0][:60] // 2
    np.testing.assert_array_equal(own.scores["bent"], small.score(zeros))
    found = compare_calibrations(own.scores["bent"], small.calibration_scores(), 0.05)
    for key in ("n", "n_before", "n_flagged", "p_value", "threshold", "threshold_before", "smallest_fdr"):
        assert document[key] == getattr(found, key), key
    assert (document["run"], document["name"], document["score"]) == ("small", "mine", "bent")
    assert (document["source"], document["failed"], document["band"]) == ("normal", [], list(found.band))
    other = parsed(
        "calibrate", "normal", "--name", "mine", "--replace", "--json", "--score", "mse", "--alpha", "0.1"
    )
    assert other["threshold"] == Detector.load("runs/small").threshold(0.1, "mse", calibration="mine")


def test_it_says_what_it_found_in_words():
    result = ok("calibrate", "normal", "--name", "mine")
    assert "calibration mine of run small, from normal" in result.stdout
    assert "smallest alpha          0.0164: a smaller one flags nothing" in result.stdout
    assert "p = " in result.stdout
    assert "expected at alpha 0.05" in result.stdout
    assert "anomalae score FOLDER --run small --calibration mine" in result.stdout


def test_files_that_cannot_be_read_are_named_and_not_counted():
    Path("normal/bad\n.png").write_bytes(b"bad")
    result = run("calibrate", "normal", "--name", "mine", "--json", "--quiet")
    assert result.exit_code == 4
    document = json.loads(result.stdout)
    assert document["n"] == 60
    assert [row["path"] for row in document["failed"]] == ["normal/bad\n.png"]
    assert "normal/bad\\n.png: not an image" in result.stderr
    again = run("calibrate", "normal", "--name", "other")
    assert again.exit_code == 4
    assert "60, 1 could not be read" in again.stdout


def test_too_few_images_are_refused_by_number():
    for path in list(Path("normal").iterdir())[:21]:
        path.unlink()
    assert "calibration 'mine': 39 images, at least 40 are needed" in fails(
        1, "calibrate", "normal", "--name", "mine"
    )
    assert not Path("runs/small/calibrations").exists()


def test_it_streams_in_processes_and_takes_lists():
    names = "\n".join(sorted(str(path) for path in Path("normal").iterdir()))
    first = parsed("calibrate", "-", "--name", "mine", "--json", "--jobs", "2", stdin=names)
    second = parsed("calibrate", "normal", "--name", "more", "--json", "--jobs", "1")
    assert first["threshold"] == second["threshold"]
    assert first["source"] == "normal/00.png and 59 more"


def test_score_judges_by_it_in_every_form(small):
    ok("calibrate", "normal", "--name", "mine")
    own = Detector.load("runs/small").calibration_scores(calibration="mine")
    judged = rows(ok("score", "scans", "--calibration", "mine", "--format", "csv").stdout)
    before = rows(ok("score", "scans", "--format", "csv").stdout)
    assert [row["score"] for row in judged] == [row["score"] for row in before]
    expected = p_values([float(row["score"]) for row in judged], own)
    assert [float(row["p_value"]) for row in judged] == expected.tolist()
    assert [row["flagged"] == "1" for row in judged] == (expected <= 0.05).tolist()
    assert [row["p_value"] for row in judged] != [row["p_value"] for row in before]
    document = parsed("score", "scans", "--calibration", "mine", "--json")
    assert (document["calibration"], document["threshold"]) == ("mine", raised(own)[-3])
    assert "calibration" not in parsed("score", "scans", "--json")
    result = ok("score", "scans/30.png", "--calibration", "mine", "--heatmaps", "own")
    assert "(run small, score bent, calibration mine)" in result.stderr
    ok("score", "scans/30.png", "--heatmaps", "its")
    drawn = [Path(folder, "00000_30.png").read_bytes() for folder in ("own", "its")]
    assert drawn[0] != drawn[1]


def test_the_warning_is_of_its_number_of_images():
    ok("calibrate", "normal", "--name", "mine")
    assert "Warning" not in ok("score", "scans", "--calibration", "mine").stderr
    warned = ok("score", "scans", "--calibration", "mine", "--fdr", "0.01").stderr
    assert "60 calibration images cannot flag at FDR 0.01" in warned


def test_images_are_read_as_its_own_were_and_others_warned_of(digits):
    for path in Path("normal").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    ok("calibrate", "normal", "--name", "mine", "--polarity", "dark", "--preprocess", "mnist")
    scored = ok("score", "normal", "--calibration", "mine", "--format", "csv")
    assert "Warning" not in scored.stderr
    mine = sorted(Detector.load("runs/small").calibration_scores(calibration="mine"))
    assert sorted(float(row["score"]) for row in rows(scored.stdout)) == mine
    warned = run("score", "scans", "--calibration", "mine", "--polarity", "light").stderr
    assert "calibration mine was made with --preprocess mnist --polarity dark" in warned


def test_rows_by_another_are_not_gone_on_with():
    ok("calibrate", "normal", "--name", "mine")
    ok("score", "scans", "--calibration", "mine", "--output", "whole.csv")
    part = Path("out.csv.part")
    lines = Path("whole.csv").read_bytes().splitlines(keepends=True)
    # As a call that was killed leaves it.
    record = json.dumps(killed("--calibration", "mine"))
    part.write_bytes(b"".join(lines[:7]) + b"torn")
    Path("out.csv.part.json").write_text(record)
    complaint = fails(1, "score", "scans", "--output", "out.csv", "--resume")
    assert "out.csv.part: its rows were judged by " in complaint
    assert "calibration mine, now None" in complaint
    ok("score", "scans", "--calibration", "mine", "--output", "out.csv", "--resume")
    assert Path("out.csv").read_bytes() == Path("whole.csv").read_bytes()


def killed(*options: str) -> dict[str, object]:
    """What the rows of a call are judged by, as it leaves it when it is ended."""
    broken = Path("out.csv.part.json")
    ok("score", "scans", "--shard", "1/1", "--output", "shard.csv", *options)
    record = json.loads(Path("shard.csv.shard.json").read_text())
    assert not broken.exists()
    return {
        key: value for key, value in record.items() if key not in ("shard", "paths", "n_calibration", "n")
    }


def test_shards_by_it_are_put_together_with_no_others():
    ok("calibrate", "normal", "--name", "mine")
    whole = ok("score", "scans", "--calibration", "mine", "--output", "whole.json")
    for number, more in ((1, ["--calibration", "mine"]), (2, ["--calibration", "mine"]), (3, [])):
        at = f"{min(number, 2)}/2"
        ok("score", "scans", "--shard", at, "--output", f"{number}.csv", *more)
    ok("merge", "1.csv", "2.csv", "--output", "all.json")
    assert json.loads(Path("all.json").read_text()) == json.loads(Path("whole.json").read_text())
    complaint = fails(1, "merge", "1.csv", "3.csv", "--output", "all.json")
    assert "3.csv: is of another call than 1.csv" in complaint
    assert whole.exit_code == 0


def test_drift_is_told_by_it():
    ok("calibrate", "normal", "--name", "mine")
    ok("score", "scans", "--calibration", "mine", "--output", "scores.csv")
    found = parsed("drift", "scores.csv", "--calibration", "mine", "--json")
    assert (found["calibration"], found["n_calibration"]) == ("mine", 60)
    complaint = fails(1, "drift", "scores.csv")
    assert "its p-values are not those of run small, score bent" in complaint
    ok("score", "scans", "--output", "others.csv")
    assert "score bent, calibration mine" in fails(1, "drift", "others.csv", "--calibration", "mine")


def test_they_are_listed_and_deleted():
    assert "No calibrations in" in ok("calibrate", "--list").stderr
    ok("calibrate", "normal", "--name", "mine")
    ok("calibrate", "normal", "--name", "broken")
    Path("runs/small/calibrations/broken.safetensors").write_text("x")
    listed = {row["name"]: row for row in parsed("calibrate", "--list", "--json")}
    assert (listed["mine"]["n"], listed["mine"]["source"]) == (60, "normal")
    assert "broken.safetensors: not a readable safetensors file" in listed["broken"]["error"]
    table = ok("calibrate", "--list").stdout
    assert "mine" in table
    assert "broken: runs/small/calibrations/broken.safetensors" in table
    assert parsed("runs", "small", "--json")["calibrations"] == ["broken", "mine"]
    assert "calibrations" in ok("runs", "small").stdout
    # It is in nobody's way who does not ask for it.
    ok("score", "scans")
    ok("score", "scans", "--calibration", "mine")
    assert "broken.safetensors: not a readable safetensors file" in fails(
        1, "score", "scans", "--calibration", "broken"
    )
    assert "broken.safetensors: not a readable safetensors file" in run("verify", "small").output
    assert "no such calibration; did you mean 'broken'?" in fails(
        2, "calibrate", "--delete", "--name", "borken"
    )
    ok("calibrate", "--delete", "--name", "broken")
    assert [row["name"] for row in parsed("calibrate", "--list", "--json")] == ["mine"]
    ok("score", "scans")
    ok("runs", "--delete", "--yes", "small")
    assert not Path("runs/small").exists()


def test_an_evaluation_is_judged_by_it():
    settings = ("--epochs", "1", "--hidden", "16", "--latent-dim", "4")
    ok("train", "--dataset", "digits", "--normal", "0", "--name", "zeros", *settings, "--quiet")
    ok("calibrate", "normal", "--run", "zeros", "--name", "mine")
    own = parsed("evaluate", "zeros", "--json")
    found = parsed("evaluate", "zeros", "--calibration", "mine", "--json")
    mine = Detector.load("runs/zeros")
    assert (found["calibration"], found["roc_auc"]) == ("mine", own["roc_auc"])
    assert found["threshold"] == mine.threshold(own["alpha"], calibration="mine") != own["threshold"]
    assert "calibration" not in own
    assert parsed("evaluate", "zeros", "--json")["threshold"] == own["threshold"]
    assert ", calibration mine;" in ok("evaluate", "zeros", "--calibration", "mine").stdout
    assert "did you mean 'mine'?" in fails(2, "evaluate", "zeros", "--calibration", "mien")
    assert "--calibration" in fails(2, "evaluate", "zeros", "--calibration", "mine", "--keep")
    Path("runs/zeros/calibrations/mine.safetensors").write_text("x")
    assert "mine.safetensors: not a readable" in fails(1, "evaluate", "zeros", "--calibration", "mine")


def test_a_run_that_is_at_work_is_told_before_anything_is_read():
    with runs.lock(Path("runs/small")):
        complaint = fails(1, "calibrate", "nowhere", "--name", "mine")
    assert "runs/small: another process is at work on this run" in complaint


def test_an_unknown_one_is_wrong_usage_with_the_nearest():
    assert "make one first: anomalae calibrate" in fails(2, "score", "scans", "--calibration", "mine")
    ok("calibrate", "normal", "--name", "mine")
    assert "did you mean 'mine'?" in fails(2, "score", "scans", "--calibration", "mien")
    ok("score", "scans", "--output", "x.csv")
    assert "did you mean 'mine'?" in fails(2, "drift", "x.csv", "--calibration", "min")


def test_a_name_is_taken_until_it_is_to_be_replaced():
    ok("calibrate", "normal", "--name", "mine")
    before = Path("runs/small/calibrations/mine.safetensors").read_bytes()
    complaint = fails(1, "calibrate", "normal", "--name", "mine")
    assert "calibration 'mine': exists already; choose another --name, or give --replace" in complaint
    assert Path("runs/small/calibrations/mine.safetensors").read_bytes() == before
    shutil.rmtree("scans")
    ok("calibrate", "normal", "--name", "mine", "--replace", "--preprocess", "resize")
    assert runs.describe_calibration(Path("runs/small"), "mine")["preprocess"] == "resize"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["normal"], "--name NAME"),
        (["--name", "mine"], "anomalae calibrate FOLDER"),
        (["normal", "--name", "../x"], "calibration name '../x'"),
        (["normal", "--list"], "--list: excludes PATH"),
        (["--list", "--name", "mine"], "--list names all"),
        (["normal", "--delete", "--name", "mine"], "--delete: excludes PATH"),
        (["--delete"], "--name NAME"),
        (["--delete", "--name", "mine", "--json"], "--delete and --json"),
        (["normal", "--name", "mine", "--score", "nothing"], "score 'nothing'"),
        (["normal", "--name", "mine", "--segment", "--preprocess", "resize"], "--segment"),
    ],
)
def test_what_cannot_be_is_wrong_usage(words, said):
    assert said in fails(2, "calibrate", *words)
