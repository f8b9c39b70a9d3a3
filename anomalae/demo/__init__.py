"""The page on which one draws, without a server: a run's exported model in it, and what computes by it in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomalae.lazy import front_door

if TYPE_CHECKING:
    from anomalae.demo.writing import write_demo as write_demo

_HOMES = {"write_demo": "anomalae.demo.writing"}

__all__ = list(_HOMES)
__getattr__, __dir__ = front_door(__name__, _HOMES)
