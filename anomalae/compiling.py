"""Functions compiled by numba, for loops over pixels that NumPy, SciPy and PyTorch do too slowly.

Importing this module imports numba (a third of a second); what is compiled with it is compiled when it is first called,
or read from numba's cache. So import what uses it where it is used, not above.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numba
import numpy as np


def compile_function(function: Callable[..., Any], fastmath: Collection[str] = ()) -> Callable[..., Any]:
    """Compile a function that holds no lock; its sums keep their order, infinities and NaN stay what they are.

    fastmath: what else than the order of the operations may change, by LLVM's names: `contract` joins a product and a
        sum, so that it is rounded once.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": set(fastmath) or False, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:
        # Neither beside its file nor in the user's home can a cache be written: it is compiled each time.
        return numba.njit(**options)(function)


def suited(array: np.ndarray) -> np.ndarray:
    """Return the array as functions are compiled for it; copied only where it must be."""
    # Asked for first, as NumPy's own way takes ten times as long where nothing is to be done.
    return array if array.flags.carray else np.require(array, requirements=("C", "A", "W"))
