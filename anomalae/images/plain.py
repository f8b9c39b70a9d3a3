"""Small grey PNG files without anything special, as most folders of digits hold, read by a short way of their own.

Whatever is not plain is left to the general way, which also says what is wrong with a broken file.
"""

from __future__ import annotations

import io
import os
import stat

import numpy as np
from PIL import Image

# Most pixels a side, and bytes, of a small file.
MOST_SIDE, MOST_BYTES = 256, 2**18
# A PNG file begins so; then come its sides, four bytes each, and what follows of a grey one with 8 bits a pixel.
_START, _GREY = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\x08\x00\x00\x00\x00"
# Chunks that may change how it is shown: frames, orientation, transparent levels.
_SPECIAL = (b"acTL", b"eXIf", b"tRNS", b"tEXt", b"zTXt", b"iTXt")
# So that a pipe is not waited for.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def read_plain(path: str | os.PathLike[str]) -> np.ndarray | None:
    """Read a small grey PNG file, uint8 (H, W), read-only; None for any other file, and for one that is broken."""
    try:
        descriptor = os.open(path, _FLAGS)
    except (OSError, ValueError):
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_BYTES:
            return None
        data = os.read(descriptor, status.st_size)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    if data[:16] != _START or data[24:29] != _GREY or any(name in data for name in _SPECIAL):
        return None
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if not (0 < width <= MOST_SIDE and 0 < height <= MOST_SIDE):
        return None
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            return np.frombuffer(image.tobytes(), np.uint8).reshape(height, width)
    except Exception:
        # Decoders raise nearly anything.
        return None
