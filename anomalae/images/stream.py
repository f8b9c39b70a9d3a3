"""Files read in worker processes, a chunk after another and in their order, in bounded memory."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from anomalae.images.check import SIDE
from anomalae.images.inputs import Input, Reading, read_file
from anomalae.text import printable

# Files that a process is given at a time, chunks that wait for each, and inputs that are handed on at a time.
CHUNK, WAITING, GROUP = 64, 3, 1024
# Inputs of one file that a process sends.
MOST = 512
# Processes are started when reading here has taken so many seconds and there is more.
PATIENCE = 0.5

# A file, and what stands for it in the names of its inputs.
Named = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Packed:
    """Inputs as processes send them: images in one array, and the rest only where there is more to tell.

    names: of the inputs, in their order.
    images: uint8 (N, 28, 28), one for each name; zeros where there is none.
    special: inputs that are more than a name and an image, by their places; None where a file is left to the receiver.
    scores: float64 (N,) of the images, where they were scored, NaN where there is no image; None where they were not.
    """

    names: list[str]
    images: np.ndarray
    special: dict[int, Input | None]
    scores: np.ndarray | None = None

    @classmethod
    def of(cls, entries: Sequence[Input | str]) -> Packed:
        """Return inputs packed; a text is the name of a file that is left to the receiver."""
        names, special = [], dict[int, Input | None]()
        images = np.zeros((len(entries), SIDE, SIDE), np.uint8)
        for place, entry in enumerate(entries):
            if isinstance(entry, str):
                names.append(entry)
                special[place] = None
                continue
            names.append(entry.name)
            if entry.image is None or entry.blank or entry.several or entry.box is not None:
                special[place] = entry
            else:
                images[place] = entry.image
        return cls(names, images, special)

    def unpack(self) -> Iterator[Input | None]:
        """Yield the inputs, None for a file that was left."""
        for place, (name, image) in enumerate(zip(self.names, self.images, strict=True)):
            entry = self.special[place] if place in self.special else Input(name, image)
            if self.scores is not None and entry is not None and entry.image is not None:
                entry = replace(entry, score=float(self.scores[place]))
            yield entry


def read_chunk(files: Sequence[Named], how: Reading) -> Packed:
    """Read files; one that holds more than MOST inputs, as an array may, is left. Called in any process."""
    entries: list[Input | str] = []
    for file, name in files:
        some = list(itertools.islice(read_file(Path(file), name, how), MOST + 1))
        entries += [file] if len(some) > MOST else some
    return Packed.of(entries)


def groups(chunk: Sequence[Named], how: Reading) -> Iterator[list[Input]]:
    """Read files in this process, an array of any length too."""
    entries = (entry for file, name in chunk for entry in read_file(Path(file), name, how))
    while group := list(itertools.islice(entries, GROUP)):
        yield group


def unpack(packed: Packed, chunk: Sequence[Named], how: Reading) -> Iterator[list[Input]]:
    """Return the inputs of a chunk that was read elsewhere; files that were left are read now."""
    by_file, group = dict(chunk), list[Input]()
    for entry, file in zip(packed.unpack(), packed.names, strict=True):
        if entry is not None:
            group.append(entry)
            continue
        if group:
            yield group
        group = []
        yield from groups([(file, by_file[file])], how)
    if group:
        yield group


@dataclass(eq=False)
class Stream:
    """Reads files, in processes where that pays.

    how: how pictures are read.
    jobs: number of processes; 1 reads in this one.
    """

    how: Reading
    jobs: int = 1
    _own: ProcessPoolExecutor | None = field(default=None, init=False)

    def read(self, files: Iterable[Path]) -> Iterator[list[Input]]:
        """Yield the inputs of all files in their order, up to GROUP or those of a chunk at a time."""
        names = self.how.names
        named = ((os.fspath(file), str(names.get(file, file) if names else file)) for file in files)
        try:
            yield from self._here(named)
            if self.jobs > 1:
                yield from self._elsewhere(named)
        finally:
            self._close()

    def _here(self, named: Iterator[Named]) -> Iterator[list[Input]]:
        """Read in this process; with more to be had, no longer than PATIENCE."""
        spent = 0.0
        while self.jobs == 1 or spent < PATIENCE:
            chunk = list(itertools.islice(named, CHUNK))
            if not chunk:
                return
            begun = time.perf_counter()
            for group in groups(chunk, self.how):
                spent += time.perf_counter() - begun
                yield group
                begun = time.perf_counter()

    def _elsewhere(self, named: Iterator[Named]) -> Iterator[list[Input]]:
        """Hand out chunks, so many that no process waits, and take their results in order."""
        ahead = WAITING * self.jobs
        waiting: deque[tuple[list[Named], Future[Packed]]] = deque()
        while True:
            while len(waiting) < ahead and (chunk := list(itertools.islice(named, CHUNK))):
                waiting.append((chunk, self._submit(chunk)))
            if not waiting:
                return
            chunk, future = waiting.popleft()
            try:
                packed = future.result()
            except BrokenProcessPool:
                # Whose fault it was nobody knows: these files are read one by one, and what waits is handed out anew.
                self._close()
                left = [other for other, _ in waiting]
                waiting.clear()
                for one in chunk:
                    yield from self._alone(one)
                waiting.extend((other, self._submit(other)) for other in left)
            else:
                yield from unpack(packed, chunk, self.how)

    def _alone(self, one: Named) -> Iterator[list[Input]]:
        """Read one file in a process; one that ends its process has an error."""
        try:
            packed = self._submit([one]).result()
        except BrokenProcessPool:
            self._close()
            problem = "the process that read it ended: out of memory, or a fault of a decoder"
            yield [Input(one[1], None, f"{printable(one[1])}: {problem}")]
        else:
            yield from unpack(packed, [one], self.how)

    def _submit(self, chunk: list[Named]) -> Future[Packed]:
        return self._processes().submit(read_chunk, chunk, self.how)

    def _processes(self) -> ProcessPoolExecutor:
        """Return this stream's processes, and start them if there are none."""
        if self._own is None:
            methods = multiprocessing.get_all_start_methods()
            # Forked from a process that has loaded what reads pictures, and nothing else.
            context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
            if "forkserver" in methods:
                context.set_forkserver_preload([__name__])
            self._own = ProcessPoolExecutor(self.jobs, context, _begin)
        return self._own

    def _close(self) -> None:
        """End the processes, whatever they do."""
        if self._own is None:
            return
        processes = list((self._own._processes or {}).values())
        self._own.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            with contextlib.suppress(OSError, ValueError):
                process.terminate()
        self._own = None


def _begin() -> None:
    """Begin a process: one thread, no word when it is interrupted, and no longer a life than the one that asked."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threadpool_limits(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


__all__ = ["Packed", "Stream", "groups", "read_chunk", "unpack"]
