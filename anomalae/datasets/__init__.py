"""Labelled images and the one-class problem: MNIST and its relatives, the bundled digits, folders of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomalae.lazy import front_door

if TYPE_CHECKING:
    from anomalae.datasets.classes import parse_classes as parse_classes
    from anomalae.datasets.dataset import Dataset as Dataset
    from anomalae.datasets.dataset import OneClassSplit as OneClassSplit
    from anomalae.datasets.dataset import Part as Part
    from anomalae.datasets.folders import export as export
    from anomalae.datasets.load import DATASETS as DATASETS
    from anomalae.datasets.load import Status as Status
    from anomalae.datasets.load import fetch as fetch
    from anomalae.datasets.load import load_dataset as load_dataset
    from anomalae.datasets.load import locate as locate
    from anomalae.datasets.splits import split_indices as split_indices

_HOMES = {
    "DATASETS": "anomalae.datasets.load",
    "Dataset": "anomalae.datasets.dataset",
    "OneClassSplit": "anomalae.datasets.dataset",
    "Part": "anomalae.datasets.dataset",
    "Status": "anomalae.datasets.load",
    "export": "anomalae.datasets.folders",
    "fetch": "anomalae.datasets.load",
    "load_dataset": "anomalae.datasets.load",
    "locate": "anomalae.datasets.load",
    "parse_classes": "anomalae.datasets.classes",
    "split_indices": "anomalae.datasets.splits",
}

__all__ = list(_HOMES)
__getattr__, __dir__ = front_door(__name__, _HOMES)
