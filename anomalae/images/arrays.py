"""Arrays in files, a row an image: `.npy` and `.npz`, read row by row.

What a header declares is compared with the file's size, or with a limit where the data are compressed,
before anything is read; nothing is unpickled. Errors raised here do not name the path.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from anomalae.errors import ImageError
from anomalae.images.check import PIXELS, SIDE
from anomalae.images.pictures import check_extent, reasons
from anomalae.text import printable

# Bytes that a compressed file may hold when unpacked.
LIMIT = 2**30
# Beyond so many, it holds at most this many times its own size, and has at least so many bytes an image. Zeros give
# 1,030 times and a byte; of digits, those with pure strokes, enlarged, gave 490 times at most and 32 bytes.
LEAST_CHECKED, MOST_TIMES, LEAST_BYTES = 2**24, 800, 8
# Most arrays of an archive, and bytes of its list of them, which is read before they are counted.
MOST_ARRAYS, MOST_LISTING = 10_000, 2**22
# Most images of a file; and most of fewer pixels than the smallest digits that there are.
MOST_IMAGES, MOST_TINY, TINY = 10_000_000, 10_000, 64
# Most bytes of a header; NumPy's own limit.
NPY_HEADER = 10_000
CHUNK = 2**20


class Stream(Protocol):
    """A file open for reading, or a part of an archive being unpacked."""

    def read(self, size: int, /) -> bytes: ...


S = TypeVar("S", bound=Stream)


@dataclass(frozen=True)
class Header:
    """A header is what a file says that it holds."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool = False

    @property
    def size(self) -> int:
        """The bytes of the data; a Python int, which does not overflow."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Layout:
    """A layout says how an array's shape is read as images.

    single: whether the array is one image rather than a row of them.
    """

    count: int
    height: int
    width: int
    single: bool

    @classmethod
    def of(cls, header: Header) -> Layout:
        """Return the layout of an array; ImageError where it holds no images."""
        shape = header.shape
        if header.dtype.hasobject:
            raise ImageError("holds Python objects, which are not read")
        if header.dtype != np.uint8 and header.dtype.kind != "f":
            raise ImageError(f"type {header.dtype}, expected uint8 or float in [0, 1]")
        if len(shape) == 2 and shape[1] == PIXELS:
            layout = cls(shape[0], SIDE, SIDE, False)
        elif len(shape) == 2:
            layout = cls(1, *shape, True)
        elif len(shape) == 3 or (len(shape) == 4 and shape[1] == 1):
            layout = cls(shape[0], *shape[-2:], False)
        else:
            expected = f"(N, H, W), (N, 1, H, W), (N, {PIXELS}) or (H, W)"
            hint = "labels rather than images: " if len(shape) == 1 else ""
            raise ImageError(f"{hint}shape {shape}, expected {expected}")
        if 0 in shape:
            raise ImageError(f"no images: shape {shape}")
        check_extent(layout.width, layout.height)
        return layout

    def check_count(self) -> None:
        """Raise ImageError for more images than a file may hold."""
        most = MOST_TINY if self.height * self.width < TINY else MOST_IMAGES
        if self.count > most:
            size = f" of {self.width} x {self.height} pixels" if most == MOST_TINY else ""
            raise ImageError(f"{self.count:,} images{size}, the limit is {most:,}")


# A row is what follows the path in its name, and its pixels or why there are none.
Row = tuple[str, "np.ndarray | ImageError"]


def read_npy(path: Path) -> Iterator[Row]:
    """Read each image of a `.npy` file."""
    return read_rows(
        lambda: path.open("rb"), lambda stream: _checked_header(stream, path.stat().st_size), name=""
    )


def read_npz(path: Path) -> Iterator[Row]:
    """Read each image of each array of a `.npz` file; labels, whole numbers (N,) beside other arrays, are skipped."""
    with contextlib.ExitStack() as stack:
        try:
            with reasons():
                archive = stack.enter_context(open_archive(path))
                members = _members(archive, path.stat().st_size)
        except ImageError as error:
            yield "", error
            return
        for member in members:
            yield from read_rows(
                functools.partial(archive.open, member),
                functools.partial(_checked_header, size=member.file_size),
                name=":" + member.filename.removesuffix(".npy"),
            )


def count_npy(path: Path) -> int:
    """Count the images that the header of a `.npy` file declares. ImageError for a broken one."""
    with reasons(), path.open("rb") as stream:
        return _checked_header(stream, path.stat().st_size)[1].count


def count_npz(path: Path) -> int:
    """Count the images that the headers in a `.npz` file declare, an array that is broken as one."""
    total = 0
    with reasons(), open_archive(path) as archive:
        for member in _members(archive, path.stat().st_size):
            count = 1
            with contextlib.suppress(ImageError), reasons(), archive.open(member) as stream:
                count = _checked_header(stream, member.file_size)[1].count
            total += count
    return total


def npy_header(stream: Stream) -> tuple[Header, int]:
    """Read the header of a `.npy` file; also its length in bytes.

    NumPy's reader takes in as many bytes as a header says that it is long, up to 4 GiB, before it looks at
    them; so they are counted here first.
    """
    start = stream.read(8)
    if start[:6] != b"\x93NUMPY" or len(start) < 8:
        raise ImageError("not a .npy file")
    version = (start[6], start[7])
    if version not in ((1, 0), (2, 0)):
        raise ImageError(f"version {start[6]}.{start[7]} of the .npy format, expected 1.0 or 2.0")
    form = "<H" if version == (1, 0) else "<I"
    prefix = stream.read(struct.calcsize(form))
    (length,) = struct.unpack(form, prefix)
    if length > NPY_HEADER:
        raise ImageError(f"the .npy header declares {length:,} bytes, the limit is {NPY_HEADER:,}")
    parse = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = parse(io.BytesIO(prefix + stream.read(length)))
    except MemoryError:
        raise
    except Exception as error:
        # NumPy has Python parse it, whose errors have words of their own before all else.
        why = next((part for part in error.args if isinstance(part, str)), type(error).__name__)
        raise ImageError(f"broken .npy header: {printable(why)}") from None
    if any(n < 0 for n in shape):
        raise ImageError(f"a negative length in shape {shape}")
    return Header(tuple(map(int, shape)), dtype, fortran), len(start) + len(prefix) + length


def _checked_header(stream: Stream, size: int) -> tuple[Header, Layout]:
    """Read the header of a `.npy` file of `size` bytes; ImageError unless the two agree and it holds images."""
    header, start = npy_header(stream)
    layout = Layout.of(header)
    check_size(header.size, size - start)
    layout.check_count()
    return header, layout


def check_limit(size: int) -> None:
    if size > LIMIT:
        raise ImageError(f"declares {size:,} bytes unpacked, the limit is {LIMIT:,}")


def check_packed(unpacked: int, images: int, packed: int) -> None:
    """Raise ImageError for a file of `packed` bytes that unpacks to far more than images do, or to more than LIMIT."""
    check_limit(unpacked)
    if unpacked <= LEAST_CHECKED:
        return
    if unpacked > MOST_TIMES * packed:
        raise ImageError(
            f"declares {unpacked:,} bytes unpacked, {unpacked // max(1, packed):,} times its {packed:,}; "
            f"the limit is {MOST_TIMES}"
        )
    if packed < LEAST_BYTES * images:
        raise ImageError(
            f"declares {images:,} images in {packed:,} bytes; the least is {LEAST_BYTES} bytes an image"
        )


def check_size(declared: int, there: int) -> None:
    if there != declared:
        kind = "truncated" if there < declared else "corrupt"
        raise ImageError(f"{kind}: the header declares {declared:,} bytes of data, the file holds {there:,}")


def check_end(stream: Stream) -> None:
    """Raise ImageError if data follow; reaching the end also makes gzip and zip compare their checksums."""
    if stream.read(1):
        raise ImageError("corrupt: data follow after those that the header declares")


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a `.npz` file, of whose arrays there are not too many, and none packed in another way than NumPy does.

    Other ways than deflate give all that a block unpacks to at once, gigabytes of it.
    """
    with _Listed(path) as file, zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len(members) > MOST_ARRAYS:
            raise ImageError(f"holds {len(members):,} arrays, the limit is {MOST_ARRAYS:,}")
        for member in members:
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ImageError(
                    f"packed by method {member.compress_type}, expected deflate or not packed, as NumPy writes"
                )
        yield archive


