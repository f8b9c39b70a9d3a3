"""Files made to take all memory or all time: each gives one error at once, and the others are read."""

from __future__ import annotations

import gzip
import io
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalae.errors import ImageError
from anomalae.images import arrays, pictures
from anomalae.images.canonical import preprocess
from anomalae.images.inputs import count_inputs, read_inputs
from anomalae.images.sources import Preparation, gather_images

MIB = bytes(2**20)


def png(path: str, width: int, height: int) -> None:
    """Write a black picture; a gigabyte of it is a file of a megabyte."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(part) for part in zeros((width + 1) * height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    Path(path).write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def zeros(size: int):
    for start in range(0, size, len(MIB)):
        yield MIB[: size - start]


def header(shape: tuple[int, ...], kind: str = "|u1") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": kind, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def npz(path: str, how: int, *shapes: tuple[int, ...]) -> None:
    """Write an archive of black images."""
    with zipfile.ZipFile(path, "w", how) as archive:
        for number, shape in enumerate(shapes):
            with archive.open(f"a{number}.npy", "w") as stream:
                stream.write(header(shape))
                stream.writelines(zeros(int(np.prod(shape))))


def sparse(path: str, head: bytes, size: int) -> None:
    """Write a file of zeros that takes no room on the disk."""
    with Path(path).open("wb") as stream:
        stream.write(head)
        stream.truncate(len(head) + size)


def error_of(path: str, **how: bool) -> str:
    """The one error of a file, which is there within two seconds, of the file alone."""
    begun = time.process_time()
    (entry,) = read_inputs([path], **how)
    assert time.process_time() - begun < 2
    assert entry.image is None
    assert entry.error is not None
    assert entry.error.startswith(f"{path}: ")
    return entry.error


@pytest.mark.parametrize("segment", [False, True])
def test_a_strip_is_refused_by_its_longer_side(segment: bool) -> None:
    png("wide.png", 89_000_000, 1)
    png("tall.png", 1, 89_000_000)
    Image.fromarray(np.zeros((1, 2_000_000), np.uint8)).save("wide.tif", compression="tiff_lzw")
    Image.fromarray(np.zeros((40_000, 1), np.uint8)).save("tall.gif")
    sparse("wide.npy", header((1, 89_000_000)), 89_000_000)
    sparse("tall.npy", header((2, 89_000_000, 1), "<f4"), 8 * 89_000_000)
    for path in ("wide.png", "tall.png", "wide.tif", "tall.gif", "wide.npy", "tall.npy"):
        assert error_of(path, segment=segment).endswith("the limit is 32,768 a side")
    assert error_of("wide.png") == ("wide.png: too large: 89,000,000 x 1 pixels, the limit is 32,768 a side")


def test_the_longest_strip_is_read() -> None:
    png("wide.png", pictures.MAX_SIDE, 2)
    (entry,) = read_inputs(["wide.png"])
    assert entry.error is None


def test_a_strip_in_memory_is_refused_too() -> None:
    with pytest.raises(ImageError, match="the limit is 32,768 a side"):
        preprocess(np.zeros((1, 40_000), np.uint8))
    with pytest.raises(ImageError, match=r"^images\[0\]: too large: 1 x 40,000 pixels"):
        gather_images(np.zeros((40_000, 1), np.uint8), preparation=Preparation("mnist", arrays="grey"))


def test_room_around_a_strip_is_bounded() -> None:
    """Ink that reaches the edges gets paper around it, which is ten times the strip's own pixels here."""
    strip = np.full((2_700, 32_700), 255, np.uint8)
    strip[:, 10_000:11_000] = 0
    strip[1_000:1_300, 4_000:16_000] = 0
    with pytest.raises(ImageError, match="too large for ink that reaches its edges: 32,700 x 2,700 pixels"):
        preprocess(strip)


@pytest.mark.parametrize("shape", [(10**9, 0), (0, 28, 28), (10**9, 0, 0), (0, 784), (10**18, 10**18, 0)])
def test_arrays_without_pixels(shape: tuple[int, ...]) -> None:
    Path("a.npy").write_bytes(header(shape))
    assert "no images: shape" in error_of("a.npy")


def test_images_without_number() -> None:
    sparse("tiny.npy", header((10**9, 1, 1)), 10**9)
    sparse("tiny.idx", struct.pack(">4B3I", 0, 0, 8, 3, 10**9, 1, 1), 10**9)
    sparse("many.npy", header((10**7 + 1, 8, 8)), 64 * (10**7 + 1))
    for path in ("tiny.npy", "tiny.idx"):
        assert error_of(path).endswith("1,000,000,000 images of 1 x 1 pixels, the limit is 10,000")
    assert error_of("many.npy").endswith("10,000,001 images, the limit is 10,000,000")
    assert count_inputs([Path("tiny.npy")]) == 1


