"""Files of any kind to canonical images: pictures, arrays (`.npy`, `.npz`), IDX files, folders of them.

One broken file never stops the others: `read_inputs` yields a row for everything it was given, an image
or an error.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalae.errors import ImageError
from anomalae.images.arrays import count_npy, count_npz, read_npy, read_npz
from anomalae.images.canonical import check_choices
from anomalae.images.canonical import preprocess as to_canonical
from anomalae.images.idx import count_idx, is_gzip, is_idx, is_idx_name, read_idx_array, read_idx_rows
from anomalae.images.pictures import FORMATS, decode
from anomalae.text import printable

IMAGE_SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
ARRAY_SUFFIXES = frozenset({".npy", ".npz"})


@dataclass(frozen=True)
class Input:
    """An input is one image to be judged, or why there is none.

    name: the path as given, with the row of an array (`file.npy[17]`, `file.npz:name[3]`); it may hold anything
    that a file name may, so show `text.printable(name)`.
    image: uint8 (28, 28), light ink on black; None where `error` says why, in one printable line with the path.
    blank: whether the image holds no ink at all.
    """

    name: str
    image: np.ndarray | None
    error: str | None = None
    blank: bool = False


def read_inputs(
    paths: Iterable[str | os.PathLike[str]], preprocess: str = "auto", polarity: str = "auto"
) -> Iterator[Input]:
    """Read everything under the paths, in order, an `Input` an image.

    paths: files and folders, as for `list_files`. What cannot be read, a folder without images, and a path that
    does not exist give an `Input` with its error. Of a picture with several frames the first is read.
    preprocess, polarity: as in `preprocess.preprocess`; ConfigError for unknown ones, at once.
    """
    check_choices(preprocess, polarity)
    return _inputs(list_files(paths), preprocess, polarity)


def list_files(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Put the files in place of their folders, each file once.

    Folders are searched with their subfolders, in the order of the names, files before subfolders; hidden names,
    files of unknown suffix and IDX files of labels (`*-idx1-ubyte`) are left out, links to folders are followed
    but never in circles. Paths that are no folder are kept, whether they exist or not, and so are folders that
    hold no images or cannot be read: `read_inputs` has an error for each.
    """
    files_by_path: dict[str, Path] = {}
    for path in map(Path, paths):
        for file in _search(path) if _is_folder(path) else [path]:
            files_by_path.setdefault(os.path.normpath(file.absolute()), file)
    return list(files_by_path.values())


def count_inputs(files: Iterable[Path]) -> int:
    """Count the rows that `read_inputs` will yield for files from `list_files`, by their headers alone.

    An array that turns out to be truncated yields fewer.
    """
    counters = {"npy": count_npy, "npz": count_npz, "idx": count_idx}
    total = 0
    for file in files:
        try:
            kind = _kind(file)
            total += counters[kind](file) if kind in counters else 1
        except ImageError:
            total += 1
    return total


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a picture file, (H, W): uint8, or uint16 for 16 bit, or float32 in [0, 1].

    The first frame, upright by its EXIF orientation. Colour becomes luma. A transparent picture is laid on white,
    or on black if it would vanish on white. 16 bit levels are kept: 65535 is white, also where a file uses only
    part of the range (12 bit data in 16 bits; `preprocess` sets full ink to 255 all the same). 32 bit levels in
    [0, 65535] are taken as 16 bit, floats in [0, 1] as they are, any others are stretched from least to greatest.
    Raises ImageError, one line with the path, for what is no image, is broken, has no pixels, or more pixels
    than `anomalae.images.pictures.MAX_PIXELS`; that is known from the header, before memory is taken.
    """
    with _named(path):
        _kind(Path(path))
        return decode(Path(path))


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an IDX file, gzipped or not, whole: one to four dimensions, of any of the format's types.

    Raises ImageError, one line with the path, for what is no IDX file, and for one whose header does not agree
    with its size or, if gzipped, declares more than `arrays.LIMIT` bytes.
    """
    with _named(path):
        _kind(Path(path))
        return read_idx_array(Path(path))


@contextlib.contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Put the path before what an ImageError says."""
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{printable(path)}: {error}") from None


def _inputs(files: list[Path], mode: str, polarity: str) -> Iterator[Input]:
    for file in files:
        for row, content in _contents(file):
            name = f"{file}{row}"
            try:
                if isinstance(content, ImageError):
                    raise content
                image = to_canonical(content, mode, polarity)
            except ImageError as error:
                yield Input(name, None, f"{printable(name)}: {error}")
            else:
                yield Input(name, image, blank=not image.any())


def _contents(file: Path) -> Iterator[tuple[str, np.ndarray | ImageError]]:
    """Yield what a file holds, each image with what its name adds to the path."""
    try:
        kind = _kind(file)
        if kind == "picture":
            yield "", decode(file)
            return
    except ImageError as error:
        yield "", error
        return
    yield from {"npy": read_npy, "npz": read_npz, "idx": read_idx_rows}[kind](file)


def _kind(file: Path) -> str:
    """Return `npy`, `npz`, `idx` or `picture`: by the first bytes, and by the name where they say nothing."""
    try:
        mode = file.stat().st_mode
        if stat.S_ISDIR(mode):
            next(file.iterdir(), None)
            raise ImageError("no images in this folder")
        if not stat.S_ISREG(mode):
            raise ImageError("not a regular file")
        with file.open("rb") as stream:
            start = stream.read(6)
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(printable(getattr(error, "strerror", None) or str(error))) from None
    if not start:
        raise ImageError("the file is empty")
    if start == b"\x93NUMPY" or file.suffix.lower() == ".npy":
        return "npy"
    if start[:2] == b"PK" or file.suffix.lower() == ".npz":
        return "npz"
    return "idx" if is_gzip(start) or is_idx(start) or is_idx_name(file.name) else "picture"


def _is_wanted(name: str) -> bool:
    """Tell whether a file in a folder is read: a matter of its name alone, so that a folder of others costs nothing."""
    if name.startswith("."):
        return False
    if is_idx_name(name):
        return "idx1-" not in name
    return Path(name).suffix.lower() in IMAGE_SUFFIXES | ARRAY_SUFFIXES


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _search(folder: Path) -> list[Path]:
    """Return the files to read under a folder, and the folders that cannot be read; itself if there are none."""
    to_read: list[Path] = []
    seen = {_identity(folder)}
    walk = os.walk(folder, followlinks=True, onerror=lambda error: to_read.append(Path(error.filename)))
    for root, folders, files in walk:
        to_read += [Path(root, name) for name in sorted(files) if _is_wanted(name)]
        entered = []
        for name in sorted(folders):
            identity = _identity(Path(root, name))
            if not name.startswith(".") and identity not in seen:
                seen.add(identity)
                entered.append(name)
        folders[:] = entered
    return to_read or [folder]


def _identity(folder: Path) -> tuple[int, int] | Path:
    """Return what tells a folder from all others, by whatever path it is reached."""
    try:
        status = folder.stat()
    except OSError:
        return folder
    return status.st_dev, status.st_ino
