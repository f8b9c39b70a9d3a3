"""What commands show on terminals of 60, 80 and 120 columns: whole words, no bar that is done, one line for Ctrl-C."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from anomalae.cli import main
from anomalae.cli.lines import wrapped
from anomalae.cli.tables import Column, print_table
from tests.cli import QUICK, SMALL, ok
from tests.cli.terminal import Terminal

# Of the narrower ones each run takes the narrowest, which breaks the most.
WIDTHS = (60, pytest.param(80, marks=pytest.mark.slow), pytest.param(120, marks=pytest.mark.slow))
# Nothing is broken or left out here, so that all words are whole.
WIDE = 500
BARS = re.compile("[━╸╺⠁-⣿]")
MARK = "# call "

TRAIN = ["train", "--normal", "0", *QUICK, "--threads", "1"]
CALLS = [
    TRAIN,
    ["runs"],
    ["runs", "digits-0-ae"],
    ["runs", "stopped"],
    ["score", "images", "--threads", "1", "--run", "digits-0-ae"],
    ["evaluate", "--run", "digits-0-ae", "--threads", "1"],
    ["compare", "--list"],
    ["compare", "--run", "digits-0-ae", "--baseline", "knn", "--threads", "1"],
    ["benchmark", "--normal", "0", *SMALL, "--baseline", "knn", "--threads", "1"],
    ["report", "digits-0-ae", "--threads", "1"],
    ["check", "--list"],
    ["check", "pixels"],
    ["data", "list"],
    ["data", "export", "digits", "few", "--limit", "3"],
]
# Its last command is broken by a backslash where it does not fit.
LONG = [*TRAIN, "--runs-dir", "a folder for runs/with a long name"]
# Calls the commands one after another in one process, for PyTorch takes its time to be imported.
CALLER = f"""
import json, sys
from anomalae.cli import main
for n, words in enumerate(json.loads(sys.argv[1])):
    print({MARK!r} + str(n), flush=True)
    try:
        main(words, prog_name="anomalae")
    except SystemExit as end:
        assert not end.code or words[0] == "score", (words, end.code)
"""


def interrupted(*call: str, columns: int) -> list[str]:
    """The lines that stay on a terminal of so many columns when Ctrl-C ends a call in the midst of a training."""
    with Terminal(sys.executable, "-m", "anomalae", *call, columns=columns) as terminal:
        terminal.until("loss")
        terminal.type("\x03")
        assert terminal.end() != 0
        assert terminal.overlong == 0
        return terminal.lines


# What is left of the training of `place`, which is stopped on the narrowest terminal.
_left: list[str] = []


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a training that was stopped, and images, one of them none."""
    folder = tmp_path_factory.mktemp("screens")
    before = Path.cwd()
    os.chdir(folder)
    try:
        long = ["train", "--normal", "1", "--dataset", "digits", "--architecture", "conv", "--epochs", "1000"]
        _left[:] = interrupted(*long, "--name", "stopped", columns=60)
        ok("data", "export", "digits", "images/of-all-ten-classes", "--limit", "4")
        Path("images/broken.png").write_bytes(b"no picture")
    finally:
        os.chdir(before)
    return folder


_shown: dict[int, list[list[str]]] = {}


def screens(place: Path, columns: int) -> list[list[str]]:
    """The lines that each call left on a terminal of so many columns; made once for each width."""
    if columns not in _shown:
        work = place / str(columns)
        work.mkdir()
        shutil.copytree(place / "runs", work / "runs")
        shutil.copytree(place / "images", work / "images")
        before = Path.cwd()
        os.chdir(work)
        try:
            with Terminal(
                sys.executable, "-c", CALLER, json.dumps([*CALLS, LONG]), columns=columns, rows=1000
            ) as terminal:
                status, lines = terminal.end(), terminal.lines
        finally:
            os.chdir(before)
        assert status == 0, "\n".join(lines)
        assert terminal.overlong == 0, "\n".join(lines)
        starts = [at for at, line in enumerate(lines) if line.startswith(MARK)] + [len(lines)]
        _shown[columns] = [lines[a + 1 : b] for a, b in itertools.pairwise(starts)]
        assert len(_shown[columns]) == len(CALLS) + 1, "\n".join(lines)
    return _shown[columns]


def words(lines: list[str]) -> set[str]:
    """All words of a screen, digits alike, for numbers of seconds differ; those of what was left out aside."""
    text = re.sub(r"Left out for want of width: .*?\.( |$)", "", " ".join(" ".join(lines).split()))
    return {re.sub(r"\d+", "0", word) for word in text.split()}


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("call", range(len(CALLS)), ids=[" ".join(words_[:2]) for words_ in CALLS])
def test_no_word_is_broken_and_no_bar_stays(place, call, columns):
    shown = screens(place, columns)[call]
    assert shown, "nothing is shown"
    assert max(map(len, shown)) <= columns
    assert not [line for line in shown if BARS.search(line)]
    whole = words(screens(place, WIDE)[call]) | {"s", "ms", "min"}
    for word in words(shown) - whole:
        # The rest of a name or a path that was too long for its column.
        assert "…" in word, (word, shown)
        assert any(known.startswith(word.rstrip("…")) or known.endswith(word.lstrip("…")) for known in whole)


