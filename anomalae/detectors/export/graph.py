"""The graph of a detector: from canonical images to verdicts, in torch alone."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anomalae.detectors.detector import Detector
from anomalae.detectors.ensemble import LEAST_SCORE, Ensemble
from anomalae.detectors.export.forms import GraphNeighbours, score_form, view_form
from anomalae.detectors.export.names import FOLD_SCORES, NEAREST, OUTPUTS
from anomalae.detectors.folds import FoldEnsemble
from anomalae.detectors.member import NetworkMember
from anomalae.detectors.neighbours import Neighbours
from anomalae.evaluation.conformal import raised
from anomalae.evaluation.cross_conformal import EDGE
from anomalae.plugins import SCORES
from anomalae.scores.base import Evidence, Score
from anomalae.scores.density import ReconstructionProbability


class Graph(nn.Module):
    """A graph judges canonical images by one rule and one calibration of a detector, in torch alone.

    detector: a fitted one.
    rule: by which it judges.
    calibration: name of one of the detector's calibrations; None is its own.
    """

    known: Tensor
    limits: Tensor
    sums: Tensor
    most: Tensor

    def __init__(self, detector: Detector, rule: str, calibration: str | None = None) -> None:
        super().__init__()
        ensemble = detector._ensemble
        self.rule, self.drawn = rule, detector.heatmap_rule(rule)
        self.members: list[Any] = [
            _Network(member) if isinstance(member, NetworkMember) else _Neighbours(member)
            for member in ensemble.members
            if isinstance(member, NetworkMember | Neighbours)
        ]
        self.networks = nn.ModuleList(
            member.network for member in self.members if isinstance(member, _Network)
        )
        self.folds = ensemble if isinstance(ensemble, FoldEnsemble) else None
        self.parts = (ensemble,) if self.folds is None else self.folds.parts
        held_out = [] if self.folds is None else self.folds.held_out(rule)
        self.held_out = [torch.from_numpy(raised(known)) for known in held_out]
        self.shares = ensemble.shares(self.drawn).tolist()
        known = np.sort(detector.calibration_scores(rule, calibration=calibration))
        self.register_buffer("known", torch.from_numpy(known))
        self.register_buffer("limits", torch.from_numpy(raised(known)))
        sums = detector.heatmap_sums(rule, calibration=calibration)
        self.register_buffer("most", torch.tensor(sums.max()))
        self.register_buffer("sums", torch.from_numpy(raised(sums)))

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of what it returns, in that order."""
        lacking = {NEAREST} if self._neighbours is None else set()
        lacking |= {FOLD_SCORES} if self.folds is None else set()
        return tuple(name for name in OUTPUTS if name not in lacking)

    def forward(self, images: Tensor, alpha: Tensor) -> tuple[Tensor, ...]:
        """Return what `output_names` lists.

        images: uint8 (N, 28, 28).
        alpha: float64 ().
        """
        floats = images[:, None].float() / 255
        seen = [member.look(floats) for member in self.members]
        by_part = self._by_part(seen)
        score = by_part[0] if self.folds is None else self._position(by_part, self.folds)
        at_least = (self.limits >= score[:, None]).sum(1)
        p_value = (1 + at_least).double() / (self.limits.shape[0] + 1)
        heat = [
            share * member.terms(self.drawn, evidence)
            for share, member, evidence in zip(self.shares, self.members, seen, strict=True)
        ]
        first, evidence = self.members[0], seen[0]
        outputs = [
            score,
            p_value,
            p_value <= alpha,
            first.view.back(evidence.rebuilt, floats, False).clamp(0, 1),
            torch.stack(heat).sum(0).float(),
            evidence.source[:, 0].clone(),
            first.network.encode(evidence.source),
            self.known.clone(),
            self._at(alpha, self.limits, none=torch.tensor(torch.inf, dtype=torch.float64)),
            self._at(alpha, self.sums, none=self.most),
        ]
        if self._neighbours is not None:
            outputs.append(self.members[self._neighbours].nearest(seen[self._neighbours]))
        if self.folds is not None:
            outputs.append(torch.stack(by_part, 1))
        return tuple(outputs)

    @property
    def _neighbours(self) -> int | None:
        """Where the first neighbours are among the members; None without any."""
        return next((k for k, member in enumerate(self.members) if isinstance(member, _Neighbours)), None)

    def _at(self, alpha: Tensor, limits: Tensor, none: Tensor) -> Tensor:
        """Return what `anomalae.evaluation.conformal.threshold` does of scores that are raised; `none` for None."""
        n = limits.shape[0]
        # The p-value of an image that scores more than all up to this one, and less than the next.
        shares_above = torch.arange(n, 0, -1, dtype=torch.float64) / (n + 1)
        found = torch.where(shares_above <= alpha, limits, torch.inf).amin(0)
        return torch.where(shares_above[-1] <= alpha, found, none)

    def _by_part(self, seen: list[Any]) -> list[Tensor]:
        """Return the score of each fold's ensemble, or of the one that there is."""
        scores = [
            member.score(self.rule, evidence) for member, evidence in zip(self.members, seen, strict=True)
        ]
        each = len(scores) // len(self.parts)
        return [self._combined(part, scores[k * each : (k + 1) * each]) for k, part in enumerate(self.parts)]

    def _combined(self, part: Ensemble, scores: list[Tensor]) -> Tensor:
        """Return what `Ensemble.combine` does."""
        if len(scores) == 1:
            return scores[0]
        standardised = [
            member.weight * ((score - mean) / spread)
            for member, score, (mean, spread) in zip(
                part.members, self._scaled(scores), part.standards[self.rule].tolist(), strict=True
            )
        ]
        return torch.stack(standardised).sum(0)

    def _position(self, scores: list[Tensor], folds: FoldEnsemble) -> Tensor:
        """Return what `anomalae.evaluation.cross_conformal.positions` does of scores by fold."""
        above = [(known < score[:, None]).sum(1) for known, score in zip(self.held_out, scores, strict=True)]
        usual, spread = folds.usual(self.rule)
        beyond = torch.stack(self._scaled(scores) if folds.single else scores).mean(0)
        beyond = (beyond - usual) / spread
        fraction = 0.5 + 0.5 * beyond / (1 + beyond.abs())
        return torch.stack(above).sum(0).double() + fraction.clamp(EDGE, 1 - EDGE)

    def _scaled(self, scores: list[Tensor]) -> list[Tensor]:
        """Return what `comparable` does."""
        if SCORES[self.rule].scale == "error":
            return [score.clamp_min(LEAST_SCORE).log() for score in scores]
        return scores


