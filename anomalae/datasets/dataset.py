"""A labelled data set, its classes, and how its images are divided: to test, and as a one-class problem."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anomalae.errors import ConfigError, DataError
from anomalae.text import printable

SHARES = (85, 5, 10)  # percent of the normal images in the train, validation and calibration part
LEAST_CALIBRATION = 40  # images at least, unless that is more than a third of the normal ones

Classes = tuple[int | str, ...]
Chosen = int | str | Iterable[int | str]


@dataclass(frozen=True, eq=False)
class Part:
    """Images with their labels: `images` uint8 (N, 28, 28), light on dark; `labels` (N,), int64 or str."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: np.ndarray) -> Part:
        """The images at these indices, in this order."""
        return Part(self.images[indices], self.labels[indices])


@dataclass(frozen=True, eq=False)
class OneClassSplit:
    """A data set as a one-class problem. `train`, `validation` and `calibration` hold normal images only."""

    train: Part
    validation: Part
    calibration: Part
    test: Part  # the whole test part of the data set, all classes
    normal: Classes
    anomalous: Classes
    seed: int


@dataclass(frozen=True, eq=False)
class Dataset:
    """A labelled data set. `name` is a name of DATASETS or the absolute path of a folder.

    `classes` are those of both parts together, in order. `provenance` is JSON-able: `name`, `root` (folder
    where the files lie, None if bundled), `sha256` and `counts` by part, `verified` (whether the content was
    compared with a hash of the official files), and for folders `preprocess` and `polarity`.
    """

    name: str
    train: Part
    test: Part
    classes: Classes
    provenance: dict[str, Any]

    def one_class(
        self, normal: Chosen | None = None, anomalous: Chosen | None = None, seed: int = 0
    ) -> OneClassSplit:
        """Split the train part for learning the `normal` classes, or all but the `anomalous` ones.

        Give one of the two: a class, several, or a text such as "0,4-6". All training images of the normal
        classes are divided by `split_indices`, whatever their class, and keep their order within each part.
        Raises DataError for an unknown class, and if no class is left to be normal or to be anomalous.
        """
        where = printable(self.name)
        if normal is not None and anomalous is not None:
            raise DataError("normal and anomalous classes exclude each other: give one of them")
        given = normal if normal is not None else anomalous
        if given is None:
            raise DataError("no normal class: name at least one")
        names = [given] if isinstance(given, (int, str, np.integer)) else list(given)
        named = parse_classes([str(name) for name in names], self.classes, self.name) if names else ()
        others = tuple(name for name in self.classes if name not in named)
        chosen, rest = (named, others) if normal is not None else (others, named)
        if not chosen:
            raise DataError(
                f"{where}: no normal class is left" if named else "no normal class: name at least one"
            )
        if not rest:
            raise DataError(f"{where}: no class is left to be anomalous")
        for name in chosen:
            if not np.any(self.train.labels == name):
                raise DataError(f"{where}: no training images of class {printable(str(name))}")
        indices = np.flatnonzero(np.isin(self.train.labels, chosen))
        train, validation, calibration = (
            self.train.take(indices[part]) for part in split_indices(len(indices), seed)
        )
        return OneClassSplit(train, validation, calibration, self.test, chosen, rest, seed)


