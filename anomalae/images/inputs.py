"""Files of any kind to canonical images: pictures and their pages, arrays (`.npy`, `.npz`), IDX files, folders.

One broken file never stops the others: `read_inputs` yields a row for everything it was given, an image
or an error.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from anomalae.errors import ConfigError, ImageError
from anomalae.images.arrays import count_npy, count_npz, read_npy, read_npz
from anomalae.images.canonical import check_choices
from anomalae.images.check import SIDE
from anomalae.images.idx import count_idx, is_gzip, is_idx, is_idx_name, read_idx_array, read_idx_rows
from anomalae.images.lost import LostInkError, check_lost, shows_ink, to_canonical
from anomalae.images.pictures import FORMATS, PAGED, count_pages, decode, decode_pages, image_error
from anomalae.images.plain import read_plain
from anomalae.images.segment import Bounds, cut_digits, holds_several
from anomalae.text import count, listed, plural, printable

IMAGE_SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
ARRAY_SUFFIXES = frozenset({".npy", ".npz"})
READ_SUFFIXES = IMAGE_SUFFIXES | ARRAY_SUFFIXES
# Suffixes that are named where files of them are passed over.
SUFFIXES_SHOWN = 5
# First bytes of pictures, by format: PNG, JPEG, BMP (its reserved bytes are zero), TIFF, WebP, GIF, PNM with its size.
_PICTURE = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|BM.{4}\0\0\0\0|II[*+]\0|MM\0[*+]|RIFF.{4}WEBP|GIF8[79]a"
    rb"|P[1-6]\s(?:\s*#[^\n]*\n)*\s*\d+\s+(?:#[^\n]*\n\s*)*\d+\s",
    re.DOTALL,
)
_PAGED = re.compile(rb"II[*+]\0|MM\0[*+]|RIFF|GIF8")


@dataclass(frozen=True)
class Input:
    """An input is one image to be judged, or why there is none.

    name: the path as given, with the row of an array (`file.npy[17]`, `file.npz:name[3]`), the page of a picture of
    several (`file.tif[1]`) and the digit of a page that was cut into them (`page.jpg[3]`, `file.tif[1][3]`); it may
    hold anything that a file name may, so show `text.printable(name)`.
    image: uint8 (28, 28), light ink on black; None where `error` says why, in one printable line with the path.
    blank: whether the image holds no ink at all, and the picture none either.
    several: whether the picture plainly holds several digits, where that was asked.
    box: left, top, right, bottom of a digit in pixels of its page, which is upright; None for a whole picture.
    file, page: where a digit was cut from: the file, and what the page's name adds to it.
    lost: whether there is no image because the picture's ink was lost on the way.
    setting: that the error speaks of, for the command line to name its flag.
    score: of the image, where it was scored as it was read.
    """

    name: str
    image: np.ndarray | None
    error: str | None = None
    blank: bool = False
    several: bool = False
    box: Bounds | None = None
    file: Path | None = None
    page: str = ""
    lost: bool = False
    setting: str | None = None
    score: float | None = None


@dataclass(frozen=True)
class Reading:
    """A reading says how pictures are read.

    preprocess, polarity: as for `canonical.preprocess`.
    segment: whether each picture is a page that is cut into its digits; then preprocess is `auto` or `mnist`.
    glance: whether to look if a picture holds several digits.
    names: what stands for some of the paths in the names of the inputs.

    Raises ConfigError for choices that are unknown or do not go together.
    """

    preprocess: str = "auto"
    polarity: str = "auto"
    segment: bool = False
    glance: bool = False
    names: Mapping[Path, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_choices(self.preprocess, self.polarity)
        if self.segment and self.preprocess not in ("auto", "mnist"):
            raise ConfigError(
                f"segment: digits are cut out and fitted as preprocess mnist does, not {self.preprocess}"
            )


def read_inputs(
    paths: Iterable[str | os.PathLike[str]],
    preprocess: str = "auto",
    polarity: str = "auto",
    *,
    segment: bool = False,
    glance: bool = False,
    names: Mapping[Path, str] | None = None,
) -> Iterator[Input]:
    """Read everything under the paths, in order, an `Input` an image, a page or, with `segment`, a digit.

    paths: files and folders, as for `list_files`. What cannot be read, a folder without images, and a path that
    does not exist give an `Input` with its error, and so do a page without digits that is to be cut into them and a
    picture that shows ink but becomes blank.
    preprocess, polarity: as in `preprocess.preprocess`; ConfigError for unknown ones, at once.
    segment: whether each picture is a page that is cut into its digits; ConfigError with preprocess none or resize.
    glance: whether to look if a picture holds several digits, which takes about as long as reading it.
    names: what stands for some of the paths in the names of the inputs.
    """
    how = Reading(preprocess, polarity, segment, glance, names or {})
    return _inputs(list_files(paths), how)


def read_pages(inputs: Sequence[Input]) -> Iterator[tuple[list[int], np.ndarray]]:
    """Read again the pages that digits were cut from.

    inputs: as `read_inputs` gave them; those that are no part of a page are passed over.

    Yields the places of a page's digits among the inputs, and its pixels as `read_image` returns them. A page that is
    gone by now is left out.
    """
    places: dict[Path, dict[str, list[int]]] = {}
    for place, entry in enumerate(inputs):
        if entry.file is not None and entry.box is not None:
            places.setdefault(entry.file, {}).setdefault(entry.page, []).append(place)
    for file, by_page in places.items():
        for label, content in _contents(file):
            if label in by_page and not isinstance(content, ImageError):
                yield by_page.pop(label), content
            if not by_page:
                break


def list_files(
    paths: Iterable[str | os.PathLike[str]], passed_over: Counter[str] | None = None
) -> list[Path]:
    """Return the files that `iter_files` gives, as a list."""
    return list(iter_files(paths, passed_over))


def iter_files(
    paths: Iterable[str | os.PathLike[str]],
    passed_over: Counter[str] | None = None,
    holds: Callable[[str], bool] | None = None,
) -> Iterator[Path]:
    """Put the files in place of their folders, each file once, a folder after another.

    Folders are searched with their subfolders, in the order of the names, files before subfolders; hidden names,
    files of unknown suffix and IDX files of labels (`*-idx1-ubyte`) are left out, links to folders are followed
    but never in circles. Paths that are no folder are kept, whether they exist or not, and so are folders that
    hold no images or cannot be read: `read_inputs` has an error for each.

    passed_over: takes the number of files that are left out for their suffix, by suffix; hidden ones are not counted.
    holds: told the path of each file relative to the folder that was named, with `/` between; False leaves it out.
    """
    passed_over = Counter() if passed_over is None else passed_over
    roots = list(map(Path, paths))
    # Below one root nothing is met twice.
    seen: set[str] | None = set() if len(roots) > 1 else None
    for path in roots:
        for file in _search(path, passed_over) if _is_folder(path) else [path]:
            if seen is not None:
                whole = os.path.normpath(file.absolute())
                if whole in seen:
                    continue
                seen.add(whole)
            if holds is None or holds(file.as_posix() if file == path else file.relative_to(path).as_posix()):
                yield file


def passed_over_line(passed_over: Counter[str]) -> str:
    """Return one line about files that were left out for their suffix, the most common first; empty for none.

    >>> passed_over_line(Counter({".txt": 2, ".pdf": 1}))
    '3 files passed over for their ending: .txt 2, .pdf 1'
    """
    if not passed_over:
        return ""
    ordered = sorted(passed_over.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{suffix} {count(n)}" for suffix, n in ordered[:SUFFIXES_SHOWN]]
    if len(ordered) > SUFFIXES_SHOWN:
        shown.append(f"others {count(sum(n for _, n in ordered[SUFFIXES_SHOWN:]))}")
    n = passed_over.total()
    return f"{plural(n, 'file')} passed over for {'its' if n == 1 else 'their'} ending: {listed(shown)}"


def count_inputs(files: Iterable[Path]) -> int:
    """Count the rows that `read_inputs` will yield for files from `list_files`, by names and headers alone.

    An array that turns out to be truncated yields fewer, and one whose name does not tell what it is counts as one.
    """
    total = 0
    for file in files:
        total += 1
        name = file.name.lower()
        # To open every picture for its pages would take as long as reading it.
        if not (name.endswith((".npy", ".npz", *PAGED_SUFFIXES)) or is_idx_name(name)):
            continue
        with contextlib.suppress(ImageError):
            total += COUNTERS[_kind(file)](file) - 1
    return total


def is_image_data(start: bytes) -> bool:
    """Tell whether data that start with these bytes, a thousand or so, are a file of images of a kind that is read."""
    return (
        _PICTURE.match(start) is not None
        or start.startswith((b"\x93NUMPY", b"PK\x03\x04"))
        or is_gzip(start)
        or is_idx(start)
    )


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a picture file, (H, W): uint8, or uint16 for 16 bit, or float32 in [0, 1].

    The first page, upright by its EXIF orientation. Colour becomes luma. A transparent picture is laid on white,
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


def _inputs(files: list[Path], how: Reading) -> Iterator[Input]:
    for file in files:
        yield from read_file(file, str(how.names.get(file, file)), how)


def read_file(file: Path, name: str, how: Reading) -> Iterator[Input]:
    """Read all that a file holds, as `read_inputs` does; `name` stands for it in the names of its inputs.

    Whatever goes wrong, memory that is not there included, is the error of an input: nothing is raised.
    """
    contents = _contents(file)
    while True:
        try:
            row, content = next(contents, (None, None))
        except Exception as problem:
            row, content = "", image_error(problem)
        if row is None or content is None:
            return
        label = f"{name}{row}"
        try:
            if isinstance(content, ImageError):
                raise content
            made = (
                list(_digits(label, file, row, content, how))
                if how.segment
                else [prepared(label, content, how)]
            )
        except Exception as problem:
            yield _failed(label, problem)
        else:
            yield from made


def prepared(name: str, gray: np.ndarray, how: Reading) -> Input:
    """Bring a grey picture (H, W) to canonical form, as `read_inputs` does; what goes wrong is the input's error."""
    try:
        image = to_canonical(gray, how.preprocess, how.polarity)
        several = how.glance and _holds_several(gray, how)
    except Exception as problem:
        return _failed(name, problem)
    return Input(name, image, blank=not image.any(), several=several)


