"""RaPP's scores: how far an image and its reconstruction are apart on their whole way through the encoder.

Kim, Shim, Lim, Jeon, Choi, Kim and Yoon, "RaPP: Novelty detection with reconstruction along projection pathway",
ICLR 2020. Scores are float64 (N,), higher = more anomalous.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from anomalae.errors import ConfigError
from anomalae.models.autoencoder import Autoencoder
from anomalae.models.vae import VariationalAutoencoder

DIRECTIONS = 64  # at most, that `Nap` keeps: more were no better on the development set of digit 8
IMAGES = 1000  # training images to learn from: no fewer points of ROC-AUC than with 5,000, in half a second
LEAST = 1e-3  # singular values below this share of the largest are noise, and would be blown up


def pathway(model: Autoencoder | VariationalAutoencoder, images: Tensor, reconstructions: Tensor) -> Tensor:
    """Differences of activations, (N, D): of the pixels, of each hidden layer of the encoder, and of the code.

    `h(x) - h(y)` for images x and reconstructions y, (N, 1, 28, 28) each; h(x) is x itself, the output of every
    nonlinearity, and the code (of a model with a density: its posterior mean given x alone), one after another.
    """
    with torch.no_grad():
        return _activations(model, images) - _activations(model, reconstructions)


def _activations(model: Autoencoder | VariationalAutoencoder, images: Tensor) -> Tensor:
    assert isinstance(model.encoder, nn.Sequential)
    found, h = [images.flatten(1)], images
    for layer in model.encoder:
        h = layer(h)
        if isinstance(layer, nn.LeakyReLU):
            found.append(h.flatten(1))
    code = h[:, : model.latent_dim] if isinstance(model, VariationalAutoencoder) else h
    return torch.cat([*found, code], dim=1)


def sap(differences: Tensor) -> Tensor:
    """Simple aggregation along the pathway, `sum_i |h_i(x) - h_i(y)|^2` over layers, the pixels being layer 0."""
    return differences.detach().cpu().double().square().sum(1)


@dataclass(frozen=True)
class Nap:
    """Normalised aggregation along the pathway: `|(d - mean) V S^-1|^2`, d being a row of `pathway`.

    `U S V'` is the singular value decomposition of the centred differences of n training images; S is divided by
    sqrt(n), so that the training images' scores have mean r, the number of directions (n times the paper's). Of
    directions the widest are kept: at most DIRECTIONS, and none whose singular value is below LEAST of the largest.
    """

    mean: np.ndarray  # float32 (D,)
    projection: np.ndarray  # float32 (D, r): V S^-1 sqrt(n)

    @classmethod
    def fit(cls, differences: Tensor, directions: int = DIRECTIONS) -> Nap:
        """Learn from differences (n, D) of training images; ConfigError for fewer than 2.

        Memory and time go with the square and the cube of the smaller of n and D: IMAGES of them will do.
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
        return cls(mean.float().numpy(), projection.float().numpy())

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Nap:
        """What `arrays` gave; ConfigError where the shapes do not fit each other."""
        mean, projection = arrays["mean"], arrays["projection"]
        if projection.ndim != 2 or mean.shape != projection.shape[:1]:
            raise ConfigError(f"nap: mean {mean.shape} and projection {projection.shape} do not fit")
        return cls(mean, projection)

    def arrays(self) -> dict[str, np.ndarray]:
        """The state by name: `mean` (D,) and `projection` (D, r), float32."""
        return {"mean": self.mean, "projection": self.projection}

    def score(self, differences: Tensor) -> Tensor:
        """Scores of differences (N, D); ConfigError for another width than was learned from."""
        if differences.shape[1] != len(self.mean):
            raise ConfigError(f"nap: differences {differences.shape[1]} wide, learned from {len(self.mean)}")
        mean, projection = (torch.from_numpy(array).double() for array in (self.mean, self.projection))
        return ((differences.detach().cpu().double() - mean) @ projection).square().sum(1)
