"""Frames: where a view reads an image, by the moments of its ink; and reading it there."""

from __future__ import annotations

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


def upright(images: Tensor) -> tuple[Tensor, Tensor]:
    """The frame of `deskewed`: a shear (N, 2, 2) and the centre of the ink (N, 2)."""
    centre, slope, _, _ = moments(images)
    return _shear(slope), centre


def alike(images: Tensor) -> tuple[Tensor, Tensor]:
    """The frame of `normalised`: a scale and a shear (N, 2, 2), and the centre of the ink (N, 2)."""
    return _scaled(images, SPREAD)


def alike_dense(images: Tensor) -> tuple[Tensor, Tensor]:
    """The frame of `settled`, as that of `normalised`."""
    return _scaled(images * F.avg_pool2d(images, DENSE, 1, DENSE // 2), DENSE_SPREAD)


def _scaled(ink: Tensor, wanted: tuple[float, float]) -> tuple[Tensor, Tensor]:
    centre, slope, across, down = moments(ink)
    spread = torch.stack([across, down], 1).sqrt() / torch.tensor(wanted).to(across)
    return _shear(slope) @ torch.diag_embed(spread.clamp(LEAST_SCALE, MOST_SCALE)), centre


def moments(images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
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


def resample(images: Tensor, matrix: Tensor, start: Tensor) -> Tensor:
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
