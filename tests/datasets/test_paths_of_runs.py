"""A run says where its data were found. Nothing is written there, and what only the run names is told, then read."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from anomalae import load_dataset
from anomalae.datasets.dataset import Dataset
from anomalae.datasets.folders import export
from anomalae.errors import DataError, PathWarning
from anomalae.experiments.run import describe, reload_dataset
from anomalae.runs.record import Data
from tests.cli import QUICK, fails, ok
from tests.datasets import test_load
from tests.datasets.test_load import packed, put

small = test_load.small


@pytest.fixture
def mirror(
    small: dict[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A real server of the small official files."""
    import torchvision.datasets

    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

    put(tmp_path / "mirror", "mnist", packed(small["mnist"]))
    handler = functools.partial(Silent, directory=tmp_path / "mirror" / "MNIST" / "raw")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(
            torchvision.datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"]
        )
        yield
        server.shutdown()


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in; what lies beside it is outside."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def described(dataset: Dataset) -> Data:
    return describe(dataset, dataset.one_class(normal=[0], seed=0))


def whole(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("there", [{}, {"packed": True}, {"cut": True}])
def test_nothing_is_downloaded_or_unpacked_to_where_a_run_says(there, mirror, small, inside):
    put(inside / "etc", "mnist", small["mnist"])
    data = described(load_dataset("mnist", inside / "etc", download=False))
    assert data.root == str(inside / "etc")
    shutil.rmtree(inside / "etc" / "MNIST")
    if there.get("packed"):
        put(inside / "etc", "mnist", packed(small["mnist"]))
    if there.get("cut"):
        put(inside / "etc", "mnist", {name: content[:-1] for name, content in small["mnist"].items()})
    before = whole(inside / "etc")
    with pytest.warns(PathWarning, match=f"data are read from {inside / 'etc'}, as the run says"):
        dataset = reload_dataset(data)
    assert whole(inside / "etc") == before
    assert dataset.provenance["root"] == str(inside / "work" / "data")
    # What is at hand is not looked for where the run says.
    assert reload_dataset(data).provenance["root"] == str(inside / "work" / "data")
    given = reload_dataset(data, str(inside / "given"))
    assert given.provenance["root"] == str(inside / "given")


def test_what_lies_where_a_run_says_is_read_if_it_is_what_it_was(small, inside):
    put(inside / "etc", "mnist", small["mnist"])
    data = described(load_dataset("mnist", inside / "etc", download=False))
    with pytest.warns(PathWarning):
        dataset = reload_dataset(data)
    assert dataset.provenance["sha256"] == data.hashes
    assert not (inside / "work" / "data").exists()
    put(inside / "etc", "mnist", {"t10k-labels-idx1-ubyte": small["mnist"]["t10k-labels-idx1-ubyte"][::-1]})
    with pytest.warns(PathWarning), pytest.raises(DataError, match="expected"):
        reload_dataset(data)


def test_a_folder_elsewhere_is_told_and_one_without_hashes_not_read(digits, inside):
    export(digits.train, inside / "scans", limit=200)
    data = described(load_dataset(inside / "scans"))
    with pytest.warns(PathWarning, match=f"data are read from {inside / 'scans'}, as the run says"):
        assert reload_dataset(data).provenance["sha256"] == data.hashes
    next((inside / "scans" / "0").iterdir()).write_bytes(b"not to be opened")
    for hashes in ({}, {"train": data.hashes["train"]}):
        with pytest.raises(DataError, match="is not read, for the run that names it has no hashes of it"):
            reload_dataset(replace(data, hashes=hashes))


@pytest.mark.filterwarnings("always::anomalae.errors.PathWarning")
def test_the_command_line_tells_the_path_and_a_look_at_the_run_reads_nothing(digits, inside):
    export(digits.train, inside / "scans", limit=200)
    ok("train", "--normal", "0", *QUICK, "--dataset", inside / "scans", "--name", "a", "--quiet")
    said = ok("evaluate", "a", "--quiet").stderr.splitlines()
    assert said[0] == f"Warning: data are read from {inside / 'scans'}, as the run says"
    shutil.rmtree(inside / "scans" / "0")
    assert ok("runs", "a").stderr == ""
    assert "its train part is not the one this run was trained on" in fails(1, "evaluate", "a")
