"""`config.json` of a run: settings, data and environment as one strict record, also carried by checkpoints."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from anomalae import files, runs
from anomalae.arithmetic import PLAIN
from anomalae.errors import BundleError, ConfigError
from anomalae.evaluation.cross_conformal import proved_rate
from anomalae.network_kinds import MODELS, REGISTRIES
from anomalae.plugins import SCORES, VIEWS, Registry
from anomalae.runs.environment import Environment
from anomalae.settings import POLARITIES, PREPROCESSES, Settings, strict
from anomalae.text import count, shown

# Formats of a run folder. The first is raised when an older anomalae could no longer read a newer run; runs with parts
# of one's own have the second, as an older anomalae knows of none; runs of another arithmetic than the plain one the
# third, as an older anomalae would score them by that; runs that started from another's weights the fourth, for which
# an older anomalae has no name; runs of folds the fifth, whose scores an older anomalae would make otherwise.
FORMAT_VERSION, VERSION_WITH_PARTS, VERSION_WITH_ARITHMETIC, VERSION_WITH_START = 2, 3, 4, 5
NEWEST = VERSION_WITH_FOLDS = 6


@dataclass(frozen=True)
class Data:
    """Data are what a run was trained on. `name` is None where images were given as arrays.

    name: of the data set that was really used; None for arrays.
    normal: the normal classes.
    seed: of the one-class split.
    n_test: the whole test part, normal and anomalous.
    root: folder where the data was found; None for bundled data.
    preprocess, polarity: how image files become canonical; inherited by `score`.
    arrays: `grey` or `colour`, which they were, where arrays become canonical as files do; empty where they are taken
        as they are.
    hashes: SHA-256 of each part's images and labels.
    verified: whether the hashes are those of the official files.
    folds: number of folds in which all normal images train and calibrate; 0 where some were put aside for that.
    """

    name: str | None = None
    normal: tuple[int | str, ...] = ()
    anomalous: tuple[int | str, ...] = ()
    seed: int = 0
    n_train: int = 0
    n_validation: int = 0
    n_calibration: int = 0
    n_test: int = 0
    root: str | None = None
    preprocess: str = "auto"
    polarity: str = "auto"
    arrays: str = ""
    hashes: dict[str, str] = field(default_factory=dict)
    verified: bool = False
    folds: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "normal", tuple(self.normal))
        object.__setattr__(self, "anomalous", tuple(self.anomalous))
        if self.arrays not in ("", "grey", "colour"):
            raise ConfigError(f"data.arrays {self.arrays!r}: must be grey, colour or empty")
        if self.folds and not (self.folds <= self.n_train == self.n_calibration):
            raise ConfigError(
                f"data.folds {self.folds}: {self.n_train} training and {self.n_calibration} calibration images, must "
                "be the same, at least one a fold"
            )

    @property
    def n_normal(self) -> int:
        """The number of normal images that are not of the test part."""
        return self.n_train if self.folds else self.n_train + self.n_validation + self.n_calibration

    @property
    def images_in_words(self) -> str:
        """What the normal images are for, with their numbers."""
        if self.folds:
            return f"{count(self.n_train)} training and calibration (the same, in {self.folds} folds)"
        numbers = {
            "training": self.n_train,
            "validation": self.n_validation,
            "calibration": self.n_calibration,
        }
        return ", ".join(f"{count(number)} {part}" for part, number in numbers.items())

    def proved_rate(self, alpha: float) -> float:
        """Return what the rate of false alarms is proved not to exceed, on the average.

        alpha: false-alarm level, in (0, 1).
        """
        return proved_rate(self.n_train, self.folds, alpha) if self.folds else alpha

    @property
    def n_trained(self) -> int:
        """The number of images that a network is trained on; of folds of different sizes the smallest."""
        return self.n_train - -(-self.n_train // self.folds) if self.folds else self.n_train


@dataclass(frozen=True)
class Record:
    """A record is everything that `config.json` holds.

    created: ISO 8601, UTC, when the training began.
    seconds: of training, all epochs.
    validation: of a vae: ELBO, its two parts, active units.
    parts: where each part comes from that does not come with anomalae, as in {"model convnet": "my-package 1.0"}.
    start: of a training that began with the weights of another run, that `run`'s name, empty where it was in no folder,
        and `weights`, the SHA-256 of its `weights.safetensors`; else empty.
    """

    settings: Settings
    data: Data
    environment: Environment
    created: str = ""
    seconds: float = 0.0
    validation: dict[str, float] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    start: dict[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able dict; `from_dict` reads it back."""
        values = dataclasses.asdict(self) | {"settings": self.settings.to_dict()}
        plain = self.environment.arithmetic == PLAIN
        version = max(
            values.pop("format_version"),
            VERSION_WITH_PARTS if self.parts else 0,
            0 if plain else VERSION_WITH_ARITHMETIC,
            VERSION_WITH_START if self.start else 0,
            VERSION_WITH_FOLDS if self.data.folds else 0,
        )
        # Left out where it says nothing, so that an older anomalae reads the run.
        for name in ("parts", "start"):
            if not values[name]:
                del values[name]
        for name in ("arrays", "folds"):
            if not values["data"][name]:
                del values["data"][name]
        if plain:
            del values["environment"]["arithmetic"]
        return {"format_version": version, **values}

    @classmethod
    def from_dict(cls, values: Any, where: str) -> Record:
        """Read strictly: unknown keys and other format versions raise BundleError, missing keys take defaults."""
        if not isinstance(values, dict):
            raise BundleError(f"{where}: expected an object, got {type(values).__name__}")
        version = values.get("format_version", FORMAT_VERSION)
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            raise BundleError(
                f"{where}: format version {shown(version)}: must be a whole number from 1 to {NEWEST}"
            )
        if version > NEWEST:
            raise BundleError(
                f"{where}: format version {shown(version)} is newer than {NEWEST}, the newest this anomalae reads"
            )
        _check_types(values, where)
        _check_parts(values, where)
        try:
            parts = {
                "settings": Settings.from_dict(values.get("settings", {}), where),
                "data": strict(Data, values.get("data", {}), where),
                "environment": strict(Environment, values.get("environment", {}), where),
            }
            return strict(cls, {**values, **parts}, where)
        except ConfigError as error:
            raise BundleError(str(error)) from None


Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_path(value: Any) -> bool:
    return value is None or (isinstance(value, str) and "\0" not in value)


