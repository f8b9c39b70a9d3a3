"""Members of an ensemble: what each must do, and the one that is a trained network."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from anomalae import seeds
from anomalae.arithmetic import PLAIN, in_own_arithmetic
from anomalae.detectors.batches import agreeing, blocks, noise
from anomalae.errors import AnomalaeError, ConfigError
from anomalae.models.base import DensityNetwork, Network
from anomalae.network_kinds import MODELS
from anomalae.plugins import SCORES, VIEWS
from anomalae.scores.base import LEARNED_FROM, Evidence, Score
from anomalae.scores.density import DRAWN, ReconstructionProbability
from anomalae.settings import NetworkSettings

ACTIVE = 0.01  # variance over images of a unit's posterior mean above which the unit counts as active
GENERATED = 1024  # pictures that are decoded at a time


class Member(Protocol):
    """One of those that score together. Images are float32 (N, 1, 28, 28) in [0, 1].

    name: by which its scores are told from the others'.
    weight: what it counts for; those of an ensemble sum to 1.
    """

    name: str
    weight: float

    def score(self, images: Tensor, rules: Sequence[str]) -> dict[str, Tensor]:
        """Scores by these rules, float64 (N,) each, on the CPU."""
        ...

    def score_training(self, batches: Iterable[Tensor], rules: Sequence[str]) -> dict[str, Tensor]:
        """Scores of the training images themselves, which come in batches, float64 (N,) each."""
        ...

    def terms(self, rule: str, images: Tensor) -> Tensor:
        """The score's signed terms laid over the image, float64 (N, 28, 28); absolute values sum to the score."""
        ...

    def picture(self, images: Tensor) -> Tensor:
        """What the member expects of the images, laid over them: (N, 28, 28) in [0, 1]."""
        ...

    def to(self, device: torch.device) -> Self:
        """Compute on a device from now on; returns self."""
        ...


