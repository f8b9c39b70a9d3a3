"""Images as arrays: what is accepted, and what is said of what is not."""

from __future__ import annotations

from typing import Any

import numpy as np

from anomalae.errors import ImageError
from anomalae.text import printable

SIDE = 28
PIXELS = SIDE * SIDE


def check_images(images: Any, what: str = "images", first: int = 0) -> np.ndarray:
    """Check images and bring them to one shape.

    images: uint8, any other integers in [0, 255] but 16 bit ones, or any float type in [0, 1]; shape (N, 28, 28),
        (N, 1, 28, 28) or (N, 784), N at least 1; an array or anything NumPy turns into one, a torch tensor (of any
        device, with gradient or without) included. They are not modified; the result may share their memory.
    what: how an error names them.
    first: the index of the first of them, where they are a part of more.

    Returns them as (N, 28, 28), contiguous, uint8 or float32 in [0, 1].

    Raises ImageError for any other shape or type, and for a value that is not finite or lies outside [0, 1], with the
    index of the first image that holds one.

    >>> check_images(np.zeros((5, 784), np.uint8)).shape
    (5, 28, 28)
    """
    array = as_array(images, what)
    if array.shape[1:] not in ((SIDE, SIDE), (1, SIDE, SIDE), (PIXELS,)):
        expected = f"(N, {SIDE}, {SIDE}), (N, 1, {SIDE}, {SIDE}) or (N, {PIXELS})"
        raise ImageError(f"{what}: shape {array.shape}, expected {expected}")
    if not len(array):
        raise ImageError(f"{what}: no images, shape {array.shape}")
    return np.ascontiguousarray(check_levels(array, what, first).reshape(-1, SIDE, SIDE))


def check_levels(array: np.ndarray, what: str, first: int = 0) -> np.ndarray:
    """Check the values of images of any shape (N, ...), and return them as uint8 or as float32 in [0, 1].

    what, first: as for `check_images`. Raises ImageError for values that are no levels, and says what they look like.
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        raise ImageError(f"{what}: type uint16, expected uint8 or float in [0, 1]; divide by 65535 (or 255)")
    if array.dtype.kind in "iu":
        return _check_integers(array, what)
    if array.dtype.kind != "f":
        raise ImageError(f"{what}: type {array.dtype}, expected uint8 or float in [0, 1]")
    _check_range(array.reshape(len(array), -1), what, first)
    return array.astype(np.float32, copy=False)


def as_array(images: Any, what: str) -> np.ndarray:
    """Return what NumPy makes of an array, a tensor or nested lists of numbers; ImageError where it makes nothing."""
    # This tells a torch tensor without importing torch.
    if hasattr(images, "detach"):
        images = images.detach().cpu()
    try:
        return np.asarray(images)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ImageError(f"{what}: not an array: {printable(str(error))}") from None


def _check_integers(array: np.ndarray, what: str) -> np.ndarray:
    """Return integers in [0, 255] as uint8, ImageError for others; 0 and 1 alone could mean black and nearly black."""
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 255:
        raise ImageError(f"{what}: type {array.dtype} with values from {low} to {high}, expected 0 to 255")
    if high == 1:
        raise ImageError(
            f"{what}: type {array.dtype} with values 0 and 1: give them as floats, or multiply them by 255"
        )
    return array.astype(np.uint8)


def _check_range(rows: np.ndarray, what: str, first: int) -> None:
    """Raise ImageError unless all values (N, P) are finite and in [0, 1]."""
    low, high = float(rows.min()), float(rows.max())
    # This is false for NaN, too.
    if low >= 0 and high <= 1:
        return
    bad = ~((rows >= 0) & (rows <= 1))
    index = int(np.argmax(bad.any(axis=1)))
    value = float(rows[index][np.argmax(bad[index])])
    problem = "lies outside [0, 1]" if np.isfinite(value) else "is not finite"
    raise ImageError(f"{what}[{first + index}]: the value {value:g} {problem}{_hint(low, high)}")


def _hint(low: float, high: float) -> str:
    """Return what values from `low` to `high` look like, if anything."""
    if low >= 0 and 1 < high < 2:
        return ": clip them to [0, 1]"
    if low >= 0 and 2 <= high <= 255:
        return f" (they reach {high:g}): divide levels of 0 to 255 by 255"
    # The black of images normalised by their mean and deviation lies below 0: at -0.42 for MNIST's, at -1 for 0.5, 0.5.
    if -10 < low < -0.1:
        return (
            f" (they lie from {low:g} to {high:g}): they look normalised by mean and deviation; give them as they "
            "were before, in [0, 1]"
        )
    return ""
