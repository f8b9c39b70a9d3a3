"""Tasks done one after another in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from anomalae.experiments.cells import Done, Task, attempt


class Here:
    """Does tasks in this process."""

    jobs = 1

    def run(self, tasks: Sequence[Task], on_begin: Callable[[int], None]) -> Iterator[Done]:
        """Do the tasks in their order."""
        for index, task in enumerate(tasks):
            on_begin(index)
            yield attempt(index, task)

    def close(self) -> None:
        """Do nothing: it joined nothing."""
