"""Logs of trainings for those who keep them elsewhere: TensorBoard or MLflow, off unless asked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalae.errors import ConfigError
from anomalae.experiments.training import Watcher

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from anomalae.datasets.load import Dataset, OneClassSplit
    from anomalae.detectors.detector import Detector
    from anomalae.experiments.run import Run
    from anomalae.models.training.state import Training
    from anomalae.settings import Settings

# The package that each needs, which is also the extra of ours.
LOGS = ("tensorboard", "mlflow")
# Where TensorBoard's files go, a folder a run. MLflow has its own, or what MLFLOW_TRACKING_URI names.
FOLDER = Path("logs")
# Figures of a finished run that are logged.
FIGURES = ("roc", "scores", "classes", "reconstructions", "history")
NUMBERS = ("roc_auc", "average_precision", "fpr_at_95_tpr", "false_alarm_rate", "detection_rate", "threshold")


def check_log(name: str) -> None:
    """Raise ConfigError for a log of another name, and for one whose package is not installed.

    >>> check_log("paper")
    Traceback (most recent call last):
      ...
    anomalae.errors.ConfigError: log 'paper': must be one of tensorboard, mlflow
    """
    if name not in LOGS:
        raise ConfigError(f"log {name!r}: must be one of {', '.join(LOGS)}", setting="log")
    if importlib.util.find_spec(name) is None:
        raise ConfigError(f"log {name}: is not installed; pip install 'anomalae[{name}]'", setting="log")


class Log(Watcher):
    """Logs a training: settings, each epoch, and of the finished run its figures and final numbers.

    name: `tensorboard` or `mlflow`.

    Raises ConfigError as `check_log` does.
    """

    def __init__(self, name: str) -> None:
        check_log(name)
        self.name = name
        self._writer: _Writer | None = None

    def on_begin(
        self, folder: Path, dataset: Dataset, split: OneClassSplit, settings: Settings, done: int | None
    ) -> None:
        """Open the log of this run, and write its settings into it."""
        self._writer = {"tensorboard": _TensorBoard, "mlflow": _MLflow}[self.name](folder, done)
        described = {"dataset": dataset.short_name, "normal": ",".join(map(str, split.normal))}
        self._writer.settings(described | {key: str(value) for key, value in settings.to_dict().items()})

    def on_epoch(self, state: Training) -> None:
        """Log an epoch's losses and learning rate."""
        if self._writer is None:
            return
        line = state.history[-1]
        values = {"loss": line.loss, "learning_rate": line.learning_rate}
        if line.validation_loss is not None:
            values["validation_loss"] = line.validation_loss
        self._writer.numbers(values, line.epoch)

    def on_done(self, run: Run) -> None:
        """Log figures and final numbers, and close."""
        from anomalae.experiments import figures

        if self._writer is None:
            return
        evaluation = run.evaluation()
        document = run.document(evaluation)
        epoch = run.detector.settings.epochs or 0
        numbers = {name: document[name] for name in NUMBERS if document.get(name) is not None}
        self._writer.numbers(numbers, epoch)
        for name in FIGURES:
            # Normal images alone have no curve, and are no classes to compare.
            if evaluation.roc_auc is None and name in ("roc", "classes"):
                continue
            self._writer.figure(name, getattr(figures, name)(run), epoch)
        self._close(True)

    def close(self) -> None:
        """Close the log of a training that broke off; what is in it stays. Nothing to do after one that is done."""
        self._close(False)

    def _close(self, is_done: bool) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close(is_done)


class _Writer:
    """What a log takes."""

    def settings(self, values: dict[str, str]) -> None:
        raise NotImplementedError

    def numbers(self, values: dict[str, float], epoch: int) -> None:
        raise NotImplementedError

    def figure(self, name: str, figure: Figure, epoch: int) -> None:
        raise NotImplementedError

    def close(self, is_done: bool) -> None:
        raise NotImplementedError


class _TensorBoard(_Writer):
    def __init__(self, folder: Path, done: int | None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(FOLDER / folder.name))

    def settings(self, values: dict[str, str]) -> None:
        rows = "\n".join(f"| {name} | {value} |" for name, value in values.items())
        self._writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}", 0)

    def numbers(self, values: dict[str, float], epoch: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)

    def figure(self, name: str, figure: Figure, epoch: int) -> None:
        self._writer.add_image(name, _pixels(figure), epoch, dataformats="HWC")

    def close(self, is_done: bool) -> None:
        self._writer.close()


class _MLflow(_Writer):
    # A tag of a run: the folder of the training, by which one that goes on finds its run.
    TAG = "anomalae.folder"

    def __init__(self, folder: Path, done: int | None) -> None:
        import mlflow

        self._mlflow: Any = mlflow
        mlflow.set_experiment("anomalae")
        place = str(folder.resolve())
        # Not by a filter of MLflow's, in which the quotes of a path would have no place.
        known = (
            mlflow.search_runs(
                experiment_names=["anomalae"], order_by=["attributes.start_time DESC"], output_format="list"
            )
            if done is not None
            else []
        )
        before = next((run for run in known if run.data.tags.get(self.TAG) == place), None)
        if before is None:
            mlflow.start_run(run_name=folder.name, tags={self.TAG: place})
        else:
            mlflow.start_run(run_id=before.info.run_id)

    def settings(self, values: dict[str, str]) -> None:
        self._mlflow.log_params(values)

    def numbers(self, values: dict[str, float], epoch: int) -> None:
        self._mlflow.log_metrics(values, step=epoch)

    def figure(self, name: str, figure: Figure, epoch: int) -> None:
        self._mlflow.log_figure(figure, f"{name}.png")

    def close(self, is_done: bool) -> None:
        self._mlflow.end_run("FINISHED" if is_done else "FAILED")


def _pixels(figure: Figure) -> Any:
    """Return a figure as uint8 pixels (H, W, 3)."""
    import io

    import numpy as np
    from PIL import Image

    content = io.BytesIO()
    figure.savefig(content, format="png")
    return np.asarray(Image.open(content).convert("RGB"))


class Several(Watcher):
    """Calls several watchers, in their order, with whatever happens."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = tuple(watchers)

    def on_split(self, split: OneClassSplit) -> None:
        """Show it to all."""
        for watcher in self._watchers:
            watcher.on_split(split)

    def on_begin(
        self, folder: Path, dataset: Dataset, split: OneClassSplit, settings: Settings, done: int | None
    ) -> None:
        """Tell all."""
        for watcher in self._watchers:
            watcher.on_begin(folder, dataset, split, settings, done)

    def on_batch(self, done: int, loss: float) -> None:
        """Tell all."""
        for watcher in self._watchers:
            watcher.on_batch(done, loss)

    def on_epoch(self, state: Training) -> None:
        """Tell all."""
        for watcher in self._watchers:
            watcher.on_epoch(state)

    def on_calibrated(self, done: int) -> None:
        """Tell all."""
        for watcher in self._watchers:
            watcher.on_calibrated(done)

    def on_trained(self, detector: Detector, split: OneClassSplit) -> None:
        """Tell all."""
        for watcher in self._watchers:
            watcher.on_trained(detector, split)

    def on_tested(self, done: int) -> None:
        """Tell all."""
        for watcher in self._watchers:
            watcher.on_tested(done)

    def on_done(self, run: Run) -> None:
        """Tell all."""
        for watcher in self._watchers:
            watcher.on_done(run)

    def warn(self, message: str) -> None:
        """Tell all."""
        for watcher in self._watchers:
            watcher.warn(message)
