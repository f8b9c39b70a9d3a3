"""Tasks done in processes of this machine, by joblib."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from anomalae.experiments.cells import Done, Task, attempt
from anomalae.threads import of_process

# Seconds after which a process that is given nothing ends, as where the one that gives was killed.
IDLE = 20


class Processes:
    """Does tasks in so many processes at once.

    jobs: at least 2.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._began = False

    def run(self, tasks: Sequence[Task], on_begin: Callable[[int], None]) -> Iterator[Done]:
        """Do all tasks. When a process dies, those under way are said to have died, and the rest go on in new ones."""
        left = list(range(len(tasks)))
        while left:
            under_way: set[int] = set()
            ended = False
            try:
                for done in self._some(tasks, left, under_way, on_begin):
                    under_way.discard(done.index)
                    yield done
                ended = True
                return
            except _broken():
                # Whose fault it was nobody knows: `run_twice` does each again, alone.
                for index in sorted(under_way):
                    yield Done(index, problem="its process died", died=True)
            finally:
                if not ended:
                    _end_processes(at_once=True)

    def close(self) -> None:
        """End the processes, which would end by themselves when they are given nothing for a while."""
        if self._began:
            _end_processes()

    def _some(
        self, tasks: Sequence[Task], left: list[int], under_way: set[int], on_begin: Callable[[int], None]
    ) -> Iterator[Done]:
        """Do the tasks that are left, taking each from the list as it is handed out."""
        import joblib

        def handed_out() -> Iterator[Any]:
            while left:
                index = left.pop(0)
                under_way.add(index)
                on_begin(index)
                yield joblib.delayed(attempt)(index, tasks[index])

        # Children read how many threads to start, and that they sleep, when they load their libraries.
        with of_process(_common([task.threads for task in tasks])), warnings.catch_warnings():
            # That it stops a process which grew is nothing to warn of.
            warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
            parallel = joblib.Parallel(
                n_jobs=self.jobs,
                batch_size=1,
                pre_dispatch="n_jobs",
                return_as="generator_unordered",
                backend="loky",
                idle_worker_timeout=IDLE,
            )
            self._began = True
            yield from parallel(handed_out())


def _common(threads: list[int | None]) -> int | None:
    """Return the number of threads that all agree on; None where they do not, and each sets its own."""
    return threads[0] if len(set(threads)) == 1 else None


def _broken() -> type[BaseException]:
    from joblib.externals.loky.process_executor import BrokenProcessPool

    return BrokenProcessPool


def _end_processes(at_once: bool = False) -> None:
    """End the processes, at once whatever they do, or else when they have done what they do."""
    from joblib.externals.loky import get_reusable_executor

    # Those there are: asked for in any other way, they are left to end by themselves, and new ones made in their place.
    get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=at_once)
