"""What `score` and `calibrate` read, and how: paths as they are typed, a list of them, or a file itself."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from anomalae.cli import console
from anomalae.errors import ImageError
from anomalae.text import count

if TYPE_CHECKING:
    from anomalae.detectors.export.engine import Prepared
    from anomalae.images.inputs import Input, Reading
    from anomalae.runs.calibrations import OwnCalibration
    from anomalae.runs.record import Data

# The first bytes of standard input, by which an image is told from a list of paths; most bytes of an image.
START, MOST = 2**16, 2**30
# Images that are scored together, and seconds after which fewer are.
TOGETHER, PATIENCE = 1024, 1.0
# Most bytes, and lines, of a list of paths; most bytes of one line.
MOST_LISTED, MOST_LINES, LONGEST = 2**26, 10**6, 2**15


@dataclass
class Sources:
    """Sources are what is to be read.

    paths: files and folders, as they were typed or listed.
    names: what stands for a path that nobody typed: `-` for what came on standard input.
    """

    paths: list[Path] = field(default_factory=list)
    names: dict[Path, str] = field(default_factory=dict)


def take_sources(words: tuple[str, ...], stack: contextlib.ExitStack) -> Sources:
    """Return the paths as they were typed; `-` stands for standard input.

    stack: keeps the file that an image on standard input is put into.
    """
    sources = Sources()
    for path in words:
        if path == "-" and "-" not in sources.names.values():
            _take_standard_input(sources, stack)
        elif path and path != "-":
            sources.paths.append(Path(path))
        elif not path:
            raise click.UsageError("a path is empty")
    if not sources.paths:
        raise click.UsageError("standard input holds no paths")
    return sources


def _take_standard_input(sources: Sources, stack: contextlib.ExitStack) -> None:
    """Add what comes on standard input: the file itself where it is of images, else the paths that it lists."""
    from anomalae.images.inputs import is_image_data

    # Python has no standard input where the shell closed it, as in `<&-`.
    if sys.stdin is None:
        raise click.UsageError("standard input is closed")
    stream = sys.stdin.buffer
    start = stream.read(START)
    if is_image_data(start):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = folder / "image"
        with path.open("wb") as file:
            file.write(start)
            shutil.copyfileobj(_Bounded(stream, MOST - len(start)), file)
        sources.paths.append(path)
        sources.names[path] = "-"
        return
    # The list is known to be within its bounds before a path is made, which takes far more memory than its line.
    sources.paths += map(Path, list(_listed(start, stream)))


def _listed(start: bytes, stream: BinaryIO) -> Iterator[str]:
    """Yield the paths of a list, a line each, where its first bytes were read already."""
    *lines, cut = start.split(b"\n")
    rest = iter(lambda: stream.readline(LONGEST + 1), b"")
    size = 0
    for number, line in enumerate(itertools.chain(lines, [cut + next(rest, b"")], rest), 1):
        line = line.removesuffix(b"\n")
        size += len(line) + 1
        if b"\0" in line or len(line) > LONGEST:
            problem = "holds a null byte" if b"\0" in line else f"is longer than {count(LONGEST)} bytes"
            raise click.UsageError(
                "standard input is neither an image of a known kind nor a list of paths, a line each: "
                f"line {count(number)} {problem}"
            )
        if size > MOST_LISTED or number > MOST_LINES:
            limit = f"{count(MOST_LISTED)} bytes" if size > MOST_LISTED else f"{count(MOST_LINES)} lines"
            raise click.UsageError(f"the list on standard input is longer than {limit}")
        if line:
            yield line.decode(sys.getfilesystemencoding(), "surrogateescape")


class _Bounded:
    """A stream that gives at most so many bytes, and is a usage error beyond."""

    def __init__(self, stream: BinaryIO, left: int) -> None:
        self.stream, self.left = stream, left

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(self.left + 1 if size < 0 else min(size, self.left + 1))
        self.left -= len(data)
        if self.left < 0:
            raise click.UsageError(f"standard input is larger than {count(MOST)} bytes")
        return data


def with_flag(entry: Input) -> Input:
    """Name a setting that an error speaks of by its flag."""
    if entry.error is None or entry.setting is None:
        return entry
    return replace(entry, error=console.said(ImageError(entry.error, setting=entry.setting)))


def gathered(groups: Iterator[list[Input]]) -> Iterator[list[Input]]:
    """Put small groups together: as many as are scored fast, or what has come within a second."""
    together: list[Input] = []
    begun = time.monotonic()
    for group in groups:
        together += group
        if len(together) >= TOGETHER or time.monotonic() - begun > PATIENCE:
            yield together
            together, begun = [], time.monotonic()
    if together:
        yield together


def check_segment(options: dict[str, Any]) -> None:
    """Refuse `--segment` with a `--preprocess` that it cannot have."""
    if options["segment"] and options["preprocess"] in ("none", "resize"):
        raise click.UsageError(
            f"--segment fits digits as --preprocess mnist does, not {options['preprocess']}"
        )


def reading(options: dict[str, Any], as_were: Data | OwnCalibration | Prepared) -> Reading:
    """Return how pictures are read.

    options: of the command, `--preprocess`, `--polarity`, `--segment` and `--quiet` among them.
    as_were: tells how other images were read, for what is not given.
    """
    from anomalae.images.inputs import Reading

    preprocess = options["preprocess"] or as_were.preprocess
    if options["segment"] and preprocess in ("none", "resize"):
        raise click.UsageError(
            f"--segment fits digits as --preprocess mnist does, and this run's pictures were read by "
            f"{preprocess}: give --preprocess mnist"
        )
    return Reading(
        preprocess,
        options["polarity"] or as_were.polarity,
        options["segment"],
        glance=not (options["segment"] or options["quiet"]),
    )
