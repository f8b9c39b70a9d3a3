"""`score`: files in, rows out; what cannot be read gets its row, and nothing is lost."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
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
    assert "(run small, score bent)" in result.stderr


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


@pytest.fixture
def scans(images: np.ndarray) -> Path:
    """A folder of three digits, light on dark, and one dark on light."""
    Path("scans").mkdir()
    for number, image in enumerate(images[:4]):
        scan = np.pad(image, 20)
        Image.fromarray(255 - scan if number == 2 else scan).save(f"scans/{number}.png")
    return Path("scans")


def test_what_turns_blank_though_it_has_ink_has_no_score_and_status_4(scans):
    result = run("score", "scans", "--polarity", "light")
    assert result.exit_code == 4
    found = rows(result.stdout)
    line = "it turned blank though it has ink, dark on light: give --polarity dark or auto (now light)"
    assert [row["error"] for row in found] == ["", "", f"{scans / '2.png'}: {line}", ""]
    assert [row["score"] != "" for row in found] == [True, True, False, True]
    assert "1 without a score: its ink was lost" in " ".join(result.stderr.split())
    assert "could not be read" not in result.stderr
    assert run("score", "scans", "--polarity", "auto").exit_code == 0
    assert run("score", "scans/2.png", "--polarity", "light").exit_code == 1


def test_ink_is_lost_from_arrays_pages_and_standard_input_alike(scans):
    pictures = [Image.open(scans / f"{number}.png") for number in (0, 2)]
    np.save("two.npy", np.stack([np.asarray(picture) for picture in pictures]))
    pictures[0].save("two.tif", save_all=True, append_images=pictures[1:])
    for name in ("two.npy", "two.tif"):
        result = run("score", name, "--polarity", "light", "--format", "jsonl")
        assert result.exit_code == 4
        good, lost = map(json.loads, result.stdout.splitlines())
        assert (good["error"], lost["score"]) == (None, None)
        assert lost["error"].startswith(f"{name}[1]: it turned blank though it has ink, dark on light")
    for data, exit_code in ((Path("two.tif").read_bytes(), 4), (Path("scans/2.png").read_bytes(), 1)):
        result = run("score", "-", "--polarity", "light", stdin=data)
        assert result.exit_code == exit_code
        assert "it turned blank though it has ink" in result.stdout


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
        assert "\x1b" not in (result.stderr if form == "csv" else result.output)
        result.output.encode()
    # Piped, a name that is text is as it is.
    if b"\xff" not in name:
        assert rows(ok("score", tmp_path / "odd").stdout)[0]["path"] == path
    found = json.loads(ok("score", tmp_path / "odd", "--format", "json").stdout)["rows"][0]
    assert os.fsencode(found["path"]) == os.fsencode(path)
    for suffix in ("csv", "parquet", "json"):
        ok("score", tmp_path / "odd", "--output", f"out.{suffix}", "--quiet")
    error = run("score", path + "missing")
    assert error.exit_code == 1
    assert "\x1b" not in error.stderr


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
    settings = {"hidden": (32,), "latent_dim": 4, "epochs": 3, "samples": 2, "likelihood": "smooth-direction"}
    detector = Detector(model="vae", views=("pixels",), **settings)
    detector.fit(split.train.images, conformal="split").save("runs/vae")
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


# Standard input


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".gif", ".webp", ".pgm"])
def test_a_picture_on_standard_input_is_scored(images, suffix):
    Image.fromarray(images[0]).save(f"x{suffix}")
    (piped,) = rows(ok("score", "-", stdin=Path(f"x{suffix}").read_bytes()).stdout)
    (named,) = rows(ok("score", f"x{suffix}").stdout)
    assert piped == named | {"path": "-"}


def test_arrays_on_standard_input_have_a_row_an_image(images, small):
    np.save("x.npy", images[:3])
    np.savez("x.npz", pictures=images[:2])
    found = rows(ok("score", "-", stdin=Path("x.npy").read_bytes()).stdout)
    assert [row["path"] for row in found] == ["-[0]", "-[1]", "-[2]"]
    np.testing.assert_allclose([float(r["score"]) for r in found], small.score(images[:3]), rtol=1e-6)
    found = rows(ok("score", "x.npy", "-", stdin=Path("x.npz").read_bytes()).stdout)
    assert [row["path"] for row in found][2:] == ["x.npy[2]", "-:pictures[0]", "-:pictures[1]"]
    idx = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (2, 28, 28)) + images[:2].tobytes()
    assert [row["path"] for row in rows(ok("score", "-", stdin=idx).stdout)] == ["-[0]", "-[1]"]


def test_rubbish_on_standard_input_is_one_clear_line(images):
    for rubbish in (b"%PDF-1.7\n\0\1\2\3" * 50, b"x" * 50_000):
        error = fails(2, "score", "-", stdin=rubbish)
        assert "neither an image of a known kind nor a list of paths" in error
    Image.fromarray(images[0]).save("x.png")
    broken = run("score", "-", stdin=Path("x.png").read_bytes()[:60])
    assert broken.exit_code == 1
    assert rows(broken.stdout)[0]["error"].startswith("-: ")


def test_standard_input_is_bounded(images, monkeypatch):
    monkeypatch.setattr("anomalae.cli.sources.START", 1000)
    monkeypatch.setattr("anomalae.cli.sources.MOST", 2000)
    np.save("x.npy", images[:10])
    assert "standard input is larger than 2,000 bytes" in fails(
        2, "score", "-", stdin=Path("x.npy").read_bytes()
    )


@pytest.mark.parametrize(
    ("listed", "complaint"),
    [
        (b"some/path.png\n" * 500, "the list on standard input is longer than 5,000 bytes"),
        (b"y\n" * 1001, "the list on standard input is longer than 1,000 lines"),
        (b"\n" * 1001, "the list on standard input is longer than 1,000 lines"),
        (b"y\n" * 30 + b"z" * 201, "line 31 is longer than 200 bytes"),
        (b"y\n" * 500 + b"z" * 201 + b"\ny\n", "line 501 is longer than 200 bytes"),
        (b"y\n" * 500 + b"\0\n", "line 501 holds a null byte"),
    ],
)
def test_a_list_on_standard_input_is_bounded(listed, complaint, monkeypatch):
    for name, value in {"START": 100, "MOST_LISTED": 5000, "MOST_LINES": 1000, "LONGEST": 200}.items():
        monkeypatch.setattr(f"anomalae.cli.sources.{name}", value)
    assert fails(2, "score", "-", stdin=listed).endswith(complaint)


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_list_is_whole_wherever_its_start_is_cut(end, monkeypatch):
    names = [b"a.png", b"b\xff\xc3.png", b"c" * 20]
    for start in range(1, 40):
        monkeypatch.setattr("anomalae.cli.sources.START", start)
        found = rows(run("score", "-", stdin=b"\n".join(names) + end).stdout)
        assert [row["path"] for row in found] == ["a.png", "b\\udcff\\udcc3.png", "c" * 20]


def test_a_closed_standard_input_is_one_clear_line():
    closed = ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-m", "anomalae", "score", "-"]
    result = subprocess.run(closed, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == "Error: standard input is closed"
    assert "Traceback" not in result.stderr


# Pages


@pytest.fixture
def page(images: np.ndarray) -> np.ndarray:
    """Six digits, dark on a light sheet, in two lines."""
    sheet = np.full((260, 360), 225, np.uint8)
    for number, image in enumerate(images[:6]):
        top, left = 20 + number // 3 * 120, 20 + number % 3 * 110
        sheet[top : top + 84, left : left + 84] -= np.kron(image // 2, np.ones((3, 3), np.uint8))
    return sheet


def test_pages_of_a_file_have_a_row_each(page, images):
    pages = [Image.fromarray(page), Image.fromarray(255 - images[0]), Image.fromarray(page)]
    pages[0].save("x.tif", save_all=True, append_images=pages[1:])
    result = ok("score", "x.tif", stdin="")
    assert [row["path"] for row in rows(result.stdout)] == ["x.tif[0]", "x.tif[1]", "x.tif[2]"]
    assert "2 pictures look like several digits each: try --segment" in result.stderr
    found = rows(ok("score", "x.tif", "--segment").stdout)
    assert [row["path"] for row in found][5:8] == ["x.tif[0][5]", "x.tif[1][0]", "x.tif[2][0]"]


def test_a_page_is_cut_into_its_digits(page):
    Image.fromarray(page).save("page.png")
    for form in ("csv", "json", "jsonl", "parquet"):
        ok("score", "page.png", "--segment", "--output", f"out.{form}", "--quiet")
    found = rows(Path("out.csv").read_text())
    assert list(found[0]) == ["path", "score", "p_value", "flagged", "error", "box"]
    assert [row["path"] for row in found] == [f"page.png[{number}]" for number in range(6)]
    boxes = [[int(edge) for edge in row["box"].split(" ")] for row in found]
    for number, (left, top, right, bottom) in enumerate(boxes):
        row, column = 20 + number // 3 * 120, 20 + number % 3 * 110
        assert column <= left < right <= column + 84
        assert row <= top < bottom <= row + 84
    document = json.loads(Path("out.json").read_text())
    assert [row["box"] for row in document["rows"]] == boxes
    assert [json.loads(line)["box"] for line in Path("out.jsonl").read_text().splitlines()] == boxes
    import pyarrow.parquet as pq

    assert pq.read_table("out.parquet")["box"].to_pylist() == boxes
    assert "6 digits: " in ok("score", "page.png", "--segment").stderr


def test_the_page_is_drawn_with_its_boxes(page):
    Image.fromarray(page).save("page.png")
    Image.fromarray(page).save("two.tif", save_all=True, append_images=[Image.fromarray(page)])
    Image.fromarray(page[:130, :115]).save("one.png")
    ok("score", "page.png", "two.tif", "one.png", "--segment", "--heatmaps", "heat", "--quiet")
    names = {path.name for path in Path("heat").iterdir()}
    pages = {"00000_page_page", "00006_two.tif[0]_page", "00012_two.tif[1]_page", "00018_one_page"}
    assert {name for name in names if name.endswith("_page.png")} == {f"{name}.png" for name in pages}
    assert len(names) == 3 * 6 + 1 + len(pages)
    drawn = np.asarray(Image.open("heat/00000_page_page.png"))
    assert drawn.shape[2] == 3
    assert (drawn != drawn[..., :1]).any()


def test_an_empty_page_has_its_error():
    Image.fromarray(np.full((200, 200), 230, np.uint8)).save("empty.png")
    result = run("score", "empty.png", "--segment")
    assert result.exit_code == 1
    assert rows(result.stdout)[0]["error"] == "empty.png: no digits found on this page"


def test_segment_fits_as_mnist_does(page):
    Image.fromarray(page).save("page.png")
    assert "--preprocess mnist" in fails(2, "score", "page.png", "--segment", "--preprocess", "resize")


def test_a_report_of_scored_pages_finds_their_digits(page):
    from anomalae.reports.collect.scored import scored_report

    Image.fromarray(page).save("page.png")
    Image.fromarray(page).save("two.tif", save_all=True, append_images=[Image.fromarray(page)])
    ok("score", "page.png", "two.tif", "--segment", "--output", "out.csv", "--quiet")
    report = scored_report(Path("runs/small"), Path("out.csv"))
    assert len(report.rows) == 18
    assert report.missing == ()


# What is said


def test_json_is_format_json(folder):
    assert ok("score", folder, "--json").stdout == ok("score", folder, "--format", "json").stdout
    assert "give one of them" in fails(2, "score", folder, "--json", "--format", "csv")


def test_files_passed_over_are_counted(folder):
    for name in ("notes.txt", "a/more.TXT", "scan.pdf", ".hidden.txt"):
        (folder / name).write_text("no image")
    assert "3 files passed over for their ending: .txt 2, .pdf 1" in ok("score", folder).stderr.splitlines()
    assert "passed over" not in ok("score", folder / "b").stderr


def test_an_fdr_that_can_flag_nothing_warns(folder, small):
    warning = f"Warning: {small.n_calibration} calibration images cannot flag at FDR 0.001"
    assert warning in ok("score", folder, "--fdr", "0.001").stderr
    assert "cannot flag" not in ok("score", folder, "--fdr", "0.5").stderr


def test_pictures_in_the_terminal_are_off_when_piped(folder):
    assert ok("score", folder, "--show").stdout == ok("score", folder).stdout
