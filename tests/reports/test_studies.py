"""Pages of studies: nothing of the data gets out of its place, and the files beside the page say the same."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace

import pytest

from anomalae import plots
from anomalae.errors import BundleError
from anomalae.reports.content import StudyReport
from anomalae.reports.pages.studies import cell, csv_table, markdown, write_index, write_study

HOSTILE = "<script>alert('x')</script> | a,b\n"


@pytest.fixture
def report():
    figure = plots.lines({HOSTILE: plots.Series([1, 2], [0.1, 0.2])}, x="x", y="y")
    return StudyReport(
        "widths",
        "How wide?",
        "About.",
        (f"Best is {HOSTILE}.",),
        (("name", "name", None), ("auc", "ROC-AUC", 4), ("n", "n", None)),
        ({"name": HOSTILE, "auc": 0.98765, "n": 3, "more": [1, 2]}, {"name": "b", "auc": None, "n": 4}),
        (("lines", "Lines", "What they show.", figure, False),),
        ("Measured.",),
        False,
        "anomalae study widths --dataset 'a b'",
        (2, 3.0),
        {"data": HOSTILE, "train part": "abc", "versions": "torch 2"},
        ("width 3: ValueError: <b>no</b>",),
    )


def test_a_page_holds_all_and_nothing_of_the_data_is_markup(report, tmp_path):
    written = write_study(report, tmp_path / "widths")
    assert [path.name for path in written] == [
        "index.html", "table.json", "table.csv", "table.md", "lines.svg", "lines.png",
    ]  # fmt: skip
    page = written[0].read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "<b>no</b>" not in page
    for text in ("How wide?", "What they show.", "0.9877", "Measured.", "2 cells", "<svg"):
        assert text in page
    document = json.loads(written[1].read_text())
    assert document["rows"][0]["auc"] == 0.98765
    assert document["missing"] == list(report.missing)


def test_a_long_command_wraps(report, tmp_path):
    page = write_study(report, tmp_path / "widths")[0].read_text(encoding="utf-8")
    (rule,) = re.findall(r"^pre \{(.*)\}$", page, re.M)
    assert "white-space: pre-wrap" in rule
    assert "overflow-wrap: anywhere" in rule


def test_tables_have_all_keys_and_survive_their_separators(report):
    rows = list(csv.DictReader(csv_table(report).splitlines(keepends=True)))
    assert rows[0]["name"] == HOSTILE
    assert (rows[0]["more"], rows[1]["more"], rows[1]["auc"]) == ("1 2", "", "")
    lines = [line for line in markdown(report).splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert lines[1] == "|---|--:|--:|"
    assert lines[2].replace("\\|", "").count("|") == 4


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (None, 3, ""),
        (0.5, 3, "0.500"),
        (7, None, "7"),
        (1e-7, None, "1e-07"),
        ([1, 2], None, "1, 2"),
        ("a", 2, "a"),
    ],
)
def test_cells_are_written_for_people(value, digits, shown):
    assert cell(value, digits) == shown


def test_an_index_lists_what_is_there(report, tmp_path):
    assert write_index(tmp_path) is None
    for name in ("widths", "losses"):
        said = {"question": f"What of {name}?", "answer": ("Short.", *report.answer)}
        write_study(replace(report, name=name, drawings=(), **said), tmp_path / name)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "table.json").write_text("{")
    for place in ("grid-noise/0123abcd", "quick/widths"):
        made = replace(report, name=place.split("/")[0], question=f"What of {place}?", drawings=())
        write_study(made, tmp_path / place)
    page = write_index(tmp_path).read_text(encoding="utf-8")
    assert 'href="grid-noise/0123abcd/index.html"' in page
    # Quick ones have an index of their own.
    assert "quick" not in page
    assert 'href="losses/index.html"' in page
    assert page.index("What of losses?") < page.index("What of widths?")
    page = write_index(tmp_path, ("no such", "widths")).read_text(encoding="utf-8")
    assert page.index("What of widths?") < page.index("What of losses?")
    # The first sentence stands alone.
    assert page.index("<p>Short.</p>") < page.index("<details>") < page.index("<p>Best is")
    assert "<script>alert" not in page


def test_what_is_not_ours_is_left_alone(report, tmp_path):
    (tmp_path / "table.json").write_text("mine")
    with pytest.raises(BundleError, match="exists already and is not of a report"):
        write_study(report, tmp_path)
    assert (tmp_path / "table.json").read_text() == "mine"


def test_figures_that_a_study_has_no_more_are_removed_and_nothing_else(report, tmp_path):
    (tmp_path / "outside.png").write_text("mine")
    folder = tmp_path / "widths"
    write_study(report, folder)
    (folder / "own.png").write_text("mine")
    table = json.loads((folder / "table.json").read_text())
    assert "lines.png" in table["files"]
    (folder / "table.json").write_text(
        json.dumps({**table, "files": [*table["files"], "../outside.png", 3, "", ".."]})
    )
    write_study(replace(report, drawings=()), folder)
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["index.html", "own.png", "table.csv", "table.json", "table.md"]
    assert (tmp_path / "outside.png").exists()


def test_a_study_whose_writing_was_broken_off_can_be_written_again(report, tmp_path):
    # Of numbers that are no JSON nothing gets further than its table.
    with pytest.raises(TypeError):
        write_study(replace(report, rows=({"name": {1, 2}},)), tmp_path / "widths")
    written = write_study(report, tmp_path / "widths")
    # The page is the last that a writing leaves.
    written[0].unlink()
    written[-1].unlink()
    assert all(path.is_file() for path in write_study(report, tmp_path / "widths"))


def test_a_study_takes_the_place_of_itself_alone(report, tmp_path):
    write_study(replace(report, quick=True), tmp_path)
    write_study(report, tmp_path)
    for other, said in (
        (replace(report, quick=True), "holds the full study"),
        (replace(report, name="x"), "widths"),
    ):
        with pytest.raises(BundleError, match=said):
            write_study(other, tmp_path)
    assert json.loads((tmp_path / "table.json").read_text())["quick"] is False
