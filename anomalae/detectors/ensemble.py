"""Members: trained networks with the view each sees, and how an ensemble makes one score of theirs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from anomalae.errors import ConfigError
from anomalae.models import VariationalAutoencoder
from anomalae.models.views import VIEWS
from anomalae.scores import hidden as rapp
from anomalae.scores import reconstruction as scoring
from anomalae.scores.density import density_scores
from anomalae.settings import HIDDEN_SCORES, Settings

NEIGHBOURS = "neighbours"  # the name of the member that is no network
LEAST_SPREAD = 1e-6  # of comparable scores; less is rounding, of images that are all the same
LEAST_SCORE = 1e-12  # a perfect reconstruction has no logarithm; far below any score seen


class Member:
    """One trained network. All images are canonical: float32 (N, 1, 28, 28) in [0, 1] on the network's device."""

    def __init__(self, settings: Settings, model: nn.Module, nap: rapp.Nap | None = None) -> None:
        self.settings, self.model, self.nap = settings, model, nap
        self.view = VIEWS[settings.views[0]]

    def learn(self, images: Tensor) -> None:
        """Learn from training images what the score `nap` needs; it takes two of them at least.

        They are taken evenly from all, which may be in the order of their classes.
        """
        if len(images) > 1:
            count = min(len(images), rapp.IMAGES)
            chosen = torch.linspace(0, len(images) - 1, count, dtype=torch.float64).round().long()
            source = self.see(images[chosen.to(images.device)])[0]
            self.nap = rapp.Nap.fit(self.pathway(source, self.rebuild(source)))

    def pathway(self, source: Tensor, rebuilt: Tensor) -> Tensor:
        """Differences of hidden activations of what is seen and what is rebuilt, (N, D)."""
        return rapp.pathway(self.model, source, rebuilt)  # type: ignore[arg-type]

    def see(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the network is shown (N, 1, 28, 28), and what it should make of it (N, C, 28, 28)."""
        return self.view.see(images)

    def rebuild(self, source: Tensor) -> Tensor:
        """What it makes of its view: the mean of `passes` successive reconstructions, one where maps are rebuilt."""
        model: VariationalAutoencoder = self.model  # type: ignore[assignment]
        rebuilt = [source]
        with torch.no_grad():
            for _ in range(self.settings.passes or 1 if self.view.again else 1):
                rebuilt.append(model.reconstruct(rebuilt[-1]))
        return torch.stack(rebuilt[1:]).mean(0)

    def scores(self, images: Tensor, rules: Sequence[str]) -> dict[str, Tensor]:
        """Scores by these rules, float64 (N,) each, in the network's own view."""
        source, target = self.see(images)
        found: dict[str, Tensor] = {}
        if not {*scoring.RULES, *HIDDEN_SCORES}.isdisjoint(rules):
            rebuilt = self.rebuild(source)
            found |= {rule: scoring.RULES[rule](target, rebuilt) for rule in rules if rule in scoring.RULES}
            if not set(HIDDEN_SCORES).isdisjoint(rules):
                differences = self.pathway(source, rebuilt)
                found["sap"] = rapp.sap(differences)
                if self.nap is not None:
                    found["nap"] = self.nap.score(differences)
        if not found.keys() >= set(rules):
            found |= density_scores(self.density_model(), source, rules, target)
        return {rule: found[rule] for rule in rules}

    def terms(self, rule: str, images: Tensor) -> Tensor:
        """The score's signed terms laid over the image, float64 (N, 28, 28); absolute values sum to the score."""
        source, target = self.see(images)
        terms = scoring.terms(rule, target, self.rebuild(source))
        return self.view.back(terms, images.cpu().double(), True)

    def picture(self, images: Tensor) -> Tensor:
        """What the network rebuilds, laid over the image: (N, 28, 28) in [0, 1]."""
        rebuilt = self.rebuild(self.see(images)[0])
        return self.view.back(rebuilt, images, False).clamp(0, 1)

    def density_model(self) -> VariationalAutoencoder:
        """The network, if it has an explicit density; else ConfigError."""
        if not isinstance(self.model, VariationalAutoencoder):
            raise ConfigError(
                f"model {self.settings.model!r}: an autoencoder rebuilds images but has no density to draw from "
                "or to score by; train with --model vae, ladder-vae or adgm"
            )
        return self.model


def names(settings: Settings) -> list[str]:
    """What the members of an ensemble are called, in their order: by view, numbered where there are several of one."""
    networks = [
        view if settings.members == 1 else f"{view} {number}"
        for view in settings.views
        for number in range(1, settings.members + 1)
    ]
    return [*networks, *([NEIGHBOURS] if settings.neighbours else [])]


def comparable(rule: str, scores: np.ndarray) -> np.ndarray:
    """Scores on a scale on which members can be averaged: the logarithm of an error, nats as they are."""
    error = rule in scoring.RULES or rule in HIDDEN_SCORES
    return np.log(np.maximum(scores, LEAST_SCORE)) if error else scores


def standard(rule: str, scores: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of each member's comparable scores (M, N) of held-out normals: float64 (M, 2)."""
    values = comparable(rule, scores)
    spread = values.std(1)
    return np.stack([values.mean(1), np.where(spread > LEAST_SPREAD, spread, 1.0)], 1)


def weights(count: int, neighbours: bool) -> np.ndarray:
    """What each of so many members counts for, float64 (count,), 1 in all: networks alike, and the neighbours, last
    where there are any, as much as all networks together."""
    if not neighbours:
        return np.full(count, 1 / count)
    return np.array([0.5 / (count - 1)] * (count - 1) + [0.5])


def combine(
    rule: str, scores: np.ndarray, standards: np.ndarray | None, neighbours: bool = False
) -> np.ndarray:
    """One score of the members' (M, N): the mean of their standardised comparable scores, float64 (N,).

    About 0 for a usual normal image, 1 for one as much above it as normals spread. `neighbours`: whether the last
    member is no network; see `weights`. A single member's score is left as it is, and needs no `standards`.
    """
    if standards is None:
        return scores[0]
    standardised = (comparable(rule, scores) - standards[:, :1]) / standards[:, 1:]
    return (weights(len(scores), neighbours)[:, None] * standardised).sum(0)
