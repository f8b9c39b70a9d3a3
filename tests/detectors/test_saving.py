"""What is saved and loaded scores the same, and a run folder that is not whole and sound says so in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from anomalae import Detector, Settings, files, runs
from anomalae.errors import BundleError
from anomalae.models.base import build, networks
from anomalae.network_kinds import LIKELIHOODS, MODELS
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
    "date without a zone": (
        _edit_config(lambda c: c.update(created="2026-01-01")), "created is '2026-01-01', a date without its time zone"
    ),
    "format below the first": (_edit_config(lambda c: c.update(format_version=-5)), "format version -5: must be"),
    "views of no list": (
        _edit_config(lambda c: c["settings"].update(views={"pixels": 1})), "views {'pixels': 1}: must be several names"
    ),
    "view of no text": (
        _edit_config(lambda c: c["settings"].update(views=[["pixels"]])), r"view \['pixels'\]: must be one of"
    ),
    "score of no text": (_edit_config(lambda c: c["settings"].update(score=5)), "score 5: must be the name of a score"),
    "width beyond all": (
        _edit_config(lambda c: c["settings"].update(hidden=[10**30, 5])), "hidden 10{30}: must be from 1 to 16384"
    ),
    "layers without end": (
        _edit_config(lambda c: c["settings"].update(hidden=[64] * 20_000)),
        "hidden: 20,000 numbers, at most 20 are allowed",
    ),
    "members without end": (
        _edit_config(lambda c: c["settings"].update(members=10**6)), "members 1000000: must be from 1 to 100"
    ),
    "passes without end": (
        _edit_config(lambda c: c["settings"].update(passes=10**9)), "passes 1000000000: must be from 1 to 100"
    ),
    "number beyond float32": (
        _edit_config(lambda c: c["settings"].update(noise=10**400)), r"noise 1000.*\.\.\..*000: must be at most 1e\+30"
    ),
    "normal nested": (
        _edit_config(lambda c: c["data"].update(normal=[[0]])), r"data\.normal is \[\[0\]\], of the wrong kind"
    ),
    "root of no text": (_edit_config(lambda c: c["data"].update(root=5)), r"data\.root is 5, of the wrong kind"),
    "root of no path": (_edit_config(lambda c: c["data"].update(root="\0")), r"data\.root is '\\x00', of"),
    "hashes of no text": (_edit_config(lambda c: c["data"].update(hashes={"train": 1})), r"hashes is \{'train': 1\}"),
    "count below none": (_edit_config(lambda c: c["data"].update(n_train=-1)), r"data\.n_train is -1, of the wrong"),
    "way of reading": (_edit_config(lambda c: c["data"].update(preprocess=[])), r"preprocess is \[\], of"),
    "threads without end": (
        _edit_config(lambda c: c["environment"].update(threads=10**9)), r"environment\.threads is 1000000000, of the"
    ),
    "validation in part": (_edit_config(lambda c: c.update(validation={"elbo": 1})), r"validation is \{'elbo': 1\}"),
    "seconds without end": (_edit_config(lambda c: c.update(seconds=10**400)), r"seconds is 1000.*, of the wrong kind"),
    "whole weights": (
        _edit_weights(lambda w: w.update({"encoder.1.bias": np.zeros(32, np.int64)})),
        r"weights\.safetensors: 'encoder.1.bias' holds int64, expected float32",
    ),
    "weight beyond use": (
        _edit_weights(lambda w: w["encoder.1.bias"].__setitem__(0, 3e38)),
        r"weights\.safetensors: 'encoder.1.bias' holds 3e\+38, the limit is 1e\+09",
    ),
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


BOMBS = """
import json, resource, sys, time
from pathlib import Path
from anomalae import Detector
from anomalae.errors import BundleError

config = Path("run/config.json")
record = json.loads(config.read_text())
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + 2**29, taken + 2**29))
for line in sys.stdin:
    config.write_text(json.dumps(record | {"settings": record["settings"] | json.loads(line)}))
    begun = time.process_time()
    try:
        Detector.load("run")
    except BundleError as error:
        print(error)
    assert time.process_time() - begun < 10
"""


@pytest.mark.skipif(sys.platform != "linux", reason="has no such limit")
def test_shapes_are_compared_before_memory_is_taken(small):
    small.save("run")
    # Weights of 3.6 GB, of 3 GB that only a shape betrays, and of 4 TB, in 100 networks.
    bombs = [
        {"hidden": [16_384] * 3},
        {"hidden": [16_384, 16_384, 32]},
        {"members": 100, "hidden": [16_384] * 20},
    ]
    done = subprocess.run(
        [sys.executable, "-c", BOMBS],
        input="\n".join(map(json.dumps, bombs)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "run/weights.safetensors: array 'decoder.4.bias' is missing",
        "run/weights.safetensors: array 'decoder.4.bias' is missing",
        "run/weights.safetensors: array '0.decoder.0.bias' is missing",
    ]


@pytest.mark.parametrize("architecture", ["dense", "conv"])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("model", [name for name in MODELS.names() if MODELS.is_ours(name)])
def test_every_network_can_be_made_without_memory(model, likelihood, architecture):
    density = {"likelihood": likelihood, "samples": 2} if MODELS[model].density else {}
    (own,) = networks(
        Settings.of(model=model, architecture=architecture, latent_dim=4, views=("edges",), **density)
    )
    with torch.device("meta"):
        outline = build(own)
    whole = build(own).state_dict()
    assert {name: tensor.shape for name, tensor in outline.state_dict().items()} == {
        name: tensor.shape for name, tensor in whole.items()
    }
    assert (
        sum(tensor.nbytes for tensor in outline.state_dict().values() if tensor.device.type != "meta") < 1000
    )


def test_a_file_of_a_terabyte_is_not_read(small):
    small.save("run")
    for name in (runs.WEIGHTS, runs.CALIBRATION, runs.PATHWAY):
        small.save("run")
        with (Path("run") / name).open("r+b") as file:
            file.truncate(10**12)
        with pytest.raises(BundleError, match=f"{name}: 1,000,000,000,000 bytes, the limit is 4,294,967,296"):
            Detector.load("run")


@pytest.mark.skipif(sys.platform == "win32", reason="has no pipes among its files")
def test_a_pipe_is_not_waited_for(small):
    for name in (runs.WEIGHTS, runs.CALIBRATION, runs.PATHWAY, runs.HISTORY):
        small.save("run")
        (Path("run") / name).unlink()
        os.mkfifo(Path("run") / name)
        with pytest.raises(BundleError, match=f"{name}: is no regular file"):
            Detector.load("run")
