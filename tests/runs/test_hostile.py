"""Run folders from anybody: one that is broken is a row of the list, and nothing is written where its links lead."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from anomalae import Detector, Settings, files, runs
from anomalae.datasets.dataset import Dataset
from anomalae.errors import BundleError
from anomalae.experiments.training import Unwatched, train_and_keep
from anomalae.runs import results
from tests.cli import QUICK, fails, ok, parsed
from tests.full_disks import small_disk

TRAIN = ["train", "--normal", "0", *QUICK, "--threads", "1", "--quiet"]


def process(*words: str, most: int | None = None) -> subprocess.CompletedProcess[str]:
    """Call the command line in a process whose files have at most so many bytes; it must end, without a traceback."""

    def limited() -> None:
        if most is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    done = subprocess.run(
        [sys.executable, "-m", "anomalae", *words],
        capture_output=True, text=True, check=False, timeout=120, preexec_fn=limited,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


# --- the list -----------------------------------------------------------------------------------------------------


def set_created(folder: Path, created: str) -> None:
    config = json.loads((folder / runs.CONFIG).read_text())
    (folder / runs.CONFIG).write_text(json.dumps(config | {"created": created}))


def link(path: Path, target: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def large(path: Path) -> None:
    """A file of a terabyte that takes no room."""
    with path.open("wb") as file:
        file.truncate(10**12)


DEEP = "[" * 200_000
SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "date": (lambda f: set_created(f, "2026-01-01T00:00:00"), "a date without its time zone"),
    "deep-config": (lambda f: (f / runs.CONFIG).write_text(DEEP), "config.json: not valid JSON: nested too deeply"),
    "deep-history": (lambda f: (f / runs.HISTORY).write_text(DEEP), "line 1: not valid JSON: nested too deeply"),
    "deep-evaluation": (lambda f: (f / runs.EVALUATION).write_text(DEEP), "evaluation.json: not valid JSON: nested"),
    "device": (lambda f: link(f / runs.HISTORY, "/dev/zero"), "history.jsonl: is no regular file"),
    "pipe": (lambda f: pipe(f / runs.HISTORY), "history.jsonl: is no regular file"),
    "large-config": (lambda f: large(f / runs.CONFIG), "config.json: 1,000,000,000,000 bytes, the limit is 16,777,216"),
    "large-history": (lambda f: large(f / runs.HISTORY), "history.jsonl: 1,000,000,000,000 bytes, the limit"),
    "lines": (lambda f: (f / runs.HISTORY).write_text("5\n"), "line 1: expected an object, got int"),
    "no-loss": (lambda f: (f / runs.HISTORY).write_text("{}\n"), "history.jsonl: line 1: epoch is missing"),
    "roc-auc": (
        lambda f: (f / runs.EVALUATION).write_text(
            '{"roc_auc": "high", "roc_auc_interval": null, "threshold": 1, "alpha": 0.05}'
        ),
        "evaluation.json: roc_auc is 'high', of the wrong kind",
    ),
}  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="has neither pipes nor devices among its files")
def test_a_spoilt_folder_is_a_row_of_the_list_and_the_others_are_as_they_are(small: Detector):
    small.save("runs/whole")
    for name, (spoil, _) in SPOILT.items():
        small.save(f"runs/{name}")
        spoil(Path("runs") / name)
    # In a process of its own, which a pipe would not hold up for ever.
    done = process("runs")
    assert done.returncode == 0
    listed = {run["run"]: run for run in parsed("runs", "--json")}
    assert listed.pop("whole")["status"] == "finished"
    assert set(listed) == set(SPOILT)
    for name, (_, error) in SPOILT.items():
        assert listed[name]["status"] == "broken"
        assert error in listed[name]["error"]
        assert "\n" not in listed[name]["error"]
        assert error in done.stdout
        assert error in fails(1, "runs", name)


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        (5, "its metadata are no object"),
        ([1], "its metadata are no object"),
        ({"epoch": "x", "record": {}}, "not a checkpoint of anomalae"),
        ({"epoch": -1, "record": {}}, "not a checkpoint of anomalae"),
        ({"epoch": 0, "record": []}, "expected an object, got list"),
    ],
)
def test_a_spoilt_checkpoint_is_a_row_of_the_list(metadata, error):
    Path("runs/a").mkdir(parents=True)
    Path("runs/a/history.jsonl").touch()
    files.write_arrays(Path("runs/a") / runs.CHECKPOINT, {}, metadata)
    (run,) = parsed("runs", "--json")
    assert error in run["error"]
    assert error in fails(1, "train", "--resume", "a")


# --- links --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [runs.EVALUATION, runs.SCORES, ".lock"])
def test_nothing_is_written_where_a_link_in_a_run_leads(name: str):
    ok(*TRAIN, "--name", "a")
    Path("precious").write_text("of years")
    link(Path("runs/a") / name, str(Path("precious").absolute()))
    ok("runs")
    ok("evaluate", "a", "--quiet", "--threads", "1")
    with runs.lock(Path("runs/a")):
        pass
    assert Path("precious").read_text() == "of years"
    assert results.read_evaluation(Path("runs/a")) is not None


@pytest.fixture
def interrupted(digits: Dataset) -> Path:
    """A training that ended after its first epoch."""

    class Stops(Unwatched):
        def on_epoch(self, state: object) -> None:
            raise KeyboardInterrupt

    settings = Settings.of(epochs=2, hidden=(32,), latent_dim=8)
    with pytest.raises(KeyboardInterrupt):
        train_and_keep(digits, settings, normal=[0], name="a", conformal="split", watcher=Stops())
    return Path("runs/a")


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        # Shapes of 3.6 GB, which no memory is taken for.
        (
            lambda arrays, record: record["settings"].update(hidden=[16_384] * 3),
            "array 'decoder.4.bias' is missing",
        ),
        (
            lambda arrays, record: arrays.update({"0.model.encoder.1.bias": np.zeros(32, np.int64)}),
            "encoder.1.bias holds torch.int64, expected torch.float32",
        ),
        (
            lambda arrays, record: arrays.update({"0.optimizer.0.exp_avg": np.zeros(3, np.float32)}),
            "exp_avg of weight 0 has shape [3]",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_one_line(interrupted: Path, spoil: Callable, error: str):
    arrays, metadata = files.read_arrays(interrupted / runs.CHECKPOINT)
    spoil(arrays, metadata["record"])
    files.write_arrays(interrupted / runs.CHECKPOINT, arrays, metadata)
    assert error in fails(1, "train", "--resume", "a")


def test_an_interrupted_run_with_links_goes_on_without_following_them(interrupted: Path):
    assert runs.is_unfinished(Path("runs/a"))
    Path("precious").write_text("of years")
    for name in (runs.WEIGHTS, runs.CALIBRATION, runs.PATHWAY):
        link(Path("runs/a") / name, str(Path("precious").absolute()))
    ok("train", "--resume", "a", "--quiet")
    assert Path("precious").read_text() == "of years"
    Detector.load("runs/a")


# --- full disks, and trainings that end before their first checkpoint ---------------------------------------------


def left_over() -> list[str]:
    return sorted(path.name for path in Path("runs").iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_a_disk_full_at_the_first_checkpoint_leaves_the_name_free():
    done = process(*TRAIN, "--name", "a", most=20_000)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "Error: runs/a/checkpoint.safetensors: cannot be written: File too"
    )
    assert left_over() == []
    ok(*TRAIN, "--name", "a")
    Detector.load("runs/a")


def test_a_really_full_disk_leaves_the_name_free():
    with small_disk(Path("runs")):
        assert "runs/a/checkpoint.safetensors: cannot be written: No space left" in fails(
            1, *TRAIN, "--name", "a"
        )
        assert left_over() == []
    ok(*TRAIN, "--name", "a")


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signal")
def test_a_training_killed_before_its_first_checkpoint_leaves_the_name_free():
    killed = (
        "import os; from pathlib import Path; from anomalae import runs\n"
        "folder = runs.create(Path('runs'), 'a', '')\n"
        "with runs.lock(folder):\n"
        "    (folder / runs.HISTORY).touch(); (folder / '.checkpoint.safetensors.0123abcd.part').touch()\n"
        f"    os.kill(os.getpid(), {signal.SIGKILL})"
    )
    subprocess.run([sys.executable, "-c", killed], check=False)
    assert left_over() == ["a"]
    assert sorted(path.name for path in Path("runs/a").iterdir())[-1] == runs.HISTORY
    with runs.lock(Path("runs/a")), pytest.raises(BundleError, match="exists already"):
        runs.check_free(Path("runs"), "a")
    (Path("runs/a") / "thesis.txt").touch()
    with pytest.raises(BundleError, match="exists already"):
        runs.create(Path("runs"), "a", "")
    (Path("runs/a") / "thesis.txt").unlink()
    runs.check_free(Path("runs"), "a")
    ok(*TRAIN, "--name", "a")
    Detector.load("runs/a")


def test_a_training_does_not_take_away_what_another_holds(small: Detector):
    folder = runs.create(Path("runs"), "a", "")
    with runs.lock(folder):
        (folder / runs.HISTORY).touch()
        assert not runs.is_left_over(folder)
        with pytest.raises(BundleError, match="exists already"):
            runs.create(Path("runs"), "a", "")
        assert runs.create(Path("runs"), None, "a").name == "a-2"
    assert runs.is_left_over(folder)
