"""Reports: one file that needs nothing else, numbers that equal the evaluation's, names that stay names.

What happens in a browser is in `test_browser.py`.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from anomalae import Detector, files, plots, runs, text
from anomalae.datasets.load import Dataset
from anomalae.errors import BundleError
from anomalae.evaluation.metrics import evaluate
from anomalae.evaluation.significance import delong_test
from anomalae.reports import collect as gather
from anomalae.reports.collect.facts import describe
from anomalae.reports.collect.scores_file import flag_threshold
from anomalae.reports.content import ComparisonReport, ScoredReport, ScoredRow
from anomalae.reports.pages import figures, render, tuner, words
from anomalae.reports.pages.page import inline_json
from anomalae.runs import results
from tests.cli import QUICK, SMALL, fails, ok, parsed, run
from tests.reports.pages import Page, run_report, scored

EVIL = "</script><script>alert(1)</script>"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two evaluated runs and the report of the first, made by the command line."""
    place = tmp_path_factory.mktemp("reports")
    ok("train", "--normal", "3", *QUICK, "--runs-dir", place / "runs", "--quiet")
    ok("train", "--normal", "3", *QUICK, "--model", "vae", "--runs-dir", place / "runs", "--quiet")
    done = ok("report", "digits-3-ae", "--runs-dir", place / "runs", "--output", place / "ae", "--json")
    (place / "done.json").write_text(done.stdout)
    return place


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not paint the files of figures over and over; `place` has them."""
    monkeypatch.setattr(plots, "save", lambda figure, path: path.write_bytes(b"drawn"))


@pytest.fixture(scope="module")
def page(place: Path) -> Page:
    return Page(place / "ae" / "index.html")


def test_the_page_needs_nothing_else(page: Page):
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "data", "action", "srcset", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), attributes
    assert "@import" not in page.source
    assert all(
        part.startswith(("#", "data:")) for part in page.source.replace('url("', "url(").split("url(")[1:]
    )
    policy = next(one for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert (policy["content"] or "").startswith("default-src 'none'; img-src data:")
    assert len(page.scripts) == 2


def test_the_page_is_in_order(page: Page):
    ids = [one["id"] for _, one in page.elements if "id" in one]
    assert len(ids) == len(set(ids))
    levels = [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    assert all("alt" in one for one in page.all("img"))
    anchors = [one["href"] for one in page.all("a")]
    assert all((href or "")[1:] in ids for href in anchors)
    titles = ["verdict", "separation", "scores", "classes", "pictures", "latent", "training", "reproduce"]
    assert [one["id"] for one in page.all("section") if "id" in one] == titles
    assert {"main", "nav", "header", "footer"} <= {tag for tag, _ in page.elements}


def test_the_numbers_are_the_evaluations(place: Path, page: Page):
    metrics = json.loads((place / "ae" / "metrics.json").read_text())
    evaluation = results.read_evaluation(place / "runs" / "digits-3-ae")
    assert evaluation is not None
    assert evaluation.to_dict().items() <= metrics.items()
    assert metrics["facts"]["seed"] == 0
    assert metrics["facts"]["hashes"]["test"]
    with (place / "ae" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    truth, scores = [row["is_anomaly"] == "1" for row in rows], [float(row["score"]) for row in rows]
    assert metrics["roc_auc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert (place / "ae" / "scores.csv").read_bytes() == (place / "runs/digits-3-ae/scores.csv").read_bytes()
    for shown in (
        words.number(evaluation.roc_auc),
        text.interval(evaluation.roc_auc_interval),
        words.percent(evaluation.false_alarm_rate),
        words.percent(evaluation.detection_rate),
        words.short(evaluation.threshold),
        words.number(evaluation.average_precision),
        *(words.number(one.roc_auc) for one in evaluation.per_class.values()),
    ):
        assert shown in page.text


def test_the_page_judges_as_the_evaluation_does(place: Path, page: Page):
    kept = results.read_evaluation(place / "runs" / "digits-3-ae")
    assert kept is not None
    data = page.data
    assert data["threshold"] == kept.threshold
    for stop in [data["threshold"], *data["stops"][::97], data["stops"][-1]]:
        at = evaluate(kept.scores, kept.is_anomaly, threshold=stop)
        for anomalous, rate in ((False, at.false_alarm_rate), (True, at.detection_rate)):
            own = np.concatenate([g["scores"] for g in data["groups"] if g["anomalous"] is anomalous])
            assert (own > stop).mean() == rate
    assert {g["name"] for g in data["groups"]} == {str(digit) for digit in range(10)}


def test_files_beside_the_page(place: Path):
    done = json.loads((place / "done.json").read_text())
    assert done["report"] == str(place / "ae" / "index.html")
    names = {Path(file).name for file in done["files"]}
    assert names == {path.name for path in (place / "ae").iterdir()}
    for name in ("roc", "pr", "scores", "calibration", "classes", "latent", "history", "reconstructions"):
        assert {f"{name}.svg", f"{name}.png"} <= names
    assert done["runs"][0]["roc_auc"] == json.loads((place / "ae" / "metrics.json").read_text())["roc_auc"]


def test_the_whole_pictures(place: Path, page: Page):
    cards = [one for one in page.all("button") if "card" in (one.get("class") or "")]
    assert len(cards) == 4 * 12
    kept = results.read_evaluation(place / "runs" / "digits-3-ae")
    assert kept is not None
    for card in cards:
        score = kept.scores[int((card["data-name"] or "").split()[-1])]
        assert float(card["data-score"] or "nan") == score
        assert ("flagged" in (card["class"] or "")) == (score > (kept.threshold or np.inf))


@pytest.mark.parametrize("threshold", [None, 0.05])
def test_stops_of_the_slider(threshold: float | None):
    e = scored(500, 90)
    stops = np.array(tuner.stops(e.scores, e.is_anomaly, threshold))
    assert len(stops) == tuner.STOPS + 1
    assert (np.diff(stops) >= 0).all()
    assert (e.scores > stops[0]).all()
    assert not (e.scores > stops[-1]).any()
    assert threshold is None or threshold in stops
    rates = [(e.scores[e.is_anomaly] > s).mean() + (e.scores[~e.is_anomaly] > s).mean() for s in stops]
    assert np.abs(np.diff(rates)).max() < 2 * (1 / 90 + 1 / 500)


def test_the_last_stop_flags_none_whatever_the_threshold():
    scores = np.sort(np.random.default_rng(0).random(3000))
    threshold = (scores[-2] + scores[-1]) / 2
    stops = tuner.stops(scores, None, threshold)
    assert stops[-1] == scores[-1]
    assert threshold in stops
    assert stops == sorted(stops)


def test_names_stay_names(tmp_path: Path):
    labels = np.array([EVIL] * 30 + ["<b>&amp;\u2028"] * 20 + ["bytes \udcff"] * 10)
    report = run_report(scored(30, 30, labels), normal=(EVIL,), dataset=f"/data/{EVIL}")
    render.write_run(report, tmp_path / "r")
    page = Page(tmp_path / "r" / "index.html")
    assert len(page.scripts) == 2
    assert "alert(1)" not in page.scripts[1]
    assert EVIL in page.text
    assert "<b>&amp;\\u2028" in page.text
    assert "bytes \\udcff" in page.text
    assert {g["name"] for g in page.data["groups"]} == {EVIL, "<b>&amp;\u2028", "bytes \udcff"}
    assert "\u2028" not in page.source
    assert page.source.count("<script") == page.source.count("</script>") == 2


def test_json_that_may_stand_in_a_script():
    value = {"a": f"{EVIL}&\u2028\u2029<!--", "b": [1.5, None]}
    text = inline_json(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value


def test_ten_thousand_images_in_five_megabytes(tmp_path: Path):
    e = scored(1000, 9000, np.repeat([str(i) for i in range(10)], 1000))
    render.write_run(run_report(e, n_pictures=48), tmp_path / "r")
    assert (tmp_path / "r" / "index.html").stat().st_size < 2_500_000
    assert sum(len(g["scores"]) for g in Page(tmp_path / "r" / "index.html").data["groups"]) == 10_000


@pytest.mark.parametrize(("normal", "anomalous"), [(20, 0), (0, 20), (1, 0)])
def test_one_kind_of_image_only(tmp_path: Path, normal: int, anomalous: int):
    render.write_run(run_report(scored(normal, anomalous)), tmp_path / "r")
    page = Page(tmp_path / "r" / "index.html")
    assert "there is neither a ROC curve nor a precision-recall curve" in page.text
    assert ("of 1 normal image;" in page.text) is (normal == 1)
    assert not (tmp_path / "r" / "roc.svg").exists()
    assert (tmp_path / "r" / "scores.svg").exists()
    assert json.loads((tmp_path / "r" / "metrics.json").read_text())["roc_auc"] is None


def test_too_few_calibration_images_to_flag(tmp_path: Path):
    report = run_report(scored(20, 20, threshold=None, p_values=None))
    render.write_run(report, tmp_path / "r")
    page = Page(tmp_path / "r" / "index.html")
    assert "No image can be flagged" in page.text
    assert page.data["threshold"] is None


def test_baselines(place: Path, tmp_path: Path):
    folder = tmp_path / "runs" / "compared"
    shutil.copytree(place / "runs" / "digits-3-ae", folder)
    kept = results.read_evaluation(folder)
    assert kept is not None
    other = kept.scores + np.random.default_rng(0).normal(0, 0.1, kept.scores.size)
    auc = roc_auc_score(kept.is_anomaly, other)
    good = {
        "method": "knn <i>", "settings": "k=5", "roc_auc": auc, "roc_auc_interval": [0.1, 0.9],
        "average_precision": 0.5, "fpr_at_95_tpr": 0.5, "fit_seconds": 0.25, "score_seconds": 0.1,
        "peak_memory_bytes": 2e8, "p_value_vs_run": 0.03, "status": "ok",
    }  # fmt: skip
    bad = {**dict.fromkeys(good), "method": "lof", "settings": "", "status": "passed the time limit of 5 s"}
    own = {**good, "method": "anomalae", "roc_auc": kept.roc_auc, "p_value_vs_run": None}
    files.write_json(folder / runs.COMPARISON, {"run": "compared", "rows": [own, good, bad]})
    files.write_arrays(folder / runs.COMPARISON_SCORES, {"knn <i>": other, "anomalae": kept.scores})
    report = gather.run_report(folder)
    assert report.baselines is not None
    assert report.baselines.evaluations["knn <i>"].roc_auc == pytest.approx(auc)
    render.write_run(report, tmp_path / "r")
    page = Page(tmp_path / "r" / "index.html")
    assert "passed the time limit of 5 s" in page.text
    assert f"knn <i>: AUC {auc:.4f}" in page.text
    assert "250 ms" in page.text
    (folder / runs.COMPARISON).write_text("{")
    broken = gather.run_report(folder, pictures=False)
    assert broken.baselines is None
    assert "not valid JSON" in broken.missing[0]


def test_data_that_is_gone(tmp_path: Path):
    for part, limit in (("train", "150"), ("test", "60")):
        ok("data", "export", "digits", f"mine/{part}", "--limit", limit, "--class", "0,1")
    ok("train", "--normal", "0", "--dataset", "mine", *QUICK[2:], "--name", "kept", "--quiet")
    shutil.copytree("runs/kept", "runs/bare")
    Path("runs/bare/evaluation.json").unlink()
    Path("mine").rename("elsewhere")
    notes = parsed("report", "kept", "--json")["notes"]
    assert len(notes) == 1
    assert "cannot be read any more" in notes[0]
    page = Page(Path("reports/kept/index.html"))
    assert "cannot be read any more" in page.text
    assert "ROC-AUC" in page.text
    assert not page.all("button")[1:]
    assert "mine" in fails(1, "report", "bare")
    Path("elsewhere").rename("mine")
    assert gather.run_report(Path("runs/bare")).missing == ()
    assert Path("runs/bare/evaluation.json").is_file()


def test_a_run_trained_on_arrays(small: Detector):
    small.save("runs/arrays")
    assert "was trained on arrays" in fails(1, "report", "arrays")


def test_scores_of_another_test_part(place: Path, tmp_path: Path):
    shutil.copytree(place / "runs" / "digits-3-ae", "runs/a")
    lines = Path("runs/a/scores.csv").read_text().splitlines()
    anomalies = [i for i, line in enumerate(lines) if line.split(",")[2] == "1"]
    first, second = (lines[i].split(",") for i in anomalies[:2])
    first[1] = second[1] = "9"
    lines[anomalies[0]], lines[anomalies[1]] = ",".join(first), ",".join(second)
    Path("runs/a/scores.csv").write_text("\n".join(lines) + "\n")
    assert "is not of this run's test part" in fails(1, "report", "a")


# --- several runs ---------------------------------------------------------------------------------------------


def test_runs_side_by_side(place: Path):
    done = parsed("report", "digits-3-ae", "digits-3-vae", "--runs-dir", place / "runs", "--json")
    assert done["report"] == "reports/digits-3-ae+digits-3-vae/index.html"
    assert done["notes"] == []
    a, b = (results.read_evaluation(place / "runs" / f"digits-3-{kind}") for kind in ("ae", "vae"))
    assert a is not None
    assert b is not None
    pair = json.loads(Path(done["report"]).with_name("metrics.json").read_text())["pairs"][0]
    assert pair["p_value"] == delong_test(b.scores, a.scores, a.is_anomaly).p_value
    page = Page(Path(done["report"]))
    assert "were judged on the same test images" in page.text
    assert f"{pair['difference']:+.4f}" in page.text


def test_runs_on_different_data_say_so(place: Path, tmp_path: Path):
    ok("train", "--normal", "5", *QUICK, "--name", "five", "--quiet")
    folders = [place / "runs" / "digits-3-ae", tmp_path / "runs" / "five"]
    done = parsed("report", *folders, "--output", "r", "--json")
    assert done["notes"] == ["Normal classes: digits-3-ae has 3, five has 5."]
    text = Page(Path("r/index.html")).text
    assert "do not stand on the same data" in text
    assert done["notes"][0] in text
    assert json.loads(Path("r/metrics.json").read_text())["pairs"] == []


def test_runs_of_one_name_keep_their_curves(tmp_path: Path):
    reports = tuple(run_report(scored(40, 40, seed=seed), name="d0") for seed in range(3))
    drawn = figures.of_comparison(ComparisonReport(reports, (), ()))
    texts = [text.get_text() for text in drawn["roc"].figure.legends[0].get_texts()]
    for name, report in zip(("d0", "d0 (2)", "d0 (3)"), reports, strict=True):
        assert any(text.startswith(f"{name}: AUC {report.evaluation.roc_auc:.4f}") for text in texts)
    page = Page(render.write_comparison(ComparisonReport(reports, (), ()), tmp_path / "r")[0])
    assert "d0, d0 (2), d0 (3)" in page.text


def test_captions_of_long_names_do_not_touch():
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    labels = np.array(["a very long class name " * 5] * 60)
    drawn = figures.of_run(run_report(scored(30, 30, labels), n_pictures=8))["reconstructions"].figure
    renderer = FigureCanvasAgg(drawn).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in drawn.axes[0].get_xticklabels()]
    assert len(boxes) == 8
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))


# --- scored images --------------------------------------------------------------------------------------------


@pytest.fixture
def judged(place: Path) -> list[str | Path]:
    """Images scored by the first run, among them one whose path is no harmless text; the words to report on them."""
    ok("data", "export", "digits", "images", "--limit", "30")
    odd = Path("images/a<") / "script><script>alert(1)<" / "script>.png"
    odd.parent.mkdir(parents=True)
    sorted(Path("images").glob("*/*.png"))[0].rename(odd)
    Path("images/broken.png").write_text("no picture")
    given = ["--run", "digits-3-ae", "--runs-dir", place / "runs"]
    assert run("score", "images", *given, "--output", "s.csv", "--quiet").exit_code == 4
    return ["report", "digits-3-ae", "--runs-dir", place / "runs", "--scores", "s.csv", "--output", "r"]


def test_scored_images(judged: list[str | Path]):
    gone = sorted(Path("images").glob("?/*.png"))[0]
    gone.unlink()
    done = parsed(*judged, "--json")
    with Path("s.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    flagged = sum(row["flagged"] == "1" for row in rows)
    assert (done["n"], done["n_flagged"], done["alpha"]) == (30, flagged, 0.05)
    assert Path("r/scores.csv").read_text() == Path("s.csv").read_text()
    page = Page(Path("r/index.html"))
    assert len(page.scripts) == 2
    assert "a</script><script>alert(1)</script>.png" in page.text
    assert "The picture is not there any more." in page.text
    assert "broken.png: not an image" in page.text
    assert "no ROC curve" in page.text
    assert not Path("r/roc.svg").exists()
    assert sorted(page.data["groups"][0]["scores"]) == sorted(
        float(row["score"]) for row in rows if row["score"]
    )


def test_pictures_of_arrays_and_changed_files(place: Path, digits: Dataset):
    np.save("some.npy", digits.test.images[:3])
    given = ["--run", "digits-3-ae", "--runs-dir", place / "runs", "--output", "s.csv", "--quiet"]
    ok("score", "some.npy", *given, "--fdr", "0.2")
    report = gather.scored_report(place / "runs" / "digits-3-ae", Path("s.csv"))
    shown = {one.name: one for one in report.galleries[0].pictures}
    for i in range(3):
        image = shown[f"some.npy[{i}]"].image
        assert image is not None
        np.testing.assert_array_equal(image, digits.test.images[i])
    np.save("some.npy", digits.test.images[3:5])
    report = gather.scored_report(place / "runs" / "digits-3-ae", Path("s.csv"))
    problems = [one.problem for one in sorted(report.galleries[0].pictures, key=lambda one: one.name)]
    assert "has changed" in problems[0]
    assert "not there any more" in problems[2]


def test_one_image_only(place: Path, digits: Dataset):
    np.save("one.npy", digits.test.images[:1])
    given = ["--run", "digits-3-ae", "--runs-dir", place / "runs"]
    ok("score", "one.npy", *given, "--output", "s.csv", "--quiet")
    ok("report", "digits-3-ae", "--runs-dir", place / "runs", "--scores", "s.csv")
    assert "1 image judged by" in Page(Path("reports/digits-3-ae-s/index.html")).text


HEAD = "path,score,p_value,flagged,error\n"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (
            f"{HEAD}a.png,0.1,0.5,0,\nb.png,nan,0.5,0,\n",
            "s.csv: line 3: score is 'nan', must be a finite number",
        ),
        (f"{HEAD}a.png,0.1,inf,0,\n", "line 2: p_value is 'inf'"),
        (f"{HEAD}a.png,0.1,1.5,0,\n", "line 2: p_value is '1.5', must be between 0 and 1"),
        (f"{HEAD}a.png,0.1,0.5,yes,\n", "line 2: flagged is 'yes', must be 0 or 1"),
        (f"{HEAD}a.png,0.1,0.5\n", "line 2: 3 columns, expected 5"),
        (f"{HEAD}a.png,0.1,0.5,0,broken\n", "line 2: has an error and a verdict"),
        ("index,label\n1,2\n", "line 1: must be path,score,p_value,flagged,error"),
        (HEAD, "no rows"),
        (f"{HEAD}a.png,,,,broken\n", "no image in it was scored"),
        (f'{HEAD}"a.png,0.1\n', "line 2"),
        (f"{HEAD}a.png,0.1,0.5,1,\nb.png,0.2,0.5,0,\n", "line 3: is not flagged, but line 2 is"),
        (f"{HEAD}a.png,0.1,0.123456,0,\n", "its p-values are not those of"),
    ],
)
def test_tables_that_are_none(place: Path, content: str, complaint: str):
    Path("s.csv").write_text(content)
    assert complaint in fails(1, "report", "digits-3-ae", "--runs-dir", place / "runs", "--scores", "s.csv")


@pytest.mark.parametrize(("flags", "threshold"), [("110", 0.5), ("000", None), ("111", 0.5 - 2**-54)])
def test_threshold_of_flags(flags: str, threshold: float | None):
    pairs = zip(flags, (0.9, 0.8, 0.5), strict=True)
    assert (
        flag_threshold(tuple(ScoredRow("a", score, 0.5, flag == "1", "") for flag, score in pairs))
        == threshold
    )


def test_no_table(place: Path):
    assert "gone.csv: no such file" in fails(
        1, "report", "digits-3-ae", "--runs-dir", place / "runs", "--scores", "gone.csv"
    )


def test_file_names_stay_names(tmp_path: Path):
    rows = (
        ScoredRow(f"a/{EVIL}.png", 0.5, 0.01, True, ""),
        ScoredRow("bytes \udcff\n.png", 0.1, 0.5, False, ""),
        ScoredRow("<b>", None, None, False, f"<i>{EVIL}"),
    )
    trained = run_report(scored(5, 5)).trained
    render.write_scored(ScoredReport(trained, f"{EVIL}.csv", rows, 0.2, 0.05), tmp_path / "r")
    page = Page(tmp_path / "r" / "index.html")
    assert len(page.scripts) == 2
    assert not page.all("b")[1:]
    assert not page.all("i")
    assert f"<i>{EVIL}" in page.text
    assert "bytes \\udcff\\n.png" in page.text


# --- benchmarks -----------------------------------------------------------------------------------------------


def test_benchmark():
    ok("benchmark", "--normal", "0,1", *SMALL, "--output", "b", "--quiet")
    table = json.loads(Path("b/table.json").read_text())
    done = parsed("report", "--benchmark", "b", "--json")
    assert done["report"] == "b/index.html"
    assert done["roc_auc"] == table["mean"]["bent"]["mean"]
    cell = json.loads(next(Path("b/cells").glob("normal-0*.json")).read_text())["numbers"]
    matrix = json.loads(Path("b/metrics.json").read_text())["matrix"]
    at = matrix["columns"].index("7")
    assert matrix["rows"]["0"][at] == cell["scores"]["bent"]["per_class"]["7"]["roc_auc"]
    assert matrix["rows"]["0"][matrix["columns"].index("0")] is None
    assert f"{matrix['rows']['0'][at]:.3f}" in Page(Path("b/index.html")).text

    table["baselines"] = {"<lof>": {"rows": {"0": 0.91234, "1": 0.9}, "mean": 0.90617}}
    Path("b/table.json").write_text(json.dumps(table))
    shutil.rmtree("b/cells")
    assert len(parsed("report", "--benchmark", "b", "--json")["notes"]) == 1
    page = Page(Path("b/index.html"))
    assert "Not all cells are there" in page.text
    for shown in ("<lof>", "0.9123", "0.9062"):
        assert shown in page.text
    assert not Path("b/matrix.svg").exists()
    assert json.loads(Path("b/table.json").read_text()) == table

    del table["rows"][0]["roc_auc"]
    Path("b/table.json").write_text(json.dumps(table))
    assert "a row has no 'roc_auc'" in fails(1, "report", "--benchmark", "b")
    assert "no such file" in fails(1, "report", "--benchmark", "nowhere")


# --- folders and words ----------------------------------------------------------------------------------------


def test_only_our_own_files_are_overwritten(place: Path):
    report = run_report(scored(9, 0), n_pictures=0)
    shutil.copytree(place / "runs" / "digits-3-ae", "run")
    before = Path("run/scores.csv").read_bytes()
    with pytest.raises(BundleError, match=r"run/scores\.csv: exists already and is not of a report"):
        render.write_run(report, Path("run"))
    assert Path("run/scores.csv").read_bytes() == before
    Path("mine").mkdir()
    Path("mine/index.html").write_text("mine")
    assert "choose another --output" in fails(
        1, "report", "digits-3-ae", "--runs-dir", place / "runs", "--output", "mine"
    )
    assert [path.read_text() for path in Path("mine").iterdir()] == ["mine"]
    Path("file").write_text("")
    with pytest.raises(BundleError, match="file/report: cannot be written"):
        render.write_run(report, Path("file/report"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written():
    Path("closed").mkdir(mode=0o500)
    with pytest.raises(BundleError, match="closed/r: cannot be written"):
        render.write_run(run_report(scored(9, 0)), Path("closed/r"))


def test_a_report_made_again_replaces_the_old(tmp_path: Path):
    render.write_run(run_report(scored(20, 20)), tmp_path / "r")
    assert (tmp_path / "r" / "roc.svg").exists()
    (tmp_path / "r" / "notes.txt").write_text("mine")
    render.write_run(run_report(scored(20, 0), n_pictures=0), tmp_path / "r")
    assert not (tmp_path / "r" / "roc.svg").exists()
    assert (tmp_path / "r" / "notes.txt").read_text() == "mine"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "metrics.json").write_text("{}")
    with pytest.raises(BundleError, match="is not of a report"):
        render.write_run(run_report(scored(20, 20)), tmp_path / "other")


def test_words_of_the_command(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ANOMALAE_RUNS", str(place / "runs"))
    fails_usage = [
        ("report", "a", "--benchmark", "b"),
        ("report", "a", "b", "--scores", "s.csv"),
        ("report", "a", "a"),
    ]
    for line in fails_usage:
        assert fails(2, *line)
    assert "no such run" in fails(2, "report", "nothing")
    opened: list[str] = []
    monkeypatch.setattr(render, "write_run", lambda report, output: [output / "index.html"])
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert ok("report", "digits-3-ae", "--quiet", "--open").stdout == ""
    assert opened == [Path("reports/digits-3-ae/index.html").resolve().as_uri()]
    assert "report: reports/" in ok("report", "digits-3-ae").stdout


def test_the_commands_make_run_and_report_again(place: Path):
    folder = place / "runs" / "digits-3-ae"
    train, report = describe(folder, Detector.load(folder), alpha=0.1).facts.commands
    assert train.startswith("anomalae train --dataset digits --normal 3 ")
    assert train.endswith("--alpha 0.1 --name digits-3-ae")
    assert report == "anomalae report digits-3-ae"


def test_reports_never_import_torch():
    code = (
        "import sys\n"
        "from anomalae.reports import content\n"
        "from anomalae.reports.collect import benchmarks, scores_file\n"
        "from anomalae.reports.pages import figures, render, tuner, words\n"
        "assert 'jinja2' not in sys.modules and 'matplotlib' not in sys.modules\n"
        "from pathlib import Path\n"
        "from anomalae import plots\n"
        "plots.save = lambda figure, path: None\n"
        "from tests.reports.pages import run_report, scored as made\n"
        "render.write_run(run_report(made(9, 0)), Path(sys.argv[1]))\n"
        "print(sorted({'torch', 'torchvision', 'pyod'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path("r").absolute())],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_colours_become_variables():
    assert (
        figures.paint('<g style="fill: #1F2329; stroke: #0072b2">')
        == '<g style="fill: var(--ink); stroke: var(--normal)">'
    )


def test_what_is_not_there_is_an_en_dash_on_pages():
    assert words.percent(None) == words.number(None) == words.moment("") == "–"
