"""Files of the data sets that are downloaded: whether they are there and whole, and how they get there.

Hashes decide, never names or sizes alone: MNIST, Fashion-MNIST and KMNIST call their files the same, and an
interrupted download looks like a file. Nothing is written in place; each file appears under its name only
when it is whole and its hash is right.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import json
import os
import secrets
import struct
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO

from anomalae.errors import DataError

TIMEOUT = 15.0  # seconds that connecting, and each read, may take
ATTEMPTS = 2  # transfers begun from one address, the first included
SLOWEST, PATIENCE = 1024, 30.0  # bytes a second that a transfer must reach after so many seconds
LARGEST = 1 << 30  # bytes of a download; the largest official file has 536 MiB
CHUNK = 1 << 16
HASHES = "anomalae-hashes.json"  # SHA-256 of files unpacked from an archive that was not kept

Progress = Callable[[str, int, int | None], None]  # (file name, bytes done, bytes in all or None)


class UnavailableError(DataError):
    """The data set is not there, and could not be brought there."""


@dataclass(frozen=True)
class Official:
    """Where the official packed files are, and their MD5 by file name."""

    mirrors: tuple[str, ...]  # addresses to which a file name is appended, in order of preference
    md5: dict[str, str]


@dataclass(frozen=True)
class Source:
    """The four IDX files of one data set, as torchvision lays them out below a root."""

    folder: str  # below the root
    prefixes: tuple[str, str]  # of the file names of the train and the test part
    counts: tuple[int, int]  # images in the two parts
    md5: dict[str, str] = field(default_factory=dict)  # of the unpacked files, where they are published
    archive: str | None = None  # zip that packs all files; None where each has its own .gz

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each file by its name: train images, train labels, test images, test labels."""
        return {
            name: len(head) + rows * (784 if len(head) == 16 else 1) for name, (head, rows) in self._files()
        }

    @property
    def headers(self) -> dict[str, bytes]:
        """First bytes of each file by its name: IDX magic number and shape."""
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
    """What was found of a data set's four files."""

    missing: tuple[str, ...] = ()  # names of files that are not there
    truncated: tuple[str, ...] = ()  # names of files that are too short: a write that was interrupted
    wrong: str = ""  # message about the first file with another content than the official one
    unproven: tuple[str, ...] = ()  # names of files of the right form, without a hash to compare with

    @property
    def absent(self) -> tuple[str, ...]:
        """Names of files that must be unpacked or downloaded."""
        return self.missing + self.truncated


def survey(source: Source, root: Path, official: Callable[[], Official]) -> Survey:
    """Look at the four files below `root` and compare their hashes. Writes nothing.

    `official` is only called where the answer depends on a packed file. DataError if a file cannot be read.
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
    """Whether the packed official files of `names` lie there, so that nothing need be downloaded."""
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

    Returns whether every file was compared with an official hash. Raises UnavailableError if something is
    missing and cannot be brought, DataError if a file of full length has another content; such a file is
    never replaced.
    """
    found = survey(source, root, official)
    if found.wrong:
        raise DataError(found.wrong)
    if found.absent:
        if not can_unpack(source, root, found.absent, official) and not download:
            raise UnavailableError(_absence(found, root / source.folder))
        try:
            (root / source.folder).mkdir(parents=True, exist_ok=True)
            bring = _bring_archive if source.archive else _bring_each
            bring(source, root / source.folder, found.absent, official(), progress)
        except OSError as error:
            raise UnavailableError(f"{root / source.folder}: cannot be written: {reason(error)}") from None
        found = survey(source, root, official)
        if found.wrong or found.absent:
            raise DataError(found.wrong or _absence(found, root / source.folder))
    return not found.unproven


def _absence(found: Survey, raw: Path) -> str:
    if found.truncated:
        return f"{raw / found.truncated[0]}: truncated"
    return f"not in {raw}" if len(found.missing) == 4 else f"{raw / found.missing[0]}: missing"


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
    with written(raw / HASHES) as file:
        file.write(json.dumps({"sha256": hashes}, indent=1).encode() + b"\n")
    if fetched:
        packed.unlink(missing_ok=True)  # half a gigabyte of which a fifth is used; its hashes are kept


