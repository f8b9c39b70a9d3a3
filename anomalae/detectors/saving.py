"""What a fitted detector keeps in its run folder: each file with its writer and its reader.

The names of a single network's weights stand as they are; those of an ensemble begin with the network's number.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anomalae import files, runs
from anomalae.arithmetic import PLAIN, available
from anomalae.datasets.splits import fold_slices
from anomalae.detectors.ensemble import Ensemble, network_names
from anomalae.detectors.folds import FoldEnsemble
from anomalae.detectors.member import Member, NetworkMember
from anomalae.detectors.neighbours import Neighbours
from anomalae.detectors.probe import Probe, read_probe, write_probe
from anomalae.errors import BundleError, ConfigError, PartError
from anomalae.models.base import Network, build, networks
from anomalae.models.training.state import Epoch, history_lines
from anomalae.network_kinds import MODELS
from anomalae.plugins import SCORES
from anomalae.runs import record as records
from anomalae.runs.manifest import write_manifest
from anomalae.runs.record import Record, read_record
from anomalae.settings import Settings

Arrays = dict[str, np.ndarray]

# Of a weight: what a training ends with is smaller by far, and products of larger ones overflow.
MOST_WEIGHT = 1e9
IMAGES = "images"  # the array in the file of neighbours
STANDARD = "standard."  # before a rule, in the file of calibration scores: the standards of an ensemble


@dataclass
class Fitted:
    """What fitting leaves, and what a run folder holds.

    ensemble: the networks, and the training images where they are neighbours.
    calibration: scores of the calibration images by rule, float64 (n,) each; of folds each image's by the fold's own
        networks, which did not see it.
    record: what `config.json` holds; its settings have epochs and batch size filled in.
    history: a line an epoch.
    own_calibrations: of images of one's own, by name.
    broken_calibrations: what is wrong with those that could not be read, by name.
    probe: images that are no one's, and their scores when it was fitted; None of a run from before there were any.
    """

    ensemble: Ensemble
    calibration: Arrays
    record: Record
    history: list[Epoch]
    own_calibrations: dict[str, runs.OwnCalibration] = field(default_factory=dict)
    broken_calibrations: dict[str, str] = field(default_factory=dict)
    probe: Probe | None = None

    @property
    def calibration_scores(self) -> Arrays:
        """What scores are set against, by rule, float64 (n,) each."""
        if isinstance(self.ensemble, FoldEnsemble):
            return self.ensemble.calibration_scores
        return self.calibration

    @property
    def fingerprint(self) -> str:
        """What tells this fitting from any other."""
        return _fingerprint(self.calibration[self.record.settings.rule])


def _fingerprint(scores: np.ndarray) -> str:
    """SHA-256 of the scores of the calibration images, which no other fitting has."""
    return hashlib.sha256(np.ascontiguousarray(scores).tobytes()).hexdigest()


def check_run(folder: Path, fitted: Fitted) -> None:
    """Raise BundleError unless the folder holds this very detector."""
    rule = fitted.record.settings.rule
    there = read_record(folder).settings.rule
    scores = files.read_arrays(folder / runs.CALIBRATION)[0].get(rule)
    if there != rule or scores is None or _fingerprint(scores) != fitted.fingerprint:
        raise BundleError(f"{folder}: holds another detector than the one that is calibrated")


def assemble(
    settings: Settings,
    trained: Sequence[Network],
    neighbours: Neighbours | None = None,
    arithmetic: str = PLAIN,
) -> Ensemble:
    """The ensemble of trained networks, and of neighbours where there are some.

    Networks weigh alike; neighbours as much as all networks together, and compare images where the networks are.
    """
    share = 1.0 if neighbours is None else 1 - neighbours.weight
    weight = share / len(trained)
    named = zip(network_names(settings), networks(settings), trained, strict=True)
    members: list[Member] = [
        NetworkMember(name, weight, own, network, arithmetic) for name, own, network in named
    ]
    ensemble = Ensemble(members)
    if neighbours is not None:
        ensemble.members.append(neighbours.to(ensemble.first.device))
    return ensemble


def _assemble_folds(
    record: Record, trained: Sequence[Network], neighbours: Sequence[Neighbours], arithmetic: str
) -> FoldEnsemble:
    """The ensembles of all folds, of networks fold by fold, and of each fold's neighbours where there are some."""
    each, folds = record.settings.n_networks, range(record.data.folds)
    return FoldEnsemble(
        [
            assemble(
                record.settings,
                trained[fold * each : (fold + 1) * each],
                next(iter(neighbours[fold : fold + 1]), None),
                arithmetic,
            )
            for fold in folds
        ]
    )


