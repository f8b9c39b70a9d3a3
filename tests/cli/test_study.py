"""`anomalae study` as a user meets it: lists, grids of one's own, pages, wrong words, what a broken one leaves."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from anomalae import load_dataset
from anomalae.cli import main
from anomalae.experiments.studies import PUBLISHED, QUESTIONS, load_study
from anomalae.reports.content import StudyReport
from anomalae.reports.pages.studies import write_study
from anomalae.runs.locks import lock

SMALL = ["--hidden", "16", "--epochs", "1", "--dataset", "digits", "--jobs", "1"]
GRID = ["study", "--grid", "latent-dim=1,4", "--grid", "noise=0,1", "--normal", "0,1", *SMALL]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*words, code=0):
        result = CliRunner().invoke(main, [str(word) for word in words])
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result

    return call


def test_studies_are_listed_with_their_questions(run):
    listed = json.loads(run("study", "--list", "--json").stdout)
    assert [entry["name"] for entry in listed] == list(QUESTIONS)
    assert all(entry["question"].endswith("?") for entry in listed)
    shown = run("study", "--list").stdout
    assert all(name in shown for name in QUESTIONS)
    alone = run("study", "--list", "loss").stdout
    assert [name for name in QUESTIONS if f"\n{name} " in alone] == ["loss"]
    assert "Did you mean 'loss'?" in run("study", "--list", "los", code=2).output


def test_before_a_study_ran_the_published_one_says_roughly_how_long_it_takes(run):
    shown = run("study", "corruptions", "--dataset", "digits", "--dry-run").stdout.splitlines()
    assert "corruptions: 60 cells to do, 0 kept; roughly, as in the published study on MNIST: " in shown[-1]
    # Nothing is said of an argument that is empty.
    assert not [line for line in shown if re.search(r"rules\s*(,|$)", line)]
    (document,) = json.loads(run("study", "loss", "--dataset", "digits", "--dry-run", "--json").stdout)
    assert (document["seconds"], document["estimated_from"]) == (PUBLISHED["loss"][1], "published study")
    assert "not known before some of them ran" in run("study", "loss", "--quick", "--dry-run").stdout


def test_what_published_studies_took_is_what_their_pages_say():
    units = {"h": 3600, "min": 60, "s": 1}
    for name, (cells, seconds) in PUBLISHED.items():
        page = Path(__file__).parents[2] / "reports" / "studies" / name / "index.html"
        found, took = re.search(r"<p>(\d+) cells, (.*) of work in all", page.read_text()).groups()
        measured = sum(int(n) * units[unit] for n, unit in re.findall(r"(\d+) (h|min|s)\b", took))
        assert int(found) == cells
        # Roughly is enough: another machine differs by more.
        assert seconds / 1.5 < measured < 1.5 * seconds, name


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_study_is_what_the_list_says(name):
    study = load_study(name)
    assert (study.name, study.question) == (name, QUESTIONS[name])


def test_a_grid_of_one_s_own_leaves_a_page_and_tables(run, tmp_path):
    result = run(*GRID)
    assert "What do latent-dim and noise change?" in result.stdout
    assert "The highest mean ROC-AUC" in result.stdout
    assert "8 of 8 cells done" in result.stderr
    folder = next((tmp_path / "reports" / "studies" / "grid-latent-dim-noise").glob("*/index.html")).parent
    with (folder / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["latent_dim"], row["noise"], row["trainings"]) for row in rows] == [
        ("1", "0.0", "2"),
        ("1", "1.0", "2"),
        ("4", "0.0", "2"),
        ("4", "1.0", "2"),
    ]
    document = json.loads((folder / "table.json").read_text())
    assert [row["roc_auc"] for row in document["rows"]] == [float(row["roc_auc"]) for row in rows]
    assert document["command"] in (folder / "index.html").read_text().replace("&#39;", "'")
    for suffix in ("png", "svg"):
        assert (folder / f"roc-auc.{suffix}").stat().st_size > 1000
    # A column without a value in any row is left out of what people read: an autoencoder has no active units.
    assert "active_units" in rows[0]
    for name in ("index.html", "table.md"):
        shown = (folder / name).read_text()
        assert "MSE, held-out" in shown
        assert not any(title in shown for title in ("active units", "± over seeds", "trainings missing"))
    again = run(*GRID, "--json")
    assert json.loads(again.stdout) == document
    assert "8 kept" in again.stderr


def test_a_dry_run_prints_cells_and_an_estimate(run, tmp_path):
    result = run(*GRID, "--dry-run")
    assert (
        "grid-latent-dim-noise: 8 cells to do, 0 kept; how long they take is not known before some of them ran"
        in result.stdout
    )
    assert not (tmp_path / "reports").exists()
    run("study", "--grid", "latent-dim=1,4", "--grid", "noise=0", "--normal", "0", *SMALL, "--quiet")
    # Cells of other values are those of the axes' folder.
    assert " one after another" in run(*GRID, "--dry-run").stdout
    documents = json.loads(run(*GRID, "--dry-run", "--json").stdout)
    assert (documents[0]["kept"], len(documents[0]["cells"])) == (2, 8)
    assert documents[0]["seconds"] > 0
    assert documents[0]["estimated_from"] == "kept cells"
    broken = sorted(tmp_path.glob("reports/studies/*/cells/*.json"))[0]
    broken.write_text(json.dumps({**json.loads(broken.read_text()), "seconds": 10**400}))
    result = run(*GRID, "--dry-run")
    assert "Warning: 1 kept cell broken, done again; " in result.stderr
    assert f"{broken.name}: not what is written of a cell" in result.stderr
    assert "7 cells to do, 1 kept" in result.stdout


def test_values_of_several_and_baselines(run, tmp_path):
    run(
        "study",
        "--grid",
        "views=pixels;normalised,edges",
        "--grid",
        "baseline=knn",
        "--normal",
        "0",
        *SMALL,
        "--json",
    )
    rows = json.loads(next(tmp_path.glob("reports/studies/*/*/table.json")).read_text())["rows"]
    assert [(row.get("views"), row["baseline"]) for row in rows] == [
        ("pixels", None),
        ("normalised,edges", None),
        (None, "knn"),
    ]
    assert all(0 <= row["roc_auc"] <= 1 for row in rows)


def test_classes_and_seeds_are_axes_too(run):
    words = ["study", "--grid", "normal=0;1,2", "--grid", "seed=0,1", "--grid", "latent-dim=4", *SMALL]
    cells = json.loads(run(*words, "--dry-run", "--json").stdout)[0]["cells"]
    assert [(cell["normal"], cell["seed"]) for cell in cells] == [
        ([0], 0),
        ([1, 2], 0),
        ([0], 1),
        ([1, 2], 1),
    ]


def test_data_sets_are_an_axis_too(run, tmp_path):
    digits = load_dataset("digits").train
    chosen = np.isin(digits.labels, (3, 7))
    np.savez(tmp_path / "own.npz", images=digits.images[chosen], labels=digits.labels[chosen])
    words = ["study", "--grid", "dataset=digits,own.npz", "--grid", "latent-dim=1,4", *SMALL[:4], *SMALL[6:]]
    document = json.loads(run(*words, "--normal", "3,7", "--json").stdout)
    assert [(row["dataset"], row["latent_dim"], row["trainings"]) for row in document["rows"]] == [
        ("digits", 1, 2),
        ("digits", 4, 2),
        ("own", 1, 2),
        ("own", 4, 2),
    ]
    page = next(tmp_path.glob("reports/studies/grid-dataset-latent-dim/*/index.html")).read_text()
    assert "Normal in turn: digits 3; digits 7; own 3; own 7" in page
    assert "--dataset" not in document["command"]
    # Each with the classes it has, where none are named.
    cells = json.loads(run(*words, "--dry-run", "--json").stdout)[0]["cells"]
    assert [cell["normal"][0] for cell in cells[::2]] == [*range(10), 3, 7]
    wrong = run(*words, "--normal", "0", code=2)
    assert "class 0: not in own" in wrong.output
    (tmp_path / "other").mkdir()
    shutil.copy("own.npz", "other")
    alike = ["study", "--grid", "dataset=own.npz,other/own.npz", "--grid", "latent-dim=1", "--normal", "3"]
    cells = json.loads(run(*alike, "--dry-run", "--json").stdout)[0]["cells"]
    assert [cell["axes"]["dataset"][-13:] for cell in cells] == [
        cells[0]["axes"]["dataset"][-13:],
        "other/own.npz",
    ]
    assert cells[0]["axes"]["dataset"].endswith("own.npz")
    assert (
        "--grid dataset and --dataset exclude each other" in run(*words, "--dataset", "digits", code=2).output
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["study"], "expected a study's name, or --grid; the studies are one-dimension"),
        (["study", "latent-dmi"], "Did you mean 'latent-dim'?"),
        (["study", "latent-dim", "--grid", "noise=0"], "a study's name or --grid, not both"),
        (["study", "latent-dim", "--latent-dim", "3"], "--latent-dim: only with --grid"),
        (["study", "--grid", "latnet-dim=1"], "'latnet-dim': must be one of"),
        (["study", "--grid", "latent-dim=0,4"], "Error: --grid latent-dim 0: must be from 1 to 784"),
        (["study", "--grid", "hidden=16;0"], "Error: --grid hidden 0: must be from 1 to"),
        (["study", "--grid", "model=aee"], "did you mean 'ae'"),
        (["study", "--grid", "latent-dim=a"], "latent-dim=a: must be a whole number from 1 to 784"),
        (["study", "--grid", "noise=nan"], "noise nan: must be a finite number"),
        (["study", "--grid", "latent-dim="], "must be a name, = and values"),
        (["study", "--grid", "latent-dim"], "must be a name, = and values"),
        (["study", "--grid", "latent-dim=1,1"], "a value is named twice"),
        (["study", "--grid", "latent-dim=1", "--grid", "latent-dim=2"], "named twice"),
        (["study", "--grid", "views=pixel"], "view 'pixel': must be one of"),
        (["study", "--grid", "beta=1,2"], "only a vae, ladder-vae or adgm has one"),
        (["study", "--grid", "baseline=nobody"], "nobody"),
        (["study", "--grid", "noise=0", "--normal", "11"], "class 11"),
        (["study", "--grid", "noise=0", "--seeds", "a"], "--seeds 'a'"),
        (["study", "--grid", "normal=0;1,2;2,1"], "the same classes are named twice"),
        (["study", "--grid", "normal=0-9"], "leaves no class of digits to be anomalous"),
        (
            ["study", "--grid", "latent-dim=1,2", "--latent-dim", "5"],
            "--grid latent-dim and --latent-dim exclude each other",
        ),
        (
            [
                "study",
                "--grid",
                "latent-dim=" + ",".join(map(str, range(1, 785))),
                "--grid",
                "members=" + ",".join(map(str, range(1, 101))),
            ],
            "has 784,000 cells, at most 100,000 are taken",
        ),
        (
            ["study", "latent-dim", "--scheduler", "tcp://127.0.0.1:9", "--backend", "joblib"],
            "needs backend dask",
        ),
        (["study", "latent-dim", "--jobs", "0"], "--jobs"),
    ],
)
def test_wrong_words_are_refused_before_anything_runs(run, tmp_path, words, said):
    result = run(*words, *(["--dataset", "digits"] if "--dataset" not in words else []), code=2)
    assert said in " ".join(result.output.split())
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize("name", ["roc-auc.png", "table.csv"])
def test_a_file_of_somebody_else_is_left_alone(run, tmp_path, name):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / name).write_text("mine")
    assert "exists already" in run(*GRID, "--output", "other", code=1).output
    assert (tmp_path / "other" / name).read_text() == "mine"


def test_a_folder_of_something_else_is_left_alone(run, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.html").write_text("mine")
    result = run(*GRID, "--output", "other", code=1)
    assert "exists already" in result.output
    assert (tmp_path / "other" / "index.html").read_text() == "mine"


def test_two_studies_in_one_folder_are_refused(run, tmp_path):
    cells = tmp_path / "reports" / "studies" / "grid-latent-dim-noise" / "cells"
    cells.mkdir(parents=True)
    with lock(cells):
        assert "cells: another study is at work here" in run(*GRID, code=1).output


def test_interrupted_it_says_how_to_go_on_and_loses_nothing(tmp_path):
    words = ["study", "--grid", f"latent-dim={','.join(map(str, range(1, 60)))}", "--normal", "0", *SMALL]
    # Where the tests run in the background SIGINT is ignored, and ignored it stays in what they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "anomalae", *words],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    finally:
        signal.signal(signal.SIGINT, before)
    cells = tmp_path / "reports" / "studies" / "grid-latent-dim" / "cells"
    until = time.monotonic() + 100
    while len(list(cells.glob("*.json"))) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 130, said
    assert "the same command goes on" in said
    assert "Traceback" not in said
    kept = len(list(cells.glob("*.json")))
    assert 2 <= kept < 59
    assert f"{kept} of 59 cells done" in said


def test_a_cell_that_fails_is_a_line_and_exit_status_4(run, tmp_path):
    # One image a step at such a rate: the loss is soon no number.
    result = run(
        "study", "--grid", "learning-rate=0.001,1e30", "--normal", "0", *SMALL, "--views", "pixels", code=4
    )
    assert "failed: " in result.stdout
    assert "TrainingError" in result.stdout
    warned = "Warning: study grid-learning-rate: 1 of 2 cells failed; "
    assert re.search(f"^{warned}.*learning-rate 1e.30.*: TrainingError: the loss became", result.stderr, re.M)
    document = json.loads(next(tmp_path.glob("reports/studies/*/*/table.json")).read_text())
    assert (len(document["rows"]), len(document["missing"])) == (1, 1)


def test_where_every_cell_failed_nothing_could_be_done_and_the_answer_says_so(run, tmp_path):
    words = ["--grid", "learning-rate=1e30", "--normal", "0", *SMALL, "--views", "pixels"]
    result = run("study", *words, code=1)
    assert re.search(
        "^Error: study grid-learning-rate: no cell gave a result; .*: TrainingError", result.stderr, re.M
    )
    assert "- No cell gave a result." in result.stdout
    assert "| " not in result.stdout.partition("failed: ")[0]
    # Called again, it leaves what was made before.
    report = StudyReport(
        "grid-learning-rate", "Which?", "", ("That.",), (), ({"a": 1},), (), (), False, "study", (1, 1.0), {}
    )
    before = {path: path.read_bytes() for path in write_study(report, tmp_path / "kept")}
    result = run("study", *words, "--output", "kept", "--json", code=1)
    document = json.loads(result.stdout)
    assert (document["rows"], len(document["missing"]), document["files"]) == ([], 1, [])
    assert "Warning: study grid-learning-rate: kept is left as it was made before" in result.stderr
    assert "Error: study grid-learning-rate: no cell gave a result; " in result.stderr
    assert "report: " not in run("study", *words, "--output", "kept", code=1).stderr
    assert {path: path.read_bytes() for path in before} == before


def test_a_quick_version_and_other_values_have_folders_of_their_own(run, tmp_path):
    words = ["study", "--normal", "0", *SMALL, "--quiet", "--grid"]
    for more in (["latent-dim=1"], ["latent-dim=2"], ["latent-dim=2", "--quick"]):
        run(*words, *more)
    tables = sorted(tmp_path.glob("reports/studies/**/table.json"))
    assert [
        (path.relative_to(tmp_path).parts[2], json.loads(path.read_text())["quick"]) for path in tables
    ] == [("grid-latent-dim", False), ("grid-latent-dim", False), ("quick", True)]
    assert {json.loads(path.read_text())["rows"][0]["latent_dim"] for path in tables[:2]} == {1, 2}
    # What it is made of is all that decides the folder: the same grid is written to the same.
    run(*words, "latent-dim=1")
    assert sorted(tmp_path.glob("reports/studies/**/table.json")) == tables


def test_a_quick_study_goes_where_no_full_one_is(run, tmp_path):
    cells = tmp_path / "reports" / "studies" / "quick" / "one-dimension" / "cells"
    cells.mkdir(parents=True)
    with lock(cells):
        for name in ("one-dimension", "all"):
            assert (
                "quick/one-dimension/cells: another study is at work"
                in run("study", name, "--quick", "--jobs", "1", code=1).output
            )


def test_no_other_study_and_no_quick_one_takes_the_place_of_a_study(run, tmp_path):
    report = StudyReport("loss", "Which?", "", ("That.",), (), (), (), (), False, "study loss", (1, 1.0), {})
    write_study(report, tmp_path / "kept")
    before = (tmp_path / "kept" / "table.json").read_bytes()
    words = ["--dataset", "digits", "--jobs", "1", "--output", "kept"]
    assert (
        "kept: holds the full study, no quick one" in run("study", "loss", "--quick", *words, code=1).output
    )
    assert "kept: holds the study loss" in run("study", "seeds", *words, code=1).output
    assert (tmp_path / "kept" / "table.json").read_bytes() == before


def test_data_that_changed_under_kept_cells_are_named(run, tmp_path):
    digits = load_dataset("digits").train
    chosen = np.isin(digits.labels, (3, 7))
    images, labels = digits.images[chosen], digits.labels[chosen]
    words = [
        "study",
        "--grid",
        "latent-dim=1",
        "--normal",
        "3",
        "--dataset",
        "own.npz",
        *SMALL[:4],
        "--jobs",
        "1",
    ]
    hashes = []
    for some in (slice(None), slice(1, None)):
        np.savez(tmp_path / "own.npz", images=images[some], labels=labels[some])
        hashes.append(load_dataset("own.npz").provenance["sha256"]["train"][:8])
        result = run(*words, "--quiet")
    said = " ".join(result.stderr.split())
    assert "Warning: 1 cell in reports/studies/grid-latent-dim/cells of other data: " in said
    assert f"train part {hashes[0]}, not {hashes[1]}" in said
    assert "left as they are, made anew" in said
    assert len(list(tmp_path.glob("reports/studies/grid-latent-dim/cells/*.json"))) == 2
    assert "Warning" not in run(*words).stderr
