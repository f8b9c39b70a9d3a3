"""Pages of studies: nothing of the data gets out of its place, and the files beside the page say the same."""

from __future__ import annotations

import csv
import json
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
        write_study(replace(report, name=name, question=f"What of {name}?", drawings=()), tmp_path / name)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "table.json").write_text("{")
    page = write_index(tmp_path).read_text(encoding="utf-8")
    assert 'href="losses/index.html"' in page
    assert page.index("What of losses?") < page.index("What of widths?")
    assert "<script>alert" not in page


def test_what_is_not_ours_is_left_alone(report, tmp_path):
    (tmp_path / "table.json").write_text("mine")
    with pytest.raises(BundleError, match="exists already and is not of a report"):
        write_study(report, tmp_path)
    assert (tmp_path / "table.json").read_text() == "mine"
