"""Data sets by name or path: MNIST and its relatives, the bundled digits, folders of pictures, `.npz` files.

A data set is looked for in `data_dir` alone if that is given, else in the folder that the environment variable
ANOMALAE_DATA names and in `data/`, in torchvision's layout (`MNIST/raw/train-images-idx3-ubyte`, ...). What is
missing is downloaded to the first of these.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anomalae.datasets.archives import load_archive
from anomalae.datasets.classes import parse_classes
from anomalae.datasets.dataset import Dataset, OneClassSplit, Part, make_dataset
from anomalae.datasets.digits import digits_folder, load_bundled_digits
from anomalae.datasets.download import Progress, UnavailableError
from anomalae.datasets.folders import export, folder_classes, load_folder
from anomalae.datasets.official import SOURCES, Official, Source, acquire, can_unpack, survey
from anomalae.datasets.splits import split_indices
from anomalae.errors import ConfigError, DataError, ImageError
from anomalae.settings import POLARITIES, PREPROCESSES
from anomalae.text import printable

__all__ = [
    "DATASETS",
    "Dataset",
    "OneClassSplit",
    "Part",
    "Status",
    "check_dataset",
    "export",
    "fetch",
    "load_dataset",
    "locate",
    "parse_classes",
    "split_indices",
]

DATASETS = {
    "mnist": "handwritten digits, 60,000 to train and 10,000 to test",
    "fashion-mnist": "articles of clothing, 60,000 to train and 10,000 to test",
    "kmnist": "cursive Japanese characters, 60,000 to train and 10,000 to test",
    "emnist-digits": "handwritten digits by other hands, 240,000 to train and 40,000 to test",
    "digits": "small scanned digits that come with scikit-learn, 1,258 to train and 539 to test; no download",
}

_TORCHVISION = {
    "mnist": "MNIST",
    "fashion-mnist": "FashionMNIST",
    "kmnist": "KMNIST",
    "emnist-digits": "EMNIST",
}


def load_dataset(
    name: str | Path | None = None,
    data_dir: str | Path | None = None,
    *,
    download: bool = True,
    preprocess: str = "auto",
    polarity: str = "auto",
    progress: Progress | None = None,
    warn: Callable[[str], None] | None = None,
    on_read: Callable[[int, int], None] = lambda done, total: None,
) -> Dataset:
    """Load a data set by its name, or a folder of pictures or a `.npz` file by its path.

    name: one of DATASETS, or a folder that holds `CLASS/*` (then every fifth image of a class, picked at random
        but always the same, is for testing) or `train/CLASS/*` and `test/CLASS/*`, or nothing but images, all of which
        are of the class `normal` then and divided in the same way, or a `.npz` file of the arrays
        `images` and `labels` (or `train_images`, `train_labels`, `test_images`, `test_labels`), whose images may have
        any size. A folder called as a data set is: write `./mnist`. None means MNIST, or the bundled digits, with a
        warning, if MNIST can't be had.
    data_dir: the only folder to look in and to download to; see the module.
    download: whether what is missing may be downloaded.
    preprocess, polarity: how images of a folder or a file become canonical; without effect on named data sets.
    progress: called with (file name, bytes done, bytes in all or None) while downloading.
    warn: called with one line of text; by default a UserWarning. Of a folder's images those that cannot be read are
        left out with such a line, up to a twentieth of them.
    on_read: called with the number of images of a folder that are read, and with how many files it holds.

    Returns the data set, its images uint8 (N, 28, 28), light on dark. Raises DataError, naming files, hashes and what
    to do, if the data are missing, broken or not what they should be; ConfigError for an unknown preprocess or
    polarity.

    >>> dataset = load_dataset("digits")
    >>> dataset.train.images.shape, dataset.train.images.dtype
    ((1258, 28, 28), dtype('uint8'))
    """
    for option, value, allowed in (
        ("preprocess", preprocess, PREPROCESSES),
        ("polarity", polarity, POLARITIES),
    ):
        if value not in allowed:
            raise ConfigError(f"{option} {value!r}: must be one of {', '.join(allowed)}")
    warn = warn or (lambda message: warnings.warn(message, stacklevel=3))
    if name == "digits":
        return load_bundled_digits()
    if name is None or (isinstance(name, str) and name in SOURCES):
        try:
            return _load_idx(name or "mnist", data_dir, download, progress, warn)
        except UnavailableError as error:
            if name is not None:
                raise DataError(f"{name}: {error}; {_where_to_put(name, data_dir)}") from None
            warn(f"MNIST cannot be had ({error}): using the bundled digits instead")
            return load_bundled_digits()
    check_dataset(name)
    path = Path(name).absolute()
    return (
        load_folder(path, preprocess, polarity, warn, on_read)
        if path.is_dir()
        else load_archive(path, preprocess, polarity)
    )


def check_dataset(name: str | Path) -> None:
    """Raise DataError unless the name is one of DATASETS, or a path at which a folder or a `.npz` file is.

    Nothing is read or downloaded.
    """
    if name not in DATASETS and not is_there(name):
        raise DataError(
            f"data set {printable(name)}: neither a folder nor a .npz file nor one of {', '.join(DATASETS)}",
            unknown=str(name),
            known=DATASETS,
        )


def may_be_normal_alone(name: str | Path | None) -> bool:
    """Tell, without reading an image, whether a data set may have one class only; one of DATASETS has several.

    name: of a data set, as `load_dataset` takes it. Raises DataError for a folder that is none.

    >>> may_be_normal_alone("digits")
    False
    """
    if name is None or name in DATASETS:
        return False
    path = Path(name).absolute()
    return not path.is_dir() or len(folder_classes(path)) == 1


def is_there(path: str | Path) -> bool:
    """Tell whether a folder or a file is there that may be a data set."""
    # False, not an error, for a name that is too long.
    return bool(str(path)) and (
        os.path.isdir(path) or (os.path.isfile(path) and str(path).lower().endswith(".npz"))  # noqa: PTH112, PTH113
    )


def is_outside(path: str | Path) -> bool:
    """Tell whether a path lies neither in the working folder nor where data sets are looked for.

    path: to be read because a run, which may come from anybody, says so.

    >>> is_outside("images/scans"), is_outside("/etc")
    (False, True)
    """
    place = Path(path).resolve()
    return not any(place.is_relative_to(folder.resolve()) for folder in (Path(), *_roots(None)))


def is_kept(name: str) -> bool:
    """Tell whether any file of an official data set lies where data sets are looked for.

    name: of DATASETS, but for the bundled digits.

    >>> is_kept("mnist")
    False
    """
    return any(_holds_any(SOURCES[_known(name)], root) for root in _roots(None))


def read_official(name: str, root: str | Path) -> Dataset | None:
    """Read an official data set from a folder in which nothing is written, neither downloaded nor unpacked.

    name: of DATASETS, but for the bundled digits.
    root: the folder.

    Returns None where some of its files are missing. Raises DataError where they are not the official ones.

    >>> read_official("mnist", "elsewhere")
    """
    surveyed = survey(SOURCES[_known(name)], Path(root), lambda: _official(name))
    if surveyed.wrong:
        raise DataError(surveyed.wrong)
    return None if surveyed.absent else _read_parts(name, Path(root), not surveyed.unproven)


@dataclass(frozen=True)
class Status:
    """A status says where a data set stands.

    name: of DATASETS.
    description: what it holds, in words.
    state: "present", "missing" or "broken".
    where: the folder of its files, or where they would be downloaded to.
    verified: whether all files were compared with official hashes.
    detail: more about its state; empty where there is no more to say.

    >>> Status("mnist", DATASETS["mnist"], "missing", Path("data/MNIST/raw"), False).to_dict()["state"]
    'missing'
    """

    name: str
    description: str
    state: str
    where: Path
    verified: bool
    detail: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able dict."""
        return asdict(self) | {"where": str(self.where)}


