"""A benchmark's cells are kept by all that made them; one that fails is done twice, said, and costs no other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomalae.datasets.dataset import Dataset
from anomalae.experiments import benchmark, revision
from anomalae.experiments.grid import Grid
from anomalae.experiments.grid_cells import cells_of
from anomalae.plugins import SCORES
from anomalae.runs.locks import lock
from anomalae.scores.base import Score
from anomalae.settings import Settings
from tests.cli import SMALL, fails, ok, run

CALL = ("benchmark", "--normal", "3", *SMALL, "--output", "b")
SMALL = Settings.of(hidden=(16,), epochs=1, latent_dim=4)


def stems() -> set[str]:
    return {path.stem for path in Path("b/cells").glob("*.json")}


def table() -> dict[str, Any]:
    return json.loads(Path("b/table.json").read_text())


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What CALL leaves, made once for all."""
    folder = tmp_path_factory.mktemp("trained") / "b"
    ok(*CALL[:-1], folder, "--quiet")
    return folder


@pytest.fixture
def trained(trained_once: Path) -> str:
    """The stem of the one cell of a benchmark that lies where CALL puts it."""
    shutil.copytree(trained_once, "b")
    (stem,) = stems()
    return stem


@pytest.fixture
def one_fails(digits: Dataset) -> str:
    """A data set of which class 1 has too few images to be divided."""
    rare = {"train": digits.train, "test": digits.test}
    arrays: dict[str, Any] = {}
    for name, part in rare.items():
        chosen = np.isin(part.labels, (0, 3))
        chosen[np.flatnonzero(part.labels == 1)[:2]] = True
        arrays |= {f"{name}_images": part.images[chosen], f"{name}_labels": part.labels[chosen]}
    np.savez("rare.npz", **arrays)
    return "rare.npz"


def test_a_cell_of_another_number_of_threads_is_not_taken_and_named(trained: str):
    first = trained
    again = ok(*CALL, "--threads", "2", "--quiet")
    assert f"cells of another number of threads are left as they are, and made anew: {first}" in again.stderr
    assert len(stems()) == 2
    assert table()["cells"]["normal-3_seed-0"] in stems() - {first}
    back = ok(*CALL, "--threads", "1")
    assert "(kept)" in back.stderr
    assert "made anew" not in back.stderr
    assert table()["cells"] == {"normal-3_seed-0": first}


def test_a_cell_of_other_code_is_not_taken_and_named(monkeypatch: pytest.MonkeyPatch, trained: str):
    first = trained
    made = Path(f"b/cells/{first}.json").read_bytes()
    try:
        with monkeypatch.context() as changed:
            changed.setattr(revision, "COMPUTING_FILES", (*revision.COMPUTING_FILES, "text"))
            revision._computing.cache_clear()
            again = ok(*CALL)
    finally:
        # Or else a failure here makes tests of other files fail.
        revision._computing.cache_clear()
    assert f"of another revision are left as they are, and made anew: {first}" in again.stderr
    assert "(kept)" not in again.stderr
    assert Path(f"b/cells/{first}.json").read_bytes() == made
    assert len(stems()) == 2


def test_cells_of_other_packages_and_processors_are_not_taken_and_named(trained: str):
    path = Path(f"b/cells/{trained}.json")
    written = json.loads(path.read_text())
    path.unlink()
    others = {"parts": {"score inky": "inky 1.0"}, "processor": "x86_64 OLD", "versions": {}}
    for part, value in others.items():
        other = {**written, "spec": {**written["spec"], part: value}}
        Path(f"b/cells/normal-3_seed-0_{part}.json").write_text(json.dumps(other))
    again = ok(*CALL)
    assert (
        "cells of another version, part that is not ours, processor are left as they are, and made anew: "
        "normal-3_seed-0_parts, normal-3_seed-0_processor, normal-3_seed-0_versions" in again.stderr
    )


def test_a_broken_cell_is_named_and_done_again(trained: str):
    scores = Path(f"b/cells/{trained}.safetensors")
    before = scores.read_bytes()
    scores.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    again = ok(*CALL)
    assert f"Warning: 1 kept cell broken, done again; {scores}: its arrays are not those" in again.stderr
    assert "(kept)" not in again.stderr
    assert scores.read_bytes() == before


