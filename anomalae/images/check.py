"""Images as arrays: what is accepted, and how a path is shown."""

from __future__ import annotations

from typing import Any

import numpy as np

from anomalae.errors import ImageError
from anomalae.text import printable

SIDE = 28
PIXELS = SIDE * SIDE


def check_images(images: Any, what: str = "images") -> np.ndarray:
    """Check images and bring them to one shape, (N, 28, 28), contiguous; uint8, or float32 in [0, 1].

    images: uint8, or any float type in [0, 1]; shape (N, 28, 28), (N, 1, 28, 28) or (N, 784), N at least 1;
    an array or anything NumPy turns into one, a torch tensor (of any device, with gradient or without) included.
    They are not modified; the result may share their memory.
    what: how an error names them.

    Raises ImageError for any other shape or type, and for a value that is not finite or lies outside [0, 1], with the
    index of the first image that holds one.

    >>> check_images(np.zeros((5, 784), np.uint8)).shape
    (5, 28, 28)
    """
    array = _as_array(images, what)
    if array.shape[1:] not in ((SIDE, SIDE), (1, SIDE, SIDE), (PIXELS,)):
        expected = f"(N, {SIDE}, {SIDE}), (N, 1, {SIDE}, {SIDE}) or (N, {PIXELS})"
        raise ImageError(f"{what}: shape {array.shape}, expected {expected}")
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise ImageError(f"{what}: type {array.dtype}, expected uint8 or float in [0, 1]")
    if not len(array):
        raise ImageError(f"{what}: no images, shape {array.shape}")
    if array.dtype.kind == "f":
        _check_range(array.reshape(len(array), -1), what)
        array = array.astype(np.float32, copy=False)
    return np.ascontiguousarray(array.reshape(-1, SIDE, SIDE))


def _as_array(images: Any, what: str) -> np.ndarray:
    # This tells a torch tensor without importing torch.
    if hasattr(images, "detach"):
        images = images.detach().cpu()
    try:
        return np.asarray(images)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ImageError(f"{what}: not an array: {printable(str(error))}") from None


def _check_range(rows: np.ndarray, what: str) -> None:
    """Raise ImageError unless all values (N, P) are finite and in [0, 1]."""
    # This is false for NaN, too.
    if rows.min() >= 0 and rows.max() <= 1:
        return
    bad = ~((rows >= 0) & (rows <= 1))
    index = int(np.argmax(bad.any(axis=1)))
    value = float(rows[index][np.argmax(bad[index])])
    problem = "lies outside [0, 1]" if np.isfinite(value) else "is not finite"
    raise ImageError(f"{what}[{index}]: the value {value:g} {problem}")
