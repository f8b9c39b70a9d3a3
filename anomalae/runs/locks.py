"""The lock that keeps two trainings, or two of anything else, out of one folder."""

from __future__ import annotations

import contextlib
import os
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

    Raises BundleError if another holds it, and where it cannot be written.

    >>> with lock(Path(".")):
    ...     is_locked(Path("."))
    True
    """
    held = FileLock(folder / LOCK)
    try:
        if (folder / LOCK).is_symlink():
            # It would be emptied where the link leads to.
            (folder / LOCK).unlink()
        held.acquire(blocking=False)
    except Timeout:
        raise BundleError(f"{folder}: {holder}") from None
    except OSError as error:
        raise BundleError(f"{folder / LOCK}: cannot be written: {error.strerror or error}") from None
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
    path = folder / LOCK
    # Nobody holds a link; of what cannot be written nobody can tell.
    if path.is_symlink() or not path.is_file() or not os.access(path, os.R_OK | os.W_OK):
        return False
    try:
        with lock(folder):
            return False
    except BundleError:
        return True
