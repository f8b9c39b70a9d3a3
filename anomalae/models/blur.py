"""Gaussian blur as a matrix, and the metric it makes: distances in which neighbouring pixels count together."""

from __future__ import annotations

import torch
from torch import Tensor


def blur_matrix(side: int, sigma: float, cut: int) -> Tensor:
    """The 1-D Gaussian blur with zero padding as a symmetric Toeplitz matrix, float64 (side, side).

    A 2-D image is blurred by `B @ image @ B.T`. Kernel weights sum to 1 before the border cuts them.
    """
    # Of numbers even where a network is made without memory.
    distance = torch.arange(side, dtype=torch.float64, device="cpu")
    distance = (distance[:, None] - distance[None, :]).abs()
    offsets = torch.arange(-cut, cut + 1, dtype=torch.float64, device="cpu")
    kernel = torch.exp(-(distance**2) / (2 * sigma**2)).where(distance <= cut, 0)
    return kernel / torch.exp(-(offsets**2) / (2 * sigma**2)).sum()


class SmoothMetric:
    """The inner product `a' M b` with `M = B'B + eps I`, B the 2-D Gaussian blur of a (height, width) image.

    B alone is nearly singular (condition number 1e17 at sigma 1.5): eps, above 0, keeps the fine details that a
    density must not lose. `log_det` of M is exact, from the eigenvalues of the 1-D factors.
    """

    def __init__(self, height: int, width: int, sigma: float, cut: int, eps: float) -> None:
        self.rows, self.columns = blur_matrix(height, sigma, cut), blur_matrix(width, sigma, cut)
        self.eps = eps
        spectra = (torch.linalg.eigvalsh(factor) for factor in (self.rows, self.columns))
        high, wide = spectra
        self.log_det = float(((high[:, None] * wide[None, :]) ** 2 + eps).log().sum())

    def blur(self, images: Tensor) -> Tensor:
        """`B a` of flat images (..., C * height * width), each of the C channels apart."""
        rows, columns = (factor.to(images) for factor in (self.rows, self.columns))
        square = images.unflatten(-1, (-1, len(rows), len(columns)))
        return (rows @ square @ columns).flatten(-3)

    def square(self, images: Tensor) -> Tensor:
        """`a' M a` of flat images (..., height * width): (...)."""
        return self.blur(images).square().sum(-1) + self.eps * images.square().sum(-1)

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        """`a' M b` of flat images that broadcast against each other: (...)."""
        return (self.blur(a) * self.blur(b)).sum(-1) + self.eps * (a * b).sum(-1)