def test_what_unpacks_to_a_thousand_times_its_size_is_refused() -> None:
    n = 100_000
    npz("one.npz", zipfile.ZIP_DEFLATED, (n, 28, 28))
    npz("several.npz", zipfile.ZIP_DEFLATED, *[(n // 50, 28, 28)] * 50)
    with gzip.open("one.idx.gz", "wb") as stream:
        stream.write(struct.pack(">4B3I", 0, 0, 8, 3, n, 28, 28))
        stream.writelines(zeros(n * 784))
    for path in ("one.npz", "several.npz", "one.idx.gz"):
        assert error_of(path).endswith("the limit is 800")
        assert count_inputs([Path(path)]) == 1


def test_more_images_than_a_file_has_room_for_are_refused() -> None:
    """Beside something that does not pack, so that the whole does not look like a bomb."""
    noise = np.random.default_rng(0).integers(0, 256, (1, 300, 500), np.uint8)
    npz("a.npz", zipfile.ZIP_DEFLATED, (50_000, 28, 28), (50_000, 28, 28))
    with zipfile.ZipFile("a.npz", "a") as archive, archive.open("noise.npy", "w") as stream:
        np.save(stream, noise)
    assert "declares 100,001 images in 3" not in error_of("a.npz")
    assert "declares 100,001 images in 2" in error_of("a.npz")


def test_an_archive_of_too_many_arrays() -> None:
    with zipfile.ZipFile("many.npz", "w") as archive:
        for number in range(arrays.MOST_ARRAYS + 1):
            archive.writestr(f"{number}.npy", b"")
    assert error_of("many.npz") == "many.npz: holds 10,001 arrays, the limit is 10,000"
    # Without the arrays: a list of them that would be held as half a million objects.
    name = b"a.npy"
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 0, 20, *[0] * 9, len(name), *[0] * 5) + name
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, 500_000 * len(entry), 0, 0)
    Path("list.npz").write_bytes(500_000 * entry + end)
    assert "the archive's list of arrays is larger than 4,194,304 bytes" in error_of("list.npz")


@pytest.mark.parametrize("how", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_blocks_that_unpack_to_gigabytes_at_once(how: int) -> None:
    npz("a.npz", how, (20_000, 28, 28))
    assert "expected deflate or not packed" in error_of("a.npz")


def test_sizes_that_lie() -> None:
    images = np.arange(5 * 784, dtype=np.uint16).astype(np.uint8).reshape(5, 28, 28)
    np.savez("a.npz", images)
    whole = Path("a.npz").read_bytes()
    size = struct.pack("<I", len(header(images.shape)) + images.size)
    assert whole.count(size) >= 2
    for lie in (0, 1, 127, 200, 4000, 2**20, 2**31, 2**32 - 1):
        Path("a.npz").write_bytes(whole.replace(size, struct.pack("<I", lie)))
        *good, bad = read_inputs(["a.npz"])
        assert bad.error is not None
        assert all(entry.error is None for entry in good)


def test_many_images_in_a_small_file_are_read() -> None:
    """What people have: black images for a trial, an array an image, and one of pure strokes, enlarged."""
    np.savez_compressed("black.npz", np.zeros((1000, 28, 28)))
    np.savez_compressed("each.npz", **{f"n{i}": np.full((28, 28), i % 256, np.uint8) for i in range(500)})
    strokes = np.zeros((10, 500, 500))
    strokes[:, 100:400, 200:260:2] = 1
    np.savez_compressed("strokes.npz", strokes)
    for path, n in (("black.npz", 1000), ("each.npz", 500), ("strokes.npz", 10)):
        entries = list(read_inputs([path]))
        assert len(entries) == n
        assert not any(entry.error for entry in entries)


@pytest.mark.parametrize("segment", [False, True])
def test_memory_that_runs_out_on_the_way_is_the_error_of_its_file(segment: bool) -> None:
    """The levels fit into the memory that is left, and what is made of them does not."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc")
    sparse("large.npy", header((6000, 6000), "<f4"), 4 * 36_000_000)
    # Levels whose bytes are in the other order are copied as they are read.
    sparse("other.npy", header((6000, 6000), ">f4"), 4 * 36_000_000)
    digit = np.zeros((60, 60), np.uint8)
    digit[10:50, 25:32] = 255
    Image.fromarray(digit).save("a.png")
    Image.fromarray(digit).save("z.png")
    script = (
        "import resource, sys; from anomalae.images.inputs import read_inputs\n"
        "list(read_inputs(['a.png'], segment=sys.argv[1] == 'True'))\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))\n"
        "for entry in read_inputs(['.'], segment=sys.argv[1] == 'True'): print(entry.error)\n"
    )
    command = [sys.executable, "-c", script, str(segment)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    errors = ["None", "large.npy: not enough memory", "other.npy: not enough memory", "None"]
    assert run.stdout.splitlines() == errors
