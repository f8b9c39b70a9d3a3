"""Logs of trainings: what TensorBoard or MLflow hold afterwards, and what is said where they are not installed."""

from __future__ import annotations

import importlib.util
import json

import pytest
from click.testing import CliRunner

from anomalae import load_dataset
from anomalae.cli import main
from anomalae.cli.training_display import logged
from anomalae.errors import ConfigError
from anomalae.experiments import logs
from anomalae.experiments.run import Run
from anomalae.experiments.training import Watcher, train_and_keep
from anomalae.settings import Settings

TRAIN = ["train", "--normal", "0", "--dataset", "digits", "--hidden", "16", "--epochs", "3"]
TRAIN += ["--conformal", "split"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def call(*words):
    return CliRunner().invoke(main, [*TRAIN, *words])


def test_a_log_is_off_unless_asked_for(tmp_path):
    assert call("--quiet").exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}


def test_tensorboard_has_epochs_figures_and_final_numbers(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = call("--log", "tensorboard", "--quiet")
    assert result.exit_code == 0, result.output
    kept = EventAccumulator(str(tmp_path / "logs" / "digits-0-ae")).Reload()
    losses = kept.Scalars("loss")
    assert [entry.step for entry in losses] == [1, 2, 3]
    lines = map(json.loads, (tmp_path / "runs/digits-0-ae/history.jsonl").read_text().splitlines())
    assert [entry.value for entry in losses] == pytest.approx([line["loss"] for line in lines])
    assert len(kept.Scalars("validation_loss")) == 3
    (auc,) = kept.Scalars("roc_auc")
    assert (auc.step, 0 <= auc.value <= 1) == (3, True)
    assert set(kept.Tags()["images"]) == set(logs.FIGURES)
    assert "latent_dim" in str(kept.Tensors("settings/text_summary")[0])


@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_them_too(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    result = call("--log", "mlflow", "--quiet")
    assert result.exit_code == 0, result.output
    (run,) = mlflow.search_runs(experiment_names=["anomalae"], output_format="list")
    assert run.data.params["latent_dim"] == "16"
    assert {"loss", "roc_auc"} <= run.data.metrics.keys()
    assert run.info.status == "FINISHED"


@pytest.mark.filterwarnings("ignore")
def test_mlflow_is_told_of_a_training_that_broke_off_and_goes_on(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")

    def kept():
        (run,) = mlflow.search_runs(experiment_names=["anomalae"], output_format="list")
        return run

    class Stop(Watcher):
        def on_epoch(self, state):
            raise KeyboardInterrupt

    settings = Settings(hidden=(16,), epochs=3)
    with pytest.raises(KeyboardInterrupt), logged({"logs": ["mlflow"]}, Stop()) as watcher:
        train_and_keep(load_dataset("digits"), settings, normal=[0], watcher=watcher)
    assert (kept().info.status, "roc_auc" in kept().data.metrics) == ("FAILED", False)
    result = CliRunner().invoke(main, ["train", "--resume", "digits-0-ae", "--log", "mlflow", "--quiet"])
    assert result.exit_code == 0, result.output
    assert (kept().info.status, "roc_auc" in kept().data.metrics) == ("FINISHED", True)


def test_the_writer_is_told_whether_the_training_was_done(tmp_path):
    """The same for any kind of log, whatever is installed."""
    pytest.importorskip("tensorboard")
    ends = []

    class Kept(logs._Writer):
        def close(self, is_done):
            ends.append(is_done)

        def numbers(self, values, epoch):
            return

        def figure(self, name, figure, epoch):
            return

    log = logs.Log("tensorboard")
    log._writer = Kept()
    log.close()
    log.close()
    assert ends == [False]
    result = call("--quiet")
    assert result.exit_code == 0, result.output
    log._writer = Kept()
    log.on_done(Run("runs/digits-0-ae"))
    log.close()
    assert ends == [False, True]


def test_what_is_not_installed_is_said_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = call("--log", "tensorboard")
    assert result.exit_code == 2
    assert "is not installed; pip install 'anomalae[tensorboard]'" in " ".join(result.output.split())
    assert not (tmp_path / "runs").exists()
    with pytest.raises(ConfigError, match="log 'paper': must be one of tensorboard, mlflow"):
        logs.check_log("paper")
