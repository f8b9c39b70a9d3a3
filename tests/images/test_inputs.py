"""Files of any kind to images: every format and mode gives the same digit, every broken file its one line."""

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import sys
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalae.errors import ConfigError, ImageError
from anomalae.images import arrays
from anomalae.images import pictures as decode
from anomalae.images.inputs import (
    IMAGE_SUFFIXES,
    Input,
    count_inputs,
    is_image_data,
    list_files,
    passed_over_line,
    read_idx,
    read_image,
    read_inputs,
)


@pytest.fixture
def picture() -> np.ndarray:
    """Grey, uint8 (40, 30), nothing alike in it."""
    y, x = np.mgrid[0:40, 0:30]
    levels = 255 - (3 * y + 2 * x)
    levels[10:30, 12:16] = 20
    return levels.astype(np.uint8)


@pytest.fixture
def digits() -> np.ndarray:
    """Light on black, uint8 (5, 28, 28)."""
    found = np.zeros((5, 28, 28), np.uint8)
    for index in range(5):
        found[index, 5 : 20 + index, 10 : 14 + index] = 40 * index + 50
    return found


def idx(array: np.ndarray, kind: int = 0x08) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape)
    return header + array.tobytes()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """A grey PNG whose header may lie."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


def write(name: str, content: bytes) -> Path:
    path = Path(name)
    path.write_bytes(content)
    return path


def rows(*paths: Path | str, **choices: str) -> list[Input]:
    return list(read_inputs([Path(path) for path in paths], **choices))


def only_error(path: Path | str) -> str:
    """The error of a file that gives just one, and a whole line of it."""
    (found,) = rows(path)
    assert found.image is None
    assert not found.blank
    assert found.error is not None
    assert found.error.isprintable()
    assert len(found.error) < 400
    return found.error


# What is read well


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_formats(picture: np.ndarray, suffix: str) -> None:
    levels = np.where(picture < 128, 0, 255).astype(np.uint8) if suffix == ".pbm" else picture
    image = Image.fromarray(levels)
    lossless = {"lossless": True} if suffix == ".webp" else {"quality": 98}
    if suffix == ".jpe" or suffix == ".jfif":
        image.save(f"p{suffix}", "JPEG", quality=98)
    elif suffix == ".pbm":
        image.convert("1").save(f"p{suffix}", "PPM")
    else:
        image.convert("RGB" if suffix == ".webp" else "L").save(f"p{suffix}", **lossless)
    found = read_image(f"p{suffix}")
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found.astype(int), levels, atol=12 if suffix[:3] in (".jp", ".jf") else 0)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "1"])
def test_modes(picture: np.ndarray, mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(picture.astype(np.uint16) * 257)
    elif mode in ("I", "F"):
        wide = picture.astype(np.int32) * 257 if mode == "I" else (picture / 255).astype(np.float32)
        image = Image.fromarray(wide)
    elif mode == "CMYK":
        image = Image.fromarray(picture).convert("RGB").convert("CMYK")
    else:
        image = Image.fromarray(picture).convert(mode, dither=Image.Dither.NONE)
    image.save("p.tif")
    found = read_image("p.tif")
    if mode == "1":
        expected = np.where(picture >= 128, 255, 0)
    else:
        expected = picture.astype(int)
        found = found * {"uint8": 1, "uint16": 1 / 257, "float32": 255}[found.dtype.name]
    np.testing.assert_allclose(found, expected, atol=1)


@pytest.mark.parametrize("suffix", [".png", ".pgm", ".tif"])
def test_sixteen_bits_are_kept(suffix: str) -> None:
    levels = np.arange(1200, dtype=np.uint16).reshape(40, 30) * 54
    if suffix == ".pgm":
        write("p.pgm", b"P5 30 40 65535\n" + levels.astype(">u2").tobytes())
    else:
        Image.fromarray(levels).save(f"p{suffix}")
    found = read_image(f"p{suffix}")
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, levels)


def test_levels_without_a_known_white_are_stretched() -> None:
    for levels in (
        np.array([[-5, 0], [100_000, 47_500]], np.int32),
        np.array([[0, 5], [255, 9]], np.float32),
    ):
        Image.fromarray(levels).save("p.tif")
        found = read_image("p.tif")
        assert found.dtype == np.float32
        assert (found.min(), found.max()) == (0, 1)
        np.testing.assert_allclose(found, (levels - levels.min()) / np.ptp(levels), atol=1e-6)
    Image.fromarray(np.full((2, 2), -3, np.int32)).save("p.tif")
    assert not read_image("p.tif").any()


def test_cmyk_jpeg(picture: np.ndarray) -> None:
    Image.fromarray(picture).convert("RGB").convert("CMYK").save("p.jpg", quality=98)
    with Image.open("p.jpg") as image:
        assert image.mode == "CMYK"
    np.testing.assert_allclose(read_image("p.jpg").astype(int), picture, atol=12)


def test_palette_with_a_transparent_colour() -> None:
    levels = np.zeros((8, 9), np.uint8)
    levels[2:5, 3:5] = 1
    image = Image.fromarray(levels).convert("P")
    image.putpalette([0, 0, 0, 10, 10, 10])
    image.save("p.png", transparency=0)
    np.testing.assert_array_equal(read_image("p.png"), np.where(levels, 10, 255))


@pytest.mark.parametrize(("ink", "sheet"), [(0, 255), (90, 255), (255, 0), (250, 0)])
def test_transparent_pictures_lie_on_what_shows_them(ink: int, sheet: int) -> None:
    """Ink of one tone on nothing: on white, but white ink on black."""
    cover = np.zeros((20, 20), np.uint8)
    cover[5:15, 8:12] = 255
    tone = np.full_like(cover, ink)
    for mode, bands in (("LA", [tone, cover]), ("RGBA", [tone, tone, tone, cover])):
        Image.merge(mode, [Image.fromarray(band) for band in bands]).save("p.png")
        np.testing.assert_array_equal(read_image("p.png"), np.where(cover, ink, sheet))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_exif_orientation_is_obeyed(picture: np.ndarray, orientation: int, suffix: str) -> None:
    undo: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: np.transpose,
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).T,
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(undo[orientation](picture))
    settings = {"lossless": True} if suffix == ".webp" else {"quality": 95}
    Image.fromarray(stored).convert("RGB").save(f"p{suffix}", exif=exif, **settings)
    np.testing.assert_allclose(read_image(f"p{suffix}").astype(int), picture, atol=25)


def test_broken_exif_does_not_matter(picture: np.ndarray) -> None:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff junk", quality=98)
    write("p.jpg", stream.getvalue())
    np.testing.assert_allclose(read_image("p.jpg").astype(int), picture, atol=12)


def paged(path: str, pages: list[np.ndarray]) -> None:
    """Write pictures as the pages of one file."""
    frames = [Image.fromarray(page).convert("RGB") for page in pages]
    settings = {"lossless": True} if path.endswith(".webp") else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **settings)


@pytest.mark.parametrize("suffix", [".gif", ".tif", ".webp"])
def test_pages_are_read_each(picture: np.ndarray, suffix: str) -> None:
    pages = [picture, np.ascontiguousarray(picture[::-1]), np.roll(picture, 9, axis=0)]
    paged(f"p{suffix}", pages)
    found = rows(f"p{suffix}", preprocess="resize", polarity="light")
    assert [one.name for one in found] == [f"p{suffix}[{number}]" for number in range(3)]
    for number, (one, page) in enumerate(zip(found, pages, strict=True)):
        Image.fromarray(page).save(f"{number}.png")
        (alone,) = rows(f"{number}.png", preprocess="resize", polarity="light")
        assert alone.image is not None
        np.testing.assert_allclose(np.asarray(one.image, int), alone.image, atol=10)
    assert count_inputs([Path(f"p{suffix}")]) == 3
    np.testing.assert_allclose(read_image(f"p{suffix}").astype(int), picture, atol=6)
    paged(f"one{suffix}", pages[:1])
    assert [one.name for one in rows(f"one{suffix}")] == [f"one{suffix}"]


def test_a_broken_page_has_its_error_and_the_others_are_read(picture: np.ndarray) -> None:
    pages = [Image.fromarray(picture), Image.fromarray(picture), Image.fromarray(picture)]
    pages[0].save("p.tif", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    content = bytearray(Path("p.tif").read_bytes())
    with Image.open("p.tif") as image:
        image.seek(1)
        start, size = image.tag_v2[273][0], image.tag_v2[279][0]
    content[start : start + size] = b"\xff" * size
    write("p.tif", bytes(content))
    found = rows("p.tif")
    assert [one.name for one in found] == ["p.tif[0]", "p.tif[1]", "p.tif[2]"]
    assert [one.error is None for one in found] == [True, False, True]
    assert str(found[1].error).startswith("p.tif[1]: ")


def test_a_smaller_version_of_a_page_is_no_page(picture: np.ndarray) -> None:
    small = Image.fromarray(np.ascontiguousarray(picture[::2, ::2]))
    for kind, names in ((1, ["p.tif"]), (0, ["p.tif[0]", "p.tif[1]"])):
        small.encoderinfo = {"tiffinfo": {254: kind}}
        Image.fromarray(picture).save("p.tif", save_all=True, append_images=[small])
        with Image.open("p.tif") as image:
            image.seek(1)
            assert image.tag_v2.get(254, 0) == kind
        assert [one.name for one in rows("p.tif")] == names


def test_pages_without_end_are_bounded(picture: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    paged("p.gif", [np.roll(picture, number, axis=0) for number in range(6)])
    monkeypatch.setattr(decode, "MAX_PAGES", 4)
    found = rows("p.gif")
    assert [one.error is None for one in found] == [True] * 4 + [False]
    assert found[-1].error == "p.gif[4]: more than 4 pages; nothing is read from here on"
    monkeypatch.setattr(decode, "MAX_PAGES", 100)
    paged("p.tif", [np.roll(picture, number, axis=0) for number in range(6)])
    monkeypatch.setattr(decode, "MAX_PAGED_PIXELS", 3 * picture.size)
    monkeypatch.setattr(decode, "MAX_FRAMED_PIXELS", 2 * picture.size)
    assert [one.error is None for one in rows("p.gif")] == [True, True, False]
    assert [one.error is None for one in rows("p.tif")] == [True, True, True, False]


def test_files_passed_over_are_counted_by_their_ending() -> None:
    tree("d/a.png", "d/b.txt", "d/sub/c.TXT", "d/sub/e.pdf", "d/.hidden.txt", "d/x-idx1-ubyte", "d/none")
    passed_over: Counter[str] = Counter()
    assert len(list_files(["d"], passed_over)) == 1
    assert passed_over_line(passed_over) == (
        "4 files passed over for their ending: .txt 2, .pdf 1, no ending 1"
    )
    assert passed_over_line(Counter()) == ""
    many = Counter({f".{letter}": 1 for letter in "abcdefgh"})
    assert passed_over_line(many).endswith(".d 1, .e 1, others 3")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp", ".gif", ".pgm", ".pbm"])
def test_images_are_known_by_their_first_bytes(picture: np.ndarray, suffix: str) -> None:
    image = Image.fromarray(picture)
    (image.convert("1") if suffix == ".pbm" else image).save(f"p{suffix}")
    assert is_image_data(Path(f"p{suffix}").read_bytes()[:1000])
    for text in (b"P5\n", b"BMW.png\nother.png\n", b"a.png\n", b"", b"GIF.gif\n", b"MM/x.png\n"):
        assert not is_image_data(text)


def test_content_decides_where_the_suffix_lies(picture: np.ndarray, digits: np.ndarray) -> None:
    Image.fromarray(picture).save("p.jpg", "PNG")
    np.testing.assert_array_equal(read_image("p.jpg"), picture)
    write("noname", npy(digits))
    write("noname2", idx(digits))
    assert [one.name for one in rows("noname", "noname2")][::5] == ["noname[0]", "noname2[0]"]


def test_both_polarities_give_the_digit(digits: np.ndarray) -> None:
    enlarged = Image.fromarray(digits[4]).resize((140, 140), Image.Resampling.BICUBIC)
    enlarged.save("light.png")
    Image.fromarray(255 - np.asarray(enlarged)).save("dark.png")
    light, dark = (one.image for one in rows("light.png", "dark.png"))
    assert light is not None
    assert dark is not None
    np.testing.assert_allclose(light.astype(int), dark, atol=8)
    wrong = rows("dark.png", preprocess="resize", polarity="light")[0].image
    assert wrong is not None
    assert np.median(wrong) > 128


def test_a_row_of_an_array_is_an_image(digits: np.ndarray) -> None:
    for shaped in (
        digits,
        digits[:, None],
        digits.reshape(5, 784),
        digits / 255,
        (digits / 255).astype(">f4"),
    ):
        for given in (shaped, np.asfortranarray(shaped)):
            write("a.npy", npy(given))
            found = rows("a.npy")
            assert [one.name for one in found] == [f"a.npy[{index}]" for index in range(5)]
            assert [one.error for one in found] == [None] * 5
            np.testing.assert_array_equal([one.image for one in found], digits)
            assert count_inputs([Path("a.npy")]) == 5


def test_one_image_in_an_array_has_no_index(digits: np.ndarray) -> None:
    for given in (digits[2], np.asfortranarray(digits[2])):
        write("a.npy", npy(given))
        (found,) = rows("a.npy")
        assert found.name == "a.npy"
        np.testing.assert_array_equal(found.image, digits[2])


def test_rows_of_any_size_are_preprocessed(picture: np.ndarray) -> None:
    write("a.npy", npy(np.stack([picture, picture])))
    first, second = rows("a.npy", preprocess="resize")
    assert first.image is not None
    assert first.image.shape == (28, 28)
    np.testing.assert_array_equal(first.image, second.image)
    first, second = rows("a.npy", preprocess="none")
    assert first.error == "a.npy[0]: the picture is 30x40 pixels, preprocess 'none' takes 28x28 only"


def test_npz_names_its_arrays_and_skips_labels(digits: np.ndarray) -> None:
    np.savez("a.npz", x=digits[:2], y=np.arange(2))
    np.savez_compressed("b.npz", one=digits[3], many=digits / 255)
    found = rows("a.npz", "b.npz")
    assert [one.name for one in found] == [
        "a.npz:x[0]", "a.npz:x[1]", "b.npz:one", *(f"b.npz:many[{index}]" for index in range(5))
    ]  # fmt: skip
    np.testing.assert_array_equal([one.image for one in found], digits[[0, 1, 3, 0, 1, 2, 3, 4]])
    assert count_inputs([Path("a.npz"), Path("b.npz"), Path("missing.png")]) == 9


@pytest.mark.parametrize(
    "name", ["t10k-images-idx3-ubyte", "t.idx", "t-images-idx3-ubyte.gz", "t.IDX.GZ", "t"]
)
def test_idx(digits: np.ndarray, name: str) -> None:
    packed = gzip.compress(idx(digits)) if name.lower().endswith(".gz") else idx(digits)
    path = write(name, packed)
    found = rows(path)
    assert [one.name for one in found] == [f"{name}[{index}]" for index in range(5)]
    np.testing.assert_array_equal([one.image for one in found], digits)
    np.testing.assert_array_equal(read_idx(path), digits)
    # Only what its name tells to be an array is opened to be counted.
    assert count_inputs([path]) == (1 if name == "t" else 5)


@pytest.mark.parametrize(
    ("kind", "dtype"), [(8, "u1"), (9, "i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")]
)
def test_read_idx_knows_every_type(kind: int, dtype: str) -> None:
    values = np.arange(24).reshape(2, 3, 4).astype(dtype)
    for content in (idx(values, kind), gzip.compress(idx(values, kind))):
        found = read_idx(write("a.idx", content))
        np.testing.assert_array_equal(found, values)
        assert found.dtype.isnative
        assert found.flags.writeable
    np.testing.assert_array_equal(read_idx(write("l.idx", idx(np.arange(7, dtype=np.uint8)))), np.arange(7))
    assert read_idx(write("e.idx", idx(np.zeros((0, 28, 28), np.uint8)))).shape == (0, 28, 28)


def test_floats_in_idx(digits: np.ndarray) -> None:
    found = rows(write("a.idx", idx((digits / 255).astype(">f4"), 13)))
    np.testing.assert_array_equal([one.image for one in found], digits)


def test_blank_is_noted(digits: np.ndarray) -> None:
    Image.new("L", (90, 60), 240).save("sheet.png")
    Image.new("L", (28, 28), 0).save("black.png")
    Image.fromarray(digits[0]).save("digit.png")
    assert [one.blank for one in rows("sheet.png", "black.png", "digit.png")] == [True, True, False]


# Folders


def tree(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (28, 28)).save(path, "PNG")


def listed(*paths: str) -> list[str]:
    return [path.as_posix() for path in list_files(paths)]


def test_folders_are_searched_in_order() -> None:
    tree("d/b.png", "d/a.PNG", "d/sub/c.jpg", "d/.hidden.png", "d/.git/x.png", "d/notes.txt", "d/z.npy")
    tree(
        "d/train-images-idx3-ubyte", "d/train-labels-idx1-ubyte", "d/train-labels-idx1-ubyte.gz", "d/other.gz"
    )
    expected = ["d/a.PNG", "d/b.png", "d/train-images-idx3-ubyte", "d/z.npy", "d/sub/c.jpg"]
    assert listed("d") == expected
    assert listed(*listed("d")) == expected
    assert listed("d/sub", "d") == ["d/sub/c.jpg", *expected[:-1]]
    assert listed("d/.hidden.png", "d/notes.txt") == ["d/.hidden.png", "d/notes.txt"]


def test_each_file_once() -> None:
    tree("d/a.png", "d/b.png")
    assert listed("d/b.png", "d", "./d/a.png", "d/../d/b.png", str(Path("d").absolute())) == [
        "d/b.png",
        "d/a.png",
    ]
    assert listed("nowhere.png", "nowhere.png") == ["nowhere.png"]


def test_links_in_circles_end() -> None:
    tree("d/sub/a.png")
    Path("d/sub/up").symlink_to(Path("d").absolute(), target_is_directory=True)
    Path("d/me").symlink_to(".", target_is_directory=True)
    Path("d/broken.png").symlink_to("nowhere")
    Path("elsewhere").mkdir()
    tree("elsewhere/e.png")
    Path("d/there").symlink_to(Path("elsewhere").absolute(), target_is_directory=True)
    assert listed("d") == ["d/broken.png", "d/sub/a.png", "d/there/e.png"]
    assert [one.error is None for one in rows("d")] == [False, True, True]
    Path("self.png").symlink_to("self.png")
    assert "self.png" in only_error("self.png")


def test_what_is_not_there_keeps_its_place(digits: np.ndarray) -> None:
    tree("d/a.png")
    Path("empty/sub").mkdir(parents=True)
    Image.fromarray(digits[0]).save("x.png")
    paths = ["nowhere.png", "d", "empty", "x.png", "nul\0.png"]
    assert listed(*paths) == ["nowhere.png", "d/a.png", "empty", "x.png", "nul\0.png"]
    found = rows(*paths)
    assert [one.error for one in found][:3] == [
        "nowhere.png: No such file or directory",
        None,
        "empty: no images in this folder",
    ]
    assert found[3].image is not None
    assert found[4].error is not None
    assert found[4].error.startswith(r"nul\x00.png: ")
    assert count_inputs(list_files(paths)) == 5


def test_what_is_no_file_is_not_waited_for() -> None:
    os.mkfifo("pipe.png")
    assert only_error("pipe.png") == "pipe.png: not a regular file"


def test_choices_are_checked_before_anything_is_read() -> None:
    with pytest.raises(ConfigError, match="unknown preprocess 'x'"):
        read_inputs([], preprocess="x")
    with pytest.raises(ConfigError, match="unknown polarity 'x'"):
        read_inputs([], polarity="x")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"new\nline.png", r"new\nline.png"),
        (b"[red]markup[-red].png", "[red]markup[-red].png"),
        (b"\x1b[31mred\x07.png", r"\x1b[31mred\x07.png"),
        (b"\xff\xfe.png", r"\udcff\udcfe.png"),
        ("\u202egnp.png".encode(), r"\u202egnp.png"),
        (b"-rf *.png", "-rf *.png"),
    ],
)
def test_any_name(digits: np.ndarray, name: bytes, shown: str) -> None:
    path = Path(os.fsdecode(name))
    Image.fromarray(digits[0]).save("x.png")
    Path("x.png").rename(path)
    (found,) = rows(path)
    assert os.fsencode(found.name) == name
    np.testing.assert_array_equal(found.image, digits[0])
    path.write_bytes(b"junk")
    assert only_error(path) == f"{shown}: not an image (PNG, JPEG, BMP, TIFF, WEBP, GIF, PPM)"
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert str(caught.value).isprintable()


def test_names_in_a_zip_are_shown_safely(digits: np.ndarray) -> None:
    with zipfile.ZipFile("a.npz", "w") as archive:
        archive.writestr("x\n\x1b[31m.npy", npy(digits[:, :3].astype(int)))
    assert only_error("a.npz").startswith(r"a.npz:x\n\x1b[31m: type int64")


# What is broken


def test_empty_files() -> None:
    for name in ("a.png", "a.npy", "a.npz", "a-ubyte", "a.idx.gz", "a"):
        write(name, b"")
        assert only_error(name) == f"{name}: the file is empty"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp", ".gif", ".pgm"])
def test_truncated_pictures(suffix: str, recwarn: pytest.WarningsRecorder) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (60, 50), np.uint8)
    Image.fromarray(levels).save(f"p{suffix}")
    whole = Path(f"p{suffix}").read_bytes()
    for share in (0.01, 0.1, 0.5, 0.9):
        write(f"p{suffix}", whole[: max(4, int(len(whole) * share))])
        assert only_error(f"p{suffix}").startswith(f"p{suffix}: ")
    assert not recwarn.list


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp", ".gif", ".pgm"])
def test_garbled_pictures_never_raise(picture: np.ndarray, suffix: str) -> None:
    """Whatever bytes change, each file is one row, or a broken page more, and nothing warns."""
    Image.fromarray(picture).save(f"p{suffix}")
    whole = np.frombuffer(Path(f"p{suffix}").read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(25):
        changed = whole.copy()
        changed[rng.integers(0, min(len(whole), 200), 4)] = rng.integers(0, 256, 4)
        write(f"p{suffix}", changed.tobytes())
        found, *more = rows(f"p{suffix}")
        assert (found.image is None) == (found.error is not None)
        assert suffix == ".tif" or not more
        assert all(one.error is not None for one in more)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.txt", "a"])
def test_what_is_no_image(name: str) -> None:
    for content in (b"hello, world\n" * 9, b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\0" * 100, b"<svg/>", b"GIF"):
        write(name, content)
        assert only_error(name) == f"{name}: not an image (PNG, JPEG, BMP, TIFF, WEBP, GIF, PPM)"


def test_pictures_without_pixels() -> None:
    gif = b"GIF89a\0\0\0\0\0\0\0,\0\0\0\0\0\0\0\0\0\x02\0;"
    for name, content in {
        "a.png": png(0, 0),
        "b.png": png(0, 7),
        "a.gif": gif,
        "a.pgm": b"P5 0 0 255\n",
    }.items():
        write(name, content)
        assert only_error(name).startswith(f"{name}: ")


@pytest.mark.parametrize("side", [30_000, 10_000, 2**31 - 1])
def test_huge_pictures_are_refused_by_their_header(side: int) -> None:
    """Also between Pillow's limit and twice that, where Pillow only warns."""
    write("a.png", png(side, side))
    error = only_error("a.png")
    assert error.startswith("a.png: too large: ")
    assert f"{side * side:,} pixels" in error or f"{side:,} x {side:,} pixels" in error
    assert "the limit is 89,478,485" in error


