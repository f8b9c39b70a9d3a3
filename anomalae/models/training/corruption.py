"""The corruption of a denoising autoencoder: coarse and fine normal noise."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

COARSE_SIGMA = 0.7  # of the normal field on a COARSE_GRID x COARSE_GRID grid
PIXEL_SIGMA = 0.3  # of the normal noise on each pixel
COARSE_GRID = 7


def corrupt(
    images: Tensor,
    strength: float,
    source: torch.Generator,
    *,
    coarse_sigma: float = COARSE_SIGMA,
    pixel_sigma: float = PIXEL_SIGMA,
) -> Tensor:
    """Add coarse and fine normal noise to `images` (N, 1, 28, 28); the result is not clipped.

    `x + strength * (coarse_sigma U n7 + pixel_sigma n28)`: n7 a standard normal 7x7 field, U bilinear upsampling to
    28x28, n28 standard normal pixels. A strength of 0 returns the images themselves. The noise is drawn on the CPU
    whatever the device of `images`, so that devices see the same noise.

    Vincent et al., "Extracting and composing robust features with denoising autoencoders", ICML 2008; the coarse
    part follows Kascenas et al., "Denoising autoencoders for unsupervised anomaly detection in brain MRI", MIDL 2022.
    """
    if strength == 0:
        return images
    n, _, height, width = images.shape
    coarse = torch.randn(n, COARSE_GRID * COARSE_GRID, generator=source)
    pixels = torch.randn(n, height * width, generator=source)
    spread = _upsampling(height, width)
    noise = torch.addmm(pixels, coarse, spread, beta=strength * pixel_sigma, alpha=strength * coarse_sigma)
    return images + noise.view(n, 1, height, width).to(images.device)


@functools.cache
def _upsampling(height: int, width: int) -> Tensor:
    """Return U, by which flat coarse fields (N, 49) become fields (N, height * width)."""
    each = torch.eye(COARSE_GRID * COARSE_GRID).view(-1, 1, COARSE_GRID, COARSE_GRID)
    return F.interpolate(each, size=(height, width), mode="bilinear", align_corners=False).flatten(1)
