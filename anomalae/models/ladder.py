"""The ladder variational autoencoder: a hierarchy of latents, inferred from the top down."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from anomalae.models.base import LogTerms
from anomalae.models.gaussians import GaussianLatents, gaussian, kl_units
from anomalae.models.layers import SLOPE
from anomalae.models.likelihoods import LOG_2PI
from anomalae.models.vae import check_prior_below, densities
from anomalae.settings import NetworkSettings

# Units of the networks between two layers of latents, for each unit of the upper one.
WIDTH = 8


class Layer(NamedTuple):
    """One layer of latents on the way down, (N, units) each (what does not depend on the image: (units,)).

    mean: of the Gaussian they were drawn from.
    prior_mean: of p(z | the layer above).
    """

    codes: Tensor
    mean: Tensor
    log_variance: Tensor
    prior_mean: Tensor
    prior_log_variance: Tensor


class LadderVAE(GaussianLatents):
    """A ladder is a VAE with a hierarchy of latents: p(x, z) = p(x | z_1) p(z_1 | z_2) ... p(z_L).

    Its posterior goes the same way down: q(z | x) = q(z_L | x) q(z_{L-1} | z_L, x) ... q(z_1 | z_2, x).

    A deterministic pass upwards gives each layer a Gaussian N(m_l(x), v_l(x)); the pass downwards multiplies it by
    the prior that the layer above gives: q(z_l | z_{l+1}, x) has the two precisions added, and the mean weighted by
    them. Sønderby, Raiko, Maaløe, Sønderby and Winther, "Ladder variational autoencoders", NeurIPS 2016. Without
    their batch normalisation: its statistics would be those of the noisy images of training, not of the clean ones
    that are scored, and an image's loss would depend on its neighbours. Two layers are both in use without it.

    With one layer this is the plain VAE: the same weights by name, the same draws and bounds.

    architecture: dense or conv.
    hidden: units of each hidden layer, or channels where it is convolutional.
    latent_dims: units a layer, z_1 (next to the image) first; `latent_dim` is the first of them, and codes are those
        of z_1.
    likelihood: name of p(x | z), of `anomalae.models.likelihoods.LIKELIHOODS`.
    beta: weight of the KL term in training, at least 0.
    samples: draws of the bank by which images are scored, at least 1.
    seed: of the bank.
    channels: maps of what is rebuilt, see `anomalae.models.views`.

    >>> network = LadderVAE("dense", (8,), (4, 2), "bernoulli", beta=1.0, samples=4, seed=0)
    >>> network.reconstruct(torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 1, 28, 28])
    """

    def __init__(
        self,
        architecture: str,
        hidden: tuple[int, ...],
        latent_dims: tuple[int, ...],
        likelihood: str,
        beta: float,
        samples: int,
        seed: int,
        channels: int = 1,
    ) -> None:
        shape = (architecture, hidden, latent_dims[0])
        super().__init__(*shape, likelihood, beta, samples, seed, channels, width=sum(latent_dims))
        self.latent_dims = tuple(latent_dims)
        inner = [WIDTH * units for units in latent_dims[1:]]
        self.climbs = nn.ModuleList(
            nn.Sequential(nn.Linear(below, here), nn.LeakyReLU(SLOPE))
            for below, here in pairwise([self.encoder.width, *inner])
        )
        self.heads = nn.ModuleList(
            nn.Linear(width, 2 * units) for width, units in zip(inner, latent_dims[1:], strict=True)
        )
        self.priors = nn.ModuleList(
            nn.Sequential(nn.Linear(upper, width), nn.LeakyReLU(SLOPE), nn.Linear(width, 2 * units))
            for (units, upper), width in zip(pairwise(latent_dims), inner, strict=True)
        )

    @property
    def layers(self) -> int:
        """The number of layers of latents."""
        return len(self.latent_dims)

    def infer(self, images: Tensor) -> tuple[Tensor, ...]:
        """Pass upwards: mean and log variance of z_1's Gaussian, then of z_2's, ... (N, units) each."""
        features = self.encoder.features(images)
        gaussians: tuple[Tensor, ...] = gaussian(self.encoder[-1](features))
        for climb, head in zip(self.climbs, self.heads, strict=True):
            features = climb(features)
            gaussians += gaussian(head(features))
        return gaussians

    def descend(self, draws: Tensor, inferred: tuple[Tensor, ...] = (), prior_below: int = 0) -> list[Layer]:
        """Pass downwards by standard normal draws, and return the layers, z_1 first.

        draws: standard normal (N, width) or (width,).
        inferred: what `infer` says of images; it has no part where all layers are drawn from the prior.
        prior_below: so many of the lowest layers are drawn from the prior.
        """
        noise = draws.split(self.latent_dims, dim=-1)
        below: list[Layer] = []
        for i in reversed(range(self.layers)):
            top = i == self.layers - 1
            prior = (torch.zeros_like(noise[i]),) * 2 if top else gaussian(self.priors[i](below[-1].codes))
            mean, log_variance = prior
            if i >= prior_below:
                upward = inferred[2 * i], inferred[2 * i + 1]
                mean, log_variance = upward if top else multiply(*upward, *prior)
            codes = mean + torch.exp(log_variance / 2) * noise[i]
            below.append(Layer(codes, mean, log_variance, *prior))
        return below[::-1]

    def sample(self, draws: Tensor) -> Tensor:
        """Return new images from standard normal draws (N, width): the decoded means, (N, channels, 28, 28)."""
        return self.decode(self.descend(draws, prior_below=self.layers)[0].codes)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance, (N, latent_dim) each, of q(z_1 | z_2, x), the layers above at their means."""
        lowest = self._means(images)[0]
        return lowest.mean, lowest.log_variance

    def encode(self, images: Tensor) -> Tensor:
        """Return means (N, latent_dim) of q(z_1 | z_2, x) where the layers above are at theirs, from (N, 1, 28, 28)."""
        return self.posterior(images)[0]

    def unit_means(self, images: Tensor) -> Tensor:
        """Return posterior means of the units that `kl_units` counts, (N, width)."""
        return torch.cat([layer.mean for layer in self._means(images)], dim=1)

    def _means(self, images: Tensor) -> list[Layer]:
        return self.descend(torch.zeros_like(self.bank[0]), self.infer(images))

    def loss(self, corrupted: Tensor, clean: Tensor, source: torch.Generator, warmth: float) -> Tensor:
        """Return minus the ELBO with one sample an image and the KL terms of all layers times `beta * warmth`, (N,)."""
        draws = torch.randn(len(corrupted), self.width, generator=source).to(corrupted.device)
        layers = self.descend(draws, self.infer(corrupted))
        kl = torch.stack([kl_of_layer(layer).sum(1) for layer in layers]).sum(0)
        return self.minus_bound(clean, self.logits(layers[0].codes), kl, warmth)

    def log_terms(
        self, target: Tensor, inferred: tuple[Tensor, ...], draw: Tensor, prior_below: int = 0
    ) -> LogTerms:
        """Return log terms as the VAE's, by one draw (width,), prior and posterior summed over layers.

        target: images (N, channels, 28, 28) in [0, 1].
        inferred: what `infer` says of the images they are made from.
        draw: standard normal (width,).
        prior_below: so many of the lowest layers are drawn from the prior.

        With `prior_below = k` the layers up to k are drawn from the prior, and their densities, which cancel, left
        out: the terms of Havtorn's bound L^{>k}. Raises ConfigError unless 0 <= k < layers.
        """
        check_prior_below(prior_below, self.layers)
        layers = self.descend(draw, inferred, prior_below)
        likelihood = self.likelihood(target.flatten(1), self.logits(layers[0].codes)).cpu().double()
        noise = draw.cpu().double().split(self.latent_dims)
        prior, posterior = torch.zeros_like(likelihood), torch.zeros_like(likelihood)
        for units, layer in list(zip(noise, layers, strict=True))[prior_below:]:
            codes, _, spread, mean, prior_spread = (part.cpu().double() for part in layer)
            half = len(units) / 2 * LOG_2PI
            distance = (codes - mean).square() * torch.exp(-prior_spread)
            prior += -distance.sum(1) / 2 - prior_spread.sum(-1) / 2 - half
            posterior += -units.square().sum() / 2 - spread.sum(1) / 2 - half
        return LogTerms(likelihood, prior, posterior)

    def drawn_logits(self, inferred: tuple[Tensor, ...], draw: Tensor) -> Tensor:
        """Return logits (N, channels * 784) of the mean that `inferred` and a draw (width,) lead to."""
        return self.logits(self.descend(draw, inferred)[0].codes)

    def kl_units(self, inferred: tuple[Tensor, ...]) -> Tensor:
        """Return KL(q || p(z_l | z_{l+1})) of each latent unit, z_1's units first, in nats, float64 (N, width).

        Each in closed form given the layer above; below the top, its mean over the bank's draws.
        """
        if self.layers == 1:
            mean, log_variance = (part.cpu().double() for part in inferred)
            return kl_units(mean, log_variance)
        draws = [self.descend(draw, inferred) for draw in self.bank]
        parts = [
            torch.stack([kl_of_layer(layer, double=True) for layer in layers]).mean(0)
            for layers in zip(*draws, strict=True)
        ]
        return torch.cat(parts, dim=1)