def test_our_limit_holds_where_pillows_was_lifted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    write("a.png", png(30_000, 30_000))
    assert "too large: 30,000 x 30,000 pixels, the limit is 89,478,485 pixels" in only_error("a.png")


def test_warnings_do_not_get_out(picture: np.ndarray) -> None:
    image = Image.fromarray(picture).convert("P")
    image.info["transparency"] = bytes(range(256))
    image.save("p.png")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_image("p.png")
        write("cut.tif", b"II*\0\x08\0\0\0\xff\xff" + b"\x01" * 40)
        rows("cut.tif")
    assert not caught


def test_wrong_shapes_and_types_in_arrays(digits: np.ndarray) -> None:
    for given, words in [
        (digits.astype(int), "a.npy: type int64, expected uint8 or float in [0, 1]"),
        (digits > 0, "a.npy: type bool"),
        (digits[0, 0], "a.npy: labels rather than images: shape (28,), expected (N, H, W)"),
        (np.uint8(3), "a.npy: shape (), expected"),
        (digits.reshape(5, 28, 28, 1), "a.npy: shape (5, 28, 28, 1)"),
        (digits[:0], "a.npy: no images: shape (0, 28, 28)"),
        (digits[:, :0], "a.npy: no images: shape (5, 0, 28)"),
        (np.zeros(3, "u1,f4"), "a.npy: type"),
        (digits.astype(complex), "a.npy: type complex128"),
    ]:
        write("a.npy", npy(np.asarray(given)))
        assert only_error("a.npy").startswith(words)


