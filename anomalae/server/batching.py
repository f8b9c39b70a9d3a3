"""Images of requests that wait are scored together, by one thread, each run's for itself."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from anomalae.detectors.detector import Detector
from anomalae.errors import AnomalaeError
from anomalae.images.sources import Canonical

# Images that are scored at a time, unless one request brings more.
MOST = 4096


class ClosedError(AnomalaeError):
    """The server is stopping."""


@dataclass(eq=False)
class _Wanted:
    detector: Detector
    rule: str
    images: np.ndarray
    scores: Future[np.ndarray] = field(default_factory=Future)


class Batcher:
    """A batcher scores images for many threads in one of its own, so that those that wait make one batch.

    on_batch: told the number of images of each batch.

    An image's score does not depend on what it is scored with.
    """

    def __init__(self, on_batch: Callable[[int], None] = lambda n: None) -> None:
        self.on_batch = on_batch
        self._waiting: deque[_Wanted] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="scoring", daemon=True)
        self._thread.start()

    def score(self, detector: Detector, rule: str, images: np.ndarray) -> np.ndarray:
        """Return the scores of canonical images (N, 28, 28), float64 (N,), when it is their turn.

        Raises ClosedError once the batcher is closed.
        """
        wanted = _Wanted(detector, rule, images)
        with self._changed:
            if self._closed:
                raise ClosedError("the server is stopping")
            self._waiting.append(wanted)
            self._changed.notify()
        return wanted.scores.result()

    def close(self) -> None:
        """Score what waits, take no more, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                batch = self._next()
            try:
                images = np.concatenate([wanted.images for wanted in batch])
                scores = batch[0].detector.score(Canonical(images), batch[0].rule)
            except BaseException as error:
                for wanted in batch:
                    wanted.scores.set_exception(error)
                continue
            self.on_batch(len(images))
            ends = np.cumsum([len(wanted.images) for wanted in batch])
            for wanted, part in zip(batch, np.split(scores, ends[:-1]), strict=True):
                wanted.scores.set_result(part)

    def _next(self) -> list[_Wanted]:
        """Take the first request that waits, and those behind it that can be scored with it."""
        first = self._waiting.popleft()
        batch, n, others = [first], len(first.images), deque[_Wanted]()
        for wanted in self._waiting:
            same = (wanted.detector, wanted.rule, wanted.images.dtype) == (
                first.detector, first.rule, first.images.dtype,
            )  # fmt: skip
            if same and n + len(wanted.images) <= MOST:
                batch.append(wanted)
                n += len(wanted.images)
            else:
                others.append(wanted)
        self._waiting = others
        return batch
