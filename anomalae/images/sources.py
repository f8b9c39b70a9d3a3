"""Whatever holds images, brought to canonical form: arrays, tensors, PIL images, paths, lists of them, DataLoaders.

What is streamed is read once and never held as a whole. PyTorch is not imported: a tensor is told by what it can do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from anomalae.errors import ImageError
from anomalae.images.check import PIXELS, SIDE, as_array, check_images, check_levels
from anomalae.images.inputs import read_inputs
from anomalae.images.lost import to_canonical
from anomalae.images.pictures import gray_levels

# Single images are put together into arrays of so many.
GROUP = 1024
# Channels of grey, RGB and RGBA.
CHANNELS = (1, 3, 4)
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Preparation:
    """A preparation says how what is given becomes canonical.

    preprocess, polarity: as in `anomalae.images.canonical.preprocess`, of files and PIL images, and of arrays where
        `arrays` says so.
    arrays: empty where arrays are canonical as they are given, `grey` or `colour` where they are prepared too; the two
        tell what an array (3, H, W) is: three grey images, or one in colour.
    """

    preprocess: str = "auto"
    polarity: str = "auto"
    arrays: str = ""


@dataclass(frozen=True)
class Canonical:
    """Images (N, 28, 28) that are prepared already, so that nothing more is done to them."""

    images: np.ndarray


def stream_images(
    images: Any,
    what: str = "images",
    preparation: Preparation | None = None,
    on_prepared: Callable[[Shape], None] = lambda shape: None,
) -> Iterator[np.ndarray]:
    """Give images in parts, each checked, (N, 28, 28), uint8 or float32 in [0, 1], in the order they come.

    images: one image or many, as an array or tensor (28, 28), (784,), (N, 28, 28), (N, 1, 28, 28) or (N, 784), uint8
        or floats in [0, 1]; a PIL image; the path of a file or folder that `anomalae.images.inputs.read_inputs` reads;
        a list, tuple or map-style data set of these, an item an image; a DataLoader or any other iterable of
        batches. An item or batch may be a tuple, list or mapping whose first part is the images, as in
        `(images, labels)`; a list of single images (H, W), PIL images or paths is a batch of them. Where arrays are
        prepared, they are (H, W), (H, W, C), (C, H, W) or batches of one of these, with C 1, 3 or 4.
    what: how an error names them.
    preparation: how they become canonical; None takes arrays as they are, and files and PIL images by `auto`.
    on_prepared: called with the shape, (H, W) or (H, W, C), of each array or PIL image that is brought to canonical
        form.

    Raises ImageError, one line, for whatever is no image and for a picture that shows ink but becomes blank, with the
    path or the index of it, and where there is none.

    >>> [part.shape for part in stream_images([np.zeros((28, 28)), Image.new("L", (40, 30))])]
    [(1, 28, 28), (1, 28, 28)]
    """
    reader = _Reader(what, preparation or Preparation(), on_prepared)
    yield from _grouped(reader.read(images))
    if not reader.done:
        raise ImageError(f"{what}: no images")


def gather_images(
    images: Any,
    what: str = "images",
    preparation: Preparation | None = None,
    on_prepared: Callable[[Shape], None] = lambda shape: None,
) -> np.ndarray:
    """Put all images into one array, checked, (N, 28, 28), uint8 or float32 in [0, 1].

    The arguments and errors are those of `stream_images`. Of a DataLoader or another iterable it is uint8 always:
    floats are rounded to whole levels of 255, which those are exactly that `ToTensor` makes of pictures.

    >>> gather_images(iter([np.full((2, 28, 28), 0.2)])).max()
    np.uint8(51)
    """
    parts = stream_images(images, what, preparation, on_prepared)
    if _is_streamed(images):
        parts = map(_rounded, parts)
    arrays = list(parts)
    if len(arrays) > 1 and any(array.dtype != np.uint8 for array in arrays):
        arrays = [_floats(array) for array in arrays]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


class _Reader:
    """Reads images of any sort, one array after another, and counts them so that an error can name the one it is of."""

    def __init__(self, what: str, preparation: Preparation, on_prepared: Callable[[Shape], None]) -> None:
        self.what, self.preparation, self.on_prepared = what, preparation, on_prepared
        self.done = 0

    def read(self, images: Any) -> Iterator[np.ndarray]:
        for part in self._read(images):
            self.done += len(part)
            yield part

    def _read(self, images: Any) -> Iterator[np.ndarray]:
        in_colour = self.preparation.arrays == "colour"
        if isinstance(images, Canonical):
            yield check_images(images.images, self.what)
        elif _holds_images(images):
            yield from self._images(images, self.what, in_colour)
        elif isinstance(images, (list, tuple)):
            for item in images:
                yield from self._item(item, True)
        elif _is_mapped(images):
            for index in range(len(images)):
                yield from self._sample(images[index], True)
        elif isinstance(images, Iterable) and not isinstance(images, (Mapping, bytes)):
            # A DataLoader with batch_size=None gives samples, and makes lists of their tuples.
            read = self._sample if getattr(images, "batch_sampler", images) is None else self._item
            for batch in images:
                yield from read(batch, in_colour)
        else:
            raise ImageError(f"{self.what}: {_expected(images)}")

    def _item(self, item: Any, lone: bool) -> Iterator[np.ndarray]:
        """Read an item of a list, or a batch of a loader; `lone`: whether an array (3, H, W) is one image."""
        if isinstance(item, list) and _are_single(item):
            for image in item:
                yield from self._sample(image, True)
        elif _are_ambiguous(item):
            raise ImageError(
                f"{self.what}[{self.done}]: tuples of which images and targets cannot be told apart; give batches "
                f"whose first part is an array (N, {SIDE}, {SIDE}), or the images alone"
            )
        elif isinstance(item, list) and _are_pairs(item):
            for pair in item:
                yield from self._sample(pair, True)
        elif _is_transposed(item):
            for image in item[0]:
                yield from self._sample(image, True)
        elif not _holds_images(item) and isinstance(item, (list, tuple, Mapping)) and item:
            yield from self._item(_first_part(item), lone)
        else:
            yield from self._sample(item, lone)

    def _sample(self, item: Any, lone: bool) -> Iterator[np.ndarray]:
        """Read what is an image, or begins with one: whatever comes after it is passed over."""
        while not _holds_images(item) and isinstance(item, (list, tuple, Mapping)) and item:
            item = _first_part(item)
        name = f"{self.what}[{self.done}]"
        if not _holds_images(item):
            raise ImageError(f"{name}: {_expected(item)}")
        yield from self._images(item, name, lone)

    def _images(self, images: Any, name: str, lone: bool) -> Iterator[np.ndarray]:
        if isinstance(images, (str, os.PathLike)):
            return self._files(images)
        if isinstance(images, Image.Image):
            return self._picture(images)
        array = as_array(images, name)
        return (
            self._prepared(array, name, lone) if self.preparation.arrays else self._whole(array, name, lone)
        )

    def _files(self, path: str | os.PathLike[str]) -> Iterator[np.ndarray]:
        """Read what is at a path, an image after another."""
        for entry in read_inputs([path], self.preparation.preprocess, self.preparation.polarity):
            if entry.image is None:
                raise ImageError(str(entry.error), setting=entry.setting)
            yield entry.image[None]

    def _picture(self, image: Image.Image) -> Iterator[np.ndarray]:
        try:
            canonical = self._canonical(gray_levels(image))
        except ImageError as error:
            raise ImageError(f"{self.what}[{self.done}]: {error}", setting=error.setting) from None
        bands = len(image.getbands())
        self.on_prepared((image.height, image.width, *([bands] if bands > 1 else [])))
        yield canonical[None]

    def _whole(self, array: np.ndarray, name: str, lone: bool) -> Iterator[np.ndarray]:
        """Give an array of canonical shape as it is; ImageError for another one, which names the way."""
        if array.shape in ((SIDE, SIDE), (PIXELS,)):
            array = array.reshape(1, SIDE, SIDE)
        way = "Detector.fit(images, preprocess='resize') takes images of any size and in colour"
        if lone and array.shape in ((3, SIDE, SIDE), (4, SIDE, SIDE)):
            raise ImageError(
                f"{name}: shape {array.shape} is an image in colour, expected ({SIDE}, {SIDE}); {way}"
            )
        if array.shape[1:] not in ((SIDE, SIDE), (1, SIDE, SIDE), (PIXELS,)):
            expected = f"(N, {SIDE}, {SIDE}), (N, 1, {SIDE}, {SIDE}) or (N, {PIXELS})"
            advice = f"; {way}" if 2 <= array.ndim <= 4 else ""
            raise ImageError(f"{name}: shape {array.shape}, expected {expected}{advice}")
        yield check_images(array, self.what, self.done)

    def _prepared(self, array: np.ndarray, name: str, lone: bool) -> Iterator[np.ndarray]:
        """Bring the pictures of an array to canonical form, GROUP at a time."""
        pictures = _pictures(array, name, lone)
        if array.dtype != np.uint16:
            pictures = check_levels(pictures, self.what, self.done)
        for start in range(0, len(pictures), GROUP):
            some, first = pictures[start : start + GROUP], self.done
            yield np.stack([self._prepare(picture, first + place) for place, picture in enumerate(some)])

    def _prepare(self, picture: np.ndarray, index: int) -> np.ndarray:
        """Return a picture (H, W) or (H, W, C) as uint8 (28, 28)."""
        if picture.ndim == 3 and picture.shape[2] == 1:
            picture = picture[:, :, 0]
        self.on_prepared(picture.shape)
        try:
            if picture.ndim == 3:
                picture = gray_levels(Image.fromarray(_rounded(picture)))
            return self._canonical(picture)
        except ImageError as error:
            raise ImageError(f"{self.what}[{index}]: {error}", setting=error.setting) from None

    def _canonical(self, gray: np.ndarray) -> np.ndarray:
        return to_canonical(gray, self.preparation.preprocess, self.preparation.polarity)


def _pictures(array: np.ndarray, name: str, lone: bool) -> np.ndarray:
    """Return an array as pictures (N, H, W) or (N, H, W, C); `lone`: whether (3, H, W) is one picture."""
    shape = array.shape
    if 0 in shape:
        raise ImageError(f"{name}: no images, shape {shape}")
    if shape == (PIXELS,) or (array.ndim == 2 and shape[1] == PIXELS):
        return array.reshape(-1, SIDE, SIDE)
    if array.ndim == 2 or (array.ndim == 3 and shape[2] in CHANNELS):
        return array[None]
    if array.ndim == 3:
        is_one = shape[0] == 1 or (lone and shape[0] in CHANNELS)
        return np.moveaxis(array, 0, 2)[None] if is_one else array
    if array.ndim == 4 and shape[1] in CHANNELS:
        return np.moveaxis(array, 1, 3)
    if array.ndim == 4 and shape[3] in CHANNELS:
        return array
    expected = "(H, W), (H, W, C) or (C, H, W) with C 1, 3 or 4, or batches of these"
    raise ImageError(f"{name}: shape {shape}, expected {expected}")


def _grouped(parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Put small arrays of one type together, up to GROUP images."""
    waiting: list[np.ndarray] = []
    count = 0
    for part in parts:
        if waiting and (part.dtype != waiting[0].dtype or count + len(part) > GROUP):
            yield np.concatenate(waiting)
            waiting, count = [], 0
        if len(part) >= GROUP:
            yield part
        else:
            waiting.append(part)
            count += len(part)
    if waiting:
        yield waiting[0] if len(waiting) == 1 else np.concatenate(waiting)


