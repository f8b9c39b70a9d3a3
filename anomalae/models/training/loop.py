"""The training loop. It reports and checkpoints through callbacks, and never sees a label."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from anomalae import seeds
from anomalae.arithmetic import computing
from anomalae.errors import TrainingError
from anomalae.models.training.schedule import one_cycle, warmth
from anomalae.models.training.state import Epoch, Learner, See, Training

SEEN_AT_ONCE = 1024  # images brought into a view
VALIDATION_BATCH = 1024  # images a forward pass where no gradient is needed


def run(
    training: Training,
    images: Tensor,
    validation: Tensor | None,
    *,
    on_epoch: Callable[[Training], None] = lambda training: None,
    on_batch: Callable[[int, float], None] = lambda done, loss: None,
) -> None:
    """Train until the schedule's last epoch; the last epoch's weights count, nothing is stopped early.

    Order of images and noise of an epoch depend on a network's seed and the epoch alone.

    images, validation: float32 (N, 1, 28, 28) in [0, 1], on the CPU; batches of them go to the networks' device. (Of
        tables: rows (N, features).)
    on_epoch: called with the training after each epoch, when its state may be saved.
    on_batch: called after each step with the number of images done, over all networks of the epoch, and the loss.

    Raises TrainingError when a loss is no longer finite: the epoch that `on_epoch` saw last is the last good one.
    """
    seen = _Seen(training, images)
    held_out = None if validation is None else _Seen(training, validation)
    while training.epoch < training.epochs:
        begun, number, losses, validated = time.perf_counter(), training.epoch + 1, [], []
        before = 0
        for learner in training.learners:
            sources, targets = seen.by(learner)
            if learner.rows is not None:
                sources, targets = sources[learner.rows], targets[learner.rows]
            report = partial(_report, on_batch, before)
            losses.append(_train_epoch(learner, training, sources, targets, number, report))
            before += len(sources)
            if held_out is not None:
                validated.append(_validation_loss(learner, training, *held_out.by(learner)))
                _check_finite(validated[-1], number, learner)
        mean = sum(validated) / len(validated) if validated else None
        rate = training.learners[0].optimizer.param_groups[0]["lr"]
        seconds = round(time.perf_counter() - begun, 4)
        training.history.append(Epoch(number, sum(losses) / len(losses), mean, rate, seconds))
        on_epoch(training)
    for learner in training.learners:
        learner.network.eval()


class _Seen:
    """What the networks see and rebuild of the same images; each view is made once."""

    def __init__(self, training: Training, images: Tensor) -> None:
        see = {learner.settings.view: learner.see for learner in training.learners}
        with computing(training.arithmetic):
            self.made = {view: _made(see[view], images) for view in see}

    def by(self, learner: Learner) -> tuple[Tensor, Tensor]:
        """`(sources, targets)` of a network."""
        return self.made[learner.settings.view]


def _made(see: See, images: Tensor) -> tuple[Tensor, Tensor]:
    """Make sources and targets of images, some at a time: on the way to them a view takes many times their memory."""
    first = see(images[:SEEN_AT_ONCE])
    # Where both are the same they stay so.
    places = (0,) if first[0] is first[1] else (0, 1)
    made = [first[place].new_empty((len(images), *first[place].shape[1:])) for place in places]
    for start in range(0, len(images), SEEN_AT_ONCE):
        some = see(images[start : start + SEEN_AT_ONCE]) if start else first
        for place in places:
            made[place][start : start + SEEN_AT_ONCE] = some[place]
    return made[0], made[-1]


def _report(on_batch: Callable[[int, float], None], before: int, done: int, loss: float) -> None:
    on_batch(before + done, loss)


def _train_epoch(
    learner: Learner,
    training: Training,
    sources: Tensor,
    targets: Tensor,
    number: int,
    on_batch: Callable[[int, float], None],
) -> float:
    """Train one network for one epoch; returns its mean loss."""
    settings, network, optimizer = learner.settings, learner.network, learner.optimizer
    schedule = training.schedule
    n, batch, device = len(sources), schedule.batch_size, _device(learner)
    steps, total = math.ceil(n / batch), 0.0
    source = seeds.generator(settings.seed, seeds.EPOCH, number)
    order = torch.randperm(n, generator=source)
    network.train()
    for index, chosen in enumerate(order.split(batch)):
        step = (number - 1) * steps + index
        rate, beta = one_cycle(step, steps * schedule.epochs, settings.learning_rate)
        optimizer.param_groups[0].update(lr=rate, betas=(beta, 0.999))
        shown, wanted = (images.index_select(0, chosen) for images in (sources, targets))
        warm = warmth(step, steps, schedule.epochs)
        # A step at a time, so that what is called between two of them finds all as it was.
        with computing(training.arithmetic, device):
            corrupted = learner.corrupt(shown, settings.noise, source).to(device)
            loss = network.loss(corrupted, wanted.to(device), source, warm).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            value = loss.item()
        _check_finite(value, number, learner)
        total += value * len(chosen)
        on_batch(min((index + 1) * batch, n), value)
    network.eval()
    return total / n


def _validation_loss(learner: Learner, training: Training, sources: Tensor, targets: Tensor) -> float:
    settings, device, total = learner.settings, _device(learner), 0.0
    source = seeds.generator(settings.seed, seeds.VALIDATION)
    with torch.no_grad(), computing(training.arithmetic, device):
        for seen, wanted in zip(
            sources.split(VALIDATION_BATCH), targets.split(VALIDATION_BATCH), strict=True
        ):
            corrupted = learner.corrupt(seen, settings.noise, source).to(device)
            total += learner.network.loss(corrupted, wanted.to(device), source, 1.0).sum().item()
    return total / len(sources)


def _device(learner: Learner) -> torch.device:
    return next(learner.network.parameters()).device


def _check_finite(loss: float, epoch: int, learner: Learner) -> None:
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss became {loss} in epoch {epoch}: lower learning_rate (now {learner.settings.learning_rate:g}); "
            f"epoch {epoch - 1} was the last good one",
            setting="learning_rate",
        )
