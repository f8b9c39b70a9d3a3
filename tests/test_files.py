"""Files of a run: atomic writing, strict reading, one line for each fault."""

from __future__ import annotations

import errno
import json
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalae import files
from anomalae.errors import BundleError
from tests.full_disks import ROOM, small_disk

ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(1.5)}


def test_arrays_and_metadata_round_trip(tmp_path):
    path = tmp_path / "x.safetensors"
    files.write_arrays(path, ARRAYS, {"epoch": 3})
    arrays, metadata = files.read_arrays(path, {"a": (2, 3), "b": ()})
    assert metadata == {"epoch": 3}
    for name, array in ARRAYS.items():
        assert np.array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype


def test_not_contiguous_arrays_are_saved_as_they_look(tmp_path):
    files.write_arrays(tmp_path / "x", {"t": ARRAYS["a"].T})
    assert np.array_equal(files.read_arrays(tmp_path / "x")[0]["t"], ARRAYS["a"].T)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"a": (2, 3)}, "unknown array 'b'"),
        ({"a": (2, 3), "b": (), "c": (1,)}, "array 'c' is missing"),
        ({"a": (3, 2), "b": ()}, r"'a' has shape \[2, 3\], expected \[3, 2\]"),
    ],
)
def test_names_and_shapes_must_fit(tmp_path, shapes, message):
    files.write_arrays(tmp_path / "x", ARRAYS)
    with pytest.raises(BundleError, match=message):
        files.read_arrays(tmp_path / "x", shapes)


def test_numbers_must_be_finite(tmp_path):
    files.write_arrays(tmp_path / "x", {"w": np.array([1.0, np.nan, np.inf])})
    with pytest.raises(BundleError, match="'w' holds 2 values that are not finite"):
        files.read_arrays(tmp_path / "x")


@pytest.mark.parametrize(
    "content", [b"", b"junk", struct.pack("<Q", 2**60) + b"{}", b"\x10\0\0\0\0\0\0\0{" + b" " * 20]
)
def test_broken_safetensors_are_one_line(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(BundleError, match="not a readable safetensors file") as caught:
        files.read_arrays(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_broken_json(tmp_path):
    with pytest.raises(BundleError, match="no such file"):
        files.read_json(tmp_path / "no")
    (tmp_path / "x").write_text("{")
    with pytest.raises(BundleError, match="not valid JSON"):
        files.read_json(tmp_path / "x")
    (tmp_path / "x").write_bytes(b"\xff\xfe")
    with pytest.raises(BundleError, match="cannot be read"):
        files.read_json(tmp_path / "x")


def test_a_full_disk_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    files.write_json(path, {"old": True})

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BundleError, match=r"x\.json: cannot be written: No space left on device"):
        files.write_json(path, {"old": False})
    assert json.loads(path.read_text()) == {"old": True}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_really_full_disk_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "disk" / "x.json"
    with small_disk(tmp_path / "disk"):
        files.write_json(path, {"old": True})
        with pytest.raises(BundleError, match=r"x\.json: cannot be written: No space left on device"):
            files.write_json(path, {"new": "x" * ROOM})
        assert files.read_json(path) == {"old": True}
        assert [file.name for file in path.parent.iterdir()] == ["x.json"]
        files.write_json(path, {"new": True})


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_a_file_that_may_not_grow_leaves_the_old_one_whole(tmp_path):
    """What a full disk is to those who may not mount one: the write fails in its middle."""
    code = (
        "import resource, sys; from pathlib import Path; from anomalae import files\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "path = Path(sys.argv[1]); files.write_json(path, {'old': True})\n"
        "try:\n    files.write_json(path, {'new': 'x' * 2000})\n"
        "except files.BundleError as error:\n    print(error)"
    )
    path = tmp_path / "x.json"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout == f"{path}: cannot be written: File too large\n"
    assert files.read_json(path) == {"old": True}
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]


