"""What is uploaded, read as files are read, without a file of it being kept."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from anomalae.errors import ImageError
from anomalae.images.arrays import npy_header
from anomalae.images.inputs import Input, Reading, read_file
from anomalae.images.lost import to_canonical
from anomalae.images.pictures import image_error
from anomalae.server.limits import Limits, RefusedError
from anomalae.text import count, printable

NPY = b"\x93NUMPY"
# What unpacks to more than it holds is not taken from anybody.
_PACKED = ((b"PK\x03\x04", ".npz archives"), (b"\x1f\x8b", "gzipped files"))


def read_upload(name: str, content: bytes, how: Reading, limits: Limits) -> list[Input]:
    """Read one uploaded file: a picture of any kind and its pages, an IDX file or an `.npy` array.

    name: as its sender calls it; it stands before each row.
    content: of the file.
    how: as for files.
    limits: of a request.

    Returns an input an image, as `read_inputs` does, one with an error where it cannot be read. Raises RefusedError for
    more images or pixels than the limits allow, known from headers, before memory is taken.
    """
    for start, what in _PACKED:
        if content.startswith(start):
            return [Input(name, None, f"{printable(name)}: {what} are not taken here; send what is in them")]
    if content.startswith(NPY):
        _check_array(name, content, limits)
    else:
        _check_picture(name, content, limits)
    inputs = []
    with _file(content) as path:
        for entry in read_file(path, name, how):
            inputs.append(entry)
            if len(inputs) > limits.images:
                raise RefusedError(413, _many(len(inputs), limits))
    return inputs


def read_lists(body: bytes, how: Reading, limits: Limits) -> list[Input]:
    """Read images from JSON: `{"images": [[[0, 255, ...], ...], ...]}`, of one size, grey levels from 0 to 255.

    body: the JSON.
    how: as for files.
    limits: of a request.

    Returns an input an image, named `images[0]` and so on. Raises RefusedError for anything else.
    """
    try:
        document = json.loads(body)
        images = document["images"]
        array = np.asarray(images)
    except (ValueError, RecursionError):
        raise RefusedError(422, "images: lists of numbers were expected, all of one size") from None
    except (KeyError, TypeError):
        raise RefusedError(
            422, 'an object was expected, as in {"images": [[[0, 255, ...], ...], ...]}'
        ) from None
    if isinstance(images, list) and not images:
        raise RefusedError(422, "images: there are none")
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.dtype.kind not in "iuf":
        raise RefusedError(422, f"images: N lists of H lists of W numbers were expected, got {_found(array)}")
    _check_count(len(array), limits)
    _check_pixels("images", array.shape[2], array.shape[1], limits)
    if not (np.isfinite(array).all() and array.min(initial=0) >= 0 and array.max(initial=0) <= 255):
        raise RefusedError(422, "images: levels must lie from 0 to 255")
    return [
        _canonical(f"images[{index}]", image, how)
        for index, image in enumerate(np.rint(array).astype(np.uint8))
    ]


def _canonical(name: str, gray: np.ndarray, how: Reading) -> Input:
    try:
        image = to_canonical(gray, how.preprocess, how.polarity)
    except ImageError as problem:
        error = image_error(problem, "cannot be brought to canonical form")
        return Input(name, None, f"{name}: {error}", setting=error.setting)
    return Input(name, image, blank=not image.any())


def _found(array: np.ndarray) -> str:
    return "lists of different lengths or kinds" if array.dtype == object else f"{array.dtype} {array.shape}"


def _check_array(name: str, content: bytes, limits: Limits) -> None:
    try:
        header, _ = npy_header(io.BytesIO(content))
    except Exception:
        return  # said in its row
    shape: tuple[int, ...] = header.shape
    _check_count(shape[0] if len(shape) > 2 else 1, limits)
    if len(shape) >= 2:
        _check_pixels(name, shape[-1], shape[-2], limits)


def _check_picture(name: str, content: bytes, limits: Limits) -> None:
    try:
        # The header alone: nothing is decoded.
        with Image.open(io.BytesIO(content)) as picture:
            width, height = picture.size
    except Exception:
        return  # said in its row
    _check_pixels(name, width, height, limits)


def _check_pixels(name: str, width: int, height: int, limits: Limits) -> None:
    if width * height > limits.pixels:
        raise RefusedError(
            413, f"{printable(name)}: {width} x {height} pixels, at most {count(limits.pixels)} are taken"
        )


def _check_count(n: int, limits: Limits) -> None:
    if n > limits.images:
        raise RefusedError(413, _many(n, limits))


def _many(n: int, limits: Limits) -> str:
    return f"{count(n)} images or more, at most {count(limits.images)} are taken in one request"


@contextlib.contextmanager
def _file(content: bytes) -> Iterator[Path]:
    """Give the content as a file, in memory where the system can, which is gone afterwards whatever happens."""
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        with os.fdopen(os.memfd_create("upload"), "wb", buffering=0) as stream:
            stream.write(content)
            yield Path(f"/proc/self/fd/{stream.fileno()}")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "upload")
        path.write_bytes(content)
        yield path
