"""An ensemble: members that score together, and how one score is made of theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from anomalae.detectors.member import Member, NetworkMember
from anomalae.errors import ConfigError
from anomalae.plugins import SCORES
from anomalae.settings import Settings

LEAST_SPREAD = 1e-6  # of comparable scores; less is rounding, of images that are all the same
LEAST_SCORE = 1e-12  # a perfect reconstruction has no logarithm; far below any score seen

Arrays = dict[str, np.ndarray]


@dataclass
class Ensemble:
    """Members that score together; of a single one its scores are left as they are.

    members: networks, then whatever is none.
    standards: by rule, mean and standard deviation of each member's comparable scores of normal images, float64 (M, 2);
        empty of a single member.
    """

    members: list[Member]
    standards: Arrays = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The members' names, in their order."""
        return [member.name for member in self.members]

    @property
    def network_names(self) -> list[str]:
        """The names of the members that are networks."""
        named = zip(self.names, self.members, strict=True)
        return [name for name, member in named if isinstance(member, NetworkMember)]

    @property
    def networks(self) -> list[NetworkMember]:
        """The members that are networks."""
        return [member for member in self.members if isinstance(member, NetworkMember)]

    @property
    def first(self) -> NetworkMember:
        """The first network, which stands for all where one must: its codes, its reconstructions."""
        return self.networks[0]

    def score_members(
        self,
        batches: Iterable[Tensor],
        rules: Sequence[str],
        on_scored: Callable[[int], None] = lambda done: None,
    ) -> dict[str, np.ndarray]:
        """Scores of each member in its own view, float64 (M, N) by rule.

        batches: images, float32 (N, 1, 28, 28) in [0, 1] each. on_scored: called with the number done.
        """
        parts: dict[str, list[np.ndarray]] = {rule: [] for rule in rules}
        done = 0
        for images in batches:
            scores = [member.score(images, rules) for member in self.members]
            for rule in rules:
                parts[rule].append(np.stack([by_rule[rule].numpy() for by_rule in scores]))
            done += len(images)
            on_scored(done)
        return {rule: np.concatenate(arrays, axis=1) for rule, arrays in parts.items()}

    def score_training(self, batches: Sequence[Tensor], rules: Sequence[str]) -> dict[str, np.ndarray]:
        """Scores of each member of the training images themselves, float64 (M, N) by rule."""
        scores = [member.score_training(batches, rules) for member in self.members]
        return {rule: np.stack([by_rule[rule].numpy() for by_rule in scores]) for rule in rules}

    def standardise_by(self, scores: Mapping[str, np.ndarray]) -> None:
        """Take the members' scores of normal images, float64 (M, N) by rule, for what is usual."""
        if len(self.members) > 1:
            self.standards = {rule: standard(rule, of_members) for rule, of_members in scores.items()}

    def combine(self, rule: str, scores: np.ndarray, names: Sequence[str] | None = None) -> np.ndarray:
        """One score of the members' (M, N): the mean of their standardised comparable scores, float64 (N,).

        About 0 for a usual normal image, 1 for one as much above it as normals spread. The score of a single member is
        left as it is.

        names: those of the rows, where they are not all members; the weights of these then sum to 1.
        """
        names = self.names if names is None else names
        if len(names) == 1:
            return scores[0]
        places = [self.names.index(name) for name in names]
        standards = self.standards[rule][places]
        standardised = (comparable(rule, scores) - standards[:, :1]) / standards[:, 1:]
        weights = np.array([self.members[place].weight for place in places])
        weights = weights if len(names) == len(self.members) else np.full(len(names), 1 / len(names))
        return (weights[:, None] * standardised).sum(0)

    def smooth(self, rule: str, scores: np.ndarray) -> np.ndarray:
        """One number an image of the members' scores (M, N), which moves little where these do: float64 (N,).

        It is the score itself, but for folds, whose score is a rank.
        """
        return self.combine(rule, scores)

    def combine_named(self, rule: str, scores: Mapping[str, np.ndarray]) -> np.ndarray:
        """As `combine`, of scores (N,) by member; those of all members or of all networks. ConfigError otherwise."""
        networks = self.network_names
        if set(scores) not in (set(self.names), set(networks)):
            raise ConfigError(f"members {', '.join(scores)}: must be {', '.join(self.names)}")
        names = [name for name in self.names if name in scores]
        return self.combine(rule, np.stack([scores[name] for name in names]), names)

    def terms(self, rule: str, images: Tensor) -> np.ndarray:
        """The mean of the members' heatmaps, weighed as their scores are, float64 (N, 28, 28).

        Each is divided by what its member usually scores, so that a usual normal image sums to about 1.
        """
        terms = [
            share * member.terms(rule, images).numpy()
            for member, share in zip(self.members, self.shares(rule), strict=True)
        ]
        return np.asarray(np.sum(terms, axis=0))

    def shares(self, rule: str) -> np.ndarray:
        """What each member's heatmap is multiplied by before they are added up, float64 (M,)."""
        weights = np.array([member.weight for member in self.members])
        return np.asarray(weights / self._usual(rule) if len(weights) > 1 else weights)

    def draws(self, rule: str) -> bool:
        """Whether every network has terms of this score; see `NetworkMember.draws`."""
        return all(network.draws(rule) for network in self.networks)

    def sums(self, rule: str, scores: Mapping[str, np.ndarray]) -> np.ndarray:
        """What the absolute terms of a heatmap sum to for images with these scores, float64 (N,); of several, about.

        scores: the ensemble's by every rule, float64 (N,).
        """
        in_nats = SCORES[rule].scale == "nats"
        if len(self.members) == 1:
            return scores[rule] - self.first.least(scores) if in_nats else scores[rule]
        shares = np.array([member.weight for member in self.members])
        spreads = self.standards[rule][:, 1]
        if not in_nats:
            return np.asarray(np.exp(scores[rule] * (shares @ spreads)))
        # A network's nats, and the logarithm of what neighbours score: as far above the usual as the ensemble's score.
        total = np.zeros_like(scores[rule])
        for member, spread, usual in zip(self.members, spreads, self._usual(rule), strict=True):
            above = spread * scores[rule]
            relative = 1 + above / usual if isinstance(member, NetworkMember) else np.exp(above)
            total += member.weight * relative
        return total

    def _usual(self, rule: str) -> np.ndarray:
        """What the absolute terms of each member usually sum to, for a normal image, float64 (M,)."""
        means = self.standards[rule][:, 0]
        if SCORES[rule].scale == "error":
            return np.asarray(np.exp(means))
        usual = []
        for place, member in enumerate(self.members):
            if isinstance(member, NetworkMember):
                own = {name: standards[place, :1] for name, standards in self.standards.items()}
                usual.append(max(float((means[place] - member.least(own)).mean()), LEAST_SCORE))
            else:
                usual.append(float(np.exp(means[place])))
        return np.array(usual)


def network_names(settings: Settings) -> list[str]:
    """What the networks of an ensemble are called: by view, numbered where there are several of one."""
    return [
        view if settings.members == 1 else f"{view} {number}"
        for view in settings.views
        for number in range(1, settings.members + 1)
    ]


def comparable(rule: str, scores: np.ndarray) -> np.ndarray:
    """Scores on a scale on which members can be averaged: the logarithm of an error, nats as they are."""
    return np.log(np.maximum(scores, LEAST_SCORE)) if SCORES[rule].scale == "error" else scores


def standard(rule: str, scores: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of each member's comparable scores (M, N) of normal images: float64 (M, 2)."""
    values = comparable(rule, scores)
    return np.stack(standard_of(values), 1)


def standard_of(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation along the last axis; 1 for one that is nothing but rounding."""
    spread = values.std(-1)
    return values.mean(-1), np.where(spread > LEAST_SPREAD, spread, 1.0)
