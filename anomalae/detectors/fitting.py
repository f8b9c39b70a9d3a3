"""Fitting: networks are trained, then everything learns that a detector needs to judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import torch

from anomalae.arithmetic import available
from anomalae.datasets.splits import fold_order, fold_slices, n_without_fold
from anomalae.detectors import saving
from anomalae.detectors.batches import batches, to_tensor
from anomalae.detectors.ensemble import Ensemble
from anomalae.detectors.folds import FoldEnsemble, share_sizes
from anomalae.detectors.member import ACTIVE, NetworkMember
from anomalae.detectors.neighbours import Neighbours
from anomalae.detectors.probe import make_probe
from anomalae.detectors.saving import Fitted
from anomalae.detectors.starting import Start
from anomalae.errors import AnomalaeError, BundleError, ConfigError
from anomalae.models.base import Network, networks
from anomalae.models.training import loop
from anomalae.models.training.checkpoints import Checkpoints
from anomalae.models.training.state import Epoch, Training
from anomalae.plugins import SCORES
from anomalae.runs.environment import record_environment
from anomalae.runs.record import Data, Record, read_checkpoint, read_progress, used_parts, write_checkpoint
from anomalae.settings import Settings


@dataclass(frozen=True)
class Images:
    """Checked images of the normal classes, uint8 or float32 in [0, 1], (N, 28, 28) each.

    train: to train on.
    held_out: validation images; None where there are none.
    calibration: for nothing but thresholds and p-values; of folds the training images themselves.
    folds: number of folds, by which the training images are ordered; 0 for none.
    """

    train: np.ndarray
    held_out: np.ndarray | None
    calibration: np.ndarray
    folds: int = 0

    @classmethod
    def in_folds(cls, images: np.ndarray, seed: int, folds: int) -> Images:
        """Images that all train and calibrate, in folds that are drawn by a seed. DataError where they are too few."""
        images = images[fold_order(len(images), seed, folds)]
        return cls(images, None, images, folds)

    @property
    def n_trained(self) -> int:
        """On how many images a network is trained."""
        return n_without_fold(len(self.train), self.folds) if self.folds else len(self.train)

    @property
    def parts(self) -> list[tuple[np.ndarray, Images]]:
        """By fold the places of the images that its networks are trained on, and these with the fold to calibrate."""
        every = np.arange(len(self.train))
        rows = [np.delete(every, fold) for fold in self._slices]
        return [
            (seen, Images(self.train[seen], None, self.train[fold]))
            for seen, fold in zip(rows, self._slices, strict=True)
        ]

    @property
    def _slices(self) -> list[slice]:
        return fold_slices(len(self.train), self.folds)


def fit(
    asked: Settings,
    images: Images,
    device: torch.device,
    *,
    data: Data | None = None,
    folder: Path | None = None,
    resume: bool = False,
    start: Start | None = None,
    on_epoch: Callable[[Training], None] = lambda state: None,
    on_batch: Callable[[int, float], None] = lambda done, loss: None,
    on_scored: Callable[[int], None] = lambda done: None,
) -> Fitted:
    """Train and calibrate; see `Detector.fit`, whose arguments these are.

    Raises ConfigError for too few training images, TrainingError when the loss is no longer finite.
    """
    n = len(images.train)
    _check_number(asked, images.n_trained)
    settings = asked.for_images(images.n_trained)
    record = Record(
        settings,
        replace(
            data or Data(seed=settings.seed),
            n_train=n,
            n_validation=0 if images.held_out is None else len(images.held_out),
            n_calibration=len(images.calibration),
            folds=images.folds,
        ),
        record_environment(device),
        datetime.now(UTC).isoformat(timespec="seconds"),
        parts=used_parts(settings, (settings.rule,)),
        start={} if start is None else start.record,
    )
    if folder is not None and resume:
        # Before memory is taken for what the settings ask.
        _check_same(folder, read_progress(folder)[1], record)
        saving.check_checkpoint(folder, settings, images.folds)
    state = _begun(settings, images, device, record.environment.arithmetic)
    if start is not None:
        start.give(settings, [learner.network for learner in state.learners])
    if folder is not None and resume:
        arrays, lines, before = read_checkpoint(folder)
        state.restore(arrays, lines)
        if device.type == "cpu":
            state.arithmetic = available(before.environment.arithmetic)
        record = replace(
            record,
            created=before.created,
            start=before.start,
            environment=record_environment(device, state.arithmetic),
        )
    checkpoints = None if folder is None else Checkpoints(_checkpoint_writer(folder, record))
    # At once, so that even the first epoch can be resumed.
    if checkpoints is not None and not resume:
        checkpoints.now(state.arrays(), state.history)

    def epoch_done(state: Training) -> None:
        if checkpoints is not None:
            checkpoints.after_epoch(state)
        on_epoch(state)

    held_out = None if images.held_out is None else to_tensor(images.held_out)
    try:
        loop.run(state, to_tensor(images.train), held_out, on_epoch=epoch_done, on_batch=on_batch)
        return _finish(state, record, images, on_scored)
    except BaseException:
        if checkpoints is not None:
            checkpoints.broken_off()
        raise


def _begun(settings: Settings, images: Images, device: torch.device, arithmetic: str) -> Training:
    """A training before its first epoch; of folds with the networks of each, which see all images but the fold's."""
    alone, schedule = networks(settings), settings.schedule(images.n_trained)
    if not images.folds:
        return Training.start(alone, schedule, device, arithmetic)
    state = Training.start(alone * images.folds, schedule, device, arithmetic)
    rows = [torch.from_numpy(seen) for seen, _ in images.parts for _ in alone]
    for learner, seen in zip(state.learners, rows, strict=True):
        learner.rows = seen
    return state


