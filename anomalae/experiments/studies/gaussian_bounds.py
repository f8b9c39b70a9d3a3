"""Lower bounds of log p(x): by draws from the Gaussian of an encoder, and by the best Gaussian of each image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anomalae.experiments.studies.quadrature import log_joint
from anomalae.models.gaussians import kl_to_standard

# Images whose posterior is shown, and on how many points a side.
SHOWN, WINDOW = 4, 64


def log_weights(network: Any, target: Tensor, inferred: Any, bank: Tensor) -> Tensor:
    """Return log p(x | z) p(z) / q(z | x) of each draw of a bank (K, width), and each image: float64 (K, N)."""
    terms = (network.log_terms(target, inferred, draw) for draw in bank)
    return torch.stack([part.likelihood + part.prior - part.posterior for part in terms])


def weighted_bound(weights: Tensor, samples: int) -> Tensor:
    """Return the bound with so many samples of each image, (N,), from log weights (K, N): the mean over all groups.

    The groups of fewer samples are parts of those of more, so that these bounds rise with the samples whatever the
    draws. With one sample it is the ELBO.
    """
    groups = weights.unflatten(0, (-1, samples))
    return (groups.logsumexp(1) - math.log(samples)).mean(0)


def best_gaussians(
    network: Any, target: Tensor, inferred: tuple[Tensor, Tensor], modes: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Return mean and log variance of the diagonal Gaussian with the best ELBO, of each image, (N, units) each.

    Sought by Adam from where the encoder puts it, and from the mode of the exact posterior; the expectation is a sum
    over Gauss-Hermite nodes. The encoder's own stays where neither is better.
    """
    nodes, shares = hermite(modes.shape[1])
    best, highest = inferred, node_bound(network, target, inferred, nodes, shares)
    for start in (inferred[0], modes.float()):
        tried = _climbed(network, target, (start, inferred[1]), nodes, shares, steps)
        reached = node_bound(network, target, tried, nodes, shares)
        better = (reached > highest)[:, None]
        best = (torch.where(better, tried[0], best[0]), torch.where(better, tried[1], best[1]))
        highest = torch.maximum(highest, reached)
    return best


def hermite(units: int) -> tuple[Tensor, Tensor]:
    """Return nodes (M, units) and weights (M,) by which expectations under a standard normal are taken."""
    at, weight = np.polynomial.hermite_e.hermegauss(16 if units == 1 else 6)
    nodes = np.stack(np.meshgrid(*[at] * units, indexing="ij"), -1).reshape(-1, units)
    weights = np.prod(np.stack(np.meshgrid(*[weight] * units, indexing="ij"), -1).reshape(-1, units), 1)
    return torch.from_numpy(nodes.astype(np.float32)), torch.from_numpy(
        (weights / weights.sum()).astype(np.float32)
    )


def node_bound(
    network: Any, target: Tensor, posterior: tuple[Tensor, Tensor], nodes: Tensor, shares: Tensor
) -> Tensor:
    """Return the ELBO (N,) of Gaussian posteriors by nodes and their shares."""
    means, log_variances = posterior
    codes = means[:, None] + torch.exp(log_variances / 2)[:, None] * nodes
    logits = network.logits(codes.flatten(0, 1)).unflatten(0, codes.shape[:2])
    expected = network.likelihood(target.flatten(1)[:, None], logits) @ shares
    return expected - kl_to_standard(means, log_variances)


def _climbed(
    network: Any,
    target: Tensor,
    start: tuple[Tensor, Tensor],
    nodes: Tensor,
    shares: Tensor,
    steps: int,
) -> tuple[Tensor, Tensor]:
    """Climb from a start: by Adam, whose steps are in units of the start's deviations, ever shorter."""
    means, log_variances = start
    shift, widening = (torch.zeros_like(means, requires_grad=True) for _ in range(2))

    def posterior() -> tuple[Tensor, Tensor]:
        return means + torch.exp(log_variances / 2) * shift, log_variances + widening

    optimiser = torch.optim.Adam([shift, widening], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    with torch.enable_grad():
        for _ in range(steps):
            loss = -node_bound(network, target, posterior(), nodes, shares).sum()
            shift.grad, widening.grad = torch.autograd.grad(loss, [shift, widening])
            optimiser.step()
            schedule.step()
    return tuple(part.detach() for part in posterior())  # type: ignore[return-value]


def pictures(
    network: Any, target: Tensor, inferred: tuple[Tensor, Tensor], best: tuple[Tensor, Tensor]
) -> dict[str, np.ndarray]:
    """Return exact posteriors of some images in a window around them, with the two Gaussians, of two units.

    posterior: density over its highest, (n, WINDOW, WINDOW), the second unit upwards.
    window: left, right, bottom, top, (n, 4).
    encoder, best: means and deviations, (n, 4) each.
    image: (n, 28, 28).
    """
    posteriors, windows = [], []
    gaussians = [
        torch.cat([means, torch.exp(log_variances / 2)], 1)[: len(target)].double()
        for means, log_variances in (inferred, best)
    ]
    for place in range(len(target)):
        centres = torch.stack([of_all[place, :2] for of_all in gaussians])
        deviations = torch.stack([of_all[place, 2:] for of_all in gaussians])
        low, high = (centres - 4 * deviations).amin(0), (centres + 4 * deviations).amax(0)
        middle, half = (low + high) / 2, float((high - low).max()) / 2
        axis = torch.linspace(-half, half, WINDOW, dtype=torch.float64)
        second, first = torch.meshgrid(axis, axis, indexing="ij")
        codes = torch.stack([first.flatten(), second.flatten()], 1) + middle
        joint = log_joint(network, target[place : place + 1], codes)[0]
        posteriors.append(torch.exp(joint - joint.max()).reshape(WINDOW, WINDOW))
        left, bottom = (middle - half).tolist()
        windows.append([left, left + 2 * half, bottom, bottom + 2 * half])
    return {
        "posterior": torch.stack(posteriors).float().numpy(),
        "window": np.array(windows, np.float32),
        "encoder": gaussians[0].float().numpy(),
        "best": gaussians[1].float().numpy(),
        "image": (target[:, 0] * 255).round().to(torch.uint8).numpy(),
    }
