"""`score` writes rows as they are ready, and goes on after any end: nothing is lost, nothing doubled."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from filelock import FileLock
from PIL import Image

from anomalae import Detector
from anomalae.detectors import row_files
from anomalae.detectors.judged_rows import Row
from anomalae.detectors.row_files import RowFile
from anomalae.errors import BundleError
from tests.cli import fails, ok, run

FORMS = ("csv", "jsonl", "json", "parquet")
JUDGED_BY = {"run": "r", "alpha": 0.05, "fdr": None}
ROWS = [
    Row("a.png", 0.5, 0.8, False, None),
    Row('b "quoted"\nname, with all.png', 2.5, 0.01, True, None),
    Row("c.png", None, None, None, "c.png: broken"),
    Row("d\udcff.png", 1.5, 0.3, False, None),
]


@pytest.fixture
def folder(small: Detector, images: np.ndarray, tmp_path: Path) -> Path:
    small.save(tmp_path / "runs" / "small")
    folder = tmp_path / "images"
    for index in range(40):
        path = folder / "abcd"[index // 10] / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[index % len(images)]).save(path)
    (folder / "b" / "13.png").write_bytes(b"broken")
    np.save(folder / "c" / "array.npy", images[:7])
    return folder


def read(path: Path) -> list[dict]:
    """Rows of a file of any form, as values."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        return pq.read_table(path).to_pylist()
    if path.suffix == ".json":
        return json.loads(path.read_text())["rows"]
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    return [
        {
            **row,
            "score": float(row["score"]) if row["score"] else None,
            "p_value": float(row["p_value"]) if row["p_value"] else None,
            "flagged": {"": None, "0": False, "1": True}[row["flagged"]],
            "error": row["error"] or None,
        }
        for row in found
    ]


def words(output: str, *more: str) -> list[str]:
    return ["score", "images", "--output", output, *more]


# --- the file ---


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cut", range(len(ROWS) + 1))
def test_rows_added_in_two_calls_are_those_of_one(form, cut):
    whole, parts = Path(f"whole.{form}"), Path(f"parts.{form}")
    with RowFile(whole, form, JUDGED_BY) as file:
        file.add(ROWS)
        summary = file.finish({"run": "r"})
    with RowFile(parts, form, JUDGED_BY) as file:
        file.add(ROWS[:cut])
    assert not parts.exists()
    with RowFile(parts, form, JUDGED_BY, resume=True) as file:
        assert file.n == cut
        assert [file.is_kept(row.path) for row in ROWS] == [at < cut for at in range(len(ROWS))]
        file.add(ROWS[cut:])
        assert file.finish({"run": "r"}) == summary
    assert read(parts) == read(whole)
    assert form == "parquet" or parts.read_bytes() == whole.read_bytes()
    assert (summary.n, summary.n_flagged, summary.n_failed) == (4, 1, 1)
    assert sorted(path.name for path in Path().iterdir()) == sorted([whole.name, parts.name])


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_torn_last_line_is_cut_wherever_it_is_torn(form, monkeypatch):
    monkeypatch.setattr(row_files, "BLOCK", 16)
    path = Path(f"x.{form}")
    with RowFile(path, form, JUDGED_BY) as file:
        file.add(ROWS)
    content = file.part.read_bytes()
    for length in range(len(content) + 1):
        file.part.write_bytes(content[:length])
        with RowFile(path, form, JUDGED_BY, resume=True) as again:
            kept = again.n
            again.add(ROWS[kept:])
            assert again.part.read_bytes() == content
    assert kept == len(ROWS)


@pytest.mark.parametrize("form", FORMS)
def test_an_fdr_flags_when_all_rows_are_there(form):
    path = Path(f"x.{form}")
    rows = [Row(f"{n}.png", 1.0, p, None, None) for n, p in enumerate([0.001, 0.9, 0.002, 0.5])]
    rows.insert(2, ROWS[2])
    with RowFile(path, form, JUDGED_BY | {"fdr": 0.1}) as file:
        file.add(rows)
        summary = file.finish({}, 0.1)
    assert [row["flagged"] for row in read(path)] == [True, False, None, True, False]
    assert (summary.n, summary.n_flagged, summary.most) == (5, 2, 0.002)
    with RowFile(path, form, JUDGED_BY | {"fdr": 0.1}) as file:
        file.add(rows[1:2])
        assert file.finish({}, 0.1).most is None
    assert [row["flagged"] for row in read(path)] == [False]


