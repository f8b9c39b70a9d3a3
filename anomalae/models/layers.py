"""Encoder and decoder trunks, dense and convolutional, and how their weights begin."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

SIDE = 28
PIXELS = SIDE * SIDE
SLOPE = 0.1  # of the LeakyReLU below zero
BOTTOM = SIDE // 4  # side of the conv feature map after two strides of 2


class Encoder(nn.Sequential):
    """Layers from images (N, 1, 28, 28) to outputs (N, K); it knows after which of them its nonlinearities stand."""

    def __init__(self, *layers: Any, nonlinear: tuple[int, ...] = ()) -> None:
        super().__init__(*layers)
        self.nonlinear = nonlinear

    @property
    def width(self) -> int:
        """Number of features that the last layer reads."""
        last = self[-1]
        assert isinstance(last, nn.Linear)
        return last.in_features

    def features(self, images: Tensor) -> Tensor:
        """What the last layer reads, (N, width)."""
        for layer in list(self)[:-1]:
            images = layer(images)
        return images

    def activations(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """The output of every nonlinearity, flat (N, ...), and the outputs (N, K)."""
        flat = []
        for place, layer in enumerate(self):
            images = layer(images)
            if place in self.nonlinear:
                flat.append(images.flatten(1))
        return flat, images


def encoder(architecture: str, hidden: tuple[int, ...], outputs: int) -> Encoder:
    """Images (N, 1, 28, 28) -> (N, outputs)."""
    if architecture == "dense":
        layers = [nn.Flatten(), *dense([PIXELS, *hidden, outputs])]
        return Encoder(*layers, nonlinear=tuple(range(2, 2 * len(hidden) + 1, 2)))
    first, second = hidden
    return Encoder(
        nn.Conv2d(1, first, 3, stride=2, padding=1),  # (N, first, 14, 14)
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(first, second, 3, stride=2, padding=1),  # (N, second, 7, 7)
        nn.LeakyReLU(SLOPE),
        nn.Flatten(),
        nn.Linear(second * BOTTOM * BOTTOM, outputs),
        nonlinear=(1, 3),
    )


def decoder(architecture: str, hidden: tuple[int, ...], latent_dim: int, channels: int = 1) -> nn.Sequential:
    """Codes (N, latent_dim) -> logits (N, channels, 28, 28)."""
    if architecture == "dense":
        return nn.Sequential(
            *dense([latent_dim, *reversed(hidden), channels * PIXELS]),
            nn.Unflatten(1, (channels, SIDE, SIDE)),
        )
    first, second = hidden
    return nn.Sequential(
        nn.Linear(latent_dim, second * BOTTOM * BOTTOM),
        nn.LeakyReLU(SLOPE),
        nn.Unflatten(1, (second, BOTTOM, BOTTOM)),
        nn.ConvTranspose2d(second, first, 4, stride=2, padding=1),  # (N, first, 14, 14)
        nn.LeakyReLU(SLOPE),
        nn.ConvTranspose2d(first, channels, 4, stride=2, padding=1),  # (N, channels, 28, 28)
    )


def initialise(module: nn.Module, source: torch.Generator) -> None:
    """Draw every weight and bias from `source`, uniform in +-1/sqrt(fan_in): PyTorch's own start, but seeded."""
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            fan_in, _ = nn.init._calculate_fan_in_and_fan_out(layer.weight)
            bound = 1 / math.sqrt(fan_in)
            nn.init.uniform_(layer.weight, -bound, bound, generator=source)
            if layer.bias is not None:
                nn.init.uniform_(layer.bias, -bound, bound, generator=source)


def dense(widths: list[int]) -> list[nn.Module]:
    """Linear layers of these widths with a nonlinearity between each two."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(SLOPE)]
    return layers[:-1]
