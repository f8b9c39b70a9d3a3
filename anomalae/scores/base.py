"""What a score is, and what it is given: all that one network makes of one batch of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from anomalae.models.base import DensityNetwork, Inferred, LogTerms, Network
from anomalae.models.views import View
from anomalae.plugins import VIEWS
from anomalae.settings import NetworkSettings

Arrays = Mapping[str, np.ndarray]
LEARNED_FROM = 1000  # training images at most that a score learns from


class Score:
    """One way to tell how far an image is from what its network expects; higher = more anomalous.

    A score of one's own derives from this class, or has all that it has, and is made known by
    `anomalae.register_score`. It sees no label, and what it says of an image must not depend on the images beside it.

    name: by which it is asked for.
    line: what it is, for people.
    scale: "error", at least 0, of which ensembles average the logarithms; or "nats", averaged as they are.
    judges: whether it tells anomalies by any network it fits, however small; a part of another score (as `kl` of
        `elbo`) need not, nor one that needs a long training (as `llr-1`).
    learned: names of the arrays that `learn` returns.
    least_images: training images that it needs.
    has_terms: whether it is a sum over pixels, so that `terms` gives a heatmap.
    drawn_as: the score whose terms a heatmap shows where this one has none.
    heat_line: what such a heatmap shows, for people; left empty it says that this score is no sum over pixels.

    >>> class Ink(Score):
    ...     name, line = "ink", "mean of the pixels"
    ...     def score(self, seen, learned):
    ...         return seen.source.double().cpu().mean((1, 2, 3))
    >>> Ink()
    <Score ink: mean of the pixels>
    """

    name: str
    line: str = ""
    scale: Literal["error", "nats"] = "error"
    judges: bool = True
    learned: tuple[str, ...] = ()
    least_images: int = 1
    has_terms: bool = False
    drawn_as: str = "smooth"
    heat_line: str = ""

    def __repr__(self) -> str:
        return f"<Score {self.name}: {self.line}>"

    def fits(self, network: NetworkSettings) -> bool:
        """Whether a network of these settings has this score."""
        return True

    def learn(self, seen: Evidence) -> dict[str, np.ndarray]:
        """What the score keeps of training images, up to LEARNED_FROM of them, taken evenly from all.

        Returns float32 arrays by name, those of `learned`; they are saved with the run. Raises ConfigError for too
        few images.
        """
        return {}

    def score(self, seen: Evidence, learned: Arrays) -> Tensor:
        """The scores of the images that are `seen`, float64 (N,), on the CPU; `learned` is what `learn` returned."""
        raise NotImplementedError

    def terms(self, seen: Evidence) -> Tensor | None:
        """Signed terms, float64 (N, C, 28, 28), whose absolute values sum to the score: where it comes from.

        Positive where there is ink that the network did not expect, negative where expected ink is missing. None for
        a score that is no sum over pixels: `has_terms` says so.
        """
        return None


@dataclass(frozen=True)
class Bound:
    """What a density says of a batch by each of the K draws of its bank.

    inferred: what its posterior needs of the images, see `anomalae.models.base.DensityNetwork.infer`.
    kl_units: KL(q || p) of each latent unit, float64 (N, width), in nats.
    terms: K, one of each draw.

    >>> Bound(None, torch.ones(5, 8), ()).kl.tolist()
    [8.0, 8.0, 8.0, 8.0, 8.0]
    """

    inferred: Inferred
    kl_units: Tensor
    terms: tuple[LogTerms, ...]

    @cached_property
    def kl(self) -> Tensor:
        """KL(q || p), float64 (N,)."""
        return self.kl_units.sum(1)

    @cached_property
    def log_likelihood(self) -> Tensor:
        """`mean_k log p(x | z_k)`, float64 (N,)."""
        return torch.stack([term.likelihood for term in self.terms]).mean(0)

    @cached_property
    def log_weights(self) -> Tensor:
        """`log p(x | z_k) + log p(z_k) - log q(z_k | x)`, float64 (K, N)."""
        return torch.stack([term.likelihood + term.prior - term.posterior for term in self.terms])


class Evidence:
    """What one network makes of one batch of images; each part is found when first asked for, and at most once.

    network: see `anomalae.models.base.Network`.
    settings: of this network.
    images: float32 (N, 1, 28, 28) in [0, 1], on the network's device.
    view: what it sees; that of the settings where none is given.

    >>> from anomalae import Settings
    >>> from anomalae.models import build
    >>> settings = Settings.of(hidden=(8,), latent_dim=2).network("pixels")
    >>> seen = Evidence(build(settings), settings, torch.zeros(5, 1, 28, 28))
    >>> seen.rebuilt.shape
    torch.Size([5, 1, 28, 28])
    """

    def __init__(
        self, network: Any, settings: NetworkSettings, images: Tensor, view: View | None = None
    ) -> None:
        self.images, self.settings = images, settings
        self.view = view or VIEWS[settings.view]
        self._network = network

    @property
    def network(self) -> Network:
        """The network."""
        network: Network = self._network
        return network

    @property
    def density(self) -> DensityNetwork:
        """The network, whose kind has an explicit density."""
        density: DensityNetwork = self._network
        return density

    @cached_property
    def _seen(self) -> tuple[Tensor, Tensor]:
        return self.view.see(self.images)

    @property
    def source(self) -> Tensor:
        """What the network is shown, (N, 1, 28, 28)."""
        return self._seen[0]

    @property
    def target(self) -> Tensor:
        """What it should make of it, (N, C, 28, 28)."""
        return self._seen[1]

    @cached_property
    def rebuilt(self) -> Tensor:
        """What it makes of it, (N, C, 28, 28): the mean of `passes` successive reconstructions.

        One, where the view rebuilds other maps than it shows.
        """
        rebuilt = [self.source]
        with torch.no_grad():
            for _ in range(self.settings.passes if self.view.again else 1):
                rebuilt.append(self.network.reconstruct(rebuilt[-1]))
        return torch.stack(rebuilt[1:]).mean(0)

    @cached_property
    def pathway(self) -> Tensor:
        """Differences of what the network's layers make of source and reconstruction, (N, D): `h(x) - h(y)`.

        h(x) is what `hidden` shows: the pixels, the output of every nonlinearity of the encoder, and the code.
        """
        with torch.no_grad():
            seen, rebuilt = (torch.cat(self.network.hidden(x), dim=1) for x in (self.source, self.rebuilt))
        return seen - rebuilt

    @cached_property
    def bound(self) -> Bound:
        """What a density says of the images, by one pass over the draws of its bank."""
        with torch.no_grad():
            inferred = self.density.infer(self.source)
            units = self.density.kl_units(inferred)
            draws = self.density.bank
            terms = tuple(self.density.log_terms(self.target, inferred, draw) for draw in draws)
        return Bound(inferred, units, terms)

    def log_likelihood_above(self, k: int) -> Tensor:
        """`mean log p(x | z)`, float64 (N,), with the k lowest layers of a hierarchy drawn from the prior."""
        with torch.no_grad():
            terms = [
                self.density.log_terms(self.target, self.bound.inferred, draw, k)
                for draw in self.density.bank
            ]
        return torch.stack([term.likelihood for term in terms]).mean(0)
