"""The CSV of scored images, read strictly: file, line and fault are named."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np

from anomalae.detectors.judged_rows import BOX, COLUMNS
from anomalae.errors import DataError
from anomalae.reports.content import ScoredRow

HEADER = list(COLUMNS)
# Of digits that were cut from pages.
HEADER_WITH_BOX = [*COLUMNS, BOX]


def read_scores(file: Path) -> tuple[ScoredRow, ...]:
    """Read the rows, in order. DataError for a file that is no such table, for NaN, and where no image was scored.

    Flags must go with scores: one image flagged and another not, though that one scores at least as high, is an
    error too, for there would be no threshold to show.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{file}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    rows, lines = [], []
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, None)
        if header is None or header not in (HEADER, HEADER_WITH_BOX):
            raise DataError(f"{file}: line 1: must be {','.join(HEADER)}", advice="score")
        for cells in reader:
            if cells:
                rows.append(_row(cells, len(header), f"{file}: line {reader.line_num}"))
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{file}: line {reader.line_num}: {error}") from None
    if all(row.score is None for row in rows):
        raise DataError(f"{file}: {'no image in it was scored' if rows else 'no rows'}")
    _check_order(file, rows, lines)
    return tuple(rows)


def flag_threshold(rows: tuple[ScoredRow, ...]) -> float | None:
    """Return the highest score that was not flagged, above which all were; None where none was flagged."""
    calm = [row.score for row in rows if row.score is not None and not row.flagged]
    flagged = [row.score for row in rows if row.score is not None and row.flagged]
    if not flagged:
        return None
    return max(calm) if calm else math.nextafter(min(flagged), -math.inf)


def _row(cells: list[str], columns: int, where: str) -> ScoredRow:
    if len(cells) != columns:
        raise DataError(f"{where}: {len(cells)} columns, expected {columns}")
    path, score, p_value, flagged, error = cells[: len(COLUMNS)]
    if error:
        if score or p_value or flagged:
            raise DataError(f"{where}: has an error and a verdict, must have one of them")
        return ScoredRow(path, None, None, False, error)
    p = _number("p_value", p_value, where)
    if not 0 <= p <= 1:
        raise DataError(f"{where}: p_value is {p_value!r}, must be between 0 and 1")
    if flagged not in ("0", "1"):
        raise DataError(f"{where}: flagged is {flagged!r}, must be 0 or 1")
    return ScoredRow(path, _number("score", score, where), p, flagged == "1", "")


def _number(name: str, text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: {name} is {text!r}, must be a finite number")
    return value


def _check_order(file: Path, rows: list[ScoredRow], lines: list[int]) -> None:
    good = [i for i, row in enumerate(rows) if row.score is not None]
    scores = np.array([rows[i].score for i in good], dtype=np.float64)
    flagged = np.array([rows[i].flagged for i in good])
    if not flagged.any() or flagged.all():
        return
    lowest = int(np.argmin(np.where(flagged, scores, np.inf)))
    highest = int(np.argmax(np.where(flagged, -np.inf, scores)))
    if scores[highest] >= scores[lowest]:
        raise DataError(
            f"{file}: line {lines[good[highest]]}: is not flagged, but line {lines[good[lowest]]} is, "
            "with no higher score"
        )
