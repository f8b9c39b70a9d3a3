"""Files: named arrays, JSON, CSV and pictures, written atomically, read strictly. Knows no model, never pickles."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import math
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from anomalae.errors import BundleError

if TYPE_CHECKING:
    import numpy as np


# Of a file's name: 255 is what file systems take, and a hidden file beside it has a longer one while it is written.
MOST_BYTES = 200
# Of JSON that is read: what 100,000 epochs of a history take. Read, it takes up to 25 times as much memory.
MOST_JSON = 16 * 2**20
# Of arrays: a network of thousands of units a layer takes a tenth of it, with what its training needs.
MOST_ARRAYS = 2**32
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


@contextlib.contextmanager
def replacing_all(paths: Iterable[Path]) -> Iterator[Callable[[Path, bytes], None]]:
    """Open files that take the places of all these paths one right after another, once the block has written them.

    paths: files that appear whole or not at all, none of them where anything fails before; what cannot be put there is
        known at once, before the block computes what they hold.

    Yields a function that writes the content of one of them.

    Raises BundleError as `replacing` does.
    """
    with contextlib.ExitStack() as stack:
        # What is written is on the disk before the first takes its place.
        opened = {path: stack.enter_context(replacing(path, durable=False)) for path in paths}

        def write(path: Path, content: bytes) -> None:
            try:
                opened[path].write(content)
                opened[path].flush()
                if stat.S_ISREG(os.fstat(opened[path].fileno()).st_mode):
                    os.fsync(opened[path].fileno())
            except BrokenPipeError:
                raise
            except OSError as error:
                raise BundleError(f"{path}: cannot be written: {error.strerror or error}") from None

        yield write


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
    write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """Return what `write_json` writes."""
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


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
    write_bytes(path, arrays_bytes(arrays, metadata), durable=durable)


def arrays_bytes(arrays: dict[str, np.ndarray], metadata: dict[str, Any] | None = None) -> bytes:
    """Return what `write_arrays` writes."""
    import numpy as np
    from safetensors.numpy import save

    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    content: bytes = save(contiguous, {"json": json.dumps(metadata or {}, allow_nan=False)})
    return content


def read_json(path: Path) -> Any:
    """Read a JSON file.

    path: of the file.

    Raises BundleError, naming it, where it is missing, no regular file, larger than MOST_JSON, or not JSON.
    """
    return _parsed(read_text(path), str(path))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read one JSON object a line.

    path: of the file.

    Raises BundleError as `read_json` does, naming the line.
    """
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        row = _parsed(line, f"{path}: line {number}")
        if not isinstance(row, dict):
            raise BundleError(f"{path}: line {number}: expected an object, got {type(row).__name__}")
        rows.append(row)
    return rows


def read_text(path: Path, most: int = MOST_JSON) -> str:
    """Read a text in UTF-8.

    path: of the file; a pipe is not waited for, and a device not read.
    most: bytes it may have.

    Raises BundleError, naming it, where it is missing, no regular file, larger, or no text.
    """
    try:
        with _opened(path) as file:
            size = os.fstat(file.fileno()).st_size
            # It may grow meanwhile.
            content = file.read(most + 1) if size <= most else b""
        if max(size, len(content)) > most:
            raise BundleError(f"{path}: {max(size, len(content)):,} bytes, the limit is {most:,}")
        return content.decode()
    except FileNotFoundError:
        raise BundleError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: cannot be read: {_first_line(error)}") from None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file to read; BundleError for a pipe, which is not waited for, a device and the like."""
    with open(path, "rb", opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise BundleError(f"{path}: is no regular file")
        yield file


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite)
    except RecursionError:
        raise BundleError(f"{where}: not valid JSON: nested too deeply") from None
    except ValueError as error:
        raise BundleError(f"{where}: not valid JSON: {_first_line(error)}") from None


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number} is no finite number")
    return value


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

    found, metadata = read_shapes(path)
    if shapes is not None:
        check_shapes(path, found, shapes)
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in found}
    # Of a type that NumPy does not have, a TypeError.
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise BundleError(f"{path}: not a readable safetensors file: {_first_line(error)}") from None
    except MemoryError:
        raise BundleError(f"{path}: needs more memory than there is") from None
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = int(np.size(array) - np.isfinite(array).sum())
            raise BundleError(f"{path}: {name!r} holds {bad} values that are not finite numbers")
    return arrays, metadata


def read_shapes(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    """Read `(shapes, metadata)` of a safetensors file, the shapes of its arrays by name, and none of the arrays.

    path: of the file.

    Raises BundleError, naming it, where it is missing, no regular file, larger than MOST_ARRAYS, or another file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with _opened(path) as file:
            size, length = os.fstat(file.fileno()).st_size, int.from_bytes(file.read(8), "little")
        if size > MOST_ARRAYS:
            raise BundleError(f"{path}: {size:,} bytes, the limit is {MOST_ARRAYS:,}")
        if length > MOST_JSON:
            raise ValueError(f"a header of {length:,} bytes, the limit is {MOST_JSON:,}")
        with safe_open(path, framework="numpy") as arrays:
            shapes = {name: tuple(arrays.get_slice(name).get_shape()) for name in arrays.keys()}  # noqa: SIM118
            metadata = _parsed((arrays.metadata() or {}).get("json", "{}"), str(path))
    except FileNotFoundError:
        raise BundleError(f"{path}: no such file") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise BundleError(f"{path}: not a readable safetensors file: {_first_line(error)}") from None
    if not isinstance(metadata, dict):
        raise BundleError(f"{path}: not a readable safetensors file: its metadata are no object")
    return shapes, metadata


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits.

    path: of the file.

    Raises BundleError, naming it, where it is missing, no regular file, larger than MOST_ARRAYS, or not to be read.
    """
    try:
        with _opened(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MOST_ARRAYS:
                raise BundleError(f"{path}: {size:,} bytes, the limit is {MOST_ARRAYS:,}")
            digest = hashlib.sha256()
            while part := file.read(2**20):
                digest.update(part)
        return digest.hexdigest()
    except FileNotFoundError:
        raise BundleError(f"{path}: no such file") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {_first_line(error)}") from None


def names(path: Path) -> set[str]:
    """Return the names of the arrays in a safetensors file; none where it cannot be read."""
    try:
        return set(read_shapes(path)[0])
    except BundleError:
        return set()


def check_shapes(path: Path, found: dict[str, tuple[int, ...]], shapes: dict[str, tuple[int, ...]]) -> None:
    """Raise BundleError unless a file holds these arrays and no others.

    path: of the file.
    found: shapes of its arrays by name.
    shapes: those that it should hold.
    """
    for name in sorted(set(shapes) - set(found)):
        raise BundleError(f"{path}: array {name!r} is missing")
    for name in sorted(set(found) - set(shapes)):
        raise BundleError(f"{path}: unknown array {name[:MOST_BYTES]!r}")
    for name, shape in shapes.items():
        if found[name] != tuple(shape):
            raise BundleError(f"{path}: {name!r} has shape {list(found[name])}, expected {list(shape)}")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def umask() -> int:
    """Return the process' mask of permissions for new files."""
    # It can only be read by setting it.
    mask = os.umask(0)
    os.umask(mask)
    return mask