def _rounded(levels: np.ndarray) -> np.ndarray:
    """Return checked levels of any type as uint8."""
    if levels.dtype == np.uint8:
        return levels
    full = 1 / 257 if levels.dtype == np.uint16 else 255
    return np.rint(levels * np.float32(full)).astype(np.uint8)


def _floats(levels: np.ndarray) -> np.ndarray:
    """Return checked levels as float32 in [0, 1], as networks see them."""
    return levels.astype(np.float32) / np.float32(255) if levels.dtype == np.uint8 else levels


def _holds_images(images: Any) -> bool:
    """Tell whether something is read as it stands: a path, a PIL image, an array, or nested lists of numbers."""
    return (
        isinstance(images, (str, os.PathLike, Image.Image))
        or hasattr(images, "__array__")
        or _are_numbers(images)
    )


def _are_numbers(values: Any) -> bool:
    """Tell whether nested lists hold plain numbers."""
    if not isinstance(values, (list, tuple)) or not values:
        return False
    while isinstance(values, (list, tuple)) and values:
        values = values[0]
    return isinstance(values, (int, float))


def _first_part(parts: Any) -> Any:
    return next(iter(parts.values() if isinstance(parts, Mapping) else parts))


def _is_single(item: Any) -> bool:
    """Tell whether something is one image for sure; an array (1, H, W) may be a batch of one too, and is not."""
    if isinstance(item, (str, os.PathLike, Image.Image)):
        return True
    shape = tuple(getattr(item, "shape", ()))
    return shape == (PIXELS,) or (len(shape) == 2 and shape[1] != PIXELS)


