"""Neighbours: an image set against the training images most like it, each allowed to bend by a pixel.

Nothing is trained here. It is the member of an ensemble that has no blind spot in common with its networks: what
no training image looks like, it does not rebuild, where an autoencoder may.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
# Times as many as count are compared closely: the ones nearest by the cosine of blurred images.
CANDIDATES = 4
# Standard deviation and reach of that blur, in pixels.
SEARCH_SIGMA, SEARCH_CUT = 1.0, 3
# How far a neighbour's edges may move each way, in pixels.
BEND = 1
# Side of what moves together, in pixels.
PATCH = 3
# Images whose neighbours are searched at once.
SEARCHED = 1024
# Pairs of images compared at once: what they need stays in a processor's cache.
PAIRS = 160
# The score of an image without ink.
BLANK = 2.0


class Neighbours:
    """Neighbours keep the training images, and score an image by the nearest `count` of them.

    The distance of two images, brought upright and to a common spread (`anomalae.models.views.settled`), is that of
    their Sobel maps, each scaled to length 1: for every pixel the least squared distance of the 3 x 3 patch around it
    to the other image's patches at most one pixel away, summed over the pixels of both images; 0 to about 4. The score
    is the mean distance of the `count` nearest.

    This is the image distortion model with local gradients of Keysers, Deselaers, Gollan and Ney, "Deformation models
    for image recognition", IEEE Transactions on Pattern Analysis and Machine Intelligence 29, 2007, made symmetric.
    """

    name = NAME
    device = torch.device("cpu")

    def __init__(
        self,
        kept: np.ndarray,
        count: int,
        view: View = SETTLED,
        weight: float = 0.5,
        arithmetic: str = PLAIN,
    ) -> None:
        """Take the training images that others are set against.

        kept: the settled training images, uint8 (n, 28, 28). ConfigError for none.
        count: how many of the nearest are averaged, at least 1; all where there are fewer.
        view: in which images are compared.
        weight: what they count for in an ensemble: as much as all networks together.
        arithmetic: of float32 products, by which they are searched for.
        """
        self.weight, self.arithmetic = weight, arithmetic
        if kept.ndim != 3 or kept.shape[1:] != (28, 28) or not len(kept):
            raise ConfigError(f"neighbours: images of shape {kept.shape}: must be (n, 28, 28), n at least 1")
        self.kept, self.count = kept, min(count, len(kept))
        self.candidates = min(CANDIDATES * self.count, len(kept))
        self.view = view
        # Sizes of block that agree on this machine, by the number of threads.
        self.block_sizes: dict[int, tuple[int, ...]] = {}
        images = torch.from_numpy(kept)[:, None].float() / 255
        with computing(arithmetic):
            self._images, self._blurred, self._maps = images, _blurred(images), _maps(images)

    @classmethod
    def fit(cls, images: Tensor, count: int, view: View = SETTLED, *, arithmetic: str = PLAIN) -> Neighbours:
        """Keep training images (N, 1, 28, 28) in [0, 1], as they look in a view."""
        with computing(arithmetic):
            seen = view.source(images.cpu())[:, 0]
        return cls((seen * 255).round().byte().numpy(), count, view, arithmetic=arithmetic)

    @in_own_arithmetic
    def score(self, images: Tensor, rules: Sequence[str]) -> dict[str, Tensor]:
        """Return the score, float64 (N,), for each of these rules; beside scores in nats its logarithm."""
        return _by_rule(self._compare(images)[0], rules)

    @in_own_arithmetic
    def score_training(self, batches: Iterable[Tensor], rules: Sequence[str]) -> dict[str, Tensor]:
        """Return the scores of the training images kept, each set against the others; of a single one BLANK.

        An image is no neighbour of its own, so what is kept is compared, and `batches` are not looked at.
        """
        if len(self.kept) == 1:
            return _by_rule(torch.full((1,), BLANK), rules)
        places = torch.arange(len(self.kept)).split(SEARCHED)
        parts = [self._compare_prepared(*self._prepared(self._images[part]), part)[0] for part in places]
        return _by_rule(torch.cat(parts), rules)

    @in_own_arithmetic
    def terms(self, rule: str, images: Tensor) -> Tensor:
        """Return the score's signed terms laid over the image, float64 (N, 28, 28); absolute values sum to the score.

        Positive where the image has more ink, blurred, than its neighbours have on average, negative where less.
        """
        score, where, near = self._compare(images)
        source = self.view.source(images.cpu())
        blur = blur_matrix(28, SEARCH_SIGMA, SEARCH_CUT).float()
        more = blur @ (source - self._mean(near)) @ blur.T
        terms = where * torch.where(more < 0, -1, 1)
        laid = self.view.back(terms.double(), images.cpu().double(), True)
        total = laid.abs().sum((1, 2))
        return laid * (score.double() / total.where(total > 0, 1))[:, None, None]

    @in_own_arithmetic
    def picture(self, images: Tensor) -> Tensor:
        """Return the mean of the nearest training images, laid over the image: (N, 28, 28) in [0, 1]."""
        return self.view.back(self._mean(self._compare(images)[2]), images.cpu(), False).clamp(0, 1)

    def _mean(self, near: Tensor) -> Tensor:
        return self._images[near].mean(1)

    def _compare(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return scores (N,), their terms (N, 1, 28, 28) in the view, and the indices (N, count) of the neighbours."""
        parts = [
            tuple(part[:count] for part in self._prepared(self.view.source(block)))
            for block, count in blocks(images.cpu(), self._sizes())
        ]
        return self._compare_prepared(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def _sizes(self) -> tuple[int, ...]:
        """Return the sizes of block in which an image is prepared the same, on this machine as it is."""
        # PyTorch divides the work by the number of threads.
        threads = torch.get_num_threads()
        if threads not in self.block_sizes:
            self.block_sizes[threads] = agreeing(
                lambda images: torch.cat(
                    [part.flatten(1) for part in self._prepared(self.view.source(images))], 1
                ),
                noise(1, 28, 28),
            )
        return self.block_sizes[threads]

    def _prepared(self, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return images in the view, their Sobel maps, and how like they are to each of the kept images (N, n)."""
        return source, _maps(source), _blurred(source) @ self._blurred.T

    def _compare_prepared(
        self, source: Tensor, maps: Tensor, likeness: Tensor, own_places: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        candidates = self.candidates
        if own_places is not None:
            likeness[torch.arange(len(own_places)), own_places] = -torch.inf
            candidates = min(candidates, len(self.kept) - 1)
        likely = likeness.topk(candidates, 1).indices
        parts = zip(*(p.split(max(1, PAIRS // candidates)) for p in (maps, likely)), strict=True)
        nearest = [self._nearest(part, index) for part, index in parts]
        score, where, near = (torch.cat(part) for part in zip(*nearest, strict=True))
        blank = source.flatten(1).amax(1) <= 0
        return score.where(~blank, BLANK), where, near

    def _nearest(self, maps: Tensor, likely: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n, candidates = likely.shape
        pairs = maps[:, None].expand(-1, candidates, -1, -1, -1).flatten(0, 1)
        where = bent(pairs, self._maps[likely.flatten()]).unflatten(0, (n, candidates))
        distance, order = where.sum((2, 3)).topk(min(self.count, candidates), 1, largest=False)
        rows = torch.arange(n)[:, None]
        return distance.mean(1), where[rows, order].mean(1, keepdim=True), likely[rows, order]


def _by_rule(scores: Tensor, rules: Sequence[str]) -> dict[str, Tensor]:
    scores = scores.double()
    return {
        rule: scores if SCORES[rule].scale == "error" else scores.clamp_min(1e-12).log() for rule in rules
    }


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


def _blurred(images: Tensor) -> Tensor:
    """Return blurred images of length 1, (N, 784)."""
    blur = blur_matrix(28, SEARCH_SIGMA, SEARCH_CUT).to(images)
    return F.normalize((blur @ images @ blur.T).flatten(1))


def _maps(images: Tensor) -> Tensor:
    """Return Sobel maps of length 1 together, (N, 2, 28, 28)."""
    four = edges(images)
    both = four[:, [0, 2]] - four[:, [1, 3]]
    return F.normalize(both.flatten(1)).unflatten(1, both.shape[1:])
