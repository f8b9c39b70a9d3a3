"""What a study is: a question, the cells that answer it, and what is made of their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from anomalae.datasets.dataset import Dataset
from anomalae.experiments.cells import Cell, Source, Work
from anomalae.experiments.kept_cells import Outcome

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A line of a study's table: JSON-able values by name, None where there is none.
Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Scope:
    """On what a study is made, and how much of it.

    dataset: its images and classes.
    quick: small networks, few epochs, few values: to see what the study does, not to cite.
    """

    dataset: Dataset
    quick: bool = False
    source: Source = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", Source.of(self.dataset))

    def cell(self, work: Work, /, **arguments: Any) -> Cell:
        """Return a cell on this data set."""
        return Cell(work, arguments, self.source)


@dataclass(frozen=True)
class Column:
    """A column of a study's table, of its page and of its Markdown.

    key: in the rows.
    title: above it.
    digits: after the point, of a number; None where the value is text or a whole number.
    """

    key: str
    title: str
    digits: int | None = None


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure of a study.

    name: of its files.
    title: above it.
    caption: what it shows, and how to read it.
    figure: drawn.
    wide: whether it wants the page's whole width.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    wide: bool = False


@dataclass(frozen=True, eq=False)
class Study:
    """A question, and how experiments answer it.

    name: by which it is asked for.
    question: a sentence with a question mark.
    about: why it is asked, and what is compared; a few sentences.
    cells: all that is to be done, for a scope. Digits, widths, epochs and seeds are fixed here, before any result.
    rows: the table made of the outcomes; numbers alone, so that the same outcomes give the same rows. An outcome that
        failed has no result.
    columns: of the table, as people see it; the rows may have more.
    answer: sentences that follow from the rows, the shortest answer first. It must hold for any rows: every word that
        could be turned round by other numbers is chosen by the numbers.
    drawings: figures of rows and outcomes.
    method: sentences: what was trained and measured, for a scope.
    """

    name: str
    question: str
    about: str
    cells: Callable[[Scope], list[Cell]]
    rows: Callable[[Sequence[Outcome]], list[Row]]
    columns: tuple[Column, ...]
    answer: Callable[[Sequence[Row]], tuple[str, ...]]
    drawings: Callable[[Sequence[Row], Sequence[Outcome]], tuple[Drawing, ...]]
    method: Callable[[Scope], tuple[str, ...]]


def finished(outcomes: Sequence[Outcome]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return arguments and numbers of the cells that have a result, in their order."""
    return [
        (outcome.cell.arguments, outcome.result.numbers) for outcome in outcomes if outcome.result is not None
    ]


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean; None where there is no value, or one is missing.

    >>> mean([1.0, 3.0]), mean([1.0, None])
    (2.0, None)
    """
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there and len(there) == len(values) else None


def deviation(values: Sequence[float | None]) -> float | None:
    """Return the sample standard deviation; None of fewer than two values, or where one is missing."""
    there = [value for value in values if value is not None]
    return float(np.std(there, ddof=1)) if len(there) > 1 and len(there) == len(values) else None


def deviation_within(groups: Iterable[Sequence[float]]) -> float | None:
    """Return the standard deviation within groups, as that over seeds within a class; None where none has two values.

    >>> deviation_within([[1.0, 3.0], [10.0, 10.0]]), deviation_within([[1.0], [3.0]])
    (1.0, None)
    """
    spreads = [deviation(values) for values in groups]
    squares = [spread**2 for spread in spreads if spread is not None]
    # Root of the mean variance: of two seeds a variance is unbiased, its root is not.
    return float(np.sqrt(np.mean(squares))) if squares else None
