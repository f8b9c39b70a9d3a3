"""The training loop. It reports and checkpoints through callbacks, and never sees a label."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anomalae import files, seeds
from anomalae.errors import BundleError, ConfigError, TrainingError
from anomalae.models import Model, build, networks
from anomalae.models.views import VIEWS, View
from anomalae.settings import Settings, strict

SCORING_BATCH = 1024  # images a forward pass where no gradient is needed
WARM_UP = 0.3  # share of the steps over which the weight of a vae's KL term rises to its own


@dataclass(frozen=True)
class Epoch:
    """One line of the history. Losses are means over images: of the squared error summed over pixels (ae), of minus
    the ELBO in nats with its KL term weighted as in that step (vae)."""

    epoch: int  # counted from 1
    loss: float  # on the training images, while the weights moved
    validation_loss: (
        float | None
    )  # after the epoch, under the same noise each time; None without validation images
    learning_rate: float  # of the last step
    seconds: float  # wall clock


@dataclass
class Network:
    """One network in training: settings of its own (one view, one seed), weights, optimiser."""

    settings: Settings
    model: Model
    optimizer: torch.optim.AdamW

    @classmethod
    def start(cls, settings: Settings, device: torch.device) -> Network:
        """A network before its first step."""
        model = build(settings).to(device)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        return cls(settings, model, optimizer)

    @property
    def view(self) -> View:
        """What it sees and rebuilds."""
        return VIEWS[self.settings.views[0]]


@dataclass
class Training:
    """A training in progress: what a checkpoint must hold so that going on is bit for bit the same.

    The networks of an ensemble are trained side by side, epoch by epoch; each is trained as if it were alone.
    """

    settings: Settings
    networks: list[Network]
    history: list[Epoch]

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    def __post_init__(self) -> None:
        if self.settings.epochs is None or self.settings.batch_size is None:
            raise ConfigError("epochs and batch_size must be set: see Settings.for_images")
        self.epochs, self.batch_size = self.settings.epochs, self.settings.batch_size

    @classmethod
    def start(cls, settings: Settings, device: torch.device) -> Training:
        """A training before its first epoch."""
        return cls(settings, [Network.start(one, device) for one in networks(settings)], [])

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights and the optimisers' moments, by name: `0.model.NAME`, `0.optimizer.INDEX.NAME`, `1.model...`."""
        found: dict[str, Tensor] = {}
        for place, network in enumerate(self.networks):
            weights = network.model.state_dict()
            found |= {f"{place}.model.{name}": tensor for name, tensor in weights.items()}
            for index, moments in network.optimizer.state_dict()["state"].items():
                found |= {f"{place}.optimizer.{index}.{key}": tensor for key, tensor in moments.items()}
        return {name: tensor.detach().cpu().numpy() for name, tensor in found.items()}

    def restore(self, arrays: dict[str, np.ndarray], history: list[dict[str, Any]]) -> None:
        """Take up what `arrays` and the history of a checkpoint hold."""
        if not any(name[:1].isdigit() for name in arrays):  # a single network's, before there were ensembles
            arrays = {f"0.{name}": array for name, array in arrays.items()}
        try:
            for place, network in enumerate(self.networks):
                state: dict[int, dict[str, Tensor]] = {}
                weights: dict[str, Tensor] = {}
                for name, array in arrays.items():
                    number, kind, rest = name.split(".", 2)
                    if number != str(place):
                        continue
                    if kind == "model":
                        weights[rest] = torch.from_numpy(array)
                    else:
                        index, _, key = rest.partition(".")
                        state.setdefault(int(index), {})[key] = torch.from_numpy(array)
                network.model.load_state_dict(weights)
                groups = network.optimizer.state_dict()["param_groups"]
                network.optimizer.load_state_dict({"state": state, "param_groups": groups})
            self.history = [Epoch(**line) for line in history]
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"checkpoint does not fit its settings: {str(error).splitlines()[0]}") from None


def history_lines(history: list[Epoch]) -> list[dict[str, Any]]:
    """The history as JSON-able lines."""
    return [asdict(line) for line in history]


def read_history(path: Path) -> list[Epoch]:
    """The history of a run; BundleError for a line that is none."""
    try:
        return [strict(Epoch, line, str(path)) for line in files.read_jsonl(path)]
    except ConfigError as error:
        raise BundleError(str(error)) from None