def test_rows_that_were_judged_by_something_else_are_not_gone_on_with():
    with RowFile(Path("x.csv"), "csv", JUDGED_BY) as file:
        file.add(ROWS[:1])
    with pytest.raises(BundleError, match=r"alpha 0\.05, now 0\.01: give the same"):
        RowFile(Path("x.csv"), "csv", JUDGED_BY | {"alpha": 0.01}, resume=True)
    with pytest.raises(BundleError, match="rows of a call that did not end are there"):
        RowFile(Path("x.csv"), "csv", JUDGED_BY)
    file.part.with_name("x.csv.part.json").unlink()
    with pytest.raises(BundleError, match="no such file"):
        RowFile(Path("x.csv"), "csv", JUDGED_BY, resume=True)
    assert len(file.part.read_bytes()) > 40


def test_two_calls_do_not_write_one_file():
    with RowFile(Path("x.csv"), "csv", JUDGED_BY) as file:
        with pytest.raises(BundleError, match="another process is writing it"):
            RowFile(Path("x.csv"), "csv", JUDGED_BY, resume=True)
        file.add(ROWS)
        file.finish({})
    # What a killed process leaves locks nothing.
    Path(".x.csv.part.lock").touch()
    with RowFile(Path("x.csv"), "csv", JUDGED_BY) as file:
        file.finish({})


def test_an_old_file_stays_until_the_new_one_is_whole():
    Path("x.csv").write_text("old")
    with RowFile(Path("x.csv"), "csv", JUDGED_BY) as file:
        file.add(ROWS)
        assert Path("x.csv").read_text() == "old"
        file.finish({})
    assert Path("x.csv").read_text().startswith("path,score")


# --- the command ---


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_going_on_gives_the_same_rows_in_the_same_order(folder, form):
    assert run(*words(f"whole.{form}")).exit_code == 4
    (folder / "c").rename("aside")
    (folder / "d").rename("aside-too")
    # A call that was broken off has read only some of them: the rest comes back below.
    head = read_part(f"x.{form}", folder)
    Path("aside").rename(folder / "c")
    Path("aside-too").rename(folder / "d")
    result = run(*words(f"x.{form}", "--resume"))
    assert result.exit_code == 4
    assert f"{head} rows of x.{form}.part kept" in result.stderr
    assert read(Path(f"x.{form}")) == read(Path(f"whole.{form}"))
    assert "47 images: " in result.stderr
    assert not list(Path().glob("*.part*"))


def read_part(output: str, folder: Path) -> int:
    """Leave what a call leaves that ended before its last step; returns the number of its rows."""
    ended = interrupted("finish", lambda self, *_: None, words(output))
    assert (
        f"Interrupted with 20 rows in {output}.part; the same command with --resume goes on." in ended.stderr
    )
    return 20


@pytest.mark.parametrize("form", ["csv", "json", "jsonl"])
@pytest.mark.parametrize("more", [[], ["--fdr", "0.3"]])
def test_what_is_printed_after_going_on_is_all(folder, form, more):
    whole = run("score", "images", "--format", form, "--jobs", "1", *more)
    run(*words(f"x.{form}", "--jobs", "1", *more))
    # As if it had been broken off after so many rows: a record and the first lines.
    make_part(f"x.{form}", 20, more)
    result = run(*words(f"x.{form}", "--resume", "--format", form, *more))
    assert "20 rows of x." in result.stderr
    assert result.stdout == whole.stdout == Path(f"x.{form}").read_text()


def make_part(output: str, kept: int, more: list[str]) -> None:
    """Leave what a call leaves that was killed when so many rows were written."""
    path = Path(output)
    rows = read(path)[:kept]
    path.unlink()
    add = RowFile.add
    interrupted("add", lambda self, rows: add(self, rows[:kept]), words(output, "--jobs", "1", *more))
    assert len(rows) == kept


def interrupted(method: str, last: Callable[..., None], call: list[str]) -> Result:
    """Interrupt a call when it comes to a method of RowFile, in place of which something else is done last."""

    def cut(self: RowFile, *arguments: Any) -> None:
        last(self, *arguments)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RowFile, method, cut)
        ended = run(*call)
    assert ended.exit_code == 130, ended.stderr
    return ended


