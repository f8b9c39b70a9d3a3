"""The short way for plain small files gives what the general way gives, and takes nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from anomalae.images.inputs import read_inputs
from anomalae.images.pictures import decode
from anomalae.images.plain import MOST_SIDE, read_plain

LEVELS = np.random.default_rng(0).integers(0, 256, (28, 31), dtype=np.uint8)
PICTURE = Image.fromarray(LEVELS)


def text(key: str, value: str) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text(key, value)
    return info


@pytest.mark.parametrize("options", [{}, {"compress_level": 0}, {"dpi": (300, 300)}, {"optimize": True}])
def test_a_plain_file_is_read_as_it_always_was(options):
    PICTURE.save("plain.png", **options)
    assert (read_plain("plain.png") == LEVELS).all()
    assert (read_plain("plain.png") == decode(Path("plain.png"))).all()


@pytest.mark.parametrize(
    ("picture", "options"),
    [
        (PICTURE.convert("RGB"), {}),
        (PICTURE.convert("P"), {}),
        (PICTURE.convert("1"), {}),
        (PICTURE.convert("LA"), {}),
        (Image.fromarray(LEVELS.astype(np.uint16) * 257), {}),
        (PICTURE, {"transparency": 0}),
        (PICTURE, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"}),
        (PICTURE, {"pnginfo": text("XML:com.adobe.xmp", "tiff:Orientation")}),
        (PICTURE, {"save_all": True, "append_images": [PICTURE.rotate(180)]}),
        (PICTURE.resize((MOST_SIDE + 1, 4)), {}),
        (PICTURE.resize((4, MOST_SIDE + 1)), {}),
    ],
)
def test_what_is_not_plain_is_left_to_the_general_way(picture, options):
    picture.save("other.png", **options)
    assert read_plain("other.png") is None
    next(read_inputs(["other.png"]))


def test_the_orientation_of_a_file_that_is_not_plain_is_obeyed():
    PICTURE.save("turned.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0")
    assert decode(Path("turned.png")).shape == (31, 28)


@pytest.mark.parametrize("at", [10, 20, 40, 60, -5])
def test_a_broken_file_is_no_plain_one_and_has_its_error(at):
    PICTURE.save("whole.png")
    data = Path("whole.png").read_bytes()
    Path("cut.png").write_bytes(data[:at])
    broken = bytearray(data)
    broken[at] ^= 0x55
    Path("changed.png").write_bytes(broken)
    for name in ("cut.png", "changed.png"):
        plain, (entry,) = read_plain(name), read_inputs([name], "resize")
        assert plain is None or entry.error is None
        if plain is not None:
            # Where Pillow does not mind, neither way does.
            assert (plain == decode(Path(name))).all()


def test_pipes_folders_and_what_is_not_there_are_not_waited_for():
    os.mkfifo("pipe.png")
    Path("folder.png").mkdir()
    for name in ("pipe.png", "folder.png", "nothing.png", "a\0b.png"):
        assert read_plain(name) is None
