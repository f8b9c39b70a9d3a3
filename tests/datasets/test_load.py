"""Data sets: the right images with the right labels or an error that says what is wrong; splits that never mix.

The official files are played by small ones of the same form, whose hashes stand in for the official hashes.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalae.datasets import load as datasets
from anomalae.datasets.dataset import LEAST_CALIBRATION
from anomalae.datasets.load import (
    DATASETS,
    Dataset,
    Part,
    export,
    fetch,
    load_dataset,
    locate,
    parse_classes,
    split_indices,
)
from anomalae.datasets.official import SOURCES
from anomalae.errors import ConfigError, DataError
from anomalae.evaluation.conformal import MIN_CALIBRATION, calibration_warning

IDX = ("mnist", "fashion-mnist", "kmnist", "emnist-digits")
COUNTS = (40, 20)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(request: urllib.request.Request, timeout: float) -> object:
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def idx_files(name: str) -> dict[str, bytes]:
    """Small files in the form of the data set `name`: labels run up from one of its own, images are noise."""
    source = SOURCES[name]
    rng = np.random.default_rng(IDX.index(name))
    files = {}
    for file, head in source.headers.items():
        rows = source.sizes[file] - len(head)
        body = (np.arange(rows) + IDX.index(name)) % 10 if "labels" in file else rng.integers(0, 256, rows)
        files[file] = head + body.astype(np.uint8).tobytes()
    return files


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, bytes]]:
    """Make the official files small, in torchvision as here; returns their content by data set and file."""
    import torchvision.datasets

    contents = {}
    for name in IDX:
        monkeypatch.setitem(SOURCES, name, replace(SOURCES[name], counts=COUNTS))
        contents[name] = idx_files(name)
        if SOURCES[name].md5:
            hashes = {file: md5(content) for file, content in contents[name].items()}
            monkeypatch.setitem(SOURCES, name, replace(SOURCES[name], md5=hashes))
        if name != "emnist-digits":
            loader = getattr(torchvision.datasets, datasets._TORCHVISION[name])
            packed = [
                (f"{file}.gz", md5(gzip.compress(data, mtime=0))) for file, data in contents[name].items()
            ]
            monkeypatch.setattr(loader, "resources", packed)
            monkeypatch.setattr(loader, "mirrors", ["http://mirror.invalid/"])
    return contents


def put(root: Path, name: str, files: dict[str, bytes]) -> Path:
    raw = root / SOURCES[name].folder
    raw.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (raw / file).write_bytes(content)
    return raw


def packed(files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{file}.gz": gzip.compress(content, mtime=0) for file, content in files.items()}


def quiet(message: str) -> None:
    raise AssertionError(f"unexpected warning: {message}")


# Named data sets


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_official_files_are_loaded_and_verified(
    name: str, small: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    put(tmp_path, name, small[name])
    data = load_dataset(name, tmp_path, download=False, warn=quiet)
    assert (data.name, data.classes) == (name, tuple(range(10)))
    assert data.train.images.shape == (40, 28, 28)
    assert data.train.images.dtype == np.uint8
    assert data.test.labels.dtype == np.int64
    assert sorted(data.test.labels.tolist()) == sorted([*range(10), *range(10)])
    assert data.test.labels.astype(np.uint8).tobytes() == small[name]["t10k-labels-idx1-ubyte"][8:]
    assert data.train.images.tobytes() == small[name]["train-images-idx3-ubyte"][16:]
    assert data.test.images.tobytes() == small[name]["t10k-images-idx3-ubyte"][16:]
    content = data.test.images.tobytes() + data.test.labels.astype("<i8").tobytes()
    assert data.provenance["sha256"]["test"] == hashlib.sha256(content).hexdigest()
    assert data.provenance["counts"] == {"train": 40, "test": 20}
    assert data.provenance["verified"] is True
    assert data.provenance["root"] == str(tmp_path)
    assert json.loads(json.dumps(data.provenance)) == data.provenance


def test_kmnist_is_verified_by_its_packed_files_only(
    small: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    put(tmp_path, "kmnist", small["kmnist"])
    said: list[str] = []
    assert load_dataset("kmnist", tmp_path, warn=said.append).provenance["verified"] is False
    assert len(said) == 1
    assert "no official hash" in said[0]
    with pytest.warns(UserWarning, match="no official hash"):
        load_dataset("kmnist", tmp_path)
    put(tmp_path, "kmnist", packed(small["kmnist"]))
    assert load_dataset("kmnist", tmp_path, warn=quiet).provenance["verified"] is True


def test_emnist_digits_stand_upright(small: dict[str, dict[str, bytes]], tmp_path: Path) -> None:
    put(tmp_path, "emnist-digits", small["emnist-digits"])
    data = load_dataset("emnist-digits", tmp_path, warn=lambda message: None)
    stored = np.frombuffer(
        small["emnist-digits"]["emnist-digits-train-images-idx3-ubyte"], np.uint8, offset=16
    )
    for image, lying in zip(data.train.images, stored.reshape(-1, 28, 28), strict=True):
        np.testing.assert_array_equal(image, lying.T)
    assert data.train.images.flags.c_contiguous
    assert len(data.test) == 20


def test_packed_files_are_enough(small: dict[str, dict[str, bytes]], tmp_path: Path) -> None:
    put(tmp_path, "mnist", packed(small["mnist"]))
    assert locate("mnist", tmp_path).state == "present"
    assert load_dataset("mnist", tmp_path, download=False).provenance["verified"] is True


def test_pickled_files_of_old_torchvision_are_never_read(
    small: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    raw = put(tmp_path, "mnist", small["mnist"])
    old = raw.parent / "processed"
    old.mkdir()
    for file in ("training.pt", "test.pt"):
        (old / file).write_bytes(b"nobody looks at this")
    assert len(load_dataset("mnist", tmp_path).train) == 40


def test_another_sets_files_are_named(small: dict[str, dict[str, bytes]], tmp_path: Path) -> None:
    raw = put(tmp_path, "mnist", small["fashion-mnist"])
    put(tmp_path, "kmnist", small["mnist"])
    with pytest.raises(DataError) as caught:
        load_dataset("mnist", tmp_path)
    file = "train-images-idx3-ubyte"
    for text in (
        raw / file,
        md5(small["fashion-mnist"][file]),
        md5(small["mnist"][file]),
        "file of fashion-mnist",
    ):
        assert str(text) in str(caught.value)
    with pytest.raises(DataError, match="file of mnist"):
        load_dataset("kmnist", tmp_path)
    with pytest.raises(DataError, match="file of fashion-mnist"):  # never taken for missing
        load_dataset(None, tmp_path, warn=quiet)


def test_label_out_of_range(small: dict[str, dict[str, bytes]], tmp_path: Path) -> None:
    labels = small["kmnist"]["t10k-labels-idx1-ubyte"]
    put(tmp_path, "kmnist", small["kmnist"] | {"t10k-labels-idx1-ubyte": labels[:-1] + b"\x0a"})
    with pytest.raises(DataError, match="label 10, expected 0 to 9"):
        load_dataset("kmnist", tmp_path, warn=lambda message: None)


@pytest.mark.parametrize("name", IDX)
@pytest.mark.parametrize("download", [True, False])
def test_missing_data_say_where_to_put_them(
    name: str, download: bool, small: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        load_dataset(name, tmp_path / "empty", download=download)
    for text in (name, str(tmp_path / "empty" / SOURCES[name].folder), *small[name]):
        assert text in str(caught.value)
    assert ("no network in tests" in str(caught.value)) == download
    assert "\n" not in str(caught.value)


def test_bundled_digits_stand_in_for_missing_mnist(
    small: dict[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    data = load_dataset(None, tmp_path, warn=said.append)
    assert data.name == data.provenance["name"] == "digits"
    assert len(said) == 1
    assert "no network in tests" in said[0]
    assert "using the bundled digits instead" in said[0]
    assert "\n" not in said[0]
    with pytest.warns(UserWarning, match="bundled digits"):
        load_dataset(data_dir=tmp_path, download=False)
    put(tmp_path, "mnist", small["mnist"])
    assert load_dataset(None, tmp_path, warn=quiet).name == "mnist"


def test_where_data_are_looked_for(
    small: dict[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANOMALAE_DATA", raising=False)
    assert locate("mnist").where == Path("data/MNIST/raw")
    monkeypatch.setenv("ANOMALAE_DATA", str(tmp_path / "shared"))
    assert locate("mnist").where == tmp_path / "shared/MNIST/raw"
    assert locate("mnist", "given").where == Path("given/MNIST/raw")

    put(tmp_path / "data", "mnist", small["mnist"])
    assert locate("mnist").where == Path("data/MNIST/raw")  # as it is there, and not in the other
    assert load_dataset().provenance["root"] == str(tmp_path / "data")
    assert locate("mnist", "given").state == "missing"
    put(tmp_path / "shared", "mnist", small["mnist"])
    assert load_dataset().provenance["root"] == str(tmp_path / "shared")
    monkeypatch.setenv("ANOMALAE_DATA", "")
    assert load_dataset().provenance["root"] == str(tmp_path / "data")


def test_status_of_each_kind(small: dict[str, dict[str, bytes]], tmp_path: Path) -> None:
    first, *_ = small["mnist"]
    assert locate("mnist", tmp_path).state == "missing"
    raw = put(tmp_path, "mnist", small["mnist"])
    status = locate("mnist", tmp_path)
    assert (status.state, status.verified, status.where) == ("present", True, raw)
    assert status.description == DATASETS["mnist"]
    (raw / first).write_bytes(small["mnist"][first][:-1])
    assert locate("mnist", tmp_path).state == "broken"
    assert f"{first}: truncated" in locate("mnist", tmp_path).detail
    (raw / first).write_bytes(small["mnist"][first][:-1] + b"?")
    assert locate("mnist", tmp_path).state == "broken"
    (raw / first).unlink()
    assert locate("mnist", tmp_path).detail == f"{first}: missing"

    put(tmp_path, "kmnist", small["kmnist"])
    status = locate("kmnist", tmp_path)
    assert (status.state, status.verified) == ("present", False)
    status = locate("digits", tmp_path)
    assert (status.state, status.verified) == ("present", True)
    assert (status.where / "digits.csv.gz").is_file()
    for name in DATASETS:
        assert json.loads(json.dumps(locate(name, tmp_path).to_dict()))["name"] == name
    with pytest.raises(DataError, match="data set nothing: not one of mnist"):
        locate("nothing")


def test_fetch_is_done_when_the_files_are_there(small: dict[str, dict[str, bytes]], tmp_path: Path) -> None:
    raw = put(tmp_path, "mnist", packed(small["mnist"]))
    assert fetch("mnist", tmp_path) == raw
    assert locate("mnist", tmp_path).verified
    assert fetch("digits").is_dir()
    with pytest.raises(DataError, match=r"kmnist: .*no network in tests.*; put train-images"):
        fetch("kmnist", tmp_path)
    with pytest.raises(DataError, match="not one of"):
        fetch("mnits")


def test_unknown_name_and_settings(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data set mnits: neither a folder nor one of mnist, fashion-mnist"):
        load_dataset("mnits")
    with pytest.raises(DataError, match=r"a\\nb: neither a folder"):
        load_dataset(tmp_path / "a\nb")
    with pytest.raises(ConfigError, match="preprocess 'crop': must be one of auto"):
        load_dataset("digits", preprocess="crop")
    with pytest.raises(ConfigError, match="polarity 'up'"):
        load_dataset("digits", polarity="up")


def test_torchvision_stays_away_where_it_is_not_needed() -> None:
    code = (
        "import sys; from anomalae.datasets.load import load_dataset, locate; load_dataset('digits');"
        "locate('mnist', 'nowhere'); assert not {'torch', 'torchvision'} & set(sys.modules)"
    )
    root = Path(datasets.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(root)})


@pytest.mark.mnist
def test_mnist_is_loaded_without_torchvision_as_torchvision_does() -> None:
    code = (
        "import sys; from anomalae.datasets.load import load_dataset; data = load_dataset('mnist');"
        "assert not {'torch', 'torchvision'} & set(sys.modules)"
    )
    root = Path(datasets.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(root)})
    import torchvision.datasets

    data = load_dataset("mnist", download=False, warn=quiet)
    theirs = torchvision.datasets.MNIST(data.provenance["root"], train=False)
    np.testing.assert_array_equal(data.test.images, theirs.data.numpy())
    np.testing.assert_array_equal(data.test.labels, theirs.targets.numpy())


@pytest.mark.mnist
def test_real_mnist() -> None:
    data = load_dataset("mnist", download=False, warn=quiet)
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    assert data.provenance["verified"] is True
    assert np.bincount(data.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    split = data.one_class(normal=[0], seed=0)
    assert [len(part) for part in (split.train, split.validation, split.calibration)] == [5035, 296, 592]
    assert locate("mnist").verified


# The bundled digits


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


def test_digits_are_canonical(digits: Dataset) -> None:
    for part in (digits.train, digits.test):
        assert part.images.dtype == np.uint8
        assert part.images.shape == (len(part), 28, 28)
        assert part.labels.dtype == np.int64
        assert part.images.max() == 255
        assert np.median(part.images) == 0
        ink = part.images / part.images.sum((1, 2), keepdims=True)
        for axis in (1, 2):
            centres = ink.sum(3 - axis) @ (np.arange(28) + 0.5)
            assert np.abs(centres - 14.5).max() < 0.51  # MNIST's
    assert digits.provenance["verified"] is True
    assert digits.provenance["root"] is None


def test_digits_split_is_stratified_and_complete(digits: Dataset) -> None:
    from sklearn.datasets import load_digits

    target = load_digits().target
    assert (len(digits.train), len(digits.test)) == (1258, 539)
    for label in range(10):
        n = np.sum(target == label)
        assert abs(np.sum(digits.test.labels == label) - 0.3 * n) <= 0.5
    everything = np.concatenate([digits.train.images, digits.test.images])
    assert len(np.unique(everything, axis=0)) == len(target)  # nothing lost, nothing in both
    again = load_dataset("digits")
    assert again.provenance == digits.provenance


def test_enlarging_keeps_the_information() -> None:
    """Shrunk by 2.5 again, and looked for at every offset, the picture is the 8x8 original."""
    from sklearn.datasets import load_digits

    small = load_digits().images[:40].astype(np.uint8)
    drawn = datasets._enlarge(small)
    for image, original in zip(drawn, small, strict=True):
        offsets = [(top, left) for top in range(9) for left in range(9)]
        shrunk = [
            np.asarray(Image.fromarray(image[y : y + 20, x : x + 20]).resize((8, 8), Image.Resampling.BOX))
            for y, x in offsets
        ]
        assert max(np.corrcoef(each.ravel(), original.ravel())[0, 1] for each in shrunk) > 0.97
    mass = drawn.sum((1, 2)) / 255 / (small.sum((1, 2)) / 16 * 2.5**2)
    assert np.all((mass > 0.95) & (mass < 1.1))  # ink neither invented nor cut off


def test_digits_are_told_apart_by_neighbours(digits: Dataset) -> None:
    from sklearn.neighbors import KNeighborsClassifier

    train, test = digits.train, digits.test
    model = KNeighborsClassifier(3).fit(train.images.reshape(len(train), -1), train.labels)
    assert model.score(test.images.reshape(len(test), -1), test.labels) > 0.97


# Classes as they are typed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", (0,)),
        ("0,1,4-6", (0, 1, 4, 5, 6)),
        (" 4 - 6 , 0 ", (0, 4, 5, 6)),
        (["3", "1-2"], (1, 2, 3)),
        ("7-7,7", (7,)),
        ("0-9", tuple(range(10))),
    ],
)
def test_numbered_classes(text: str, expected: tuple[int, ...]) -> None:
    assert parse_classes(text, range(10)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("12", "class 12: not in mnist; classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
        ("8-12", "class 10: not in mnist"),
        ("0-999999999999999999", "class 10: not in mnist"),
        ("", "classes '': expected numbers and ranges"),
        ("1,,2", "classes '': expected"),
        ("1-", "classes '1-': expected"),
        ("-1", "classes '-1': expected"),
        ("zero", "classes 'zero': expected"),
        ("1.0", "classes '1.0': expected"),
        ("٣", "expected numbers"),
        ("9" * 5000, "expected numbers"),
        ("6-4", "classes 6-4: the range ends before it begins"),
        ("a\nb", r"classes 'a\\nb'"),
    ],
)
def test_bad_numbered_classes(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        parse_classes(text, range(10), "mnist")
    assert "\n" not in str(caught.value)


def test_named_classes() -> None:
    names = ("a-b", "c,d", "cat", "4-6", "x\ny")
    assert parse_classes("a-b", names) == ("a-b",)
    assert parse_classes("cat, a-b", names) == ("a-b", "cat")
    assert parse_classes(["c,d", "4-6"], names) == ("c,d", "4-6")
    with pytest.raises(DataError, match=r"class dog: not in the data; classes: a-b, c,d, cat, 4-6, x\\ny"):
        parse_classes("dog", names)
    with pytest.raises(DataError, match="class 4: not in the data"):
        parse_classes("4", names)
    with pytest.raises(DataError, match=r"classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\., 99"):
        parse_classes("100", range(100))


# The one-class split


@pytest.mark.parametrize(
    ("n", "sizes"),
    [
        (3, (1, 1, 1)),
        (4, (2, 1, 1)),
        (10, (6, 1, 3)),
        (100, (62, 5, 33)),
        (119, (74, 6, 39)),
        (120, (74, 6, 40)),
        (126, (80, 6, 40)),
        (394, (334, 20, 40)),
        (400, (340, 20, 40)),
        (405, (344, 20, 41)),
        (5923, (5035, 296, 592)),
        (60_000, (51_000, 3_000, 6_000)),
    ],
)
def test_split_holds_every_index_once(n: int, sizes: tuple[int, int, int]) -> None:
    parts = split_indices(n, seed=5)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(n))
    assert tuple(map(len, parts)) == sizes
    for part in parts:
        assert np.all(np.diff(part) > 0)


def test_split_leaves_enough_to_calibrate_where_the_data_allow() -> None:
    assert LEAST_CALIBRATION == MIN_CALIBRATION
    for n in range(120, 1000):
        assert calibration_warning(len(split_indices(n)[2]), alpha=0.025) is None
    for n in range(57, 120):  # a third; enough to flag at 0.05, and no more than that
        assert 19 <= len(split_indices(n)[2]) < 40
    for n in range(3, 1000):
        train, _, calibration = split_indices(n)
        assert len(train) >= len(calibration)


def test_every_class_of_the_bundled_digits_calibrates_with_enough(digits: Dataset) -> None:
    for label in digits.classes:
        assert len(digits.one_class(label).calibration) == LEAST_CALIBRATION


def test_split_follows_the_seed() -> None:
    for one, other in zip(split_indices(200, 1), split_indices(200, 1), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(split_indices(200, 1)[2], split_indices(200, 2)[2])
    with pytest.raises(ConfigError, match="seed -1: must be at least 0"):
        split_indices(200, -1)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_split_needs_three(n: int) -> None:
    with pytest.raises(DataError, match=f"{n} normal images: at least 3 are needed"):
        split_indices(n)


def rows(part: Part) -> list[bytes]:
    return [image.tobytes() for image in part.images]


def test_one_class_split_never_mixes(digits: Dataset) -> None:
    split = digits.one_class(normal=[0, 3], seed=4)
    assert (split.normal, split.anomalous, split.seed) == ((0, 3), (1, 2, 4, 5, 6, 7, 8, 9), 4)
    for part in (split.train, split.validation, split.calibration):
        assert set(part.labels.tolist()) <= {0, 3}
    together = [row for part in (split.train, split.validation, split.calibration) for row in rows(part)]
    normal = digits.train.take(np.isin(digits.train.labels, [0, 3]).nonzero()[0])
    assert sorted(together) == sorted(rows(normal))
    assert not set(together) & set(rows(split.test))
    assert split.test is digits.test
    order = {row: place for place, row in enumerate(rows(digits.train))}
    places = [order[row] for row in rows(split.train)]
    assert places == sorted(places)


@pytest.mark.parametrize("given", [[0, 3], (3, 0, 0), "0,3", np.array([0, 3]), {0: "", 3: ""}, ["0", "3"]])
def test_ways_to_name_classes(given: list[int], digits: Dataset) -> None:
    assert digits.one_class(normal=given).normal == (0, 3)
    assert digits.one_class(anomalous=given).anomalous == (0, 3)
    assert digits.one_class(normal=np.int64(3)).normal == (3,)
    assert digits.one_class(anomalous=1).normal == (0, 2, 3, 4, 5, 6, 7, 8, 9)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"normal": [12]}, "class 12: not in digits; classes: 0, 1"),
        ({"normal": [-1]}, "classes '-1'"),
        ({"normal": [0.5]}, r"classes '0\.5'"),
        ({"normal": []}, "no normal class: name at least one"),
        ({}, "no normal class: name at least one"),
        ({"normal": range(10)}, "digits: no class is left to be anomalous"),
        ({"anomalous": []}, "digits: no class is left to be anomalous"),
        ({"anomalous": range(10)}, "digits: no normal class is left"),
        ({"normal": [0], "anomalous": [1]}, "exclude each other"),
    ],
)
def test_bad_one_class(given: dict[str, list[int]], message: str, digits: Dataset) -> None:
    with pytest.raises(DataError, match=message):
        digits.one_class(**given)


# Folders of pictures


def draw(path: Path, ink: int = 200) -> Path:
    """A 28x28 picture of a bar whose brightness tells it from others."""
    image = np.zeros((28, 28), np.uint8)
    image[6:22, 12:16] = ink
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def inks(part: Part) -> list[int]:
    return part.images.max((1, 2)).tolist()


def test_folder_of_classes(tmp_path: Path) -> None:
    for label in (0, 1, 10, 2):
        for number in range(10):
            draw(tmp_path / str(label) / f"{number}.png", 100 + 10 * label + number)
    (tmp_path / "README.md").write_text("not a class")
    draw(tmp_path / ".hidden" / "0.png")
    (tmp_path / "0" / "notes.txt").write_text("not an image")
    draw(tmp_path / "0" / ".thumbnails" / "0.png")
    data = load_dataset(tmp_path)
    assert data.classes == (0, 1, 2, 10)
    assert data.train.labels.dtype == np.int64
    for label in data.classes:
        assert np.sum(data.train.labels == label) == 8
        assert np.sum(data.test.labels == label) == 2
    assert sorted(inks(data.train) + inks(data.test)) == sorted(
        100 + 10 * c + n for c in data.classes for n in range(10)
    )
    for part in (data.train, data.test):
        assert [(ink - 100) // 10 for ink in inks(part)] == part.labels.tolist()
    assert data.name == data.provenance["root"] == str(tmp_path)
    assert data.provenance["preprocess"] == data.provenance["polarity"] == "auto"
    assert load_dataset(str(tmp_path)).provenance == data.provenance
    draw(tmp_path / "11" / "0.png")  # a new class leaves the split of the others as it was
    new = load_dataset(tmp_path)
    assert set(inks(data.test)) <= set(inks(new.test))


def test_folder_of_parts(tmp_path: Path) -> None:
    for number in range(20):
        draw(tmp_path / "train" / "good" / f"{number}.png", 100 + number)
    draw(tmp_path / "test" / "good" / "a.png", 50)
    draw(tmp_path / "test" / "bad" / "a.png", 60)
    draw(tmp_path / "val" / "worse" / "a.png", 70)
    data = load_dataset(tmp_path)
    assert data.classes == ("bad", "good")
    assert data.train.labels.tolist() == ["good"] * 20
    assert (data.test.labels.tolist(), inks(data.test)) == (["bad", "good"], [60, 50])
    split = data.one_class("good")
    assert (split.normal, split.anomalous) == (("good",), ("bad",))
    assert [len(part) for part in (split.train, split.validation, split.calibration)] == [13, 1, 6]
    assert split.train.labels.dtype.kind == "U"
    with pytest.raises(DataError, match="no training images of class bad"):
        data.one_class("bad")
    with pytest.raises(DataError, match="no class is left to be anomalous"):
        data.one_class(["good", "bad"])
    assert json.loads(json.dumps(data.provenance))["counts"] == {"train": 20, "test": 2}


def test_folder_with_one_class_cannot_be_split(tmp_path: Path) -> None:
    for number in range(5):
        draw(tmp_path / "0" / f"{number}.png")
    with pytest.raises(DataError, match="no class is left to be anomalous"):
        load_dataset(tmp_path).one_class([0])


def test_folder_with_a_single_image_of_a_class(tmp_path: Path) -> None:
    draw(tmp_path / "rare" / "0.png")
    for number in range(5):
        draw(tmp_path / "common" / f"{number}.png")
    data = load_dataset(tmp_path)
    assert data.train.labels.tolist() == ["common"] * 4
    assert data.test.labels.tolist() == ["common", "rare"]


@pytest.mark.parametrize("name", ["a\nb", "[red]x", "\x1b[31m", "caf\udce9", "01", "-", "a,b", "0-2"])
def test_folder_with_an_awkward_class(name: str, tmp_path: Path) -> None:
    for number in range(4):
        draw(tmp_path / "data" / name / f"{number}\n.png", 100 + number)
        draw(tmp_path / "data" / "other" / f"{number}.png")
    data = load_dataset(tmp_path / "data")
    assert set(data.classes) == {name, "other"}
    assert data.one_class(name).normal == (name,)
    json.dumps(data.provenance)
    paths = export(data.test, tmp_path / "out", classes=[name])
    assert [path.parent.name for path in paths] == [name]
    assert paths[0].is_file()


def test_folder_with_leading_zeros_keeps_its_names(tmp_path: Path) -> None:
    for label in ("01", "1"):
        draw(tmp_path / label / "a.png")
    assert load_dataset(tmp_path).classes == ("01", "1")


def test_folder_settings_reach_the_reader(tmp_path: Path) -> None:
    for label in "ab":
        Image.fromarray(np.full((56, 56), 255, np.uint8)).save(draw(tmp_path / label / "0.png"))
        image = np.full((56, 56), 250, np.uint8)
        image[10:40, 25:30] = 5
        Image.fromarray(image).save(tmp_path / label / "0.png")
        Image.fromarray(image).save(tmp_path / label / "1.png")
    dark = load_dataset(tmp_path, preprocess="resize", polarity="dark")
    light = load_dataset(tmp_path, preprocess="resize", polarity="light")
    assert dark.train.images.mean() < 100 < light.train.images.mean()
    assert dark.provenance["polarity"] == "dark"
    assert dark.provenance["preprocess"] == "resize"
    assert dark.provenance["sha256"] != light.provenance["sha256"]


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no class folders; expected FOLDER/CLASS"):
        load_dataset(tmp_path)
    draw(tmp_path / "a.png")
    with pytest.raises(DataError, match="no class folders"):
        load_dataset(tmp_path)
    draw(tmp_path / "train" / "0" / "a.png")
    with pytest.raises(DataError, match="has a folder train but no folder test"):
        load_dataset(tmp_path)
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match="test: no class folders"):
        load_dataset(tmp_path)
    (tmp_path / "test" / "1").mkdir()
    with pytest.raises(DataError, match=r"test/1: no images"):
        load_dataset(tmp_path)
    (tmp_path / "test" / "1" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"test/1/broken\.png: "):
        load_dataset(tmp_path)
    with pytest.raises(DataError, match="neither a folder nor"):
        load_dataset(tmp_path / "a.png")


# Export


def test_export_writes_the_images(digits: Dataset, tmp_path: Path) -> None:
    paths = export(digits.test, tmp_path / "out", classes=[3])
    assert len(paths) == np.sum(digits.test.labels == 3)
    for path in paths:
        assert path.parent == tmp_path / "out" / "3"
        assert len(path.name) == len("00000.png")
        np.testing.assert_array_equal(np.asarray(Image.open(path)), digits.test.images[int(path.stem)])
    assert paths == sorted(paths)


def test_export_spreads_the_limit(digits: Dataset, tmp_path: Path) -> None:
    paths = export(digits.test, tmp_path, limit=23)
    counts = [sum(path.parent.name == str(label) for path in paths) for label in range(10)]
    assert counts == [3, 3, 3, 2, 2, 2, 2, 2, 2, 2]
    firsts = np.flatnonzero(digits.test.labels == 0)[:3]
    assert [int(path.stem) for path in paths[:3]] == firsts.tolist()
    few = Part(np.zeros((7, 28, 28), np.uint8), np.array(["a", "b", "b", "b", "b", "b", "b"]))
    assert len(export(few, tmp_path, limit=5)) == 5
    assert len(export(few, tmp_path, limit=100)) == 7


def test_export_leaves_equal_files_and_refuses_others(digits: Dataset, tmp_path: Path) -> None:
    first, second, *_ = export(digits.test, tmp_path, limit=20)
    Image.open(first).save(first, compress_level=0)  # the same image in other bytes
    before = first.stat().st_mtime_ns, second.stat().st_mtime_ns
    assert len(export(digits.test, tmp_path, limit=30)) == 30
    assert (first.stat().st_mtime_ns, second.stat().st_mtime_ns) == before
    for content in (b"", b"something else", (tmp_path / "9").glob("*.png").__next__().read_bytes()):
        second.write_bytes(content)
        with pytest.raises(DataError, match=f"{second.name}: exists already with another content"):
            export(digits.test, tmp_path / "." if content else tmp_path, limit=40)
        assert second.read_bytes() == content
    assert len(list(tmp_path.glob("*/*"))) == 30  # nothing was written beside the refused file


def test_export_errors(digits: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="class 12: not in this part; classes: 0, 1"):
        export(digits.test, tmp_path, classes=[12])
    with pytest.raises(ConfigError, match="limit 0: must be at least 1"):
        export(digits.test, tmp_path, limit=0)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="file: cannot be written: "):
        export(digits.test, tmp_path / "file", limit=1)
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_exported_folder_is_a_data_set(digits: Dataset, tmp_path: Path) -> None:
    export(digits.train, tmp_path / "train", limit=40)
    export(digits.test, tmp_path / "test", limit=20)
    data = load_dataset(tmp_path, preprocess="none")
    assert data.classes == digits.classes
    assert (len(data.train), len(data.test)) == (40, 20)
    assert set(rows(data.test)) <= set(rows(digits.test))
