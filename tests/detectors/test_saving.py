"""What is saved and loaded scores the same, and a run folder that is not whole and sound says so in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from anomalae import Detector, files, runs
from anomalae.errors import BundleError
from anomalae.runs.record import NEWEST


def test_saved_and_loaded_it_scores_the_same(tmp_path, images, three):
    three.save(tmp_path / "run")
    again = Detector.load(tmp_path / "run")
    for rule, scores in three.score_all(images).items():
        np.testing.assert_array_equal(scores, again.score(images, rule))
        np.testing.assert_array_equal(three.calibration_scores(rule), again.calibration_scores(rule))
    assert again.settings == three.settings
    np.testing.assert_array_equal(three.heatmap(images), again.heatmap(images))


def test_saved_and_loaded_neighbours_score_the_same(tmp_path, near, images):
    near.save(tmp_path / "run")
    again = Detector.load(tmp_path / "run")
    np.testing.assert_array_equal(near.score(images), again.score(images))
    np.testing.assert_array_equal(near.heatmap(images), again.heatmap(images))
    (tmp_path / "run" / "neighbours.safetensors").unlink()
    with pytest.raises(BundleError, match=r"neighbours\.safetensors: no such file"):
        Detector.load(tmp_path / "run")


# --- run folders that are not whole and sound ---------------------------------------------------------------------


def _edit_config(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        change(config)
        (folder / "config.json").write_text(json.dumps(config))

    return edit


def _edit_weights(change: Callable[[dict[str, np.ndarray]], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        arrays, _ = files.read_arrays(folder / runs.WEIGHTS)
        arrays = {name: array.copy() for name, array in arrays.items()}
        change(arrays)
        files.write_arrays(folder / runs.WEIGHTS, arrays)

    return edit


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), r"no config\.json, so it is unfinished"),
    "config is no object": (lambda f: (f / "config.json").write_text("[]"), r"config\.json: expected an object"),
    "config is no JSON": (lambda f: (f / "config.json").write_text("{"), r"config\.json: not valid JSON"),
    "newer format": (
        _edit_config(lambda c: c.update(format_version=NEWEST + 1)),
        rf"format version {NEWEST + 1} is newer than {NEWEST}",
    ),
    "strange format": (_edit_config(lambda c: c.update(format_version="x")), r"format version 'x'"),
    "unknown key": (_edit_config(lambda c: c.update(colour="red")), r"config\.json: unknown key 'colour'"),
    "unknown setting": (
        _edit_config(lambda c: c["settings"].update(latnet_dim=3)), r"config\.json: unknown key 'latnet_dim'"
    ),
    "setting out of range": (
        _edit_config(lambda c: c["settings"].update(latent_dim=0)), r"config\.json: latent_dim 0: must be from 1"
    ),
    "wrong shape": (
        _edit_weights(lambda w: w.update({"encoder.1.bias": np.zeros(5, np.float32)})),
        r"weights\.safetensors: 'encoder.1.bias' has shape \[5\], expected \[32\]",
    ),
    "NaN weight": (
        _edit_weights(lambda w: w["encoder.1.bias"].__setitem__(0, np.nan)),
        r"weights\.safetensors: 'encoder.1.bias' holds 1 values that are not finite",
    ),
    "weight missing": (_edit_weights(lambda w: w.pop("encoder.1.bias")), r"'encoder.1.bias' is missing"),
    "weights cut short": (
        lambda f: (f / runs.WEIGHTS).write_bytes((f / runs.WEIGHTS).read_bytes()[:500]), r"weights\.safetensors: not a"
    ),
    "no weights": (lambda f: (f / runs.WEIGHTS).unlink(), r"weights\.safetensors: no such file"),
    "no calibration": (lambda f: (f / runs.CALIBRATION).unlink(), r"calibration\.safetensors: no such file"),
    "strange history": (
        lambda f: (f / runs.HISTORY).write_text('{"epoch": 1, "foo": 2}\n'), r"line 1: unknown key 'foo'"
    ),
    "strange date": (_edit_config(lambda c: c.update(created="garbage")), r"created is 'garbage', which is no date"),
    "strange counts": (_edit_config(lambda c: c["data"].update(n_train="x")), r"data\.n_train is 'x', of the wrong"),
    "no history": (lambda f: (f / runs.HISTORY).unlink(), r"history\.jsonl: no such file"),
}  # fmt: skip


def _drop_scores(folder, *names):
    """Take scores out of what a run keeps, as if they had not been there when it was made."""
    arrays, _ = files.read_arrays(folder / runs.CALIBRATION)
    kept = {name: array for name, array in arrays.items() if name.removeprefix("standard.") not in names}
    files.write_arrays(folder / runs.CALIBRATION, kept)


def test_a_run_made_before_a_score_was_written_does_without_it(small, images, tmp_path):
    small.save(tmp_path / "run")
    _drop_scores(tmp_path / "run", "relative", "mse")
    detector = Detector.load(tmp_path / "run")
    assert detector.rules == tuple(rule for rule in small.rules if rule not in ("relative", "mse"))
    assert np.array_equal(detector.score(images), small.score(images))


def test_a_run_without_the_score_it_judges_by_is_broken(small, tmp_path):
    small.save(tmp_path / "run")
    _drop_scores(tmp_path / "run", small.settings.rule)
    with pytest.raises(BundleError, match=f"'{small.settings.rule}' is missing"):
        Detector.load(tmp_path / "run")


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_run_folder_is_one_line(small, tmp_path, fault):
    small.save(tmp_path / "run")
    damage, message = BROKEN[fault]
    damage(tmp_path / "run")
    with pytest.raises(BundleError, match=message) as caught:
        Detector.load(tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "run") in str(caught.value)


def test_missing_keys_take_defaults(small, images, tmp_path):
    small.save(tmp_path / "run")
    # What a run is scored by is kept; where it is missing it is the plain one.
    arithmetic = {"arithmetic": small.environment.arithmetic}
    _edit_config(lambda c: [c.update(environment=arithmetic), c.pop("created"), c["settings"].pop("noise")])(
        tmp_path / "run"
    )
    assert np.array_equal(Detector.load(tmp_path / "run").score(images), small.score(images))


def test_saving_over_a_run_replaces_it_whole(small, tmp_path):
    small.save(tmp_path / "run")
    (tmp_path / "run" / runs.EVALUATION).write_text("{}")
    small.save(tmp_path / "run")
    assert not (tmp_path / "run" / runs.EVALUATION).exists()
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_what_is_no_run_is_not_replaced(small, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years")
    (tmp_path / "file").write_text("x")
    for name in ("precious", "file"):
        with pytest.raises(BundleError, match="is no run folder, so it is not replaced"):
            small.save(tmp_path / name)
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years"
    (tmp_path / "empty").mkdir()
    small.save(tmp_path / "empty")


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(BundleError, match="no such run folder"):
        Detector.load(tmp_path / "no")
    with pytest.raises(BundleError, match="unfinished; not a run"):
        Detector.load(tmp_path)


def test_standards_of_no_spread_are_refused(tmp_path, near):
    near.save(tmp_path / "run")
    path = tmp_path / "run" / "calibration.safetensors"
    arrays, _ = files.read_arrays(path)
    arrays["standard.smooth"] = arrays["standard.smooth"] * [1, -1]
    files.write_arrays(path, arrays)
    with pytest.raises(BundleError, match=r"standard\.smooth.*above 0"):
        Detector.load(tmp_path / "run")


def test_what_nap_learned_must_fit(tmp_path, small):
    def broken(change):
        small.save(tmp_path / "run")
        path = tmp_path / "run" / "pathway.safetensors"
        files.write_arrays(path, change(files.read_arrays(path)[0]))
        with pytest.raises(BundleError, match=r"pathway\.safetensors"):
            Detector.load(tmp_path / "run")

    broken(lambda arrays: {name: array.astype(np.float64) for name, array in arrays.items()})
    broken(lambda arrays: {name: array[:5] for name, array in arrays.items()})
    broken(lambda arrays: {**arrays, "more": arrays["0.mean"]})
    small.save(tmp_path / "run")
    (tmp_path / "run" / "pathway.safetensors").unlink()
    with pytest.raises(BundleError, match=r"pathway\.safetensors: no such file"):
        Detector.load(tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "array", "dtype"),
    [("weights", "encoder.1.bias", np.int32), ("calibration", "smooth", np.int64)],
)
def test_arrays_of_another_type_are_refused(name, array, dtype, small, tmp_path):
    small.save(tmp_path / "run")
    path = tmp_path / "run" / f"{name}.safetensors"
    arrays, _ = files.read_arrays(path)
    files.write_arrays(path, {**arrays, array: arrays[array].astype(dtype)})
    with pytest.raises(BundleError, match=f"{name}.safetensors: '{array}' holds {np.dtype(dtype)}, expected"):
        Detector.load(tmp_path / "run")
