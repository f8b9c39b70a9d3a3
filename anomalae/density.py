"""Scores of a model with an explicit density, in nats, float64 (N,), higher = more anomalous.

Each is negated once, here. All images share the model's bank of draws, so neither order nor neighbours matter, and
equal images score the same.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anomalae.models.likelihoods import Bernoulli
from anomalae.models.vae import VariationalAutoencoder


def density_scores(
    model: VariationalAutoencoder, images: Tensor, target: Tensor | None = None
) -> dict[str, Tensor]:
    """All density scores of images (N, 1, 28, 28), from one pass over the bank's K draws.

    `target` (N, C, 28, 28): what the density is of, where it is a view of the images and not themselves.

    - `elbo`: minus the ELBO, `KL(q || p) - mean_k log p(x | z_k)`; the KL in closed form, beta 1 whatever the
      training used.
    - `iwae`: minus the importance-weighted bound `log mean_k p(x | z_k) p(z_k) / q(z_k | x)`, which rises with K in
      expectation towards log p(x) (Burda, Grosse and Salakhutdinov 2016).
    - `reconstruction-probability`: `-mean_k log p(x | z_k)` (An and Cho 2015).
    - `kl`: KL(q(z | x) || p(z)).
    - `elbo-excess`, Bernoulli only: `elbo` plus the best log-likelihood any decoder could give the image. It takes
      out what gray pixels cost whatever the model does. Not a bound on anything.
    """
    target = images if target is None else target
    with torch.no_grad():
        kl = model.kl(images).sum(1)
        terms = [model.log_terms(images, draw, target) for draw in model.bank]
        likelihood = torch.stack([term.likelihood for term in terms])
        weights = torch.stack([term.likelihood + term.prior - term.posterior for term in terms])
        rebuilt = likelihood.mean(0)
        scores = {
            "elbo": kl - rebuilt,
            "iwae": math.log(len(weights)) - torch.logsumexp(weights, 0),
            "reconstruction-probability": -rebuilt,
            "kl": kl,
        }
        if isinstance(model.likelihood, Bernoulli):
            scores["elbo-excess"] = scores["elbo"] + Bernoulli.best(target.flatten(1).cpu().double())
    return scores


ACTIVE = 0.01  # variance over images of a unit's posterior mean above which the unit counts as active


def unit_terms(model: VariationalAutoencoder, images: Tensor) -> tuple[Tensor, Tensor]:
    """Posterior means and KLs in nats of each latent unit, float64 (N, latent_dim) each.

    A unit is active if its posterior mean varies over images by more than ACTIVE (Burda et al. 2016).
    """
    with torch.no_grad():
        return model.encode(images).cpu().double(), model.kl(images)