def test_nan_is_not_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "x", {"a": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_jsonl(tmp_path / "x", [{"a": 1.0}, {"a": float("inf")}])
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_arrays(tmp_path / "x", ARRAYS, {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_files_have_the_usual_permissions(tmp_path):
    (tmp_path / "usual").write_text("")
    files.write_bytes(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_failure_between_leaves_nothing_and_the_old_file(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with files.part_file(path) as file:
            file.write(b"new")
            (part,) = (each for each in tmp_path.iterdir() if each != path)
            assert (part.name[0], part.suffix) == (".", ".part")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_links_are_followed_and_devices_written_into(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    files.write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
    files.write_bytes(Path(os.devnull), b"new")
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize("shape", [(28, 28), (5, 7, 3)])
def test_pictures_and_arrays_come_back(tmp_path, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    files.write_png(tmp_path / "a.png", pixels)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), pixels)
    assert len(files.png_bytes(pixels, optimize=True)) <= (tmp_path / "a.png").stat().st_size
    files.write_npy(tmp_path / "a.npy", pixels)
    assert np.array_equal(np.load(tmp_path / "a.npy"), pixels)
    with pytest.raises(BundleError, match="cannot be written: No such file or directory"):
        files.write_png(tmp_path / "gone" / "a.png", pixels)


def test_pictures_are_made_smaller_only_where_that_is_asked_for():
    dots = np.where(np.random.default_rng(0).random((200, 200)) < 0.1, 255, 0).astype(np.uint8)
    assert len(files.png_bytes(dots, optimize=True)) < 0.95 * len(files.png_bytes(dots))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("三", "三"),
        ("a b [1]", "a b [1]"),
        ('a<b>c:d"e/f\\g|h?i*j', "a_b_c_d_e_f_g_h_i_j"),
        (".hidden.", "hidden"),
        ("line\nbreak\0\udcff", "line_break__"),
        ("...", "_"),
        ("", "_"),
    ],
)
def test_names_of_files_keep_what_every_file_system_takes(text, name):
    assert files.file_name(text) == name


def test_a_long_name_is_cut_between_characters_and_can_be_written(tmp_path):
    name = files.file_name("x" + "三" * 300)
    assert name == "x" + "三" * 66
    assert files.file_name("xx" + "三" * 300) == "xx" + "三" * 66
    # Of 201 bytes.
    assert files.file_name("三" * 67) == "三" * 66
    files.write_bytes(tmp_path / f"00017_{name}.png", b"1")


def written(contents: dict[Path, bytes], *, broken: bool = False) -> None:
    """Write several files that take their places together."""
    with files.replacing_all(contents) as write:
        for path, content in contents.items():
            write(path, content)
        if broken:
            raise KeyboardInterrupt


def test_several_files_take_their_places_together_or_not_at_all(tmp_path):
    old, new, lacking = tmp_path / "old", tmp_path / "new", tmp_path / "no" / "where"
    old.write_bytes(b"old")
    with pytest.raises(BundleError, match=f"^{lacking}: cannot be written: No such file"):
        written({old: b"other", lacking: b""})
    with pytest.raises(KeyboardInterrupt):
        written({old: b"other", new: b""}, broken=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"old": b"old"}
    with files.replacing_all([old, new]) as write:
        write(new, b"1")
        write(old, b"2")
        assert old.read_bytes() == b"old"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"old": b"2", "new": b"1"}


def test_a_pipe_may_be_one_of_several(tmp_path):
    pipe, beside, got = tmp_path / "pipe", tmp_path / "beside", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    written({pipe: b"into it", beside: b"2"})
    reader.join()
    assert (got, beside.read_bytes()) == ([b"into it"], b"2")


def test_a_full_disk_names_the_one_of_several_that_has_no_room(tmp_path):
    with small_disk(tmp_path / "disk"):
        small, large = tmp_path / "disk" / "small", tmp_path / "disk" / "large"
        small.write_bytes(b"old")
        for contents in ({small: b"new", large: bytes(2 * ROOM)}, {large: bytes(2 * ROOM), small: b"new"}):
            with pytest.raises(BundleError, match=f"^{large}: cannot be written: No space left"):
                written(contents)
            assert small.read_bytes() == b"old"
            assert [path.name for path in (tmp_path / "disk").iterdir()] == ["small"]