def multiply(mean: Tensor, log_variance: Tensor, other: Tensor, log_other: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and log variance of the normalised product of two Gaussians: precisions add and weight the means."""
    combined = -torch.logaddexp(-log_variance, -log_other)
    weighted = mean * torch.exp(combined - log_variance) + other * torch.exp(combined - log_other)
    return weighted, combined


def kl_of_layer(layer: Layer, double: bool = False) -> Tensor:
    """Return the KL of the Gaussian a layer was drawn from to its prior, for each unit, in nats, (N, units)."""
    parts = (part.cpu().double() for part in layer) if double else layer
    _, mean, log_variance, prior_mean, prior_log_variance = parts
    spread = (mean - prior_mean).square() + log_variance.exp()
    return (spread * torch.exp(-prior_log_variance) - 1 - (log_variance - prior_log_variance)) / 2


def layer_widths(latent_dim: int, layers: int) -> tuple[int, ...]:
    """Return the units of each layer, z_1 first: each has half of those below it, at least 1."""
    return tuple(max(1, latent_dim >> layer) for layer in range(layers))


def make(settings: NetworkSettings, channels: int) -> LadderVAE:
    """Make the ladder of these settings."""
    latent_dims = layer_widths(settings.latent_dim, settings.layers or 1)
    return LadderVAE(latent_dims=latent_dims, **densities(settings, channels))
