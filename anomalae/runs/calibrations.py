"""Calibrations of one's own, kept in a run beside its own: scores of other images that are known to be normal.

Each is one file, `calibrations/NAME.safetensors`; the run's own files are never touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from anomalae import files
from anomalae.errors import BundleError, ConfigError
from anomalae.evaluation.conformal import MIN_CALIBRATION
from anomalae.runs.folder import CALIBRATIONS, CALIBRATIONS_SUFFIX, check_name, own_file
from anomalae.runs.locks import lock
from anomalae.settings import POLARITIES, PREPROCESSES
from anomalae.text import shown

# Of a run, and images of one: far more than make a threshold any better.
MOST_CALIBRATIONS, MOST_IMAGES = 100, 10**6
# In place of the words of a lock that speak of a training.
HOLDER = "another process is at work on this run"


@dataclass(frozen=True, eq=False)
class OwnCalibration:
    """A calibration is what thresholds and p-values are made of: scores of images that are known to be normal.

    name: by which it is asked for.
    scores: float64 (n,) by rule, higher = more anomalous.
    created: ISO 8601, UTC, when the images were scored.
    source: where the images came from, in words.
    preprocess, polarity: how files became canonical.
    segment: whether the images were digits that were cut from pages.
    fingerprint: what tells the run that scored them from any other.

    >>> OwnCalibration("mine", {"mse": np.arange(50.0)}, "2026-01-31T12:00:00+00:00", "scans").n
    50
    """

    name: str
    scores: dict[str, np.ndarray]
    created: str
    source: str
    preprocess: str = "auto"
    polarity: str = "auto"
    segment: bool = False
    fingerprint: str = ""

    @property
    def n(self) -> int:
        """The number of images."""
        return len(next(iter(self.scores.values())))

    @property
    def told(self) -> dict[str, Any]:
        """All but the scores, JSON-able."""
        return {key: getattr(self, key) for key in _TOLD}


_TOLD = [field.name for field in fields(OwnCalibration) if field.name not in ("name", "scores")]


def calibration_file(folder: Path, name: str) -> Path:
    """Return where a run keeps the calibration of this name; BundleError for what can be no name."""
    return folder / CALIBRATIONS / f"{check_name(name, 'calibration')}{CALIBRATIONS_SUFFIX}"


def calibration_names(folder: Path) -> list[str]:
    """Return the names of the calibrations that a run keeps beside its own, in order.

    folder: of the run.

    Raises BundleError where they are kept in no folder, as behind a link, and for more than MOST_CALIBRATIONS.

    >>> calibration_names(Path("runs/zero"))
    []
    """
    place = folder / CALIBRATIONS
    if not place.is_symlink() and not place.exists():
        return []
    _check_place(place)
    try:
        names = sorted(path.name for path in place.iterdir())
    except OSError as error:
        raise BundleError(f"{place}: cannot be read: {error.strerror}") from None
    # What is hidden is a part of a file that was being written when its process was killed.
    kept = [
        name.removesuffix(CALIBRATIONS_SUFFIX)
        for name in names
        if name.endswith(CALIBRATIONS_SUFFIX) and not name.startswith(".")
    ]
    if len(kept) > MOST_CALIBRATIONS:
        raise BundleError(f"{place}: {len(kept)} calibrations, the limit is {MOST_CALIBRATIONS}")
    return kept


def read_calibrations(
    folder: Path, rules: tuple[str, ...], absent: set[str], fingerprint: str
) -> tuple[dict[str, OwnCalibration], dict[str, str]]:
    """Read all calibrations that a run keeps beside its own; a broken one stops nobody who does not ask for it.

    folder: of the run.
    rules: scores that the run has; the first must be there, arrays of others are refused.
    absent: scores that cannot be had here, whose arrays are passed over.
    fingerprint: of the run.

    Returns them by name, and by name what is wrong, file and fault, with those that are not whole and sound, or are
    another run's. Raises BundleError where they are kept in no folder, and for too many.

    >>> read_calibrations(Path("runs/zero"), ("mse",), set(), "")
    ({}, {})
    """
    sound, broken = dict[str, OwnCalibration](), dict[str, str]()
    for name in calibration_names(folder):
        try:
            sound[name] = read_calibration(calibration_file(folder, name), rules, absent, fingerprint)
        except BundleError as error:
            broken[name] = str(error)
    return sound, broken


def read_calibration(
    path: Path, rules: tuple[str, ...], absent: set[str], fingerprint: str
) -> OwnCalibration:
    """Read one calibration; see `read_calibrations`.

    path: of the file. rules, absent, fingerprint: of the run.
    """
    shapes, told, n = _read_told(path)
    if told["fingerprint"] != fingerprint:
        raise BundleError(f"{path}: is of another run, or of this one before it was trained anew")
    expected: dict[str, tuple[int, ...]] = dict.fromkeys((rules[0], *(set(shapes) & {*rules, *absent})), (n,))
    arrays, _ = files.read_arrays(path, expected)
    for name, array in arrays.items():
        if array.dtype != np.float64:
            raise BundleError(f"{path}: {name!r} holds {array.dtype}, expected float64")
    scores = {rule: arrays[rule] for rule in rules if rule in arrays}
    return OwnCalibration(_name(path), scores, **told)


def describe_calibration(folder: Path, name: str) -> dict[str, Any]:
    """Return what is known of a calibration without its scores, JSON-able.

    folder: of the run.
    name: of the calibration.

    Raises BundleError for one that is broken, or is not there.

    >>> describe_calibration(Path("runs/zero"), "mine")
    Traceback (most recent call last):
    anomalae.errors.BundleError: runs/zero/calibrations/mine.safetensors: no such file
    """
    path = calibration_file(folder, name)
    _, told, n = _read_told(path)
    return {"name": name, "n": n, **told}


def _read_told(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, Any], int]:
    """Read shapes, what is told of the images, each value checked, and their number."""
    shapes, told = files.read_shapes(path)
    if set(told) != set(_TOLD):
        raise BundleError(f"{path}: is no calibration")
    for key, fits in (
        ("created", _is_date(told["created"])),
        ("source", isinstance(told["source"], str)),
        ("preprocess", told["preprocess"] in PREPROCESSES),
        ("polarity", told["polarity"] in POLARITIES),
        ("segment", isinstance(told["segment"], bool)),
        ("fingerprint", isinstance(told["fingerprint"], str)),
    ):
        if not fits:
            raise BundleError(f"{path}: {key} is {shown(told[key])}, of the wrong kind")
    n = max((shape[0] for shape in shapes.values() if len(shape) == 1), default=0)
    if not MIN_CALIBRATION <= n <= MOST_IMAGES:
        raise BundleError(f"{path}: holds scores of {n} images, must be {MIN_CALIBRATION} to {MOST_IMAGES:,}")
    return shapes, told, n


def _name(path: Path) -> str:
    return path.name.removesuffix(CALIBRATIONS_SUFFIX)


def check_number(n: int, name: str) -> None:
    """Raise ConfigError for fewer images than MIN_CALIBRATION, or more than MOST_IMAGES.

    n: number of images.
    name: of the calibration.

    >>> check_number(12, "mine")
    Traceback (most recent call last):
    anomalae.errors.ConfigError: calibration 'mine': 12 images, at least 40 are needed
    """
    if n < MIN_CALIBRATION:
        there = f"{n} image{'' if n == 1 else 's'}"
        raise ConfigError(f"calibration {name!r}: {there}, at least {MIN_CALIBRATION} are needed")
    if n > MOST_IMAGES:
        raise ConfigError(f"calibration {name!r}: more than {MOST_IMAGES:,} images, which is the limit")


def keep_calibration(folder: Path, calibration: OwnCalibration, *, replace: bool = False) -> Path:
    """Write a calibration into a run, which is locked meanwhile; whatever happens, the run stays whole.

    folder: of the run.
    calibration: of this run.
    replace: whether one of that name may be there.

    Returns the file. Raises BundleError for a name that is taken, more than MOST_CALIBRATIONS, and a folder that cannot
    be written.

    >>> mine = OwnCalibration("mine", {"mse": np.arange(50.0)}, "2026-01-31T12:00:00+00:00", "scans")
    >>> keep_calibration(Path("."), mine).as_posix(), calibration_names(Path("."))
    ('calibrations/mine.safetensors', ['mine'])
    """
    with lock(folder, HOLDER):
        check_free_calibration(folder, calibration.name, replace=replace)
        return _write(folder, calibration)


def check_free_calibration(folder: Path, name: str, *, replace: bool = False) -> None:
    """Raise BundleError unless a run can keep a calibration of this name.

    folder: of the run.
    name: see `runs.check_name`.
    replace: whether one of that name may be there.

    >>> check_free_calibration(Path("runs/zero"), "mine")
    """
    path = calibration_file(folder, name)
    # What leads elsewhere is not looked into, and makes way.
    kept = [] if (folder / CALIBRATIONS).is_symlink() else calibration_names(folder)
    if name in kept and not replace:
        raise BundleError(f"{path}: exists already", advice="replace")
    if name not in kept and len(kept) >= MOST_CALIBRATIONS:
        raise BundleError(
            f"{folder / CALIBRATIONS}: holds {len(kept)} calibrations, the limit is {MOST_CALIBRATIONS}"
        )


def write_calibrations(folder: Path, calibrations: Mapping[str, OwnCalibration]) -> None:
    """Write calibrations into a folder that is written as a whole, and remove all others from it.

    folder: of the run.
    calibrations: by name.

    >>> write_calibrations(Path("."), {})
    """
    stale = [] if (folder / CALIBRATIONS).is_symlink() else calibration_names(folder)
    for name in stale:
        if name not in calibrations:
            (folder / CALIBRATIONS / f"{name}{CALIBRATIONS_SUFFIX}").unlink()
    for calibration in calibrations.values():
        _write(folder, calibration)


def delete_calibration(folder: Path, name: str) -> Path:
    """Delete a calibration of a run, whole or broken.

    folder: of the run.
    name: of the calibration.

    Returns the file that is gone. Raises BundleError where there is none, or it cannot be deleted.

    >>> delete_calibration(Path("."), "mine")
    Traceback (most recent call last):
    anomalae.errors.BundleError: calibrations/mine.safetensors: no such calibration
    """
    path = calibration_file(folder, name)
    with lock(folder, HOLDER):
        kept = calibration_names(folder)
        if name not in kept:
            raise BundleError(f"{path}: no such calibration", unknown=name, known=kept)
        try:
            path.unlink()
        except OSError as error:
            raise BundleError(f"{path}: cannot be deleted: {error.strerror}") from None
    return path


def _write(folder: Path, calibration: OwnCalibration) -> Path:
    place = own_file(folder, CALIBRATIONS)
    try:
        place.mkdir(exist_ok=True)
    except OSError as error:
        raise BundleError(f"{place}: cannot be written: {error.strerror}") from None
    path = own_file(place, calibration_file(folder, calibration.name).name)
    files.write_arrays(path, calibration.scores, calibration.told)
    return path


def _check_place(place: Path) -> None:
    if place.is_symlink() or not place.is_dir():
        raise BundleError(
            f"{place}: {'is a link' if place.is_symlink() else 'is no folder'}, and is not read"
        )


def _is_date(value: Any) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False
