"""`.npz` files of images and labels as data sets: the same images as from a folder, or one line that says why not."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anomalae.datasets.dataset import Dataset, Part
from anomalae.datasets.folders import export
from anomalae.datasets.load import load_dataset
from anomalae.errors import DataError

N = 12
LABELS = np.arange(N) % 3


def bars(side: int = 28, full: Any = 255, dtype: Any = np.uint8) -> np.ndarray:
    """Pictures of a bar on black, each of another height and faintness, (N, side, side)."""
    images = np.zeros((N, side, side), dtype)
    for index, image in enumerate(images):
        share = (100 + 10 * index) / 255
        height = side // 3 + index % 4
        image[side // 4 : side // 4 + height, side // 2 - 2 : side // 2 + 2] = np.asarray(
            share * full
        ).astype(dtype)
    return images


def saved(path: Path = Path("some.npz"), **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def error(path: Path | str, **how: Any) -> str:
    """The one line that is said of a file that cannot be a data set."""
    with pytest.raises(DataError) as raised:
        load_dataset(path, **how)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def by_image(part: Part) -> list[tuple[int | str, bytes]]:
    return sorted(
        (label, image.tobytes()) for label, image in zip(part.labels.tolist(), part.images, strict=True)
    )


def test_a_file_gives_what_a_folder_of_its_images_gives(tmp_path: Path):
    images = bars()
    data = load_dataset(saved(images=images, labels=LABELS))
    export(Part(images, LABELS), "folder")
    folder = load_dataset("folder")
    assert data.classes == folder.classes == (0, 1, 2)
    for part, other in ((data.train, folder.train), (data.test, folder.test)):
        assert by_image(part) == by_image(other)
    assert by_image(data.whole) == sorted(
        (int(n), image.tobytes()) for n, image in zip(LABELS, images, strict=True)
    )
    assert data.name == data.provenance["root"] == str(tmp_path / "some.npz")
    assert (data.short_name, data.provenance["preprocess"]) == ("some", "auto")
    assert json.loads(json.dumps(data.provenance))["counts"] == {"train": 9, "test": 3}
    again = load_dataset(str(Path("some.npz")))
    assert again.provenance == data.provenance


@pytest.mark.parametrize("how", ["auto", "mnist", "resize"])
@pytest.mark.parametrize("polarity", ["auto", "dark"])
def test_images_of_any_size_and_in_colour_become_what_their_pictures_do(how: str, polarity: str):
    grey = bars(side=40)
    grey = 255 - grey if polarity == "dark" else grey
    colour = np.stack([grey, grey, grey // 2], axis=-1)
    for name, images in (("grey", grey), ("colour", colour)):
        for index, (image, label) in enumerate(zip(images, LABELS, strict=True)):
            file = Path(name) / str(label) / f"{index:02d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file)
        folder = load_dataset(name, preprocess=how, polarity=polarity)
        data = load_dataset(saved(images=images, labels=LABELS), preprocess=how, polarity=polarity)
        assert by_image(data.whole) == by_image(folder.whole)
        assert (data.provenance["preprocess"], data.provenance["polarity"]) == (how, polarity)


@pytest.mark.parametrize(
    "images",
    [
        bars().reshape(N, 784),
        bars()[:, None],
        bars().astype(np.int64),
        np.asfortranarray(bars()),
        bars().astype(np.float64) / 255,
        (bars() / 255).astype(">f4"),
        bars().astype(np.uint16) * 257,
        (bars().astype(">u2") * 257).astype(">u2"),
    ],
    ids=["rows", "channel", "int64", "fortran", "floats", "big-endian", "uint16", "big-endian uint16"],
)
def test_types_and_shapes_of_the_same_images(images: np.ndarray):
    data = load_dataset(saved(images=images, labels=LABELS))
    assert by_image(data.whole) == by_image(Part(bars(), LABELS))


def test_names_of_classes():
    data = load_dataset(saved(images=bars(), labels=np.array(["b 2", "a", "b 10"] * 4)))
    assert data.classes == ("a", "b 2", "b 10")
    assert data.train.labels.dtype.kind == "U"
    numbers = load_dataset(saved(images=bars(), labels=np.array(["10", "3", "0"] * 4)))
    assert numbers.classes == (0, 3, 10)
    assert numbers.train.labels.dtype == np.int64
    assert load_dataset(saved(images=bars(), labels=np.array(["10", "03", "0"] * 4))).classes == (
        "0",
        "03",
        "10",
    )


@pytest.mark.parametrize(
    "names",
    [
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("x_train", "y_train", "x_test", "y_test"),
    ],
)
def test_parts_stay_what_they_are(names: tuple[str, ...]):
    images = bars()
    arrays = (images[:9], LABELS[:9].astype(np.uint8), images[9:], np.array(["0", "1", "x"]))
    data = load_dataset(saved(**dict(zip(names, arrays, strict=True))))
    assert data.classes == ("0", "1", "2", "x")
    assert np.array_equal(data.train.images, images[:9])
    assert data.test.labels.tolist() == ["0", "1", "x"]


def test_other_arrays_in_the_file_are_passed_over():
    objects = np.array([{}], dtype=object)
    assert len(load_dataset(saved(images=bars(), labels=LABELS, more=objects)).whole) == N


NO_ARRAYS = "expected images and labels, or train_images, train_labels, test_images and test_labels"


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": bars(), "labels": LABELS}, f"some.npz: holds x, labels; {NO_ARRAYS}"),
        ({}, f"some.npz: holds no arrays; {NO_ARRAYS}"),
        ({f"a{n}": LABELS for n in range(30)}, "a8, a9, ...; expected"),
        ({"images": bars()[0], "labels": LABELS}, "some.npz:images: shape (28, 28), expected (N, H, W), (N, 784)"),
        ({"images": np.zeros((N, 5, 6, 7), np.uint8), "labels": LABELS}, "images: shape (12, 5, 6, 7), expected"),
        ({"images": bars(), "labels": LABELS[:, None]}, "some.npz:labels: shape (12, 1), expected (N,)"),
        ({"images": bars(), "labels": LABELS[:5]}, "some.npz: 12 images and 5 labels"),
        ({"images": bars()[:0], "labels": LABELS[:0]}, "some.npz:images: no images: shape (0, 28, 28)"),
        ({"images": bars() > 0, "labels": LABELS}, "images: type bool, expected uint8, uint16 or float"),
        ({"images": bars().astype(object), "labels": LABELS}, "images: holds Python objects, which are not read"),
        ({"images": bars(), "labels": LABELS.astype(object)}, "labels: holds Python objects, which are not read"),
        ({"images": bars(), "labels": LABELS / 2}, "labels: type float64, expected whole numbers or text"),
        ({"images": bars(), "labels": LABELS - 1}, "labels: -1, expected numbers of classes from 0"),
        ({"images": bars(), "labels": np.full(N, 10**18)}, "labels: 1000000000000000000, expected"),
        ({"images": bars(), "labels": np.array(["a/../b"] * N)}, "labels: 'a/../b' cannot be the name of a class"),
        ({"images": bars(), "labels": np.array([".."] * N)}, "labels: '..' cannot be"),
        ({"images": bars(), "labels": np.array(["a", ""] * 6)}, "labels: '' cannot be"),
        ({"images": bars().astype(float), "labels": LABELS}, "images[0]: the value 100 lies outside [0, 1]"),
        ({"images": np.where(bars() == 210, np.nan, 0.5), "labels": LABELS}, "images[11]: the value nan is not finite"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_no_data_set_is_told_in_one_line(arrays: dict[str, Any], said: str):
    assert said in error(saved(**arrays))


def test_an_image_that_cannot_become_canonical_is_named():
    message = error(saved(images=bars(side=40), labels=LABELS), preprocess="none")
    assert "some.npz:images[0]: the picture is 40x40 pixels, preprocess 'none' takes 28x28 only" in message


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 broken"])
def test_a_file_that_is_no_archive(content: bytes):
    Path("some.npz").write_bytes(content)
    assert error("some.npz").endswith("some.npz: not a .npz file, which is a zip archive of arrays")


def test_a_file_that_is_cut_off():
    archive = zipfile.ZipFile(saved(images=bars(), labels=LABELS))
    with zipfile.ZipFile("cut.npz", "w") as cut:
        cut.writestr("images.npy", archive.read("images.npy")[:-10])
        cut.writestr("labels.npy", archive.read("labels.npy"))
    assert "cut.npz:images: truncated: the header declares" in error("cut.npz")


def header(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"shape": shape, "fortran_order": False, "descr": dtype})
    return content.getvalue()


def test_what_would_fill_the_memory_is_refused_by_its_header():
    with zipfile.ZipFile("bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", header((2**20 + 1, 32, 32)))
        archive.writestr("labels.npy", header((2**20 + 1,)))
        # What the archive's list of files says that it unpacks to.
        archive.getinfo("images.npy").file_size = 2**30 + 1024 + 128
    assert "bomb.npz:images: declares 1,073,742,976 bytes unpacked, the limit is" in error("bomb.npz")
    with zipfile.ZipFile("small.npz", "w") as archive:
        # Few bytes an image, and many as canonical ones.
        archive.writestr("images.npy", header((2**21, 1, 1)) + bytes(2**21))
        archive.writestr("labels.npy", header((2**21,)) + bytes(2**21))
    assert "small.npz:images: 2,097,152 images, the limit is" in error("small.npz")
    with zipfile.ZipFile("large.npz", "w") as archive:
        archive.writestr("images.npy", header((1, 50_000, 50_000)))
        archive.writestr("labels.npy", header((1,)) + b"\0")
    assert "large.npz:images: too large: images of 50,000 x 50,000 pixels" in error("large.npz")


def test_nothing_is_unpickled(tmp_path: Path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    np.savez("trap.npz", images=bars(), labels=np.array([Trap()] * N, dtype=object))
    assert "Python objects" in error("trap.npz")
    assert not (tmp_path / "sprung").exists()


def test_what_is_neither_folder_nor_file():
    Path("notes.txt").write_text("a, b")
    for name in ("notes.txt", "gone.npz", "x" * 5000):
        assert "neither a folder nor a .npz file nor one of mnist" in error(name)


def test_short_names(digits: Dataset):
    assert digits.short_name == "digits"
