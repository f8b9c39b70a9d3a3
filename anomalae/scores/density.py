"""Scores of a model with an explicit density, in nats, float64 (N,), higher = more anomalous.

Each is negated once, here. All images share the model's bank of draws, so neither order nor neighbours matter, and
equal images score the same.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor

from anomalae.models.ladder import LadderVAE
from anomalae.models.likelihoods import Bernoulli
from anomalae.models.vae import VariationalAutoencoder


def density_scores(
    model: VariationalAutoencoder,
    images: Tensor,
    rules: Collection[str] | None = None,
    target: Tensor | None = None,
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
    - `llr-1` to `llr-(L-1)`, of a ladder of L layers: the likelihood ratio `LLR^{>k}_K = L_K - L^{>k}` of Havtorn et
      al., "Hierarchical VAEs know what they don't know", ICML 2021. L_K is the importance-weighted bound (the
      paper's better choice, beside the ELBO); L^{>k} the ELBO of the layers above k, those up to k being drawn
      from their prior: the score is how many nats the image needs its own lower layers for, and high where the
      upper ones do not explain it. Each costs K more decodings: `rules`, where given, says which are wanted.

    Of a hierarchy the KL is a mean over the draws too: see `kl` of the models.
    """
    target = images if target is None else target
    with torch.no_grad():
        inferred = model.infer(images)
        units = model.kl(images, inferred)
        kl = units.sum(1)
        terms = [model.log_terms(target, draw, inferred) for draw in model.bank]
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
        if isinstance(model, LadderVAE):
            for k in range(1, model.layers):
                if rules is None or f"llr-{k}" in rules:
                    from_prior = [
                        model.log_terms(target, draw, inferred, k).likelihood for draw in model.bank
                    ]
                    upper = units[:, sum(model.latent_dims[:k]) :].sum(1)
                    scores[f"llr-{k}"] = upper - torch.stack(from_prior).mean(0) - scores["iwae"]
    return scores


ACTIVE = 0.01  # variance over images of a unit's posterior mean above which the unit counts as active


def unit_terms(model: VariationalAutoencoder, images: Tensor) -> tuple[Tensor, Tensor]:
    """Posterior means and KLs in nats of each latent unit, float64 (N, width) each.

    A unit is active if its posterior mean varies over images by more than ACTIVE (Burda et al. 2016).
    """
    with torch.no_grad():
        return model.unit_means(images).cpu().double(), model.kl(images)
