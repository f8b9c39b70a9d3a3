"""The auxiliary deep generative model, without labels: an auxiliary variable makes the posterior more flexible."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from anomalae.models.base import LogTerms
from anomalae.models.gaussians import GaussianLatents, gaussian, kl_units
from anomalae.models.layers import SLOPE
from anomalae.models.likelihoods import LOG_2PI
from anomalae.models.vae import check_prior_below, densities
from anomalae.settings import NetworkSettings

# Units of the two networks that tie a and z to each other.
WIDTH = 256


class Latents(NamedTuple):
    """A sample of a and z of each image, and the Gaussians around it, (N, units) each.

    z_mean: of q(z | a, x).
    a_log_variance: of q(a | x).
    guess: mean of p(a | x, z).
    """

    z: Tensor
    z_mean: Tensor
    z_log_variance: Tensor
    a: Tensor
    a_log_variance: Tensor
    guess: Tensor
    guess_log_variance: Tensor


class AuxiliaryVAE(GaussianLatents):
    """An auxiliary variable a makes the posterior of a VAE more than Gaussian: q(z | x) = E_q(a | x) [q(z | a, x)].

    What the model says of x stays that of the VAE: p(x, z) = p(x | z) p(z).

    The bound needs a guess p(a | x, z) of which a led to z, and changes nothing in what the model says of x:

        log p(x) >= E_q[log p(x | z) + log p(z) + log p(a | x, z) - log q(a | x) - log q(z | a, x)]

    Maaløe, Sønderby, Sønderby and Winther, "Auxiliary deep generative models", ICML 2016. All three Gaussians read
    one trunk h(x), that of the encoder; in training all see the corrupted image. What a adds to the parameters of
    q(z | a, x), and z to those of p(a | x, z), is added to what x alone says: with both at zero this is the VAE.

    A draw has the units of z first, then those of a.

    architecture: dense or conv.
    hidden: units of each hidden layer, or channels where it is convolutional.
    latent_dim: units of z.
    auxiliary_dim: units of a.
    likelihood: name of p(x | z), of `anomalae.models.likelihoods.LIKELIHOODS`.
    beta: weight of the KL term in training, at least 0.
    samples: draws of the bank by which images are scored, at least 1.
    seed: of the bank.
    channels: maps of what is rebuilt, see `anomalae.models.views`.

    >>> network = AuxiliaryVAE("dense", (8,), 2, 3, "bernoulli", beta=1.0, samples=4, seed=0)
    >>> network.reconstruct(torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 1, 28, 28])
    """

    def __init__(
        self,
        architecture: str,
        hidden: tuple[int, ...],
        latent_dim: int,
        auxiliary_dim: int,
        likelihood: str,
        beta: float,
        samples: int,
        seed: int,
        channels: int = 1,
    ) -> None:
        shape, width = (architecture, hidden, latent_dim), latent_dim + auxiliary_dim
        super().__init__(*shape, likelihood, beta, samples, seed, channels, width=width)
        self.auxiliary_dim = auxiliary_dim
        features = self.encoder.width
        self.auxiliary = nn.Linear(features, 2 * auxiliary_dim)
        self.to_latent = _bridge(features + auxiliary_dim, 2 * latent_dim)
        self.to_auxiliary = _bridge(features + latent_dim, 2 * auxiliary_dim)

    def infer(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return what x alone says: features h(x), and parameters of z's and of a's Gaussians, (N, 2 units)."""
        features = self.encoder.features(images)
        return features, self.encoder[-1](features), self.auxiliary(features)

    def descend(self, inferred: tuple[Tensor, ...], draws: Tensor) -> Latents:
        """Draw a, then z given a, then guess a given z.

        inferred: of the images, by `infer`.
        draws: standard normal, (N, width) or (width,).
        """
        features, alone, auxiliary = inferred
        of_z, of_a = self.parts(draws)
        mean, log_variance = gaussian(auxiliary)
        a = mean + torch.exp(log_variance / 2) * of_a
        z_mean, z_log_variance = gaussian(alone + self.to_latent(torch.cat([features, a], dim=1)))
        z = z_mean + torch.exp(z_log_variance / 2) * of_z
        guess = gaussian(auxiliary + self.to_auxiliary(torch.cat([features, z], dim=1)))
        return Latents(z, z_mean, z_log_variance, a, log_variance, *guess)

    def parts(self, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Divide draws (..., width) into those of z and those of a."""
        of_z, of_a = draws.split([self.latent_dim, self.auxiliary_dim], dim=-1)
        return of_z, of_a

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z | a, x) where a is at its own mean, (N, latent_dim) each."""
        latents = self.descend(self.infer(images), torch.zeros_like(self.bank[0]))
        return latents.z_mean, latents.z_log_variance

    def encode(self, images: Tensor) -> Tensor:
        """Return means (N, latent_dim) of q(z | a, x) where a is at its own mean, from images (N, 1, 28, 28)."""
        return self.posterior(images)[0]

    def sample(self, draws: Tensor) -> Tensor:
        """Return new images (N, channels, 28, 28) from standard normal draws (N, width); those of a have no part."""
        return self.decode(self.parts(draws)[0])

    def unit_means(self, images: Tensor) -> Tensor:
        """Return posterior means of the units that `kl_units` counts, (N, width)."""
        latents = self.descend(self.infer(images), torch.zeros_like(self.bank[0]))
        return torch.cat([latents.z_mean, latents.a], dim=1)

    def loss(self, corrupted: Tensor, clean: Tensor, source: torch.Generator, warmth: float) -> Tensor:
        """Return minus the ELBO with one sample an image, all of it but the likelihood times `beta * warmth`, (N,).

        KL(q(z | a, x) || p(z)) is in closed form given a; the rest is sampled.
        """
        draws = torch.randn(len(corrupted), self.width, generator=source).to(corrupted.device)
        latents = self.descend(self.infer(corrupted), draws)
        kl = kl_units(latents.z_mean, latents.z_log_variance).sum(1)
        kl = kl + cost_of_auxiliary(latents, self.parts(draws)[1]).sum(1)
        return self.minus_bound(clean, self.logits(latents.z), kl, warmth)

    def log_terms(
        self, target: Tensor, inferred: tuple[Tensor, ...], draw: Tensor, prior_below: int = 0
    ) -> LogTerms:
        """Return log p(x | z), log p(z) + log p(a | x, z), log q(a | x) + log q(z | a, x), by one draw (width,).

        Raises ConfigError for `prior_below` other than 0: there is one layer.
        """
        check_prior_below(prior_below, 1)
        latents = self.descend(inferred, draw)
        likelihood = self.likelihood(target.flatten(1), self.logits(latents.z)).cpu().double()
        latents, draw = Latents(*(part.cpu().double() for part in latents)), draw.cpu().double()
        half = self.width / 2 * LOG_2PI
        distance = (latents.a - latents.guess).square() * torch.exp(-latents.guess_log_variance)
        exponents = latents.z.square().sum(1) + (distance + latents.guess_log_variance).sum(1)
        spread = latents.z_log_variance.sum(1) + latents.a_log_variance.sum(1)
        return LogTerms(likelihood, -exponents / 2 - half, -draw.square().sum() / 2 - spread / 2 - half)

    def drawn_logits(self, inferred: tuple[Tensor, ...], draw: Tensor) -> Tensor:
        """Return logits (N, channels * 784) of the mean that `inferred` and a draw (width,) lead to."""
        return self.logits(self.descend(inferred, draw).z)

    def kl_units(self, inferred: tuple[Tensor, ...]) -> Tensor:
        """Return E_q[log q - log p] of each unit, z's then a's, in nats, float64 (N, width): a mean over the bank.

        Summed it is KL(q(a, z | x) || p(z) p(a | x, z)), sampled throughout, so that an image's ELBO is the mean of
        its log weights, and never above its importance-weighted bound.
        """
        total = None
        for draw in self.bank:
            latents = Latents(*(part.cpu().double() for part in self.descend(inferred, draw)))
            of_z, of_a = self.parts(draw.cpu().double())
            cost = (latents.z.square() - of_z.square() - latents.z_log_variance) / 2
            units = torch.cat([cost, cost_of_auxiliary(latents, of_a)], dim=1)
            total = units if total is None else total + units
        assert total is not None
        return total / len(self.bank)


def cost_of_auxiliary(latents: Latents, draws: Tensor) -> Tensor:
    """Return log q(a | x) - log p(a | x, z) of each unit of a, which the draws (..., auxiliary_dim) led to, in nats."""
    distance = (latents.a - latents.guess).square() * torch.exp(-latents.guess_log_variance)
    return (distance + latents.guess_log_variance - draws.square() - latents.a_log_variance) / 2


def _bridge(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, WIDTH), nn.LeakyReLU(SLOPE), nn.Linear(WIDTH, outputs))


def make(settings: NetworkSettings, channels: int) -> AuxiliaryVAE:
    """Make the auxiliary deep generative model of these settings."""
    shared = densities(settings, channels)
    return AuxiliaryVAE(latent_dim=settings.latent_dim, auxiliary_dim=settings.auxiliary_dim or 1, **shared)
