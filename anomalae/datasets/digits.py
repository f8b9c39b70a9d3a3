"""The small scanned digits that come with scikit-learn, drawn as MNIST would have drawn them; no download."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from anomalae.datasets.dataset import Dataset, Part, content_hash, make_dataset
from anomalae.datasets.splits import stratified_indices

# Percent of each class in the test part.
TEST_SHARE = 30
# Of scikit-learn's images and labels.
SHA256 = "65e5b4619795efb40c1082f4c350c049e4ad552200d369b6ae99e21eef5e72c5"
# Of mass of MNIST's digits, in pixels from the edge.
CENTRE = 14.5
# Grey levels; overshoot of the spline stays below, soft edges of strokes mostly above.
RINGING = 10


def digits_folder() -> Path:
    """Return the folder of scikit-learn's digits, without importing it."""
    spec = importlib.util.find_spec("sklearn")
    return Path(spec.origin if spec and spec.origin else "").parent / "datasets" / "data"


def load_bundled_digits() -> Dataset:
    """Load the digits, always divided alike: 1,258 to train and 539 to test."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small, labels = bunch.images.astype(np.uint8), bunch.target.astype(np.int64)
    verified = content_hash(Part(small, labels)) == SHA256
    everything = Part(enlarge(small), labels)
    train, test = (everything.take(indices) for indices in stratified_indices(labels, TEST_SHARE))
    return make_dataset("digits", train, test, tuple(range(10)), None, verified)


def enlarge(small: np.ndarray) -> np.ndarray:
    """Draw 8x8 digits with ink 0 to 16, (N, 8, 8), as MNIST would: uint8 (N, 28, 28).

    A cubic spline brings them to 20x20, with a margin for the soft edges, and its faint ringing is cleared;
    then they are moved by whole pixels until their centre of mass lies where MNIST has it.
    """
    from scipy.ndimage import zoom

    # the spline is linear: a matrix (25, 10)
    spline = zoom(np.eye(10), (2.5, 1), order=3, grid_mode=True, mode="grid-constant")
    padded = np.pad(small / 16.0, ((0, 0), (1, 1), (1, 1)))
    drawn = np.clip(np.einsum("ri,nij,cj->nrc", spline, padded, spline), 0, 1)
    # rounded twice: the same on every machine
    drawn = np.rint(np.round(drawn, 6) * 255).astype(np.uint8)
    drawn[drawn < RINGING] = 0
    # (N, 2, 25): ink by row, ink by column
    profiles = np.stack([drawn.sum(2), drawn.sum(1)], 1)
    shifts = np.rint(CENTRE - (profiles @ (np.arange(25) + 0.5)) / profiles.sum(2)).astype(int)
    # its margin is cut off below
    canvas = np.zeros((len(small), 28 + 2 * 8, 28 + 2 * 8), np.uint8)
    for image, picture, (top, left) in zip(canvas, drawn, shifts + 8, strict=True):
        image[top : top + 25, left : left + 25] = picture
    return np.ascontiguousarray(canvas[:, 8:36, 8:36])
