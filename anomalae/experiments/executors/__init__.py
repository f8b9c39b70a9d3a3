"""Where tasks are done: here, in processes of this machine (joblib), or on a Dask cluster. No scheduler of our own.

An executor's `run` is given tasks, yields a `Done` for each in any order, and calls `on_begin` when it hands one out,
from any thread. Closed early, it ends what it has begun.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from anomalae.errors import ConfigError
from anomalae.experiments.cells import Done, Task
from anomalae.ranges import Whole

BACKENDS = ("joblib", "dask")
MOST_JOBS = 1024


class Executor(Protocol):
    """Does tasks somewhere."""

    @property
    def jobs(self) -> int:
        """How many tasks are done at once."""
        ...

    def run(self, tasks: Sequence[Task], on_begin: Callable[[int], None]) -> Iterator[Done]:
        """Do all tasks; one whose process dies is said to have `died`."""
        ...

    def close(self) -> None:
        """Leave what was joined; there are no more tasks."""
        ...


def run_twice(
    executor: Executor,
    tasks: Sequence[Task],
    on_begin: Callable[[int], None],
    on_failed: Callable[[int], None],
) -> Iterator[Done]:
    """Do all tasks, and yield how each ended: one that fails is done once more, after the others, alone.

    on_begin: called with the index of a task that is handed out.
    on_failed: called with that of one that failed, and will be done again.
    """
    again = []
    for done in executor.run(tasks, on_begin):
        if done.result is None:
            again.append(done.index)
            on_failed(done.index)
        else:
            yield done
    for index in again:
        for done in executor.run([tasks[index]], lambda _, index=index: on_begin(index)):  # type: ignore[misc]
            yield replace(done, index=index)


def make_executor(jobs: int = 1, backend: str = "joblib", scheduler: str | None = None) -> Executor:
    """Return the executor for so many processes, or for a cluster.

    jobs: processes of this machine; 1 works in this process.
    backend: `joblib` or `dask`.
    scheduler: address of a Dask scheduler, as in tcp://HOST:8786.

    Raises ConfigError for a number out of range, another backend, and a scheduler without dask or the other way round;
    see `anomalae.experiments.executors.cluster` for what a cluster raises.
    """
    Whole(1, MOST_JOBS).check("jobs", jobs)
    if backend not in BACKENDS:
        raise ConfigError(f"backend {backend!r}: must be one of {', '.join(BACKENDS)}", setting="backend")
    if (backend == "dask") != (scheduler is not None):
        missing = (
            "scheduler: needs backend dask" if scheduler else "backend dask: needs a scheduler's address"
        )
        raise ConfigError(missing, setting="scheduler" if scheduler else "backend")
    if scheduler is not None:
        from anomalae.experiments.executors.cluster import Cluster

        return Cluster(scheduler)
    if jobs == 1:
        from anomalae.experiments.executors.here import Here

        return Here()
    from anomalae.experiments.executors.processes import Processes

    return Processes(jobs)
