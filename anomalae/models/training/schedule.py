"""The one-cycle schedule of the learning rate, and the warm-up of a KL term."""

from __future__ import annotations

import math

WARM_UP = 0.3  # share of the steps over which the weight of a KL term rises to its own


def warmth(step: int, steps: int, epochs: int) -> float:
    """The share of its weight that a KL term has at a step, counted from 0 over all epochs of so many steps each.

    It rises from 0 to 1 over WARM_UP of the training.
    """
    return min(1.0, step / (WARM_UP * steps * epochs))


def one_cycle(step: int, total: int, peak: float) -> tuple[float, float]:
    """`(learning rate, AdamW's first beta)` of step 0 <= step < total, a function of the step alone.

    Cosine from peak/25 up to the peak over the first 30% of the steps, then down to peak/250,000; beta the other
    way, 0.95 to 0.85 and back. Smith and Topin, "Super-convergence", 2017; constants as in PyTorch's OneCycleLR.
    """
    top = max(0.3 * total - 1, 1e-9)
    if step <= top:
        way = _cosine(step / top)
        return _between(peak / 25, peak, way), _between(0.95, 0.85, way)
    way = _cosine((step - top) / max(total - 1 - top, 1e-9))
    return _between(peak, peak / 25e4, way), _between(0.85, 0.95, way)


def _cosine(way: float) -> float:
    return (1 - math.cos(math.pi * min(way, 1.0))) / 2


def _between(start: float, end: float, way: float) -> float:
    return start + (end - start) * way