def _failed(name: str, problem: Exception) -> Input:
    error = image_error(problem, "cannot be brought to canonical form")
    lost = isinstance(error, LostInkError)
    return Input(name, None, f"{printable(name)}: {error}", lost=lost, setting=error.setting)


def _digits(name: str, file: Path, page: str, gray: np.ndarray, how: Reading) -> Iterator[Input]:
    """Cut a page into its digits; ImageError where there are none."""
    digits = cut_digits(gray, how.polarity)
    if not digits:
        check_lost(gray, "mnist", how.polarity, "no digits found on this page")
        raise ImageError("no digits found on this page")
    for number, digit in enumerate(digits):
        where = f"{name}[{number}]"
        left, top, right, bottom = digit.box
        blank = not digit.image.any()
        lost = blank and shows_ink(gray[top:bottom, left:right])
        error = f"{printable(where)}: it turned blank though it has ink" if lost else None
        image = None if lost else digit.image
        blank = blank and not lost
        yield Input(where, image, error, blank, box=digit.box, file=file, page=page, lost=lost)


def _holds_several(gray: np.ndarray, how: Reading) -> bool:
    fitted = how.preprocess == "mnist" or (how.preprocess == "auto" and gray.shape != (SIDE, SIDE))
    return fitted and holds_several(gray, how.polarity)


