"""Shared fixtures. Tests marked `mnist` need ANOMALAE_DATA; no test needs the network."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from anomalae import Detector
from anomalae.datasets.load import Dataset, load_dataset

torch.set_num_threads(1)  # networks this small only lose by sharing a step between threads

# A script that only older code can run, and a package that tests install, one of whose modules must not be imported.
collect_ignore = ["fixtures", "own_parts"]

DATA = os.environ.get("ANOMALAE_DATA")  # read before tests take it away


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if DATA is None:
        skip = pytest.mark.skip(reason="the real MNIST is not here: set ANOMALAE_DATA to its folder")
        for item in items:
            if item.get_closest_marker("mnist"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_dataset("digits")


SMALL = {"hidden": (32,), "latent_dim": 8, "epochs": 2, "batch_size": 32}


@pytest.fixture(scope="session")
def small(digits: Dataset) -> Detector:
    """A detector that learned little, quickly: zeros of the bundled digits."""
    split = digits.one_class(normal=[0], seed=0)
    return Detector(**SMALL, seed=3).fit(
        split.train.images, split.validation.images, split.calibration.images
    )


@pytest.fixture(scope="session")
def images(digits: Dataset) -> np.ndarray:
    """A few dozen held-out digits of every class, uint8 (N, 28, 28)."""
    return digits.test.images[:60]
