"""Runs as a library has them: trained and kept without a command line, resumed, evaluated once, and asked again."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomalae import Detector, Settings, files, runs
from anomalae.datasets.load import Dataset, OneClassSplit
from anomalae.errors import BundleError, ConfigError, DataError
from anomalae.evaluation import conformal
from anomalae.experiments.run import Run
from anomalae.experiments.training import Unwatched, resume, train_and_keep
from anomalae.runs import results

QUICK = Settings.of(hidden=(16,), latent_dim=4, epochs=2, batch_size=32)


class Noted(Unwatched):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_split(self, split: OneClassSplit) -> None:
        self.calls.append("split")

    def on_begin(self, folder: Path, dataset: Dataset, split: Any, settings: Settings, done: Any) -> None:
        assert folder.is_dir()
        self.calls.append(f"begin {settings.epochs} {done}")

    def on_epoch(self, state: Any) -> None:
        self.calls.append(f"epoch {state.history[-1].epoch}")

    def on_trained(self, detector: Detector, split: OneClassSplit) -> None:
        self.calls.append("trained")

    def on_tested(self, done: int) -> None:
        self.calls.append(f"tested {done}")

    def warn(self, message: str) -> None:
        self.calls.append("warning")


class Stops(Unwatched):
    """Ends the training as Ctrl-C would, after its first epoch."""

    def on_epoch(self, state: Any) -> None:
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def trained(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_and_keep(
        digits, QUICK, normal=[0], runs_dir=tmp_path_factory.mktemp("runs"), device="cpu", conformal="split"
    )


@pytest.fixture
def copied(trained: Run, tmp_path: Path) -> Path:
    """The run's folder, to be written to, without its evaluation."""
    folder = tmp_path / "copy"
    shutil.copytree(trained.folder, folder)
    for name in (runs.EVALUATION, runs.SCORES):
        (folder / name).unlink()
    return folder


def test_a_training_is_kept_evaluated_and_silent(digits: Dataset, tmp_path: Path, capsys: Any):
    noted = Noted()
    run = train_and_keep(
        digits, QUICK, normal=[0], runs_dir=tmp_path, alpha=0.1, conformal="split", watcher=noted
    )
    assert capsys.readouterr() == ("", "")
    assert run.name == "digits-0-ae"
    assert noted.calls[:5] == ["split", "begin 2 None", "epoch 1", "epoch 2", "trained"]
    assert noted.calls[-1] == f"tested {len(digits.test)}"
    document = files.read_json(run.folder / runs.EVALUATION)
    assert document == run.document(run.evaluation())
    assert (document["alpha"], document["dataset"], document["normal"]) == (0.1, "digits", [0])
    again = Run(run.folder)
    assert again.evaluation().to_dict() == run.evaluation().to_dict()
    assert np.array_equal(again.detector.score(digits.test.images), run.detector.score(digits.test.images))
    second = train_and_keep(digits, QUICK, anomalous=[0], runs_dir=tmp_path, alpha=1e-4, watcher=noted)
    assert second.name == "digits-not0-ae"
    assert "warning" in noted.calls


def test_what_is_refused_leaves_nothing(digits: Dataset, trained: Run, tmp_path: Path):
    place = tmp_path / "runs"
    for more, fault in (
        ({"normal": [12]}, DataError),
        ({}, DataError),
        ({"normal": [0], "name": "a/b"}, BundleError),
        ({"normal": [0], "device": "tpu"}, ConfigError),
    ):
        with pytest.raises(fault):
            train_and_keep(digits, QUICK, runs_dir=place, **more)
    with pytest.raises(BundleError, match="exists already") as caught:
        train_and_keep(digits, QUICK, normal=[0], runs_dir=trained.folder.parent, name=trained.name)
    assert caught.value.advice == "name"

    class Refuses(Unwatched):
        def on_begin(self, *_: Any) -> None:
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        train_and_keep(digits, QUICK, normal=[0], runs_dir=place, watcher=Refuses())
    assert not place.exists() or not list(place.iterdir())


def test_an_interrupted_training_goes_on_to_the_same_weights(digits: Dataset, trained: Run, tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        train_and_keep(
            digits, QUICK, normal=[0], runs_dir=tmp_path, device="cpu", conformal="split", watcher=Stops()
        )
    folder = tmp_path / "digits-0-ae"
    assert runs.is_unfinished(folder)
    with pytest.raises(BundleError, match="not finished"):
        Run.open("digits-0-ae", tmp_path)
    noted = Noted()
    run = resume(folder, device="cpu", watcher=noted)
    assert noted.calls[0] == "begin 2 1"
    assert "epoch 1" not in noted.calls
    weights = [(one.folder / runs.WEIGHTS).read_bytes() for one in (run, trained)]
    assert weights[0] == weights[1]
    assert run.evaluation().to_dict() == trained.evaluation().to_dict()
    with pytest.raises(BundleError, match="is finished already"):
        resume(folder)


def test_an_evaluation_is_made_once_and_kept(copied: Path, trained: Run):
    run = Run(copied)
    assert run.kept_evaluation() is None
    assert not (copied / runs.EVALUATION).exists()
    made = run.evaluation(0.2)
    assert made.alpha == 0.2
    kept = results.read_evaluation(copied)
    assert kept is not None
    assert kept.to_dict() == made.to_dict()
    assert Run(copied).evaluation(0.05).alpha == 0.2
    anew = run.evaluate(0.05, keep=True)
    assert anew.to_dict() == trained.evaluate(0.05).to_dict()
    assert Run(copied).evaluation().alpha == 0.05


def test_another_rule_or_data_set_is_evaluated_but_not_kept(copied: Path, digits: Dataset):
    run = Run(copied)
    by_mse = run.evaluate(0.1, rule="mse")
    assert np.array_equal(by_mse.scores, run.detector.score(digits.test.images, "mse"))
    p_values = conformal.p_values(by_mse.scores, run.detector.calibration_scores("mse"))
    assert np.array_equal(by_mse.p_values, p_values)
    assert run.document(by_mse, rule="mse")["score"] == "mse"
    assert run.evaluate(dataset=digits).to_dict() == run.evaluate().to_dict()
    assert run.kept_evaluation() is None
    for more in ({"rule": "mse"}, {"dataset": digits}):
        with pytest.raises(ConfigError, match="keep"):
            run.evaluate(keep=True, **more)
    with pytest.raises(ConfigError, match="score 'none'"):
        run.evaluate(rule="none")


def test_parts_of_a_run_are_read_once(trained: Run):
    run = Run.open(trained.name, trained.folder.parent)
    assert run.detector is run.detector
    assert run.record is run.record
    assert run.dataset() is run.dataset()
    assert run.comparison is None
    assert Run.open(None, trained.folder.parent).folder == trained.folder
    assert Run(".").name == Path.cwd().name


def test_all_of_other_data_is_scored_and_never_its_own(trained: Run, digits: Dataset):
    other = dataclasses.replace(digits, name="other", train=digits.test, provenance={"sha256": {"train": ""}})
    evaluation = trained.evaluate(dataset=other, part="all")
    assert len(evaluation.scores) == 2 * len(digits.test)
    document = trained.document(evaluation, dataset=other, part="all")
    assert (document["dataset"], document["part"]) == ("other", "all")
    for own in (None, digits, dataclasses.replace(digits, name="copy")):
        with pytest.raises(DataError, match="not all of it can be scored"):
            trained.evaluate(dataset=own, part="all")
    with pytest.raises(ConfigError, match="part 'train': must be one of test, all"):
        trained.evaluate(dataset=other, part="train")