def locate(name: str, data_dir: str | Path | None = None) -> Status:
    """Look for a data set and check its files, without loading, unpacking or downloading them.

    name: one of DATASETS.
    data_dir: as for `load_dataset`.

    Returns where it stands. Raises DataError for another name.

    >>> locate("digits").state
    'present'
    """
    if name == "digits":
        return Status(name, DATASETS[name], "present", digits_folder(), True)
    source, root = SOURCES[_known(name)], _root(name, data_dir)
    where = root / source.folder
    try:
        surveyed = survey(source, root, lambda: _official(name))
        packed = bool(surveyed.absent) and can_unpack(source, root, surveyed.absent, lambda: _official(name))
    except DataError as error:
        return Status(name, DATASETS[name], "broken", where, False, str(error))
    if surveyed.wrong:
        return Status(name, DATASETS[name], "broken", where, False, surveyed.wrong)
    if packed:
        return Status(name, DATASETS[name], "present", where, True, "packed; unpacked when first loaded")
    if surveyed.absent:
        state = "broken" if surveyed.truncated else "missing"
        detail = "; ".join(
            [f"{file}: truncated" for file in surveyed.truncated]
            + [f"{file}: missing" for file in surveyed.missing]
        )
        return Status(name, DATASETS[name], state, where, False, detail)
    detail = f"no official hash to compare {surveyed.unproven[0]} with" if surveyed.unproven else ""
    return Status(name, DATASETS[name], "present", where, not surveyed.unproven, detail)


