"""Tasks done by the workers of a Dask cluster, wherever they are."""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from anomalae.errors import AnomalaeError, ConfigError
from anomalae.experiments.cells import Done, Task, attempt

# Seconds that a scheduler may take to answer.
PATIENCE = 10
# Tasks that wait for each worker's thread.
AHEAD = 3
# States of what the scheduler took along.
LOST = ("cancelled", "lost")


class Cluster:
    """Does tasks on a Dask cluster, whose workers need anomalae, and the data where this machine has them.

    scheduler: its address.

    Raises ConfigError where Dask is not installed, and where no scheduler answers.
    """

    def __init__(self, scheduler: str) -> None:
        try:
            from distributed import Client
        except ImportError:
            raise ConfigError(
                "backend dask: is not installed; pip install 'anomalae[dask]'", setting="backend"
            ) from None
        # Addresses of Dask have many forms, and its errors no base in common.
        if not re.fullmatch(r"(tcp|tls|ucx|ws|wss)://[^/\s:]+:\d+/?", scheduler):
            raise ConfigError(
                f"scheduler {scheduler!r}: must be an address, as in tcp://HOST:8786", setting="scheduler"
            )
        self._client: Any = None
        self._is_gone = False
        try:
            self._client = Client(scheduler, timeout=PATIENCE, set_as_default=False)
            self._client.wait_for_workers(1, timeout=PATIENCE)
        except Exception as error:
            why = " ".join(str(error).split())[:200] or type(error).__name__
            what = f"does not answer within {PATIENCE} s ({why})"
            if self._client is not None:
                self._client.close()
                what = f"has no worker within {PATIENCE} s"
            raise ConfigError(f"scheduler {scheduler}: {what}", setting="scheduler") from None
        # Of a scheduler that is gone it would say in many lines that it tries to join again.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        self.scheduler = scheduler

    @property
    def jobs(self) -> int:
        """Number of tasks that the workers do at once, at least 1. AnomalaeError where the scheduler is gone."""
        with self._told():
            return max(1, sum(self._client.nthreads().values()))

    def run(self, tasks: Sequence[Task], on_begin: Callable[[int], None]) -> Iterator[Done]:
        """Do all tasks. Dask gives those of a worker that dies to another, until it holds the task to be at fault.

        Raises AnomalaeError where the scheduler is gone.
        """
        from distributed import as_completed

        futures = {}
        for index, task in enumerate(tasks):
            # Not pure: one that failed is done again, not remembered.
            with self._told():
                futures[self._client.submit(attempt, index, task, pure=False)] = index
        begun: set[int] = set()

        def begin(most: int) -> None:
            for index in range(len(tasks)):
                if len(begun) >= most:
                    return
                if index not in begun:
                    begun.add(index)
                    on_begin(index)

        try:
            begin(self.jobs)
            for finished, future in enumerate(as_completed(futures, loop=self._client.loop), 1):
                index = futures[future]
                if index not in begun:
                    begun.add(index)
                    on_begin(index)
                if future.status == "finished":
                    yield future.result()
                elif future.status in LOST:
                    raise self._gone()
                else:
                    error = future.exception()
                    what = " ".join(str(error).split())[:300]
                    died = type(error).__name__ == "KilledWorker"
                    yield Done(index, problem="its workers died" if died else what, died=died)
                begin(finished + self.jobs)
        finally:
            self._cancel(list(futures))

    def in_order(self, work: Callable[[Any], Any], things: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Do work on one thing after another, some ahead, and yield each with its result in their order.

        A result is None where workers died over it. Raises ConfigError where a worker says why it failed, AnomalaeError
        where the scheduler is gone.
        """
        left, waiting = iter(things), deque[tuple[Any, Any]]()
        try:
            while True:
                if len(waiting) < AHEAD:
                    some = itertools.islice(left, max(AHEAD, AHEAD * self.jobs) - len(waiting))
                    for thing in some:
                        with self._told():
                            waiting.append((thing, self._client.submit(work, thing, pure=False)))
                if not waiting:
                    return
                thing, future = waiting.popleft()
                try:
                    result = future.result()
                except Exception as error:
                    if future.status in LOST:
                        raise self._gone() from None
                    if type(error).__name__ != "KilledWorker":
                        said = " ".join(str(error).split())[:300] or type(error).__name__
                        raise ConfigError(
                            f"scheduler {self.scheduler}: a worker failed: {said}", setting="scheduler"
                        ) from None
                    result = None
                yield thing, result
        finally:
            self._cancel([future for _, future in waiting])

    def close(self) -> None:
        """Leave the cluster."""
        with contextlib.suppress(Exception):
            self._client.close(**({"timeout": 0} if self._is_gone else {}))

    def _cancel(self, futures: list[Any]) -> None:
        """Take back what was handed out."""
        if not self._is_gone:
            with contextlib.suppress(Exception):
                self._client.cancel(futures)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Say that the scheduler is gone where it is not there any more to be asked."""
        if self._is_gone:
            raise self._gone()
        try:
            yield
        except Exception as error:
            if isinstance(error, OSError) or self._client.status != "running":
                raise self._gone() from None
            raise

    def _gone(self) -> AnomalaeError:
        """The error of a scheduler that no longer answers."""
        self._is_gone = True
        return AnomalaeError(
            f"scheduler {self.scheduler}: is gone in the middle of the work", advice="scheduler"
        )
