"""A folder from strange hands: every image has its score, whatever its name, and everything that is broken its row."""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalae import Detector
from anomalae.detectors.judged_rows import Row
from anomalae.detectors.row_files import RowFile
from anomalae.images import stream
from anomalae.images.inputs import Reading, list_files
from tests.cli import fails, ok, run
from tests.images.test_hostile import header, npz, png, sparse

# Good images beside 30 files that are broken.
GOOD, BROKEN = 270, 30
NAMES = [
    b"two\nlines.png",
    b"return\r.png",
    b"tab\t.png",
    b'"quoted", with all.png',
    b"it's.png",
    b"<b>[bold]markup[red]&amp;<script>.png",
    b"\x1b[31mred\x1b[0m.png",
    b"latin-\xe9.png",
    b"\xff\xfe.png",
    "ünïcödé-数字.png".encode(),
    b"n" * 251 + b".png",
    b"=1+1.png",
    b"+1.png",
    b"-1.png",
    b"--help.png",
    b"@sum.png",
    b"'marked.png",
    b"\t=1.png",
    b" .png",
    b"~.png",
    b"%s$HOME`id`;.png",
]


@pytest.fixture
def images_of(images: np.ndarray, tmp_path: Path) -> Path:
    """A folder of good images alone, by names of all sorts, some in subfolders."""
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(GOOD):
        name = NAMES[index] if index < len(NAMES) else b"%s/%03d.png" % (b"abc"[index % 3 :][:1], index)
        path = folder / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(images[index % len(images)]).save(path, "PNG")
    return folder


