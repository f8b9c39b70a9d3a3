"""How float32 matrix products are computed on the CPU: set around our own calls, put back after them.

`plain` is what PyTorch does unless told otherwise. `onednn` hands products to oneDNN: float32 too, other last bits, on
many processors faster. PyTorch asks for it by a setting that allows bfloat16, and a processor with units for that may
take it at its word: so it is tried before it is used (`chosen`, `available`).

The setting is the process's, not a thread's. Of our own calls those of one arithmetic share it, and a thread that needs
the other one waits for them: each computes by its own. What a thread of somebody else's multiplies meanwhile follows
the setting too. From PyTorch 2.9 on that is all, for the setting is one of oneDNN; before, it is one of CUDA as well,
so that another thread's products there may be less precise for as long as ours compute on the CPU.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

import numpy as np

from anomalae.errors import ConfigError
from anomalae.lazy import Deferred

# What only reads the name of an arithmetic, as the list of runs does, need not wait for PyTorch.
if TYPE_CHECKING:
    import torch
else:
    torch = Deferred("torch")

PLAIN, ONEDNN = "plain", "onednn"
ARITHMETICS = (PLAIN, ONEDNN)
# Of a product's largest number; bfloat16 would be off by a thousandth.
LARGEST_ERROR = 1e-5
# Rows, terms of a sum, columns: of products in scoring few and many images, and in a training forth and back.
_SHAPES = ((4, 784, 512), (32, 512, 256), (256, 784, 1024), (256, 1024, 32), (1024, 256, 784))

P = ParamSpec("P")
R = TypeVar("R")


class Computing(Protocol):
    """Whatever computes by an arithmetic of its own, on a device."""

    arithmetic: str

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...


C = TypeVar("C", bound=Computing)


@contextmanager
def computing(arithmetic: str, device: torch.device | None = None) -> Iterator[None]:
    """Let float32 products of this block be computed by an arithmetic; the setting of before is put back after it.

    arithmetic: plain or onednn.
    device: where the block computes; on another than the CPU nothing is set. None is the CPU.

    Blocks may lie in each other. One in another thread that asks for the other arithmetic begins when this one is done.
    A detector that is fitted inside keeps this arithmetic.

    Raises ConfigError for another name.

    >>> with computing("onednn"):
    ...     product = torch.ones(2, 3) @ torch.ones(3, 2)
    """
    check_arithmetic(arithmetic)
    if device is not None and device.type != "cpu":
        yield
        return
    _TURNS.enter(arithmetic)
    try:
        yield
    finally:
        _TURNS.leave()


def in_own_arithmetic(method: Callable[Concatenate[C, P], R]) -> Callable[Concatenate[C, P], R]:
    """Let a method compute by the `arithmetic` and on the `device` that its object has."""

    @functools.wraps(method)
    def computed(self: C, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with computing(self.arithmetic, self.device):
            return method(self, *args, **kwargs)

    return computed


def check_arithmetic(arithmetic: Any) -> str:
    """Return the name of an arithmetic; ConfigError for any other value."""
    if arithmetic not in ARITHMETICS:
        raise ConfigError(f"arithmetic {arithmetic!r}: must be one of {', '.join(ARITHMETICS)}")
    return str(arithmetic)


def chosen(device: torch.device) -> str:
    """Return the arithmetic of a new training on a device.

    On the CPU it is that of the block (see `computing`) in which it is asked, and else onednn where that is float32
    here; on other devices plain.
    """
    if device.type != "cpu":
        return PLAIN
    return available(_TURNS.own[-1] if _TURNS.own else ONEDNN)


def is_plain() -> bool:
    """Tell whether this is called in a block of plain arithmetic: then nothing is compiled, as nothing was once."""
    return bool(_TURNS.own) and _TURNS.own[-1] == PLAIN


def available(arithmetic: str) -> str:
    """Return an arithmetic if this machine has it; plain stands for one that it lacks."""
    return ONEDNN if arithmetic == ONEDNN and onednn_is_float32() else PLAIN


@functools.cache
def onednn_is_float32() -> bool:
    """Tell whether oneDNN multiplies here, and in float32: found out once a process, by products that are known."""
    if not torch.backends.mkldnn.is_available():
        return False
    draws = np.random.default_rng(0)
    differs = False
    for rows, terms, columns in _SHAPES:
        left, right = (
            torch.from_numpy(draws.random(shape, dtype=np.float32) - 0.25)
            for shape in ((rows, terms), (columns, terms))
        )
        exact = left.double() @ right.double().T
        products = {}
        for arithmetic in ARITHMETICS:
            with computing(arithmetic):
                products[arithmetic] = left @ right.T
        if _error(products[ONEDNN], exact) > LARGEST_ERROR:
            return False
        differs |= not torch.equal(*products.values())
    return differs


def _error(product: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the largest error of a product, as a share of its largest number."""
    return float((product - exact).abs().max() / exact.abs().max())


