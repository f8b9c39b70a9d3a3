"""Labelled images: MNIST and its relatives, the bundled digits, folders of pictures; and the one-class split.

A data set is looked for in `data_dir` alone if that is given, else in the folder that the environment variable
ANOMALAE_DATA names and in `data/`, in torchvision's layout (`MNIST/raw/train-images-idx3-ubyte`, ...). What is
missing is downloaded to the first of these.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anomalae.config import POLARITIES, PREPROCESSES
from anomalae.downloads import (
    SOURCES,
    Official,
    Progress,
    UnavailableError,
    acquire,
    can_unpack,
    reason,
    survey,
    written,
)
from anomalae.errors import ConfigError, DataError
from anomalae.images import printable

DATASETS = {
    "mnist": "handwritten digits, 60,000 to train and 10,000 to test",
    "fashion-mnist": "articles of clothing, 60,000 to train and 10,000 to test",
    "kmnist": "cursive Japanese characters, 60,000 to train and 10,000 to test",
    "emnist-digits": "handwritten digits by other hands, 240,000 to train and 40,000 to test",
    "digits": "small scanned digits that come with scikit-learn, 1,258 to train and 539 to test; no download",
}
SHARES = (85, 5, 10)  # percent of the normal images in the train, validation and calibration part
DIGITS_TEST, FOLDER_TEST = 30, 20  # percent of each class in the test part where no split is given
DIGITS_SHA256 = (
    "65e5b4619795efb40c1082f4c350c049e4ad552200d369b6ae99e21eef5e72c5"  # of scikit-learn's images and labels
)

CENTRE = 14.5  # of mass of MNIST's digits, in pixels from the edge
RINGING = 10  # grey levels; overshoot of the spline stays below, soft edges of strokes mostly above

_TORCHVISION = {
    "mnist": "MNIST",
    "fashion-mnist": "FashionMNIST",
    "kmnist": "KMNIST",
    "emnist-digits": "EMNIST",
}

Classes = tuple[int | str, ...]
Chosen = int | str | Iterable[int | str]


@dataclass(frozen=True, eq=False)
class Part:
    """Images with their labels: `images` uint8 (N, 28, 28), light on dark; `labels` (N,), int64 or str."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: np.ndarray) -> Part:
        """The images at these indices, in this order."""
        return Part(self.images[indices], self.labels[indices])


@dataclass(frozen=True, eq=False)
class OneClassSplit:
    """A data set as a one-class problem. `train`, `validation` and `calibration` hold normal images only."""

    train: Part
    validation: Part
    calibration: Part
    test: Part  # the whole test part of the data set, all classes
    normal: Classes
    anomalous: Classes
    seed: int


@dataclass(frozen=True, eq=False)
class Dataset:
    """A labelled data set. `name` is a name of DATASETS or the absolute path of a folder.

    `classes` are those of both parts together, in order. `provenance` is JSON-able: `name`, `root` (folder
    where the files lie, None if bundled), `sha256` and `counts` by part, `verified` (whether the content was
    compared with a hash of the official files), and for folders `preprocess` and `polarity`.
    """

    name: str
    train: Part
    test: Part
    classes: Classes
    provenance: dict[str, Any]

    def one_class(
        self, normal: Chosen | None = None, anomalous: Chosen | None = None, seed: int = 0
    ) -> OneClassSplit:
        """Split the train part for learning the `normal` classes, or all but the `anomalous` ones.

        Give one of the two: a class, several, or a text such as "0,4-6". All training images of the normal
        classes are divided by `split_indices`, whatever their class, and keep their order within each part.
        Raises DataError for an unknown class, and if no class is left to be normal or to be anomalous.
        """
        where = printable(self.name)
        if normal is not None and anomalous is not None:
            raise DataError("normal and anomalous classes exclude each other: give one of them")
        given = normal if normal is not None else anomalous
        if given is None:
            raise DataError("no normal class: name at least one")
        names = [given] if isinstance(given, (int, str, np.integer)) else list(given)
        named = parse_classes([str(name) for name in names], self.classes, self.name) if names else ()
        others = tuple(name for name in self.classes if name not in named)
        chosen, rest = (named, others) if normal is not None else (others, named)
        if not chosen:
            raise DataError(
                f"{where}: no normal class is left" if named else "no normal class: name at least one"
            )
        if not rest:
            raise DataError(f"{where}: no class is left to be anomalous")
        for name in chosen:
            if not np.any(self.train.labels == name):
                raise DataError(f"{where}: no training images of class {printable(str(name))}")
        indices = np.flatnonzero(np.isin(self.train.labels, chosen))
        train, validation, calibration = (
            self.train.take(indices[part]) for part in split_indices(len(indices), seed)
        )
        return OneClassSplit(train, validation, calibration, self.test, chosen, rest, seed)


