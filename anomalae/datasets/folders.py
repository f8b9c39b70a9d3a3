"""Labelled pictures in folders, a folder a class or all in one: read as a data set, and written from one."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from anomalae import files
from anomalae.datasets.classes import Classes, parse_classes
from anomalae.datasets.colours import colour_warning
from anomalae.datasets.dataset import Dataset, Part, make_dataset
from anomalae.datasets.download import reason
from anomalae.datasets.splits import stratified_indices
from anomalae.errors import ConfigError, DataError
from anomalae.images.inputs import is_input_name, list_files, passed_over_line, read_inputs
from anomalae.text import count, natural_order, plural, printable

# Percent of each class in the test part where no split is given.
TEST_SHARE = 20
# Files that cannot be read are left out and named, as long as they are no larger share of all than this.
MOST_LEFT_OUT = 0.05
# Class of images that lie in no folder of a class.
NORMAL = "normal"
LAYOUTS = "FOLDER/CLASS/*.png, FOLDER/{train,test}/CLASS/*.png or, of normal images alone, FOLDER/*.png"


def load_folder(
    folder: Path,
    preprocess: str,
    polarity: str,
    warn: Callable[[str], None] = lambda message: None,
    on_read: Callable[[int, int], None] = lambda done, total: None,
) -> Dataset:
    """Read a folder of images, of `CLASS/*`, or of `train/` and `test/` of either, as `load_dataset` says.

    folder: its path, as it is given, is the data set's name.
    preprocess, polarity: how pictures become canonical.
    warn: called with one line where files are passed over for their suffix, where files are left out that cannot be
        read or that show ink but become blank, and where classes differ in colour only, which is dropped.
    on_read: called with the number of images read and with how many files there are.

    Images without folders of classes are of one class, `normal`. Each page of a picture of several is an image, as for
    `read_inputs`.

    Raises DataError for another layout, for a class without images, and where more than MOST_LEFT_OUT of the images
    cannot be read.
    """
    folders = _parts(folder)
    passed_over: Counter[str] = Counter()
    listed = [_list_classes(place, passed_over) for place in folders]
    total = sum(len(paths) for part in listed for paths in part.values())
    errors: list[str] = []
    done = 0

    def read(paths: list[Path]) -> np.ndarray:
        """The images of a class, uint8 (N, 28, 28); of files that cannot be read the errors are kept."""
        nonlocal done
        images = []
        for item in read_inputs(paths, preprocess, polarity):
            done += 1
            if item.image is not None:
                images.append(item.image)
            elif item.setting is None:
                errors.append(str(item.error))
            else:
                raise DataError(str(item.error), setting=item.setting)
            on_read(done, max(done, total))
        if not images:
            raise DataError(errors[-1])
        return np.stack(images)

    named = [{name: read(paths) for name, paths in part.items()} for part in listed]
    if errors:
        what = f"{printable(folder)}: {count(len(errors))} of {plural(done, 'image')}"
        if len(errors) > MOST_LEFT_OUT * done:
            raise DataError(f"{what} cannot be read, the first of them {errors[0]}")
        others = f", and {plural(len(errors) - 1, 'other')}" if errors[1:] else ""
        warn(f"{what} left out as unreadable: {errors[0]}{others}")
    names = [name for part in named for name in part]
    line = passed_over_line(passed_over)
    for message in (line and f"{printable(folder)}: {line}", colour_warning(folders[0], named[0])):
        if message:
            warn(message)
    numbered = all(map(is_number, names))
    classes = tuple(natural_order([int(name) if numbered else name for name in names]))
    parts = [_labelled(part, classes) for part in named]
    if len(folders) == 1:
        parts = [parts[0].take(indices) for indices in stratified_indices(parts[0].labels, TEST_SHARE)]
    train, test = parts
    return make_dataset(
        str(folder), train, test, classes, str(folder), False, preprocess=preprocess, polarity=polarity
    )


def folder_classes(folder: Path) -> set[str]:
    """Return the names of the classes of a folder, of which no image is read; DataError for another layout."""
    return {name for part in _parts(folder) for name in _class_folders(part)}


def _parts(folder: Path) -> list[Path]:
    """Return the folders of the train and the test part, or the folder itself where it is not divided."""
    divided = [(folder / name).is_dir() for name in ("train", "test")]
    if any(divided) and not all(divided):
        there, lacking = ("train", "test") if divided[0] else ("test", "train")
        raise DataError(f"{printable(folder)}: has a folder {there} but no folder {lacking}")
    return [folder / "train", folder / "test"] if all(divided) else [folder]


def _class_folders(folder: Path) -> dict[str, Path]:
    """Return where the images of each class lie; that of images without folders of classes is NORMAL."""
    try:
        names = [
            entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")
        ]
        beside = len(names) == 1 and next(_images_beside(folder), None)
    except OSError as error:
        raise DataError(f"{printable(folder)}: cannot be read: {reason(error)}") from None
    if beside:
        # Whichever was taken for all the images, the other would be left out without a word.
        raise DataError(
            f"{printable(folder)}: holds images, as {printable(beside)}, beside one folder, {printable(names[0])}; "
            f"expected {LAYOUTS}"
        )
    return {name: folder / name for name in sorted(names, key=_reading_order)} or {NORMAL: folder}


def _images_beside(folder: Path) -> Iterator[str]:
    return (path.name for path in folder.iterdir() if is_input_name(path.name) and path.is_file())


def _list_classes(folder: Path, passed_over: Counter[str]) -> dict[str, list[Path]]:
    """Return the files of the images of each class, in the order in which they are read."""
    files_by_class = {}
    for name, place in _class_folders(folder).items():
        files_by_class[name] = list_files([place], passed_over)
        if place == folder == files_by_class[name][0]:
            raise DataError(f"{printable(folder)}: no class folders; expected {LAYOUTS}")
    return files_by_class


def _reading_order(name: str) -> tuple[list[str | int], str]:
    """Return the key by which folders are read. The content hash of a data set depends on it, so it must not change."""
    pieces = re.split(r"([0-9]+)", name)
    return [int(piece) if place % 2 else piece for place, piece in enumerate(pieces)], name


def _labelled(by_class: dict[str, np.ndarray], classes: Classes) -> Part:
    numbered = isinstance(classes[0], int)
    labels = [np.full(len(images), int(name) if numbered else name) for name, images in by_class.items()]
    return Part(np.concatenate(list(by_class.values())), np.concatenate(labels))


def is_number(name: str) -> bool:
    """Tell whether the name of a class is a number."""
    return re.fullmatch(r"0|[1-9][0-9]{0,17}", name) is not None


def export(
    part: Part,
    folder: str | Path,
    limit: int | None = None,
    classes: Sequence[int | str] | None = None,
) -> list[Path]:
    """Write images as `folder/CLASS/INDEX.png`, INDEX being the index in the part, five digits or more.

    part: the images and their labels.
    folder: is made where it is missing; a file in it that shows the same image already is left.
    limit: at most so many images in all, spread over the classes as evenly as they allow, the first of each class.
    classes: only these; None is all.

    Returns the paths, by class and index. Raises DataError for a file that is there with something else, before
    anything is written, for a class that the part lacks and for a folder that cannot be written; ConfigError for a
    limit below 1.

    >>> from anomalae import load_dataset
    >>> paths = export(load_dataset("digits").test, "images", limit=10)
    >>> [path.as_posix() for path in paths[:2]]
    ['images/0/00009.png', 'images/1/00000.png']
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit {limit}: must be at least 1")
    present = natural_order(part.labels.tolist())
    wanted = (
        present if classes is None else parse_classes([str(label) for label in classes], present, "this part")
    )
    picked = []
    for place, label in enumerate(wanted):
        of_class = np.flatnonzero(part.labels == label)
        picked += [(rank, place, int(index)) for rank, index in enumerate(of_class)]
    chosen = sorted((place, index) for _, place, index in sorted(picked)[:limit])
    pictures = {
        Path(folder) / str(wanted[place]) / f"{index:05d}.png": part.images[index] for place, index in chosen
    }
    try:
        new = [path for path in pictures if not _holds(path, pictures[path])]
        for path in new:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not synced to the disk one by one: thousands would take minutes, and can be exported again.
            with files.part_file(path, durable=False) as file:
                file.write(files.png_bytes(pictures[path]))
    except OSError as error:
        raise DataError(f"{printable(folder)}: cannot be written: {reason(error)}") from None
    return list(pictures)


def _holds(path: Path, image: np.ndarray) -> bool:
    """Tell whether the file is there with this image; DataError if it is there with anything else."""
    from PIL import Image, UnidentifiedImageError

    if not os.path.lexists(path):
        return False
    try:
        with Image.open(path, formats=["PNG"]) as there:
            if there.size == image.shape[::-1] and np.array_equal(np.asarray(there), image):
                return True
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        pass
    raise DataError(f"{printable(path)}: exists already with another content")
