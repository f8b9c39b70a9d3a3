"""Judged images as rows, an image each: what they are, and how they are written as CSV, JSON, JSON lines or Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomalae import files
from anomalae.errors import ConfigError

COLUMNS = ("path", "score", "p_value", "flagged", "error")
# The column that follows where pages were cut into their digits: left, top, right, bottom.
BOX = "box"
# The columns that hold what a file's name may say, and the beginnings that a spreadsheet takes for a formula, or might
# (the wide forms of = + - @ too). The quote is the mark against it.
TEXTS = ("path", "error")
MARK = "'"
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20", MARK)
TEXT_FORMATS = ("csv", "json", "jsonl")
FORMATS = (*TEXT_FORMATS, "parquet")


@dataclass(frozen=True)
class Row:
    """A row is one image. Score, p-value and verdict are None where there is an error."""

    # As it was given; it may hold anything that a file name may.
    path: str
    # Higher = more anomalous.
    score: float | None
    # In (0, 1]: how often normal images score as high.
    p_value: float | None
    flagged: bool | None
    # Why there is no score, in one line.
    error: str | None
    # Left, top, right, bottom in pixels of the page that a digit was cut from.
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Judged:
    """All rows of one call, in the order of the inputs, and what they were judged by."""

    # Name of the run.
    run: str
    # The rule.
    score: str
    # None where the false discovery rate decided.
    alpha: float | None
    fdr: float | None
    # An image is flagged if its score is above it; None where nothing can be, and where the FDR decided.
    threshold: float | None
    rows: list[Row]
    # Whether pages were cut into their digits, so that rows have boxes.
    segmented: bool = False
    # Name of the calibration that p-values are of; None is the run's own.
    calibration: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return columns_of(self.segmented)

    @property
    def n_failed(self) -> int:
        """The number of rows with an error."""
        return sum(row.error is not None for row in self.rows)

    @property
    def n_flagged(self) -> int:
        """The number of rows that are flagged."""
        return sum(bool(row.flagged) for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values, with the numbers of all rows, of flagged and of failed ones."""
        return {**self.head, "rows": self.row_dicts()}

    @property
    def head(self) -> dict[str, Any]:
        """What the rows were judged by, and their numbers."""
        judged_by = {key: getattr(self, key) for key in ("run", "score", "alpha", "fdr", "threshold")}
        # Only where there is one, as most documents have none.
        if self.calibration is not None:
            judged_by["calibration"] = self.calibration
        counts = {"n": len(self.rows), "n_flagged": self.n_flagged, "n_failed": self.n_failed}
        return {**judged_by, **counts}

    def row_dicts(self) -> list[dict[str, Any]]:
        """Return each row as a dict of its columns."""
        return [{column: getattr(row, column) for column in self.columns} for row in self.rows]


def text(form: str, judged: Judged) -> str:
    """Return the rows as text.

    form: csv, json or jsonl. Undecodable bytes of a path are written as escapes; JSON keeps them.
    judged: the rows. A box is four numbers, in CSV with spaces between them.

    Raises ConfigError for another form.
    """
    return document(form, judged.rows, judged.head, judged.columns).decode()


def columns_of(segmented: bool) -> tuple[str, ...]:
    """Return the names of the columns, of digits that were cut from pages or of whole pictures."""
    return (*COLUMNS, BOX) if segmented else COLUMNS


def document(
    form: str,
    rows: Sequence[Row],
    head: Mapping[str, Any],
    columns: Sequence[str],
    *,
    spreadsheet: bool = False,
) -> bytes:
    """Return rows as a whole file: csv, json with what `head` says before them, or jsonl. ConfigError for others."""
    if form == "json":
        dicts = [{name: getattr(row, name) for name in columns} for row in rows]
        return (json.dumps({**head, "rows": dicts}, indent=1) + "\n").encode()
    return (csv_text([columns]) if form == "csv" else b"") + lines(
        form, rows, columns, spreadsheet=spreadsheet
    )


def lines(form: str, rows: Sequence[Row], columns: Sequence[str], *, spreadsheet: bool = False) -> bytes:
    """Return rows as lines of csv, without a header, or of jsonl. ConfigError for another form.

    spreadsheet: whether texts are marked that a spreadsheet would take for formulas, in csv.
    """
    if form == "jsonl":
        dicts = ({name: getattr(row, name) for name in columns} for row in rows)
        return "".join(json.dumps(row) + "\n" for row in dicts).encode()
    if form != "csv":
        raise ConfigError(f"form {form!r}: must be one of {', '.join(FORMATS)}")
    return csv_text(
        cells({name: getattr(row, name) for name in columns}, columns, spreadsheet=spreadsheet)
        for row in rows
    )


def write(path: Path, judged: Judged, form: str | None = None) -> None:
    """Write the rows to a file, atomically.

    path: of the file.
    judged: the rows.
    form: csv, json, jsonl or parquet; None is what the suffix says.

    Raises ConfigError for another form, BundleError where the file cannot be written, and ImportError where pyarrow
    is missing for Parquet.
    """
    form = form or path.suffix.lower().lstrip(".")
    files.write_bytes(path, _parquet(judged) if form == "parquet" else text(form, judged).encode())


def csv_text(lines: Iterable[Sequence[str]]) -> bytes:
    """Return lines of cells as CSV."""
    writer = files.CsvText()
    writer.writerows(lines)
    return writer.text().encode()


def cells(row: Mapping[str, Any], columns: Sequence[str], *, spreadsheet: bool = False) -> list[str]:
    """Return a row's values as text; for a spreadsheet, with a mark before texts that look like formulas."""
    return [marked(cell(row[name])) if spreadsheet and name in TEXTS else cell(row[name]) for name in columns]


def marked(text: str) -> str:
    """Return a text with a mark before it if a spreadsheet may take it for a formula, or it begins with the mark.

    >>> marked("=1+1.png"), marked("a.png"), unmarked(marked("'a.png"))
    ("'=1+1.png", 'a.png', "'a.png")
    """
    return MARK + text if text.startswith(FORMULA) else text


def unmarked(text: str) -> str:
    """Return what `marked` made a text of."""
    return text.removeprefix(MARK)


def cell(value: Any) -> str:
    """Return a value of a row as text: nothing for None, 0 and 1 for a verdict, escapes for bytes that are no text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return str(value).encode("utf-8", "backslashreplace").decode()


def parquet_table(rows: Sequence[Row], columns: Sequence[str]) -> Any:
    """Return rows as a table of pyarrow."""
    import pyarrow as pa

    def values(name: str) -> list[Any]:
        every = [getattr(row, name) for row in rows]
        return [cell(value) if isinstance(value, str) else value for value in every]

    types = (pa.string(), pa.float64(), pa.float64(), pa.bool_(), pa.string(), pa.list_(pa.int64()))
    return pa.table({name: pa.array(values(name), kind) for name, kind in zip(columns, types, strict=False)})


def _parquet(judged: Judged) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(parquet_table(judged.rows, judged.columns), sink)
    return sink.getvalue().to_pybytes()
