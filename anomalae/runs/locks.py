"""The lock that keeps two trainings, or two of anything else, out of one folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from anomalae.errors import BundleError

LOCK = ".lock"  # file in the run folder


@contextlib.contextmanager
def lock(folder: Path, holder: str = "another training is at work on this run") -> Iterator[None]:
    """Return a context that holds the folder for one process; the lock goes with it, however that ends.

    folder: of the run.
    holder: who holds it, in the words of the error.

    Raises BundleError if another holds it.

    >>> with lock(Path(".")):
    ...     is_locked(Path("."))
    True
    """
    held = FileLock(folder / LOCK)
    try:
        held.acquire(blocking=False)
    except Timeout:
        raise BundleError(f"{folder}: {holder}") from None
    try:
        yield
    finally:
        held.release()


def is_locked(folder: Path) -> bool:
    """Return whether a training is at work on this run right now.

    folder: of the run.

    >>> is_locked(Path("."))
    False
    """
    if not (folder / LOCK).is_file():
        return False
    try:
        with lock(folder):
            return False
    except BundleError:
        return True
