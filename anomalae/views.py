"""Views: what one network of an ensemble sees of an image, and what it rebuilds. Small pure functions with names.

Each works on images (N, 1, 28, 28), float in [0, 1], an image at a time: neither order nor neighbours matter. To add
a view, write its functions, add it to VIEWS here and its name to `anomalae.config.VIEWS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

MIDDLE = 13.5  # pixels; coordinate of the middle of a 28 x 28 image
LEAST_VARIANCE = 0.5  # square pixels; floor of the height by which a shear is measured
STEEPEST = 1.0  # limit of the shear that is taken out, either way


@dataclass(frozen=True)
class View:
    """One way to look at an image.

    `source`: what the network sees, (N, 1, 28, 28), noise added after it. `target`: what it rebuilds, (N, C, 28, 28)
    in [0, 1]. `back(maps, images)`: something of the target's kind, rebuilt maps or signed terms (N, C, 28, 28), as a
    picture (N, 28, 28) that lies over the image.
    """

    line: str  # what it is, for people
    channels: int  # C
    source: Callable[[Tensor], Tensor]
    target: Callable[[Tensor], Tensor]
    back: Callable[[Tensor, Tensor], Tensor]

    def see(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the network is shown and what it should make of it; made once where both are the same."""
        source = self.source(images)
        return source, source if self.again else self.target(images)

    @property
    def again(self) -> bool:
        """Whether what is rebuilt can be rebuilt once more."""
        return self.source is self.target


def pixels(images: Tensor) -> Tensor:
    """The image as it is."""
    return images


def deskewed(images: Tensor) -> Tensor:
    """The image sheared upright and centred by its moments, resampled bilinearly.

    The shear is `covariance of x and y / variance of y` of the ink, the slope by which the writing leans; a blank
    image stays blank. LeCun et al., "Gradient-based learning applied to document recognition", 1998, did so too.
    """
    x, y, slope = _stance(images)
    return _resample(images, _shear(slope), torch.stack([x, y], 1))


def edges(images: Tensor) -> Tensor:
    """The half-rectified Sobel maps, (N, 4, 28, 28) in [0, 1]: light to the right, left, below and above."""
    kernel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=images.device) / 4
    both = F.conv2d(images, torch.stack([kernel, kernel.T])[:, None].to(images.dtype), padding=1)
    return torch.cat([both.clamp_min(0), (-both).clamp_min(0)], 1)[:, [0, 2, 1, 3]]


def _first(maps: Tensor, images: Tensor) -> Tensor:
    return maps[:, 0]


def _lean_back(maps: Tensor, images: Tensor) -> Tensor:
    """Undo `deskewed` on maps: the inverse shear, each map's absolute sum kept."""
    x, y, slope = _stance(images)
    middle = torch.full_like(x, MIDDLE)
    # Where `deskewed` reads A (p - middle) + centre for p, its inverse reads A^-1 (p - centre) + middle.
    inverse = _shear(-slope)
    start = (
        torch.stack([middle, middle], 1) - (inverse @ (torch.stack([x, y], 1) - MIDDLE)[..., None])[..., 0]
    )
    leaning = _resample(maps, inverse, start)
    before, after = (m.abs().sum((1, 2, 3), keepdim=True) for m in (maps, leaning))
    return (leaning * (before / after.where(after > 0, 1)))[:, 0]


def _over_channels(maps: Tensor, images: Tensor) -> Tensor:
    """All channels in one: their absolute sum, with the sign of their sum."""
    return maps.abs().sum(1) * torch.where(maps.sum(1) < 0, -1, 1)


def _stance(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centre (x, y) of the ink in pixels and the slope by which it leans, (N,) each."""
    ink = images[:, 0]
    place = torch.arange(ink.shape[-1], dtype=ink.dtype, device=ink.device)
    mass = ink.sum((1, 2))
    mass = mass.where(mass > 0, 1)
    columns, rows = ink.sum(1), ink.sum(2)
    x, y = columns @ place / mass, rows @ place / mass
    blank = columns.amax(1) <= 0
    x, y = x.where(~blank, MIDDLE), y.where(~blank, MIDDLE)
    dx, dy = place - x[:, None], place - y[:, None]
    height = (rows * dy.square()).sum(1) / mass
    together = (torch.einsum("nij,nj->ni", ink, dx) * dy).sum(1) / mass
    return x, y, (together / height.clamp_min(LEAST_VARIANCE)).clamp(-STEEPEST, STEEPEST)


def _shear(slope: Tensor) -> Tensor:
    """Matrices (N, 2, 2) that move (x, y) to (x + slope y, y)."""
    one, zero = torch.ones_like(slope), torch.zeros_like(slope)
    return torch.stack([torch.stack([one, slope], 1), torch.stack([zero, one], 1)], 1)


def _resample(images: Tensor, matrix: Tensor, start: Tensor) -> Tensor:
    """Pixel p of the result is read at `matrix (p - middle) + start`, bilinearly; outside is blank."""
    side = images.shape[-1]
    place = torch.arange(side, dtype=images.dtype, device=images.device) - MIDDLE
    grid = torch.stack(torch.meshgrid(place, place, indexing="xy"), -1)  # (28, 28, 2): x, y
    read = (
        torch.einsum("nab,ijb->nija", matrix.to(images.dtype), grid) + start.to(images.dtype)[:, None, None]
    )
    return F.grid_sample(
        images, (read - MIDDLE) / (side / 2), mode="bilinear", padding_mode="zeros", align_corners=False
    )


VIEWS = {
    "pixels": View("the image as it is", 1, pixels, pixels, _first),
    "deskewed": View("sheared upright and centred by its moments", 1, deskewed, deskewed, _lean_back),
    "edges": View(
        "its four half-rectified Sobel maps, rebuilt from its pixels", 4, pixels, edges, _over_channels
    ),
}
