"""Autoencoders trained against other disturbances than the package's own: kinds of network of one's own."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from anomalae.models import Autoencoder
from anomalae.network_kinds import MODELS, Kind, register_model
from anomalae.settings import NetworkSettings

Disturb = Callable[[Tensor, torch.Generator], Tensor]


def trained_against(disturb: Disturb, name: str) -> dict[str, Any]:
    """Settings of the default autoencoder, but for its noise: `disturb` makes what it is shown of the clean images.

    The name is that of its kind, which is made known by it.
    """

    class Denoiser(Autoencoder):
        def loss(self, corrupted: Tensor, clean: Tensor, source: torch.Generator, warmth: float) -> Tensor:
            return super().loss(disturb(clean, source), clean, source, warmth)

    def make(settings: NetworkSettings, channels: int) -> Denoiser:
        return Denoiser(settings.architecture, settings.hidden, settings.latent_dim, channels)

    passes = MODELS["ae"].denoising_passes
    title = "autoencoder trained against other noise"
    register_model(Kind(name, title, make, MODELS["ae"].score, MODELS["ae"].schedule, hidden=True))
    return {"model": name, "noise": 0.0, "passes": passes}
