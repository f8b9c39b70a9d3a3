"""How far two images differ where each may bend by a pixel, and by what the nearest are searched: in torch.

`anomalae.models.compiled.pairs` does the same for the CPU, twenty times as fast.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from anomalae.models.views import edges

# How far a neighbour's edges may move each way, in pixels.
BEND = 1
# Side of what moves together, in pixels.
PATCH = 3
# Pairs of images compared at once: on the CPU what they need stays in its cache.
PAIRS, PAIRS_OF_CPU = 4096, 160


def figures(source: Tensor, kept: Tensor, likely: Tensor) -> tuple[Tensor, Tensor]:
    """Return of each pair's terms the sum and the sum of squares: (N, c) each.

    source: images in the view, (N, 1, 28, 28).
    kept: those they are set against, uint8 (n, 28, 28).
    likely: the indices of those that each is compared with, (N, c).
    """
    most = PAIRS_OF_CPU if source.device.type == "cpu" else PAIRS
    rows = max(1, most // likely.shape[1])
    parts = []
    for some, indices in zip(source.split(rows), likely.split(rows), strict=True):
        of_pairs = terms(some, kept, indices)
        parts.append((of_pairs.sum((2, 3)), of_pairs.square().sum((2, 3))))
    total, squares = (torch.cat(part) for part in zip(*parts, strict=True))
    return total, squares


def terms(source: Tensor, kept: Tensor, likely: Tensor) -> Tensor:
    """Return where pairs of images differ, (N, c, 28, 28); arguments as of `figures`."""
    ours = maps(source)[:, None].expand(-1, likely.shape[1], -1, -1, -1)
    theirs = maps(floats(kept[likely.flatten()]))
    return bent(ours.flatten(0, 1), theirs).unflatten(0, likely.shape)


def edge_numbers(source: Tensor) -> Tensor:
    """Return how much of an image's edges faces each of four ways in each of 7 x 7 places: of length 1, (N, 196).

    source: images in the view, (N, 1, 28, 28). Places are squares of 6 x 6 at every 4 pixels.
    """
    return F.normalize(F.avg_pool2d(edges(source), 6, 4, 1).flatten(1))


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


def floats(images: Tensor) -> Tensor:
    """Return uint8 images (N, 28, 28) as float32 (N, 1, 28, 28) in [0, 1]."""
    return images[:, None].float() / 255


def maps(images: Tensor) -> Tensor:
    """Return Sobel maps of length 1 together, (N, 2, 28, 28)."""
    four = edges(images)
    both = four[:, [0, 2]] - four[:, [1, 3]]
    return F.normalize(both.flatten(1)).unflatten(1, both.shape[1:])
