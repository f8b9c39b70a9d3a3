"""Which means are compared: those over the same trainings. One that lacks some is named instead."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from anomalae import text
from anomalae.experiments.studies.base import Column, Row

MISSING = "missing"
COLUMN = Column(MISSING, "trainings missing")
# Rows that are named at most.
NAMED = 6


def place_of(asked: Mapping[str, Any]) -> str:
    """Return what a training shares with those that it is compared with: its normal classes and its seed.

    asked: arguments of the cell.
    """
    return f"{text.listed(asked.get('normal', ()))}, seed {asked['seed']}"


def note_missing(
    table: Sequence[Row],
    places: Sequence[Collection[str]],
    group: Callable[[Row], Any] = lambda row: None,
) -> None:
    """Write into each row, as `missing`, how many trainings it lacks that another row has; None where it lacks none.

    table: rows of means, with `trainings`.
    places: of each row's trainings.
    group: of rows that are compared with one another.

    >>> rows = [{"trainings": 2}, {"trainings": 1}]
    >>> note_missing(rows, [{"class 0", "class 1"}, {"class 1"}])
    >>> [row["missing"] for row in rows]
    [None, 1]
    """
    every: dict[Any, set[str]] = {}
    for row, own in zip(table, places, strict=True):
        every.setdefault(group(row), set()).update(own)
    for row, own in zip(table, places, strict=True):
        row[MISSING] = len(every[group(row)].difference(own)) or None


def whole(table: Sequence[Row]) -> list[Row]:
    """Return the rows that lack no training, whose means can be compared."""
    return [row for row in table if not row.get(MISSING)]


def left_out(table: Sequence[Row], name: Callable[[Row], str], count: str = "trainings") -> list[str]:
    """Return a sentence that names the rows that are not compared, none where there is none.

    name: of a row; rows of the same name are named once.
    count: key of the number of trainings that a row has.
    """
    named = list(
        dict.fromkeys(
            f"{name(row)} ({row[count]} of {row[count] + row[MISSING]})" for row in table if row.get(MISSING)
        )
    )
    if not named:
        return []
    more = len(named) - NAMED
    rest = [text.plural(more, "other")] if more > 0 else []
    return [
        f"Not compared, as trainings are missing that others have: {text.sentence([*named[:NAMED], *rest])}."
    ]
