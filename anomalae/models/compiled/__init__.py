"""What torch does too slowly for many small images, compiled by numba, an image at a time.

Importing this package imports numba (half a second); what it holds is compiled when it is first called, or read from
numba's cache. So import it where it is used, not above. All of it has a plain form in torch, which other devices use.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import torch


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that holds no lock; its sums keep their order, infinities and NaN stay what they are."""
    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:
        # Neither beside its file nor in the user's home can a cache be written: it is compiled each time.
        return numba.njit(**options)(function)


def suited(array: np.ndarray) -> np.ndarray:
    """Return the array as functions are compiled for it; copied only where it must be."""
    return np.require(array, requirements=("C", "A", "W"))


def share_rows(function: Callable[..., None], n: int, make_work: Callable[[], Any], *given: Any) -> None:
    """Let a function do rows 0 to n, shared among as many threads as torch has; no row hangs on how they are shared.

    function: called with the first row, the one after the last, memory to work in, and what is given.
    make_work: makes that memory, for each thread its own.
    """
    threads = min(torch.get_num_threads(), n)
    if threads <= 1:
        function(0, n, make_work(), *given)
        return
    edges = [n * part // threads for part in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        parts = itertools.pairwise(edges)
        for done in [pool.submit(function, first, last, make_work(), *given) for first, last in parts]:
            done.result()