def write(folder: Path, fitted: Fitted) -> None:
    """Write a fitted detector's files into an existing folder, `config.json` last, and drop its checkpoint."""
    files.write_arrays(runs.own_file(folder, runs.WEIGHTS), _weights(fitted.ensemble.networks))
    _write_learned(runs.own_file(folder, runs.PATHWAY), fitted.ensemble.networks)
    kept = _kept_images(fitted)
    if kept is not None:
        files.write_arrays(runs.own_file(folder, runs.NEIGHBOURS), {IMAGES: kept})
    standards = {f"{STANDARD}{rule}": array for rule, array in fitted.ensemble.standards.items()}
    files.write_arrays(runs.own_file(folder, runs.CALIBRATION), {**fitted.calibration, **standards})
    runs.write_calibrations(folder, fitted.own_calibrations)
    write_history(folder, fitted.history)
    if fitted.probe is not None:
        write_probe(folder, fitted.probe)
    config = files.json_bytes(fitted.record.to_dict())
    write_manifest(folder, config)
    files.write_bytes(runs.own_file(folder, runs.CONFIG), config)
    (folder / runs.CHECKPOINT).unlink(missing_ok=True)


def read(folder: Path, device: torch.device) -> Fitted:
    """Read what `write` left. Raises BundleError, naming file and fault, for a run that is not whole and sound."""
    record = read_record(folder)
    arithmetic = available(record.environment.arithmetic)
    networks_read = _read_networks(folder, record, device)
    neighbours = _read_neighbours(folder, record, arithmetic)
    if record.data.folds:
        ensemble: Ensemble = _assemble_folds(record, networks_read, neighbours, arithmetic)
    else:
        ensemble = assemble(record.settings, networks_read, next(iter(neighbours), None), arithmetic)
    rules = _kept_rules(folder, record)
    absent = _absent_scores(record, rules)
    learning = [rule for rule in rules if SCORES[rule].learned]
    if learning:
        _read_learned(folder / runs.PATHWAY, ensemble.networks, learning, absent)
    alone = len(ensemble.members) == max(1, record.data.folds)
    n_members = 1 if alone else len(ensemble.members)
    calibration, standards = _read_calibration(folder, record, rules, absent, n_members)
    if isinstance(ensemble, FoldEnsemble):
        ensemble.calibrate(calibration, standards)
    else:
        ensemble.standards = standards
    fitted = Fitted(ensemble, calibration, record, read_history(folder), probe=read_probe(folder))
    own_rule_first = (record.settings.rule, *(rule for rule in rules if rule != record.settings.rule))
    fitted.own_calibrations, fitted.broken_calibrations = runs.read_calibrations(
        folder, own_rule_first, absent, fitted.fingerprint
    )
    return fitted


# --- history.jsonl ---


def write_history(folder: Path, history: list[Epoch], *, durable: bool = True) -> None:
    """Write a line an epoch."""
    files.write_jsonl(runs.own_file(folder, runs.HISTORY), history_lines(history), durable=durable)


def read_history(folder: Path) -> list[Epoch]:
    """The history of a run. Raises BundleError for a line that is none."""
    return [Epoch(**line) for line in records.read_history(folder)]


# --- weights.safetensors ---


def _weights(members: Sequence[NetworkMember]) -> Arrays:
    return {
        prefix + name: tensor.detach().cpu().numpy()
        for prefix, member in zip(_prefixes(len(members)), members, strict=True)
        for name, tensor in member.network.state_dict().items()
    }


def weights_hash(members: Sequence[NetworkMember]) -> str:
    """Return the SHA-256 of the `weights.safetensors` that these networks have, or would have, in a run."""
    return hashlib.sha256(files.arrays_bytes(_weights(members))).hexdigest()