def test_two_benchmarks_in_one_folder_are_refused():
    Path("b/cells").mkdir(parents=True)
    with lock(Path("b/cells")):
        assert f"{Path('b/cells')}: another benchmark is at work here" in fails(1, *CALL)
    assert stems() == set()


def test_a_cell_says_what_made_it(trained: str):
    spec = json.loads(Path(f"b/cells/{trained}.json").read_text())["spec"]
    assert {"revision", "versions", "threads", "data", "arithmetic", "processor"} <= set(spec)
    assert {"device", "arithmetic", "also", "settings"} <= set(spec["arguments"])
    assert spec["threads"] == 1


@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_one_that_fails_is_a_row_that_says_why_and_the_others_stand(one_fails: str, jobs: str):
    words = ("benchmark", "--dataset", one_fails, "--hidden", "16", "--epochs", "1", "--output", "b")
    done = run(*words, "--normal", "0,1,3", "--jobs", jobs)
    assert done.exit_code == 4
    why = "2 normal images: at least 3 are needed"
    assert f"normal-1_seed-0: failed twice: DataError: {why}" in done.stderr
    assert list(table()["failed"]) == ["normal-1_seed-0"]
    assert list(table()["cells"]) == ["normal-0_seed-0", "normal-2_seed-0"]
    aucs = [row["roc_auc"]["bent"]["mean"] for row in table()["rows"]]
    assert aucs[1] is None
    assert None not in (aucs[0], aucs[2])
    assert (table()["mean"]["bent"]["mean"], table()["worst"]) == (None, None)
    assert why in done.stdout
    assert why in Path("b/table.md").read_text()
    assert "\n1,0,anomalae,bent,," in Path("b/table.csv").read_text()
    ok("report", "--benchmark", "b", "--quiet")
    assert why in Path("b/index.html").read_text()
    # The others are there.
    assert ok(*words, "--normal", "0,3").stderr.count("(kept)") == 2
    assert "failed" not in table()


def test_all_that_fail_are_said_too():
    done = run(*CALL, "--learning-rate", "1e30", "--latent-dim", "2", "--json", "--quiet")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert "TrainingError" in found["failed"]["normal-3_seed-0"]
    assert (found["cells"], found["rows"][0]["roc_auc"]["bent"]["mean"]) == ({}, None)
    ok("report", "--benchmark", "b", "--quiet")


def test_a_cell_that_failed_once_is_done_again(digits: Dataset, tmp_path: Path):
    begun, failed = [], []

    def on_start(name: str, split: Any) -> Any:
        begun.append(name)
        if len(begun) == 1:
            raise MemoryError("for once")
        return (lambda state: None), (lambda done, loss: None)

    grid = Grid(digits, (0, 1), (0,), SMALL)
    found = benchmark.run(
        grid, tmp_path, on_start=on_start, on_failed=lambda name, problem: failed.append(name)
    )
    assert begun == ["normal-0_seed-0", "normal-1_seed-0", "normal-0_seed-0"]
    assert failed == []
    assert "failed" not in found
    assert len(found["cells"]) == 2


def test_baselines_of_other_cells_do_not_stay(trained: str):
    ok(*CALL, "--threads", "1", "--baseline", "knn", "--quiet")
    assert "knn" in table()["baselines"]
    path = Path("b/table.json")
    rows = table()
    rows["rows"][0]["roc_auc"]["bent"]["mean"] += 0.001
    path.write_text(json.dumps(rows))
    ok(*CALL, "--threads", "1", "--quiet")
    assert "baselines" not in table()


def test_other_settings_are_refused_before_a_cell_is_looked_at(trained: str):
    assert "another settings" in fails(1, *CALL, "--noise", "0.5")
    assert len(stems()) == 1


def test_a_score_of_a_package_is_part_of_what_a_cell_is(digits: Dataset, monkeypatch: pytest.MonkeyPatch):
    class Brightness(Score):
        name, line, scale = "brightness", "mean grey level", "error"

        def score(self, seen, learned):
            return seen.images.flatten(1).mean(1)

    grid = Grid(digits, (3,), (0,), SMALL)
    (before,) = cells_of(grid, "cpu", 1)
    monkeypatch.setattr(SCORES, "_own", dict(SCORES._own))
    SCORES.register(Brightness())
    (after,) = cells_of(grid, "cpu", 1)
    assert before.spec["parts"] == {}
    assert list(after.spec["parts"]) == ["score brightness"]
    assert before.key != after.key
