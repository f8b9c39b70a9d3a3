"""Detectors are worked by one thread; images of requests that wait are scored together, each run's for itself."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from anomalae.detectors.detector import Detector
from anomalae.errors import AnomalaeError
from anomalae.images.sources import Canonical

# Images that are scored at a time, unless one request brings more.
MOST = 4096
Result = TypeVar("Result")


class ClosedError(AnomalaeError):
    """The server is stopping."""


@dataclass(eq=False)
class _Images:
    """Images that wait to be scored."""

    detector: Detector
    rule: str
    images: np.ndarray
    result: Future[np.ndarray] = field(default_factory=Future)


@dataclass(eq=False)
class _Call:
    """Anything else that waits to be done."""

    work: Callable[[], Any]
    result: Future[Any] = field(default_factory=Future)


class Batcher:
    """A batcher scores images for many threads in one of its own, so that those that wait make one batch.

    on_batch: told the number of images of each batch.

    An image's score does not depend on what it is scored with.
    """

    def __init__(self, on_batch: Callable[[int], None] = lambda n: None) -> None:
        self.on_batch = on_batch
        self._waiting: deque[_Images | _Call] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="scoring", daemon=True)
        self._thread.start()

    @property
    def n_waiting(self) -> int:
        """The number of requests that wait."""
        return len(self._waiting)

    def score(self, detector: Detector, rule: str, images: np.ndarray) -> np.ndarray:
        """Return the scores of canonical images (N, 28, 28), float64 (N,), when it is their turn.

        Raises ClosedError once the batcher is closed.
        """
        wanted = _Images(detector, rule, images)
        self._add(wanted)
        return wanted.result.result()

    def call(self, work: Callable[[], Result]) -> Result:
        """Return what a work gives, done when it is its turn.

        Raises what the work raises, and ClosedError once the batcher is closed.
        """
        wanted = _Call(work)
        self._add(wanted)
        result: Result = wanted.result.result()
        return result

    def close(self) -> None:
        """Do what waits, take no more, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _add(self, wanted: _Images | _Call) -> None:
        with self._changed:
            if self._closed:
                raise ClosedError("the server is stopping")
            self._waiting.append(wanted)
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                first = self._waiting.popleft()
                batch = self._like(first) if isinstance(first, _Images) else [first]
            try:
                if isinstance(first, _Call):
                    first.result.set_result(first.work())
                else:
                    self._score([wanted for wanted in batch if isinstance(wanted, _Images)])
            except BaseException as error:
                for wanted in batch:
                    wanted.result.set_exception(error)

    def _score(self, batch: list[_Images]) -> None:
        images = batch[0].images if len(batch) == 1 else np.concatenate([wanted.images for wanted in batch])
        scores = batch[0].detector.score(Canonical(images), batch[0].rule)
        self.on_batch(len(images))
        ends = np.cumsum([len(wanted.images) for wanted in batch])
        for wanted, part in zip(batch, np.split(scores, ends[:-1]), strict=True):
            wanted.result.set_result(part)

    def _like(self, first: _Images) -> list[_Images | _Call]:
        """Take the first request, and those behind it that can be scored with it."""
        batch: list[_Images | _Call] = [first]
        n, others = len(first.images), deque[_Images | _Call]()
        for wanted in self._waiting:
            same = (
                isinstance(wanted, _Images)
                and wanted.detector is first.detector
                and wanted.rule == first.rule
            )
            if isinstance(wanted, _Images) and same and n + len(wanted.images) <= MOST:
                batch.append(wanted)
                n += len(wanted.images)
            else:
                others.append(wanted)
        self._waiting = others
        return batch
