"""Folders of pictures as data sets, and data sets written as folders."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalae.datasets.dataset import Dataset, Part
from anomalae.datasets.folders import export
from anomalae.datasets.load import load_dataset
from anomalae.errors import ConfigError, DataError


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


@pytest.mark.parametrize(("place", "label"), [(".", "normal"), ("0", 0), ("good", "good")])
def test_folder_of_normal_images_alone(tmp_path: Path, place: str, label: str | int) -> None:
    for number in range(20):
        draw(tmp_path / place / f"{number}.png", 100 + number)
    draw(tmp_path / ".hidden" / "0.png")
    (tmp_path / place / "list.txt").write_text("no image")
    with pytest.warns(UserWarning, match="1 file passed over"):
        data = load_dataset(tmp_path)
    assert data.classes == (label,)
    split = data.one_class()
    assert (split.normal, split.anomalous) == ((label,), ())
    parts = [split.train, split.validation, split.calibration, split.test]
    assert [len(part) for part in parts] == [10, 1, 5, 4]
    assert sorted(ink for part in parts for ink in inks(part)) == list(range(100, 120))
    assert repr(split).endswith(f"normal class {label}; none anomalous; seed 0>")
    assert "test, anomalous" not in split._repr_html_()
    assert inks(data.one_class([label]).train) == inks(split.train)
    with pytest.raises(DataError, match="no normal class is left"):
        data.one_class(anomalous=[label])
    with pytest.raises(DataError, match="class 1: not in"):
        data.one_class([1])


def test_parts_of_normal_images_alone(tmp_path: Path) -> None:
    for number in range(4):
        draw(tmp_path / "train" / f"{number}.png", 100 + number)
        draw(tmp_path / "test" / "normal" / f"{number}.png", 110 + number)
    assert load_dataset(tmp_path).one_class().anomalous == ()
    draw(tmp_path / "test" / "bad" / "0.png")
    assert load_dataset(tmp_path).one_class("normal").anomalous == ("bad",)


def test_images_beside_one_folder_are_not_left_out_without_a_word(tmp_path: Path) -> None:
    draw(tmp_path / "thumbs" / "0.png")
    draw(tmp_path / "0.png")
    with pytest.raises(
        DataError, match=r"holds images, as 0\.png, beside one folder, thumbs; expected FOLDER/"
    ):
        load_dataset(tmp_path)
    (tmp_path / "0.png").rename(tmp_path / "notes.txt")
    assert load_dataset(tmp_path).classes == ("thumbs",)


def test_a_picture_of_a_folder_whose_ink_is_lost_is_told(tmp_path: Path) -> None:
    for number in range(4):
        draw(tmp_path / "a" / f"{number}.png")
        draw(tmp_path / "b" / f"{number}.png")
    bar = np.full((60, 60), 220, np.uint8)
    bar[15:45, 26:34] = 30
    Image.fromarray(bar).save(tmp_path / "b" / "scan.png")
    line = r"b/scan\.png: it turned blank though it has ink, dark on light: give polarity dark or auto \(now light\)"
    with pytest.raises(DataError, match=line) as caught:
        load_dataset(tmp_path, polarity="light")
    assert caught.value.setting == "polarity"
    assert len(load_dataset(tmp_path).train.images) == 7
    # Without ink it is a blank image, as it always was.
    Image.fromarray(np.full((60, 60), 220, np.uint8)).save(tmp_path / "b" / "scan.png")
    assert len(load_dataset(tmp_path, polarity="light").train.images) == 7


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


def test_the_hash_of_a_folder_is_that_of_before(tmp_path: Path) -> None:
    """Runs compare it: classes are counted in natural order, but folders are read as they always were."""
    for place, name in enumerate(["10", "-1", "1.5", "2", "1.25", "a10", "a2"]):
        (tmp_path / name).mkdir()
        for i in range(2):
            image = np.full((28, 28), 10 * place + i, np.uint8)
            Image.fromarray(image).save(tmp_path / name / f"{i}.png")
    data = load_dataset(tmp_path, preprocess="none", polarity="light")
    assert data.classes == ("-1", "1.25", "1.5", "2", "10", "a2", "a10")
    before = "8711eacfdb949d3d35c4f0aad55d92ec9a1cde5805ae9284fae56d35bcbe47b5"
    assert data.provenance["sha256"]["train"] == before


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
    (tmp_path / "a.txt").write_text("no image")
    with pytest.raises(DataError, match=r"no class folders; .* or, of normal images alone, FOLDER/\*\.png"):
        load_dataset(tmp_path)
    draw(tmp_path / "a.png")
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


def test_a_few_files_that_cannot_be_read_are_left_out_and_named(tmp_path: Path) -> None:
    for place in range(38):
        draw(tmp_path / f"{place:02d}.png")
    for name in ("38.png", "39.png"):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n")
    told: list[str] = []
    read: list[tuple[int, int]] = []
    dataset = load_dataset(tmp_path, warn=told.append, on_read=lambda *numbers: read.append(numbers))
    assert len(dataset.train.images) + len(dataset.test.images) == 38
    (line,) = told
    assert line.startswith(f"{tmp_path}: 2 of 40 images left out as unreadable: {tmp_path / '38.png'}: ")
    assert line.endswith(", and 1 other")
    assert read == [(n, 40) for n in range(1, 41)]
    # One more is more than a twentieth: so many are no accident.
    (tmp_path / "37.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"3 of 40 images cannot be read, the first of them .*/37\.png: "):
        load_dataset(tmp_path)


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
    there = {image.tobytes() for image in digits.test.images}
    assert {image.tobytes() for image in data.test.images} <= there


def coloured(path: Path, colour: tuple[int, int, int], shape: int, rng: np.random.Generator) -> None:
    """A scan of a bar (0) or a ring (1) in a colour on paper a little yellow."""
    canvas = np.full((60, 60, 3), (250, 245, 225), float)
    yy, xx = np.mgrid[0:60, 0:60]
    away = np.hypot(yy - 30, xx - 30)
    ink = (np.abs(xx - 30) < 5) & (np.abs(yy - 30) < 20) if shape == 0 else (away > 12) & (away < 20)
    canvas[np.roll(ink, rng.integers(-5, 6, 2), (0, 1))] = colour
    path.parent.mkdir(parents=True, exist_ok=True)
    noisy = np.clip(canvas + rng.normal(0, 6, canvas.shape), 0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(path)


RED, BLUE, GREY = (190, 40, 40), (40, 60, 190), (60, 60, 60)


@pytest.mark.parametrize(
    ("looks", "warned"),
    [
        ({"red": (RED, 0), "blue": (BLUE, 0)}, "classes blue, red differ in colour"),
        ({"red": (RED, 0), "blue": (BLUE, 0), "ring": (GREY, 1)}, "classes blue, red differ in colour"),
        ({"bar": (RED, 0), "ring": (BLUE, 1)}, None),
        ({"bar": (GREY, 0), "same": (GREY, 0)}, None),
        ({"bar": (RED, 0), "same": (RED, 0)}, None),
    ],
)
def test_classes_that_differ_in_colour_only_are_named(
    tmp_path: Path, looks: dict, warned: str | None
) -> None:
    rng = np.random.default_rng(0)
    for name, (colour, shape) in looks.items():
        for number in range(12):
            coloured(tmp_path / name / f"{number}.png", colour, shape, rng)
    messages: list[str] = []
    load_dataset(tmp_path, warn=messages.append)
    assert len(messages) == (warned is not None)
    if warned:
        assert warned in messages[0]


def test_files_passed_over_are_counted(tmp_path: Path) -> None:
    for number in range(10):
        draw(tmp_path / "a" / f"{number}.png")
    for name in ("x.txt", "y.TXT", "z.pdf", ".hidden.txt"):
        (tmp_path / "a" / name).write_text("no image")
    messages: list[str] = []
    load_dataset(tmp_path, warn=messages.append)
    assert messages == [f"{tmp_path}: 3 files passed over for their ending: .txt 2, .pdf 1"]


def test_each_page_of_a_picture_is_an_image(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.roll(np.eye(28, dtype=np.uint8) * 200, n, 0)) for n in range(6)]
    (tmp_path / "a").mkdir()
    frames[0].save(tmp_path / "a" / "x.tif", save_all=True, append_images=frames[1:])
    data = load_dataset(tmp_path)
    assert len(data.train) + len(data.test) == 6
