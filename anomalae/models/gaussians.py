"""Diagonal Gaussians and what all models with Gaussian latents share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomalae import seeds
from anomalae.models.layers import decoder, encoder
from anomalae.models.likelihoods import LIKELIHOODS

LOG_VARIANCE = (-12.0, 8.0)  # limits of a Gaussian's log variance, far outside what training finds


class GaussianLatents(nn.Module):
    """An encoder that gives a Gaussian's mean and log variance, a decoder, a likelihood, and the bank of draws.

    `latent_dim`: units of the code that is decoded. `width`: units of all latents, what a draw is made of.
    """

    def __init__(
        self,
        architecture: str,
        hidden: tuple[int, ...],
        latent_dim: int,
        likelihood: str,
        beta: float,
        samples: int,
        seed: int,
        channels: int = 1,
        *,
        width: int | None = None,
    ) -> None:
        super().__init__()
        self.latent_dim, self.beta = latent_dim, beta
        self.encoder = encoder(architecture, hidden, 2 * latent_dim)
        self.decoder = decoder(architecture, hidden, latent_dim, channels)
        self.likelihood = LIKELIHOODS[likelihood](channels)
        self.bank: Tensor
        self.register_buffer("bank", scoring_draws(seed, samples, width or latent_dim))

    @property
    def width(self) -> int:
        """Number of units in all layers of latents: what a draw from the prior, or of the bank, is made of."""
        return self.bank.shape[1]

    def encode(self, images: Tensor) -> Tensor:
        """Images (N, 1, 28, 28) -> codes (N, latent_dim), means of the posterior."""
        raise NotImplementedError

    def logits(self, codes: Tensor) -> Tensor:
        """Codes (N, latent_dim) -> logits of the decoded mean, flat (N, channels * 784)."""
        return self.decoder(codes).flatten(1)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (N, latent_dim) -> decoded means (N, channels, 28, 28), in (0, 1)."""
        return torch.sigmoid(self.decoder(codes))

    def reconstruct(self, images: Tensor) -> Tensor:
        """Images (N, 1, 28, 28) -> decoded means at the posterior means (N, channels, 28, 28), in (0, 1)."""
        return self.decode(self.encode(images))

    def hidden(self, images: Tensor) -> list[Tensor]:
        """The pixels, the output of every nonlinearity of the encoder, and the mean that it gives given x alone.

        Flat, (N, ...) each.
        """
        activations, outputs = self.encoder.activations(images)
        return [images.flatten(1), *activations, outputs[:, : self.latent_dim]]

    def minus_bound(self, clean: Tensor, logits: Tensor, kl: Tensor, warmth: float) -> Tensor:
        """What a loss is made of, (N,).

        clean: the images that the likelihood is of, (N, channels, 28, 28).
        logits: of a sample's mean, (N, channels * 784).
        kl: its KL term, (N,).
        warmth: weighs that term, with beta; in [0, 1].

        The likelihood's `GUIDE`, where it has one, adds squared pixel error: a training aid, no part of the ELBO.
        """
        x = clean.flatten(1)
        loss = self.beta * warmth * kl - self.likelihood(x, logits)
        guide = getattr(self.likelihood, "GUIDE", 0.0)
        if guide:
            loss = loss + guide * F.mse_loss(torch.sigmoid(logits), x, reduction="none").sum(1)
        return loss


def scoring_draws(seed: int, samples: int, width: int) -> Tensor:
    """The bank of a model with so many latent units: standard normal draws, float32 (samples, width)."""
    draws = np.random.default_rng([seed, seeds.SCORING]).standard_normal((samples, width))
    return torch.from_numpy(draws.astype(np.float32))


def gaussian(parameters: Tensor) -> tuple[Tensor, Tensor]:
    """What a network says of a Gaussian, (N, 2 units) -> its mean and its log variance, (N, units) each."""
    mean, log_variance = parameters.chunk(2, dim=1)
    return mean, log_variance.clamp(*LOG_VARIANCE)


def kl_units(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) of each unit, in nats, the shape of the arguments."""
    return (mean.square() + log_variance.exp() - 1 - log_variance) / 2


def kl_to_standard(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, diag exp(log_variance)) || N(0, I)) in nats: (N, latent_dim) -> (N,)."""
    return kl_units(mean, log_variance).sum(1)
