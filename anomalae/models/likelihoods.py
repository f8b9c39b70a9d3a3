"""Likelihoods log p(x | z) in nats, each exactly normalised, given the decoder's logits.

Each module maps images `x` in [0, 1] and logits `a`, flat (..., D) and broadcast against each other, to (...); of
several channels one after another, D = channels * 784. The
decoded mean is `y = sigmoid(a)`. The Gaussian and direction densities are with respect to Lebesgue measure on R^D,
Bernoulli's with respect to counting on {0, 1}^D (used on gray levels, as is usual): nats of different likelihoods do
not compare.

`best` is the log-likelihood (...) of an image whose decoded mean is the image itself, and `terms` is where another mean
costs more: signed, (..., D), absolute values summing to `best - log p(x | z)`; positive where the image has ink that
the mean has not, negative where it lacks ink.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.special import gammaln, ive
from torch import Tensor, nn
from torch.nn import functional as F

from anomalae.models.blur import SmoothMetric
from anomalae.models.layers import SIDE

LOG_2PI = math.log(2 * math.pi)


class Bernoulli(nn.Module):
    """`sum_i x_i log y_i + (1 - x_i) log(1 - y_i)`: pixels as probabilities."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()

    def forward(self, x: Tensor, logits: Tensor) -> Tensor:
        """Return log-likelihoods (...) of images x in [0, 1] and logits."""
        return (x * logits - F.softplus(logits)).sum(-1)

    @staticmethod
    def best(x: Tensor) -> Tensor:
        """Return the best log-likelihood of x under any y, at y = x: minus the entropies of its pixels, (...)."""
        return (torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)).sum(-1)

    def terms(self, x: Tensor, logits: Tensor) -> Tensor:
        """Return the divergence of each pixel's y from x, (..., D), signed as x - y is."""
        divergence = torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x) - x * logits + F.softplus(logits)
        return _signed(divergence.clamp_min(0), x - torch.sigmoid(logits))


