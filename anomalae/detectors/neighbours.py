"""Neighbours: an image set against the training images most like it, each allowed to bend by a pixel.

Nothing is trained here. It is the member of an ensemble that has no blind spot in common with its networks: what
no training image looks like, it does not rebuild, where an autoencoder may.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anomalae.arithmetic import PLAIN, computing, in_own_arithmetic
from anomalae.detectors.batches import agreeing, blocks, noise
from anomalae.errors import ConfigError
from anomalae.models.blur import blur_matrix
from anomalae.models.views import SETTLED, View, edges
from anomalae.plugins import SCORES

NAME = "neighbours"


@dataclass(frozen=True)
class Distance:
    """One way to make a distance of what two images' pixels differ by.

    blank: what an image without ink scores by it: about what two digits of different classes are apart.
    candidates: times as many as count are compared closely: the ones nearest by the cosine of blurred images.
    weight: what neighbours count for in an ensemble with networks.
    """

    blank: float
    candidates: int
    weight: float


DISTANCES = {
    "sum": Distance(2.0, 4, 1 / 2),
    "rms": Distance(4.0, 3, 2 / 3),
    "worst": Distance(9.0, 4, 1 / 2),
}
# Standard deviation and reach of that blur, in pixels.
SEARCH_SIGMA, SEARCH_CUT = 1.0, 3
# How far a neighbour's edges may move each way, in pixels.
BEND = 1
# Side of what moves together, in pixels.
PATCH = 3
# Side of the square whose mean is the worst place.
PLACE = 9
# Images whose neighbours are searched at once, among training images as many at once: so the likeness takes 16 MB.
SEARCHED, AMONG = 256, 16384
# Pairs of images compared at once where that is not compiled.
PAIRS = 4096


class Neighbours:
    """Neighbours keep the training images, and score an image by the nearest `count` of them.

    The terms of two images, brought upright and to a common spread (`anomalae.models.views.settled`), are those of
    their Sobel maps, each scaled to length 1: for every pixel the least squared distance of the 3 x 3 patch around it
    to the other image's patches at most one pixel away, of both images. Their distance is by `sum` the sum of the
    terms, 0 to about 4; by `rms` 784 times their root mean square, in which large terms count for more; by `worst` that
    times the root of 784 times the largest mean in a square of 9 x 9. The score is the mean distance of the `count`
    nearest.

    This is the image distortion model with local gradients of Keysers, Deselaers, Gollan and Ney, "Deformation models
    for image recognition", IEEE Transactions on Pattern Analysis and Machine Intelligence 29, 2007, made symmetric.
    """

    name = NAME

    def __init__(
        self,
        kept: np.ndarray,
        count: int,
        view: View = SETTLED,
        distance: str = "sum",
        arithmetic: str = PLAIN,
    ) -> None:
        """Take the training images that others are set against.

        kept: the settled training images, uint8 (n, 28, 28). ConfigError for none.
        count: how many of the nearest are averaged, at least 1; all where there are fewer.
        view: in which images are compared.
        distance: `sum`, `rms` or `worst`. ConfigError for another.
        arithmetic: of float32 products, by which they are searched for.
        """
        self.arithmetic = arithmetic
        if kept.ndim != 3 or kept.shape[1:] != (28, 28) or not len(kept):
            raise ConfigError(f"neighbours: images of shape {kept.shape}: must be (n, 28, 28), n at least 1")
        if distance not in DISTANCES:
            raise ConfigError(f"neighbours: distance {distance!r}: must be one of {', '.join(DISTANCES)}")
        self.kept, self.count = kept, min(count, len(kept))
        self.weight = DISTANCES[distance].weight
        self.candidates = min(DISTANCES[distance].candidates * self.count, len(kept))
        self.view, self.distance = view, distance
        # Sizes of block that agree on this machine, by the device and the number of threads.
        self.block_sizes: dict[Any, tuple[int, ...]] = {}
        self._kept = torch.from_numpy(kept)
        with computing(arithmetic):
            self._blurred = torch.cat([_blurred(_floats(part)) for part in self._kept.split(SEARCHED)])

    @classmethod
    def fit(
        cls,
        images: Tensor,
        count: int,
        view: View = SETTLED,
        distance: str = "sum",
        arithmetic: str = PLAIN,
    ) -> Neighbours:
        """Keep training images (N, 1, 28, 28) in [0, 1], as they look in a view."""
        parts = [(view.source(part.cpu())[:, 0] * 255).round().byte() for part in images.split(SEARCHED)]
        return cls(torch.cat(parts).numpy(), count, view, distance, arithmetic)

    @property
    def device(self) -> torch.device:
        """Where images are compared; on the CPU that is compiled."""
        return self._kept.device

    def to(self, device: torch.device) -> Self:
        """Compare images on a device; returns self."""
        self._kept, self._blurred = self._kept.to(device), self._blurred.to(device)
        return self

    @in_own_arithmetic
    def score(self, images: Tensor, rules: Sequence[str]) -> dict[str, Tensor]:
        """Return the score, float64 (N,), for each of these rules; beside scores in nats its logarithm."""
        return _by_rule(self._nearest(*self._seen(images))[0], rules)

    @in_own_arithmetic
    def score_training(self, batches: Iterable[Tensor], rules: Sequence[str]) -> dict[str, Tensor]:
        """Return the scores of the training images kept, each set against the others; of a single one that of a blank.

        An image is no neighbour of its own, so what is kept is compared, and `batches` are not looked at.
        """
        if len(self.kept) == 1:
            return _by_rule(torch.full((1,), DISTANCES[self.distance].blank), rules)
        parts = []
        for places in torch.arange(len(self.kept), device=self.device).split(SEARCHED):
            source = _floats(self._kept[places])
            parts.append(self._nearest(source, self._likely(source, places))[0])
        return _by_rule(torch.cat(parts), rules)

    @in_own_arithmetic
    def terms(self, rule: str, images: Tensor) -> Tensor:
        """Return the score's signed terms laid over the image, float64 (N, 28, 28); absolute values sum to the score.

        Positive where the image has more ink, blurred, than its neighbours have on average, negative where less.
        """
        source, likely = self._seen(images)
        score, near = self._nearest(source, likely)
        where = self._differing(source, near)
        if self.distance != "sum":
            where = where.square()
        blur = blur_matrix(28, SEARCH_SIGMA, SEARCH_CUT).float()
        more = blur @ (source.cpu() - self._mean(near)) @ blur.T
        terms = where.mean(1, keepdim=True).cpu() * torch.where(more < 0, -1, 1)
        laid = self.view.back(terms.double(), images.cpu().double(), True)
        total = laid.abs().sum((1, 2))
        return laid * (score.cpu().double() / total.where(total > 0, 1))[:, None, None]

    @in_own_arithmetic
    def picture(self, images: Tensor) -> Tensor:
        """Return the mean of the nearest training images, laid over the image: (N, 28, 28) in [0, 1]."""
        mean = self._mean(self._nearest(*self._seen(images))[1])
        return self.view.back(mean, images.cpu(), False).clamp(0, 1)

    def _mean(self, near: Tensor) -> Tensor:
        return _floats(self._kept[near].flatten(0, 1)).unflatten(0, near.shape).mean(1).cpu()

    def _seen(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return images in the view, (N, 1, 28, 28), and the indices of those likely near, (N, candidates)."""
        parts = []
        for block, count in blocks(images.cpu(), self._sizes()):
            source = self.view.source(block.to(self.device))
            parts.append((source[:count], self._likely(source)[:count]))
        source, likely = (torch.cat(part) for part in zip(*parts, strict=True))
        return source, likely

    def _sizes(self) -> tuple[int, ...]:
        """Return the sizes of block in which an image is prepared the same, on this machine as it is."""
        # PyTorch divides the work by the number of threads.
        key = (self.device, torch.get_num_threads())
        if key not in self.block_sizes:
            # Products of a part that is whole, and of the last.
            among = self._blurred.split(AMONG)
            tried = among[:1] + among[1:][-1:]

            def prepared(images: Tensor) -> Tensor:
                source = self.view.source(images.to(self.device))
                blurred = _blurred(source)
                return torch.cat([source.flatten(1), *(blurred @ part.T for part in tried)], 1)

            self.block_sizes[key] = agreeing(prepared, noise(1, 28, 28))
        return self.block_sizes[key]

    def _likely(self, source: Tensor, own_places: Tensor | None = None) -> Tensor:
        """Return the indices of the images kept that are most like each by the cosine of blurred images.

        source: images in the view, (N, 1, 28, 28).
        own_places: the index of each among those kept, which is not its own neighbour; None where it is not kept.
        """
        blurred, best, places = _blurred(source), [], []
        rows = torch.arange(len(source), device=self.device)
        candidates = self.candidates if own_places is None else min(self.candidates, len(self.kept) - 1)
        for start, part in zip(range(0, len(self.kept), AMONG), self._blurred.split(AMONG), strict=True):
            likeness = blurred @ part.T
            if own_places is not None:
                here = (own_places >= start) & (own_places < start + len(part))
                likeness[rows[here], own_places[here] - start] = -torch.inf
            most = likeness.topk(min(candidates, len(part)), 1)
            best.append(most.values)
            places.append(most.indices + start)
        return torch.cat(places, 1).gather(1, torch.cat(best, 1).topk(candidates, 1).indices)

    def _nearest(self, source: Tensor, likely: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (N,), and the indices (N, count) of the neighbours, nearest first."""
        total, squares, worst = self._figures(source, likely)
        distance = total
        if self.distance != "sum":
            distance = 28 * squares.sqrt()
        if self.distance == "worst":
            distance = distance * (784 * worst).sqrt()
        nearest, order = distance.topk(min(self.count, likely.shape[1]), 1, largest=False)
        blank = source.flatten(1).amax(1) <= 0
        return nearest.mean(1).where(~blank, DISTANCES[self.distance].blank), likely.gather(1, order)

    def _figures(self, source: Tensor, likely: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the sum of each pair's terms, that of their squares, and the worst place's mean: (N, c) each."""
        if self.device.type == "cpu":
            from anomalae.models.compiled import pairs

            given = source[:, 0].numpy(), self.kept, likely.numpy()
            total, squares, worst = pairs.figures(*given, worst=self.distance == "worst")
            return torch.from_numpy(total), torch.from_numpy(squares), torch.from_numpy(worst)
        return plain_figures(source, self._kept, likely)

    def _differing(self, source: Tensor, near: Tensor) -> Tensor:
        """Return the terms of pairs, (N, c, 28, 28)."""
        if self.device.type == "cpu":
            from anomalae.models.compiled import pairs

            return torch.from_numpy(pairs.terms(source[:, 0].numpy(), self.kept, near.numpy()))
        return plain_terms(source, self._kept, near)


def _by_rule(scores: Tensor, rules: Sequence[str]) -> dict[str, Tensor]:
    scores = scores.cpu().double()
    return {
        rule: scores if SCORES[rule].scale == "error" else scores.clamp_min(1e-12).log() for rule in rules
    }


def plain_figures(source: Tensor, kept: Tensor, likely: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return of each pair's terms the sum, the sum of squares and the largest mean in a square of 9 x 9: (N, c) each.

    source: images in the view, (N, 1, 28, 28).
    kept: those they are set against, uint8 (n, 28, 28).
    likely: the indices of those that each is compared with, (N, c).
    """
    rows = max(1, PAIRS // likely.shape[1])
    parts = []
    for some, indices in zip(source.split(rows), likely.split(rows), strict=True):
        terms = plain_terms(some, kept, indices)
        places = F.avg_pool2d(terms, PLACE, 1).amax((2, 3))
        parts.append((terms.sum((2, 3)), terms.square().sum((2, 3)), places))
    total, squares, worst = (torch.cat(part) for part in zip(*parts, strict=True))
    return total, squares, worst


def plain_terms(source: Tensor, kept: Tensor, likely: Tensor) -> Tensor:
    """Return where pairs of images differ, (N, c, 28, 28); arguments as of `plain_figures`."""
    ours = _maps(source)[:, None].expand(-1, likely.shape[1], -1, -1, -1)
    theirs = _maps(_floats(kept[likely.flatten()]))
    return bent(ours.flatten(0, 1), theirs).unflatten(0, likely.shape)


def bent(a: Tensor, b: Tensor) -> Tensor:
    """Return where maps differ though either may bend: terms (P, 28, 28), at least 0.

    a, b: maps (P, C, 28, 28), compared pair by pair.

    At each pixel the least mean squared distance of a's patch there to b's patches at most BEND away, and b's to a's.
    """
    margin, rim = BEND, PATCH // 2
    # Where distances are needed: of b's patches to a's, shifted, on the rim too.
    side = a.shape[-1] + 2 * margin
    wide, wider = F.pad(a, (margin + rim,) * 4), F.pad(b, (2 * margin + rim,) * 4)
    forth = back = a.new_full((), torch.inf)
    shifts = range(-margin, margin + 1)
    for down in shifts:
        for across in shifts:
            top, left = margin + down, margin + across
            other = wider[..., top : top + side + 2 * rim, left : left + side + 2 * rim]
            # At [y, x] that of a's patch there and b's, shifted.
            distances = F.avg_pool2d((wide - other).square().sum(1), PATCH, 1)
            forth = torch.minimum(forth, distances[:, margin:-margin, margin:-margin])
            top, left = margin - down, margin - across
            back = torch.minimum(back, distances[:, top : top + a.shape[-2], left : left + a.shape[-1]])
    return forth + back


def _floats(images: Tensor) -> Tensor:
    """Return uint8 images (N, 28, 28) as float32 (N, 1, 28, 28) in [0, 1]."""
    return images[:, None].float() / 255


def _blurred(images: Tensor) -> Tensor:
    """Return blurred images of length 1, (N, 784)."""
    blur = blur_matrix(28, SEARCH_SIGMA, SEARCH_CUT).to(images)
    return F.normalize((blur @ images @ blur.T).flatten(1))


def _maps(images: Tensor) -> Tensor:
    """Return Sobel maps of length 1 together, (N, 2, 28, 28)."""
    four = edges(images)
    both = four[:, [0, 2]] - four[:, [1, 3]]
    return F.normalize(both.flatten(1)).unflatten(1, both.shape[1:])
