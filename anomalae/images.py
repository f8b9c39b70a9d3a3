"""Arrays of images: what is accepted, and the one shape it is brought to."""

from __future__ import annotations

from typing import Any

import numpy as np

from anomalae.errors import ImageError

SIDE = 28
PIXELS = SIDE * SIDE


def check_images(images: Any, what: str = "images") -> np.ndarray:
    """Bring an array of images to (N, 28, 28), `uint8` or `float32`; the input is left as it is.

    Accepted are `uint8`, or floats in [0, 1], of shape (N, 28, 28), (N, 1, 28, 28) or (N, 784), N >= 1, as a NumPy
    array, a tensor, or nested sequences of them. Raises ImageError naming the shape, the dtype or the first bad
    value; `what` opens the message.
    """
    if hasattr(images, "detach"):
        images = images.detach().cpu()
    try:
        array = np.asarray(images)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ImageError(f"{what}: not an array: {str(error).splitlines()[0]}") from None
    if array.shape[1:] not in {(SIDE, SIDE), (1, SIDE, SIDE), (PIXELS,)}:
        raise ImageError(f"{what}: shape {array.shape}: must be (N, 28, 28), (N, 1, 28, 28) or (N, 784)")
    if len(array) == 0:
        raise ImageError(f"{what}: shape {array.shape}: there must be at least one image")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array.reshape(-1, SIDE, SIDE))
    if array.dtype.kind != "f":
        raise ImageError(f"{what}: dtype {array.dtype}: must be uint8, or floats in [0, 1]")
    good = (array >= 0) & (array <= 1)  # false for NaN too
    if not good.all():
        place = np.unravel_index(int(np.argmin(good)), array.shape)
        where = ", ".join(str(int(index)) for index in place)
        raise ImageError(f"{what}: value {array[place]} at [{where}]: must be from 0 to 1")
    return np.ascontiguousarray(array.reshape(-1, SIDE, SIDE), dtype=np.float32)
