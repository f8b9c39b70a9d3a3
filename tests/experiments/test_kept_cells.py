"""Kept cells: what is broken is done again and named, what is of another kind stays, and how long the rest takes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from anomalae import load_dataset
from anomalae.datasets.dataset import Part, make_dataset
from anomalae.errors import BundleError
from anomalae.experiments import revision
from anomalae.experiments.cells import Cell, Source
from anomalae.experiments.executors.here import Here
from anomalae.experiments.kept_cells import Shelf, do_all
from tests.experiments.test_cells import counting


@pytest.fixture(scope="module")
def source():
    return Source.of(load_dataset("digits"))


def test_what_is_torn_or_of_another_cell_is_done_again_and_named(source, tmp_path):
    cells, shelf = [counting(source, tmp_path, n) for n in range(6)], Shelf(tmp_path / "cells")
    do_all(cells, shelf, Here())
    assert shelf.broken(cells) == Shelf(shelf.folder).broken(cells) == []
    numbers = [shelf.folder / f"{cell.key}.json" for cell in cells]
    arrays = [path.with_suffix(".safetensors") for path in numbers]
    numbers[0].write_text(numbers[0].read_text()[:40])
    arrays[1].unlink()
    written = json.loads(numbers[2].read_text())
    numbers[2].write_text(json.dumps({**written, "spec": {**written["spec"], "threads": 7}}))
    # A byte of a number, which would be another one.
    content = bytearray(arrays[3].read_bytes())
    content[-1] ^= 1
    arrays[3].write_bytes(content)
    written = json.loads(numbers[4].read_text())
    numbers[4].write_text(json.dumps({**written, "arrays": [], "arrays_sha256": "another"}))
    shelf = Shelf(shelf.folder)
    said = shelf.broken(cells)
    assert len(said) == 5
    for line, (path, what) in zip(
        said,
        [
            (numbers[0], "not valid JSON"),
            (arrays[1], "no such file"),
            (numbers[2], "is of another cell"),
            (arrays[3], "its arrays are not those that were written"),
            (arrays[4], "its arrays are not those that were written"),
        ],
        strict=True,
    ):
        assert line.startswith(f"{path}: {what}")
        assert "\n" not in line
    again = do_all(cells, shelf, Here())
    assert [outcome.kept for outcome in again] == [False] * 5 + [True]
    assert [outcome.result.numbers["n"] for outcome in again] == [125, 127, 124, 128, 127, 127]
    assert shelf.broken(cells) == Shelf(shelf.folder).broken(cells) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"spec": [1]},
        {"numbers": []},
        {"numbers": {}},
        {"numbers": {"n": float("nan")}},
        {"numbers": {"n": 126}},
        {"seconds": "x"},
        {"seconds": 10**400},
        {"seconds": -1.0},
        {"seconds": 1e300},
        {"seconds": True},
        {"arrays": {"n": 1}},
        {"arrays": 1},
        {"spec": {"work": "a"}},
    ],
)
def test_a_file_that_is_no_cell_counts_as_not_there_and_is_named(source, tmp_path, changed):
    cell, shelf = counting(source, tmp_path), Shelf(tmp_path / "cells")
    do_all([cell], shelf, Here())
    path = shelf.folder / f"{cell.key}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    shelf = Shelf(shelf.folder)
    assert shelf.estimate([cell]) == (1, None)
    assert shelf.others([cell]) == {}
    (line,) = shelf.broken([cell])
    assert line.startswith(f"{path}: not ")
    (outcome,) = do_all([cell], shelf, Here())
    assert (outcome.kept, outcome.result.numbers["n"]) == (False, 125)
    assert shelf.broken([cell]) == []


def test_cells_of_other_data_stay_and_are_counted(source, tmp_path):
    cell = counting(source, tmp_path)
    dataset = load_dataset("digits")
    fewer = Part(dataset.train.images[:-1], dataset.train.labels[:-1])
    changed = make_dataset("changed", fewer, dataset.test, dataset.classes, None, False)
    other = Cell(cell.work, cell.arguments, Source.of(changed))
    shelf = Shelf(tmp_path / "cells")
    do_all([cell], shelf, Here())
    assert shelf.others([cell]) == {}
    ((said, count),) = shelf.others([other]).items()
    train = [each.source.hashes["train"][:8] for each in (cell, other)]
    assert (said, count) == (f"other data: train part {train[0]}, not {train[1]}", 1)
    assert not do_all([other], shelf, Here())[0].kept
    assert len(list(shelf.folder.glob("*.json"))) == 2


def test_an_estimate_is_made_of_the_most_alike(source, tmp_path):
    shelf = Shelf(tmp_path / "cells")
    small, large = (counting(source, tmp_path, 0, width=width) for width in (1, 9))
    assert shelf.estimate([small]) == (1, None)
    do_all([small, large], shelf, Here())
    for cell, seconds in ((small, 2.0), (large, 30.0)):
        path = shelf.folder / f"{cell.key}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "seconds": seconds}))
    shelf = Shelf(shelf.folder)
    wanted = [counting(source, tmp_path, 1, width=width) for width in (1, 9)]
    assert shelf.estimate([small, *wanted]) == (2, 32.0)


def test_an_estimate_is_made_of_the_same_data_alone(source, tmp_path):
    shelf = Shelf(tmp_path / "cells")
    do_all([counting(source, tmp_path)], shelf, Here())
    other = counting(replace(source, hashes={"train": "a", "test": "b"}), tmp_path, 1)
    assert shelf.estimate([other]) == (1, None)
    assert shelf.estimate([counting(source, tmp_path, 1)])[1] is not None


def test_cells_of_another_version_are_not_taken_and_named_with_what_differs(source, tmp_path, monkeypatch):
    shelf = Shelf(tmp_path / "cells")
    do_all([counting(source, tmp_path)], shelf, Here())
    before = counting(source, tmp_path).spec["versions"]
    assert set(before) == {"anomalae", "torch", "numpy", "scipy", "scikit-learn", "numba", "pyod"}
    for package in ("torch", "scikit-learn"):
        folder = tmp_path / "site" / f"{package.replace('-', '_')}-99.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 99.0\n")
    with monkeypatch.context() as upgraded:
        upgraded.syspath_prepend(tmp_path / "site")
        revision._versions.cache_clear()
        cell = counting(source, tmp_path)
        assert shelf.take(cell) is None
        learn = before["scikit-learn"]
        said = f"torch {before['torch']}, not 99.0; scikit-learn {learn}, not 99.0"
        assert shelf.others([cell]) == {said: 1}
    revision._versions.cache_clear()
    assert shelf.take(counting(source, tmp_path)) is not None


def test_cells_of_before_versions_were_recorded_are_named(source, tmp_path):
    cell, shelf = counting(source, tmp_path), Shelf(tmp_path / "cells")
    do_all([cell], shelf, Here())
    written = json.loads((shelf.folder / f"{cell.key}.json").read_text())
    old = {key: value for key, value in written["spec"].items() if key not in ("versions", "parts")}
    (shelf.folder / "0123.json").write_text(json.dumps({**written, "spec": {**old, "version": "0.1.0"}}))
    assert Shelf(shelf.folder).others([cell]) == {"versions that are not recorded": 1}


def test_nothing_can_be_written(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="cannot be written"):
        do_all([counting(source, tmp_path)], Shelf(tmp_path / "file" / "cells"), Here())
