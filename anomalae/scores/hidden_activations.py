"""RaPP's scores: how far an image and its reconstruction are apart on their whole way through the encoder.

Kim, Shim, Lim, Jeon, Choi, Kim and Yoon, "RaPP: Novelty detection with reconstruction along projection pathway",
ICLR 2020.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from anomalae.errors import ConfigError
from anomalae.plugins import VIEWS
from anomalae.scores.base import Arrays, Evidence, Score
from anomalae.settings import NetworkSettings

DIRECTIONS = 64  # at most, that `nap` keeps: more were no better on the development set of digit 8
LEAST = 1e-3  # singular values below this share of the largest are noise, and would be blown up


class HiddenScore(Score):
    """A score of hidden activations: the network must show them, and rebuild what it is shown."""

    def fits(self, network: NetworkSettings) -> bool:
        """Whether the network's kind shows hidden activations, and its view rebuilds what it shows."""
        return network.kind.hidden and VIEWS[network.view].again


class Sap(HiddenScore):
    """Simple aggregation along the pathway, `sum_i |h_i(x) - h_i(y)|^2` over layers, the pixels being layer 0."""

    name = "sap"
    line = "squared error of the pixels and of all hidden layers (RaPP)"

    def score(self, seen: Evidence, learned: Arrays) -> Tensor:
        """Scores, float64 (N,), at least 0."""
        return seen.pathway.detach().cpu().double().square().sum(1)


class Nap(HiddenScore):
    """Normalised aggregation along the pathway: `|(d - mean) V S^-1|^2`, d being a row of differences.

    `U S V'` is the singular value decomposition of the centred differences of n training images; S is divided by
    sqrt(n), so that the training images' scores have mean r, the number of directions (n times the paper's). Of
    directions the widest are kept: at most DIRECTIONS, and none whose singular value is below LEAST of the largest.
    """

    name = "nap"
    line = "the same, whitened by what training images show (RaPP)"
    learned = ("mean", "projection")
    least_images = 2

    def learn(self, seen: Evidence) -> dict[str, np.ndarray]:
        """Learn `mean` (D,) and `projection` (D, r), float32; ConfigError for fewer than 2 images."""
        return whitening(seen.pathway)

    def score(self, seen: Evidence, learned: Arrays) -> Tensor:
        """Scores, float64 (N,), at least 0; ConfigError where what was learned has another width."""
        return whitened(seen.pathway, learned)


def whitening(differences: Tensor, directions: int = DIRECTIONS) -> dict[str, np.ndarray]:
    """What whitens differences (n, D) of training images: `mean` (D,) and `projection` V S^-1 sqrt(n), (D, r).

    Memory and time go with the square and the cube of the smaller of n and D. Raises ConfigError for n below 2.
    """
    n, width = differences.shape
    if n < 2:
        raise ConfigError(f"nap: {n} training images: must be at least 2")
    differences = differences.detach().cpu()
    mean = differences.mean(0, dtype=torch.float64)
    centred = (differences - mean.to(differences)).double()
    # The smaller Gram matrix has the same eigenvalues, S^2, and one side of the singular vectors.
    wide = width > n
    values, vectors = torch.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    values, vectors = values.flip(0)[:directions], vectors.flip(1)[:, :directions]
    kept = (values > 0) & (values >= LEAST**2 * values[0])
    values, vectors = values[kept], vectors[:, kept]
    spread = values.sqrt()
    right = centred.T @ (vectors / spread) if wide else vectors
    projection = right / spread * n**0.5
    return {"mean": mean.float().numpy(), "projection": projection.float().numpy()}


def whitened(differences: Tensor, learned: Arrays) -> Tensor:
    """Squared lengths of whitened differences (N, D), float64 (N,).

    Raises ConfigError where `mean` and `projection` do not fit each other, or the differences.
    """
    shapes = learned["mean"].shape, learned["projection"].shape
    if len(shapes[1]) != 2 or shapes[0] != shapes[1][:1]:
        raise ConfigError(f"nap: mean {shapes[0]} and projection {shapes[1]} do not fit")
    if differences.shape[1:] != shapes[0]:
        raise ConfigError(f"nap: differences {differences.shape[1]} wide, learned from {shapes[0][0]}")
    mean, projection = (torch.from_numpy(learned[name]).double() for name in ("mean", "projection"))
    return ((differences.detach().cpu().double() - mean) @ projection).square().sum(1)


SCORES = (Sap(), Nap())