def fetch(name: str, data_dir: str | Path | None = None, progress: Progress | None = None) -> Path:
    """Download a data set unless it is there, and check it.

    name: one of DATASETS.
    data_dir, progress: as for `load_dataset`.

    Returns the folder of its files. Raises DataError as `load_dataset` does, and for another name.

    >>> fetch("digits").name
    'data'
    """
    if name == "digits":
        return digits_folder()
    root = _root(_known(name), data_dir)
    try:
        acquire(SOURCES[name], root, lambda: _official(name), progress=progress)
    except UnavailableError as error:
        raise DataError(f"{name}: {error}; {_where_to_put(name, data_dir)}") from None
    return root / SOURCES[name].folder


def _known(name: str) -> str:
    if name not in SOURCES:
        raise DataError(
            f"data set {printable(name)}: not one of {', '.join(DATASETS)}", unknown=name, known=DATASETS
        )
    return name


def _roots(data_dir: str | Path | None) -> list[Path]:
    if data_dir is not None:
        return [Path(data_dir)]
    named = os.environ.get("ANOMALAE_DATA")
    return [Path(named), Path("data")] if named else [Path("data")]


def _root(name: str, data_dir: str | Path | None) -> Path:
    """Return the first root that has any file of the data set, packed or not; else the first."""
    source, roots = SOURCES[name], _roots(data_dir)
    return next((root for root in roots if _holds_any(source, root)), roots[0])


def _holds_any(source: Source, root: Path) -> bool:
    files = [*source.sizes, *(f"{file}.gz" for file in source.sizes), source.archive or ""]
    return any((root / source.folder / file).is_file() for file in files)


def _where_to_put(name: str, data_dir: str | Path | None) -> str:
    source = SOURCES[name]
    packed = source.archive or "each as .gz"
    return f"put {', '.join(source.sizes)} (or {packed}) into {_root(name, data_dir) / source.folder}"


def _official(name: str) -> Official:
    """Return mirrors and MD5s of the packed files, as torchvision knows them."""
    import torchvision.datasets

    loader = getattr(torchvision.datasets, _TORCHVISION[name])
    if name == "emnist-digits":
        mirror, _, file = loader.url.rpartition("/")
        return Official((f"{mirror}/",), {file: loader.md5})
    return Official(tuple(loader.mirrors), dict(loader.resources))


def _load_idx(
    name: str,
    data_dir: str | Path | None,
    download: bool,
    progress: Progress | None,
    warn: Callable[[str], None],
) -> Dataset:
    root = _root(name, data_dir)
    verified = acquire(SOURCES[name], root, lambda: _official(name), download=download, progress=progress)
    if not verified:
        warn(f"{root / SOURCES[name].folder}: no official hash to compare all files with; taken as they are")
    return _read_parts(name, root, verified)


def _read_parts(name: str, root: Path, verified: bool) -> Dataset:
    train, test = (_idx_part(name, root, part) for part in (0, 1))
    return make_dataset(name, train, test, tuple(range(10)), str(root.absolute()), verified)


def _idx_part(name: str, root: Path, part: int) -> Part:
    """Read the train part (0) or the test part (1) of a data set whose files lie below `root`, images upright."""
    from anomalae.images.inputs import read_idx

    raw = root / SOURCES[name].folder
    images_file, labels_file = list(SOURCES[name].sizes)[2 * part : 2 * part + 2]
    try:
        images, labels = read_idx(raw / images_file), read_idx(raw / labels_file).astype(np.int64)
    except ImageError as error:
        raise DataError(str(error)) from None
    if name == "emnist-digits":
        # They are stored lying on their side.
        images = np.ascontiguousarray(images.transpose(0, 2, 1))
    if len(labels) and labels.max() > 9:
        raise DataError(f"{raw}: label {labels.max()}, expected 0 to 9")
    return Part(images, labels)
