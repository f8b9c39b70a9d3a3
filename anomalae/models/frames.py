"""Frames: where a view reads an image, by the moments of its ink; and reading it there."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from anomalae.arithmetic import is_plain

# Coordinate of the middle of a 28 x 28 image, in pixels.
MIDDLE = 13.5
# Least variance of the ink down the image by which a shear is measured, in square pixels.
LEAST_VARIANCE = 0.5
# Most shear that is taken out, either way.
STEEPEST = 1.0
# Standard deviation of the ink across and down to which `normalised` brings it, in pixels.
SPREAD = (4.2, 5.5)
# The same of the dense ink.
DENSE_SPREAD = (3.8, 5.1)
# Side of the square whose ink tells how dense it is, in pixels.
DENSE = 11
# Limits of the scale at which an image is read: at half it comes out twice as large.
LEAST_SCALE, MOST_SCALE = 0.5, 1.6


def upright(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the frame of `deskewed`: a shear (N, 2, 2) and the centre of the ink (N, 2)."""
    centre, slope, _, _ = moments(images)
    return _shear(slope), centre


def alike(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the frame of `normalised`: a scale and a shear (N, 2, 2), and the centre of the ink (N, 2)."""
    return _scaled(images, SPREAD)


def alike_dense(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the frame of `settled`, made as that of `normalised`."""
    return _scaled(images * F.avg_pool2d(images, DENSE, 1, DENSE // 2), DENSE_SPREAD)


def _scaled(ink: Tensor, wanted: tuple[float, float]) -> tuple[Tensor, Tensor]:
    centre, slope, across, down = moments(ink)
    spread = torch.stack([across, down], 1).sqrt() / torch.tensor(wanted).to(across)
    return _shear(slope) @ torch.diag_embed(spread.clamp(LEAST_SCALE, MOST_SCALE)), centre


def moments(images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the centre of the ink, the slope by which it leans, and its variances across and down once it is upright.

    images: (N, 1, 28, 28) in [0, 1].

    Returns the centre (N, 2) in pixels, x first, the slope (N,), and the variances, (N,) each, in square pixels.
    """
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
    """Return matrices (N, 2, 2) that move (x, y) to (x + slope y, y)."""
    ones, zeros = torch.ones_like(slope), torch.zeros_like(slope)
    return torch.stack([torch.stack([ones, slope], 1), torch.stack([zeros, ones], 1)], 1)


def read(
    frame: Callable[[Tensor], tuple[Tensor, Tensor]],
    spread: tuple[float, float] | None,
    dense: bool,
    images: Tensor,
) -> Tensor:
    """Read images (N, 1, 28, 28) in their frame; compiled where they are plain float32 numbers on the CPU.

    What is compiled has other last bits, so it is not where the arithmetic is plain, as that of runs of before is.

    frame: makes the frame where that is not compiled.
    spread, dense: say which it is; see `anomalae.models.compiled.frames.read`.
    """
    plain = images.dtype == torch.float32 and images.device.type == "cpu" and not images.requires_grad
    if not plain or images.shape[1:] != (1, 28, 28) or is_plain():
        return resample(images, *frame(images))
    from anomalae.models.compiled import frames

    limits = (MIDDLE, LEAST_VARIANCE, STEEPEST, LEAST_SCALE, MOST_SCALE)
    return torch.from_numpy(frames.read(images[:, 0].numpy(), limits, spread or (0.0, 0.0), dense))[:, None]


def resample(images: Tensor, matrix: Tensor, start: Tensor) -> Tensor:
    """Read images in a frame: pixel p of the result at `matrix (p - middle) + start`, bilinearly; outside is blank.

    images: (N, channels, 28, 28).
    matrix: (N, 2, 2).
    start: where the middle is read, (N, 2) in pixels, x first.
    """
    side = images.shape[-1]
    place = torch.arange(side, dtype=images.dtype, device=images.device) - MIDDLE
    # x and y of each pixel, (28, 28, 2).
    grid = torch.stack(torch.meshgrid(place, place, indexing="xy"), -1)
    read = (
        torch.einsum("nab,ijb->nija", matrix.to(images.dtype), grid) + start.to(images.dtype)[:, None, None]
    )
    return F.grid_sample(
        images, (read - MIDDLE) / (side / 2), mode="bilinear", padding_mode="zeros", align_corners=False
    )