def _check_same(folder: Path, before: Record, now: Record) -> None:
    """Raise BundleError where a checkpoint is not of this training: of other settings, or other images."""
    there, here = before.settings.to_dict(), now.settings.to_dict()
    differing = [
        f"{name} {there[name]!r} there, {here[name]!r} here" for name in there if there[name] != here[name]
    ]
    for name in ("n_train", "n_validation", "n_calibration", "folds", "hashes"):
        images_then, images_now = getattr(before.data, name), getattr(now.data, name)
        unknown = name == "hashes" and not (images_then and images_now)
        if images_then != images_now and not unknown:
            differing.append(f"other images ({name})")
    if differing:
        raise BundleError(f"{folder}: its checkpoint is of another training: {'; '.join(differing)}")


def _check_number(asked: Settings, n: int) -> None:
    """Raise ConfigError where the score that judges needs more training images."""
    least = SCORES[asked.rule].least_images
    if n < least:
        there = "there is 1" if n == 1 else f"there are {n}"
        raise ConfigError(f"score {asked.rule!r}: needs {least} training images at least, {there}")


def _finish(state: Training, record: Record, images: Images, on_scored: Callable[[int], None]) -> Fitted:
    """Do what comes after the last epoch: what scores and neighbours learn, standards, calibration scores."""
    trained = [learner.network.eval() for learner in state.learners]
    calibrated = _calibrated_in_folds if images.folds else _calibrated
    ensemble, scores = calibrated(record.settings, trained, images, state.arithmetic, on_scored)
    rules = tuple(scores)
    record = replace(
        record,
        seconds=_seconds(state.history),
        validation={} if images.held_out is None else _validation(ensemble.first, images.held_out),
        parts=used_parts(record.settings, rules),
    )
    return Fitted(ensemble, scores, record, state.history, probe=make_probe(ensemble, rules))


def _calibrated(
    settings: Settings,
    trained: Sequence[Network],
    images: Images,
    arithmetic: str,
    on_scored: Callable[[int], None],
    first: Ensemble | None = None,
) -> tuple[Ensemble, dict[str, np.ndarray]]:
    """Make an ensemble of trained networks; returns it, and the scores of the calibration images by rule.

    first: that of the first fold; None where there is none.
    """
    neighbours = None
    if settings.neighbours:
        neighbours = Neighbours.fit(
            to_tensor(images.train), settings.neighbours, distance=settings.distance, arithmetic=arithmetic
        )
    ensemble = saving.assemble(settings, trained, neighbours, arithmetic)
    if first is not None:
        share_sizes(ensemble, first)
    rules = _learn_scores(ensemble, settings, images)
    if len(ensemble.members) > 1:
        ensemble.standardise_by(
            ensemble.score_training(list(batches(images.train)), rules)
            if images.held_out is None
            else ensemble.score_members(batches(images.held_out), rules, on_scored)
        )
    by_member = ensemble.score_members(batches(images.calibration), rules, on_scored)
    return ensemble, {rule: ensemble.combine(rule, of_members) for rule, of_members in by_member.items()}