def test_values_out_of_range_are_errors_of_their_row(digits: np.ndarray) -> None:
    levels = digits / 255
    levels[1, 3, 4] = np.nan
    levels[3, 3, 4] = 37
    found = rows(write("a.npy", npy(levels)))
    assert [one.error for one in found] == [
        None,
        "a.npy[1]: the picture holds a value that is not finite",
        None,
        "a.npy[3]: float pixels lie in [0, 1], these in [0, 37]",
        None,
    ]


class Trap:
    """Unpickling it leaves a file behind."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, ("trapped", "w"))


def test_objects_are_never_unpickled() -> None:
    trap = np.array([Trap(), Trap()], dtype=object)
    np.save("a.npy", trap, allow_pickle=True)
    assert only_error("a.npy") == "a.npy: holds Python objects, which are not read"
    np.savez("a.npz", x=trap)
    assert only_error("a.npz") == "a.npz:x: holds Python objects, which are not read"
    write("b.npy", b"\x80\x04cposix\nsystem\n")
    assert only_error("b.npy") == "b.npy: not a .npy file"
    assert not Path("trapped").exists()


def npy_header(text: str, version: int = 1) -> bytes:
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x93NUMPY", "not a .npy file"),
        (b"\x93NUMPY\x09\x00" + b"x" * 50, "version 9.0"),
        (npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (5, 28"), "broken .npy header: "),
        (npy_header("__import__('os').mkdir('trapped')"), "broken .npy header: "),
        (npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (5, 28, 28)}\n"), "truncated"),
        (npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 28, 28)}\n") + b"x" * 9999, "corrupt"),
        (npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (-5, 28, 28)}\n"), "shape (-5, 28, 28)"),
        (npy_header("{'descr': '<f8', 'fortran_order': True, 'shape': (9999999999, 28, 28)}\n"), "truncated: the"),
        (npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 99999, 99999)}\n"), "too large: 99,999"),
        (npy_header("(" * 5000), "broken .npy header: "),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "declares 4,294,967,295 bytes, the limit is 10,000"),
    ],
)  # fmt: skip
def test_broken_npy(content: bytes, words: str) -> None:
    write("a.npy", content)
    assert words in only_error("a.npy")
    with zipfile.ZipFile("a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", content)
    assert words in only_error("a.npz")
    assert count_inputs([Path("a.npy"), Path("a.npz")]) == 2
    assert not Path("trapped").exists()


def test_broken_npz(digits: np.ndarray) -> None:
    write("a.npz", b"no zip at all, although the name says so")
    assert "not a zip file" in only_error("a.npz")
    with zipfile.ZipFile("a.npz", "w"):
        pass
    assert only_error("a.npz") == "a.npz: holds no arrays"
    with zipfile.ZipFile("a.npz", "w") as archive:
        archive.writestr("readme.txt", "hello, world")
    assert only_error("a.npz") == "a.npz:readme.txt: not a .npy file"
    np.savez("a.npz", x=digits)
    whole = Path("a.npz").read_bytes()
    write("a.npz", whole[: len(whole) // 2])
    assert "not a zip file" in only_error("a.npz")
    write("a.npz", whole.replace(digits[3].tobytes(), bytes(784)))
    found = rows("a.npz")
    assert found[-1].error is not None
    assert "Bad CRC-32" in found[-1].error
    with zipfile.ZipFile("a.npz", "w") as archive:
        archive.writestr("x.npy", npy(digits))
    encrypted = bytearray(Path("a.npz").read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[encrypted.index(mark) + offset] |= 1
    write("a.npz", bytes(encrypted))
    assert "encrypted" in only_error("a.npz")


def test_one_broken_array_does_not_stop_the_others(digits: np.ndarray) -> None:
    np.savez("a.npz", a=digits[:1], b=digits.astype(np.int16), c=digits[1:2])
    assert [one.error is None for one in rows("a.npz")] == [True, False, True]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\0\0\x08", "not an IDX file: it starts with 00 00 08"),
        (b"\0\0\x07\x03" + bytes(40), "not an IDX file"),
        (b"\0\0\x08\x00" + bytes(40), "not an IDX file"),
        (b"\0\0\x08\xff" + bytes(1040), "not an IDX file"),
        (b"\0\0\x08\x03\0\0\0\x05", "truncated in the IDX header"),
        (idx(np.zeros((5, 28, 28), np.uint8))[:-1], "truncated: the header declares 3,920 bytes of data, the file"),
        (idx(np.zeros((5, 28, 28), np.uint8)) + b"x", "corrupt: the header declares 3,920 bytes"),
        (struct.pack(">4B3I", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "truncated: the header declares 79,2"),
        (idx(np.zeros(50, np.uint8)), "labels rather than images: shape (50,)"),
        (idx(np.zeros((5, 28, 28), ">i4"), 12), "type"),
        (idx(np.zeros((0, 28, 28), np.uint8)), "no images"),
    ],
)  # fmt: skip
def test_broken_idx(content: bytes, words: str) -> None:
    write("a-idx3-ubyte", content)
    assert words in only_error("a-idx3-ubyte")
    assert count_inputs([Path("a-idx3-ubyte")]) == 1
    if words.split()[0] in ("not", "truncated", "corrupt:"):
        with pytest.raises(ImageError, match=r"^a-idx3-ubyte: "):
            read_idx("a-idx3-ubyte")


def test_broken_gzip(digits: np.ndarray) -> None:
    packed = gzip.compress(idx(np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)))
    for content, good in [
        (packed[:300], None),  # cut in the data
        (packed[:5], 0),  # cut in gzip's header
        (packed[:-8] + b"12345678", 5),  # the checksum is wrong
        (packed + b"junk", 5),
        (gzip.compress(idx(digits) + b"more"), 5),
        (gzip.compress(idx(digits)[:-784]), 4),
        (gzip.compress(b"hello"), 0),
    ]:
        write("a-idx3-ubyte.gz", content)
        found = rows("a-idx3-ubyte.gz")
        assert [one.error is None for one in found] == [True] * (len(found) - 1) + [False]
        assert good is None or len(found) == good + 1
        with pytest.raises(ImageError, match=r"^a-idx3-ubyte.gz: "):
            read_idx("a-idx3-ubyte.gz")


def test_compressed_bombs_are_refused_by_what_they_declare() -> None:
    head = struct.pack(">4B3I", 0, 0, 8, 3, 2_000_000, 28, 28)
    write("a-ubyte.gz", gzip.compress(head + bytes(1000)))
    error = "declares 1,568,000,000 bytes unpacked, the limit is 1,073,741,824"
    assert only_error("a-ubyte.gz") == f"a-ubyte.gz: {error}"
    with pytest.raises(ImageError, match=error):
        read_idx("a-ubyte.gz")
    with zipfile.ZipFile("a.npz", "w") as archive:
        archive.writestr("x.npy", bytes(100))
    lying = Path("a.npz").read_bytes().replace(struct.pack("<I", 100), struct.pack("<I", 2**31))
    write("a.npz", lying)
    assert "declares 2,147,483,648 bytes unpacked, the limit is" in only_error("a.npz")


def test_only_what_is_declared_is_unpacked(digits: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gigabyte of zeros behind an honest header: the rows come, then the error, with a few pages of memory."""
    taken: list[int] = []
    original = gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda self, n=-1: taken.append(n) or original(self, n))
    write("a-ubyte.gz", gzip.compress(idx(digits) + bytes(20_000_000)))
    found = rows("a-ubyte.gz")
    assert len(found) == 6
    assert found[-1].error == "a-ubyte.gz: corrupt: data follow after those that the header declares"
    assert sum(taken) < 5000


