"""The variational autoencoder: an explicit density, trained and scored by the ELBO."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anomalae.errors import ConfigError
from anomalae.models.base import LogTerms
from anomalae.models.gaussians import GaussianLatents, gaussian, kl_to_standard, kl_units
from anomalae.models.likelihoods import LOG_2PI
from anomalae.settings import NetworkSettings


class VariationalAutoencoder(GaussianLatents):
    """A variational autoencoder is a density of images with a Gaussian code: z ~ N(0, I), x | z around sigmoid(d(z)).

    Its posterior is q(z | x) = N(mu(x), diag exp(v(x))), and
    ELBO(x) = E_q[log p(x | z)] - KL(q(z | x) || p(z)) <= log p(x): Kingma and Welling, "Auto-encoding variational
    Bayes", 2014; Rezende, Mohamed and Wierstra 2014. Trained on the denoising criterion of Im et al., "Denoising
    criterion for variational auto-encoding framework", AAAI 2017: q sees the corrupted image, the likelihood is the
    clean one's. Scoring encodes the image as it is.

    architecture: dense or conv.
    hidden: units of each hidden layer, or channels where it is convolutional.
    latent_dim: units of z.
    likelihood: name of p(x | z), of `anomalae.models.likelihoods.LIKELIHOODS`.
    beta: weight of the KL term in training, at least 0.
    samples: draws of the bank by which images are scored, at least 1.
    seed: of the bank.
    channels: maps of what is rebuilt, see `anomalae.models.views`.
    width: units of all latents, where there are more than z's.

    >>> network = VariationalAutoencoder("dense", (8,), 2, "bernoulli", beta=1.0, samples=4, seed=0)
    >>> network.reconstruct(torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 1, 28, 28])
    """

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, 1, 28, 28) -> mean and log variance of q(z | x), (N, latent_dim) each."""
        return gaussian(self.encoder(images))

    def infer(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """All that the posterior needs of the images: its mean and log variance."""
        return self.posterior(images)

    def encode(self, images: Tensor) -> Tensor:
        """Images (N, 1, 28, 28) -> posterior means (N, latent_dim)."""
        return self.posterior(images)[0]

    def sample(self, draws: Tensor) -> Tensor:
        """Standard normal draws (N, width) -> new images: the decoded means they lead to, (N, channels, 28, 28)."""
        return self.decode(draws)

    def unit_means(self, images: Tensor) -> Tensor:
        """Posterior means of the units that `kl_units` counts, (N, latent_dim)."""
        return self.encode(images)

    def loss(self, corrupted: Tensor, clean: Tensor, source: torch.Generator, warmth: float) -> Tensor:
        """Minus the ELBO with one sample an image and the KL term times `beta * warmth`, (N,).

        `warmth` rises from 0 to 1 (Sønderby et al. 2016).
        """
        mean, log_variance = self.posterior(corrupted)
        draws = torch.randn(mean.shape, generator=source).to(mean.device)
        logits = self.logits(mean + torch.exp(log_variance / 2) * draws)
        return self.minus_bound(clean, logits, kl_to_standard(mean, log_variance), warmth)

    def log_terms(
        self, target: Tensor, inferred: tuple[Tensor, Tensor], draw: Tensor, prior_below: int = 0
    ) -> LogTerms:
        """The three log-densities at `z = mean + deviation * draw`, one draw (latent_dim,) for all images.

        target: (N, channels, 28, 28), what the likelihood is of; it may be a view of the images that were inferred
            from. Raises ConfigError for `prior_below` other than 0: there is one layer.
        """
        check_prior_below(prior_below, 1)
        mean, log_variance = inferred
        codes = mean + torch.exp(log_variance / 2) * draw
        likelihood = self.likelihood(target.flatten(1), self.logits(codes)).cpu().double()
        codes, log_variance, draw = (part.cpu().double() for part in (codes, log_variance, draw))
        half = self.latent_dim / 2 * LOG_2PI
        prior = -codes.square().sum(1) / 2 - half
        posterior = -draw.square().sum() / 2 - log_variance.sum(1) / 2 - half
        return LogTerms(likelihood, prior, posterior)

    def drawn_logits(self, inferred: tuple[Tensor, Tensor], draw: Tensor) -> Tensor:
        """Return logits (N, channels * 784) of the mean decoded at `z = mean + deviation * draw`, of `inferred`."""
        mean, log_variance = inferred
        return self.logits(mean + torch.exp(log_variance / 2) * draw)

    def kl_units(self, inferred: tuple[Tensor, Tensor]) -> Tensor:
        """KL(q(z | x) || p(z)) of each latent unit, in closed form, in nats, float64 (N, latent_dim)."""
        mean, log_variance = (part.cpu().double() for part in inferred)
        return kl_units(mean, log_variance)


def check_prior_below(prior_below: int, layers: int) -> None:
    """Raise ConfigError unless a model of so many layers of latents can draw so many from the prior."""
    if not 0 <= prior_below < layers:
        ratios = ", ".join(f"llr-{k}" for k in range(1, layers)) or "no llr"
        raise ConfigError(f"llr-{prior_below}: a ladder of {layers} layers has {ratios}")


def densities(settings: NetworkSettings, channels: int) -> dict[str, Any]:
    """What every model with Gaussian latents is made with."""
    return {
        "architecture": settings.architecture,
        "hidden": settings.hidden,
        "likelihood": settings.likelihood,
        "beta": settings.beta,
        "samples": settings.samples,
        "seed": settings.seed,
        "channels": channels,
    }


def make(settings: NetworkSettings, channels: int) -> VariationalAutoencoder:
    """The VAE of these settings."""
    return VariationalAutoencoder(latent_dim=settings.latent_dim, **densities(settings, channels))
