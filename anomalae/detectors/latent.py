"""Walks through the latent space of a trained model, as arrays; `anomalae.plots` draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from anomalae.detectors.detector import Detector
from anomalae.text import percent

# Rows and columns of a walk; side of a plane.
ROWS, STEPS, PLANE = 10, 11, 15
# A row is shown if its ends differ by this share of the ink of a normal image.
LEAST_CHANGE = 0.25


@dataclass(frozen=True)
class Traverse:
    """A traverse is decoded images, what each row of them is, and the value of each column.

    images: float (rows, columns, 28, 28) in [0, 1].
    rows: names, or values (rows,) of the plane.
    values: (columns,).
    title: what is walked, in words.
    """

    images: np.ndarray
    rows: tuple[str, ...] | np.ndarray
    values: np.ndarray
    title: str


def traverse(detector: Detector, normals: Any) -> Traverse:
    """Walk through the codes as far as those of normal images lie, the largest changes of the picture first.

    Of one or two latent dimensions it is the whole line or plane, decoded. Of a model with a prior, whose units are
    made to be independent, it is each unit, the others held at their mean. Units of an autoencoder share what they do,
    so that one alone changes next to nothing: there it is each principal direction of the codes.

    detector: a fitted one.
    normals: images (N, 28, 28) that say where codes lie: walks lead through their mean code, from the 1% to the 99% end
        of the codes along the unit or direction.

    Returns up to 10 rows, of those whose ends differ by at least a quarter of a normal image's ink; one if none does.
    Raises ImageError for unusable images.
    """
    codes = detector.encode(normals).astype(np.float64)
    if codes.shape[1] <= 2:
        return _whole(detector, codes)
    centre = codes.mean(axis=0)
    if detector.settings.kind.density:
        directions, what, first_number = np.eye(codes.shape[1]), "unit", 0
    else:
        variances, vectors = np.linalg.eigh(np.cov(codes.T, bias=True))
        directions, what, first_number = vectors.T[np.argsort(-variances)][:ROWS], "direction", 1
    along = (codes - centre) @ directions.T
    variances, ends = along.var(axis=0), np.quantile(along, [0.01, 0.99], axis=0)
    first, last = (detector.decode(centre + end[:, None] * directions) for end in ends)
    changes = np.abs(last - first).sum((1, 2))
    order = np.argsort(-changes, kind="stable")[:ROWS]
    ink = float(detector.reconstruct(normals).sum((1, 2)).mean())
    shown = order[: max(1, int((changes[order] >= LEAST_CHANGE * ink).sum()))]
    steps = [np.linspace(ends[0, row], ends[1, row], STEPS)[:, None] * directions[row] for row in shown]
    total = max(float(codes.var(axis=0).sum()), np.finfo(float).tiny)
    shares = [percent(float(variance) / total) for variance in variances]
    rows = tuple(
        f"{what} {row + first_number}\n{shares[row]} of the variance\nchange {changes[row]:.0f} px"
        for row in shown
    )
    if what == "unit":
        title = "Each unit from the 1% (-1) to the 99% end (1) of its codes, the others at their mean."
    else:
        title = "Each principal direction of the codes, from their 1% (-1) to their 99% end (1)."
    title += (
        f"\nChange: sum over pixels of |last - first|. A normal image has {ink:.0f} px of ink; "
        "what changes by less than a quarter of that is left out."
    )
    images = np.stack([detector.decode(centre + step) for step in steps])
    return Traverse(images, rows, np.linspace(-1, 1, STEPS), title)


def _whole(detector: Detector, codes: np.ndarray) -> Traverse:
    low, high = np.quantile(codes, [0.01, 0.99], axis=0)
    if codes.shape[1] == 1:
        values = np.linspace(low[0], high[0], STEPS)
        return Traverse(detector.decode(values[:, None])[None], ("z",), values, "the whole line of codes")
    across, down = (np.linspace(low[i], high[i], PLANE) for i in (0, 1))
    plane = np.stack(np.meshgrid(across, down[::-1]), axis=-1).reshape(-1, 2)
    images = detector.decode(plane).reshape(PLANE, PLANE, 28, 28)
    return Traverse(images, down[::-1], across, "the plane of codes")
