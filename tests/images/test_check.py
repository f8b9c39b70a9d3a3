"""Which arrays are images: every accepted shape and type comes out alike, everything else is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anomalae.errors import ImageError
from anomalae.images.check import PIXELS, SIDE, check_images


@pytest.fixture
def levels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, SIDE, SIDE), np.uint8)


def test_shapes_come_out_alike(levels: np.ndarray) -> None:
    for given in (levels, levels[:, None], levels.reshape(-1, PIXELS), levels.tolist()):
        if isinstance(given, list):
            given = np.array(given, np.uint8)
        found = check_images(given)
        assert found.dtype == np.uint8
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, levels)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, ">f4"])
def test_floats_become_float32(levels: np.ndarray, dtype: str) -> None:
    given = (levels / 255).astype(dtype)
    found = check_images(given)
    assert found.dtype == np.float32
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, given.astype(np.float32))


@pytest.mark.parametrize("like", [np.asarray, torch.tensor, lambda a: torch.tensor(a).requires_grad_()])
def test_tensors_of_torch(levels: np.ndarray, like: object) -> None:
    given = like((levels / 255).astype(np.float32))  # type: ignore[operator]
    np.testing.assert_allclose(check_images(given), levels / 255, rtol=1e-6)


def test_input_is_not_modified_and_need_not_be_contiguous(levels: np.ndarray) -> None:
    given = np.asfortranarray(levels / 255)[::-1]
    before = given.copy()
    given.flags.writeable = False
    found = check_images(given)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(given, before)
    np.testing.assert_allclose(found, before, rtol=1e-6)


@pytest.mark.parametrize(
    "shape", [(28, 28), (5, 27, 28), (5, 3, 28, 28), (5, 28, 28, 1), (784,), (5, 783), ()]
)
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="shape") as caught:
        check_images(np.zeros(shape, np.uint8))
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize("dtype", [bool, np.uint16, complex, object, "U1"])
def test_other_types_are_refused(dtype: str) -> None:
    with pytest.raises(ImageError, match="expected uint8 or float"):
        check_images(np.zeros((2, 28, 28), dtype))


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.uint32, ">i4"])
def test_integers_that_are_levels_become_uint8(levels: np.ndarray, dtype: str) -> None:
    found = check_images(levels.astype(dtype))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, levels)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (256, "from 0 to 256, expected 0 to 255"),
        (-1, "from -1 to 0"),
        (1, "values 0 and 1: give them as floats"),
    ],
)
def test_other_integers_are_refused(value: int, words: str) -> None:
    given = np.zeros((2, SIDE, SIDE), np.int64)
    given[1, 3, 4] = value
    with pytest.raises(ImageError, match=words):
        check_images(given)


@pytest.mark.parametrize(
    ("shift", "spread", "low"), [(0.1307, 0.3081, "-0.424"), (0.5, 0.5, "-1 "), (0.485, 0.229, "-2.1")]
)
def test_normalised_images_are_told(levels: np.ndarray, shift: float, spread: float, low: str) -> None:
    with pytest.raises(
        ImageError, match=f"lie from {low}.*: they look normalised by mean and deviation"
    ) as caught:
        check_images((levels / 255 - shift) / spread)
    assert "divide" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_floats_of_0_to_255_are_told(levels: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"lies outside \[0, 1\].*: divide levels of 0 to 255 by 255"):
        check_images(levels.astype(np.float64))
    with pytest.raises(ImageError) as caught:
        check_images(levels / 255 - 0.01)
    assert "normalised" not in str(caught.value)


def test_errors_count_from_the_first_of_a_part(levels: np.ndarray) -> None:
    given = levels / 255
    given[2, 0, 0] = 300
    with pytest.raises(ImageError, match=r"^images\[102\]: "):
        check_images(given, first=100)


@pytest.mark.parametrize(
    ("value", "words"),
    [(np.nan, "nan is not finite"), (np.inf, "inf is not"), (-0.01, "-0.01 lies outside"), (1.5, "1.5 lies")],
)
def test_other_values_are_refused_with_their_image(levels: np.ndarray, value: float, words: str) -> None:
    given = levels / 255
    given[4, 3, 2] = value
    given[5, 3, 2] = np.nan
    with pytest.raises(ImageError, match=rf"^normal\[4\]: the value {words}"):
        check_images(given, "normal")


def test_what_is_no_array_is_refused() -> None:
    with pytest.raises(ImageError, match="no images"):
        check_images(np.zeros((0, 28, 28), np.uint8))
    with pytest.raises(ImageError, match=r"^images: "):
        check_images([[1, 2], [3]])
    with pytest.raises(ImageError, match="shape"):
        check_images(None)
    with pytest.raises(ImageError, match="not an array"):
        check_images(torch.zeros((2, 28, 28), dtype=torch.bfloat16))
