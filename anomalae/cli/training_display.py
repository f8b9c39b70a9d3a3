"""A training that is kept, as the command line starts and shows it; shared by the commands that train a run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomalae.cli import console
from anomalae.cli import options as common
from anomalae.cli.lines import tell, tell_command
from anomalae.cli.progress import TrainingDisplay, counting
from anomalae.errors import ConfigError
from anomalae.runs import is_finished, is_unfinished
from anomalae.text import listed

if TYPE_CHECKING:
    from anomalae.datasets.load import Dataset, OneClassSplit
    from anomalae.detectors.detector import Detector
    from anomalae.experiments.run import Run
    from anomalae.experiments.training import Watcher
    from anomalae.models.training.state import Training
    from anomalae.settings import Settings


class TrainingShown:
    """Shows a training from its first epoch to its evaluation: what `anomalae.experiments.training` calls a watcher.

    quiet: whether nothing but warnings is shown.
    check: may refuse the split before anything is written.
    """

    def __init__(
        self, *, quiet: bool = False, check: Callable[[OneClassSplit], None] = lambda split: None
    ) -> None:
        self.quiet, self.on_split = quiet, check
        # Of the training under way, and so of what can be resumed.
        self.folder: Path | None = None
        self._n_test = 0
        self._display: TrainingDisplay | None = None
        self._count: Callable[[int], None] | None = None
        self._open = contextlib.ExitStack()

    def __enter__(self) -> TrainingShown:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def on_begin(
        self, folder: Path, dataset: Dataset, split: OneClassSplit, settings: Settings, done: int | None
    ) -> None:
        """Say what is trained, and show its progress from now on."""
        self.folder = folder
        images = len(split.train)
        # Each image is left out in one of the folds.
        times = max(1, split.folds - 1)
        if not self.quiet:
            verb = "training" if done is None else f"going on after epoch {done}"
            folds = f" in {split.folds} folds" if split.folds else ""
            tell(f"{verb}: {folder}  ({dataset.name}, {_normal(split)}, {images} training images{folds})")
        display = TrainingDisplay(
            settings.epochs or 0, images * times * settings.n_networks, done=done or 0, quiet=self.quiet
        )
        # Before it starts, so that an interruption meanwhile leaves no bar.
        self._open.push(display)
        self._display = display.__enter__()

    def on_batch(self, done: int, loss: float) -> None:
        """Show a step."""
        if self._display:
            self._display.on_batch(done, loss)

    def on_epoch(self, state: Training) -> None:
        """Show an epoch."""
        if self._display:
            self._display.on_epoch(state)

    def on_calibrated(self, done: int) -> None:
        """Show how many held-out images are scored."""
        if self._display:
            self._display.on_scored(done)

    def on_trained(self, detector: Detector, split: OneClassSplit) -> None:
        """End the progress of the training."""
        self._n_test = len(split.test)
        self._open.close()
        if self._display:
            self._display.tell_end(detector.history[-1])

    def on_tested(self, done: int) -> None:
        """Show how many test images are scored."""
        if self._count is None:
            shown = counting("scoring test images", self._n_test, quiet=self.quiet)
            self._count = self._open.enter_context(shown)
        self._count(done)

    def on_done(self, run: Run) -> None:
        """End the progress of the evaluation."""
        self._open.close()

    def warn(self, message: str) -> None:
        """Print a warning."""
        console.warn(message)


def _normal(split: OneClassSplit) -> str:
    """Return which classes are normal; whether there are others is what an owner of a folder wants to see."""
    return f"normal {listed(split.normal, ',')}" if split.anomalous else "nothing but normal images"


@contextlib.contextmanager
def training_shown(
    options: dict[str, Any], check: Callable[[OneClassSplit], None] = lambda split: None
) -> Iterator[TrainingShown]:
    """Show a training; one that is interrupted ends with status 130 and the command that goes on with it.

    options: quiet and runs_dir.
    check: may refuse the split before anything is written.
    """
    shown = TrainingShown(quiet=options["quiet"], check=check)
    try:
        with shown:
            yield shown
    except KeyboardInterrupt:
        if shown.folder is None:
            raise
        place = f"{shown.folder.name}{runs_dir_flag(options['runs_dir'])}"
        if is_finished(shown.folder):
            tell_command(
                "Interrupted after the training; evaluate the run:", f"anomalae evaluate --run {place}"
            )
        elif is_unfinished(shown.folder):
            tell_command("Interrupted; go on with:", f"anomalae train --resume {place}")
        else:
            tell("Interrupted before anything was kept.")
        raise SystemExit(common.INTERRUPTED) from None


def train_new(
    options: dict[str, Any],
    settings: Settings,
    alpha: float,
    check: Callable[[OneClassSplit], None] = lambda split: None,
) -> Run:
    """Train a new run of the options that name its data, classes and place.

    options: dataset, data_dir, preprocess, polarity, normal, anomalous, name, runs_dir, device, threads, quiet; start
        and conformal where there are such.
    settings: of its detector.
    alpha: false-alarm level of its evaluation.
    check: may refuse the split before anything is written.
    """
    from anomalae import runs
    from anomalae.datasets.classes import choose_classes
    from anomalae.detectors.detector import Detector
    from anomalae.errors import DataError
    from anomalae.experiments.training import train_and_keep
    from anomalae.runs.environment import choose_device

    # Refused before a data set is looked for, which may take a download.
    choose_device(options["device"])
    check_logs(options)
    if options["name"] is not None:
        runs.check_free(options["runs_dir"], options["name"])
    start = None
    if options.get("start") is not None:
        start = Detector.load(runs.resolve(options["start"], options["runs_dir"]), device="cpu")
        start.as_start().check(settings)
    dataset = common.load(options)
    named = {side: options[side] or None for side in ("normal", "anomalous")}
    try:
        normal = choose_classes(**named, classes=dataset.classes, name=dataset.short_name)[0]
    except DataError as error:
        if error.unknown is not None:
            raise
        raise click.UsageError(console.said(error)) from None
    with training_shown(options, check) as shown, logged(options, shown) as watcher:
        return train_and_keep(
            dataset,
            settings,
            normal=normal,
            runs_dir=options["runs_dir"],
            name=options["name"],
            alpha=alpha,
            device=options["device"],
            threads=options["threads"],
            start=start,
            conformal=options.get("conformal", "auto"),
            watcher=watcher,
        )


def check_logs(options: dict[str, Any]) -> None:
    """Raise a usage error for a log that cannot be written here."""
    for name in options.get("logs") or ():
        from anomalae.experiments.logs import check_log

        try:
            check_log(name)
        except ConfigError as error:
            raise click.UsageError(console.said(error)) from None


@contextlib.contextmanager
def logged(options: dict[str, Any], shown: Watcher) -> Iterator[Watcher]:
    """Return a watcher that shows a training, and logs it as `--log` asks; logs are closed when it breaks off."""
    names = options.get("logs") or ()
    if not names:
        yield shown
        return
    from anomalae.experiments.logs import Log, Several

    with contextlib.ExitStack() as stack:
        logs = [Log(name) for name in dict.fromkeys(names)]
        for log in logs:
            stack.callback(log.close)
        yield Several([shown, *logs])


def started_from(start: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return with whose weights a training began, as a row for people; none where it began with its own.

    start: as a run keeps it.
    """
    if not start:
        return []
    name = start["run"] or "a detector in no folder"
    return [("started from", f"{name}, whose weights have the SHA-256 {start['weights'][:12]}...")]


def runs_dir_flag(runs_dir: Path) -> str:
    """Return `--runs-dir` with a space before it, as one would type it; nothing for the usual folder."""
    return "" if runs_dir == Path("runs") else f" --runs-dir {console.shell_word(runs_dir)}"
