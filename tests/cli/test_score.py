"""`score`: files in, rows out; what cannot be read gets its row, and nothing is lost."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalae import Detector
from tests.cli import fails, ok, run


@pytest.fixture(autouse=True)
def _run_folder(small: Detector, tmp_path: Path) -> None:
    small.save(tmp_path / "runs" / "small")


@pytest.fixture
def folder(images: np.ndarray, tmp_path: Path) -> Path:
    """Ten good images, two of them of the same name in different folders."""
    folder = tmp_path / "images"
    for index in range(10):
        path = folder / ("a" if index < 5 else "b") / f"{index % 5}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[index]).save(path)
    return folder


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_when_piped_equals_the_library(folder, small, images):
    result = ok("score", folder)
    found = rows(result.stdout)
    assert list(found[0]) == ["path", "score", "p_value", "flagged", "error"]
    assert [row["path"] for row in found] == [str(folder / d / f"{i}.png") for d in "ab" for i in range(5)]
    np.testing.assert_allclose([float(r["score"]) for r in found], small.score(images[:10]), rtol=1e-6)
    np.testing.assert_array_equal([float(r["p_value"]) for r in found], small.p_values(images[:10]))
    np.testing.assert_array_equal([r["flagged"] == "1" for r in found], small.flags(images[:10]))
    assert result.stderr.splitlines()[-1].startswith("10 images: ")
    assert "(run small, score smooth)" in result.stderr


@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "parquet"])
def test_files_hold_all_rows(folder, small, images, form):
    ok("score", folder, "--output", f"out.{form}", "--quiet")
    path = Path(f"out.{form}")
    if form == "csv":
        found = [float(row["score"]) for row in rows(path.read_text())]
    elif form == "json":
        document = json.loads(path.read_text())
        assert {"run", "score", "alpha", "fdr", "threshold", "n", "n_flagged", "n_failed", "rows"} == set(
            document
        )
        assert document["threshold"] == small.threshold(0.05)
        found = [row["score"] for row in document["rows"]]
    elif form == "jsonl":
        found = [json.loads(line)["score"] for line in path.read_text().splitlines()]
    else:
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        assert table.column_names == ["path", "score", "p_value", "flagged", "error"]
        found = table["score"].to_pylist()
    np.testing.assert_allclose(found, small.score(images[:10]), rtol=1e-6)


def test_table_puts_the_most_anomalous_first_and_shows_markup_as_text(images, small):
    Image.fromarray(images[0]).save("[red]a[blue].png")
    Image.fromarray(np.zeros((28, 28), np.uint8)).save("blank\n.png")
    found = ok("score", "[red]a[blue].png", "blank\n.png", "--format", "table").stdout.splitlines()
    assert "blank\\n.png" in found[1]
    assert "no ink" in found[1]
    assert "[red]a[blue].png" in found[2]


def test_paths_from_standard_input_and_single_files(folder):
    names = "".join(f"{folder / 'a' / name}\n" for name in ("0.png", "3.png"))
    assert [Path(r["path"]).name for r in rows(ok("score", "-", stdin=names).stdout)] == ["0.png", "3.png"]
    assert len(rows(ok("score", folder / "a" / "0.png", folder / "b").stdout)) == 6
    assert "standard input holds no paths" in fails(2, "score", "-", stdin="")


def test_arrays_have_a_row_an_image(images, small):
    np.save("x.npy", images[:4])
    found = rows(ok("score", "x.npy").stdout)
    assert [row["path"] for row in found] == [f"x.npy[{i}]" for i in range(4)]
    np.testing.assert_allclose([float(r["score"]) for r in found], small.score(images[:4]), rtol=1e-6)


def test_other_rules_alphas_and_fdr(folder, small, images):
    found = rows(ok("score", folder, "--score", "mse", "--alpha", "0.2").stdout)
    np.testing.assert_allclose([float(r["score"]) for r in found], small.score(images[:10], "mse"), rtol=1e-5)
    np.testing.assert_array_equal([r["flagged"] == "1" for r in found], small.flags(images[:10], 0.2, "mse"))
    from anomalae.evaluation.conformal import benjamini_hochberg

    found = rows(ok("score", folder, "--fdr", "0.3").stdout)
    expected = benjamini_hochberg(small.p_values(images[:10]), 0.3)
    np.testing.assert_array_equal([r["flagged"] == "1" for r in found], expected)
    assert "score 'elbo'" in fails(2, "score", folder, "--score", "elbo")


def test_heatmaps_are_one_an_image_whatever_the_names(folder, images):
    ok("score", folder, "--heatmaps", "heat", "--quiet")
    made = sorted(Path("heat").iterdir())
    assert [p.name for p in made] == [f"{i:05d}_{i % 5}.png" for i in range(10)]
    with Image.open(made[0]) as picture:
        assert picture.mode == "RGB"
        assert picture.width == 3 * 168 + 12
        # What the heatmap shows stands below it.
        assert np.asarray(picture)[168:].min() < 100
        panel = np.asarray(picture)[:168, :168, 0][::6, ::6]
    assert np.array_equal(panel, images[0])


def test_what_cannot_be_read_has_its_row_and_status_4(folder):
    (folder / "a" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n junk")
    (folder / "a" / "empty.jpg").write_bytes(b"")
    result = run("score", folder, "missing.png")
    assert result.exit_code == 4
    found = rows(result.stdout)
    errors = {Path(row["path"]).name: row["error"] for row in found if row["error"]}
    assert set(errors) == {"broken.png", "empty.jpg", "missing.png"}
    assert len(found) == 13
    assert all(row["score"] == row["p_value"] == row["flagged"] == "" for row in found if row["error"])
    assert "3 could not be read" in result.stderr


def test_exit_status(folder):
    Image.fromarray(np.zeros((28, 28), np.uint8)).save("blank.png")
    assert run("score", "blank.png").exit_code == 0
    assert run("score", "blank.png", "--alpha", "0.2", "--fail-on-anomaly").exit_code == 3
    assert run("score", "blank.png", "missing.png", "--alpha", "0.2", "--fail-on-anomaly").exit_code == 4
    assert run("score", "missing.png").exit_code == 1
    assert run("score").exit_code == 2
    Path("nothing").mkdir()
    result = run("score", "nothing")
    assert result.exit_code == 1
    assert "nothing" in rows(result.stdout)[0]["error"]


@pytest.mark.parametrize(
    "name", [b"new\nline.png", b"\x1b[31mred.png", b"[bold]x[blink].png", b"\xff\xfe.png", b"-x.png"]
)
def test_strange_file_names(images, name, tmp_path):
    path = os.fsdecode(bytes(tmp_path / "odd") + b"/" + name)
    (tmp_path / "odd").mkdir()
    Image.fromarray(images[0]).save("x.png")
    os.rename("x.png", path)  # noqa: PTH104 - a path that is no text
    for form in ("table", "csv", "json", "jsonl"):
        result = ok("score", tmp_path / "odd", "--format", form, "--heatmaps", f"heat-{form}")
        assert "\x1b" not in result.output
        result.output.encode()
    found = json.loads(ok("score", tmp_path / "odd", "--format", "json").stdout)["rows"][0]
    assert os.fsencode(found["path"]) == os.fsencode(path)
    for suffix in ("csv", "parquet", "json"):
        ok("score", tmp_path / "odd", "--output", f"out.{suffix}", "--quiet")
    error = run("score", path + "missing")
    assert error.exit_code == 1
    assert "\x1b" not in error.output


def test_outputs_that_cannot_be_written(folder):
    assert "suffix must be one of" in fails(2, "score", folder, "--output", "out.xlsx")
    assert "out.csv: cannot be written" in fails(1, "score", folder, "--output", "no/such/folder/out.csv")
    Path("file").write_text("")
    assert run("score", folder, "--heatmaps", "file").exit_code == 2
    assert "cannot be written" in fails(1, "score", folder, "--heatmaps", "file/below")


def test_runs_that_are_not_there(folder):
    assert "runs/none: no such run" in fails(2, "score", folder, "--run", "none")
    assert "no finished run here" in fails(1, "score", folder, "--runs-dir", "elsewhere")


def test_preprocess_is_inherited_and_can_be_given(images):
    big = Image.fromarray(255 - images[0]).resize((140, 140))
    big.save("big.png")
    assert rows(ok("score", "big.png").stdout)[0]["error"] == ""
    assert "28" in rows(run("score", "big.png", "--preprocess", "none").stdout)[0]["error"]


def test_heatmaps_of_a_density_score_show_the_reconstructions_terms(digits, images):
    split = digits.one_class(normal=[0], seed=0)
    detector = Detector(model="vae", hidden=(32,), latent_dim=4, epochs=3, samples=2).fit(split.train.images)
    detector.save("runs/vae")
    np.save("x.npy", images[:3])
    ok("score", "x.npy", "--run", "vae", "--heatmaps", "heat", "--quiet")
    for path in Path("heat").iterdir():
        with Image.open(path) as picture:
            panel = np.asarray(picture)[:, 2 * 174 :].astype(int)
        assert (panel[..., 0] - panel[..., 2]).max() > 60  # red somewhere
        assert (panel.min(axis=-1) > 200).mean() > 0.2  # and nearly white elsewhere


def test_empty_paths_and_lines_with_odd_characters(folder):
    assert "a path is empty" in fails(2, "score", "")
    odd = folder / "a\x0bb\x85c.png"
    (folder / "a" / "0.png").rename(odd)
    assert rows(ok("score", "-", stdin=f"{odd}\n").stdout)[0]["error"] == ""


def test_nan_is_no_alpha(folder):
    assert "nan" in fails(2, "score", folder, "--alpha", "nan")
    assert "nan" in fails(2, "score", folder, "--fdr", "nan")


def test_links_are_followed_and_pipes_written_into(folder):
    Path("real.csv").write_text("")
    Path("link.csv").symlink_to("real.csv")
    ok("score", folder, "--output", "link.csv", "--quiet")
    assert Path("link.csv").is_symlink()
    assert Path("real.csv").read_text().startswith("path,score")


def test_names_that_are_too_long(folder):
    assert "no such run" in fails(2, "score", folder, "--run", "a" * 300)
    assert "neither a folder" in fails(2, "train", "--normal", "0", "--dataset", "a" * 300)
    assert "no finished run" in fails(1, "score", folder, "--runs-dir", "a" * 300)
