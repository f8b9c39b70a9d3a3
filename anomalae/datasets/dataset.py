"""A labelled data set, and the same as a one-class problem."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from anomalae import cards, text
from anomalae.datasets.classes import Chosen, Classes, choose_classes
from anomalae.datasets.splits import n_without_fold, split_indices
from anomalae.errors import DataError
from anomalae.text import printable


@dataclass(frozen=True, eq=False)
class Part:
    """A part is images with their labels.

    images: uint8 (N, 28, 28), light on dark.
    labels: int64 or str (N,).

    >>> Part(np.zeros((5, 28, 28), np.uint8), np.array([0, 0, 1, 1, 1]))
    <Part 5 images, classes 0, 1>
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"<Part {self._summary}>"

    def _repr_html_(self) -> str:
        return cards.card(f"Part: {self._summary}", self._gallery(f"the first {min(len(self), cards.MOST)}"))

    @property
    def _summary(self) -> str:
        return f"{text.plural(len(self), 'image')}, {text.some_classes(np.unique(self.labels).tolist())}"

    def _gallery(self, title: str, most: int = cards.MOST) -> str:
        return cards.gallery(self.images[:most], self.labels[:most].tolist(), title)

    def take(self, indices: np.ndarray) -> Part:
        """Return the images at these indices, in this order."""
        return Part(self.images[indices], self.labels[indices])


@dataclass(frozen=True, eq=False)
class OneClassSplit:
    """A data set as a one-class problem.

    train, validation, calibration: normal images only.
    test: the whole test part of the data set, all classes.
    normal: the normal classes.
    anomalous: all other classes; none where the data set is of normal images alone.
    seed: of the division of the training images.
    folds: number of folds in which all normal images train and calibrate; 0 where some were put aside for that.

    >>> from anomalae import load_dataset
    >>> split = load_dataset("digits").one_class(anomalous=[8])
    >>> split.normal, len(split.train), len(split.test)
    ((0, 1, 2, 3, 4, 5, 6, 7, 9), 965, 539)
    """

    train: Part
    validation: Part
    calibration: Part
    test: Part
    normal: Classes
    anomalous: Classes
    seed: int
    folds: int = 0

    @property
    def n_normal(self) -> int:
        """The number of normal images that are not of the test part."""
        return sum(map(len, self._normal_parts.values()))

    @property
    def n_trained(self) -> int:
        """The number of images that a network is trained on; of folds that do not all have as many the smallest."""
        return n_without_fold(len(self.train), self.folds) if self.folds else len(self.train)

    def in_folds(self, folds: int) -> OneClassSplit:
        """Return this problem with all normal images in its train part, to be divided into folds; of 0 as it is."""
        if not folds:
            return self
        parts = self._normal_parts.values()
        train = Part(
            *(np.concatenate(arrays) for arrays in zip(*((p.images, p.labels) for p in parts), strict=True))
        )
        none = train.take(np.arange(0))
        return replace(self, train=train, validation=none, calibration=none, folds=folds)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(part)} {name}" for name, part in self._normal_parts.items())
        anomalous = f"anomalous {text.some_classes(self.anomalous)}" if self.anomalous else "none anomalous"
        return (
            f"<OneClassSplit {sizes} and {len(self.test)} test images; normal {text.some_classes(self.normal)}; "
            f"{anomalous}; seed {self.seed}>"
        )

    def _repr_html_(self) -> str:
        is_normal = np.isin(self.test.labels, self.normal)
        parts = self._normal_parts | {
            "test, normal": self.test.take(np.flatnonzero(is_normal)),
            "test, anomalous": self.test.take(np.flatnonzero(~is_normal)),
        }
        title = f"One-class split: normal {text.some_classes(self.normal)}; seed {self.seed}"
        shown = [
            part._gallery(f"{name}: {text.plural(len(part), 'image')}", most=10)
            for name, part in parts.items()
            if len(part) or self.anomalous
        ]
        return cards.card(title, "".join(shown))

    @property
    def _normal_parts(self) -> dict[str, Part]:
        return {"train": self.train, "validation": self.validation, "calibration": self.calibration}