def _are_single(items: Any) -> bool:
    return bool(items) and all(map(_is_single, items))


def _is_pair(item: Any) -> bool:
    """Tell whether something is a tuple that begins with an image, as in `(image, label)`."""
    if not isinstance(item, tuple) or not item:
        return False
    return _is_single(item[0]) or _is_column(item[0])


def _are_pairs(items: list[Any]) -> bool:
    return bool(items) and all(map(_is_pair, items))


def _is_column(item: Any) -> bool:
    shape = tuple(getattr(item, "shape", ()))
    return len(shape) == 3 and shape[0] == 1


def _are_ambiguous(item: Any) -> bool:
    """Tell whether a batch is tuples of images that may be pairs with targets, or all images and all targets."""
    if isinstance(item, list) and _are_pairs(item):
        return all(_is_single(part) or _is_column(part) for pair in item for part in pair)
    return _is_transposed(item) and any(map(_is_column, item[0]))


def _is_transposed(item: Any) -> bool:
    """Tell whether a batch is a tuple of single images beside as many labels, as of `zip(*batch)`."""
    if not isinstance(item, (list, tuple)) or len(item) < 2:
        return False
    images, labels = item[:2]
    return (
        isinstance(images, tuple)
        and all(_is_single(image) or _is_column(image) for image in images)
        and hasattr(labels, "__len__")
        and len(labels) == len(images) > 0
    )


def _is_mapped(images: Any) -> bool:
    """Tell whether something is a data set of PyTorch's map style: items by number, and no iterator."""
    return hasattr(images, "__getitem__") and hasattr(images, "__len__") and not hasattr(images, "__iter__")


def _is_streamed(images: Any) -> bool:
    return not (isinstance(images, (list, tuple, Canonical)) or _holds_images(images))


def _expected(images: Any) -> str:
    return (
        f"{type(images).__name__}, expected images: an array, a tensor, a PIL image, a path, a list of them, or a "
        "DataLoader"
    )
