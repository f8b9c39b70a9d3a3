"""Trainings that are kept: a new run or an interrupted one, trained to its end, evaluated, and left in its folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from anomalae import runs
from anomalae.datasets.load import Dataset, OneClassSplit
from anomalae.datasets.splits import choose_folds
from anomalae.detectors.detector import Detector
from anomalae.errors import BundleError
from anomalae.evaluation.conformal import calibration_warning
from anomalae.experiments.run import Downloads, Run, describe, reload_dataset
from anomalae.runs.environment import choose_device
from anomalae.runs.record import Data, read_progress
from anomalae.settings import DEFAULT_ALPHA, Settings

if TYPE_CHECKING:
    from anomalae.models.training.state import Training

Classes = Iterable[int | str]


class Watcher(Protocol):
    """A watcher is called by a training on its way. Each method does nothing here: a subclass takes those it wants."""

    def on_split(self, split: OneClassSplit) -> None:
        """Look at the split before anything is written; an error raised here ends all."""
        return

    def on_begin(
        self, folder: Path, dataset: Dataset, split: OneClassSplit, settings: Settings, done: int | None
    ) -> None:
        """Take note that a training begins, or goes on after `done` epochs; the settings name all epochs."""
        return

    def on_batch(self, done: int, loss: float) -> None:
        """Take note of a step, after which `done` images of the epoch are seen."""
        return

    def on_epoch(self, state: Training) -> None:
        """Take note of an epoch; the last of `state.history` is its line."""
        return

    def on_calibrated(self, done: int) -> None:
        """Take note that `done` held-out images are scored, after the last epoch."""
        return

    def on_trained(self, detector: Detector, split: OneClassSplit) -> None:
        """Take note that the run is written; what follows is its evaluation."""
        return

    def on_tested(self, done: int) -> None:
        """Take note that `done` images of the test part are scored."""
        return

    def on_done(self, run: Run) -> None:
        """Take note that the run is evaluated, and all is over."""
        return

    def warn(self, message: str) -> None:
        """Pass on a warning, one line."""
        return


class Unwatched(Watcher):
    """Takes no note of anything."""


def train_and_keep(
    dataset: Dataset,
    settings: Settings,
    *,
    normal: Classes | None = None,
    anomalous: Classes | None = None,
    runs_dir: str | Path = "runs",
    name: str | None = None,
    alpha: float = DEFAULT_ALPHA,
    device: str = "auto",
    threads: int | None = None,
    start: Detector | None = None,
    conformal: str = "auto",
    watcher: Watcher | None = None,
) -> Run:
    """Train a detector on a data set's normal classes, keep it as a run, evaluate it, and keep that too.

    dataset: its train part is split by the settings' seed, its test part is scored once the training is over.
    settings: of the detector.
    normal: the normal classes, or else
    anomalous: the anomalous ones; all the others are normal then. Neither need be given of a data set of one class.
    runs_dir: folder that holds the runs.
    name: of the run, refused if it is taken; None names it by what it is, as in `mnist-0-ae`, and counts up.
    alpha: false-alarm level of the evaluation, above 0 and below 1.
    device: auto, cpu, cuda or mps.
    threads: CPU threads, as for `Detector`.
    start: with whose weights the training begins, as for `Detector.fit`.
    conformal: whether images are put aside to calibrate, or all calibrate in folds, as for `Detector.fit`.
    watcher: is called on the way.

    Returns the run, with its detector and data set at hand. A training that breaks off leaves its last checkpoint,
    from which `resume` goes on; one that breaks off before there is any leaves nothing.

    Raises ConfigError for a device that is not there and a start of other shapes, BundleError for a name that is taken
    or a folder that cannot be written, DataError for classes that the data set lacks, TrainingError when
    the loss is no longer finite.

    >>> from anomalae import load_dataset
    >>> settings = Settings.of(epochs=2, hidden=(32,), latent_dim=8)
    >>> run = train_and_keep(load_dataset("digits"), settings, normal=[0])
    >>> run, run.evaluation().n_anomalous
    (Run('runs/digits-0-ae'), 486)
    """
    watcher = watcher or Unwatched()
    choose_device(device)
    if name is not None:
        runs.check_free(Path(runs_dir), name)
    if start is not None:
        start.as_start().check(settings)
    split = dataset.one_class(normal=normal, anomalous=anomalous, seed=settings.seed)
    split = split.in_folds(choose_folds(split.n_normal, conformal))
    watcher.on_split(split)
    if start is not None and _may_have_seen(start.data, dataset, split):
        watcher.warn(
            "start: its networks may have been trained on images that calibrate here, and false alarms be more than is "
            "promised; the same normal classes, seed and way to calibrate as there would keep them apart"
        )
    settings = settings.for_images(split.n_trained)
    folder = runs.create(Path(runs_dir), name, automatic_name(dataset, split, settings))
    try:
        return _train(
            dataset, split, settings, folder, alpha, device, threads, watcher, resume=False, start=start
        )
    except BaseException:
        # Nothing worth keeping was written yet; what another process holds is its own.
        if not (runs.is_unfinished(folder) or runs.is_finished(folder) or runs.is_locked(folder)):
            with contextlib.suppress(OSError):
                runs.remove_left_over(folder)
        raise


def resume(
    folder: str | Path,
    *,
    data_dir: str | None = None,
    alpha: float = DEFAULT_ALPHA,
    device: str = "auto",
    threads: int | None = None,
    watcher: Watcher | None = None,
    progress: Downloads | None = None,
) -> Run:
    """Go on with an interrupted training from its checkpoint, and evaluate the run as `train_and_keep` does.

    The weights at its end are those of an uninterrupted training, bit for bit (same machine, versions, threads).

    folder: of the unfinished run.
    data_dir: as for `Run`.
    alpha, device, watcher: as for `train_and_keep`.
    threads: CPU threads; None takes as many as the training had.
    progress: called while files are downloaded.

    Returns the run. Raises BundleError for a run that is finished, locked or broken, DataError when its data are gone
    or have changed.

    >>> from anomalae import load_dataset
    >>> class Interrupt(Watcher):
    ...     def on_epoch(self, state):
    ...         raise KeyboardInterrupt
    >>> settings = Settings.of(epochs=2, hidden=(32,), latent_dim=8)
    >>> try:
    ...     train_and_keep(load_dataset("digits"), settings, normal=[0], watcher=Interrupt())
    ... except KeyboardInterrupt:
    ...     resume("runs/digits-0-ae")
    Run('runs/digits-0-ae')
    """
    folder = Path(folder)
    if runs.is_finished(folder):
        raise BundleError(f"{folder}: is finished already", advice="evaluate", about=folder.name)
    _, record = read_progress(folder)
    dataset = reload_dataset(record.data, data_dir, progress)
    split = dataset.one_class(normal=record.data.normal, seed=record.data.seed).in_folds(record.data.folds)
    threads = record.environment.threads if threads is None else threads
    watcher = watcher or Unwatched()
    return _train(dataset, split, record.settings, folder, alpha, device, threads, watcher, resume=True)


def _may_have_seen(before: Data, dataset: Dataset, split: OneClassSplit) -> bool:
    """Tell whether networks that were trained on some data may have seen images that calibrate here.

    The same images that are divided in the same way are no others.
    """
    same_images = before.hashes.get("train") == dataset.provenance["sha256"]["train"]
    there, here = (sorted(map(str, data.normal)) for data in (before, split))
    same_way = (there, before.seed, before.folds) == (here, split.seed, split.folds)
    return same_images and not set(there).isdisjoint(here) and not same_way


def automatic_name(dataset: Dataset, split: OneClassSplit, settings: Settings) -> str:
    """Return what a run is called by itself: data, normal classes (or the one that is not), model."""
    if len(split.anomalous) == 1 and len(split.normal) > 1:
        which = f"not{split.anomalous[0]}"
    else:
        which = "+".join(str(name) for name in split.normal)
    return runs.slug(f"{dataset.short_name}-{which}-{settings.model}")


def _train(
    dataset: Dataset,
    split: OneClassSplit,
    settings: Settings,
    folder: Path,
    alpha: float,
    device: str,
    threads: int | None,
    watcher: Watcher,
    *,
    resume: bool,
    start: Detector | None = None,
) -> Run:
    """Train into an existing folder, which is locked meanwhile, then evaluate what stands there."""
    done = len(read_progress(folder)[0]) if resume else None
    watcher.on_begin(folder, dataset, split, settings, done)
    with runs.lock(folder):
        detector = Detector(device=device, threads=threads, **settings.to_dict())
        parts = (split.train, split.validation, split.calibration)
        detector.fit(
            *(part.images for part in (parts[:1] if split.folds else parts)),
            conformal="cross" if split.folds else "split",
            data=describe(dataset, split),
            folder=folder,
            resume=resume,
            start=start,
            on_epoch=watcher.on_epoch,
            on_batch=watcher.on_batch,
            on_scored=watcher.on_calibrated,
        )
        detector.write(folder)
    watcher.on_trained(detector, split)
    warning = calibration_warning(detector.n_calibration, alpha)
    if warning:
        watcher.warn(warning)
    run = Run(folder, device=device, threads=threads)
    run.hold(detector, dataset)
    run.evaluate(alpha, keep=True, on_scored=watcher.on_tested)
    watcher.on_done(run)
    return run
