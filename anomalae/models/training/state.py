"""A training in progress: what a checkpoint must hold so that going on is bit for bit the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anomalae.arithmetic import PLAIN
from anomalae.errors import BundleError
from anomalae.models.base import Network, build
from anomalae.models.training.corruption import corrupt
from anomalae.plugins import VIEWS
from anomalae.settings import NetworkSettings, Schedule

See = Callable[[Tensor], tuple[Tensor, Tensor]]
Corrupt = Callable[[Tensor, float, torch.Generator], Tensor]


@dataclass(frozen=True)
class Epoch:
    """One line of the history.

    Losses are means over images and over the networks of an ensemble: of the squared error summed over pixels, or of
    minus the ELBO in nats with its KL term weighted as in that step.
    """

    epoch: int  # counted from 1
    loss: float  # on the training images, while the weights moved
    # After the epoch, under the same noise each time; None without validation images.
    validation_loss: float | None
    learning_rate: float  # of the last step
    seconds: float  # wall clock


@dataclass
class Learner:
    """One network in training.

    settings: of this network alone.
    network, optimizer: whose state is what a checkpoint holds.
    see: makes of images what the network is shown and what it should make of it.
    corrupt: disturbs what it is shown, by a strength and a source of randomness.
    rows: places of the images that it is trained on, int64; None is all of them.
    """

    settings: NetworkSettings
    network: Network
    optimizer: torch.optim.AdamW
    see: See
    corrupt: Corrupt = corrupt
    rows: Tensor | None = None

    @classmethod
    def of(cls, settings: NetworkSettings, network: Network, see: See, corrupt: Corrupt = corrupt) -> Learner:
        """A network before its first step."""
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        return cls(settings, network, optimizer, see, corrupt)


@dataclass
class Training:
    """A training in progress, of one network or of several side by side.

    The networks of an ensemble are trained epoch by epoch; each is trained as if it were alone.

    arithmetic: of float32 products on the CPU, see `anomalae.arithmetic`.
    """

    learners: list[Learner]
    schedule: Schedule
    history: list[Epoch]
    arithmetic: str = PLAIN

    @classmethod
    def start(
        cls,
        networks: list[NetworkSettings],
        schedule: Schedule,
        device: str | torch.device = "cpu",
        arithmetic: str = PLAIN,
    ) -> Training:
        """A training of these networks before its first epoch."""
        learners = [
            Learner.of(settings, build(settings).to(device), VIEWS[settings.view].see)
            for settings in networks
        ]
        return cls(learners, schedule, [], arithmetic)

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    @property
    def epochs(self) -> int:
        """Number of epochs in all."""
        return self.schedule.epochs

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights and the optimisers' moments, by name: `0.model.NAME`, `0.optimizer.INDEX.NAME`, `1.model...`."""
        tensors: dict[str, Tensor] = {}
        for place, learner in enumerate(self.learners):
            weights = learner.network.state_dict()
            tensors |= {f"{place}.model.{name}": tensor for name, tensor in weights.items()}
            for index, moments in learner.optimizer.state_dict()["state"].items():
                tensors |= {f"{place}.optimizer.{index}.{key}": tensor for key, tensor in moments.items()}
        return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}

    def restore(self, arrays: dict[str, np.ndarray], history: list[dict[str, Any]]) -> None:
        """Take up what `arrays` and the history of a checkpoint hold.

        Raises BundleError where they do not fit the networks.
        """
        # Those of a single network had no number before there were ensembles.
        if not any(name[:1].isdigit() for name in arrays):
            arrays = {f"0.{name}": array for name, array in arrays.items()}
        try:
            for place, learner in enumerate(self.learners):
                _restore(learner, place, arrays)
            self.history = [Epoch(**line) for line in history]
        except (RuntimeError, ValueError, LookupError, TypeError) as error:
            raise BundleError(f"checkpoint does not fit its settings: {str(error).splitlines()[0]}") from None


def _restore(learner: Learner, place: int, arrays: dict[str, np.ndarray]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    weights: dict[str, Tensor] = {}
    for name, array in arrays.items():
        number, part, rest = name.split(".", 2)
        if number != str(place):
            continue
        if part == "model":
            weights[rest] = torch.from_numpy(array)
        else:
            index, _, key = rest.partition(".")
            state.setdefault(int(index), {})[key] = torch.from_numpy(array)
    for name, tensor in learner.network.state_dict().items():
        if weights[name].dtype != tensor.dtype:
            raise ValueError(f"{name} holds {weights[name].dtype}, expected {tensor.dtype}")
    parameters = list(learner.network.parameters())
    for place, moments in state.items():
        for moment in ("exp_avg", "exp_avg_sq"):
            if moments[moment].shape != parameters[place].shape:
                raise ValueError(f"{moment} of weight {place} has shape {list(moments[moment].shape)}")
    learner.network.load_state_dict(weights)
    groups = learner.optimizer.state_dict()["param_groups"]
    learner.optimizer.load_state_dict({"state": state, "param_groups": groups})


def history_lines(history: list[Epoch]) -> list[dict[str, Any]]:
    """The history as JSON-able lines."""
    return [asdict(line) for line in history]
