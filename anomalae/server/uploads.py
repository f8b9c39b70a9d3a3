"""What is uploaded, read as files are read, without a file of it being kept."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from anomalae.images.arrays import npy_header
from anomalae.images.canonical import plainly_canonical
from anomalae.images.check import SIDE
from anomalae.images.inputs import Input, Reading, prepared, read_file
from anomalae.server.limits import Limits, RefusedError
from anomalae.server.lists import NoListsError, parse_images
from anomalae.text import count, plural, printable

# Lists in one request of JSON, and numbers if its images are few.
MOST_LISTS = MOST_NUMBERS = 1_000_000
NPY = b"\x93NUMPY"
_NO_IMAGES = np.zeros((0, SIDE, SIDE), np.uint8)
# What unpacks to more than it holds is not taken from anybody.
_PACKED = ((b"PK\x03\x04", ".npz archives"), (b"\x1f\x8b", "gzipped files"))


@dataclass(frozen=True)
class Uploaded:
    """What was uploaded, in its order.

    names: of all images.
    errors: why there is no image, in one line; None where there is one.
    images: those that are there, canonical, uint8 (N, 28, 28).
    """

    names: list[str]
    errors: list[str | None]
    images: np.ndarray

    @classmethod
    def of(cls, inputs: Iterable[Input]) -> Uploaded:
        """Return inputs, as they were read."""
        inputs = list(inputs)
        images = [entry.image for entry in inputs if entry.image is not None]
        return cls(
            [entry.name for entry in inputs],
            [entry.error for entry in inputs],
            np.stack(images) if images else _NO_IMAGES,
        )

    @classmethod
    def joined(cls, parts: Sequence[Uploaded]) -> Uploaded:
        """Return what was uploaded in several parts."""
        return cls(
            [name for part in parts for name in part.names],
            [error for part in parts for error in part.errors],
            np.concatenate([_NO_IMAGES, *(part.images for part in parts)]),
        )


def read_upload(name: str, content: bytes, how: Reading, limits: Limits) -> Uploaded:
    """Read one uploaded file: a picture of any kind and its pages, an IDX file or an `.npy` array.

    name: as its sender calls it; it stands before each row.
    content: of the file.
    how: as for files.
    limits: of a request.

    Returns images as `read_inputs` reads them, an error where one cannot be read. Raises RefusedError for
    more images or pixels than the limits allow, known from headers, before memory is taken; and between two pages
    when their time is up.
    """
    until = time.monotonic() + limits.seconds
    for start, what in _PACKED:
        if content.startswith(start):
            error = f"{printable(name)}: {what} are not taken here; send what is in them"
            return Uploaded.of([Input(name, None, error)])
    if content.startswith(NPY):
        grays = _check_array(name, content, limits)
        if grays is not None:
            return _prepared(name, grays, how)
    else:
        _check_picture(name, content, limits)
    inputs = []
    with _file(content) as path:
        for entry in read_file(path, name, how):
            inputs.append(entry)
            if len(inputs) > limits.images:
                raise RefusedError(413, _many(len(inputs), limits))
            if time.monotonic() > until:
                raise RefusedError(
                    408, f"{printable(name)}: {plural(len(inputs), 'page')} took {limits.seconds:g} seconds"
                )
    return Uploaded.of(inputs)


def read_lists(body: bytes, how: Reading, limits: Limits) -> Uploaded:
    """Read images from JSON: `{"images": [[[0, 255, ...], ...], ...]}`, of one size, grey levels from 0 to 255.

    Nothing else may stand in the object, and no row be longer than a million characters.

    body: the JSON.
    how: as for files.
    limits: of a request.

    Returns images, named `images[0]` and so on. Raises RefusedError for anything else.
    """
    # What would take long is refused before.
    if body.count(b"{") > 1:
        raise RefusedError(422, "images: lists of numbers were expected, all of one size")
    most = max(MOST_NUMBERS, limits.images * SIDE * SIDE)
    if body.count(b",") > most or body.count(b"[") > MOST_LISTS:
        raise RefusedError(
            413, f"more than {count(most)} numbers or {count(MOST_LISTS)} lists; send an .npy array"
        )
    images: list[np.ndarray] = []
    try:
        for image in parse_images(body.decode("utf-8-sig")):
            images.append(image)
            _check_count(len(images), limits)
        array = np.stack(images) if images else _NO_IMAGES
    except ValueError:
        raise RefusedError(422, "images: lists of numbers were expected, all of one size") from None
    except NoListsError as error:
        raise RefusedError(422, str(error)) from None
    if not images:
        raise RefusedError(422, "images: there are none")
    if array.ndim != 3 or array.dtype.kind not in "iuf":
        raise RefusedError(422, f"images: N lists of H lists of W numbers were expected, got {_found(array)}")
    _check_count(len(array), limits)
    _check_pixels("images", array.shape[2], array.shape[1], limits)
    if not (np.isfinite(array).all() and array.min(initial=0) >= 0 and array.max(initial=0) <= 255):
        raise RefusedError(422, "images: levels must lie from 0 to 255")
    if array.dtype.kind == "f" and 0 < array.max(initial=0) <= 1:
        raise RefusedError(422, "images: levels lie from 0 to 255, and these are at most 1")
    return _prepared("images", np.rint(array).astype(np.uint8), how)


def _prepared(name: str, grays: np.ndarray, how: Reading) -> Uploaded:
    """Bring grey pictures, uint8 (N, H, W), to canonical form, those that are so already at once."""
    names = [f"{name}[{number}]" for number in range(len(grays))]
    as_they_are = plainly_canonical(grays, how.preprocess, how.polarity)
    if as_they_are.all():
        return Uploaded(names, [None] * len(names), grays)
    return Uploaded.of(
        Input(each, gray) if as_it_is else prepared(each, gray, how)
        for each, gray, as_it_is in zip(names, grays, as_they_are.tolist(), strict=True)
    )


def _found(array: np.ndarray) -> str:
    return "lists of different lengths or kinds" if array.dtype == object else f"{array.dtype} {array.shape}"


def _check_array(name: str, content: bytes, limits: Limits) -> np.ndarray | None:
    """Check the size of an array, and return it if it is whole and nothing but images, uint8 (N, 28, 28)."""
    try:
        header, start = npy_header(io.BytesIO(content))
    except Exception:
        return None  # said in its row
    shape: tuple[int, ...] = header.shape
    _check_count(shape[0] if len(shape) > 2 else 1, limits)
    if len(shape) >= 2:
        _check_pixels(name, shape[-1], shape[-2], limits)
    plain = header.dtype == np.uint8 and not header.fortran and shape == (*shape[:1], SIDE, SIDE)
    if not plain or not header.size or len(content) != start + header.size:
        return None
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _check_picture(name: str, content: bytes, limits: Limits) -> None:
    try:
        # The header alone: nothing is decoded.
        with Image.open(io.BytesIO(content)) as picture:
            width, height = picture.size
    except Image.DecompressionBombError:
        raise RefusedError(
            413, f"{printable(name)}: too many pixels, at most {count(limits.pixels)} are taken"
        ) from None
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
