"""Tables for people: as wide as the terminal, never broken inside a word; and the forms of files of judged rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from anomalae.cli.lines import command_lines, longest_part, wrapped
from anomalae.detectors import judged_rows as rows
from anomalae.errors import BundleError
from anomalae.text import interval, number, percent, plural, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from anomalae.detectors.row_files import Summary
    from anomalae.runs.record import Data

# Rows of the table for a person, most anomalous first.
SHOWN = 50
# Columns of the terminal between two columns of a table.
GAP = 2
# What a column keeps at least when it is made narrower.
LEAST = {"name": 12, "path": 20, "words": 22}


@dataclass(frozen=True)
class Column:
    """A column of a table for people.

    title: what stands above it.
    kind: `number` is never cut; `name` loses its end, `path` its beginning; `words` are broken into lines.
    rank: of the columns that can be left out those with the highest rank go first; 0 stays.
    """

    title: str
    kind: Literal["number", "name", "path", "words"] = "number"
    rank: int = 0


def print_table(
    columns: Sequence[Column],
    cells: Iterable[Sequence[str | Text]],
    console: Console,
    *,
    header: bool = True,
    elsewhere: str = "",
) -> None:
    """Print a table that fits the terminal: first columns are left out, then the others are made narrower.

    columns: what they are, from left to right.
    cells: rows of as many texts, which are made printable; a Rich Text keeps its style.
    console: where to.
    header: whether the titles are shown.
    elsewhere: where the columns are that were left out, as in `--json has them`.
    """
    texts = [[_text(cell) for cell in row] for row in cells]
    shown = list(range(len(columns)))
    widths = {at: _widths(columns[at], [row[at] for row in texts], header) for at in shown}
    while sum(widths[at][0] + GAP for at in shown) - GAP > console.width:
        ranked = [at for at in shown if columns[at].rank]
        if not ranked:
            break
        last = max(columns[at].rank for at in ranked)
        shown = [at for at in shown if columns[at].rank != last]
    chosen = _fitted({at: widths[at] for at in shown}, console.width)
    titles = [[_text(column.title) for column in columns]] if header else []
    for style, row in [("bold", row) for row in titles] + [("", row) for row in texts]:
        for line in _lines([(columns[at], row[at], chosen[at]) for at in shown], style):
            console.print(line, soft_wrap=True)
    left_out = [column.title for at, column in enumerate(columns) if at not in shown]
    if left_out and elsewhere:
        say(f"Left out for want of width: {', '.join(left_out)}; {elsewhere}.", console)


def print_pairs(pairs: Iterable[tuple[str, str]], console: Console) -> None:
    """Print names, in bold, and what they stand for beside them."""
    from rich.text import Text

    columns = (Column("", "words"), Column("", "words"))
    named = [(Text(name, style="bold"), value) for name, value in pairs]
    print_table(columns, named, console, header=False)


def test_rates(evaluation: dict[str, Any]) -> list[tuple[str, str]]:
    """Return for `print_pairs` how well the normal test images are told from the others, as far as there are any.

    evaluation: as `evaluation.json` holds it.
    """
    auc = (
        f"{number(evaluation['roc_auc'])} {interval(evaluation['roc_auc_interval'], brackets=True)}".rstrip()
    )
    alarms = (
        f"{percent(evaluation.get('false_alarm_rate'))} of {evaluation.get('n_normal')} normal test images"
    )
    if evaluation.get("n_anomalous") == 0:
        auc = "none: all test images are normal"
        if evaluation.get("false_alarm_band"):
            low, high = evaluation["false_alarm_band"]
            alarms += f", {percent(low)} to {percent(high)} expected"
    return [("test ROC-AUC", auc), ("false alarms", alarms)]


def promised(data: Data, alpha: float) -> str:
    """Return what is promised of the false alarms of a run of folds, on images like its normal ones."""
    return (
        f"false alarms of at most 2 alpha, and with {data.n_train} images a little more, "
        f"{percent(data.proved_rate(alpha))}, on the average; about alpha as a rule"
    )


def say(text: str, console: Console, *, style: str = "") -> None:
    """Print a line for people, as several where the terminal is too narrow for it."""
    from rich.text import Text

    for line in wrapped(printable(text), console.width):
        console.print(Text(line, style=style), soft_wrap=True)


def say_commands(before: str, commands: Iterable[str], console: Console) -> None:
    """Print what can be typed next: each command begins a line, and can be copied."""
    from rich.text import Text

    console.print(before, style="bold")
    for command in commands:
        for line in command_lines(command, console.width):
            console.print(Text(line), soft_wrap=True)


def _text(cell: str | Text) -> Text:
    from rich.text import Text

    return Text(printable(cell)) if isinstance(cell, str) else cell


def _widths(column: Column, texts: list[Text], header: bool) -> tuple[int, int]:
    """Return the least and the natural width of a column."""
    title = len(column.title) if header else 0
    natural = max([title, *(text.cell_len for text in texts)])
    if column.kind == "number":
        return natural, natural
    least = LEAST[column.kind]
    if column.kind == "words":
        least = max([least, *(longest_part(text.plain) for text in texts)])
    return max(title, min(natural, least)), natural


def _fitted(widths: dict[int, tuple[int, int]], room: int) -> dict[int, int]:
    """Return widths that fit where they can: the widest column is made narrower until all do, or are at their least."""
    chosen = {at: natural for at, (_, natural) in widths.items()}
    while sum(chosen.values()) + GAP * (len(chosen) - 1) > room:
        loose = [at for at in chosen if chosen[at] > widths[at][0]]
        if not loose:
            break
        chosen[max(loose, key=lambda at: chosen[at])] -= 1
    return chosen


def _lines(cells: list[tuple[Column, Text, int]], style: str) -> list[Text]:
    """Return the lines of a row: each cell padded to its width, one that is broken on several lines."""
    from rich.text import Text

    parts = [_broken(column, text, width) for column, text, width in cells]
    lines = []
    for line in itertools.zip_longest(*parts, fillvalue=Text()):
        padded = []
        for part, (column, _, width) in zip(line, cells, strict=True):
            room = max(width - part.cell_len, 0)
            shown = part.copy()
            shown.pad_left(room) if column.kind == "number" else shown.pad_right(room)
            padded.append(shown)
        lines.append(Text(" " * GAP, style=style).join(padded))
        lines[-1].rstrip()
    return lines


def _broken(column: Column, text: Text, width: int) -> list[Text]:
    """Return the lines of a cell: broken between words, or one line that is cut if need be."""
    from rich.text import Text

    if text.cell_len <= width:
        return [text]
    if column.kind == "words":
        return [Text(line, style=text.style) for line in wrapped(text.plain, width)]
    cut = text.copy()
    if column.kind == "path":
        while cut.cell_len >= width:
            cut = cut[1:]
        return [Text("…", style=text.style) + cut]
    cut.truncate(width, overflow="ellipsis")
    return [cut]


def form_of(path: Path) -> str:
    """Return the form that a file's suffix asks for; any other suffix, or Parquet without pyarrow, is a usage error."""
    form = path.suffix.lower().lstrip(".")
    if form not in rows.FORMATS:
        allowed = ", ".join(f".{name}" for name in rows.FORMATS)
        raise click.UsageError(f"--output {path}: the suffix must be one of {allowed}")
    if form == "parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise click.UsageError(
                "--output .parquet needs pyarrow: pip install 'anomalae[parquet]'"
            ) from None
    if not path.parent.is_dir():
        raise BundleError(f"{path}: cannot be written: the folder does not exist")
    return form


def show(
    ranked: Sequence[rows.Row],
    failed: Sequence[rows.Row],
    summary: Summary,
    blank: set[str],
    console: Console,
) -> None:
    """Print the most anomalous rows, then the errors, and how many rows there are besides.

    ranked, failed: those that are shown.
    summary: of all.
    blank: names of images without ink.
    """
    from rich.text import Text

    cells: list[tuple[str | Text, ...]] = []
    for row in ranked:
        verdict = Text("flagged", style="bold red") if row.flagged else Text()
        note = Text("no ink" if row.path in blank else "")
        remark = Text(" ").join([part for part in (verdict, note) if part])
        cells.append((row.path, f"{row.score:.5f}", f"{row.p_value:.4f}", remark))
    columns = (Column("path", "path"), Column("score"), Column("p-value"), Column("", "name"))
    if cells:
        print_table(columns, cells, console)
    for row in failed:
        say(row.error or "", console, style="yellow")
    hidden = summary.n - len(ranked) - len(failed)
    if hidden:
        say(f"... and {plural(hidden, 'more row')}; --output FILE.csv has them all", console)
