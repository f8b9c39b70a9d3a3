"""Networks. `build(settings)` is the one way to get one: its weights depend on the settings' seed alone.

A network has `loss(corrupted, clean, source, warmth)`, `reconstruct(images)` and `encode(images)`; one with an
explicit density also what `anomalae.scores.density` asks of it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from anomalae import seeds
from anomalae.models.autoencoder import Autoencoder
from anomalae.models.auxiliary import AuxiliaryVAE
from anomalae.models.ladder import LadderVAE, layer_widths
from anomalae.models.layers import initialise
from anomalae.models.vae import VariationalAutoencoder
from anomalae.models.views import VIEWS
from anomalae.settings import Settings

Model = Autoencoder | VariationalAutoencoder

__all__ = ["Autoencoder", "AuxiliaryVAE", "LadderVAE", "Model", "VariationalAutoencoder", "build", "networks"]


def networks(settings: Settings) -> list[Settings]:
    """The settings of each network of an ensemble: one view and a seed of its own each, view by view."""
    views = [view for view in settings.views for _ in range(settings.members)]
    return [
        dataclasses.replace(settings, views=(view,), members=1, seed=seeds.member_seed(settings.seed, index))
        for index, view in enumerate(views)
    ]


def build(settings: Settings) -> Model:
    """The network of these settings (of their first view), freshly initialised; global random state is left alone."""
    shape = (settings.architecture, settings.hidden, settings.latent_dim)
    channels = VIEWS[settings.views[0]].channels
    model: Model
    with torch.random.fork_rng(devices=[]):
        if settings.likelihood is None or settings.beta is None or settings.samples is None:
            model = Autoencoder(*shape, channels)
        else:
            density: Any = (settings.likelihood, settings.beta, settings.samples, settings.seed, channels)
            if settings.layers is not None:
                model = LadderVAE(*shape[:2], layer_widths(settings.latent_dim, settings.layers), *density)
            elif settings.auxiliary_dim is not None:
                model = AuxiliaryVAE(*shape, settings.auxiliary_dim, *density)
            else:
                model = VariationalAutoencoder(*shape, *density)
    initialise(model, seeds.generator(settings.seed, seeds.WEIGHTS))
    return model