def split_indices(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Divide `range(n)` at random into train (85%), validation (5%) and calibration (10%).

    Returns three int64 arrays, each sorted and none empty; together they hold every index once. The shares of
    validation and calibration are rounded. At least 40 images calibrate, or a third of all if that is fewer,
    at the expense of training: with fewer than 1/alpha - 1 calibration images (19 at alpha 0.05, 39 at 0.025)
    no image can be flagged, however odd. The division depends on `n` and `seed` alone. Raises DataError if
    n < 3, ConfigError if the seed is negative.

    >>> [len(part) for part in split_indices(1000, seed=0)]
    [850, 50, 100]
    >>> [len(part) for part in split_indices(126, seed=0)]
    [80, 6, 40]
    """
    if n < len(SHARES):
        raise DataError(
            f"{n} normal images: at least {len(SHARES)} are needed to train, validate and calibrate"
        )
    if seed < 0:
        raise ConfigError(f"seed {seed}: must be at least 0")
    order = np.random.default_rng(seed).permutation(n)
    validation, calibration = (max(1, (n * share + 50) // 100) for share in SHARES[1:])
    calibration = max(calibration, min(LEAST_CALIBRATION, n // 3))
    train, held_out, calibrating = np.split(order, [n - validation - calibration, n - calibration])
    return np.sort(train), np.sort(held_out), np.sort(calibrating)


def stratified(part: Part, percent: int) -> tuple[Part, Part]:
    """Divide each class into train and test by a fixed permutation of its images; order is kept.

    The test part gets `percent` of each class, rounded, at least one image. A class's division depends on the
    number of its images alone, so that a new class leaves the others as they were.
    """
    testing = np.zeros(len(part), bool)
    for label in np.unique(part.labels):
        of_class = np.flatnonzero(part.labels == label)
        order = np.random.default_rng(0).permutation(len(of_class))
        testing[of_class[order[: max(1, (len(of_class) * percent + 50) // 100)]]] = True
    return part.take(np.flatnonzero(~testing)), part.take(np.flatnonzero(testing))


def parse_classes(text: str | Sequence[str], classes: Sequence[int | str], name: str = "the data") -> Classes:
    """Read classes as they are typed: "0", "0,1,4-6", or several such texts; names for named classes.

    A text that is the name of a class means that class, whatever commas and dashes it holds. Returns the
    classes in the order of `classes`, each once. Raises DataError for another syntax and for a class that
    `name` (how the message calls the data) lacks.

    >>> parse_classes(["4-6", "0"], range(10))
    (0, 4, 5, 6)
    """
    texts = [text] if isinstance(text, str) else list(text)
    known = {str(label): label for label in classes}
    found: set[int | str] = set()
    for whole in texts:
        for item in [whole] if whole in known else [piece.strip() for piece in whole.split(",")]:
            found.update(_classes_of(item, known, name))
    return tuple(label for label in classes if label in found)


def _classes_of(item: str, known: dict[str, int | str], name: str) -> list[int | str]:
    if item in known:
        return [known[item]]
    numbered = all(isinstance(label, int) for label in known.values())
    span = re.fullmatch(r"([0-9]{1,18})(?:\s*-\s*([0-9]{1,18}))?", item) if numbered else None
    if item and not numbered:
        raise _unknown_class(item, known, name)
    if span is None:
        raise DataError(f"classes '{printable(item)}': expected numbers and ranges, as in 0,1,4-6")
    first, last = int(span[1]), int(span[2] or span[1])
    if last < first:
        raise DataError(f"classes {item}: the range ends before it begins")
    wanted = []
    for label in range(first, last + 1):  # ends at the first class that is not there, so it is never long
        if str(label) not in known:
            raise _unknown_class(label, known, name)
        wanted.append(known[str(label)])
    return wanted


def _unknown_class(label: int | str, known: Iterable[str], name: str) -> DataError:
    names = [printable(each) for each in known]
    listed = names if len(names) <= 20 else [*names[:10], "...", names[-1]]
    return DataError(f"class {printable(str(label))}: not in {printable(name)}; classes: {', '.join(listed)}")


def make_dataset(
    name: str, train: Part, test: Part, classes: Classes, root: str | None, verified: bool, **more: str
) -> Dataset:
    """A data set of these parts with its provenance, to which `more` is added."""
    parts = {"train": train, "test": test}
    provenance = {
        "name": name,
        "root": root,
        "sha256": {key: content_hash(part) for key, part in parts.items()},
        "counts": {key: len(part) for key, part in parts.items()},
        "verified": verified,
        **more,
    }
    return Dataset(name, train, test, classes, provenance)


def content_hash(part: Part) -> str:
    """SHA-256 of the images' bytes, then of the labels: 8 bytes each, least first, or names ended by NUL."""
    digest = hashlib.sha256(np.ascontiguousarray(part.images).data)
    if part.labels.dtype.kind == "i":
        digest.update(part.labels.astype("<i8").data)
    else:
        digest.update("".join(f"{label}\0" for label in part.labels).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