def _contents(file: Path) -> Iterator[tuple[str, np.ndarray | ImageError]]:
    """Yield what a file holds, each image with what its name adds to the path."""
    plain = read_plain(file)
    if plain is not None:
        yield "", plain
        return
    readers = {"npy": read_npy, "npz": read_npz, "idx": read_idx_rows, "picture": decode_pages}
    try:
        kind = _kind(file)
    except ImageError as error:
        yield "", error
        return
    yield from readers[kind](file)


def _count_pages(file: Path) -> int:
    """Count the pages of a picture; one for a file whose first bytes say that it cannot have more."""
    with file.open("rb") as stream:
        paged = _PAGED.match(stream.read(4))
    return max(1, count_pages(file)) if paged else 1


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


def is_input_name(name: str) -> bool:
    """Tell whether a file in a folder is read: a matter of its name alone, so that a folder of others costs nothing."""
    if name.startswith("."):
        return False
    before, dot, suffix = name.rpartition(".")
    if dot + suffix.lower() in READ_SUFFIXES and before:
        return True
    return is_idx_name(name) and "idx1-" not in name


def _is_ours(name: str) -> bool:
    """Tell whether a file is left out for another reason than its suffix: a hidden one, or labels."""
    return name.startswith(".") or is_idx_name(name)


def _ending(name: str) -> str:
    return printable(Path(name).suffix.lower()) or "no ending"


PAGED_SUFFIXES = tuple(suffix for name in PAGED for suffix in FORMATS[name])
COUNTERS = {"npy": count_npy, "npz": count_npz, "idx": count_idx, "picture": _count_pages}


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _search(folder: Path, passed_over: Counter[str]) -> Iterator[Path]:
    """Yield the files to read under a folder, and the folders that cannot be read; itself if there are none."""
    unread: list[Path] = []
    seen, nothing = {_identity(folder)}, True
    walk = os.walk(folder, followlinks=True, onerror=lambda error: unread.append(Path(error.filename)))
    for root, folders, files in walk:
        nothing = nothing and not unread
        while unread:
            yield unread.pop(0)
        wanted = sorted(filter(is_input_name, files))
        nothing = nothing and not wanted
        for name in wanted:
            yield Path(root, name)
        if len(wanted) < len(files):
            passed_over.update(_ending(name) for name in files if not (is_input_name(name) or _is_ours(name)))
        entered = []
        for name in sorted(folders):
            identity = _identity(Path(root, name))
            if not name.startswith(".") and identity not in seen:
                seen.add(identity)
                entered.append(name)
        folders[:] = entered
    yield from unread
    if nothing and not unread:
        yield folder


def _identity(folder: Path) -> tuple[int, int] | Path:
    """Return what tells a folder from all others, by whatever path it is reached."""
    try:
        status = folder.stat()
    except OSError:
        return folder
    return status.st_dev, status.st_ino