class Decoder(nn.Module):
    """A decoder makes images of codes as a detector's first network does: `Detector.decode` in torch alone."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        first = detector._ensemble.first
        self.network: Any = copy.deepcopy(first.network).to("cpu")
        self.again = first.view.again

    def forward(self, codes: Tensor) -> Tensor:
        """Return images (N, 28, 28) in [0, 1] of codes (N, latent_dim)."""
        maps = self.network.decode(codes)
        return maps[:, 0] if self.again else maps.sum(1).clamp(0, 1)


class _Network:
    """A trained network, its view and scores in forms that can be part of a graph."""

    def __init__(self, member: NetworkMember) -> None:
        self.network: Any = copy.deepcopy(member.network).to("cpu")
        self.settings, self.learned, self.draws_excess = member.settings, member.learned, member.exceeds
        self.view = view_form(member.view)
        self._forms: dict[str, Score] = {}

    def look(self, images: Tensor) -> Evidence:
        return Evidence(self.network, self.settings, images, self.view)

    def score(self, rule: str, seen: Evidence) -> Tensor:
        return self._form(rule).score(seen, self.learned.get(rule, {}))

    def terms(self, rule: str, seen: Evidence) -> Tensor:
        excess = self.draws_excess(rule)
        terms = ReconstructionProbability.excess_terms(seen) if excess else self._form(rule).terms(seen)
        assert terms is not None
        return self.view.back(terms, seen.images, True)

    def _form(self, rule: str) -> Score:
        return self._forms.setdefault(rule, score_form(rule))


class _Neighbours:
    """The nearest training images of a batch, found once."""

    def __init__(self, member: Neighbours) -> None:
        self.neighbours = GraphNeighbours(member)

    def look(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return images, *self.neighbours.look(images)

    def score(self, rule: str, seen: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        return self.neighbours.by_rule(seen[2], (rule,))[rule]

    def terms(self, rule: str, seen: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        images, source, score, near = seen
        return self.neighbours.laid_terms(images, source, score, near)

    def nearest(self, seen: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        return self.neighbours.kept_images(seen[3])
