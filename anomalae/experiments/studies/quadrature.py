"""The exact log p(x) of one image or many, by quadrature over one or two latent units."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anomalae.models.gaussians import gaussian
from anomalae.models.likelihoods import LOG_2PI

# A first scan of the codes, out to REACH in each direction, finds where p(x | z) p(z) of any image is within NEGLIGIBLE
# nats of its highest: there the quadrature is made.
REACH, SCAN, NEGLIGIBLE = 20.0, 0.25, 60.0
# Points of z_2 over which a ladder's p(z_1) is integrated, and how far they reach.
UPPER_POINTS, UPPER_REACH = 241, 6.0


@dataclass(frozen=True, eq=False)
class Grid:
    """Points for a trapezoid rule over one or two latent units.

    axes: values of each unit, float64, equally far apart in all.
    """

    axes: tuple[Tensor, ...]

    @classmethod
    def over(cls, low: Tensor, high: Tensor, step: float) -> Grid:
        """Return the grid with this distance of points from low to high, (units,) each, and a little beyond."""
        ends = zip((low / step).floor().tolist(), (high / step).ceil().tolist(), strict=True)
        return cls(tuple(torch.arange(first, last + 1, dtype=torch.float64) * step for first, last in ends))

    @property
    def log_area(self) -> float:
        """The logarithm of the area (or the length) that a point stands for."""
        return sum(math.log(float(axis[1] - axis[0])) for axis in self.axes)

    def blocks(self, size: int = 1024) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all points in blocks: codes (M, units), and which of them lie on the grid twice as coarse, (M,)."""
        lengths = [len(axis) for axis in self.axes]
        for start in range(0, math.prod(lengths), size):
            place = torch.arange(start, min(start + size, math.prod(lengths)))
            at = torch.unravel_index(place, lengths)
            codes = torch.stack([axis[index] for axis, index in zip(self.axes, at, strict=True)], 1)
            yield codes, (torch.stack(at, 1) % 2 == 0).all(1)


@dataclass(frozen=True, eq=False)
class Integral:
    """What a quadrature gives, of each image.

    log_evidence: log p(x), (N,).
    coarser: the same by a grid twice as coarse.
    mode: the point of highest posterior density, (N, units).
    """

    log_evidence: Tensor
    coarser: Tensor
    mode: Tensor


def log_evidence(network: Any, target: Tensor, posterior: tuple[Tensor, Tensor], step: float) -> Integral:
    """Return log p(x) by a grid with this distance of points, laid where an image has any posterior density.

    posterior: mean and log variance that the network finds, (N, units) each; the grid holds them too.
    """
    means, log_variances = (part.double() for part in posterior)
    deviations = torch.exp(log_variances / 2)
    ends = torch.cat([means - 6 * deviations, means + 6 * deviations])
    low, high = ends.amin(0), ends.amax(0)
    whole = torch.full_like(low, REACH)
    scanned = list(Grid.over(-whole, whole, SCAN).blocks())
    joints = torch.cat([log_joint(network, target, codes) for codes, _ in scanned], 1)
    counts = (joints > joints.amax(1, keepdim=True) - NEGLIGIBLE).any(0)
    there = torch.cat([codes for codes, _ in scanned])[counts]
    low, high = torch.minimum(low, there.amin(0) - SCAN), torch.maximum(high, there.amax(0) + SCAN)
    return integrate(network, target, Grid.over(low, high, step))


def integrate(network: Any, target: Tensor, grid: Grid) -> Integral:
    """Return log p(x) = log of the integral of p(x | z) p(z) over the codes that are decoded, by this grid."""
    n, units = len(target), len(grid.axes)
    sums = {fine: torch.full((n,), -math.inf, dtype=torch.float64) for fine in (True, False)}
    highest, mode = sums[True].clone(), torch.zeros(n, units, dtype=torch.float64)
    for codes, is_coarse in grid.blocks():
        joint = log_joint(network, target, codes)
        sums[True] = torch.logaddexp(sums[True], joint.logsumexp(1))
        if is_coarse.any():
            sums[False] = torch.logaddexp(sums[False], joint[:, is_coarse].logsumexp(1))
        top, at = joint.max(1)
        mode[top > highest] = codes[at[top > highest]]
        highest = torch.maximum(highest, top)
    area = grid.log_area
    return Integral(sums[True] + area, sums[False] + area + units * math.log(2), mode)


def log_joint(network: Any, target: Tensor, codes: Tensor) -> Tensor:
    """Return log p(x | z) p(z) of each image and each of the codes (M, units): float64 (N, M)."""
    return log_likelihoods(network, target, codes) + log_prior(network, codes)


def log_likelihoods(network: Any, target: Tensor, codes: Tensor) -> Tensor:
    """Return log p(x | z) of a Gaussian likelihood, of each image and each of the codes (M, units): float64 (N, M)."""
    x, y = target.flatten(1).double(), torch.sigmoid(network.logits(codes.float())).double()
    square = x.square().sum(1)[:, None] - 2 * x @ y.T + y.square().sum(1)
    log_sigma = network.likelihood.log_sigma.double()
    return -square / (2 * torch.exp(2 * log_sigma)) - x.shape[1] * (log_sigma + LOG_2PI / 2)


def log_prior(network: Any, codes: Tensor) -> Tensor:
    """Return log p(z) of the codes that are decoded, (M, units) -> (M,).

    It is a standard normal, but of a ladder a mixture: the integral of p(z_1 | z_2) p(z_2) over its one z_2.
    """
    half = codes.shape[1] / 2 * LOG_2PI
    if len(getattr(network, "latent_dims", ())) < 2:
        return -codes.square().sum(1) / 2 - half
    upper = torch.linspace(-UPPER_REACH, UPPER_REACH, UPPER_POINTS, dtype=torch.float64)
    means, log_variances = (part.double() for part in gaussian(network.priors[0](upper[:, None].float())))
    precisions = torch.exp(-log_variances)
    square = codes.square() @ precisions.T - 2 * codes @ (means * precisions).T
    constant = (means.square() * precisions + log_variances).sum(1) + upper.square() + LOG_2PI
    step = math.log(float(upper[1] - upper[0]))
    return torch.logsumexp(-(square + constant) / 2, 1) + step - half
