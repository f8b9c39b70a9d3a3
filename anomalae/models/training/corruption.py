"""The corruption of a denoising autoencoder: coarse and fine normal noise."""

from __future__ import annotations

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
    coarse = torch.randn(n, 1, COARSE_GRID, COARSE_GRID, generator=source)
    noise = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False) * coarse_sigma
    noise += pixel_sigma * torch.randn(n, 1, height, width, generator=source)
    return images + strength * noise.to(images.device)