def run(
    training: Training,
    images: Tensor,
    validation: Tensor | None,
    *,
    on_epoch: Callable[[Training], None] = lambda training: None,
    on_batch: Callable[[int, float], None] = lambda done, loss: None,
) -> None:
    """Train until the settings' last epoch; the last epoch's weights count, nothing is stopped early.

    `images`, `validation`: float32 (N, 1, 28, 28) in [0, 1] on the models' device. `on_batch(images_done, loss)`
    comes after each step, images counted over all networks of the epoch; `on_epoch(training)` after each epoch, when
    the state may be saved. Order of images and noise of an epoch depend on a network's seed and the epoch alone.
    Losses in the history are means over the networks. Raises TrainingError when a loss is no longer finite: the
    epoch that `on_epoch` saw last is then the last good one.
    """
    seen = _Seen(training.networks, images)
    held_out = None if validation is None else _Seen(training.networks, validation)
    while training.epoch < training.epochs:
        begun, number, losses, validated = time.perf_counter(), training.epoch + 1, [], []
        for place, network in enumerate(training.networks):
            report = partial(_report, on_batch, place * len(images))
            losses.append(_train_epoch(training, network, *seen.of(network), number, report))
            if held_out is not None:
                validated.append(_validation_loss(network, *held_out.of(network)))
                _check_finite(validated[-1], number, training.settings)
        mean = sum(validated) / len(validated) if validated else None
        rate = training.networks[0].optimizer.param_groups[0]["lr"]
        seconds = round(time.perf_counter() - begun, 4)
        training.history.append(Epoch(number, sum(losses) / len(losses), mean, rate, seconds))
        on_epoch(training)
    for network in training.networks:
        network.model.eval()


class _Seen:
    """What the networks see and rebuild of the same images, each view made once."""

    def __init__(self, networks: list[Network], images: Tensor) -> None:
        names = {network.settings.views[0] for network in networks}
        self.made = {name: VIEWS[name].see(images) for name in names}

    def of(self, network: Network) -> tuple[Tensor, Tensor]:
        """`(sources, targets)` of a network."""
        return self.made[network.settings.views[0]]


def _report(on_batch: Callable[[int, float], None], before: int, done: int, loss: float) -> None:
    on_batch(before + done, loss)


def _train_epoch(
    training: Training,
    network: Network,
    sources: Tensor,
    targets: Tensor,
    number: int,
    on_batch: Callable[[int, float], None],
) -> float:
    """One epoch of one network; returns its mean loss."""
    settings, model, optimizer = network.settings, network.model, network.optimizer
    n, epochs, batch = len(sources), training.epochs, training.batch_size
    steps, total = math.ceil(n / batch), 0.0
    source = seeds.generator(settings.seed, seeds.EPOCH, number)
    order = torch.randperm(n, generator=source)
    model.train()
    for index, chosen in enumerate(order.split(batch)):
        step = (number - 1) * steps + index
        rate, beta = one_cycle(step, steps * epochs, settings.learning_rate)
        optimizer.param_groups[0].update(lr=rate, betas=(beta, 0.999))
        chosen = chosen.to(sources.device)
        warmth = min(1.0, step / (WARM_UP * steps * epochs))
        corrupted = seeds.corrupt(sources[chosen], settings.noise, source)
        loss = model.loss(corrupted, targets[chosen], source, warmth).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        value = loss.item()
        _check_finite(value, number, settings)
        total += value * len(chosen)
        on_batch(min((index + 1) * batch, n), value)
    model.eval()
    return total / n


def one_cycle(step: int, total: int, peak: float) -> tuple[float, float]:
    """`(learning rate, AdamW's first beta)` of step 0 <= step < total, a function of the step alone.

    Cosine from peak/25 up to the peak over the first 30% of the steps, then down to peak/250,000; beta the other
    way, 0.95 to 0.85 and back. Smith and Topin, "Super-convergence", 2017; constants as in PyTorch's OneCycleLR.
    """
    top = max(0.3 * total - 1, 1e-9)
    if step <= top:
        way = _cosine(step / top)
        return _between(peak / 25, peak, way), _between(0.95, 0.85, way)
    way = _cosine((step - top) / max(total - 1 - top, 1e-9))
    return _between(peak, peak / 25e4, way), _between(0.85, 0.95, way)


def _cosine(way: float) -> float:
    return (1 - math.cos(math.pi * min(way, 1.0))) / 2


def _between(start: float, end: float, way: float) -> float:
    return start + (end - start) * way


def _validation_loss(network: Network, sources: Tensor, targets: Tensor) -> float:
    settings, total = network.settings, 0.0
    source = seeds.generator(settings.seed, seeds.VALIDATION)
    with torch.no_grad():
        for seen, wanted in zip(sources.split(SCORING_BATCH), targets.split(SCORING_BATCH), strict=True):
            corrupted = seeds.corrupt(seen, settings.noise, source)
            total += network.model.loss(corrupted, wanted, source, 1.0).sum().item()
    return total / len(sources)


def _check_finite(loss: float, epoch: int, settings: Settings) -> None:
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss became {loss} in epoch {epoch}: lower --learning-rate (now {settings.learning_rate:g}); "
            f"epoch {epoch - 1} was the last good one"
        )
