"""Views: what one network of an ensemble sees of an image, and what it rebuilds. Small pure functions with names.

Each works on images (N, 1, 28, 28), float in [0, 1], an image at a time: neither order nor neighbours matter. To add
a view, write its functions, add it to VIEWS here and its name to `anomalae.settings.VIEWS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

MIDDLE = 13.5  # pixels; coordinate of the middle of a 28 x 28 image
LEAST_VARIANCE = 0.5  # square pixels; floor of the height by which a shear is measured
STEEPEST = 1.0  # limit of the shear that is taken out, either way
SPREAD = (4.2, 5.5)  # pixels; standard deviation of the ink across and down that `normalised` brings it to
DENSE_SPREAD = (3.8, 5.1)  # pixels; the same of the dense ink
DENSE = 11  # pixels a side of the square whose ink tells how dense it is
LEAST_SCALE, MOST_SCALE = 0.5, 1.6  # limits of the scale it reads at: half is twice as large


@dataclass(frozen=True)
class View:
    """One way to look at an image.

    `source`: what the network sees, (N, 1, 28, 28), noise added after it. `target`: what it rebuilds, (N, C, 28, 28)
    in [0, 1]. `back(maps, images, terms)`: something of the target's kind, signed terms of a score or rebuilt maps
    (N, C, 28, 28), as a picture (N, 28, 28) that lies over the image; terms keep their absolute sum, maps their values.
    """

    line: str  # what it is, for people
    channels: int  # C
    source: Callable[[Tensor], Tensor]
    target: Callable[[Tensor], Tensor]
    back: Callable[[Tensor, Tensor, bool], Tensor]

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
    return _resample(images, *_upright(images))


def normalised(images: Tensor) -> Tensor:
    """The image deskewed, then scaled so that its ink spreads alike: standard deviation 4.2 px across, 5.5 px down.

    Scales are held to 0.625 to 2 times, so that a stroke is not torn to a blot. Moment normalisation, see Liu,
    Nakashima, Sako and Fujisawa, "Handwritten digit recognition: investigation of normalization and feature
    extraction techniques", Pattern Recognition 37, 2004.
    """
    return _resample(images, *_alike(images))


def settled(images: Tensor) -> Tensor:
    """As `normalised`, but the moments are those of the dense ink: each pixel's times the ink in the 11 x 11 around it.

    A speck beside the digit, or a long thin tail, then neither shifts nor shrinks it.
    """
    return _resample(images, *_alike_dense(images))


def edges(images: Tensor) -> Tensor:
    """The half-rectified Sobel maps, (N, 4, 28, 28) in [0, 1]: light to the right, left, below and above."""
    kernel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=images.device) / 4
    both = F.conv2d(images, torch.stack([kernel, kernel.T])[:, None].to(images.dtype), padding=1)
    return torch.cat([both.clamp_min(0), (-both).clamp_min(0)], 1)[:, [0, 2, 1, 3]]


def _first(maps: Tensor, images: Tensor, terms: bool) -> Tensor:
    return maps[:, 0]


def _laid_back(
    frame: Callable[[Tensor], tuple[Tensor, Tensor]], maps: Tensor, images: Tensor, terms: bool
) -> Tensor:
    """Undo a view that reads images in this frame: maps resampled by its inverse, the absolute sum of terms kept."""
    matrix, centre = frame(images)
    inverse = torch.linalg.inv(matrix)
    # Where the view reads A (p - middle) + centre for p, its inverse reads A^-1 (p - centre) + middle.
    start = MIDDLE - (inverse @ (centre - MIDDLE)[..., None])[..., 0]
    laid = _resample(maps, inverse, start)
    if not terms:
        return laid[:, 0]
    before, after = (m.abs().sum((1, 2, 3), keepdim=True) for m in (maps, laid))
    return (laid * (before / after.where(after > 0, 1)))[:, 0]


def _over_channels(maps: Tensor, images: Tensor, terms: bool) -> Tensor:
    """All channels in one: their absolute sum, with the sign of their sum."""
    return maps.abs().sum(1) * torch.where(maps.sum(1) < 0, -1, 1)


def _upright(images: Tensor) -> tuple[Tensor, Tensor]:
    """The frame of `deskewed`: a shear (N, 2, 2) and the centre of the ink (N, 2)."""
    centre, slope, _, _ = _moments(images)
    return _shear(slope), centre


def _alike(images: Tensor) -> tuple[Tensor, Tensor]:
    """The frame of `normalised`: a scale and a shear (N, 2, 2), and the centre of the ink (N, 2)."""
    return _scaled(images, SPREAD)


def _alike_dense(images: Tensor) -> tuple[Tensor, Tensor]:
    """The frame of `settled`, as that of `normalised`."""
    return _scaled(images * F.avg_pool2d(images, DENSE, 1, DENSE // 2), DENSE_SPREAD)


def _scaled(ink: Tensor, wanted: tuple[float, float]) -> tuple[Tensor, Tensor]:
    centre, slope, across, down = _moments(ink)
    spread = torch.stack([across, down], 1).sqrt() / torch.tensor(wanted).to(across)
    return _shear(slope) @ torch.diag_embed(spread.clamp(LEAST_SCALE, MOST_SCALE)), centre


def _moments(images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centre (N, 2) of the ink in pixels, the slope by which it leans, and its variances across and down once it is
    upright, (N,) each, in square pixels."""
    ink = images[:, 0]
    place = torch.arange(ink.shape[-1], dtype=ink.dtype, device=ink.device)
    mass = ink.sum((1, 2))
    mass = mass.where(mass > 0, 1)
    columns, rows = ink.sum(1), ink.sum(2)
    x, y = columns @ place / mass, rows @ place / mass
    blank = columns.amax(1) <= 0
    x, y = x.where(~blank, MIDDLE), y.where(~blank, MIDDLE)
    dx, dy = place - x[:, None], place - y[:, None]
    width, height = ((part * d.square()).sum(1) / mass for part, d in ((columns, dx), (rows, dy)))
    together = (torch.einsum("nij,nj->ni", ink, dx) * dy).sum(1) / mass
    slope = (together / height.clamp_min(LEAST_VARIANCE)).clamp(-STEEPEST, STEEPEST)
    across = width - 2 * slope * together + slope.square() * height
    return torch.stack([x, y], 1), slope, across.clamp_min(0), height


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


# In which neighbours are compared; networks learn no more from it than from `normalised`.
SETTLED = View("normalised by its dense ink", 1, settled, settled, partial(_laid_back, _alike_dense))

VIEWS = {
    "pixels": View("the image as it is", 1, pixels, pixels, _first),
    "deskewed": View(
        "sheared upright and centred by its moments", 1, deskewed, deskewed, partial(_laid_back, _upright)
    ),
    "normalised": View(
        "deskewed, and scaled to a common spread", 1, normalised, normalised, partial(_laid_back, _alike)
    ),
    "edges": View(
        "its four half-rectified Sobel maps, rebuilt from its pixels", 4, pixels, edges, _over_channels
    ),
}