class _Listed(io.FileIO):
    """A file that is never read by more at once than the list of an archive's arrays may have."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size > MOST_LISTING:
            raise ImageError(f"the archive's list of arrays is larger than {MOST_LISTING:,} bytes")
        return super().read(size)


def _members(archive: zipfile.ZipFile, packed: int) -> list[zipfile.ZipInfo]:
    """Return the arrays in a `.npz` file of `packed` bytes, but for labels beside others."""
    members = [member for member in archive.infolist() if not member.is_dir()]
    if not members:
        raise ImageError("holds no arrays")
    unpacked = sum(member.file_size for member in members)
    check_limit(unpacked)
    labels, images = set[int](), 0
    for place, member in enumerate(members):
        with contextlib.suppress(ImageError), reasons(), archive.open(member) as stream:
            header = npy_header(stream)[0]
            if len(header.shape) <= 1 and header.dtype.kind in "iu":
                labels.add(place)
            images += Layout.of(header).count
    check_packed(unpacked, images, packed)
    return [member for place, member in enumerate(members) if place not in labels] or members


def read_rows(
    open_stream: Callable[[], contextlib.AbstractContextManager[S]],
    read_header: Callable[[S], tuple[Header, Layout]],
    name: str,
) -> Iterator[Row]:
    """Open an array and read each row of it; one error where it cannot be opened, or its header is broken."""
    with contextlib.ExitStack() as stack:
        try:
            with reasons():
                stream = stack.enter_context(open_stream())
                header, layout = read_header(stream)
        except ImageError as error:
            yield name, error
            return
        yield from _rows(stream, header, layout, name)


def _rows(stream: Stream, header: Header, layout: Layout, name: str) -> Iterator[Row]:
    """Read each row (H, W), uint8 or float; where the stream breaks, one error for all that is missing."""
    size = header.size // layout.count
    whole: np.ndarray | None = None
    for index in range(layout.count):
        label = name if layout.single else f"{name}[{index}]"
        try:
            with reasons():
                if header.fortran and whole is None:
                    whole = _whole(stream, header)
                if whole is None:
                    row = np.frombuffer(take(stream, size), header.dtype)
                else:
                    row = whole if layout.single else whole[index]
        except ImageError as error:
            yield label, ImageError(f"{error}; nothing is read from here on")
            return
        row = row.reshape(layout.height, layout.width)
        yield label, row.astype(header.dtype.newbyteorder("="), copy=False)
    try:
        with reasons():
            check_end(stream)
    except ImageError as error:
        yield name, error


def _whole(stream: Stream, header: Header) -> np.ndarray:
    """Read an array in Fortran's order, whose rows are spread over all of the file."""
    check_limit(header.size)
    return np.frombuffer(take(stream, header.size), header.dtype).reshape(header.shape, order="F")


def take(stream: Stream, size: int) -> bytearray:
    """Read exactly so many bytes; memory grows with what is there, not with what is promised."""
    data = bytearray()
    while len(data) < size:
        part = stream.read(min(CHUNK, size - len(data)))
        if not part:
            raise ImageError(f"truncated: {len(data):,} of {size:,} bytes")
        data += part
    return data
