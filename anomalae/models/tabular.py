"""Small dense networks for rows of a table: an autoencoder and a VAE."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from anomalae import seeds
from anomalae.models.gaussians import gaussian, kl_to_standard
from anomalae.models.layers import dense, initialise
from anomalae.models.likelihoods import LOG_2PI
from anomalae.settings import NetworkSettings

NOISE_SIGMA = 0.5  # of the normal noise on each standardised value, at a noise of 1
LEAST_LOG_SIGMA = math.log(0.01)  # floor of the VAE's sigma: without noise a wide network would drive it to 0


class TableAutoencoder(nn.Module):
    """y = d(e(x)), both dense; the output is linear, for standardised values have no range."""

    def __init__(self, features: int, hidden: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(*dense([features, *hidden, latent_dim]))
        self.decoder = nn.Sequential(*dense([latent_dim, *reversed(hidden), features]))

    def reconstruct(self, rows: Tensor) -> Tensor:
        """Rows (N, features) -> reconstructions of the same shape."""
        return self.decoder(self.encoder(rows))

    def loss(self, corrupted: Tensor, clean: Tensor, source: torch.Generator, warmth: float) -> Tensor:
        """Squared error summed over columns, a row each: (N,). Neither chance nor warm-up plays a part."""
        return (self.reconstruct(corrupted) - clean).square().sum(1)


class TableVariationalAutoencoder(nn.Module):
    """z ~ N(0, I), x | z ~ N(d(z), sigma^2 I) with one learned sigma, q(z | x) = N(mu(x), diag exp(v(x))).

    The criterion is that of `anomalae.models.VariationalAutoencoder`: q sees the corrupted row, the likelihood is
    the clean one's.
    """

    def __init__(self, features: int, hidden: tuple[int, ...], latent_dim: int, beta: float) -> None:
        super().__init__()
        self.beta = beta
        self.encoder = nn.Sequential(*dense([features, *hidden, 2 * latent_dim]))
        self.decoder = nn.Sequential(*dense([latent_dim, *reversed(hidden), features]))
        self.log_sigma = nn.Parameter(torch.tensor(math.log(0.5)))

    def posterior(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (N, features) -> mean and log variance of q(z | x), (N, latent_dim) each."""
        return gaussian(self.encoder(rows))

    def reconstruct(self, rows: Tensor) -> Tensor:
        """Rows (N, features) -> decoded means at the posterior means, of the same shape."""
        return self.decoder(self.posterior(rows)[0])

    def loss(self, corrupted: Tensor, clean: Tensor, source: torch.Generator, warmth: float) -> Tensor:
        """Minus the ELBO in nats with one sample a row and the KL term times `beta * warmth`, (N,)."""
        mean, log_variance = self.posterior(corrupted)
        draws = torch.randn(mean.shape, generator=source).to(mean.device)
        error = (self.decoder(mean + torch.exp(log_variance / 2) * draws) - clean).square().sum(1)
        log_sigma, d = self.log_sigma.clamp_min(LEAST_LOG_SIGMA), clean.shape[1]
        log_likelihood = -error / (2 * torch.exp(2 * log_sigma)) - d * log_sigma - d / 2 * LOG_2PI
        return self.beta * warmth * kl_to_standard(mean, log_variance) - log_likelihood


def build_for_table(
    settings: NetworkSettings, features: int
) -> TableAutoencoder | TableVariationalAutoencoder:
    """The network of these settings for rows of so many features; its weights depend on the seed alone."""
    shape = (features, settings.hidden, settings.latent_dim)
    network: TableAutoencoder | TableVariationalAutoencoder
    # Layers draw as they are made; the draws that count follow.
    with torch.random.fork_rng(devices=[]):
        if settings.kind.density:
            network = TableVariationalAutoencoder(*shape, settings.beta or 0.0)
        else:
            network = TableAutoencoder(*shape)
    initialise(network, seeds.generator(settings.seed, seeds.WEIGHTS))
    return network


def corrupt_rows(rows: Tensor, strength: float, source: torch.Generator) -> Tensor:
    """Add normal noise of NOISE_SIGMA, times `strength`, to standardised rows (N, features)."""
    return rows + strength * NOISE_SIGMA * torch.randn(rows.shape, generator=source).to(rows.device)
