"""Files: named arrays, JSON, CSV and pictures, written atomically, read strictly. Knows no model, never pickles."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from anomalae.errors import BundleError

if TYPE_CHECKING:
    import numpy as np


# Of a file's name: 255 is what file systems take, and a hidden file beside it has a longer one while it is written.
MOST_BYTES = 200
# What Windows refuses in names, which has the most such characters.
_REFUSED = re.compile(r'[<>:"/\\|?*]')


def cut_to_bytes(text: str, most: int) -> str:
    """Return the beginning of a text that takes at most so many bytes in UTF-8, no character broken."""
    return text.encode()[:most].decode(errors="ignore")


def file_name(text: str) -> str:
    """Return a text as part of a file's name, as it is but for what some file system refuses.

    text: a name from anywhere; bytes that are no text, control characters and the like become `_`.

    Returns at most MOST_BYTES bytes, without a dot or a space at either end; `_` where nothing is left.

    >>> file_name("三 and é.png"), file_name("a/b:c?"), file_name("..")
    ('三 and é.png', 'a_b_c_', '_')
    """
    printed = "".join(character if character.isprintable() else "_" for character in text)
    name = _REFUSED.sub("_", printed).strip(" .")
    return cut_to_bytes(name, MOST_BYTES).rstrip(" .") or "_"


@contextlib.contextmanager
def part_file(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a hidden `.part` file beside `path`; it takes the place of `path` on success and is removed on failure.

    A link is followed, and a pipe or a device, which has nothing to be replaced, is written into.

    path: file that appears whole or not at all; what stood there is untouched until then.
    durable: wait until the disk has it, against a loss of power; a killed process loses nothing either way.

    Raises OSError when the disk is full or the folder not writable.
    """
    path = path.resolve() if path.is_symlink() else path
    if path.exists() and not path.is_file() and not path.is_dir():
        with path.open("wb") as file:
            yield file
        return
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` as `part_file` does.

    Raises BundleError, naming `path`, when the disk is full or the folder not writable.
    """
    try:
        with part_file(path, durable=durable) as file:
            yield file
    except BrokenPipeError:
        # Whoever reads the pipe has seen enough.
        raise
    except OSError as error:
        raise BundleError(f"{path}: cannot be written: {error.strerror or error}") from None


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a whole file atomically."""
    with replacing(path, durable=durable) as file:
        file.write(content)


def png_bytes(pixels: np.ndarray, *, optimize: bool = False) -> bytes:
    """Return uint8 pixels, gray (H, W) or RGB (H, W, 3), as a PNG file; `optimize` makes it smaller, in more time."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG", optimize=optimize)
    return content.getvalue()


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write uint8 pixels, gray (H, W) or RGB (H, W, 3), as a PNG file, atomically."""
    write_bytes(path, png_bytes(pixels))


def write_npy(path: Path, array: np.ndarray) -> None:
    """Write an array as an NPY file, atomically, never pickled."""
    import numpy as np

    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    write_bytes(path, content.getvalue())


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, for people to read too; NaN and infinity are refused with ValueError."""
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


class CsvText(list[str]):
    """CSV in memory, lines ended by LF. Cells that hold CR are quoted too, as csv does for CR LF lines only."""

    def __init__(self) -> None:
        super().__init__()
        writer = csv.writer(self)
        self.writerow, self.writerows = writer.writerow, writer.writerows

    def write(self, line: str) -> int:
        """Take a line of the writer, which ends it by CR LF."""
        self.append(line.removesuffix("\r\n") + "\n")
        return len(line)

    def text(self) -> str:
        """Return all lines."""
        return "".join(self)


def write_jsonl(path: Path, rows: list[dict[str, Any]], *, durable: bool = True) -> None:
    """Write one JSON object a line, atomically."""
    text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    write_bytes(path, text.encode(), durable=durable)


def write_arrays(
    path: Path,
    arrays: dict[str, np.ndarray],
    metadata: dict[str, Any] | None = None,
    *,
    durable: bool = True,
) -> None:
    """Write named arrays as safetensors, atomically, with a JSON-able dict beside them."""
    import numpy as np
    from safetensors.numpy import save

    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    content = save(contiguous, {"json": json.dumps(metadata or {}, allow_nan=False)})
    write_bytes(path, content, durable=durable)


def read_json(path: Path) -> Any:
    """Read a JSON file; BundleError when it is missing or not JSON."""
    try:
        return json.loads(_read(path))
    except ValueError as error:
        raise BundleError(f"{path}: not valid JSON: {_first_line(error)}") from None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read one JSON object a line; BundleError when the file is missing or a line is not JSON."""
    try:
        return [json.loads(line) for line in _read(path).splitlines()]
    except ValueError as error:
        raise BundleError(f"{path}: not valid JSON lines: {_first_line(error)}") from None


def read_arrays(
    path: Path, shapes: dict[str, tuple[int, ...]] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read `(arrays, metadata)` of a safetensors file.

    path: of the file.
    shapes: of the arrays by name, which must be exactly these; None takes any.

    Raises BundleError, naming the file, the array and what was expected, where that fails or a value is not finite.
    """
    import numpy as np
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise BundleError(f"{path}: no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            if shapes is not None:
                _check_names(path, names, {n: tuple(file.get_slice(n).get_shape()) for n in names}, shapes)
            arrays = {name: file.get_tensor(name) for name in names}
            metadata = json.loads((file.metadata() or {}).get("json", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise BundleError(f"{path}: not a readable safetensors file: {_first_line(error)}") from None
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = int(np.size(array) - np.isfinite(array).sum())
            raise BundleError(f"{path}: {name!r} holds {bad} values that are not finite numbers")
    return arrays, metadata


def names(path: Path) -> set[str]:
    """Return the names of the arrays in a safetensors file; none where it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return set(file.keys())
    except (SafetensorError, OSError):
        return set()


def _check_names(
    path: Path, names: list[str], found_shapes: dict[str, tuple[int, ...]], shapes: dict[str, tuple[int, ...]]
) -> None:
    for name in sorted(set(shapes) - set(names)):
        raise BundleError(f"{path}: array {name!r} is missing")
    for name in sorted(set(names) - set(shapes)):
        raise BundleError(f"{path}: unknown array {name!r}")
    for name, shape in shapes.items():
        if found_shapes[name] != tuple(shape):
            raise BundleError(
                f"{path}: {name!r} has shape {list(found_shapes[name])}, expected {list(shape)}"
            )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BundleError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: cannot be read: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def umask() -> int:
    """Return the process' mask of permissions for new files."""
    # It can only be read by setting it.
    mask = os.umask(0)
    os.umask(mask)
    return mask
