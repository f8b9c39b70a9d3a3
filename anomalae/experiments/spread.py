"""Files read and scored by the workers of a Dask cluster, a chunk after another and in their order."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from anomalae.detectors.detector import Detector
from anomalae.errors import BundleError
from anomalae.experiments.executors.cluster import Cluster
from anomalae.images.inputs import Input, Reading
from anomalae.images.sources import Canonical
from anomalae.images.stream import Named, Packed, read_chunk, unpack
from anomalae.text import printable

# Files that a worker is given at a time.
CHUNK = 128


@dataclass(frozen=True)
class By:
    """What images are scored by.

    run: folder of the run, where the workers have it too.
    fingerprint: of its detector, so that no worker scores by another one.
    rule: the score.
    device, threads: as for `Detector`.
    """

    run: str
    fingerprint: str
    rule: str
    device: str = "auto"
    threads: int | None = None


# A process holds one detector; several threads of a worker use it one after another.
_held: dict[By, Detector] = {}
_lock = threading.Lock()


def score_chunk(chunk: Sequence[Named], how: Reading, by: By) -> Packed:
    """Read files, and score what can be read. Called in a worker."""
    packed = read_chunk(chunk, how)
    there = [
        (place, entry.image)
        for place, entry in enumerate(packed.unpack())
        if entry is not None and entry.image is not None
    ]
    scores = np.full(len(packed.names), np.nan)
    if there:
        places, images = zip(*there, strict=True)
        with _lock:
            scores[list(places)] = _detector(by).score(Canonical(np.stack(images)), by.rule)
    return replace(packed, scores=scores)


def _detector(by: By) -> Detector:
    if by not in _held:
        detector = Detector.load(by.run, device=by.device, threads=by.threads)
        if detector.fingerprint != by.fingerprint:
            raise BundleError(f"{by.run}: is another run than the one that asks")
        _held.clear()
        _held[by] = detector
    return _held[by]


@dataclass(frozen=True, eq=False)
class Spread:
    """Reads and scores files on a cluster, whose workers see them, and the run, under the same absolute paths.

    cluster: whose workers do it.
    how: how pictures are read.
    by: what they are scored by.
    """

    cluster: Cluster
    how: Reading
    by: By

    def read(self, files: Iterable[Path]) -> Iterator[list[Input]]:
        """Yield the inputs of all files in their order, with their scores, those of a chunk at a time.

        A long array is left to the caller, its images without a score. A file over which workers die, also when it is
        alone, has an error.
        """
        named = ((str(file.absolute()), str(file)) for file in files)
        chunks = iter(lambda: list(itertools.islice(named, CHUNK)), [])
        work = partial(score_chunk, how=self.how, by=self.by)
        for chunk, packed in self.cluster.in_order(work, chunks):
            if packed is not None:
                yield from unpack(packed, chunk, self.how)
                continue
            for (one,), alone in self.cluster.in_order(work, [[one] for one in chunk]):
                if alone is not None:
                    yield from unpack(alone, [one], self.how)
                else:
                    problem = "the workers that read it ended: out of memory, or a fault of a decoder"
                    yield [Input(one[1], None, f"{printable(one[1])}: {problem}")]