def test_no_memory_is_taken_for_promises() -> None:
    """With less memory than the headers promise, the errors are about the files."""
    write("a.png", png(30_000, 30_000))
    write("a.npy", npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (90000000, 28, 28)}\n"))
    write("a-ubyte", struct.pack(">4B3I", 0, 0, 8, 3, 90_000_000, 28, 28))
    write("a-ubyte.gz", gzip.compress(struct.pack(">4B3I", 0, 0, 8, 3, 1_300_000, 28, 28)))
    with zipfile.ZipFile("a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(5_000_000))
    script = (
        "import resource, sys; from anomalae.images.inputs import read_inputs, read_idx\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))\n"
        "for one in read_inputs(sys.argv[1:]): print(one.error)\n"
    )
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc")
    names = ["a.png", "a.npy", "a-ubyte", "a-ubyte.gz", "a.npz"]
    run = subprocess.run([sys.executable, "-c", script, *names], capture_output=True, text=True, check=True)
    lines = run.stdout.splitlines()
    assert len(lines) == 5
    for line, words in zip(
        lines, ["too large", "truncated", "truncated", "the limit is 800", "10,000"], strict=True
    ):
        assert words in line


def test_limits_are_as_documented() -> None:
    assert decode.MAX_PIXELS == 89_478_485
    assert arrays.LIMIT == 2**30
