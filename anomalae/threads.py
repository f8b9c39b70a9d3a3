"""How many threads compute: PyTorch's, OpenMP's, those of BLAS, numba's; here, and in the processes we start."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from threadpoolctl import OpenBLASController, ThreadpoolController

from anomalae.errors import ConfigError

# Those that are loaded later, or in other processes, are told so.
_VARIABLES = tuple(
    f"{library}_NUM_THREADS" for library in ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB_MAXIMUM")
)
# What threads do that wait for work. OpenMP reads it when it is loaded, with PyTorch; it spins unless told otherwise.
_WAITING = "OMP_WAIT_POLICY"

P = ParamSpec("P")
R = TypeVar("R")


class Computing(Protocol):
    """Whatever computes by a number of threads of its own."""

    @property
    def threads_used(self) -> int | None:
        """At least 1; None leaves them as they are."""
        ...


C = TypeVar("C", bound=Computing)


def check_threads(threads: Any) -> int | None:
    """Return a number of threads; None stands for as many as there are set.

    threads: a whole number, at least 1. Raises ConfigError otherwise.
    """
    if threads is None:
        return None
    if isinstance(threads, bool) or not isinstance(threads, Integral) or threads < 1:
        raise ConfigError(f"threads {threads!r}: must be a whole number, at least 1")
    return int(threads)


def variables(threads: int | None) -> dict[str, str]:
    """Return environment variables for a process that computes by so many threads, which sleep while they wait.

    threads: at least 1; None leaves the number to the libraries.

    >>> variables(2)["OMP_NUM_THREADS"]
    '2'
    """
    number = {} if threads is None else dict.fromkeys(_VARIABLES, str(threads))
    return {_WAITING: os.environ.get(_WAITING, "PASSIVE"), **number}


@contextmanager
def of_process(threads: int | None) -> Iterator[None]:
    """Let this process and its children compute by so many threads in this block, which sleep while they wait.

    threads: at least 1; None leaves the number to the libraries.

    It governs libraries loaded before and in the block. That threads sleep while they wait holds where PyTorch is not
    loaded yet. Raises ConfigError for a number below 1.
    """
    check_threads(threads)
    told = {name: value for name, value in variables(threads).items() if not _is_fixed(name)}
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        with limited(threads):
            yield
    finally:
        for name, value in before.items():
            if _is_fixed(name):
                continue
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _is_fixed(variable: str) -> bool:
    """Tell whether it may no longer change: numba refuses another number than it was loaded with."""
    return variable.startswith("NUMBA") and "numba" in sys.modules


@contextmanager
def limited(threads: int | None) -> Iterator[None]:
    """Let what is loaded compute by so many threads in this block: PyTorch, OpenMP, BLAS and numba, called from here.

    threads: at least 1; None leaves all as it is.

    The numbers of before are put back after it. PyTorch's, OpenMP's and numba's are the calling thread's own. That of
    BLAS may be the process's: of blocks in several threads the one decides that was entered last.

    Raises ConfigError for a number below 1.

    >>> import torch
    >>> with limited(1):
    ...     torch.get_num_threads()
    1
    """
    number = check_threads(threads)
    if number is None:
        yield
        return
    with contextlib.ExitStack() as stack:
        if "torch" in sys.modules:
            import torch

            # Put back last: whoever else sets OpenMP's number sets PyTorch's.
            stack.callback(torch.set_num_threads, torch.get_num_threads())
        # Its threads are not started for this: that would set OpenMP's number.
        if getattr(sys.modules.get("numba.np.ufunc.parallel"), "_is_initialized", False):
            import numba

            stack.callback(numba.set_num_threads, numba.get_num_threads())
            most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
            numba.set_num_threads(min(number, most))
        libraries = _controller(len(sys.modules))
        stack.enter_context(libraries.select(user_api="openmp").limit(limits=number))
        stack.enter_context(_BLAS.limited(libraries.select(user_api="blas").lib_controllers, number))
        if "torch" in sys.modules:
            torch.set_num_threads(number)
        yield


def in_own_threads(method: Callable[Concatenate[C, P], R]) -> Callable[Concatenate[C, P], R]:
    """Let a method compute by the number of threads that its object uses."""

    @functools.wraps(method)
    def computed(self: C, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with limited(self.threads_used):
            return method(self, *args, **kwargs)

    return computed


@functools.lru_cache(1)
def _controller(modules: int) -> ThreadpoolController:
    """The libraries that are there, looked for again when more modules are loaded: that takes two milliseconds."""
    return ThreadpoolController()


class _Blas:
    """The threads of BLAS, which are one number for a process: blocks of several threads begin and end in any order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: list[tuple[object, int]] = []
        self._before: dict[str, int] = {}

    @contextmanager
    def limited(self, libraries: list[Any], threads: int) -> Iterator[None]:
        """Let these libraries use so many threads; what they used before the first of all blocks follows the last."""
        block = object()
        with self._lock:
            self._before |= {
                library.filepath: library.num_threads
                for library in libraries
                if library.filepath not in self._before
            }
            self._asked.append((block, threads))
            _set(dict.fromkeys(libraries, threads))
        try:
            yield
        finally:
            with self._lock:
                self._asked = [(other, number) for other, number in self._asked if other is not block]
                latest = self._asked[-1][1] if self._asked else None
                _set({one: self._before[one.filepath] if latest is None else latest for one in libraries})
                if latest is None:
                    self._before = {}


def _set(threads: dict[Any, int]) -> None:
    for library, number in threads.items():
        library.set_num_threads(number)
    # It remembers who has set it last, and would not let another thread put it back.
    forget = getattr(OpenBLASController, "clear_controlling_thread", None)
    if forget is not None:
        forget(force=True)


_BLAS = _Blas()
