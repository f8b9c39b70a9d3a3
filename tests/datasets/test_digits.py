"""The bundled digits: canonical, divided alike, told apart."""

from __future__ import annotations

import numpy as np
from PIL import Image

from anomalae.datasets.dataset import Dataset
from anomalae.datasets.digits import enlarge
from anomalae.datasets.load import load_dataset


def test_digits_are_canonical(digits: Dataset) -> None:
    for part in (digits.train, digits.test):
        assert part.images.dtype == np.uint8
        assert part.images.shape == (len(part), 28, 28)
        assert part.labels.dtype == np.int64
        assert part.images.max() == 255
        assert np.median(part.images) == 0
        ink = part.images / part.images.sum((1, 2), keepdims=True)
        for axis in (1, 2):
            centres = ink.sum(3 - axis) @ (np.arange(28) + 0.5)
            assert np.abs(centres - 14.5).max() < 0.51  # MNIST's
    assert digits.provenance["verified"] is True
    assert digits.provenance["root"] is None


def test_digits_split_is_stratified_and_complete(digits: Dataset) -> None:
    from sklearn.datasets import load_digits

    target = load_digits().target
    assert (len(digits.train), len(digits.test)) == (1258, 539)
    for label in range(10):
        n = np.sum(target == label)
        assert abs(np.sum(digits.test.labels == label) - 0.3 * n) <= 0.5
    everything = np.concatenate([digits.train.images, digits.test.images])
    assert len(np.unique(everything, axis=0)) == len(target)  # nothing lost, nothing in both
    again = load_dataset("digits")
    assert again.provenance == digits.provenance


def test_enlarging_keeps_the_information() -> None:
    """Shrunk by 2.5 again, and looked for at every offset, the picture is the 8x8 original."""
    from sklearn.datasets import load_digits

    small = load_digits().images[:40].astype(np.uint8)
    drawn = enlarge(small)
    for image, original in zip(drawn, small, strict=True):
        offsets = [(top, left) for top in range(9) for left in range(9)]
        shrunk = [
            np.asarray(Image.fromarray(image[y : y + 20, x : x + 20]).resize((8, 8), Image.Resampling.BOX))
            for y, x in offsets
        ]
        assert max(np.corrcoef(each.ravel(), original.ravel())[0, 1] for each in shrunk) > 0.97
    mass = drawn.sum((1, 2)) / 255 / (small.sum((1, 2)) / 16 * 2.5**2)
    assert np.all((mass > 0.95) & (mass < 1.1))  # ink neither invented nor cut off


def test_digits_are_told_apart_by_neighbours(digits: Dataset) -> None:
    from sklearn.neighbors import KNeighborsClassifier

    train, test = digits.train, digits.test
    model = KNeighborsClassifier(3).fit(train.images.reshape(len(train), -1), train.labels)
    assert model.score(test.images.reshape(len(test), -1), test.labels) > 0.97