class Gaussian(nn.Module):
    """`x ~ N(y, sigma^2 I)` with one learned sigma."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.log_sigma = nn.Parameter(torch.tensor(math.log(0.2)))

    def forward(self, x: Tensor, logits: Tensor) -> Tensor:
        """Return log-densities (...) of images x in [0, 1] and logits."""
        error = (x - torch.sigmoid(logits)).square().sum(-1)
        d = x.shape[-1]
        return -error / (2 * torch.exp(2 * self.log_sigma)) - d * self.log_sigma - d / 2 * LOG_2PI

    def best(self, x: Tensor) -> Tensor:
        """Return the log-density of x at y = x, the same for all x, (...)."""
        d = x.shape[-1]
        return torch.zeros_like(x[..., 0]) - d * self.log_sigma - d / 2 * LOG_2PI

    def terms(self, x: Tensor, logits: Tensor) -> Tensor:
        """Return `(x - y)^2 / (2 sigma^2)` of each pixel, (..., D), signed as x - y is."""
        difference = x - torch.sigmoid(logits)
        return difference * difference.abs() / (2 * torch.exp(2 * self.log_sigma))


class SmoothGaussian(nn.Module):
    """`x ~ N(y, sigma^2 M^-1)`, `M = B'B + eps I`: correlated noise, one learned sigma.

    `log p = (log det M - (x - y)' M (x - y) / sigma^2 - D log(2 pi sigma^2)) / 2`. With B a Gaussian blur the
    residuals of neighbouring pixels count together, and an edge moved by a pixel costs little.
    """

    BLUR, CUT, EPS = 1.0, 5, 0.01

    def __init__(self, channels: int = 1, height: int = SIDE, width: int = SIDE) -> None:
        super().__init__()
        self.metric = SmoothMetric(height, width, self.BLUR, self.CUT, self.EPS)
        self.log_det = channels * self.metric.log_det
        self.log_sigma = nn.Parameter(torch.tensor(math.log(0.05)))

    def forward(self, x: Tensor, logits: Tensor) -> Tensor:
        """Return log-densities (...) of images x in [0, 1] and logits."""
        error = self.metric.square(x - torch.sigmoid(logits))
        d = x.shape[-1]
        return (
            self.log_det / 2
            - error / (2 * torch.exp(2 * self.log_sigma))
            - d * self.log_sigma
            - d / 2 * LOG_2PI
        )

    def best(self, x: Tensor) -> Tensor:
        """Return the log-density of x at y = x, the same for all x, (...)."""
        d = x.shape[-1]
        return torch.zeros_like(x[..., 0]) + self.log_det / 2 - d * self.log_sigma - d / 2 * LOG_2PI

    def terms(self, x: Tensor, logits: Tensor) -> Tensor:
        """Return the pixels' parts of `(x - y)' M (x - y) / (2 sigma^2)`, (..., D), signed as the blurred x - y is."""
        parts = _parts(self.metric, x - torch.sigmoid(logits))
        return parts / (2 * torch.exp(2 * self.log_sigma))


class SmoothDirection(nn.Module):
    """The direction of the blurred image is von Mises-Fisher about that of the blurred mean; its length is free.

    With `M = B'B + eps I = L'L`, `|x|_M = sqrt(x' M x)` and `cos(x, y) = x' M y / (|x|_M |y|_M)`:

        log p(x | z) = kappa cos(x, y) + log C_D(kappa) + log D - D log R + log det M / 2   on |x|_M <= R

    where `C_D(kappa) = kappa^(D/2-1) / ((2 pi)^(D/2) I_(D/2-1)(kappa))` normalises the von Mises-Fisher density on
    the sphere of directions u = Lx/|Lx|, `D r^(D-1) / R^D` is the density of the length r = |Lx| (Lx is uniform in
    a ball but for its direction), the factors r^(D-1) cancel in polar coordinates, and det L turns dLx into dx.
    R is the largest |x|_M of an image in [0, 1]^D, that of the all-white one.

    So the log-likelihood is the `smooth` score in nats, but for constants: neither thickness nor brightness costs
    anything, and one-pixel shifts little. A blank image has no direction; its cosine counts as 0.
    """

    BLUR, CUT, EPS, KAPPA = 1.5, 5, 0.001, 1000.0
    # Nats a unit of squared pixel error, in training only: the density leaves brightness open.
    GUIDE = 10.0

    def __init__(
        self, channels: int = 1, height: int = SIDE, width: int = SIDE, kappa: float = KAPPA
    ) -> None:
        super().__init__()
        self.metric = SmoothMetric(height, width, self.BLUR, self.CUT, self.EPS)
        self.kappa = kappa
        d = channels * height * width
        radius = math.sqrt(self.metric.square(torch.ones(d, dtype=torch.float64, device="cpu")))
        self.constant = (
            log_vmf(d, kappa) + math.log(d) - d * math.log(radius) + channels * self.metric.log_det / 2
        )

    def forward(self, x: Tensor, logits: Tensor) -> Tensor:
        """Return log-densities (...) of images x in [0, 1] and logits."""
        y = torch.sigmoid(logits)
        # Clamped before the root: of a blank image the cosine is 0, and so is its gradient.
        lengths = (self.metric.square(x) * self.metric.square(y)).clamp_min(1e-24).sqrt()
        cosine = self.metric.dot(x, y) / lengths
        return self.kappa * cosine + self.constant

    def best(self, x: Tensor) -> Tensor:
        """Return the log-density of x at y = x, the same for all x, (...)."""
        return torch.full_like(x[..., 0], self.kappa + self.constant)

    def terms(self, x: Tensor, logits: Tensor) -> Tensor:
        """Return the pixels' parts of `kappa |x/|x|_M - y/|y|_M|_M^2 / 2 = kappa (1 - cos)`, (..., D), signed.

        The sign is that of the difference of the two directions, blurred.
        """
        y = torch.sigmoid(logits)
        x_length, y_length = (self.metric.square(v).sqrt()[..., None] for v in (x, y))
        difference = x / x_length.where(x_length > 0, 1) - y / y_length.where(y_length > 0, 1)
        # Against a blank image the cosine counts as 0, and the squared distance is 1, not 2.
        half = torch.where(x_length > 0, 0.5, 1.0)
        return self.kappa * half * _parts(self.metric, difference)


def _signed(parts: Tensor, difference: Tensor) -> Tensor:
    """Return parts, at least 0, with the signs of the difference."""
    return torch.where(difference < 0, -parts, parts)


def _parts(metric: SmoothMetric, difference: Tensor) -> Tensor:
    """Return what each pixel adds to `difference' M difference`, (..., D), signed as the blurred difference is."""
    blurred = metric.blur(difference)
    return _signed(blurred.square() + metric.eps * difference.square(), blurred)


def log_vmf(d: int, kappa: float) -> float:
    """Return `log C_d(kappa)`, the log normaliser of the von Mises-Fisher density on the unit sphere of R^d.

    d: dimensions of the space.
    kappa: concentration, at least 0.

    Mardia and Jupp, "Directional Statistics", 2000, eq. 9.3.4.
    """
    order = d / 2 - 1
    if kappa == 0:
        return float(gammaln(d / 2) - math.log(2) - d / 2 * math.log(math.pi))
    with np.errstate(divide="ignore"):
        log_bessel = float(np.log(ive(order, kappa)) + kappa)
    if not math.isfinite(log_bessel):
        log_bessel = _log_bessel_large_order(order, kappa)
    return order * math.log(kappa) - d / 2 * LOG_2PI - log_bessel


def _log_bessel_large_order(order: float, x: float) -> float:
    """Return log I_order(x) by Olver's uniform expansion (DLMF 10.41.3), for where SciPy's underflows."""
    z = x / order
    root = math.sqrt(1 + z * z)
    t = 1 / root
    eta = root + math.log(z / (1 + root))
    u1 = (3 * t - 5 * t**3) / 24
    u2 = (81 * t**2 - 462 * t**4 + 385 * t**6) / 1152
    series = math.log1p(u1 / order + u2 / order**2)
    return order * eta - math.log(2 * math.pi * order) / 2 - math.log(root) / 2 + series


LIKELIHOODS: dict[str, type[nn.Module]] = {
    "gaussian": Gaussian,
    "smooth-direction": SmoothDirection,
    "smooth-gaussian": SmoothGaussian,
    "bernoulli": Bernoulli,
}
