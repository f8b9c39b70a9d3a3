"""A run's probe: images that are no one's, and how they score, by which it is seen that a run scores as it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalae import files, runs
from anomalae.detectors.batches import batches
from anomalae.detectors.ensemble import Ensemble
from anomalae.errors import BundleError, PartError
from anomalae.plugins import SCORES

STROKES, NOISE = 12, 4  # images of each sort
MOST_IMAGES = 1000  # that are read
_IMAGES, _SCORE = "images", "score."  # names in the file; a rule follows the second


@dataclass(frozen=True, eq=False)
class Probe:
    """A probe is kept with a run, and never holds an image that it was trained on, as runs are passed on.

    images: uint8 (N, 28, 28), light on dark.
    scores: by rule, when the run was trained, float64 (N,) each.
    """

    images: np.ndarray
    scores: dict[str, np.ndarray]


def made_images() -> np.ndarray:
    """Return strokes and noise made by a seed: uint8 (16, 28, 28).

    >>> made_images().shape
    (16, 28, 28)
    """
    source = np.random.default_rng(0)
    pixels = np.indices((28, 28)).reshape(2, -1).T[:, None] + 0.5
    along = np.linspace(0, 1, 50)[:, None]
    pictures: list[np.ndarray] = []
    for _ in range(STROKES):
        first, middle, last = source.uniform(5, 23, (3, 2))
        # A curve that is drawn towards a point beside it, as a pen's width from its middle line.
        curve = (1 - along) ** 2 * first + 2 * along * (1 - along) * middle + along**2 * last
        nearest = np.sqrt(((pixels - curve) ** 2).sum(-1)).min(1)
        pictures.append(np.clip(source.uniform(1.5, 2.5) - nearest, 0, 1).reshape(28, 28))
    pictures += [source.random((28, 28)) ** power for power in range(1, NOISE + 1)]
    return (255 * np.stack(pictures)).astype(np.uint8)


def make_probe(ensemble: Ensemble, rules: Sequence[str]) -> Probe:
    """Score made images by an ensemble that is trained.

    rules: those of the run. Where one that does not come with anomalae fails on such images, only our own are kept.
    """
    images = made_images()
    try:
        return Probe(images, score_probe(ensemble, images, rules))
    except PartError:
        return Probe(images, score_probe(ensemble, images, [rule for rule in rules if SCORES.is_ours(rule)]))


def score_probe(ensemble: Ensemble, images: np.ndarray, rules: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the scores of images (N, 28, 28) by rule, float64 (N,) each; of folds what they are ranked by."""
    by_member = ensemble.score_members(batches(images), rules)
    return {rule: ensemble.smooth(rule, scores) for rule, scores in by_member.items()}


def write_probe(folder: Path, probe: Probe) -> None:
    """Write `probe.safetensors` into a run."""
    scores = {_SCORE + rule: array for rule, array in probe.scores.items()}
    files.write_arrays(runs.own_file(folder, runs.PROBE), {_IMAGES: probe.images, **scores})


def read_probe(folder: Path) -> Probe | None:
    """Read the probe of a run; None where there is none. BundleError for a file that holds something else."""
    path = folder / runs.PROBE
    if not path.exists() and not path.is_symlink():
        return None
    shapes, _ = files.read_shapes(path)
    shape = shapes.get(_IMAGES, ())
    if len(shape) != 3 or not 1 <= shape[0] <= MOST_IMAGES:
        raise BundleError(
            f"{path}: {_IMAGES!r} has shape {list(shape)}, expected 1 to {MOST_IMAGES:,} images"
        )
    expected = {name: shape[:1] for name in shapes if name.startswith(_SCORE)}
    arrays, _ = files.read_arrays(path, {_IMAGES: (shape[0], 28, 28), **expected})
    for name, array in arrays.items():
        kind = np.uint8 if name == _IMAGES else np.float64
        if array.dtype != kind:
            raise BundleError(f"{path}: {name!r} holds {array.dtype}, expected {np.dtype(kind)}")
    images = arrays.pop(_IMAGES)
    return Probe(images, {name.removeprefix(_SCORE): array for name, array in arrays.items()})
