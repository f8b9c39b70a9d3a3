"""The variational autoencoder: an explicit density, trained and scored by the ELBO."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomalae import seeds
from anomalae.models.layers import decoder, encoder
from anomalae.models.likelihoods import LIKELIHOODS, LOG_2PI

LOG_VARIANCE = (-12.0, 8.0)  # limits of a Gaussian's log variance, far outside what training finds


class LogTerms(NamedTuple):
    """Of one sample of z an image, in nats, float64 (N,) each: log p(x | z), log p(z) and log q(z | x)."""

    likelihood: Tensor
    prior: Tensor
    posterior: Tensor


class VariationalAutoencoder(nn.Module):
    """z ~ N(0, I), x | z ~ a likelihood around sigmoid(d(z)), q(z | x) = N(mu(x), diag exp(v(x))).

    ELBO(x) = E_q[log p(x | z)] - KL(q(z | x) || p(z)) <= log p(x): Kingma and Welling, "Auto-encoding variational
    Bayes", 2014; Rezende, Mohamed and Wierstra 2014. Trained on the denoising criterion of Im et al., "Denoising
    criterion for variational auto-encoding framework", AAAI 2017: q sees the corrupted image, the likelihood is the
    clean one's. Scoring encodes the image as it is.

    `bank` (samples, latent_dim) holds the standard normal draws by which every image is scored.
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
    ) -> None:
        super().__init__()
        self.latent_dim, self.beta = latent_dim, beta
        self.encoder = encoder(architecture, hidden, 2 * latent_dim)
        self.decoder = decoder(architecture, hidden, latent_dim, channels)
        self.likelihood = LIKELIHOODS[likelihood](channels)
        self.bank: Tensor
        self.register_buffer("bank", scoring_draws(seed, samples, latent_dim))

    @property
    def width(self) -> int:
        """Number of units in all layers of latents: what a draw from the prior, or of the bank, is made of."""
        return self.bank.shape[1]

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, 1, 28, 28) -> mean and log variance of q(z | x), (N, latent_dim) each."""
        return gaussian(self.encoder(images))

    def logits(self, codes: Tensor) -> Tensor:
        """Codes (N, latent_dim) -> logits of the decoded mean, flat (N, channels * 784)."""
        return self.decoder(codes).flatten(1)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (N, latent_dim) -> decoded means (N, channels, 28, 28), in (0, 1)."""
        return torch.sigmoid(self.decoder(codes))

    def sample(self, draws: Tensor) -> Tensor:
        """Standard normal draws (N, width) -> new images: the decoded means they lead to, (N, 1, 28, 28)."""
        return self.decode(draws)

    def encode(self, images: Tensor) -> Tensor:
        """Images (N, 1, 28, 28) -> posterior means (N, latent_dim)."""
        return self.posterior(images)[0]

    def reconstruct(self, images: Tensor) -> Tensor:
        """Images (N, 1, 28, 28) -> decoded means at the posterior means (N, channels, 28, 28), in (0, 1)."""
        return self.decode(self.encode(images))

    def loss(self, corrupted: Tensor, clean: Tensor, source: torch.Generator, warmth: float) -> Tensor:
        """Minus the ELBO with one sample an image and the KL term times `beta * warmth`, (N,).

        `warmth` rises from 0 to 1 (Sønderby et al. 2016). The likelihood's `GUIDE`, where it has one, adds
        squared pixel error: a training aid, no part of the ELBO.
        """
        mean, log_variance = self.posterior(corrupted)
        draws = torch.randn(mean.shape, generator=source).to(mean.device)
        logits = self.logits(mean + torch.exp(log_variance / 2) * draws)
        return self.minus_bound(clean, logits, kl_to_standard(mean, log_variance), warmth)

    def minus_bound(self, clean: Tensor, logits: Tensor, kl: Tensor, warmth: float) -> Tensor:
        """What `loss` is made of: the images, logits of a sample's mean (N, 784) and its KL term (N,) -> (N,)."""
        x = clean.flatten(1)
        loss = self.beta * warmth * kl - self.likelihood(x, logits)
        guide = getattr(self.likelihood, "GUIDE", 0.0)
        if guide:
            loss = loss + guide * F.mse_loss(torch.sigmoid(logits), x, reduction="none").sum(1)
        return loss

    def infer(self, images: Tensor) -> tuple[Tensor, ...]:
        """All that the posterior needs of the images (N, 1, 28, 28): found once, then used for every draw."""
        return self.posterior(images)

    def log_terms(self, images: Tensor, draw: Tensor, inferred: tuple[Tensor, ...] | None = None) -> LogTerms:
        """The three log-densities at `z = mean + deviation * draw`, one draw (latent_dim,) for all images.

        `inferred`: what `infer` gave, if it was asked before; `images` are then only what the likelihood is of, and
        may be a view of those that were encoded. So too below.
        """
        mean, log_variance = inferred or self.infer(images)
        codes = mean + torch.exp(log_variance / 2) * draw
        likelihood = self.likelihood(images.flatten(1), self.logits(codes)).cpu().double()
        codes, log_variance, draw = (part.cpu().double() for part in (codes, log_variance, draw))
        half = self.latent_dim / 2 * LOG_2PI
        prior = -codes.square().sum(1) / 2 - half
        posterior = -draw.square().sum() / 2 - log_variance.sum(1) / 2 - half
        return LogTerms(likelihood, prior, posterior)

    def kl(self, images: Tensor, inferred: tuple[Tensor, ...] | None = None) -> Tensor:
        """KL(q(z | x) || p(z)) a latent unit, in nats, float64 (N, latent_dim)."""
        mean, log_variance = (part.cpu().double() for part in inferred or self.infer(images))
        return kl_units(mean, log_variance)

    def unit_means(self, images: Tensor) -> Tensor:
        """Posterior means of the units that `kl` counts, (N, latent_dim)."""
        return self.encode(images)


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