# --- PyTorch's setting ------------------------------------------------------------------------------------------


@functools.cache
def _of_onednn_alone() -> bool:
    """PyTorch has a setting of oneDNN's own since 2.9. Before, one for all: CUDA's too."""
    return hasattr(torch.backends.mkldnn, "matmul")


def _values(arithmetic: str) -> tuple[str, ...]:
    """Return the values of the setting that stand for an arithmetic; the first is the one that is set."""
    if _of_onednn_alone():
        return {PLAIN: ("ieee", "none"), ONEDNN: ("bf16",)}[arithmetic]
    return {PLAIN: ("highest",), ONEDNN: ("medium",)}[arithmetic]


def _setting() -> str:
    if not _of_onednn_alone():
        return torch.get_float32_matmul_precision()
    mkldnn: Any = torch.backends.mkldnn
    setting, inherited = mkldnn.matmul.fp32_precision, mkldnn.fp32_precision
    # What it has from a more general setting would otherwise no longer follow that one.
    return "none" if setting == inherited else str(setting)


def _set(value: str) -> None:
    if _of_onednn_alone():
        mkldnn: Any = torch.backends.mkldnn
        mkldnn.matmul.fp32_precision = value
    else:
        torch.set_float32_matmul_precision(value)


class _Turns:
    """Who computes now: any number of threads, all by one arithmetic; the others wait, first come first served.

    A thread that enters a block of the other arithmetic hands back its turn until that block is done, so that no two
    wait for each other.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._threads, self._arithmetic = 0, PLAIN
        # The setting that is put back when the last of them is done; None where it was left alone.
        self._before: str | None = None
        self._mine = threading.local()

    @property
    def own(self) -> list[str]:
        """The arithmetics of the blocks that this thread is in, the outermost first."""
        if not hasattr(self._mine, "blocks"):
            self._mine.blocks, self._mine.has_turn = [], False
        blocks: list[str] = self._mine.blocks
        return blocks

    def enter(self, arithmetic: str) -> None:
        own = self.own
        if not own or own[-1] != arithmetic:
            self._hand_back()
            self._take(arithmetic)
        own.append(arithmetic)

    def leave(self) -> None:
        own = self.own
        done = own.pop()
        if not own or own[-1] != done:
            self._hand_back()
            if own:
                self._take(own[-1])

    def _take(self, arithmetic: str) -> None:
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(
                    lambda: (
                        self._waiting[0] is ticket and (not self._threads or self._arithmetic == arithmetic)
                    )
                )
                if not self._threads:
                    setting = _setting()
                    self._before = None if setting in _values(arithmetic) else setting
                    if self._before is not None:
                        _set(_values(arithmetic)[0])
                    self._arithmetic = arithmetic
                self._threads += 1
                self._mine.has_turn = True
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _hand_back(self) -> None:
        if not self._mine.has_turn:
            return
        with self._changed:
            self._mine.has_turn = False
            self._threads -= 1
            if not self._threads and self._before is not None:
                _set(self._before)
            self._changed.notify_all()


_TURNS = _Turns()
