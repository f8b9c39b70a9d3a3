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
from anomalae.runs.locks import LOCK, is_locked

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
# Images that are no one's, and their scores when the run was trained.
PROBE = "probe.safetensors"
# SHA-256 of each file that the training left.
MANIFEST = "manifest.json"
EVALUATION = "evaluation.json"
SCORES = "scores.csv"
COMPARISON = "comparison.json"
# Scores of the run and each baseline, on the test part.
COMPARISON_SCORES = "comparison.safetensors"
# The run as an ONNX model, as `anomalae export` leaves it.
MODEL = "model.onnx"
# Folder of calibrations of one's own, a file each.
CALIBRATIONS = "calibrations"
CALIBRATIONS_SUFFIX = ".safetensors"
# All that a run folder may hold, but for parts of files that were being written when their process was killed.
_FILES = {
    CONFIG, CHECKPOINT, WEIGHTS, CALIBRATION, NEIGHBOURS, PATHWAY, HISTORY, PROBE, MANIFEST, EVALUATION, SCORES,
    COMPARISON, COMPARISON_SCORES, MODEL, LOCK,
}  # fmt: skip
_PART = re.compile(r"\..*\.part")
_NAME = re.compile(r"[^\W_][\w.+-]{0,99}")


def check_name(name: str, what: str = "run") -> str:
    """Return a name that can name a run.

    name: letters and digits of any script, `.`, `_`, `+`, `-`, at most 100 of them in 200 bytes, the first a letter or
        a digit: such a name needs no quotes and is no option.
    what: it names, in the words of the error.

    Raises BundleError for any other name.

    >>> check_name("mnist-0-ae")
    'mnist-0-ae'
    """
    if not _NAME.fullmatch(name) or len(name.encode()) > files.MOST_BYTES:
        raise BundleError(
            f"{what} name {name!r}: must be at most 100 letters, digits, '.', '_', '+' or '-' (200 bytes), "
            "beginning with a letter or a digit"
        )
    return name


def slug(text: str) -> str:
    """Return a text made fit to name a run: other characters become `_`, and it is cut to 80.

    text: whatever it holds.

    >>> slug("letters/三 and é")
    'letters_三_and_é'
    """
    composed = unicodedata.normalize("NFC", text)
    fit = re.sub(r"[^\w.+-]", "_", composed).lstrip("._+-")[:80]
    return files.cut_to_bytes(fit, files.MOST_BYTES) or "run"


def already_there(folder: Path) -> BundleError:
    """Return the error for a name that is taken.

    folder: the one that is there.

    >>> str(already_there(Path("runs/zero")))
    'runs/zero: exists already'
    """
    return BundleError(f"{folder}: exists already", advice="name")


def check_free(runs_dir: Path, name: str) -> None:
    """Raise BundleError unless `name` can name a run and none in `runs_dir` has it yet.

    runs_dir: folder that holds the runs.
    name: see `check_name`.

    >>> check_free(Path("runs"), "zero")
    """
    folder = runs_dir / check_name(name)
    if os.path.lexists(folder) and not is_left_over(folder):
        raise already_there(folder)


def create(runs_dir: Path, name: str | None, automatic: str) -> Path:
    """Make a new run folder.

    runs_dir: folder that holds the runs; it is made where it is missing.
    name: of the run, refused if it is taken; None takes the other one.
    automatic: a name, counted up where it is taken: `automatic-2` and so on.

    What a training left that ended before its first checkpoint does not take a name.

    Returns the folder. Raises BundleError for a name that is taken or cannot name a run, and where nothing can be
    written.

    >>> [create(Path("runs"), None, "zero").as_posix() for _ in range(2)]
    ['runs/zero', 'runs/zero-2']
    """
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        if name is not None:
            return _make(runs_dir / check_name(name))
        count = 1
        while True:
            try:
                return _make(runs_dir / (automatic if count == 1 else f"{automatic}-{count}"))
            except FileExistsError:
                count += 1
    except FileExistsError:
        raise already_there(runs_dir / (name or automatic)) from None
    except OSError as error:
        raise BundleError(f"{runs_dir}: cannot be written: {error.strerror}") from None


def _make(folder: Path) -> Path:
    if is_left_over(folder):
        remove_left_over(folder)
    folder.mkdir()
    return folder


def is_left_over(folder: Path) -> bool:
    """Return whether a training ended in this folder before it wrote its first checkpoint, so that nothing is lost.

    folder: any path.

    >>> is_left_over(create(Path("runs"), None, "zero"))
    False
    """
    if folder.is_symlink() or not os.path.isfile(folder / LOCK):  # noqa: PTH113
        return False
    names = {path.name for path in folder.iterdir()}
    return all(name in (LOCK, HISTORY) or _PART.fullmatch(name) for name in names) and not is_locked(folder)


def remove_left_over(folder: Path) -> None:
    """Remove the folder of a training that ended before it wrote its first checkpoint.

    folder: of the run. Anything else in it is an OSError, and is not lost.

    >>> remove_left_over(create(Path("runs"), None, "zero"))
    """
    for path in folder.iterdir():
        if path.name in (LOCK, HISTORY) or _PART.fullmatch(path.name):
            path.unlink(missing_ok=True)
    folder.rmdir()


