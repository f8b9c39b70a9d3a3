"""`score --shard` and `merge`: the parts together are what a single call writes, and nothing else is put together."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalae import Detector
from anomalae.detectors.shards import Shard, listing_order
from anomalae.images.inputs import list_files
from tests.cli import fails, ok, run

FORMS = ["csv", "jsonl", "json", "parquet"]


@pytest.fixture
def folder(small: Detector, images: np.ndarray, tmp_path: Path) -> Path:
    small.save(tmp_path / "runs" / "small")
    folder = tmp_path / "images"
    for index, name in enumerate(["b/1", "b/c/2", "a", "b0", "b/c0/3", "z/4", "b/é", "b/c/new\nline", "a b"]):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[index]).save(path)
    np.save(folder / "b" / "array.npy", images[:12])
    (folder / "b" / "broken.png").write_bytes(b"broken")
    return folder


def shards(count: int, form: str = "csv", *more: str) -> list[Path]:
    paths = [Path(f"{number}.{form}") for number in range(1, count + 1)]
    for number, path in enumerate(paths, 1):
        run(
            "score",
            "images",
            "--shard",
            f"{number}/{count}",
            "--output",
            path,
            "--quiet",
            "--jobs",
            "1",
            *more,
        )
    return paths


def test_merging_warns_of_few_calibration_images_as_scoring_does(folder):
    (warning,) = (
        line for line in run("score", "images", "--fdr", "0.001").stderr.splitlines() if "cannot flag" in line
    )
    merged = run("merge", *shards(2), "--output", "all.csv", "--fdr", "0.001")
    assert warning in merged.stderr.splitlines()
    assert "cannot flag" not in fails(1, "merge", "1.csv", "--output", "all.csv", "--fdr", "0.001")
    assert "cannot flag" not in run("merge", *shards(2), "--output", "all.csv").stderr


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("more", [[], ["--fdr", "0.3"]])
def test_together_they_are_what_a_single_call_writes(folder, form, more):
    whole = run("score", "images", "--output", f"whole.{form}", "--quiet", "--jobs", "1", *more)
    paths = shards(3, form)
    random.Random(0).shuffle(paths)
    result = run("merge", *paths, "--output", f"all.{form}", *more)
    assert result.exit_code == whole.exit_code == 4, result.stderr
    assert "22 rows of 3 shards: " in result.stderr
    if form == "parquet":
        import pyarrow.parquet as pq

        assert pq.read_table("all.parquet").to_pylist() == pq.read_table("whole.parquet").to_pylist()
    else:
        assert Path(f"all.{form}").read_bytes() == Path(f"whole.{form}").read_bytes()


def test_each_file_is_in_one_shard_wherever_the_folder_lies(folder, tmp_path):
    names = [file.relative_to(folder).as_posix() for file in list_files([folder])]
    for name in names:
        assert sum(Shard(number, 5).holds(name) for number in range(1, 6)) == 1
    shards(2)
    (tmp_path / "elsewhere").mkdir()
    shutil.copytree(folder, tmp_path / "elsewhere" / "images")
    run("score", "elsewhere/images", "--shard", "1/2", "--output", "moved.csv", "--quiet")
    moved = Path("moved.csv").read_text().replace("elsewhere/", "")
    assert moved == Path("1.csv").read_text()


def test_shards_of_many_files_are_about_equal():
    counts = [sum(Shard(number, 4).holds(f"{n:05d}.png") for n in range(4000)) for number in range(1, 5)]
    assert min(counts) > 900


def test_the_order_is_that_of_the_listing(folder):
    names = [str(file) for file in list_files(["images"])]
    assert sorted(names, key=lambda name: listing_order(name, ["images"])) == names
    two = [str(file) for file in list_files(["images/z", "images/b"])]
    assert sorted(two, key=lambda name: listing_order(name, ["images/z", "images/b"])) == two


def test_an_empty_shard_is_no_fault(folder, images):
    shutil.rmtree(folder)
    folder.mkdir()
    Image.fromarray(images[0]).save(folder / "one.png")
    paths = shards(3)
    assert sorted(len(path.read_text().splitlines()) for path in paths) == [1, 1, 2]
    ok("merge", *paths, "--output", "all.csv")
    assert len(Path("all.csv").read_text().splitlines()) == 2


def test_what_does_not_belong_together_is_not_put_together(folder):
    paths = shards(3)
    merge = ["merge", "--output", "all.csv"]
    assert "shards that are missing: 2/3" in fails(1, *merge, paths[0], paths[2])
    assert "3.csv: is shard 3/3, and so is" in fails(1, *merge, *paths, "3.csv")
    shutil.copy("3.csv", "copy.csv")
    assert "copy.csv: is no whole shard: there is no copy.csv.shard.json beside it" in fails(
        1, *merge, *paths[:2], "copy.csv"
    )
    run("score", "images", "--shard", "3/3", "--alpha", "0.2", "--output", "other.csv", "--quiet")
    assert "other.csv: is of another call than 1.csv: alpha 0.2, not 0.05" in fails(
        1, *merge, *paths[:2], "other.csv"
    )
    run("score", "images", "--shard", "3/4", "--output", "four.csv", "--quiet")
    assert "four.csv: is shard 3/4, and 1.csv is 1/3" in fails(1, *merge, *paths[:2], "four.csv")
    assert "nothing.csv: no such file" in fails(1, *merge, "nothing.csv")
    Path("3.csv").write_text("path,score\na,b\n")
    assert "3.csv: row 1: cannot be read" in fails(1, *merge, *paths)
    Path("2.csv.shard.json").write_text("[]")
    assert "2.csv.shard.json: is no record of a shard" in fails(1, *merge, *paths)
    assert not Path("all.csv").exists()


def test_a_record_that_is_none_is_named(folder):
    (path,) = shards(1)
    beside = Path("1.csv.shard.json")
    record = json.loads(beside.read_text())
    spoilt = [record | {key: None} for key in ("run", "score", "shard", "format", "paths", "segment", "n")]
    spoilt += [record | {"paths": [5]}, record | {"format": "xml"}, record | {"segment": 1}]
    spoilt += [{key: record[key] for key in record if key != left_out} for left_out in ("alpha", "threshold")]
    for one in spoilt:
        beside.write_text(json.dumps(one))
        assert "1.csv.shard.json: is no record of a shard" in fails(1, "merge", path, "--output", "all.csv")
    beside.write_text(json.dumps(record))
    assert run("merge", path, "--output", "all.csv").exit_code == 4
    for count, missing in ((6, "2/6, 3/6, 4/6, 5/6, 6/6"), (8, "2/8, 3/8, 4/8, 5/8, 6/8 and 2 more")):
        beside.write_text(json.dumps(record | {"shard": f"1/{count}"}))
        complaint = fails(1, "merge", path, "--output", "all.csv")
        assert complaint.strip().endswith(f"shards that are missing: {missing}")


def test_a_merge_that_was_broken_off_is_begun_anew(folder):
    paths = shards(2)
    Path("all.csv.part").write_text("path,score,p_value,flagged,error\nx,1,1,0,\n")
    run("merge", *paths, "--output", "all.csv")
    assert len(Path("all.csv").read_text().splitlines()) == 24  # a name has two lines


def test_a_shard_goes_on_where_it_was_and_is_not_taken_for_another(folder):
    paths = shards(2)
    record = json.loads(Path("1.csv.shard.json").read_text())
    assert record["n"] + json.loads(Path("2.csv.shard.json").read_text())["n"] == 22
    paths[0].rename("1.csv.part")
    Path("1.csv.part.json").write_text(json.dumps({key: record[key] for key in record if key != "n"}))
    complaint = fails(1, "score", "images", "--shard", "2/2", "--output", "1.csv", "--resume")
    assert "shard 1/2, now 2/2" in complaint
    run("score", "images", "--shard", "1/2", "--output", "1.csv", "--resume")
    assert run("merge", *paths, "--output", "all.csv").exit_code == 4


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/100001", "1/1000000000000"])
def test_wrong_shards_are_one_line(folder, text):
    assert f"--shard '{text}': must be I/N" in fails(
        2, "score", "images", "--shard", text, "--output", "x.csv"
    )


def test_a_shard_excludes_what_needs_all_rows(folder):
    words = ["score", "images", "--shard", "1/2"]
    assert "excludes --fdr" in fails(2, *words, "--fdr", "0.1", "--output", "x.csv")
    assert "needs --output" in fails(2, *words)
