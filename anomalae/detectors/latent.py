"""Walks through the latent space of a trained model, as arrays; `anomalae.plots` draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from anomalae.detectors.detector import Detector

# Rows and columns of a walk; side of a plane.
UNITS, STEPS, PLANE = 10, 11, 15


@dataclass(frozen=True)
class Traverse:
    """A traverse is decoded images, what each row of them is, and the value of each column.

    images: float (rows, columns, 28, 28) in [0, 1].
    rows: names, or values (rows,) of the plane.
    values: (columns,).
    """

    images: np.ndarray
    rows: tuple[str, ...] | np.ndarray
    values: np.ndarray
    title: str


def traverse(detector: Detector, normals: Any) -> Traverse:
    """Walk each of the most active units, or decode the whole line or plane of 1 or 2 dimensions.

    detector: a fitted one.
    normals: images (N, 28, 28) that say where codes lie: walks pass through their mean code, and go as far as most of
        their codes do.

    The activity of a unit is the variance of its code over these images.
    """
    codes = detector.encode(normals)
    low, high = np.quantile(codes, [0.01, 0.99], axis=0)
    if detector.settings.latent_dim == 1:
        values = np.linspace(low[0], high[0], STEPS)
        return Traverse(detector.decode(values[:, None])[None], ("z",), values, "the whole line of codes")
    if detector.settings.latent_dim == 2:
        across, down = (np.linspace(low[i], high[i], PLANE) for i in (0, 1))
        plane = np.stack(np.meshgrid(across, down[::-1]), axis=-1).reshape(-1, 2)
        images = detector.decode(plane).reshape(PLANE, PLANE, 28, 28)
        return Traverse(images, down[::-1], across, "the plane of codes")
    variance = codes.var(axis=0)
    units = np.argsort(-variance)[:UNITS]
    way = np.linspace(-1, 1, STEPS)
    walks = []
    for unit in units:
        walk = np.tile(codes.mean(axis=0), (STEPS, 1))
        walk[:, unit] += way * (high[unit] - low[unit]) / 2
        walks.append(detector.decode(walk))
    rows = tuple(f"unit {unit}\nvariance {variance[unit]:.2f}" for unit in units)
    return Traverse(
        np.stack(walks),
        rows,
        way,
        "each unit from the 1% to the 99% end of its codes, the others at their mean",
    )
