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

from anomalae.datasets import load as datasets
from anomalae.datasets.load import DATASETS, fetch, load_dataset, locate
from anomalae.datasets.official import SOURCES
from anomalae.errors import ConfigError, DataError

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
    with pytest.raises(
        DataError, match=r"data set mnits: neither a folder nor a \.npz file nor one of mnist, fashion-mnist"
    ):
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
