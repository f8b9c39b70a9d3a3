"""Detectors of zeros that several modules test."""

from __future__ import annotations

import pytest

from anomalae import Detector
from tests.detectors.ensembles import NEAR, THREE, fitted


@pytest.fixture(scope="package")
def split(digits):
    return digits.one_class(normal=[0], seed=0)


@pytest.fixture(scope="package")
def three(split) -> Detector:
    return fitted(split, **THREE)


@pytest.fixture(scope="package")
def near(split) -> Detector:
    return fitted(split, **NEAR)