def split_indices(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Divide `range(n)` at random into train (85%), validation (5%) and calibration (10%).

    Returns three int64 arrays, each sorted and none empty; together they hold every index once. The shares of
    validation and calibration are rounded. The division depends on `n` and `seed` alone. Raises DataError if
    n < 3, ConfigError if the seed is negative.

    >>> [len(part) for part in split_indices(100, seed=0)]
    [85, 5, 10]
    """
    if n < len(SHARES):
        raise DataError(
            f"{n} normal images: at least {len(SHARES)} are needed to train, validate and calibrate"
        )
    if seed < 0:
        raise ConfigError(f"seed {seed}: must be at least 0")
    order = np.random.default_rng(seed).permutation(n)
    validation, calibration = (max(1, (n * share + 50) // 100) for share in SHARES[1:])
    train, held_out, calibrating = np.split(order, [n - validation - calibration, n - calibration])
    return np.sort(train), np.sort(held_out), np.sort(calibrating)


def parse_classes(text: str | Sequence[str], classes: Sequence[int | str], name: str = "the data") -> Classes:
    """Read classes as they are typed: "0", "0,1,4-6", or several such texts; names for named classes.

    A text that is the name of a class means that class, whatever commas and dashes it holds. Returns the
    classes in the order of `classes`, each once. Raises DataError for another syntax and for a class that
    `name` (how the message calls the data) lacks.

    >>> parse_classes(["4-6", "0"], range(10))
    (0, 4, 5, 6)
    """
    texts = [text] if isinstance(text, str) else list(text)
    known = {str(label): label for label in classes}
    found: set[int | str] = set()
    for whole in texts:
        for item in [whole] if whole in known else [piece.strip() for piece in whole.split(",")]:
            found.update(_classes_of(item, known, name))
    return tuple(label for label in classes if label in found)


def _classes_of(item: str, known: dict[str, int | str], name: str) -> list[int | str]:
    if item in known:
        return [known[item]]
    numbered = all(isinstance(label, int) for label in known.values())
    span = re.fullmatch(r"([0-9]{1,18})(?:\s*-\s*([0-9]{1,18}))?", item) if numbered else None
    if item and not numbered:
        raise _unknown_class(item, known, name)
    if span is None:
        raise DataError(f"classes '{printable(item)}': expected numbers and ranges, as in 0,1,4-6")
    first, last = int(span[1]), int(span[2] or span[1])
    if last < first:
        raise DataError(f"classes {item}: the range ends before it begins")
    wanted = []
    for label in range(first, last + 1):  # ends at the first class that is not there, so it is never long
        if str(label) not in known:
            raise _unknown_class(label, known, name)
        wanted.append(known[str(label)])
    return wanted


def _unknown_class(label: int | str, known: Iterable[str], name: str) -> DataError:
    names = [printable(each) for each in known]
    listed = names if len(names) <= 20 else [*names[:10], "...", names[-1]]
    return DataError(f"class {printable(str(label))}: not in {printable(name)}; classes: {', '.join(listed)}")


def load_dataset(
    name: str | Path | None = None,
    data_dir: str | Path | None = None,
    *,
    download: bool = True,
    preprocess: str = "auto",
    polarity: str = "auto",
    progress: Progress | None = None,
    warn: Callable[[str], None] | None = None,
) -> Dataset:
    """Load a data set by its name, or a folder of pictures by its path.

    name: one of DATASETS, or a folder that holds `CLASS/*` (then every fifth image of a class, picked at random
    but always the same, is for testing) or `train/CLASS/*` and `test/CLASS/*`. A folder called as a data set
    is: write `./mnist`. None means MNIST, or the bundled digits, with a warning, if MNIST can't be had.
    data_dir: the only folder to look in and to download to; see the module.
    preprocess, polarity: how pictures of a folder become canonical; without effect on named data sets.
    progress: called with (file name, bytes done, bytes in all or None) while downloading.
    warn: called with one line of text; by default a UserWarning.

    Raises DataError, naming files, hashes and what to do, if the data are missing, broken or not what they
    should be; ConfigError for an unknown preprocess or polarity.
    """
    for option, value, allowed in (
        ("preprocess", preprocess, PREPROCESSES),
        ("polarity", polarity, POLARITIES),
    ):
        if value not in allowed:
            raise ConfigError(f"{option} {value!r}: must be one of {', '.join(allowed)}")
    warn = warn or (lambda message: warnings.warn(message, stacklevel=3))
    if name == "digits":
        return _load_digits()
    if name is None or (isinstance(name, str) and name in SOURCES):
        try:
            return _load_idx(name or "mnist", data_dir, download, progress, warn)
        except UnavailableError as error:
            if name is not None:
                raise DataError(f"{name}: {error}; {_where_to_put(name, data_dir)}") from None
            warn(f"MNIST cannot be had ({error}): using the bundled digits instead")
            return _load_digits()
    if not Path(name).is_dir():
        raise DataError(f"data set {printable(name)}: neither a folder nor one of {', '.join(DATASETS)}")
    return _load_folder(Path(name).absolute(), preprocess, polarity)


@dataclass(frozen=True)
class Status:
    """Where a data set stands: `state` is "present", "missing" or "broken", and `detail` says more."""

    name: str
    description: str
    state: str
    where: Path  # the folder of its files, or where they would be downloaded to
    verified: bool  # whether all files were compared with official hashes
    detail: str = ""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dict."""
        return asdict(self) | {"where": str(self.where)}


def locate(name: str, data_dir: str | Path | None = None) -> Status:
    """Look for a data set of DATASETS and check its files, without loading, unpacking or downloading them."""
    if name == "digits":
        return Status(name, DATASETS[name], "present", _bundled(), True)
    source, root = SOURCES[_known(name)], _root(name, data_dir)
    where = root / source.folder
    try:
        found = survey(source, root, lambda: _official(name))
        packed = bool(found.absent) and can_unpack(source, root, found.absent, lambda: _official(name))
    except DataError as error:
        return Status(name, DATASETS[name], "broken", where, False, str(error))
    if found.wrong:
        return Status(name, DATASETS[name], "broken", where, False, found.wrong)
    if packed:
        return Status(name, DATASETS[name], "present", where, True, "packed; unpacked when first loaded")
    if found.absent:
        state = "broken" if found.truncated else "missing"
        detail = "; ".join(
            [f"{file}: truncated" for file in found.truncated]
            + [f"{file}: missing" for file in found.missing]
        )
        return Status(name, DATASETS[name], state, where, False, detail)
    detail = f"no official hash to compare {found.unproven[0]} with" if found.unproven else ""
    return Status(name, DATASETS[name], "present", where, not found.unproven, detail)


def fetch(name: str, data_dir: str | Path | None = None, progress: Progress | None = None) -> Path:
    """Download a data set of DATASETS unless it is there, check it, and return the folder of its files.

    Raises DataError as `load_dataset` does.
    """
    if name == "digits":
        return _bundled()
    root = _root(_known(name), data_dir)
    try:
        acquire(SOURCES[name], root, lambda: _official(name), progress=progress)
    except UnavailableError as error:
        raise DataError(f"{name}: {error}; {_where_to_put(name, data_dir)}") from None
    return root / SOURCES[name].folder


def export(
    part: Part,
    folder: str | Path,
    limit: int | None = None,
    classes: Sequence[int | str] | None = None,
) -> list[Path]:
    """Write images as `folder/CLASS/INDEX.png`, INDEX being the index in the part, five digits or more.

    limit: at most so many images in all, spread over the classes as evenly as they allow, the first of each
    class; classes: only these. Returns the paths, by class and index. A file that shows the same image
    already is left; raises DataError for one that does not, before anything is written, for a class that the
    part lacks and for a folder that cannot be written.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit {limit}: must be at least 1")
    present = _natural_order(part.labels.tolist())
    wanted = (
        present if classes is None else parse_classes([str(label) for label in classes], present, "this part")
    )
    picked = []
    for place, label in enumerate(wanted):
        of_class = np.flatnonzero(part.labels == label)
        picked += [(rank, place, int(index)) for rank, index in enumerate(of_class)]
    chosen = sorted((place, index) for _, place, index in sorted(picked)[:limit])
    files = {
        Path(folder) / str(wanted[place]) / f"{index:05d}.png": part.images[index] for place, index in chosen
    }
    try:
        new = [path for path in files if not _holds(path, files[path])]
        for path in new:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not synced to the disk one by one: thousands would take minutes, and can be exported again.
            with written(path, sync=False) as file:
                file.write(_png(files[path]))
    except OSError as error:
        raise DataError(f"{printable(folder)}: cannot be written: {reason(error)}") from None
    return list(files)


def _holds(path: Path, image: np.ndarray) -> bool:
    """Whether the file is there with this image; DataError if it is there with anything else."""
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


def _png(image: np.ndarray) -> bytes:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(image).save(content, format="PNG")
    return content.getvalue()


def _known(name: str) -> str:
    if name not in SOURCES:
        raise DataError(f"data set {printable(name)}: not one of {', '.join(DATASETS)}")
    return name


def _roots(data_dir: str | Path | None) -> list[Path]:
    if data_dir is not None:
        return [Path(data_dir)]
    named = os.environ.get("ANOMALAE_DATA")
    return [Path(named), Path("data")] if named else [Path("data")]


def _root(name: str, data_dir: str | Path | None) -> Path:
    """The first root that has any file of the data set, packed or not; else the first."""
    source, roots = SOURCES[name], _roots(data_dir)
    files = [*source.sizes, *(f"{file}.gz" for file in source.sizes), source.archive or ""]
    return next(
        (root for root in roots if any((root / source.folder / file).is_file() for file in files)), roots[0]
    )


def _where_to_put(name: str, data_dir: str | Path | None) -> str:
    source = SOURCES[name]
    packed = source.archive or "each as .gz"
    return f"put {', '.join(source.sizes)} (or {packed}) into {_root(name, data_dir) / source.folder}"


def _torchvision(name: str) -> Any:
    import torchvision.datasets

    return getattr(torchvision.datasets, _TORCHVISION[name])


def _official(name: str) -> Official:
    loader = _torchvision(name)
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
    train, test = (_idx_part(name, root, train) for train in (True, False))
    return _dataset(name, train, test, tuple(range(10)), str(root.absolute()), verified)


def _idx_part(name: str, root: Path, train: bool) -> Part:
    loader = _torchvision(name)
    # torchvision prefers pickled files of its old versions, which nobody has checked: look past them.
    checked = type(loader.__name__, (loader,), {"_check_legacy_exist": lambda self: False})
    data = checked(root, train=train, **({"split": "digits"} if name == "emnist-digits" else {}))
    images, labels = data.data.numpy(), data.targets.numpy().astype(np.int64)
    if name == "emnist-digits":
        images = np.ascontiguousarray(images.transpose(0, 2, 1))  # they are stored lying on their side
    if len(labels) and labels.max() > 9:
        raise DataError(f"{root / SOURCES[name].folder}: label {labels.max()}, expected 0 to 9")
    return Part(images, labels)


def _bundled() -> Path:
    spec = importlib.util.find_spec("sklearn")
    return Path(spec.origin if spec and spec.origin else "").parent / "datasets" / "data"


def _load_digits() -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small, labels = bunch.images.astype(np.uint8), bunch.target.astype(np.int64)
    verified = _content_hash(Part(small, labels)) == DIGITS_SHA256
    everything = Part(_enlarge(small), labels)
    train, test = _stratified(everything, DIGITS_TEST)
    return _dataset("digits", train, test, tuple(range(10)), None, verified)


def _enlarge(small: np.ndarray) -> np.ndarray:
    """Draw 8x8 digits with ink 0 to 16, (N, 8, 8), as MNIST would: uint8 (N, 28, 28).

    A cubic spline brings them to 20x20, with a margin for the soft edges, and its faint ringing is cleared;
    then they are moved by whole pixels until their centre of mass lies where MNIST has it.
    """
    from scipy.ndimage import zoom

    spline = zoom(np.eye(10), (2.5, 1), order=3, grid_mode=True, mode="grid-constant")  # (25, 10), linear
    padded = np.pad(small / 16.0, ((0, 0), (1, 1), (1, 1)))
    drawn = np.clip(np.einsum("ri,nij,cj->nrc", spline, padded, spline), 0, 1)
    drawn = np.rint(np.round(drawn, 6) * 255).astype(np.uint8)  # rounded twice: the same on every machine
    drawn[drawn < RINGING] = 0
    profiles = np.stack([drawn.sum(2), drawn.sum(1)], 1)  # (N, 2, 25): ink by row, ink by column
    shifts = np.rint(CENTRE - (profiles @ (np.arange(25) + 0.5)) / profiles.sum(2)).astype(int)
    canvas = np.zeros((len(small), 28 + 2 * 8, 28 + 2 * 8), np.uint8)  # its margin is cut off below
    for image, picture, (top, left) in zip(canvas, drawn, shifts + 8, strict=True):
        image[top : top + 25, left : left + 25] = picture
    return np.ascontiguousarray(canvas[:, 8:36, 8:36])


def _stratified(part: Part, percent: int) -> tuple[Part, Part]:
    """Divide each class into train and test by a fixed permutation of its images; order is kept.

    The test part gets `percent` of each class, rounded, at least one image. A class's division depends on the
    number of its images alone, so that a new class leaves the others as they were.
    """
    testing = np.zeros(len(part), bool)
    for label in np.unique(part.labels):
        of_class = np.flatnonzero(part.labels == label)
        order = np.random.default_rng(0).permutation(len(of_class))
        testing[of_class[order[: max(1, (len(of_class) * percent + 50) // 100)]]] = True
    return part.take(np.flatnonzero(~testing)), part.take(np.flatnonzero(testing))


def _load_folder(folder: Path, preprocess: str, polarity: str) -> Dataset:
    divided = [(folder / name).is_dir() for name in ("train", "test")]
    if any(divided) and not all(divided):
        there, lacking = ("train", "test") if divided[0] else ("test", "train")
        raise DataError(f"{printable(folder)}: has a folder {there} but no folder {lacking}")
    folders = [folder / "train", folder / "test"] if all(divided) else [folder]
    named = [_read_classes(each, preprocess, polarity) for each in folders]
    names = [name for part in named for name in part]
    numbered = all(map(_is_number, names))
    classes = _natural_order([int(name) if numbered else name for name in names])
    parts = [_labelled(part, classes) for part in named]
    train, test = parts if all(divided) else _stratified(parts[0], FOLDER_TEST)
    return _dataset(
        str(folder), train, test, classes, str(folder), False, preprocess=preprocess, polarity=polarity
    )


def _read_classes(folder: Path, preprocess: str, polarity: str) -> dict[str, np.ndarray]:
    """Images of each class folder by its name, uint8 (N, 28, 28). DataError for one that cannot be read."""
    from anomalae.readers import read_inputs

    try:
        names = [each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{printable(folder)}: cannot be read: {reason(error)}") from None
    if not names:
        expected = "FOLDER/CLASS/*.png or FOLDER/{train,test}/CLASS/*.png"
        raise DataError(f"{printable(folder)}: no class folders; expected {expected}")
    found = {}
    for name in map(str, _natural_order(names)):
        images = []
        for item in read_inputs([folder / name], preprocess, polarity):
            if item.image is None:
                raise DataError(str(item.error))
            images.append(item.image)
        found[name] = np.stack(images)
    return found


def _labelled(by_class: dict[str, np.ndarray], classes: Classes) -> Part:
    numbered = isinstance(classes[0], int)
    labels = [np.full(len(images), int(name) if numbered else name) for name, images in by_class.items()]
    return Part(np.concatenate(list(by_class.values())), np.concatenate(labels))


def _is_number(name: str) -> bool:
    return re.fullmatch(r"0|[1-9][0-9]{0,17}", name) is not None


def _natural_order(names: Iterable[int | str]) -> Classes:
    """Each name once, numbers within names by their value: 2 before 10, a2 before a10."""

    def key(name: int | str) -> tuple[list[str | int], str]:
        pieces = re.split(r"([0-9]+)", str(name))
        return [int(piece) if place % 2 else piece for place, piece in enumerate(pieces)], str(name)

    return tuple(sorted(set(names), key=key))


def _dataset(
    name: str, train: Part, test: Part, classes: Classes, root: str | None, verified: bool, **more: str
) -> Dataset:
    parts = {"train": train, "test": test}
    provenance = {
        "name": name,
        "root": root,
        "sha256": {key: _content_hash(part) for key, part in parts.items()},
        "counts": {key: len(part) for key, part in parts.items()},
        "verified": verified,
        **more,
    }
    return Dataset(name, train, test, classes, provenance)


def _content_hash(part: Part) -> str:
    """SHA-256 of the images' bytes, then of the labels: 8 bytes each, least first, or names ended by NUL."""
    digest = hashlib.sha256(np.ascontiguousarray(part.images).data)
    if part.labels.dtype.kind == "i":
        digest.update(part.labels.astype("<i8").data)
    else:
        digest.update("".join(f"{label}\0" for label in part.labels).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
