"""Calibrations of one's own: what they judge, how they are kept, and that a run stays whole and tells broken ones."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from anomalae import Detector, files, runs
from anomalae.errors import BundleError, ConfigError
from anomalae.evaluation import conformal
from tests.full_disks import small_disk


@pytest.fixture(scope="module")
def zeros(digits) -> np.ndarray:
    """Zeros of others' hands, as it were: half as bright."""
    return digits.whole.images[digits.whole.labels == 0] // 2


@pytest.fixture
def saved(small, tmp_path) -> Path:
    small.save(tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def loaded(saved) -> Detector:
    return Detector.load(saved)


def test_verdicts_are_those_of_its_scores(loaded, images, zeros):
    made = loaded.calibrate(zeros[:50], name="mine")
    assert (made.n, made.source, list(made.scores)) == (50, "arrays", list(loaded.rules))
    for rule in (None, "mse"):
        known = loaded.score(zeros[:50], rule)
        np.testing.assert_array_equal(loaded.calibration_scores(rule, calibration="mine"), known)
        expected = conformal.p_values(loaded.score(images, rule), known)
        np.testing.assert_array_equal(loaded.p_values(images, rule, calibration="mine"), expected)
        np.testing.assert_array_equal(loaded.flags(images, 0.1, rule, calibration="mine"), expected <= 0.1)
        limit = loaded.threshold(0.1, rule, calibration="mine")
        assert limit == conformal.raised(known)[-5] != loaded.threshold(0.1, rule)
        assert loaded.heatmap_level(0.1, rule, calibration="mine") != loaded.heatmap_level(0.1, rule)
    assert loaded.heatmap_level(0.1, calibration="mine") == loaded.threshold(0.1, calibration="mine")


def test_its_own_verdicts_stay_as_they_were(loaded, small, images, zeros):
    loaded.calibrate(zeros[:50], name="mine")
    np.testing.assert_array_equal(loaded.p_values(images), small.p_values(images))
    assert loaded.threshold(0.1) == small.threshold(0.1)


@pytest.mark.parametrize("keep", ["folder", "save"])
def test_it_is_loaded_again(loaded, saved, zeros, keep, tmp_path):
    folder = saved if keep == "folder" else tmp_path / "other"
    own = {path.name: path.read_bytes() for path in saved.iterdir() if path.is_file()}
    made = loaded.calibrate(zeros[:45], "mine", folder=saved if keep == "folder" else None)
    loaded.calibrate(zeros[45:90], "三", folder=saved if keep == "folder" else None)
    if keep == "save":
        loaded.save(folder)
    again = Detector.load(folder)
    assert list(again.calibrations) == ["mine", "三"]
    for rule, scores in made.scores.items():
        np.testing.assert_array_equal(again.calibrations["mine"].scores[rule], scores)
        assert again.calibrations["mine"].scores[rule].dtype == np.float64
    assert again.calibrations["mine"].told == made.told
    # The run's own files are not touched.
    assert own == {path.name: path.read_bytes() for path in saved.iterdir() if path.name in own}


def test_a_name_is_taken_until_it_is_to_be_replaced(loaded, saved, zeros):
    first = loaded.calibrate(zeros[:45], "mine", folder=saved)
    for detector in (loaded, Detector.load(saved)):
        with pytest.raises(BundleError, match="'mine': exists already"):
            detector.calibrate(zeros[45:90], "mine")
    fresh = Detector.load(saved)
    fresh._whole.own_calibrations.clear()
    with pytest.raises(BundleError, match=r"calibrations/mine\.safetensors: exists already"):
        fresh.calibrate(zeros[45:90], "mine", folder=saved)
    second = fresh.calibrate(zeros[45:95], "mine", replace=True, folder=saved)
    assert (first.n, second.n, Detector.load(saved).calibrations["mine"].n) == (45, 50, 50)


def test_too_few_images_are_refused_by_number(loaded, zeros):
    assert loaded.calibrate(zeros[:40], "enough").n == 40
    with pytest.raises(ConfigError, match="'few': 39 images, at least 40 are needed"):
        loaded.calibrate(zeros[:39], "few")
    assert list(loaded.calibrations) == ["enough"]


@pytest.mark.parametrize("name", ["../x", "", ".hidden", "a/b", "-x", "x" * 101])
def test_what_is_no_name_is_refused(loaded, saved, zeros, name):
    with pytest.raises(BundleError, match="calibration name"):
        loaded.calibrate(zeros[:45], name, folder=saved)
    assert not (saved / "calibrations").exists()


def test_an_unknown_one_names_those_there_are(loaded, images, zeros):
    with pytest.raises(ConfigError, match="calibration 'mine': there is none"):
        loaded.p_values(images, calibration="mine")
    loaded.calibrate(zeros[:45], "mine")
    with pytest.raises(ConfigError, match="calibration 'mne': there are mine") as raised:
        loaded.threshold(calibration="mne")
    assert (raised.value.unknown, raised.value.known) == ("mne", ("mine",))


def test_a_run_made_anew_has_none(loaded, saved, small, split, zeros):
    loaded.calibrate(zeros[:45], "mine", folder=saved)
    small.save(saved)
    assert Detector.load(saved).calibrations == {}
    # Of what is written into the folder itself too, as a training does.
    loaded.write(saved)
    assert list(Detector.load(saved).calibrations) == ["mine"]
    small.write(saved)
    assert Detector.load(saved).calibrations == {}
    loaded.fit(split.train.images)
    assert loaded.calibrations == {}


def test_one_of_another_run_is_not_taken_for_its_own(loaded, saved, three, zeros, tmp_path):
    three.save(tmp_path / "three")
    with pytest.raises(BundleError, match="three: holds another detector"):
        loaded.calibrate(zeros[:45], "mine", folder=tmp_path / "three")
    loaded.calibrate(zeros[:45], "mine", folder=saved)
    shutil.copytree(saved / "calibrations", tmp_path / "three" / "calibrations")
    other = Detector.load(tmp_path / "three")
    assert other.threshold(0.1) == three.threshold(0.1)
    with pytest.raises(BundleError, match=r"three/calibrations/mine\.safetensors: is of another run"):
        other.threshold(0.1, calibration="mine")


def test_one_that_is_deleted_is_gone_and_the_others_stay(loaded, saved, zeros):
    for name in ("mine", "yours"):
        loaded.calibrate(zeros[:45], name, folder=saved)
    gone = runs.delete_calibration(saved, "mine")
    assert gone == saved / "calibrations" / "mine.safetensors"
    assert not gone.exists()
    assert list(Detector.load(saved).calibrations) == ["yours"]


# --- what is broken -----------------------------------------------------------------------------------------------


def _rewritten(change: Callable[[dict, dict], None]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        arrays, told = files.read_arrays(path)
        arrays = {name: array.copy() for name, array in arrays.items()}
        change(arrays, told)
        files.write_arrays(path, arrays, told)

    return edit


def _linked(path: Path) -> None:
    path.parent.rename(path.parent.parent / "elsewhere")
    path.parent.symlink_to("elsewhere")


BROKEN = {
    "torn": (lambda path: path.write_bytes(path.read_bytes()[:-9]), "not a readable safetensors file"),
    "no safetensors": (lambda path: path.write_text("x"), "not a readable safetensors file"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "cannot be read|not a readable|no regular file"),
    "a pipe": (lambda path: (path.unlink(), os.mkfifo(path)), "is no regular file"),
    "not a number": (
        _rewritten(lambda arrays, told: arrays["mse"].__setitem__(0, np.nan)),
        "'mse' holds 1 values that are not finite",
    ),
    "float32": (
        _rewritten(lambda arrays, told: arrays.update(mse=arrays["mse"].astype(np.float32))),
        "'mse' holds float32, expected float64",
    ),
    "too few": (
        _rewritten(lambda arrays, told: arrays.update({name: a[:39] for name, a in arrays.items()})),
        "holds scores of 39 images, must be 40 to 1,000,000",
    ),
    "of unequal lengths": (_rewritten(lambda arrays, told: arrays.update(mse=arrays["mse"][:41])), "shape"),
    "an unknown score": (
        _rewritten(lambda arrays, told: arrays.update(more=arrays["mse"])), "unknown array 'more'"
    ),
    "without its score": (_rewritten(lambda arrays, told: arrays.pop("bent")), "array 'bent' is missing"),
    "no date": (_rewritten(lambda arrays, told: told.update(created="2026-01-31")), "created is '2026-01-31'"),
    "no choice": (_rewritten(lambda arrays, told: told.update(polarity=[])), "polarity is"),
    "more told": (_rewritten(lambda arrays, told: told.update(more=1)), "is no calibration"),
    "behind a link": (_linked, "is a link, and is not read"),
}  # fmt: skip


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_one_is_named_in_one_line(loaded, saved, zeros, how):
    loaded.calibrate(zeros[:45], "mine", folder=saved)
    change, said = BROKEN[how]
    change(saved / "calibrations" / "mine.safetensors")
    with pytest.raises(BundleError, match=said) as raised:
        Detector.load(saved).threshold(0.1, calibration="mine")
    if how != "behind a link":
        assert Detector.load(saved).threshold(0.1) == loaded.threshold(0.1)
    assert str(raised.value).startswith(f"{saved / 'calibrations'}")
    assert "\n" not in str(raised.value)


def test_a_part_left_by_a_killed_process_is_passed_over_and_deleted_with_the_run(loaded, saved, zeros):
    loaded.calibrate(zeros[:45], "mine", folder=saved)
    (saved / "calibrations" / ".mine.safetensors.0123abcd.part").write_bytes(b"half")
    assert list(Detector.load(saved).calibrations) == ["mine"]
    runs.delete(saved)
    assert not saved.exists()


def test_a_run_with_other_things_among_them_is_not_deleted(loaded, saved, zeros):
    loaded.calibrate(zeros[:45], "mine", folder=saved)
    (saved / "calibrations" / "notes.txt").write_text("keep me")
    with pytest.raises(BundleError, match="calibrations in it is not of the run"):
        runs.delete(saved)
    assert (saved / "calibrations" / "notes.txt").exists()


def test_nothing_is_written_where_links_lead(loaded, saved, zeros, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (saved / "calibrations").symlink_to(tmp_path / "elsewhere")
    loaded.calibrate(zeros[:45], "mine", folder=saved)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert list(Detector.load(saved).calibrations) == ["mine"]
    (tmp_path / "target").write_text("kept")
    (saved / "calibrations" / "next.safetensors").symlink_to(tmp_path / "target")
    loaded.calibrate(zeros[:45], "next", replace=True, folder=saved)
    assert (tmp_path / "target").read_text() == "kept"


def test_a_run_that_is_at_work_is_told_and_nothing_is_written(loaded, saved, zeros):
    with runs.lock(saved), pytest.raises(BundleError, match="another process is at work"):
        loaded.calibrate(zeros[:45], "mine", folder=saved)
    assert loaded.calibrations == Detector.load(saved).calibrations == {}


def test_a_full_disk_leaves_the_run_whole(small, zeros, tmp_path):
    with small_disk(tmp_path / "disk"):
        # As large as the disk but for what a folder and a lock take.
        small.save(tmp_path / "run")
        size = sum(path.stat().st_size for path in (tmp_path / "run").iterdir())
        subprocess.run(["mount", "-o", f"remount,size={size + 2**16}", tmp_path / "disk"], check=True)
        shutil.copytree(tmp_path / "run", tmp_path / "disk" / "run")
        folder = tmp_path / "disk" / "run"
        loaded = Detector.load(folder)
        first = loaded.calibrate(zeros[:45], "mine", folder=folder)
        room = os.statvfs(folder)
        (tmp_path / "disk" / "filler").write_bytes(bytes(room.f_bavail * room.f_frsize))
        with pytest.raises(BundleError, match=r"mine\.safetensors: cannot be written: No space left"):
            loaded.calibrate(zeros[45:95], "mine", replace=True, folder=folder)
        assert loaded.calibrations["mine"].n == Detector.load(folder).calibrations["mine"].n == first.n == 45
        assert [path.name for path in (folder / "calibrations").iterdir()] == ["mine.safetensors"]


def test_a_file_too_large_leaves_the_run_whole(loaded, saved, zeros):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(BundleError, match=r"mine\.safetensors: cannot be written: File too large"):
            loaded.calibrate(zeros[:45], "mine", folder=saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert loaded.calibrations == Detector.load(saved).calibrations == {}


def test_no_more_are_taken_than_are_read(loaded, zeros):
    scores = loaded.score_all(zeros[:45])
    for number in range(runs.MOST_CALIBRATIONS):
        loaded.calibrate_by_scores(scores, f"n{number}")
    with pytest.raises(BundleError, match="there are 100, the limit is 100"):
        loaded.calibrate_by_scores(scores, "more")
    loaded.calibrate_by_scores(scores, "n7", replace=True)


def test_a_run_keeps_no_more_than_are_read(saved):
    place = saved / "calibrations"
    place.mkdir()
    for number in range(runs.MOST_CALIBRATIONS - 1):
        (place / f"n{number}.safetensors").touch()
    runs.check_free_calibration(saved, "last")
    (place / "last.safetensors").touch()
    with pytest.raises(BundleError, match="calibrations: holds 100 calibrations, the limit is 100"):
        runs.check_free_calibration(saved, "more")
    runs.check_free_calibration(saved, "n7", replace=True)
    assert len(runs.calibration_names(saved)) == 100
    (place / "more.safetensors").touch()
    with pytest.raises(BundleError, match="calibrations: 101 calibrations, the limit is 100"):
        runs.calibration_names(saved)


def test_more_images_than_are_read_are_refused(loaded):
    scores = {rule: np.zeros(10**6 + 1) for rule in loaded.rules}
    with pytest.raises(ConfigError, match="more than 1,000,000 images"):
        loaded.calibrate_by_scores(scores, "mine")
