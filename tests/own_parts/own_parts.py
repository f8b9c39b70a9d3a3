"""A network with weights outside of linear layers and with buffers, two scores and a view of two maps."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from anomalae import Kind, Score, View


class Normed(nn.Module):
    """A convolutional autoencoder with batch norm, a learned scale, and no hidden layers to show."""

    def __init__(self, settings, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(settings.latent_dim))
        self.down = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Flatten(), nn.Linear(8 * 49, settings.latent_dim),
        )  # fmt: skip
        self.up = nn.Sequential(
            nn.Linear(settings.latent_dim, 128), nn.GELU(), nn.Linear(128, channels * 784)
        )
        self.channels = channels

    def encode(self, images):
        return self.down(images) * self.scale

    def decode(self, codes):
        return torch.sigmoid(self.up(codes)).unflatten(1, (self.channels, 28, 28))

    def reconstruct(self, images):
        return self.decode(self.encode(images))

    def loss(self, corrupted, clean, source, warmth):
        return (self.reconstruct(corrupted) - clean).square().flatten(1).sum(1)


class WorstPatch(Score):
    """The largest mean squared error of a 7 x 7 patch."""

    name, line = "worst-patch", "the worst 7 x 7 patch's mean squared error"

    def score(self, seen, learned):
        error = (seen.target - seen.rebuilt).double().square().sum(1, keepdim=True)
        return F.avg_pool2d(error.cpu(), 7, stride=1).flatten(1).amax(1)


class CodeDistance(Score):
    """The squared distance of an image's code from the mean code of training images."""

    name, line = "code-distance", "squared distance of the code from the usual one"
    learned = ("mean",)

    def code(self, seen):
        with torch.no_grad():
            return seen.network.encode(seen.source).cpu()

    def learn(self, seen):
        return {"mean": self.code(seen).mean(0).numpy().astype(np.float32)}

    def score(self, seen, learned):
        return (self.code(seen).double() - torch.from_numpy(learned["mean"])).square().sum(1)


def halves(images):
    """The upper and the lower half, a map each."""
    above = torch.zeros_like(images)
    above[..., :14, :] = images[..., :14, :]
    return torch.cat([above, images - above], 1)


NORMED = Kind("normed", "batch-normed autoencoder", Normed, score="mse", schedule=(2, 10))
WORST_PATCH, CODE_DISTANCE = WorstPatch(), CodeDistance()
HALVES = View(
    "halves", "the image, rebuilt as its upper and its lower half", lambda images: images, halves, channels=2
)
