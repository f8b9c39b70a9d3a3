"""Cells done one after another in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from anomalae.experiments.cells import Cell, Done, attempt


class Here:
    """Does cells in this process."""

    jobs = 1

    def run(self, cells: Sequence[Cell], on_begin: Callable[[int], None]) -> Iterator[Done]:
        """Do the cells in their order."""
        for index, cell in enumerate(cells):
            on_begin(index)
            yield attempt(index, cell)
