"""Run folders as a whole: names, listing, the newest finished one."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path

from anomalae import files
from anomalae.errors import BundleError
from anomalae.runs.locks import LOCK

# This file is written last: a folder without it is unfinished.
CONFIG = "config.json"
# This one is there while a training goes on, and removed when it is finished.
CHECKPOINT = "checkpoint.safetensors"
WEIGHTS = "weights.safetensors"
CALIBRATION = "calibration.safetensors"
# Training images that others are set against.
NEIGHBOURS = "neighbours.safetensors"
# What the score `nap` has learned; a run without it has no hidden-layer scores.
PATHWAY = "pathway.safetensors"
HISTORY = "history.jsonl"
EVALUATION = "evaluation.json"
SCORES = "scores.csv"
COMPARISON = "comparison.json"
# Scores of the run and each baseline, on the test part.
COMPARISON_SCORES = "comparison.safetensors"
_NAME = re.compile(r"[^\W_][\w.+-]{0,99}")


def check_name(name: str) -> str:
    """Return `name` if it can name a run, else raise BundleError.

    name: letters and digits of any script, `.`, `_`, `+`, `-`, at most 100 of them in 200 bytes, the first a
        letter or a digit: such a name needs no quotes and is no option.
    """
    if not _NAME.fullmatch(name) or len(name.encode()) > files.MOST_BYTES:
        raise BundleError(
            f"run name {name!r}: must be at most 100 letters, digits, '.', '_', '+' or '-' (200 bytes), "
            "beginning with a letter or a digit"
        )
    return name


def slug(text: str) -> str:
    """Return the text made fit to name a run: other characters become `_`, and it is cut to 80.

    >>> slug("letters/三 and é")
    'letters_三_and_é'
    """
    composed = unicodedata.normalize("NFC", text)
    fit = re.sub(r"[^\w.+-]", "_", composed).lstrip("._+-")[:80]
    return files.cut_to_bytes(fit, files.MOST_BYTES) or "run"


def already_there(folder: Path) -> BundleError:
    """Return the error for a name that is taken."""
    return BundleError(f"{folder}: exists already", advice="name")


def check_free(runs_dir: Path, name: str) -> None:
    """Raise BundleError unless `name` can name a run and none in `runs_dir` has it yet."""
    folder = runs_dir / check_name(name)
    if folder.exists():
        raise already_there(folder)


def create(runs_dir: Path, name: str | None, automatic: str) -> Path:
    """Make and return a new run folder: `name`, refused if it exists, or `automatic`, `automatic-2`, ..."""
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        if name is not None:
            folder = runs_dir / check_name(name)
            folder.mkdir()
            return folder
        count = 1
        while True:
            folder = runs_dir / (automatic if count == 1 else f"{automatic}-{count}")
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                count += 1
    except FileExistsError:
        raise already_there(runs_dir / (name or automatic)) from None
    except OSError as error:
        raise BundleError(f"{runs_dir}: cannot be written: {error.strerror}") from None


def remove_empty(folder: Path) -> None:
    """Remove a run folder in which nothing but a lock was written."""
    (folder / LOCK).unlink(missing_ok=True)
    folder.rmdir()


def is_finished(folder: Path) -> bool:
    """Tell whether the folder holds a run that was trained to its end."""
    return os.path.isfile(folder / CONFIG)  # noqa: PTH113 - false, not an error, for a name that is too long


def is_unfinished(folder: Path) -> bool:
    """Tell whether the folder holds a training that was interrupted, or is still going on."""
    return not is_finished(folder) and os.path.isfile(folder / CHECKPOINT)  # noqa: PTH113


def list_runs(runs_dir: Path) -> list[Path]:
    """Return folders of runs, finished or not, newest first. Empty where `runs_dir` does not exist."""
    if not os.path.isdir(runs_dir):  # noqa: PTH112
        return []
    folders = [
        folder
        for folder in runs_dir.iterdir()
        if folder.is_dir()
        and not folder.name.startswith(".")
        and (is_finished(folder) or is_unfinished(folder))
    ]
    return sorted(folders, key=lambda folder: (-_age_key(folder), folder.name))


def resolve(run: str | None, runs_dir: Path, *, finished: bool = True) -> Path:
    """Return the folder of a run.

    run: a name inside `runs_dir`, or a path; None is the newest finished run.
    runs_dir: folder that holds the runs.
    finished: whether an unfinished run is refused.

    Raises BundleError if there is none, or if it is unfinished where a finished one is needed.
    """
    if run is None:
        for folder in list_runs(runs_dir):
            if is_finished(folder):
                return folder
        raise BundleError(f"{runs_dir}: no finished run here", advice="train")
    path = Path(run)
    for place in (runs_dir / run, path if path.name not in ("", "..") else path.resolve()):
        if is_finished(place) or (is_unfinished(place) and not finished):
            return place
        if is_unfinished(place):
            raise BundleError(f"{place}: not finished", advice="resume", about=place.name)
    if os.path.isdir(runs_dir / run) and run:  # noqa: PTH112
        raise BundleError(
            f"{runs_dir / run}: half written or no run: it has neither {CONFIG} nor a checkpoint"
        )
    raise BundleError(f"{_shown(run, runs_dir)}: no such run", advice="runs")


def replace_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a new folder beside another one, then put it in its place.

    folder: a run's, or one that is not there.
    write: called with the new folder, fills it.

    If writing fails nothing has changed: an earlier run at `folder` stays whole.
    """
    if os.path.lexists(folder) and not (is_finished(folder) or is_unfinished(folder) or _is_empty(folder)):
        raise BundleError(f"{folder}: is no run folder, so it is not replaced")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    except OSError as error:
        raise BundleError(f"{folder}: cannot be written: {error.strerror}") from None
    old = temporary.with_suffix(".old")
    try:
        temporary.chmod(0o777 & ~files.umask())
        write(temporary)
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
    except OSError as error:
        raise BundleError(f"{folder}: cannot be written: {error.strerror}") from None
    finally:
        if old.exists() and not folder.exists():
            # The new folder could not take its place.
            old.rename(folder)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _age_key(folder: Path) -> float:
    # Both are looked for, as a training may finish between two looks.
    for name in (CONFIG, CHECKPOINT):
        with contextlib.suppress(FileNotFoundError):
            return (folder / name).stat().st_mtime
    return 0.0


def _shown(run: str, runs_dir: Path) -> str:
    return run if os.sep in run else str(runs_dir / run)
