"""A sound run is sound; what is missing, changed, added or scores otherwise is named; later results are no fault."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from anomalae import Detector, files, runs
from anomalae.detectors.probe import made_images, read_probe
from anomalae.detectors.verifying import TOLERANCE, verify
from anomalae.errors import BundleError
from tests.before import BEFORE


@pytest.fixture
def run(small: Detector, tmp_path: Path) -> Path:
    small.save(tmp_path / "a")
    return tmp_path / "a"


def edit_arrays(path: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    arrays, metadata = files.read_arrays(path)
    arrays = {name: array.copy() for name, array in arrays.items()}
    change(arrays)
    files.write_arrays(path, arrays, metadata)


def hash_anew(folder: Path) -> None:
    """As one does who changes a run and knows of the hashes."""
    hashes = json.loads((folder / runs.MANIFEST).read_text())["sha256"]
    files.write_json(
        folder / runs.MANIFEST, {"sha256": {name: files.sha256(folder / name) for name in hashes}}
    )


@pytest.mark.parametrize("kind", ["small", "near"])
def test_a_run_scores_its_probe_by_the_same_bits(kind: str, tmp_path: Path, request: pytest.FixtureRequest):
    detector = request.getfixturevalue(kind)
    detector.save(tmp_path / "a")
    found = verify(tmp_path / "a")
    assert found.sound, found.faults
    assert found.notes == ()
    assert set(found.files.values()) == {"same"}
    assert set(found.files) | {runs.MANIFEST} == {path.name for path in (tmp_path / "a").iterdir()}
    assert found.probe is not None
    assert found.probe.same_bits
    assert set(found.probe.differences) == set(detector.rules)
    probe = read_probe(tmp_path / "a")
    assert probe is not None
    for rule in detector.rules:
        np.testing.assert_array_equal(probe.scores[rule], detector.score(probe.images, rule))


def test_a_probe_holds_no_image_of_the_training(run: Path, digits):
    probe = read_probe(run)
    assert probe is not None
    np.testing.assert_array_equal(probe.images, made_images())
    known = {image.tobytes() for image in digits.whole.images}
    assert not any(image.tobytes() in known for image in probe.images)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda f: (f / runs.PATHWAY).unlink(), "pathway.safetensors: missing"),
    "extra": (lambda f: (f / "notes.txt").write_text("x"), "notes.txt: extra"),
    "one byte of the weights": (
        lambda f: edit_arrays(f / runs.WEIGHTS, lambda w: w["encoder.1.bias"].__iadd__(np.float32(1e-7))),
        "weights.safetensors: changed",
    ),
    "config": (
        lambda f: (f / runs.CONFIG).write_text((f / runs.CONFIG).read_text().replace('"seed": 3', '"seed": 4')),
        "config.json: changed",
    ),
    "a pipe": (
        lambda f: ((f / runs.HISTORY).unlink(), os.mkfifo(f / runs.HISTORY)), "history.jsonl: is no regular file"
    ),
    "no manifest": (lambda f: (f / runs.MANIFEST).unlink(), "manifest.json: missing"),
    "no hashes": (lambda f: (f / runs.MANIFEST).write_text('{"sha256": {"a": 1}}'), "manifest.json: is no list of"),
    "an evaluation that is none": (lambda f: (f / runs.EVALUATION).write_text("{}"), "evaluation.json: has no"),
    "weights that are not finite": (
        lambda f: edit_arrays(f / runs.WEIGHTS, lambda w: w["encoder.1.bias"].__setitem__(0, np.nan)),
        "'encoder.1.bias' holds 1 values that are not finite",
    ),
    "a newer format": (
        lambda f: (f / runs.CONFIG).write_text('{"format_version": 99}'), "format version 99 is newer than"
    ),
    "a probe of another shape": (
        lambda f: edit_arrays(f / runs.PROBE, lambda p: p.update(images=np.zeros((3, 2), np.uint8))),
        "probe.safetensors: 'images' has shape [3, 2]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_named(fault: str, run: Path):
    spoil, line = FAULTS[fault]
    spoil(run)
    found = verify(run)
    assert not found.sound
    assert any(line in said for said in found.faults), found.faults
    assert all("\n" not in said for said in found.faults)
    json.dumps(found.to_dict())


def test_a_missing_file_is_one_fault(run: Path):
    (run / runs.WEIGHTS).unlink()
    assert verify(run).faults == (f"{run / runs.WEIGHTS}: missing",)


def test_other_weights_with_hashes_to_fit_score_otherwise(run: Path):
    edit_arrays(run / runs.WEIGHTS, lambda w: w["encoder.1.bias"].__iadd__(np.float32(0.1)))
    hash_anew(run)
    found = verify(run)
    assert set(found.files.values()) == {"same"}
    assert any("does not score as when it was trained" in fault for fault in found.faults)


def test_another_machines_rounding_is_no_fault_and_is_told(run: Path):
    def nudge(probe: dict[str, np.ndarray]) -> None:
        probe["score.mse"] *= 1 + TOLERANCE / 10

    edit_arrays(run / runs.PROBE, nudge)
    config = json.loads((run / runs.CONFIG).read_text())
    config["environment"]["versions"]["torch"] = "1.0"
    files.write_json(run / runs.CONFIG, config)
    hash_anew(run)
    found = verify(run)
    assert found.sound
    assert found.probe is not None
    assert not found.probe.same_bits
    assert found.probe.largest == pytest.approx(TOLERANCE / 10, rel=1e-3)
    assert "torch 1.0 there" in found.probe.in_words()


def test_what_comes_later_is_no_fault(run: Path, digits):
    zeros = digits.whole.images[digits.whole.labels == 0]
    Detector.load(run).calibrate(zeros[:45], "mine", folder=run)
    (run / ".lock").write_text("")
    (run / ".weights.safetensors.0123abcd.part").write_text("")
    assert verify(run).sound
    (run / "calibrations" / "mine.safetensors").write_text("")
    assert not verify(run).sound


def test_a_run_written_again_has_hashes_of_its_own(run: Path, three: Detector):
    before = (run / runs.MANIFEST).read_text()
    Detector.load(run).save(run)
    assert (run / runs.MANIFEST).read_text() == before
    three.save(run)
    assert (run / runs.MANIFEST).read_text() != before
    assert verify(run).sound


def test_of_a_run_of_before_is_said_what_could_be_checked(tmp_path: Path):
    shutil.copytree(BEFORE / "runs" / "ae", tmp_path / "ae")
    found = verify(tmp_path / "ae")
    assert found.sound
    assert [note.split(":")[0] for note in found.notes] == ["files", "scores"]
    assert found.in_words()[-1] == ("verdict", "sound, as far as could be checked")
    (tmp_path / "ae" / runs.CALIBRATION).unlink()
    assert not verify(tmp_path / "ae").sound


def test_what_is_no_finished_run_is_refused(tmp_path: Path):
    with pytest.raises(BundleError, match="no such run folder"):
        verify(tmp_path / "nothing")
