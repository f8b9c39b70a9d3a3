"""What a demo refuses to write, in one line, with nothing lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anomalae import Detector
from anomalae.demo import write_demo
from anomalae.demo.assembling import GENERATOR
from anomalae.demo.writing import MOST_BYTES
from anomalae.detectors.export import writing
from anomalae.errors import BundleError
from tests.cli import fails, process


@pytest.fixture(scope="module")
def place(small: Detector, images, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    small.save(folder / "runs" / "small")
    np.save(folder / "images.npy", images[:5])
    return folder


@pytest.fixture
def words(place) -> list[str | Path]:
    return ["--run", place / "runs" / "small", "--images", place / "images.npy"]


def test_no_run():
    assert fails(2, "demo", "demo.html", "--run", "runs/none").startswith("Error: runs/none: no such run")


def test_a_folder_called_as_a_page(words):
    Path("demo.html").mkdir()
    assert fails(1, "demo", "demo.html", *words) == "Error: demo.html: is a folder"


def test_a_folder_that_holds_something_else_stays_as_it_is(words):
    Path("site").mkdir()
    Path("site/index.html").write_text("mine")
    line = fails(1, "demo", "site", *words)
    assert line == "Error: site/index.html: exists already and is not of a demo"
    assert [path.read_text() for path in Path("site").iterdir()] == ["mine"]


def test_a_page_of_somebody_else_and_the_folder_of_a_run_stay_as_they_are(words):
    Path("mine.html").write_text("mine")
    line = fails(1, "demo", "mine.html", *words)
    assert line == "Error: mine.html: exists already and is not of a demo"
    assert Path("mine.html").read_text() == "mine"
    Path("run").mkdir()
    Path("run/config.json").write_text("{}")
    assert fails(1, "demo", "run/", *words) == "Error: run: is the folder of a run"
    assert [path.name for path in Path("run").iterdir()] == ["config.json"]


def test_a_file_where_a_folder_should_be(words):
    Path("site").write_text("mine")
    assert fails(1, "demo", "site/", *words) == "Error: site: cannot be written: File exists"
    assert Path("site").read_text() == "mine"


def test_a_place_that_is_not_there(words):
    line = fails(1, "demo", "nowhere/demo.html", *words)
    assert line == "Error: nowhere/demo.html: cannot be written: No such file or directory"


def test_a_calibration_that_is_not_there_leaves_no_folder(words):
    for folder in ("site/", "new/places/site"):
        line = fails(2, "demo", folder, "--calibration", "mine", *words)
        assert line.startswith("Error: calibration 'mine'")
    assert list(Path().iterdir()) == []


def test_a_folder_that_takes_no_files_is_told_before_a_graph_is_made(words, monkeypatch):
    monkeypatch.setattr(writing, "make_model", lambda *given: pytest.fail("a graph is made"))
    if not Path("/proc/self/task").is_dir():
        pytest.skip("no folder here that nobody can write into")
    line = fails(1, "demo", "/proc/self/task", *words)
    assert line.startswith("Error: /proc/self/task/model.onnx: cannot be written: ")
    # Nor where a folder stands in the way of a part.
    Path("site/page.css").mkdir(parents=True)
    Path("site/index.html").write_text("by anomalae demo")
    line = fails(1, "demo", "site", *words)
    assert line == "Error: site/page.css: exists already and is not of a demo"
    assert sorted(path.name for path in Path("site").iterdir()) == ["index.html", "page.css"]


def test_pictures_that_no_drawing_is(place, images):
    detector = Detector(hidden=(16,), latent_dim=4, epochs=1)
    detector.fit(images, preprocess="none", conformal="split")
    detector.save("runs/plain")
    line = fails(1, "demo", "demo.html", "--run", "runs/plain", "--images", place / "images.npy")
    assert line == "Error: plain: takes pictures of 28 x 28 alone, as they are; a drawing is larger"


def test_without_the_extra_it_says_what_to_install(place):
    lines = "from anomalae.cli import main", "main(['demo', 'demo.html', '--run', 'runs/small'])"
    done = process(place, *lines, blocked=("onnxruntime",))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: onnxruntime: is not installed; pip install 'anomalae[onnx]'\n"


@pytest.mark.slow
def test_a_model_that_scores_otherwise_leaves_what_was_there(words, place):
    mine = f"<!-- {GENERATOR} --> mine"
    Path("demo.html").write_text(mine)
    line = fails(1, "demo", "demo.html", "--tolerance", "0", *words)
    assert line.startswith("Error: demo.html: not written: scores differ by up to ")
    assert Path("demo.html").read_text() == mine
    assert "not written" in fails(1, "demo", "site/", "--tolerance", "0", *words)
    assert [path.name for path in Path().iterdir()] == ["demo.html"]


@pytest.mark.slow
def test_a_page_that_is_too_large_is_not_written(digits):
    images = digits.test.images[:80]
    detector = Detector(hidden=(6000,), latent_dim=16, epochs=1).fit(images, conformal="split")
    compared = []
    with pytest.raises(
        BundleError, match=rf"demo\.html: not written: the page would have .* at most {MOST_BYTES:,} are"
    ):
        write_demo(detector, "demo.html", images[:5], on_scored=compared.append)
    assert not Path("demo.html").exists()
    # Before it is compared, which takes longest.
    assert compared == []
    write_demo(detector, "parts", images[:5])
    assert Path("parts/model.onnx").stat().st_size > 30_000_000
