"""Scores of networks with an explicit density, in nats; each is negated once, here.

All images share the network's bank of K draws, so neither order nor the images beside matter, and equal images score
the same. Of a hierarchy the KL is a mean over the draws too: see `kl_units` of the networks.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, logsumexp

from anomalae.models.likelihoods import Bernoulli
from anomalae.scores.base import Arrays, Bound, Evidence, Score
from anomalae.settings import MOST_LAYERS, PIXELS, NetworkSettings

# The score whose terms the heatmaps of the others show: their part that lies in pixels.
DRAWN = "reconstruction-probability"
IN_NATS = "nats of each pixel above those of a perfect reconstruction"


class DensityScore(Score):
    """A score of networks with an explicit density."""

    scale: Literal["error", "nats"] = "nats"

    def fits(self, network: NetworkSettings) -> bool:
        """Whether the network's kind has an explicit density."""
        return network.kind.density


def elbo(bound: Bound) -> Tensor:
    """Minus the ELBO, `KL(q || p) - mean_k log p(x | z_k)`, float64 (N,)."""
    return bound.kl - bound.log_likelihood


def iwae(bound: Bound) -> Tensor:
    """Minus the importance-weighted bound, `-log mean_k p(x | z_k) p(z_k) / q(z_k | x)`, float64 (N,)."""
    return math.log(len(bound.log_weights)) - logsumexp(bound.log_weights, 0)


class Elbo(DensityScore):
    """Minus the ELBO; the KL in closed form where there is one, beta 1 whatever the training used."""

    name = "elbo"
    line = "minus the evidence lower bound"
    drawn_as = DRAWN
    heat_line = f"{IN_NATS}; the KL term of elbo lies in no pixel"

    def score(self, seen: Evidence, learned: Arrays) -> Tensor:
        """Scores in nats, float64 (N,)."""
        return elbo(seen.bound)


class ImportanceWeightedBound(DensityScore):
    """Minus the importance-weighted bound, which rises with K in expectation towards log p(x).

    Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", ICLR 2016.
    """

    name = "iwae"
    line = "minus the importance-weighted bound"
    drawn_as = DRAWN
    heat_line = f"{IN_NATS}; iwae itself is no sum over pixels"

    def score(self, seen: Evidence, learned: Arrays) -> Tensor:
        """Scores in nats, float64 (N,)."""
        return iwae(seen.bound)


class ReconstructionProbability(DensityScore):
    """`-mean_k log p(x | z_k)`.

    An and Cho, "Variational autoencoder based anomaly detection using reconstruction probability", 2015.

    What it is above the least it could be, that of a perfect reconstruction, is a sum over pixels: `excess_terms`.
    """

    name = DRAWN
    line = "minus the expected log-likelihood"
    drawn_as = DRAWN
    heat_line = IN_NATS

    def score(self, seen: Evidence, learned: Arrays) -> Tensor:
        """Scores in nats, float64 (N,)."""
        return -seen.bound.log_likelihood

    @staticmethod
    def has_excess_terms(network: Any) -> bool:
        """Whether a network shows what its likelihood is given, and the likelihood is a sum over pixels."""
        return hasattr(network, "drawn_logits") and hasattr(getattr(network, "likelihood", None), "terms")

    @staticmethod
    def excess_terms(seen: Evidence) -> Tensor:
        """Signed terms, float64 (N, C, 28, 28), whose absolute values sum to `best(x) - mean_k log p(x | z_k)`.

        Positive where the image has ink that the network did not expect, negative where expected ink is missing.
        """
        network: Any = seen.network
        target = seen.target.flatten(1)
        size, signed = torch.zeros(()), torch.zeros(())
        with torch.no_grad():
            inferred = network.infer(seen.source)
            for draw in network.bank:
                terms = network.likelihood.terms(target, network.drawn_logits(inferred, draw)).cpu().double()
                size, signed = size + terms.abs(), signed + terms
        terms = torch.where(signed < 0, -size, size) / len(network.bank)
        return terms.unflatten(1, seen.target.shape[1:])

    @staticmethod
    def least(network: Any, channels: int, scores: Arrays) -> np.ndarray:
        """What perfect reconstructions would score, float64 (N,) for images with these scores by rule, or (1,) for all.

        It depends on the image where the likelihood is Bernoulli: by `elbo - elbo-excess`, what gray pixels cost.
        """
        if isinstance(network.likelihood, Bernoulli):
            return np.asarray(scores["elbo"] - scores["elbo-excess"])
        weights = next(iter(network.parameters()))
        with torch.no_grad():
            return -network.likelihood.best(weights.new_zeros(1, channels * PIXELS)).cpu().double().numpy()


class KullbackLeibler(DensityScore):
    """KL(q(z | x) || p(z)), a part of the ELBO: it is not made to tell anomalies."""

    name = "kl"
    line = "KL divergence of posterior and prior, a part of the ELBO"
    judges = False

    def score(self, seen: Evidence, learned: Arrays) -> Tensor:
        """Scores in nats, float64 (N,), at least 0 where the KL is in closed form."""
        return seen.bound.kl


class ElboExcess(DensityScore):
    """`elbo` plus the best log-likelihood that any decoder could give the image; of Bernoulli likelihoods only.

    It takes out what gray pixels cost whatever the network does. Not a bound on anything.
    """

    name = "elbo-excess"
    line = "elbo beyond what gray pixels cost in any case"
    drawn_as = DRAWN
    heat_line = f"{IN_NATS}; the KL term of elbo-excess lies in no pixel"

    def fits(self, network: NetworkSettings) -> bool:
        """Whether the likelihood is Bernoulli."""
        return super().fits(network) and network.likelihood == "bernoulli"

    def score(self, seen: Evidence, learned: Arrays) -> Tensor:
        """Scores in nats, float64 (N,)."""
        return elbo(seen.bound) + Bernoulli.best(seen.target.flatten(1).cpu().double())


class LikelihoodRatio(DensityScore):
    """The likelihood ratio `LLR^{>k}_K = L_K - L^{>k}` of a ladder of more than k layers.

    L_K is the importance-weighted bound (the paper's better choice, beside the ELBO); L^{>k} the ELBO of the layers
    above k, those up to k being drawn from their prior. The score is how many nats the image needs its own lower
    layers for, and high where the upper ones do not explain it. It costs K more decodings.

    Havtorn, Frellsen, Hauberg and Maaløe, "Hierarchical VAEs know what they don't know", ICML 2021.
    """

    # Of a hierarchy that was trained briefly, on strokes say, it says the opposite as often as not.
    judges = False

    def __init__(self, k: int) -> None:
        self.k = k
        self.name = f"llr-{k}"
        lowest = "the lowest layer explains" if k == 1 else f"the lowest {k} layers explain"
        self.line = f"likelihood ratio that leaves out what {lowest}"

    def fits(self, network: NetworkSettings) -> bool:
        """Whether the network is a hierarchy of more than k layers."""
        return super().fits(network) and self.k < (network.layers or 1)

    def score(self, seen: Evidence, learned: Arrays) -> Tensor:
        """Scores in nats, float64 (N,)."""
        lowest = sum(seen.density.latent_dims[: self.k])
        upper = seen.bound.kl_units[:, lowest:].sum(1)
        return upper - seen.log_likelihood_above(self.k) - iwae(seen.bound)


SCORES = (
    Elbo(),
    ImportanceWeightedBound(),
    ReconstructionProbability(),
    KullbackLeibler(),
    ElboExcess(),
    *(LikelihoodRatio(k) for k in range(1, MOST_LAYERS)),
)