def _is_number(value: Any) -> bool:
    # JSON has whole numbers of any size.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_whole(least: int, most: int) -> Check:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_dict(of: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(of, value.values()))


def _are_classes(value: Any) -> bool:
    return isinstance(value, list) and all(_is_text(name) or _is_class(name) for name in value)


# Of images a run has been trained on or tested with, and of CPU threads: far more than anybody has.
MOST_COUNTED, MOST_THREADS, MOST_FOLDS = 10**9, 100_000, 100
_is_class = _is_whole(-(2**63), 2**63 - 1)
_is_count = _is_whole(0, MOST_COUNTED)
# What a vae tells of its validation images.
_VALIDATION = ("elbo", "log_likelihood", "kl", "active_units")

_CHECKS: dict[tuple[str, ...], Check] = {
    ("created",): _is_text,
    ("seconds",): lambda value: _is_number(value) and value >= 0,
    ("validation",): lambda value: _is_dict(_is_number)(value) and set(value) in (set(), set(_VALIDATION)),
    ("parts",): _is_dict(_is_text),
    ("start",): lambda value: _is_dict(_is_text)(value) and set(value) in (set(), {"run", "weights"}),
    **{("environment", name): _is_text for name in ("device", "processor", "arithmetic", "platform")},
    ("environment", "threads"): _is_whole(1, MOST_THREADS),
    ("environment", "versions"): _is_dict(_is_text),
    ("data", "name"): _is_path,
    ("data", "root"): _is_path,
    ("data", "normal"): _are_classes,
    ("data", "anomalous"): _are_classes,
    ("data", "seed"): _is_whole(0, 2**63 - 1),
    **{("data", f"n_{part}"): _is_count for part in ("train", "validation", "calibration", "test")},
    ("data", "folds"): lambda value: _is_whole(0, MOST_FOLDS)(value) and value != 1,
    ("data", "preprocess"): PREPROCESSES.__contains__,
    ("data", "polarity"): POLARITIES.__contains__,
    ("data", "hashes"): _is_dict(_is_text),
    ("data", "verified"): lambda value: isinstance(value, bool),
}
_EPOCH: dict[str, Check] = {
    "epoch": _is_count,
    "loss": _is_number,
    "validation_loss": lambda value: value is None or _is_number(value),
    "learning_rate": _is_number,
    "seconds": _is_number,
}


_MISSING = object()


