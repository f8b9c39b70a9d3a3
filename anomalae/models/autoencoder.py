"""The autoencoder: an embedding from which the image is rebuilt."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anomalae.models.layers import decoder, encoder
from anomalae.settings import NetworkSettings


class Autoencoder(nn.Module):
    """An autoencoder embeds an image, z = e(x), and rebuilds it from there, y = sigmoid(d(z)).

    It is trained on the squared error of y and the clean x. With corrupted inputs it is the denoising autoencoder of
    Vincent et al. (ICML 2008).

    architecture: dense or conv.
    hidden: units of each hidden layer, or channels where it is convolutional.
    latent_dim: width of the embedding.
    channels: maps of what is rebuilt, see `anomalae.models.views`.

    >>> network = Autoencoder("dense", (8,), latent_dim=2)
    >>> network.reconstruct(torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 1, 28, 28])
    """

    def __init__(
        self, architecture: str, hidden: tuple[int, ...], latent_dim: int, channels: int = 1
    ) -> None:
        super().__init__()
        self.encoder = encoder(architecture, hidden, latent_dim)
        self.decoder = decoder(architecture, hidden, latent_dim, channels)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 1, 28, 28) in [0, 1] -> reconstructions (N, channels, 28, 28), in (0, 1)."""
        return self.decode(self.encode(images))

    def encode(self, images: Tensor) -> Tensor:
        """Images (N, 1, 28, 28) -> embeddings (N, latent_dim)."""
        return self.encoder(images)

    def reconstruct(self, images: Tensor) -> Tensor:
        """Images (N, 1, 28, 28) -> reconstructions (N, channels, 28, 28), in (0, 1)."""
        return self(images)

    def decode(self, codes: Tensor) -> Tensor:
        """Embeddings (N, latent_dim) -> images (N, channels, 28, 28), in (0, 1)."""
        return torch.sigmoid(self.decoder(codes))

    def hidden(self, images: Tensor) -> list[Tensor]:
        """The pixels, the output of every nonlinearity of the encoder, and the embedding, flat (N, ...) each."""
        activations, codes = self.encoder.activations(images)
        return [images.flatten(1), *activations, codes]

    def loss(self, corrupted: Tensor, clean: Tensor, source: torch.Generator, warmth: float) -> Tensor:
        """Squared error summed over pixels, an image each: (N,). Neither chance nor warm-up plays a part."""
        return (self(corrupted) - clean).square().flatten(1).sum(1)


def make(settings: NetworkSettings, channels: int) -> Autoencoder:
    """The autoencoder of these settings."""
    return Autoencoder(settings.architecture, settings.hidden, settings.latent_dim, channels)