def test_a_finished_training_leaves_what_it_came_to(place):
    shown = screens(place, WIDE)[0]
    assert re.match(r"training: runs/digits-0-ae", shown[0])
    assert re.match(r"trained to epoch 2 in .*: loss [\d.]+, validation [\d.]+$", shown[1])
    assert shown[-3:] == [
        "next:",
        "  anomalae score IMAGES/ --run digits-0-ae",
        "  anomalae evaluate --run digits-0-ae",
    ]


@pytest.mark.parametrize("columns", WIDTHS)
def test_an_interrupted_training_is_listed_with_its_command_on_a_line(place, columns):
    for call in (1, 3):
        assert screens(place, columns)[call][-2:] == ["go on:", "  anomalae train --resume stopped"]


@pytest.mark.parametrize("columns", WIDTHS)
def test_a_narrow_terminal_leaves_out_what_matters_least_and_says_so(place, columns):
    shown = " ".join(screens(place, columns)[1])
    for title in ("run", "ROC-AUC", "status"):
        assert title in shown
    assert ("Left out for want of width" in shown) == (columns < 120)


@pytest.mark.parametrize("columns", WIDTHS)
def test_ctrl_c_prints_one_line_and_the_command_that_goes_on(columns, place, tmp_path):
    call = ["train", "--normal", "1", "--dataset", "digits", "--architecture", "conv", "--epochs", "1000"]
    lines = _left if columns == 60 else interrupted(*call, "--name", "stopped", columns=columns)
    assert lines[-2:] == ["Interrupted; go on with:", "  anomalae train --resume stopped"]
    assert sum("nterrupt" in line or "bort" in line for line in lines) == 1
    assert not [line for line in lines if BARS.search(line) or "loss" in line or "Traceback" in line]


def test_ctrl_c_in_a_benchmark_prints_one_line(tmp_path):
    call = [
        "benchmark",
        "--normal",
        "1,2",
        "--dataset",
        "digits",
        "--architecture",
        "conv",
        "--epochs",
        "1000",
    ]
    expected = "[1/2] normal-1_seed-0 Interrupted with 0 of 2 cells done; the same command goes on."
    assert " ".join(interrupted(*call, columns=60)) == expected


def test_a_long_command_goes_on_behind_a_backslash(place):
    assert screens(place, 60)[-1][-2:] == [
        "  anomalae evaluate --run digits-0-ae --runs-dir \\",
        "      'a folder for runs/with a long name'",
    ]


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("one two three", 7, ["one two", "three"]),
        ("one two three", 8, ["one two", "three"]),
        ("  two spaces before", 12, ["  two spaces", "before"]),
        ("see a/b/c/d now", 5, ["see", "a/b/", "c/d", "now"]),
        ("indivisible", 5, ["indivisible"]),
        ("三三 三三", 8, ["三三", "三三"]),
        ("", 5, [""]),
    ],
)
def test_lines_are_broken_between_words(text, width, lines):
    assert wrapped(text, width) == lines


def test_columns_are_left_out_by_rank_then_made_narrower(capsys):
    columns = (
        Column("path", "path"),
        Column("n"),
        Column("why", "words", rank=2),
        Column("who", "name", rank=1),
    )
    row = (
        "a/folder/of/images/with/a/long/name.png",
        "1234",
        "because it is so and not otherwise",
        "somebody or other",
    )

    def shown(width: int) -> list[str]:
        print_table(columns, [row], Console(width=width), elsewhere="x has them")
        return capsys.readouterr().out.splitlines()

    assert shown(120) == [
        "path                                        n  why                                 who",
        "a/folder/of/images/with/a/long/name.png  1234  because it is so and not otherwise  somebody or other",
    ]
    assert shown(72) == [
        "path                       n  why                      who",
        "…/with/a/long/name.png  1234  because it is so and     somebody or other",
        "                              not otherwise",
    ]
    assert shown(40) == [
        "path                     n  who",
        "…ith/a/long/name.png  1234  somebody or…",
        "Left out for want of width: why; x has",
        "them.",
    ]


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("path", [(), ("train",), ("score",), ("benchmark",), ("completion",)], ids=" ".join)
def test_help_breaks_no_option(path, columns):
    def shown(width: int) -> str:
        return CliRunner().invoke(main, [*path, "--help"], prog_name="anomalae", terminal_width=width).output

    options = set(re.findall(r"--[a-z][a-z-]*", shown(1000)))
    assert set(re.findall(r"--[a-z][a-z-]*", shown(columns))) <= options
    assert not [line for line in shown(columns).splitlines() if line.endswith("-")]
