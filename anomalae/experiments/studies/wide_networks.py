"""Autoencoders that could copy, linear or not, trained or set by hand, and the squared error they leave."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from anomalae import seeds
from anomalae.errors import TrainingError
from anomalae.models.layers import SLOPE, initialise
from anomalae.models.training.schedule import one_cycle

LINEAR, NONLINEAR, SIGMOID = "linear AE", "nonlinear AE", "sigmoid AE"
IDENTITY, PRINCIPAL = "identity set by hand", "PCA, closed form"
TRAINED = (LINEAR, NONLINEAR, SIGMOID)
PRECISIONS = {"single": torch.float32, "double": torch.float64}
BATCH = 128
# The loss counts as low from here on.
LEVEL = 1e-3
# Images from which the loss is measured on the way.
MEASURED = 1000


def flat(images: np.ndarray, side: int) -> np.ndarray:
    """Return images (N, 28, 28) uint8 as rows of side * side pixels in [0, 1], float64, each the mean of a block."""
    block = images.shape[1] // side
    values = images.reshape(-1, side, block, side, block).mean((2, 4)) / 255
    return values.reshape(len(images), -1)


def build(model: str, pixels: int, width: int, precision: str, seed: int) -> nn.Sequential:
    """Return an autoencoder of rows, its weights drawn in single precision whatever its own: both begin alike.

    model: one of TRAINED; all layers but the embedding are as wide as the input.
    """
    with torch.random.fork_rng(devices=[]):
        if model == LINEAR:
            layers: list[nn.Module] = [nn.Linear(pixels, width), nn.Linear(width, pixels)]
        else:
            layers = [
                *(nn.Linear(pixels, pixels), nn.LeakyReLU(SLOPE), nn.Linear(pixels, width)),
                *(nn.Linear(width, pixels), nn.LeakyReLU(SLOPE), nn.Linear(pixels, pixels)),
            ]
        if model == SIGMOID:
            layers.append(nn.Sigmoid())
        network = nn.Sequential(*layers)
    initialise(network, seeds.generator(seed, seeds.WEIGHTS))
    return network.to(PRECISIONS[precision])


def train(network: nn.Module, rows: np.ndarray, steps: int, rate: float, seed: int) -> dict[int, float]:
    """Train by Adam on the squared error; returns the loss a pixel after some numbers of steps.

    rows: (N, pixels); few of them are shown all at once, else BATCH at a step.
    rate: peak of a one-cycle schedule of these steps.

    Raises TrainingError where the loss is no longer finite.
    """
    kind = next(network.parameters()).dtype
    images = torch.from_numpy(rows).to(kind)
    source = seeds.generator(seed, seeds.EPOCH)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    marks, curve = set(checkpoints(steps)), {}
    for step in range(steps):
        now, beta = one_cycle(step, steps, rate)
        optimizer.param_groups[0].update(lr=now, betas=(beta, 0.999))
        some = images
        if len(images) > BATCH:
            some = images[torch.randint(len(images), (BATCH,), generator=source)]
        loss = (network(some) - some).square().sum(1).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step + 1 in marks:
            curve[step + 1] = float(errors(network, rows[:MEASURED]).mean())
            if not math.isfinite(curve[step + 1]):
                raise TrainingError(f"the loss became {curve[step + 1]} by step {step + 1}")
    return curve


def checkpoints(steps: int) -> list[int]:
    """Return numbers of steps at which the loss is looked at, four a factor of ten, the last one too.

    >>> checkpoints(20)
    [1, 2, 3, 6, 10, 18, 20]
    """
    places = (round(10 ** (place / 4)) for place in range(math.ceil(4 * math.log10(steps)) + 1))
    return sorted({place for place in places if place < steps} | {steps})


def rebuild(network: nn.Module, rows: np.ndarray) -> np.ndarray:
    """Return what a network makes of rows, in its own precision, float64 (N, pixels)."""
    kind = next(network.parameters()).dtype
    with torch.no_grad():
        return network(torch.from_numpy(rows).to(kind)).double().numpy()


def errors(network: nn.Module, rows: np.ndarray) -> np.ndarray:
    """Return the mean squared error a pixel of each row, computed in double precision from its own rounded values."""
    kind = next(network.parameters()).dtype
    return np.square(torch.from_numpy(rows).to(kind).double().numpy() - rebuild(network, rows)).mean(1)


def identity(pixels: int, precision: str) -> nn.Sequential:
    """Return the linear autoencoder whose two matrices are the identity."""
    return _linear(np.zeros(pixels), np.eye(pixels), precision)


def principal(rows: np.ndarray, width: int, precision: str) -> nn.Sequential:
    """Return the linear autoencoder that is PCA of rows: no other of this width has a lower squared error.

    Baldi and Hornik, "Neural networks and principal component analysis", 1989.
    """
    centre = rows.mean(0)
    axes = np.linalg.eigh((rows - centre).T @ (rows - centre))[1][:, ::-1]
    return _linear(centre, axes[:, :width], precision)


def _linear(centre: np.ndarray, axes: np.ndarray, precision: str) -> nn.Sequential:
    """Return x -> centre + axes axes' (x - centre) as two layers."""
    pixels, width = axes.shape
    network = build(LINEAR, pixels, width, "double", 0)
    parts = (axes.T, -axes.T @ centre, axes, centre)
    with torch.no_grad():
        for weight, part in zip(network.parameters(), parts, strict=True):
            weight.copy_(torch.from_numpy(np.ascontiguousarray(part)))
    return network.to(PRECISIONS[precision])


def optimum(rows: np.ndarray, width: int) -> float:
    """Return the mean squared error a pixel of PCA: what a linear autoencoder of this width leaves at least."""
    left = np.linalg.svd(rows - rows.mean(0), compute_uv=False)[width:]
    return float(np.square(left).sum() / rows.size)
