"""Networks. `build(settings)` is the one way to get one: its weights depend on the settings' seed alone.

A network has `loss(corrupted, clean, source, warmth)`, `reconstruct(images)` and `encode(images)`; one with an
explicit density also what `anomalae.density` asks of it.
"""

from __future__ import annotations

import torch

from anomalae import noise
from anomalae.config import Settings
from anomalae.models.autoencoder import Autoencoder
from anomalae.models.layers import initialise
from anomalae.models.vae import VariationalAutoencoder

Model = Autoencoder | VariationalAutoencoder

__all__ = ["Autoencoder", "Model", "VariationalAutoencoder", "build"]


def build(settings: Settings) -> Model:
    """The network of these settings, freshly initialised; the global random state is left as it was."""
    shape = (settings.architecture, settings.hidden, settings.latent_dim)
    model: Model
    with torch.random.fork_rng(devices=[]):
        if settings.likelihood is None or settings.beta is None or settings.samples is None:
            model = Autoencoder(*shape)
        else:
            model = VariationalAutoencoder(
                *shape, settings.likelihood, settings.beta, settings.samples, settings.seed
            )
    initialise(model, noise.generator(settings.seed, noise.WEIGHTS))
    return model