def own_file(folder: Path, name: str) -> Path:
    """Return the path of a run's file that is to be written, and remove what is there if it leads elsewhere.

    folder: of the run, which may come from anybody.
    name: of the file; a link in its place is not followed, a pipe or a device not written into.

    Raises BundleError where that cannot be removed.

    >>> own_file(create(Path("runs"), None, "zero"), CONFIG).as_posix()
    'runs/zero/config.json'
    """
    path = folder / name
    if path.is_symlink() or (path.exists() and not (path.is_file() or path.is_dir())):
        try:
            path.unlink()
        except OSError as error:
            raise BundleError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def check_deletable(folder: Path) -> list[Path]:
    """Return the files of a run, all that its folder holds.

    folder: of the run, finished, interrupted or broken.

    Raises BundleError for a link, for a folder that is no run or holds anything besides, and while a training is at
    work on it.

    >>> check_deletable(Path("runs"))
    Traceback (most recent call last):
    anomalae.errors.BundleError: runs: is no run folder, so it is not deleted
    """
    if folder.is_symlink():
        raise BundleError(f"{folder}: is a link, so it is not deleted: delete the run that it leads to")
    if not ((is_finished(folder) and (folder / CALIBRATION).is_file()) or is_unfinished(folder)):
        raise BundleError(f"{folder}: is no run folder, so it is not deleted")
    content = []
    for path in sorted(folder.iterdir()):
        inside = _calibration_files(path)
        if inside is None and (
            not (path.name in _FILES or _PART.fullmatch(path.name))
            or (path.is_dir() and not path.is_symlink())
        ):
            raise BundleError(f"{folder}: is not deleted, for {path.name} in it is not of the run")
        content += [path] if inside is None else inside
    if is_locked(folder):
        raise BundleError(f"{folder}: is not deleted, for a training is at work on it")
    return content


def _calibration_files(path: Path) -> list[Path] | None:
    """Return what a folder of calibrations holds; None of anything else, or where there is more in it than these."""
    if path.name != CALIBRATIONS or path.is_symlink() or not path.is_dir():
        return None
    inside = sorted(path.iterdir())
    own = all(file.name.endswith((CALIBRATIONS_SUFFIX, ".part")) and not file.is_dir() for file in inside)
    return inside if own else None


def delete(folder: Path) -> None:
    """Delete a run, whole or, where that fails, not at all.

    folder: of the run, finished, interrupted or broken.

    Raises BundleError for what `check_deletable` refuses, and for a folder that cannot be written.

    >>> delete(Path("runs"))
    Traceback (most recent call last):
    anomalae.errors.BundleError: runs: is no run folder, so it is not deleted
    """
    check_deletable(folder)
    try:
        with tempfile.TemporaryDirectory(
            prefix=f".{folder.name}.", suffix=".old", dir=folder.parent
        ) as waste:
            folder.rename(Path(waste) / folder.name)
    except OSError as error:
        raise BundleError(f"{folder}: cannot be deleted: {error.strerror or error}") from None


def is_finished(folder: Path) -> bool:
    """Return whether the folder holds a run that was trained to its end.

    folder: any path.

    >>> is_finished(create(Path("runs"), None, "zero"))
    False
    """
    return os.path.isfile(folder / CONFIG)  # noqa: PTH113 - false, not an error, for a name that is too long


def is_unfinished(folder: Path) -> bool:
    """Return whether the folder holds a training that was interrupted, or is still going on.

    folder: any path.

    >>> is_unfinished(create(Path("runs"), None, "zero"))
    False
    """
    return not is_finished(folder) and os.path.isfile(folder / CHECKPOINT)  # noqa: PTH113


def list_runs(runs_dir: Path) -> list[Path]:
    """Return folders of runs, finished or not, newest first.

    runs_dir: folder that holds the runs; where it does not exist there are none.

    >>> list_runs(Path("runs"))
    []
    """
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

    >>> folder = create(Path("runs"), None, "zero")
    >>> (folder / CONFIG).touch()
    >>> resolve("zero", Path("runs")) == resolve(None, Path("runs")) == folder
    True
    """
    if run is None:
        for folder in list_runs(runs_dir):
            if is_finished(folder):
                return folder
        raise BundleError(f"{runs_dir}: no finished run here", advice="train")
    if not run:
        raise BundleError("run '': the name is empty", unknown=run)
    path = Path(run)
    for place in (runs_dir / run, path if path.name not in ("", "..") else path.resolve()):
        if is_finished(place) or (is_unfinished(place) and not finished):
            return place
        if is_unfinished(place):
            raise BundleError(f"{place}: not finished", advice="resume", about=place.name)
    if os.path.isdir(runs_dir / run):  # noqa: PTH112
        raise BundleError(
            f"{runs_dir / run}: half written or no run: it has neither {CONFIG} nor a checkpoint"
        )
    raise _no_such_run(run, runs_dir)


def replace_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a new folder beside another one, then put it in its place.

    folder: a run's, or one that is not there.
    write: called with the new folder, fills it.

    Raises BundleError for a folder that is no run's, and where it cannot be written. An earlier run at `folder` stays
    whole if writing fails.

    >>> replace_folder(Path("runs/zero"), lambda place: (place / CONFIG).touch())
    >>> is_finished(Path("runs/zero"))
    True
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


def _no_such_run(run: str, runs_dir: Path) -> BundleError:
    """Return the error for a name, or a path, of which there is no run; it knows the runs that lie beside it."""
    is_path = os.sep in run
    others = list_runs(Path(run).parent if is_path else runs_dir)
    return BundleError(
        f"{run if is_path else runs_dir / run}: no such run",
        advice="runs",
        unknown=run,
        known=[str(folder) if is_path else folder.name for folder in others],
    )