def test_a_part_is_not_written_over_unasked(folder):
    Path("x.csv.part").write_text("path,score,p_value,flagged,error\n")
    assert "go on with them (--resume), or remove it" in fails(1, *words("x.csv"))
    assert "--resume goes on with the rows of --output FILE" in fails(2, "score", "images", "--resume")


def test_other_options_are_other_rows(folder):
    assert run(*words("x.csv")).exit_code == 4
    Path("x.csv").rename("x.csv.part")
    run(*words("y.csv"))
    record = {"run": "small", "score": "bent", "alpha": 0.05}
    Path("x.csv.part.json").write_text(json.dumps(record))
    assert "its rows were judged by" in fails(1, *words("x.csv", "--resume", "--alpha", "0.01"))


def test_any_number_of_jobs_gives_the_same_bytes(folder, monkeypatch):
    monkeypatch.setattr("anomalae.images.stream.PATIENCE", 0.0)
    monkeypatch.setattr("anomalae.images.stream.CHUNK", 3)
    for jobs in ("1", "2"):
        assert run(*words(f"{jobs}.csv", "--jobs", jobs)).exit_code == 4
    assert Path("1.csv").read_bytes() == Path("2.csv").read_bytes()


def test_top_prints_the_highest_scores_and_the_file_has_all(folder):
    result = run(*words("x.csv", "--top", "3", "--format", "json"))
    document, every = json.loads(result.stdout), read(Path("x.csv"))
    highest = sorted((row for row in every if row["score"] is not None), key=lambda row: -row["score"])
    assert [row["path"] for row in document["rows"]] == [row["path"] for row in highest[:3]]
    assert (document["n"], document["n_failed"], len(every)) == (47, 1, 47)
    printed = run("score", "images", "--top", "2").stdout.splitlines()
    assert printed[0].startswith("path,score")
    assert [line.split(",")[0] for line in printed[1:]] == [row["path"] for row in highest[:2]]


@pytest.mark.parametrize("form", ["csv", "json", "jsonl"])
def test_standard_output_is_as_the_file(folder, form):
    for more in ([], ["--fdr", "0.3"]):
        result = run("score", "images", "--format", form, "--output", f"x.{form}", *more)
        assert result.stdout == Path(f"x.{form}").read_text()


@pytest.mark.slow
def test_killed_at_random_moments_nothing_is_lost_or_doubled(folder, images):
    for index in range(3000):
        Image.fromarray(images[index % len(images)]).save(folder / "d" / f"more{index:04d}.png")
    assert run(*words("whole.csv")).exit_code == 4
    for form in ("csv", "jsonl", "parquet"):
        ends = 0
        drawn = random.Random(form)
        for _ in range(50):
            process = subprocess.Popen(
                [sys.executable, "-m", "anomalae", *words(f"x.{form}", "--resume", "--quiet", "--jobs", "2")],
                start_new_session=True,
            )
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(drawn.uniform(2.0, 5.0))
            if process.returncode is not None:
                assert process.returncode == 4
                break
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            ends += 1
        else:
            assert run(*words(f"x.{form}", "--resume")).exit_code == 4
        assert ends
        assert read(Path(f"x.{form}")) == read(Path("whole.csv"))


def test_ctrl_c_says_how_to_go_on(folder, images):
    for index in range(4000):
        Image.fromarray(images[index % len(images)]).save(folder / "d" / f"more{index:04d}.png")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "anomalae", *words("x.csv")], stderr=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(signal.SIGINT, before)
    until = time.monotonic() + 60
    part = Path("x.csv.part")
    while not (part.exists() and part.stat().st_size > 1000) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "rows in x.csv.part; the same command with --resume goes on." in said
    assert "Traceback" not in said
    assert run(*words("x.csv", "--resume")).exit_code == 4
    assert len(read(Path("x.csv"))) == 4047


def test_a_lock_that_another_holds_is_respected(folder):
    with FileLock(".x.csv.part.lock"):
        assert "another process is writing it" in fails(1, *words("x.csv"))
    ok("score", folder / "a", "--output", "x.csv")