def _check_types(values: dict[str, Any], where: str) -> None:
    """Raise BundleError for a value that is not of the kind that others rely on; a key may be missing."""
    for keys, check in _CHECKS.items():
        value: Any = values
        for key in keys:
            value = value.get(key, _MISSING) if isinstance(value, dict) else _MISSING
        if value is not _MISSING and not check(value):
            raise BundleError(f"{where}: {'.'.join(keys)} is {shown(value)}, of the wrong kind")
    created = values.get("created", "")
    try:
        zoned = not created or datetime.fromisoformat(created).tzinfo is not None
    except ValueError:
        raise BundleError(f"{where}: created is {shown(created)}, which is no date") from None
    if not zoned:
        raise BundleError(f"{where}: created is {shown(created)}, a date without its time zone")


def used_parts(settings: Settings, rules: tuple[str, ...]) -> dict[str, str]:
    """Return where those parts of a run come from that do not come with anomalae: `Record.parts`."""
    used: list[tuple[Registry, tuple[str, ...]]] = [
        (MODELS, (settings.model,)),
        (VIEWS, settings.views),
        (SCORES, rules),
    ]
    return {
        f"{registry.sort} {name}": registry.origin(name)
        for registry, names in used
        for name in names
        if not registry.is_ours(name)
    }


def _check_parts(values: dict[str, Any], where: str) -> None:
    """Raise BundleError where the run cannot do without a part that is not installed.

    It can do without a score that is not the one it judges by.
    """
    settings = values.get("settings", {})
    for part, origin in values.get("parts", {}).items():
        sort, _, name = part.partition(" ")
        registry = REGISTRIES.get(sort)
        optional = sort == "score" and isinstance(settings, dict) and settings.get("score") != name
        if registry is not None and not optional and name not in registry:
            raise BundleError(f"{where}: needs the {part}, from {origin}, which is not installed here")


def read_record(folder: Path) -> Record:
    """Read the record of a finished run. Raises BundleError for a folder that is none, or an unfinished one."""
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such run folder")
    if not runs.is_finished(folder):
        missing = f"{folder}: no {runs.CONFIG}, so it is"
        if runs.is_unfinished(folder):
            raise BundleError(f"{missing} unfinished", advice="resume", about=folder.name)
        raise BundleError(f"{missing} unfinished; not a run")
    return Record.from_dict(files.read_json(folder / runs.CONFIG), str(folder / runs.CONFIG))


def write_checkpoint(folder: Path, arrays: dict[str, np.ndarray], record: Record, epoch: int) -> None:
    """Write the state after so many epochs; the history must stand in the folder already.

    folder: of the run.
    arrays: weights and what else the training goes on from, by name.
    record: of the run.
    epoch: number of epochs done.

    It is made to outlive its process, not the machine: waiting for the disk would double the time of short epochs.
    """
    metadata = {"epoch": epoch, "record": record.to_dict()}
    files.write_arrays(runs.own_file(folder, runs.CHECKPOINT), arrays, metadata, durable=False)


def read_checkpoint(folder: Path) -> tuple[dict[str, np.ndarray], list[dict[str, Any]], Record]:
    """Read `(arrays, history up to the checkpoint's epoch, record)` of an unfinished run."""
    history, record = read_progress(folder)
    return files.read_arrays(folder / runs.CHECKPOINT)[0], history, record


def read_progress(folder: Path) -> tuple[list[dict[str, Any]], Record]:
    """Read `(history up to the checkpoint's epoch, record)` of an unfinished run, and none of its arrays."""
    path = folder / runs.CHECKPOINT
    _, metadata = files.read_shapes(path)
    if set(metadata) != {"epoch", "record"} or not _is_count(metadata["epoch"]):
        raise BundleError(f"{path}: not a checkpoint of anomalae")
    history = read_history(folder)[: metadata["epoch"]]
    if len(history) < metadata["epoch"]:
        raise BundleError(f"{folder / runs.HISTORY}: ends before epoch {metadata['epoch']} of the checkpoint")
    return history, Record.from_dict(metadata["record"], str(path))


def read_history(folder: Path) -> list[dict[str, Any]]:
    """Read a line an epoch, each checked: the fields of `anomalae.models.training.state.Epoch`."""
    path = folder / runs.HISTORY
    lines = files.read_jsonl(path)
    for number, line in enumerate(lines, 1):
        for key in line:
            if key not in _EPOCH:
                raise BundleError(f"{path}: line {number}: unknown key {shown(key)}")
        for key, check in _EPOCH.items():
            if key not in line:
                raise BundleError(f"{path}: line {number}: {key} is missing")
            if not check(line[key]):
                raise BundleError(f"{path}: line {number}: {key} is {shown(line[key])}, of the wrong kind")
    return lines