def break_in_all_ways(folder: Path, digit: np.ndarray) -> set[str]:
    """Put 26 broken files into a folder; returns their names. Four more break while they are read."""
    before = set(folder.iterdir())
    Image.fromarray(digit).save(folder / "whole.png")
    content = (folder / "whole.png").read_bytes()
    (folder / "whole.png").unlink()
    flipped = bytearray(content)
    flipped[-30] ^= 0xFF
    contents = {
        "x-empty.png": b"",
        "x-start.png": content[:20],
        "x-half.png": content[: len(content) // 2],
        "x-flipped.png": bytes(flipped),
        "x-words.png": b"These are words, and no image.\n" * 50,
        "x-html.jpg": b"<!DOCTYPE html><html><body>404</body></html>",
        "x-zeros.tif": bytes(3000),
        "x-gif.gif": b"GIF89a" + bytes(30),
        "x-webp.webp": b"RIFF\xff\xff\xff\xffWEBPVP8L" + bytes(30),
        "x-bmp.bmp": b"BM"
        + struct.pack("<IHHIIii", 2**32 - 1, 0, 0, 54, 40, 2**31 - 1, -(2**31))
        + bytes(99),
        "x-none.npy": header((10**9, 0)),
        "x-cut.npy": header((5, 28, 28)) + bytes(500),
        "x-deep.npy": b"\x93NUMPY\x01\x00\x00\x20" + b"(" * 8192,
        "x-zip.npz": b"PK\x03\x04" + bytes(200),
        "x-idx.gz-ubyte": b"\x1f\x8b\x08\x00" + bytes(100),
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    png(str(folder / "x-wide.png"), 40_000_000, 1)
    sparse(str(folder / "x-tiny.npy"), header((10**9, 1, 1)), 10**9)
    npz(str(folder / "x-bomb.npz"), zipfile.ZIP_DEFLATED, (100_000, 28, 28))
    np.save(folder / "x-objects.npy", np.array([None, 1]), allow_pickle=True)
    np.save(folder / "x-nan.npy", np.full((28, 28), np.nan, np.float32))
    (folder / "x-nowhere.png").symlink_to("not-there.png")
    (folder / "x-itself.png").symlink_to("x-itself.png")
    (folder / "x-device.png").symlink_to("/dev/zero")
    (folder / "a" / "round").symlink_to(folder, target_is_directory=True)
    os.mkfifo(folder / "x-pipe.png")
    # The whole path would be too long for a socket's.
    here = Path.cwd()
    os.chdir(folder)
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("x-socket.png")
    finally:
        os.chdir(here)
    Image.fromarray(np.full((30, 30), 255, np.uint8)).save(folder / "x-later.png")
    Image.fromarray(digit).save(folder / "x-later.tif")
    (folder / "x-later.tif").write_bytes((folder / "x-later.tif").read_bytes()[:60])
    (folder / "x-later.png").unlink()
    return {path.name for path in set(folder.iterdir()) - before}


def break_while_read(folder: Path) -> set[str]:
    """Change four files that are listed already; returns their names."""
    gone, emptied, other, folded = (f"y-{what}.png" for what in ("gone", "emptied", "other", "folded"))
    (folder / gone).unlink()
    (folder / emptied).write_bytes(b"")
    (folder / other).write_bytes(b"no image any more")
    (folder / folded).unlink()
    (folder / folded).mkdir()
    return {gone, emptied, other, folded}


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_image_is_read_and_everything_broken_has_its_error(
    images_of: Path, images: np.ndarray, jobs: int, monkeypatch: pytest.MonkeyPatch
):
    # With two processes nothing is read here.
    monkeypatch.setattr(stream, "PATIENCE", 0.0)
    broken = break_in_all_ways(images_of, images[0])
    for what in ("gone", "emptied", "other", "folded"):
        Image.fromarray(images[0]).save(images_of / f"y-{what}.png")
    files = list_files([images_of])
    broken |= break_while_read(images_of)
    assert (len(files), len(broken)) == (GOOD + BROKEN, BROKEN)
    inputs = [entry for group in stream.Stream(Reading(), jobs).read(files) for entry in group]
    assert [entry.name for entry in inputs] == [str(file) for file in files]
    for entry in inputs:
        assert (entry.error is not None) == (Path(entry.name).name in broken), entry
        assert entry.error is None or entry.error.isprintable()
    # Nobody's pixels are another's.
    of_names = {entry.name: entry.image for entry in inputs}
    for index, name in enumerate(NAMES):
        path = images_of / os.fsdecode(name)
        np.testing.assert_array_equal(of_names[str(path)], images[index % len(images)])


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_all_of_it_is_scored_in_one_call(small: Detector, images_of: Path, images: np.ndarray, form: str):
    small.save("runs/small")
    broken = break_in_all_ways(images_of, images[0])
    command = ["score", "images", "--output", f"x.{form}", "--jobs", "2"]
    if form == "csv":
        whole = [sys.executable, "-m", "anomalae", *command]
        done = subprocess.run(whole, capture_output=True, timeout=60, text=True)
        status, said = done.returncode, done.stderr
    else:
        result = run(*command)
        status, said = result.exit_code, result.stderr
    assert status == 4, said
    assert "Traceback" not in said
    assert f"{GOOD + len(broken)} images: " in said
    if form == "csv":
        with Path("x.csv").open(newline="", encoding="utf-8") as file:
            found = {row["path"]: row for row in csv.DictReader(file)}
    elif form == "jsonl":
        found = {row["path"]: row for row in map(json.loads, Path("x.jsonl").read_text().splitlines())}
    else:
        import pyarrow.parquet as pq

        found = {row["path"]: row for row in pq.read_table("x.parquet").to_pylist()}
    assert len(found) == GOOD + len(broken)
    for path, row in found.items():
        assert bool(row["error"]) == (Path(path).name in broken), row
        assert bool(row["error"]) == (row["score"] in (None, "")), row
    for name in NAMES:
        path = f"images/{os.fsdecode(name)}"
        as_written = path if form == "jsonl" else path.encode("utf-8", "backslashreplace").decode()
        assert as_written in found


def test_one_strip_does_not_end_a_call(small: Detector, images: np.ndarray):
    small.save("runs/small")
    Path("images").mkdir()
    png("images/a.png", 89_000_000, 1)
    Image.fromarray(images[0]).save("images/b.png")
    result = run("score", "images", "--format", "jsonl")
    assert result.exit_code == 4
    strip, image = map(json.loads, result.stdout.splitlines())
    assert strip["error"] == "images/a.png: too large: 89,000,000 x 1 pixels, the limit is 32,768 a side"
    assert image["score"] is not None


# --- CSV for a spreadsheet ---

ROWS = [
    Row("=cmd|'/c calc'!A1.png", -1.5, 0.8, False, None),
    Row("'=1.png", 2.5, 0.01, True, None),
    Row("=1.png", -0.5, 0.5, False, None),
    Row("a=1.png", 1.5, 0.3, False, None),
    Row("-1.png", None, None, None, "-1.png: broken"),
    Row("\t\n+1,\udcff.png", 0.5, 0.4, False, None),
    Row("@x.png", 0.5, 0.4, False, None),
    Row("＝1.png", 0.5, 0.4, False, None),
]


@pytest.mark.parametrize("cut", range(len(ROWS) + 1))
@pytest.mark.parametrize("fdr", [None, 0.5])
def test_formulas_are_marked_and_gone_on_with(cut: int, fdr: float | None):
    judged_by = {"fdr": fdr}
    with RowFile(Path("x.csv"), "csv", judged_by, spreadsheet=True) as file:
        file.add(ROWS[:cut])
    with RowFile(Path("x.csv"), "csv", judged_by, spreadsheet=True, resume=True) as file:
        assert [file.is_kept(row.path) for row in ROWS] == [at < cut for at in range(len(ROWS))]
        assert [row.path for row in file.kept_rows()] == [
            row.path.encode("utf-8", "backslashreplace").decode() for row in ROWS[:cut]
        ]
        file.add(ROWS[cut:])
        file.finish({}, fdr)
    with Path("x.csv").open(newline="", encoding="utf-8") as stream:
        found = list(csv.DictReader(stream))
    marked = ["'=cmd|'/c calc'!A1.png", "''=1.png", "'=1.png", "a=1.png", "'-1.png"]
    assert [row["path"] for row in found] == [*marked, "'\t\n+1,\\udcff.png", "'@x.png", "'＝1.png"]
    assert [row["score"] for row in found][:3] == ["-1.5", "2.5", "-0.5"]
    assert found[4]["error"] == "'-1.png: broken"


@pytest.mark.parametrize("more", [[], ["--fdr", "0.3"], ["--top", "2"]])
def test_what_is_printed_is_marked_too(small: Detector, images: np.ndarray, more: list[str]):
    small.save("runs/small")
    Path("images").mkdir()
    for name in ("=1.png", "-1.png"):
        Image.fromarray(images[0]).save(f"images/{name}")
    os.chdir("images")
    shutil.move("../runs", "runs")
    plain = run("score", ".", *more).stdout
    assert {line.split(",")[0] for line in plain.splitlines()} == {"path", "=1.png", "-1.png"}
    result = ok("score", ".", "--spreadsheet", "--output", "../x.csv", "--format", "csv", *more)
    assert {line.split(",")[0] for line in result.stdout.splitlines()} == {"path", "'=1.png", "'-1.png"}
    assert {line.split(",")[0] for line in Path("../x.csv").read_text().splitlines()} == {
        "path",
        "'=1.png",
        "'-1.png",
    }


def test_shards_that_are_marked_are_merged_without_marks(small: Detector, images: np.ndarray):
    small.save("runs/small")
    names = ["=1.png", "'-1.png"]
    for name in names:
        Image.fromarray(images[0]).save(name)
    ok("score", *names, "--output", "whole.csv", "--quiet")
    for number in (1, 2):
        shard = ["--shard", f"{number}/2", "--spreadsheet", "--output", f"{number}.csv"]
        ok("score", *names, *shard, "--quiet")
    assert "\n'=1.png," in Path("1.csv").read_text() + Path("2.csv").read_text()
    ok("merge", "1.csv", "2.csv", "--output", "all.csv")
    assert Path("all.csv").read_text() == Path("whole.csv").read_text()


def test_marked_and_unmarked_rows_are_not_mixed(small: Detector, images: np.ndarray):
    small.save("runs/small")
    Image.fromarray(images[0]).save("a.png")
    ok("score", "a.png", "--output", "x.csv", "--spreadsheet")
    Path("x.csv").rename("x.csv.part")
    Path("x.csv.part.json").write_text(json.dumps({"spreadsheet": True}))
    assert "spreadsheet True, now False" in fails(1, "score", "a.png", "--output", "x.csv", "--resume")


def test_other_forms_are_for_programs(small: Detector):
    small.save("runs/small")
    assert "--spreadsheet is for CSV" in fails(2, "score", ".", "--spreadsheet", "--format", "jsonl")