@dataclass(frozen=True, eq=False)
class Dataset:
    """A labelled data set.

    name: a name of DATASETS, or the absolute path of a folder or a `.npz` file.
    train: what may be learned from, all classes.
    test: what is scored, all classes.
    classes: those of both parts together, in order.
    provenance: JSON-able: `name`, `root` (folder where the files lie, or the file; None if bundled), `sha256` and
        `counts` by part, `verified` (whether the content was compared with a hash of the official files), and for
        folders and files `preprocess` and `polarity`.

    >>> from anomalae import load_dataset
    >>> load_dataset("digits")
    <Dataset digits: 1258 train and 539 test images, classes 0, 1, 2, 3, 4, 5, 6, 7, 8, 9>
    """

    name: str
    train: Part
    test: Part
    classes: Classes
    provenance: dict[str, Any]

    def __repr__(self) -> str:
        name, sizes = printable(self.name), f"{len(self.train)} train and {len(self.test)} test images"
        return f"<Dataset {name}: {sizes}, {text.some_classes(self.classes)}>"

    def _repr_html_(self) -> str:
        values = {
            "training images": text.count(len(self.train)),
            "test images": text.count(len(self.test)),
            "classes": text.count(len(self.classes)),
            "from": self.provenance.get("root") or "bundled",
            "official files": "yes, hashes compared" if self.provenance.get("verified") else "",
        }
        labels = self.train.labels
        # Whatever class has no training image shows none.
        first = [
            int(np.argmax(labels == name)) for name in self.classes[: cards.MOST] if np.any(labels == name)
        ]
        part = self.train.take(np.array(first, dtype=np.intp))
        return cards.card(
            f"Data set {self.name}", cards.facts(values), part._gallery("the first of each class")
        )

    @property
    def short_name(self) -> str:
        """The name without the folders and the suffix of a path."""
        name = Path(self.name).name
        return name[:-4] or name if name.lower().endswith(".npz") else name

    @cached_property
    def whole(self) -> Part:
        """All images with their labels: those of the train part, then those of the test part."""
        images = np.concatenate([self.train.images, self.test.images])
        return Part(images, np.concatenate([self.train.labels, self.test.labels]))

    def one_class(
        self, normal: Chosen | None = None, anomalous: Chosen | None = None, seed: int = 0
    ) -> OneClassSplit:
        """Split the train part for learning the `normal` classes, or all but the `anomalous` ones.

        All training images of the normal classes are divided by `split_indices`, whatever their class, and keep their
        order within each part.

        normal, anomalous: a class, several, or a text such as "0,4-6"; the other one is None. Neither need be given of
            a data set of one class: its images are all normal, and its test part has no anomalies.
        seed: of the division, at least 0.

        Returns the one-class problem. Raises DataError for an unknown class, and if no class is left to be normal or,
        of several, to be anomalous.
        """
        chosen, rest = choose_classes(normal, anomalous, self.classes, self.name)
        for name in chosen:
            if not np.any(self.train.labels == name):
                raise DataError(f"{printable(self.name)}: no training images of class {printable(str(name))}")
        indices = np.flatnonzero(np.isin(self.train.labels, chosen))
        train, validation, calibration = (
            self.train.take(indices[part]) for part in split_indices(len(indices), seed)
        )
        return OneClassSplit(train, validation, calibration, self.test, chosen, rest, seed)


def make_dataset(
    name: str, train: Part, test: Part, classes: Classes, root: str | None, verified: bool, **more: str
) -> Dataset:
    """Make a data set of these parts with its provenance, to which `more` is added."""
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
    """Return the SHA-256 of the images' bytes, then of the labels: 8 bytes each, least first, or names ended by NUL."""
    digest = hashlib.sha256(np.ascontiguousarray(part.images).data)
    if part.labels.dtype.kind == "i":
        digest.update(part.labels.astype("<i8").data)
    else:
        digest.update("".join(f"{label}\0" for label in part.labels).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
