"""What tests of networks with a density share."""

from __future__ import annotations

from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from anomalae.models.views import PIXELS
from anomalae.plugins import SCORES
from anomalae.scores.base import Evidence


def density_scores(model: Any, images: Tensor, rules: Collection[str] | None = None) -> dict[str, Tensor]:
    """All density scores that the network has, or those of `rules`, float64 (N,) each."""
    likelihood = "bernoulli" if type(model.likelihood).__name__ == "Bernoulli" else "smooth-direction"
    layers = len(getattr(model, "latent_dims", (0,)))
    settings: Any = SimpleNamespace(
        kind=SimpleNamespace(density=True, hidden=False), likelihood=likelihood, layers=layers, view="pixels"
    )
    seen = Evidence(model, settings, images, PIXELS)
    fitting = [s for s in SCORES if s.scale == "nats" and s.fits(settings)]
    with torch.no_grad():
        return {s.name: s.score(seen, {}) for s in fitting if rules is None or s.name in rules}