def _read_networks(folder: Path, record: Record, device: torch.device) -> list[Network]:
    path = folder / runs.WEIGHTS
    try:
        _check_outlines(path, files.read_shapes(path)[0], record.settings, record.data.folds)
        built = [network for _ in range(max(1, record.data.folds)) for network in _build(folder, record)]
    except PartError as error:
        raise BundleError(f"{folder / runs.CONFIG}: {error}") from None
    prefixes = _prefixes(len(built))
    shapes = {
        prefix + name: tuple(tensor.shape)
        for prefix, network in zip(prefixes, built, strict=True)
        for name, tensor in network.state_dict().items()
    }
    weights, _ = files.read_arrays(path, shapes)
    for prefix, network in zip(prefixes, built, strict=True):
        for name, tensor in network.state_dict().items():
            _check_weight(path, prefix + name, weights[prefix + name], tensor.cpu().numpy().dtype)
        network.load_state_dict(
            {name: torch.from_numpy(weights[prefix + name]) for name in network.state_dict()}
        )
    return [network.to(device).eval() for network in built]


def _build(folder: Path, record: Record) -> list[Any]:
    try:
        return [build(own) for own in networks(record.settings)]
    except (RuntimeError, MemoryError):
        raise BundleError(f"{folder / runs.CONFIG}: settings ask for more memory than there is") from None


def check_checkpoint(folder: Path, settings: Settings, folds: int = 0) -> None:
    """Raise BundleError unless the weights of a checkpoint have the shapes of these settings; takes no memory."""
    path = folder / runs.CHECKPOINT
    of_one = settings.n_networks == 1 and not folds
    found = {}
    for name, shape in files.read_shapes(path)[0].items():
        # That of a single network had no number before there were ensembles.
        place, weight, rest = name.partition("model.")
        if weight and (not place or place[:-1].isdigit()):
            found[rest if of_one else place + rest] = shape
    _check_outlines(path, found, settings, folds)


def _check_outlines(path: Path, found: dict[str, tuple[int, ...]], settings: Settings, folds: int) -> None:
    """Raise BundleError unless a file holds arrays of the shapes of the networks, which are made without memory.

    What a kind of one's own does as it is made is its own matter.
    """
    if MODELS.is_ours(settings.model):
        shapes: dict[str, tuple[int, ...]] = {}
        folds = max(1, folds)
        every = (of_network for _ in range(folds) for of_network in shapes_of(settings))
        for prefix, of_network in zip(_prefixes(folds * settings.n_networks), every, strict=True):
            shapes |= {prefix + name: shape for name, shape in of_network.items()}
            # Something is missing; so many networks need not be made to tell.
            if len(shapes) > len(found):
                break
        files.check_shapes(path, found, shapes)


def shapes_of(settings: Settings) -> Iterator[dict[str, tuple[int, ...]]]:
    """Give the shapes of each network's arrays by name. Networks of our own kinds are made without memory."""
    for own in networks(settings):
        with torch.device("meta") if MODELS.is_ours(settings.model) else contextlib.nullcontext():
            outline = build(own)
        yield {name: tuple(tensor.shape) for name, tensor in outline.state_dict().items()}


def _check_weight(path: Path, name: str, array: np.ndarray, dtype: np.dtype) -> None:
    _check_type(path, name, array, dtype)
    if array.dtype.kind == "f" and array.size and (largest := float(np.abs(array).max())) > MOST_WEIGHT:
        raise BundleError(f"{path}: {name!r} holds {largest:g}, the limit is {MOST_WEIGHT:g}")


def _check_type(path: Path, name: str, array: np.ndarray, dtype: np.dtype) -> None:
    if array.dtype != dtype:
        raise BundleError(f"{path}: {name!r} holds {array.dtype}, expected {dtype}")


def _prefixes(count: int) -> list[str]:
    return [f"{place}." for place in range(count)] if count > 1 else [""]


# --- pathway.safetensors: what scores have learned ---


def _learned_names(score: str, place: int) -> dict[str, str]:
    """What the arrays that a score learned of a network are called in the file. `nap` was there first."""
    prefix = f"{place}." if score == "nap" else f"{place}.{score}."
    return {name: prefix + name for name in SCORES[score].learned}


def _write_learned(path: Path, members: Sequence[NetworkMember]) -> None:
    arrays = {
        _learned_names(score, place)[name]: array
        for place, member in enumerate(members)
        for score, learned in member.learned.items()
        for name, array in learned.items()
    }
    if arrays:
        files.write_arrays(path, arrays)


