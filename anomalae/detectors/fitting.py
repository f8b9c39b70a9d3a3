"""Fitting: networks are trained, then everything learns that a detector needs to judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from anomalae.arithmetic import available
from anomalae.detectors import saving
from anomalae.detectors.batches import batches, to_tensor
from anomalae.detectors.ensemble import Ensemble
from anomalae.detectors.member import ACTIVE, NetworkMember
from anomalae.detectors.neighbours import Neighbours
from anomalae.detectors.probe import make_probe
from anomalae.detectors.saving import Fitted
from anomalae.detectors.starting import Start
from anomalae.errors import AnomalaeError, BundleError, ConfigError
from anomalae.models.base import networks
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
    calibration: for nothing but thresholds and p-values.
    """

    train: np.ndarray
    held_out: np.ndarray | None
    calibration: np.ndarray


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
    _check_number(asked, n)
    settings = asked.for_images(n)
    record = Record(
        settings,
        replace(
            data or Data(seed=settings.seed),
            n_train=n,
            n_validation=0 if images.held_out is None else len(images.held_out),
            n_calibration=len(images.calibration),
        ),
        record_environment(device),
        datetime.now(UTC).isoformat(timespec="seconds"),
        parts=used_parts(settings, (settings.rule,)),
        start={} if start is None else start.record,
    )
    if folder is not None and resume:
        # Before memory is taken for what the settings ask.
        _check_same(folder, read_progress(folder)[1], record)
        saving.check_checkpoint(folder, settings)
    state = Training.start(networks(settings), settings.schedule(n), device, record.environment.arithmetic)
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


def _check_same(folder: Path, before: Record, now: Record) -> None:
    """Raise BundleError where a checkpoint is not of this training: of other settings, or other images."""
    there, here = before.settings.to_dict(), now.settings.to_dict()
    differing = [
        f"{name} {there[name]!r} there, {here[name]!r} here" for name in there if there[name] != here[name]
    ]
    for name in ("n_train", "n_validation", "n_calibration", "hashes"):
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
    settings, arithmetic, neighbours = record.settings, state.arithmetic, None
    if settings.neighbours:
        neighbours = Neighbours.fit(
            to_tensor(images.train), settings.neighbours, distance=settings.distance, arithmetic=arithmetic
        )
    trained = [learner.network.eval() for learner in state.learners]
    ensemble = saving.assemble(settings, trained, neighbours, arithmetic)
    rules = _learn_scores(ensemble, settings, images)
    if len(ensemble.members) > 1:
        ensemble.standardise_by(
            ensemble.score_training(list(batches(images.train)), rules)
            if images.held_out is None
            else ensemble.score_members(batches(images.held_out), rules, on_scored)
        )
    by_member = ensemble.score_members(batches(images.calibration), rules, on_scored)
    scores = {rule: ensemble.combine(rule, of_members) for rule, of_members in by_member.items()}
    record = replace(
        record,
        seconds=_seconds(state.history),
        validation={} if images.held_out is None else _validation(ensemble.first, images.held_out),
        parts=used_parts(settings, rules),
    )
    return Fitted(ensemble, scores, record, state.history, probe=make_probe(ensemble, rules))


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
