"""IDX files, the format of MNIST: two zero bytes, a type, the number of dimensions, each of them, the data.

(Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".) Numbers are big-endian; files are
often gzipped. Errors raised here do not name the path.
"""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from anomalae.errors import ImageError
from anomalae.images.arrays import Header, Layout, Row, check_end, check_packed, check_size, read_rows, take
from anomalae.images.pictures import reasons

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
# Most dimensions of an array.
DIMENSIONS = 4


def read_idx_rows(path: Path) -> Iterator[Row]:
    """Read each image of an IDX file, gzipped or not."""
    return read_rows(lambda: _open(path), lambda stream: _read_layout(path, stream), name="")


def read_idx_array(path: Path) -> np.ndarray:
    """Read all of an IDX file, of any type and one to four dimensions, in the machine's byte order."""
    with reasons(), _open(path) as stream:
        header = _checked_header(path, stream)
        data = take(stream, header.size)
        check_end(stream)
        array = np.frombuffer(data, header.dtype).reshape(header.shape)
        return array.astype(header.dtype.newbyteorder("="), copy=False)


def count_idx(path: Path) -> int:
    """Count the images that the header of an IDX file declares. ImageError for a broken one."""
    with reasons(), _open(path) as stream:
        return _read_layout(path, stream)[1].count


def is_idx(start: bytes) -> bool:
    """Tell whether a file that starts with these bytes is an IDX file, not gzipped."""
    known = len(start) >= 4 and start[:2] == b"\0\0" and start[2] in TYPES
    return known and 1 <= start[3] <= DIMENSIONS


def is_gzip(start: bytes) -> bool:
    """Tell whether a file that starts with these bytes is gzipped."""
    return start[:2] == b"\x1f\x8b"


def is_idx_name(name: str) -> bool:
    """Tell whether files of this name are IDX files by custom."""
    return name.lower().removesuffix(".gz").endswith(("-ubyte", ".idx"))


def _open(path: Path) -> io.BufferedIOBase:
    with path.open("rb") as stream:
        packed = is_gzip(stream.read(2))
    return gzip.open(path) if packed else path.open("rb")


def _read_layout(path: Path, stream: io.BufferedIOBase) -> tuple[Header, Layout]:
    header = _checked_header(path, stream)
    layout = Layout.of(header)
    layout.check_count()
    return header, layout


def _checked_header(path: Path, stream: io.BufferedIOBase) -> Header:
    """Read the header; ImageError unless what it declares agrees with the file's size or, packed, the limit."""
    start = stream.read(4)
    if not is_idx(start):
        raise ImageError(f"not an IDX file: it starts with {start.hex(' ') or 'nothing'}")
    dimensions = stream.read(4 * start[3])
    if len(dimensions) < 4 * start[3]:
        raise ImageError("truncated in the IDX header")
    header = Header(struct.unpack(f">{start[3]}I", dimensions), np.dtype(TYPES[start[2]]))
    if isinstance(stream, gzip.GzipFile):
        images = header.shape[0] if len(header.shape) > 1 else 0
        check_packed(header.size, images, path.stat().st_size)
    else:
        check_size(header.size, path.stat().st_size - len(start) - len(dimensions))
    return header
