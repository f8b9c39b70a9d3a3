"""The official files of the data sets: whether they are there and whole, what proves it, how they get there.

Hashes decide, never names or sizes alone: MNIST, Fashion-MNIST and KMNIST call their files the same, and an
interrupted download looks like a file. Nothing is written in place; each file appears under its name only
when it is whole and its hash is right.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from anomalae.datasets.download import CHUNK, Progress, UnavailableError, download_file, reason
from anomalae.errors import DataError
from anomalae.files import part_file

# Name of the file with the SHA-256 of files unpacked from an archive that was not kept.
HASHES = "anomalae-hashes.json"


@dataclass(frozen=True)
class Official:
    """Official files: where the packed ones are, and their MD5 by file name.

    mirrors: addresses to which a file name is appended, in order of preference.
    """

    mirrors: tuple[str, ...]
    md5: dict[str, str]


@dataclass(frozen=True)
class Source:
    """The four IDX files of one data set, as torchvision lays them out below a root.

    folder: where the files lie, below the root.
    prefixes: of the file names of the train and the test part.
    counts: images in the two parts.
    md5: of the unpacked files by name, where they are published.
    archive: zip that packs all files; None where each has its own .gz.
    """

    folder: str
    prefixes: tuple[str, str]
    counts: tuple[int, int]
    md5: dict[str, str] = field(default_factory=dict)
    archive: str | None = None

    @property
    def sizes(self) -> dict[str, int]:
        """The bytes of each file by its name: train images, train labels, test images, test labels."""
        return {
            name: len(head) + rows * (784 if len(head) == 16 else 1) for name, (head, rows) in self._files()
        }

    @property
    def headers(self) -> dict[str, bytes]:
        """The first bytes of each file by its name: IDX magic number and shape."""
        return {name: head for name, (head, _) in self._files()}

    def _files(self) -> Iterator[tuple[str, tuple[bytes, int]]]:
        for prefix, rows in zip(self.prefixes, self.counts, strict=True):
            yield f"{prefix}-images-idx3-ubyte", (struct.pack(">IIII", 2051, rows, 28, 28), rows)
            yield f"{prefix}-labels-idx1-ubyte", (struct.pack(">II", 2049, rows), rows)


def _md5s(*hashes: str) -> dict[str, str]:
    return dict(zip(Source("", ("train", "t10k"), (0, 0)).sizes, hashes, strict=True))


SOURCES = {
    "mnist": Source(
        "MNIST/raw",
        ("train", "t10k"),
        (60_000, 10_000),
        _md5s(
            "6bbc9ace898e44ae57da46a324031adb",
            "a25bea736e30d166cdddb491f175f624",
            "2646ac647ad5339dbf082846283269ea",
            "27ae3e4e09519cfbb04c329615203637",
        ),
    ),
    "fashion-mnist": Source(
        "FashionMNIST/raw",
        ("train", "t10k"),
        (60_000, 10_000),
        _md5s(
            "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "9018921c3c673c538a1fc5bad174d6f9",
            "8181f5470baa50b63fa0f6fddb340f0a",
            "15d484375f8d13e6eb1aabb0c3f46965",
        ),
    ),
    "kmnist": Source("KMNIST/raw", ("train", "t10k"), (60_000, 10_000)),
    "emnist-digits": Source(
        "EMNIST/raw", ("emnist-digits-train", "emnist-digits-test"), (240_000, 40_000), archive="gzip.zip"
    ),
}


@dataclass(frozen=True)
class Survey:
    """A survey is the state of a data set's four files.

    missing: names of files that are not there.
    truncated: names of files that are too short: a write that was interrupted.
    wrong: message about the first file with another content than the official one.
    unproven: names of files of the right form, without a hash to compare with.
    """

    missing: tuple[str, ...] = ()
    truncated: tuple[str, ...] = ()
    wrong: str = ""
    unproven: tuple[str, ...] = ()

    @property
    def absent(self) -> tuple[str, ...]:
        """The names of files that must be unpacked or downloaded."""
        return self.missing + self.truncated


def survey(source: Source, root: Path, official: Callable[[], Official]) -> Survey:
    """Look at the four files below `root` and compare their hashes. Writes nothing.

    source: the data set.
    root: folder that holds those of data sets.
    official: says what the packed files are; only called where the answer depends on one.

    Raises DataError if a file cannot be read.
    """
    raw = root / source.folder
    missing, truncated, unproven, wrong = [], [], [], ""
    try:
        known = source.md5 or _proofs(source, raw, official)
        for name, size in source.sizes.items():
            path = raw / name
            if not path.is_file():
                missing.append(name)
            elif path.stat().st_size < size:
                truncated.append(name)
            elif not wrong:
                wrong = _fault(path, size, source.headers[name], known.get(name))
                if name not in known:
                    unproven.append(name)
    except OSError as error:
        raise DataError(f"{raw}: cannot be read: {reason(error)}") from None
    return Survey(tuple(missing), tuple(truncated), wrong, tuple(unproven))


def can_unpack(source: Source, root: Path, names: Sequence[str], official: Callable[[], Official]) -> bool:
    """Tell whether the packed official files of `names` lie there, so that nothing need be downloaded."""
    raw = root / source.folder
    packed = [raw / (source.archive or f"{name}.gz") for name in names]
    return all(path.is_file() for path in packed) and all(_is_official(path, official) for path in packed)


def acquire(
    source: Source,
    root: Path,
    official: Callable[[], Official],
    *,
    download: bool = True,
    progress: Progress | None = None,
) -> bool:
    """Make sure that the four files lie below `root`, unpacking and downloading what is missing or truncated.

    source, root, official: as for `survey`.
    download: whether what is missing may be downloaded.
    progress: called with file name, bytes done, and bytes in all or None.

    Returns whether every file was compared with an official hash. Raises UnavailableError if something is
    missing and cannot be brought, DataError if a file of full length has another content; such a file is
    never replaced.
    """
    surveyed = survey(source, root, official)
    if surveyed.wrong:
        raise DataError(surveyed.wrong)
    if surveyed.absent:
        if not can_unpack(source, root, surveyed.absent, official) and not download:
            raise UnavailableError(_absence(surveyed, root / source.folder))
        try:
            (root / source.folder).mkdir(parents=True, exist_ok=True)
            bring = _bring_archive if source.archive else _bring_each
            bring(source, root / source.folder, surveyed.absent, official(), progress)
        except OSError as error:
            raise UnavailableError(f"{root / source.folder}: cannot be written: {reason(error)}") from None
        surveyed = survey(source, root, official)
        if surveyed.wrong or surveyed.absent:
            raise DataError(surveyed.wrong or _absence(surveyed, root / source.folder))
    return not surveyed.unproven


def _absence(surveyed: Survey, raw: Path) -> str:
    if surveyed.truncated:
        return f"{raw / surveyed.truncated[0]}: truncated"
    return f"not in {raw}" if len(surveyed.missing) == 4 else f"{raw / surveyed.missing[0]}: missing"


def _bring_each(
    source: Source, raw: Path, names: Sequence[str], official: Official, progress: Progress | None
) -> None:
    for name in names:
        packed = raw / f"{name}.gz"
        if not _is_official(packed, lambda: official):
            urls = [mirror + packed.name for mirror in official.mirrors]
            download_file(urls, packed, official.md5[packed.name], progress)
        with packed.open("rb") as stream:
            _unpack(stream, raw / name, source.sizes[name])


def _bring_archive(
    source: Source, raw: Path, names: Sequence[str], official: Official, progress: Progress | None
) -> None:
    packed = raw / str(source.archive)
    fetched = not _is_official(packed, lambda: official)
    if fetched:
        urls = [mirror + packed.name for mirror in official.mirrors]
        download_file(urls, packed, official.md5[packed.name], progress)
    hashes = _hashes_in_archive(source, packed)
    with zipfile.ZipFile(packed) as archive:
        for name in names:
            with archive.open(f"gzip/{name}.gz") as stream:
                _unpack(stream, raw / name, source.sizes[name])
    with part_file(raw / HASHES) as file:
        file.write(json.dumps({"sha256": hashes}, indent=1).encode() + b"\n")
    if fetched:
        # It holds half a gigabyte, of which a fifth is used; its hashes are kept.
        packed.unlink(missing_ok=True)


def _is_official(packed: Path, official: Callable[[], Official]) -> bool:
    return packed.is_file() and _hash(packed, "md5") == official().md5[packed.name]


def _hash(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _fault(path: Path, size: int, header: bytes, expected: str | None) -> str:
    """Say what is wrong with a file that is long enough, "" if nothing. `expected` is an MD5 or a SHA-256."""
    digest = _hash(path, "sha256" if expected is not None and len(expected) == 64 else "md5")
    if digest == expected:
        return ""
    md5 = digest if len(digest) == 32 else _hash(path, "md5")
    others = [name for name, source in SOURCES.items() if md5 in source.md5.values()]
    whose = f"; this is a file of {others[0]}" if others else ""
    kind = "MD5" if len(digest) == 32 else "SHA-256"
    if expected is not None:
        return f"{path}: {kind} {digest}, expected {expected}{whose}"
    with path.open("rb") as file:
        begin = file.read(len(header))
    bytes_ = path.stat().st_size
    if bytes_ != size or begin != header:
        return f"{path}: {bytes_} bytes that begin with {begin.hex()}, expected {size} with {header.hex()}"
    return f"{path}: MD5 {md5}{whose}" if others else ""


def _proofs(source: Source, raw: Path, official: Callable[[], Official]) -> dict[str, str]:
    """Return SHA-256 of the unpacked files by name, as far as the packed official files or a record of them tell."""
    if source.archive is None:
        packed = {name: raw / f"{name}.gz" for name in source.sizes}
        return {
            name: _content_hash(path, source.sizes[name])
            for name, path in packed.items()
            if _is_official(path, official)
        }
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads((raw / HASHES).read_text(encoding="utf-8"))["sha256"]
        return {name: kept[name] for name in source.sizes if len(kept[name]) == 64}
    archive = raw / source.archive
    return _hashes_in_archive(source, archive) if _is_official(archive, official) else {}


def _hashes_in_archive(source: Source, packed: Path) -> dict[str, str]:
    hashes = {}
    try:
        with zipfile.ZipFile(packed) as archive:
            for name, size in source.sizes.items():
                with archive.open(f"gzip/{name}.gz") as stream:
                    hashes[name] = _sha256(stream, size, packed)
    except (zipfile.BadZipFile, KeyError) as error:
        raise DataError(f"{packed}: {reason(error)}") from None
    return hashes


def _content_hash(packed: Path, size: int) -> str:
    with packed.open("rb") as stream:
        return _sha256(stream, size, packed)


def _sha256(stream: IO[bytes], size: int, packed: Path) -> str:
    digest = hashlib.sha256()
    for chunk in _unpacked(stream, size, packed):
        digest.update(chunk)
    return digest.hexdigest()


def _unpack(stream: IO[bytes], target: Path, size: int) -> None:
    with part_file(target) as file:
        for chunk in _unpacked(stream, size, target):
            file.write(chunk)


def _unpacked(stream: IO[bytes], size: int, where: Path) -> Iterator[bytes]:
    """Decompress `stream`, which must hold exactly `size` bytes: more is never read. DataError otherwise."""
    done = 0
    try:
        with gzip.GzipFile(fileobj=stream) as file:
            while chunk := file.read(CHUNK):
                done += len(chunk)
                if done > size:
                    break
                yield chunk
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{where}: cannot be unpacked: {reason(error)}") from None
    if done != size:
        raise DataError(f"{where}: unpacks to {'more' if done > size else done} bytes, expected {size}")
