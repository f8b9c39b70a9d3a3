"""One file over the network: it appears under its name only when it is whole and its hash is right."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import BinaryIO

from anomalae.errors import DataError
from anomalae.files import part_file

# Seconds that connecting, and each read, may take.
TIMEOUT = 15.0
# Most transfers begun from one address, the first included.
ATTEMPTS = 2
# Bytes a second that a transfer must reach, and after how many seconds it must.
SLOWEST, PATIENCE = 1024, 30.0
# Most bytes of a download; the largest official file has 536 MiB.
LARGEST = 1 << 30
CHUNK = 1 << 16

# Called with file name, bytes done, and bytes in all or None.
Progress = Callable[[str, int, int | None], None]


class UnavailableError(DataError):
    """A file, or a data set, is not there and could not be brought there."""


def download_file(
    urls: Sequence[str], target: Path, md5: str, progress: Progress | None = None, *, timeout: float = TIMEOUT
) -> None:
    """Bring the first of `urls` that answers with a content of this MD5 to `target`, whole or not at all.

    An address that cannot be reached or has another content is left for the next one; a transfer that breaks off is
    begun again, ATTEMPTS in all.

    urls: addresses, in order of preference.
    target: the file that appears whole or not at all.
    md5: of its content.
    progress: called with file name, bytes done, and bytes in all or None.
    timeout: seconds that connecting, and each read, may take.

    Raises UnavailableError, naming each address and its failure.
    """
    failures = []
    for url in urls:
        for _ in range(ATTEMPTS):
            try:
                with part_file(target) as file:
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
    """Yield the body in pieces, each with the announced length; an empty piece first. Raises only _TransferError."""
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


def reason(error: BaseException) -> str:
    """Say what went wrong, on one line, without the path that an OSError repeats."""
    inner = getattr(error, "reason", None)
    if isinstance(inner, BaseException):
        return reason(inner)
    text = getattr(error, "strerror", None) or str(error)
    return (str(text).splitlines() or [type(error).__name__])[0]
