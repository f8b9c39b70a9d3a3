"""Training that begins with the weights of a detector that is fitted already, of the same shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from anomalae.detectors.ensemble import network_names
from anomalae.detectors.member import NetworkMember
from anomalae.detectors.saving import shapes_of, weights_hash
from anomalae.errors import ConfigError
from anomalae.models.base import Network
from anomalae.settings import Settings

# What the shapes of weights follow from.
_SHAPING = (
    "model", "architecture", "views", "members", "hidden", "latent_dim", "likelihood", "samples", "layers",
    "auxiliary_dim",
)  # fmt: skip


@dataclass(frozen=True)
class Start:
    """What a training begins with.

    run: name of the run's folder; empty of a detector in none.
    settings: of the run.
    members: its networks, of folds fold by fold.
    folds: number of its folds; 0 for none.
    """

    run: str
    settings: Settings
    members: Sequence[NetworkMember]
    folds: int = 0

    @cached_property
    def record(self) -> dict[str, str]:
        """What a run keeps of it: `Record.start`."""
        return {"run": self.run, "weights": weights_hash(self.members)}

    def check(self, settings: Settings) -> None:
        """Raise ConfigError unless the networks of other settings have the same shapes."""
        there = [
            {name: tuple(tensor.shape) for name, tensor in member.network.state_dict().items()}
            for member in self._paired(settings, 0)
        ]
        same_number = settings.n_networks == len(there)
        here = list(shapes_of(settings)) if same_number else []
        if same_number and here == there:
            return
        differing = _differing(self.settings.to_dict(), settings.to_dict(), _SHAPING)
        for before, now in zip(there, here, strict=False) if not differing else ():
            differing += _differing(before, now, before | now)
        whose = f"run {self.run}" if self.run else "that detector"
        raise ConfigError(
            f"start: the networks of {whose} have another shape: {'; '.join(differing[:3])}", setting="start"
        )

    def give(self, settings: Settings, networks: Sequence[Network]) -> None:
        """Copy the weights into the networks of these settings, of folds fold by fold.

        Each fold takes those of the same fold, so that between trainings in the same folds no image is seen by the
        networks that it calibrates; where there are no folds to take from, all take the same.
        """
        self.check(settings)
        for place, network in enumerate(networks):
            fold, own = divmod(place, settings.n_networks)
            network.load_state_dict(self._paired(settings, fold)[own].network.state_dict())

    def _paired(self, settings: Settings, fold: int) -> Sequence[NetworkMember]:
        """Return a fold's networks in the order of others: by name where these are the same, else by place."""
        each = len(self.members) // max(1, self.folds)
        members = self.members[fold * each : (fold + 1) * each] if self.folds else self.members
        names, by_name = network_names(settings), {member.name: member for member in members}
        return [by_name[name] for name in names] if set(names) == set(by_name) else members


def _differing(before: Mapping[str, Any], now: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Return in words what differs."""
    return [
        f"{name} {before.get(name)!r} there, {now.get(name)!r} here"
        for name in names
        if before.get(name) != now.get(name)
    ]
