"""Labelled images in one `.npz` file, read as a data set: `images` and `labels`, or those of two parts.

What the headers declare is checked, and compared with a limit, before anything is unpacked; nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from anomalae.datasets.classes import Classes
from anomalae.datasets.dataset import Dataset, Part, make_dataset
from anomalae.datasets.folders import TEST_SHARE, is_number
from anomalae.datasets.splits import stratified_indices
from anomalae.errors import DataError, ImageError
from anomalae.images.arrays import (
    LIMIT,
    Header,
    check_end,
    check_limit,
    check_size,
    npy_header,
    open_archive,
    take,
)
from anomalae.images.check import PIXELS
from anomalae.images.pictures import check_extent, reasons
from anomalae.images.sources import CHANNELS, Preparation, gather_images
from anomalae.text import listed, natural_order, plural, printable

# Names of the images and the labels of each part; two parts are train and test. The last are what Keras calls them.
LAYOUTS = (
    (("images", "labels"),),
    (("train_images", "train_labels"), ("test_images", "test_labels")),
    (("x_train", "y_train"), ("x_test", "y_test")),
)
# Numbers of classes have at most so many digits, as the names of folders that are numbers.
MOST_DIGITS = 18
# Names of arrays, and characters of a label, that an error shows.
NAMES_SHOWN, SHOWN = 10, 40

Members = dict[str, zipfile.ZipInfo]


def load_archive(path: Path, preprocess: str, polarity: str) -> Dataset:
    """Read a `.npz` file of `images` and `labels`, or of `train_images`, `train_labels`, `test_images`, `test_labels`.

    path: of the file; as it is given, it is the data set's name.
    preprocess, polarity: how images become canonical, as pictures of a folder do.

    Images are (N, H, W), (N, 784) or in colour (N, H, W, C), uint8, uint16 or floats in [0, 1]; labels (N,) are numbers
    from 0 or text. Where there are no parts, every fifth image of a class is for testing, as in a folder.

    Raises DataError, one line with path, array and index, for a file that is not like that, or unpacks to more than
    1 GiB, and for an image that cannot become canonical.
    """
    with _opened(path) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        layout = _layout(members, path)
        named = [_read_part(archive, members, names, path) for names in layout]
    numbered = all(labels.dtype.kind == "i" or all(map(is_number, set(labels))) for _, labels in named)
    parts = []
    for (images, labels), (name, _) in zip(named, layout, strict=True):
        how = Preparation(preprocess, polarity, "grey")
        try:
            canonical = gather_images(images, f"{printable(path)}:{name}", how)
        except ImageError as error:
            raise DataError(str(error)) from None
        parts.append(Part(canonical, labels.astype(np.int64 if numbered else np.str_)))
    labels = np.concatenate([part.labels for part in parts])
    classes: Classes = tuple(natural_order(labels.tolist()))
    if len(parts) == 1:
        parts = [parts[0].take(indices) for indices in stratified_indices(labels, TEST_SHARE)]
    train, test = parts
    how_read = {"preprocess": preprocess, "polarity": polarity}
    return make_dataset(str(path), train, test, classes, str(path), False, **how_read)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    with contextlib.ExitStack() as stack:
        try:
            with reasons():
                try:
                    archive = stack.enter_context(open_archive(path))
                except zipfile.BadZipFile:
                    raise ImageError("not a .npz file, which is a zip archive of arrays") from None
        except ImageError as error:
            raise DataError(f"{printable(path)}: {error}") from None
        yield archive


def _layout(members: Members, path: Path) -> tuple[tuple[str, str], ...]:
    """Return the names of the arrays of each part."""
    for layout in LAYOUTS:
        if all(name in members for names in layout for name in names):
            return layout
    there = [printable(name) for name in list(members)[:NAMES_SHOWN]]
    holds = listed([*there, "..."] if len(members) > NAMES_SHOWN else there) or "no arrays"
    raise DataError(
        f"{printable(path)}: holds {holds}; expected images and labels, "
        "or train_images, train_labels, test_images and test_labels"
    )


def _read_part(
    archive: zipfile.ZipFile, members: Members, names: tuple[str, str], path: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Read the images, as they are, and the labels, int64 or str (N,), of a part."""
    arrays = []
    for name, check in zip(names, (_check_images, _check_labels), strict=True):
        try:
            with reasons():
                arrays.append(_read(archive, members[name], check))
        except ImageError as error:
            raise DataError(f"{printable(path)}:{name}: {error}") from None
    images, labels = arrays
    if len(images) != len(labels):
        raise DataError(
            f"{printable(path)}: {plural(len(images), 'image')} and {plural(len(labels), 'label')}"
        )
    try:
        return images, _checked_labels(labels)
    except DataError as error:
        raise DataError(f"{printable(path)}:{names[1]}: {error}") from None


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, check: Callable[[Header], None]) -> np.ndarray:
    check_limit(member.file_size)
    with archive.open(member) as stream:
        header, start = npy_header(stream)
        if header.dtype.hasobject:
            raise ImageError("holds Python objects, which are not read")
        check(header)
        check_size(header.size, member.file_size - start)
        flat = np.frombuffer(take(stream, header.size), header.dtype)
        check_end(stream)
    array = flat.reshape(header.shape, order="F" if header.fortran else "C")
    return array.astype(header.dtype.newbyteorder("="), copy=False)


def _check_images(header: Header) -> None:
    shape = header.shape
    in_colour = len(shape) == 4 and (shape[3] in CHANNELS or shape[1] in CHANNELS)
    if not (len(shape) == 3 or in_colour or (len(shape) == 2 and shape[1] == PIXELS)):
        raise ImageError(f"shape {shape}, expected (N, H, W), (N, {PIXELS}) or (N, H, W, C) with C 1, 3 or 4")
    if 0 in shape:
        raise ImageError(f"no images: shape {shape}")
    if header.dtype.kind not in "uif":
        raise ImageError(f"type {header.dtype}, expected uint8, uint16 or float in [0, 1]")
    if shape[0] * PIXELS > LIMIT:
        raise ImageError(f"{shape[0]:,} images, the limit is {LIMIT // PIXELS:,}")
    sides = sorted(shape[1:])[-2:]
    if len(shape) > 2:
        check_extent(sides[1], sides[0], "images of ")


def _check_labels(header: Header) -> None:
    if len(header.shape) != 1:
        raise ImageError(f"shape {header.shape}, expected (N,), one an image")
    if header.dtype.kind not in "uiU" or not header.dtype.itemsize:
        raise ImageError(f"type {header.dtype}, expected whole numbers or text")


def _checked_labels(labels: np.ndarray) -> np.ndarray:
    """Return labels as int64 or str; DataError for one that cannot be the name of a class's folder."""
    if labels.dtype.kind != "U":
        for extreme in (labels.min(), labels.max()):
            if not 0 <= extreme < 10**MOST_DIGITS:
                raise DataError(
                    f"{extreme}, expected numbers of classes from 0, of at most {MOST_DIGITS} digits"
                )
        return labels.astype(np.int64)
    try:
        names = set(labels.tolist())
    except ValueError:
        raise DataError("holds characters that are none") from None
    for name in sorted(names):
        if name in ("", ".", "..") or any(character in name for character in "/\\\0"):
            shown = printable(name[:SHOWN])
            raise DataError(f"'{shown}' cannot be the name of a class: it could not be that of its folder")
    return labels
