"""Networks. `build(settings)` is the one way to get one: its weights depend on the settings' seed alone."""

from __future__ import annotations

import torch

from anomalae import noise
from anomalae.config import Settings
from anomalae.models.autoencoder import Autoencoder
from anomalae.models.layers import initialise

__all__ = ["Autoencoder", "build"]


def build(settings: Settings) -> Autoencoder:
    """The network of these settings, freshly initialised; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        model = Autoencoder(settings.architecture, settings.hidden, settings.latent_dim)
    initialise(model, noise.generator(settings.seed, noise.WEIGHTS))
    return model