def _calibrated_in_folds(
    settings: Settings,
    trained: Sequence[Network],
    images: Images,
    arithmetic: str,
    on_scored: Callable[[int], None],
) -> tuple[Ensemble, dict[str, np.ndarray]]:
    """Do the same for each fold, whose images are scored by its own networks, and make one ensemble of all."""
    parts: list[Ensemble] = []
    scores, done = [], 0
    for place, (_, own) in enumerate(images.parts):
        networks = trained[place * settings.n_networks : (place + 1) * settings.n_networks]
        counted = partial(_count_on, on_scored, done)
        part, of_fold = _calibrated(settings, networks, own, arithmetic, counted, *parts[:1])
        parts.append(part)
        scores.append(of_fold)
        done += len(own.calibration)
    ensemble = FoldEnsemble(parts)
    # A score that does not come with anomalae may fail in one fold alone.
    rules = [rule for rule in settings.rules if all(rule in of_fold for of_fold in scores)]
    ensemble.calibrate({rule: np.concatenate([of_fold[rule] for of_fold in scores]) for rule in rules})
    return ensemble, ensemble.calibration


def _count_on(on_scored: Callable[[int], None], before: int, done: int) -> None:
    on_scored(before + done)


def _learn_scores(ensemble: Ensemble, settings: Settings, images: Images) -> tuple[str, ...]:
    """Let the scores learn from training images; returns the names of those that the run has.

    A score that does not come with anomalae and fails on any image that the run is calibrated by costs no training
    that is not judged by it: it is left out, and a PartWarning says so.
    """
    seen = to_tensor(images.train)
    standing = images.train if images.held_out is None else images.held_out
    rules = [rule for rule in settings.rules if SCORES[rule].least_images <= len(seen)]
    trusted = [rule for rule in rules if SCORES.is_ours(rule) or rule == settings.rule]
    for member in ensemble.networks:
        member.learn(seen, [SCORES[rule] for rule in trusted])
    failed = set()
    for rule in (rule for rule in rules if rule not in trusted):
        try:
            for member in ensemble.networks:
                member.learn(seen, [SCORES[rule]])
                for batch in (*batches(images.calibration), *batches(standing)):
                    member.score(batch, [rule])
        except AnomalaeError as error:
            SCORES.warn(rule, error)
            failed.add(rule)
    for member in ensemble.networks:
        member.learned = {rule: arrays for rule, arrays in member.learned.items() if rule not in failed}
    return tuple(rule for rule in rules if rule not in failed)


def _checkpoint_writer(folder: Path, record: Record) -> Callable[[dict[str, np.ndarray], list[Epoch]], None]:
    def write(arrays: dict[str, np.ndarray], history: list[Epoch]) -> None:
        saving.write_history(folder, history, durable=False)
        write_checkpoint(folder, arrays, replace(record, seconds=_seconds(history)), len(history))

    return write


def _seconds(history: list[Epoch]) -> float:
    return round(sum(line.seconds for line in history), 3)


def _validation(first: NetworkMember, images: np.ndarray) -> dict[str, float]:
    """What a run tells of its first network: of a density the ELBO, its parts on held-out normals, active units."""
    if not first.settings.kind.density:
        return {}
    rules = ("elbo", "reconstruction-probability", "kl")
    scores = first.score_training(batches(images), rules)
    variance, _ = first.unit_activity(batches(images))
    return {
        "elbo": -float(scores["elbo"].mean()),
        "log_likelihood": -float(scores["reconstruction-probability"].mean()),
        "kl": float(scores["kl"].mean()),
        "active_units": int((variance > ACTIVE).sum()),
    }
