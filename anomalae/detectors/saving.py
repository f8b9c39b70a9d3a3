"""What a detector keeps in its run folder: networks, what they learned beside, calibration scores; checkpoints in time.

The names of a single network's weights stand as they are; those of an ensemble begin with the network's number.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from anomalae import files, runs
from anomalae.detectors.ensemble import Member
from anomalae.detectors.neighbours import Neighbours
from anomalae.errors import BundleError, ConfigError
from anomalae.models import build, networks
from anomalae.models.training import loop as training
from anomalae.runs.record import Record
from anomalae.scores import hidden as rapp
from anomalae.settings import HIDDEN_SCORES

Arrays = dict[str, np.ndarray]

IMAGES = "images"  # the array in the file of neighbours
STANDARD = "standard."  # before a rule, in the file of calibration scores: `members.standard` of an ensemble


class Checkpoints:
    """Writes a checkpoint after each epoch, unless that would take more than a tenth of the time.

    An epoch that was passed over is remembered, and written when the training breaks off.
    """

    def __init__(self, write: Callable[[Arrays, list[training.Epoch]], None]) -> None:
        self.write = write
        self.cost = self.written = 0.0
        self.pending: tuple[Arrays, list[training.Epoch]] | None = None

    def now(self, arrays: Arrays, history: list[training.Epoch]) -> None:
        """Write this state."""
        begun = time.perf_counter()
        self.write(arrays, history)
        self.pending = None
        self.written = time.perf_counter()
        self.cost = self.written - begun

    def after_epoch(self, state: training.Training) -> None:
        """Write the state, or remember it."""
        if time.perf_counter() - self.written >= 9 * self.cost:
            self.now(state.arrays(), state.history)
        else:  # copied, for the weights go on moving
            self.pending = {name: array.copy() for name, array in state.arrays().items()}, list(state.history)

    def broken_off(self) -> None:
        """Write what was remembered."""
        if self.pending is not None:
            self.now(*self.pending)


def write(
    folder: Path,
    members: Sequence[Member],
    neighbours: Neighbours | None,
    calibration: Arrays,
    standards: Arrays,
) -> None:
    """Write networks, what `nap` learned, training images kept, and the scores by rule of the calibration images."""
    weights = {
        prefix + name: tensor.detach().cpu().numpy()
        for prefix, member in zip(_prefixes(len(members)), members, strict=True)
        for name, tensor in member.model.state_dict().items()
    }
    files.write_arrays(folder / runs.WEIGHTS, weights)
    learned = [member.nap.arrays() for member in members if member.nap is not None]
    if learned:
        named = {f"{place}.{key}": array for place, one in enumerate(learned) for key, array in one.items()}
        files.write_arrays(folder / runs.PATHWAY, named)
    if neighbours is not None:
        files.write_arrays(folder / runs.NEIGHBOURS, {IMAGES: neighbours.kept})
    apart = {f"{STANDARD}{rule}": array for rule, array in standards.items()}
    files.write_arrays(folder / runs.CALIBRATION, {**calibration, **apart})


def read(
    folder: Path, record: Record, device: torch.device
) -> tuple[list[Member], Neighbours | None, Arrays, Arrays]:
    """Networks, neighbours, calibration scores and standards by rule, as `write` left them. BundleError names file
    and fault."""
    neighbours = _read_neighbours(folder / runs.NEIGHBOURS, record) if record.settings.neighbours else None
    members = _read_networks(folder, record, device)
    rules = _read_pathway(folder, members, record.settings.rules)
    expected: dict[str, tuple[int, ...]] = dict.fromkeys(rules, (record.data.n_calibration,))
    count = len(members) + (neighbours is not None)
    if count > 1:
        expected |= dict.fromkeys((STANDARD + rule for rule in rules), (count, 2))
    kept, _ = files.read_arrays(folder / runs.CALIBRATION, expected)
    standards = {rule: kept[STANDARD + rule] for rule in rules if STANDARD + rule in kept}
    for rule, standard in standards.items():
        if not (standard[:, 1] > 0).all():
            name = f"{STANDARD}{rule}"
            raise BundleError(f"{folder / runs.CALIBRATION}: {name!r}: spreads must be above 0")
    return members, neighbours, {rule: kept[rule] for rule in rules}, standards


def without_hidden(rules: tuple[str, ...]) -> tuple[str, ...]:
    """The rules but those of hidden activations."""
    return tuple(rule for rule in rules if rule not in HIDDEN_SCORES)


def _read_neighbours(path: Path, record: Record) -> Neighbours:
    arrays, _ = files.read_arrays(path, {IMAGES: (record.data.n_train, 28, 28)})
    if arrays[IMAGES].dtype != np.uint8:
        raise BundleError(f"{path}: {IMAGES!r} holds {arrays[IMAGES].dtype}, expected uint8")
    return Neighbours(arrays[IMAGES], record.settings.neighbours)


def _read_networks(folder: Path, record: Record, device: torch.device) -> list[Member]:
    try:
        built = [(one, build(one)) for one in networks(record.settings)]
    except (RuntimeError, MemoryError):
        raise BundleError(f"{folder / runs.CONFIG}: settings ask for more memory than there is") from None
    prefixes = _prefixes(len(built))
    shapes = {
        prefix + name: tuple(tensor.shape)
        for prefix, (_, model) in zip(prefixes, built, strict=True)
        for name, tensor in model.state_dict().items()
    }
    weights, _ = files.read_arrays(folder / runs.WEIGHTS, shapes)
    for prefix, (_, model) in zip(prefixes, built, strict=True):
        model.load_state_dict({name: torch.from_numpy(weights[prefix + name]) for name in model.state_dict()})
    return [Member(one, model.to(device).eval()) for one, model in built]


def _read_pathway(folder: Path, members: Sequence[Member], rules: tuple[str, ...]) -> tuple[str, ...]:
    """Take up what `nap` has learned, and return the scores that the run has: older ones lack those of `rapp`."""
    path = folder / runs.PATHWAY
    if "nap" not in rules:
        return rules
    if not path.is_file() and "nap" not in files.names(folder / runs.CALIBRATION):
        return without_hidden(rules)
    arrays, _ = files.read_arrays(path)
    keys = ("mean", "projection")
    wanted = {f"{place}.{key}" for place in range(len(members)) for key in keys}
    if set(arrays) != wanted or any(array.dtype != np.float32 for array in arrays.values()):
        raise BundleError(f"{path}: does not fit the run: it should hold float32 {', '.join(sorted(wanted))}")
    blank = torch.zeros(1, 1, 28, 28)
    for place, member in enumerate(members):
        try:
            nap = rapp.Nap.from_arrays({key: arrays[f"{place}.{key}"] for key in keys})
            device = next(member.model.parameters()).device
            nap.score(member.pathway(blank.to(device), blank.to(device)))
        except ConfigError as error:
            raise BundleError(f"{path}: does not fit the run: {error}") from None
        member.nap = nap
    return rules


def _prefixes(count: int) -> list[str]:
    return [f"{place}." for place in range(count)] if count > 1 else [""]
