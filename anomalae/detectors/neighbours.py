"""Neighbours: an image set against the training images most like it, each allowed to bend by a pixel.

Nothing is trained here. It is the member of an ensemble that has no blind spot in common with its networks: what
no training image looks like, it does not rebuild, where an autoencoder may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anomalae.arithmetic import PLAIN, computing, in_own_arithmetic
from anomalae.detectors.batches import agreeing, blocks, noise
from anomalae.errors import ConfigError
from anomalae.models.bent import edge_numbers, figures, floats, terms
from anomalae.models.blur import blur_matrix
from anomalae.models.views import SETTLED, View
from anomalae.plugins import SCORES, VIEWS

NAME = "neighbours"


@dataclass(frozen=True)
class Distance:
    """One way to make a distance of what two images' pixels differ by.

    blank: what an image without ink scores by it: about what two digits of different classes are apart.
    candidates: times as many as count are compared closely: the ones nearest by the cosine of what is searched by.
    weight: what neighbours count for in an ensemble with networks.
    """

    blank: float
    candidates: int
    weight: float


DISTANCES = {
    "sum": Distance(2.0, 4, 1 / 2),
    "rms": Distance(4.0, 3, 2 / 3),
}
# Standard deviation and reach of that blur, in pixels.
SEARCH_SIGMA, SEARCH_CUT = 1.0, 3
# Images whose neighbours are searched at once, among training images as many at once: so the likeness takes 16 MB.
SEARCHED, AMONG = 256, 16384


class Neighbours:
    """Neighbours keep the training images, and score an image by the nearest `count` of them.

    The terms of two images, brought upright and to a common spread (`anomalae.models.views.settled`), are those of
    their Sobel maps, each scaled to length 1: for every pixel the least squared distance of the 3 x 3 patch around it
    to the other image's patches at most one pixel away, of both images. Their distance is by `sum` the sum of the
    terms, 0 to about 4; by `rms` 784 times their root mean square, in which large terms count for more. The score is
    the mean distance of the `count` nearest among the candidates. These are searched by the cosine of blurred images
    for `sum`, as runs were from the first, and else by how much of the edges faces each way in 7 x 7 places: fewer
    numbers, and more of the nearest.

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
        distance: `sum` or `rms`. ConfigError for another.
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
            self._searched = _by_parts(self._kept, lambda part: self._numbers(floats(part)))

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
        with computing(arithmetic):
            kept = _by_parts(images, lambda part: (view.source(part.cpu())[:, 0] * 255).round().byte())
        return cls(kept.numpy(), count, view, distance, arithmetic)

    @property
    def device(self) -> torch.device:
        """Where images are compared; on the CPU that is compiled."""
        return self._kept.device

    def to(self, device: torch.device) -> Self:
        """Compare images on a device; returns self."""
        # Whole, as the weights of a network: among all of them the nearest are searched.
        if self.device != device:
            self._kept, self._searched = self._kept.to(device), self._searched.to(device)
        return self

    @in_own_arithmetic
    def score(self, images: Tensor, rules: Sequence[str]) -> dict[str, Tensor]:
        """Return the score, float64 (N,), for each of these rules; beside scores in nats its logarithm."""
        return self.by_rule(self._nearest(*self._seen(images))[0], rules)

    @in_own_arithmetic
    def score_training(self, batches: Iterable[Tensor], rules: Sequence[str]) -> dict[str, Tensor]:
        """Return the scores of the training images kept, each set against the others; of a single one that of a blank.

        An image is no neighbour of its own, so what is kept is compared, and `batches` are not looked at.
        """
        if len(self.kept) == 1:
            return self.by_rule(torch.full((1,), DISTANCES[self.distance].blank), rules)
        parts = []
        for places in torch.arange(len(self.kept), device=self.device).split(SEARCHED):
            source = floats(self._kept[places])
            parts.append(self._nearest(source, self._likely(source, places))[0])
        return self.by_rule(torch.cat(parts), rules)

    @staticmethod
    def by_rule(scores: Tensor, rules: Sequence[str]) -> dict[str, Tensor]:
        """Return scores (N,) as those of each of these rules, float64 (N,)."""
        scores = scores.cpu().double()
        return {
            rule: scores if SCORES[rule].scale == "error" else scores.clamp_min(1e-12).log() for rule in rules
        }

    @in_own_arithmetic
    def terms(self, rule: str, images: Tensor) -> Tensor:
        """Return the score's signed terms laid over the image, float64 (N, 28, 28); absolute values sum to the score.

        Positive where the image has more ink, blurred, than its neighbours have on average, negative where less.
        """
        return self.laid_terms(images, *self.look(images))

    def look(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return images in the view, (N, 1, 28, 28), their scores (N,), and indices (N, count) of their neighbours."""
        source, likely = self._seen(images)
        return source, *self._nearest(source, likely)

    def laid_terms(self, images: Tensor, source: Tensor, score: Tensor, near: Tensor) -> Tensor:
        """Return what `terms` does of images and what `look` says of them."""
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

    @in_own_arithmetic
    def nearest(self, images: Tensor) -> np.ndarray:
        """Return the nearest training images, as they are compared: uint8 (N, count, 28, 28), nearest first."""
        return self.kept[self._nearest(*self._seen(images))[1].cpu().numpy()]

    def _mean(self, near: Tensor) -> Tensor:
        return floats(self._kept[near].flatten(0, 1)).unflatten(0, near.shape).mean(1).cpu()

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
            among = self._searched.split(AMONG)
            tried = among[:1] + among[1:][-1:]

            def prepared(images: Tensor) -> Tensor:
                source = self.view.source(images.to(self.device))
                numbers = self._numbers(source)
                return torch.cat([source.flatten(1), *(numbers @ part.T for part in tried)], 1)

            ours = VIEWS.is_ours(self.view.name)
            alike = (self.view.name, tuple(self._searched.shape), self.arithmetic, key) if ours else None
            self.block_sizes[key] = agreeing(prepared, noise(1, 28, 28), alike)
        return self.block_sizes[key]

    def _likely(self, source: Tensor, own_places: Tensor | None = None) -> Tensor:
        """Return the indices of the images kept that are most like each by what they are searched by.

        source: images in the view, (N, 1, 28, 28).
        own_places: the index of each among those kept, which is not its own neighbour; None where it is not kept.
        """
        numbers, best, places = self._numbers(source), [], []
        rows = torch.arange(len(source), device=self.device)
        candidates = self.candidates if own_places is None else min(self.candidates, len(self.kept) - 1)
        for start, part in zip(range(0, len(self.kept), AMONG), self._searched.split(AMONG), strict=True):
            likeness = numbers @ part.T
            if own_places is not None:
                here = (own_places >= start) & (own_places < start + len(part))
                likeness[rows[here], own_places[here] - start] = -torch.inf
            most = likeness.topk(min(candidates, len(part)), 1)
            best.append(most.values)
            places.append(most.indices + start)
        return torch.cat(places, 1).gather(1, torch.cat(best, 1).topk(candidates, 1).indices)

    def _numbers(self, source: Tensor) -> Tensor:
        """Return that by which images in the view are searched: numbers of length 1, (N, 784) or (N, 196)."""
        if self.distance == "sum":
            return _blurred(source)
        if source.device.type == "cpu":
            from anomalae.models.compiled import pairs

            return torch.from_numpy(pairs.edge_numbers(source[:, 0].numpy()))
        return edge_numbers(source)

    def _nearest(self, source: Tensor, likely: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (N,), and the indices (N, count) of the neighbours, nearest first."""
        total, squares = self._figures(source, likely)
        distance = total if self.distance == "sum" else 28 * squares.sqrt()
        nearest, order = distance.topk(min(self.count, likely.shape[1]), 1, largest=False)
        blank = source.flatten(1).amax(1) <= 0
        return nearest.mean(1).where(~blank, DISTANCES[self.distance].blank), likely.gather(1, order)

    def _figures(self, source: Tensor, likely: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of each pair's terms, and that of their squares: (N, c) each."""
        if self.device.type == "cpu":
            from anomalae.models.compiled import pairs

            total, squares = pairs.figures(source[:, 0].numpy(), self.kept, likely.numpy())
            return torch.from_numpy(total), torch.from_numpy(squares)
        return figures(source, self._kept, likely)

    def _differing(self, source: Tensor, near: Tensor) -> Tensor:
        """Return the terms of pairs, (N, c, 28, 28)."""
        if self.device.type == "cpu":
            from anomalae.models.compiled import pairs

            return torch.from_numpy(pairs.terms(source[:, 0].numpy(), self.kept, near.numpy()))
        return terms(source, self._kept, near)


def _by_parts(images: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Return what a function makes of images, SEARCHED at a time: so little more is held at once than what is made."""
    first = function(images[:SEARCHED])
    made = first.new_empty((len(images), *first.shape[1:]))
    for start in range(0, len(images), SEARCHED):
        made[start : start + SEARCHED] = function(images[start : start + SEARCHED])
    return made


def _blurred(images: Tensor) -> Tensor:
    """Return blurred images of length 1, (N, 784)."""
    blur = blur_matrix(28, SEARCH_SIGMA, SEARCH_CUT).to(images)
    return F.normalize((blur @ images @ blur.T).flatten(1))