class NetworkMember:
    """One trained network with what its scores have learned, which computes by the arithmetic of its training."""

    def __init__(
        self,
        name: str,
        weight: float,
        settings: NetworkSettings,
        network: Network,
        arithmetic: str = PLAIN,
    ) -> None:
        self.name, self.weight = name, weight
        self.settings, self.network, self.arithmetic = settings, network, arithmetic
        self.view = VIEWS[settings.view]
        self.learned: dict[str, Mapping[str, np.ndarray]] = {}
        # Sizes of block that agree on this machine, by what they were tried with.
        self.block_sizes: dict[Any, tuple[int, ...]] = {}

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return next(iter(self.network.parameters())).device

    def to(self, device: torch.device) -> Self:
        """Move the network to a device; returns self."""
        self.network.to(device)
        return self

    def look(self, images: Tensor) -> Evidence:
        """What the network makes of images, each part found when it is asked for."""
        return Evidence(self.network, self.settings, images.to(self.device), self.view)

    @in_own_arithmetic
    def learn(self, images: Tensor, scores: Iterable[Score]) -> None:
        """Let scores learn from training images, up to LEARNED_FROM of them.

        They are taken evenly from all, which may be in the order of their classes.
        """
        learning = [score for score in scores if score.learned]
        if not learning:
            return
        count = min(len(images), LEARNED_FROM)
        chosen = torch.linspace(0, len(images) - 1, count, dtype=torch.float64).round().long()
        seen = self.look(images[chosen])
        for score in learning:
            with _blamed(score.name):
                learned = score.learn(seen)
                if not SCORES.is_ours(score.name):
                    _check_learned(learned, score.learned)
                self.learned[score.name] = learned

    @in_own_arithmetic
    def score(self, images: Tensor, rules: Sequence[str]) -> dict[str, Tensor]:
        """Scores by these rules, float64 (N,) each, in the network's own view.

        An image's are the same bits alone and among any others. Raises PartError for a score that does not come with
        anomalae and fails, or returns something else.
        """
        if not rules:
            return {}
        parts = [
            {rule: scores[:count] for rule, scores in self._score(block, rules).items()}
            for block, count in blocks(images, self._sizes(rules))
        ]
        return {rule: torch.cat([part[rule] for part in parts]) for rule in rules}

    def _sizes(self, rules: Sequence[str]) -> tuple[int, ...]:
        """Return the sizes of block in which an image has the same scores by these rules, on this machine as it is."""
        # PyTorch divides the work by the number of threads.
        key = (tuple(rules), self.device, torch.get_num_threads(), self.arithmetic)
        if key not in self.block_sizes:
            self.block_sizes[key] = agreeing(
                lambda images: torch.stack(list(self._score(images, rules).values()), 1),
                noise(1, 28, 28),
                self._alike(key),
            )
        return self.block_sizes[key]

    def _alike(self, key: tuple[Any, ...]) -> Hashable:
        """Return what networks share that compute alike; None of parts that do not come with anomalae."""
        kind, rules = self.settings, key[0]
        if not (MODELS.is_ours(kind.model) and VIEWS.is_ours(kind.view) and all(map(SCORES.is_ours, rules))):
            return None
        shapes = tuple((rule, name, array.shape) for rule in rules for name, array in self._learned(rule))
        return replace(kind, seed=0), shapes, key

    def _learned(self, rule: str) -> list[tuple[str, np.ndarray]]:
        return sorted(self.learned.get(rule, {}).items())

    def _score(self, images: Tensor, rules: Sequence[str]) -> dict[str, Tensor]:
        seen, scores = self.look(images), {}
        for rule in rules:
            with _blamed(rule):
                scores[rule] = SCORES[rule].score(seen, self.learned.get(rule, {}))
                if not SCORES.is_ours(rule):
                    _check_scores(scores[rule], len(images))
        return scores

    def score_training(self, batches: Iterable[Tensor], rules: Sequence[str]) -> dict[str, Tensor]:
        """Scores of the training images, float64 (N,) each."""
        parts = [self.score(images, rules) for images in batches]
        return {rule: torch.cat([part[rule] for part in parts]) for rule in rules}

    @in_own_arithmetic
    def terms(self, rule: str, images: Tensor) -> Tensor:
        """The score's signed terms laid over the image, float64 (N, 28, 28).

        Absolute values sum to the score; of one in nats to what it is above that of a perfect reconstruction.
        """
        with _blamed(rule):
            seen = self.look(images)
            exceeds = self.exceeds(rule)
            terms = ReconstructionProbability.excess_terms(seen) if exceeds else SCORES[rule].terms(seen)
        if terms is None:
            raise ConfigError(f"score {rule!r}: is no sum over pixels, so it has no terms")
        return self.view.back(terms, images.cpu().double(), True)

    def draws(self, rule: str) -> bool:
        """Whether `terms` has something of this score: all of it, or what is above the least it could be."""
        return SCORES[rule].has_terms or self.exceeds(rule)

    def least(self, scores: Mapping[str, np.ndarray]) -> np.ndarray:
        """What perfect reconstructions of images with these scores by rule would score, float64 (N,) or (1,)."""
        return ReconstructionProbability.least(self.network, self.view.channels, scores)

    def exceeds(self, rule: str) -> bool:
        """Whether `terms` are of what this score is above the least it could be, that of a perfect reconstruction."""
        return rule == DRAWN and ReconstructionProbability.has_excess_terms(self.network)

    @in_own_arithmetic
    def picture(self, images: Tensor) -> Tensor:
        """What the network rebuilds, laid over the image: (N, 28, 28) in [0, 1]."""
        images = images.to(self.device)
        return self.view.back(self.look(images).rebuilt, images, False).clamp(0, 1)

    # --- the latent space ---

    @property
    def density(self) -> DensityNetwork:
        """The network, if it has an explicit density; else ConfigError."""
        if not self.settings.kind.density:
            raise ConfigError(
                f"model {self.settings.model!r}: an autoencoder rebuilds images but has no density to draw from "
                "or to score by",
                advice="density",
            )
        density: DensityNetwork = self.network  # type: ignore[assignment]
        return density

    @in_own_arithmetic
    def encode(self, images: Tensor) -> Tensor:
        """Codes (N, latent_dim) of images, on the CPU."""
        with torch.no_grad():
            return self.network.encode(self.look(images).source).cpu()

    @in_own_arithmetic
    def decode(self, codes: Tensor) -> Tensor:
        """Pictures (N, 28, 28) in [0, 1] of codes (N, latent_dim), in the network's own view."""
        with torch.no_grad():
            return self._flat(self.network.decode(codes.to(self.device)))

    @in_own_arithmetic
    def generate(self, count: int, seed: int) -> Tensor:
        """New pictures, (count, 28, 28) in [0, 1]: decoded means of draws from the prior."""
        draws = np.random.default_rng([seed, seeds.PRIOR]).standard_normal((count, self.density.width))
        with torch.no_grad():
            parts = torch.from_numpy(draws.astype(np.float32)).split(GENERATED)
            return torch.cat([self._flat(self.density.sample(part.to(self.device))) for part in parts])

    @in_own_arithmetic
    def unit_terms(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior means and KLs in nats of each latent unit, float64 (N, width) each.

        A unit is active if its posterior mean varies over images by more than ACTIVE (Burda et al. 2016).
        """
        source = self.look(images).source
        with torch.no_grad():
            means = self.density.unit_means(source).cpu().double()
            return means, self.density.kl_units(self.density.infer(source))

    def unit_activity(self, batches: Iterable[Tensor]) -> tuple[np.ndarray, np.ndarray]:
        """Return the variance of each latent unit's posterior mean over images, and its mean KL in nats, (width,)."""
        parts = [self.unit_terms(images) for images in batches]
        means, kl = (torch.cat(part) for part in zip(*parts, strict=True))
        return means.var(0, correction=0).cpu().numpy(), kl.mean(0).cpu().numpy()

    def _flat(self, maps: Tensor) -> Tensor:
        """Decoded maps (N, C, 28, 28) as pictures (N, 28, 28)."""
        return (maps[:, 0] if self.view.again else maps.sum(1).clamp(0, 1)).cpu()


@contextlib.contextmanager
def _blamed(rule: str) -> Iterator[None]:
    """Raise whatever a score that does not come with anomalae raises as a PartError, which names it and its package."""
    try:
        yield
    except AnomalaeError:
        raise
    except Exception as error:
        if SCORES.is_ours(rule):
            raise
        raise SCORES.failure(rule, error) from error


def _check_learned(learned: Mapping[str, np.ndarray], names: tuple[str, ...]) -> None:
    """Raise ValueError or TypeError where what a score learned could not be kept with a run."""
    if not isinstance(learned, Mapping) or set(learned) != set(names):
        kept = ", ".join(learned) if isinstance(learned, Mapping) else type(learned).__name__
        raise ValueError(f"learned {kept or 'nothing'}: must be {', '.join(names)}")
    for name, array in learned.items():
        if not isinstance(array, np.ndarray) or array.dtype != np.float32:
            kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise TypeError(f"learned {name} is {kind}: must be a float32 array")
        if not np.isfinite(array).all():
            raise ValueError(f"learned {name} is not all finite numbers")


def _check_scores(scores: Tensor, count: int) -> None:
    """Raise ValueError or TypeError where scores are not `count` finite numbers, float64 on the CPU."""
    if not isinstance(scores, Tensor):
        raise TypeError(f"scores are a {type(scores).__name__}, not a Tensor")
    if scores.dtype != torch.float64 or scores.shape != (count,) or scores.device.type != "cpu":
        kind = f"{scores.dtype} {tuple(scores.shape)} on {scores.device}"
        raise ValueError(f"scores of {count} images are {kind}: must be float64 ({count},) on the CPU")
    if scores.requires_grad:
        raise ValueError("scores carry a gradient: detach them")
    if not torch.isfinite(scores).all():
        raise ValueError("scores are not all finite numbers")
