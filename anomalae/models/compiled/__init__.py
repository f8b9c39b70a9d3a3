"""What torch does too slowly for many small images, compiled by numba, an image at a time.

Importing this package imports numba (half a second); what it holds is compiled when it is first called, or read from
numba's cache. So import it where it is used, not above. All of it has a plain form in torch, which other devices use.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from anomalae.compiling import compile_function


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function, products and sums joined where the processor can."""
    return compile_function(function, {"contract"})


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