def download_file(
    urls: Sequence[str], target: Path, md5: str, progress: Progress | None = None, *, timeout: float = TIMEOUT
) -> None:
    """Bring the first of `urls` that answers with a content of this MD5 to `target`, through a `.part` file.

    An address that cannot be reached or has another content is left for the next one; a transfer that breaks
    off is begun again, ATTEMPTS in all. Raises UnavailableError, naming each address and its failure.
    """
    failures = []
    for url in urls:
        for _ in range(ATTEMPTS):
            try:
                with written(target) as file:
                    _transfer(url, file, target.name, md5, progress, timeout)
                return
            except _TransferError as failure:
                failures.append(f"{url}: {failure}")
                if not failure.again:
                    break
            except OSError as error:
                raise UnavailableError(f"{target}: cannot be written: {reason(error)}") from None
    raise UnavailableError(f"{target.name} could not be downloaded ({'; '.join(dict.fromkeys(failures))})")


class _TransferError(Exception):
    def __init__(self, message: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.again = again


def _transfer(
    url: str, file: BinaryIO, name: str, md5: str, progress: Progress | None, timeout: float
) -> None:
    digest, done, total, begun = hashlib.md5(usedforsecurity=False), 0, None, time.monotonic()
    with contextlib.closing(_chunks(url, timeout)) as chunks:
        for chunk, total in chunks:
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            if max(done, total or 0) > LARGEST:
                raise _TransferError(f"larger than {LARGEST} bytes")
            elapsed = time.monotonic() - begun
            if elapsed > PATIENCE and done < SLOWEST * elapsed:
                raise _TransferError(f"slower than {SLOWEST} bytes a second")
            if progress is not None:
                progress(name, done, total)
    if total is not None and done != total:
        raise _TransferError(f"broke off after {done} of {total} bytes", again=True)
    if digest.hexdigest() != md5:
        raise _TransferError(f"MD5 {digest.hexdigest()}, expected {md5}")


def _chunks(url: str, timeout: float) -> Generator[tuple[bytes, int | None], None, None]:
    """The body in pieces, each with the announced length; an empty piece first. Raises only _TransferError."""
    request = urllib.request.Request(url, headers={"User-Agent": "anomalae"})
    answered = False
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            answered = True
            length = response.headers.get("Content-Length") or ""
            total = int(length) if length.isascii() and length.isdigit() else None
            yield b"", total
            # One receive at a time: read() would wait for a full buffer, however slowly it trickles in.
            while chunk := response.read1(CHUNK):
                yield chunk, total
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise _TransferError(reason(error), again=answered) from None


@contextlib.contextmanager
def written(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """Open a `.part` file beside `path`; at the end it takes the place of `path`, on failure it is removed."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def reason(error: BaseException) -> str:
    """What went wrong, on one line, without the path that an OSError repeats."""
    inner = getattr(error, "reason", None)
    if isinstance(inner, BaseException):
        return reason(inner)
    text = getattr(error, "strerror", None) or str(error)
    return (str(text).splitlines() or [type(error).__name__])[0]


def _is_official(packed: Path, official: Callable[[], Official]) -> bool:
    return packed.is_file() and _hash(packed, "md5") == official().md5[packed.name]


def _hash(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _fault(path: Path, size: int, header: bytes, expected: str | None) -> str:
    """What is wrong with a file that is long enough, "" if nothing. `expected` is an MD5 or a SHA-256."""
    found = _hash(path, "sha256" if expected is not None and len(expected) == 64 else "md5")
    if found == expected:
        return ""
    md5 = found if len(found) == 32 else _hash(path, "md5")
    others = [name for name, source in SOURCES.items() if md5 in source.md5.values()]
    whose = f"; this is a file of {others[0]}" if others else ""
    kind = "MD5" if len(found) == 32 else "SHA-256"
    if expected is not None:
        return f"{path}: {kind} {found}, expected {expected}{whose}"
    with path.open("rb") as file:
        begin = file.read(len(header))
    bytes_ = path.stat().st_size
    if bytes_ != size or begin != header:
        return f"{path}: {bytes_} bytes that begin with {begin.hex()}, expected {size} with {header.hex()}"
    return f"{path}: MD5 {md5}{whose}" if others else ""


def _proofs(source: Source, raw: Path, official: Callable[[], Official]) -> dict[str, str]:
    """SHA-256 of the unpacked files by name, as far as the packed official files or a record of them tell."""
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
    with written(target) as file:
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