def _read_learned(
    path: Path, members: Sequence[NetworkMember], scores: Sequence[str], absent: set[str]
) -> None:
    arrays, _ = files.read_arrays(path)
    wanted = [name for i in range(len(members)) for s in scores for name in _learned_names(s, i).values()]
    strangers = {name for name in arrays if name not in wanted and not _is_of(name, absent)}
    if (
        strangers
        or not set(wanted) <= set(arrays)
        or any(arrays[name].dtype != np.float32 for name in wanted)
    ):
        raise BundleError(f"{path}: does not fit the run: it should hold float32 {', '.join(sorted(wanted))}")
    blank = torch.zeros(1, 1, 28, 28)
    for place, member in enumerate(members):
        for score in scores:
            names = _learned_names(score, place)
            member.learned[score] = {name: arrays[stored] for name, stored in names.items()}
        # What a score of one's own makes of a blank image is its own matter.
        try:
            member.score(blank, [score for score in scores if SCORES.is_ours(score)])
        except (ConfigError, RuntimeError, ValueError) as error:
            raise BundleError(f"{path}: does not fit the run: {str(error).splitlines()[0]}") from None


def _is_of(name: str, scores: set[str]) -> bool:
    """Whether an array was learned by one of these scores."""
    parts = name.split(".", 2)
    return len(parts) == 3 and parts[1] in scores


# --- neighbours.safetensors ---


def _kept_images(fitted: Fitted) -> np.ndarray | None:
    """The images that are neighbours, uint8 (n, 28, 28); of folds those of all, in their order. None without any."""
    kept = [member.kept for member in fitted.ensemble.members if isinstance(member, Neighbours)]
    if not isinstance(fitted.ensemble, FoldEnsemble) or not kept:
        return kept[0] if kept else None
    # The first fold's images are missing in the first part, and come first in the second.
    n_first = fitted.ensemble.n_calibration - len(kept[0])
    return np.concatenate([kept[1][:n_first], kept[0]])


def _read_neighbours(folder: Path, record: Record, arithmetic: str) -> list[Neighbours]:
    """Neighbours, one of each fold; none where there are none."""
    if not record.settings.neighbours:
        return []
    path = folder / runs.NEIGHBOURS
    arrays, _ = files.read_arrays(path, {IMAGES: (record.data.n_train, 28, 28)})
    if arrays[IMAGES].dtype != np.uint8:
        raise BundleError(f"{path}: {IMAGES!r} holds {arrays[IMAGES].dtype}, expected uint8")
    settings, images, folds = record.settings, arrays[IMAGES], record.data.folds
    kept = [np.delete(images, fold, 0) for fold in fold_slices(len(images), folds)] if folds else [images]
    return [
        Neighbours(some, settings.neighbours, distance=settings.distance, arithmetic=arithmetic)
        for some in kept
    ]


# --- calibration.safetensors ---


def _kept_rules(folder: Path, record: Record) -> tuple[str, ...]:
    """The scores that a run has: those of its networks that are kept with it.

    A score that was written or installed later is missing there. That by which the run judges, and `smooth`, whose
    heatmap stands in for others', must be kept: without them a run is broken.
    """
    needed = files.names(folder / runs.CALIBRATION) | {record.settings.rule, "smooth"}
    return tuple(rule for rule in record.settings.rules if rule in needed)


def _absent_scores(record: Record, rules: Sequence[str]) -> set[str]:
    """Scores of one's own that the run was made with, and that are not to be had here: it does without them."""
    sort = f"{SCORES.sort} "
    return {part.removeprefix(sort) for part in record.parts if part.startswith(sort)} - set(rules)


def _read_calibration(
    folder: Path, record: Record, rules: Sequence[str], absent: set[str], n_members: int
) -> tuple[Arrays, Arrays]:
    """Calibration scores by rule, and the ensemble's standards by rule; those of absent scores are passed over."""
    path = folder / runs.CALIBRATION
    expected: dict[str, tuple[int, ...]] = dict.fromkeys(rules, (record.data.n_calibration,))
    if n_members > 1:
        expected |= dict.fromkeys((STANDARD + rule for rule in rules), (n_members, 2))
    if absent:
        arrays, _ = files.read_arrays(path)
        expected |= {
            name: array.shape for name, array in arrays.items() if name.removeprefix(STANDARD) in absent
        }
    kept, _ = files.read_arrays(path, expected)
    for name, array in kept.items():
        _check_type(path, name, array, np.dtype(np.float64))
    standards = {rule: kept[STANDARD + rule] for rule in rules if STANDARD + rule in kept}
    for rule, of_members in standards.items():
        if not (of_members[:, 1] > 0).all():
            raise BundleError(f"{path}: '{STANDARD}{rule}': spreads must be above 0")
    return {rule: kept[rule] for rule in rules}, standards
