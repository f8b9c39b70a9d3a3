"""Views: what one network of an ensemble sees of an image, and what it rebuilds. Small pure functions with names.

Each works on images (N, 1, 28, 28), float in [0, 1], an image at a time: neither order nor neighbours matter. To add
a view, write its functions and a View here, and a line in `anomalae.plugins.VIEWS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from anomalae.errors import ConfigError
from anomalae.models.frames import (
    DENSE_SPREAD,
    MIDDLE,
    SPREAD,
    alike,
    alike_dense,
    read,
    resample,
    upright,
)
from anomalae.plugins import VIEWS


def as_it_lies(maps: Tensor, images: Tensor, terms: bool) -> Tensor:
    """Lay one map as it is, several into one: their absolute sum, with the sign of their sum.

    maps: (N, channels, H, W).
    images, terms: of no account; they are what `View.back` is called with.

    Returns maps, (N, H, W).
    """
    if maps.shape[1] == 1:
        return maps[:, 0]
    return maps.abs().sum(1) * torch.where(maps.sum(1) < 0, -1, 1)


@dataclass(frozen=True)
class View:
    """One way to look at an image; what each function does must not depend on the images beside it.

    name: by which it is asked for.
    line: what it is, for people.
    source: makes what the network sees of images (N, 1, 28, 28) in [0, 1], of the same shape; noise is added after it.
    target: makes what the network rebuilds, (N, channels, 28, 28) in [0, 1]; `source` where none is named.
    channels: number of maps that are rebuilt; 1 where no `target` is named.
    back: called with (maps, images, terms), lays something of the target's kind over the images: signed terms of a
        score, which keep their absolute sum, or rebuilt maps, which keep their values: (N, channels, 28, 28) ->
        (N, 28, 28). Where none is named the maps lie there already; several are added up.

    Raises ConfigError where the number of channels is none, or does not fit what is seen.

    >>> inverted = View("inverted", "ink and ground exchanged", lambda images: 1 - images)
    >>> inverted.again, float(inverted.see(torch.zeros(1, 1, 28, 28))[0].mean())
    (True, 1.0)
    """

    name: str
    line: str
    source: Callable[[Tensor], Tensor] = field(repr=False)
    target: Callable[[Tensor], Tensor] | None = field(default=None, repr=False)
    channels: int = 1
    back: Callable[[Tensor, Tensor, bool], Tensor] = field(default=as_it_lies, repr=False)

    def __post_init__(self) -> None:
        if self.channels < 1 or (self.target is None and self.channels != 1):
            raise ConfigError(f"channels {self.channels}: must be 1, or more where there is a target")

    def see(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the network is shown and what it should make of it; made once where both are the same.

        images: (N, 1, 28, 28) in [0, 1].

        Raises PartError for a view of one's own that fails, or makes something of another shape.
        """
        try:
            source = self.source(images)
            target = source if self.target is None else self.target(images)
            self._check(source, images, 1)
            self._check(target, images, self.channels)
        except Exception as error:
            if self.name not in VIEWS or VIEWS.is_ours(self.name):
                raise
            raise VIEWS.failure(self.name, error) from error
        return source, target

    @staticmethod
    def _check(seen: Tensor, images: Tensor, channels: int) -> None:
        # Not by `len`, which a graph of any number of images has not.
        expected = (images.shape[0], channels, *images.shape[2:])
        if seen.shape != expected:
            raise ValueError(f"makes {tuple(seen.shape)} of images {tuple(images.shape)}: must be {expected}")

    @property
    def again(self) -> bool:
        """Whether what is rebuilt can be rebuilt once more: whether it is what is seen."""
        return self.target is None


def pixels(images: Tensor) -> Tensor:
    """Return the image as it is."""
    return images


def deskewed(images: Tensor) -> Tensor:
    """Return the image sheared upright and centred by its moments, resampled bilinearly.

    The shear is `covariance of x and y / variance of y` of the ink, the slope by which the writing leans; a blank
    image stays blank. LeCun et al., "Gradient-based learning applied to document recognition", 1998, did so too.
    """
    return read(upright, None, False, images)


def normalised(images: Tensor) -> Tensor:
    """Return the image deskewed and scaled so that its ink spreads alike: standard deviation 4.2 px across, 5.5 down.

    Scales are held to 0.625 to 2 times, so that a stroke is not torn to a blot. Moment normalisation, see Liu,
    Nakashima, Sako and Fujisawa, "Handwritten digit recognition: investigation of normalization and feature
    extraction techniques", Pattern Recognition 37, 2004.
    """
    return read(alike, SPREAD, False, images)


def settled(images: Tensor) -> Tensor:
    """Return the image `normalised` by its dense ink: each pixel's times the ink in the 11 x 11 around it.

    A speck beside the digit, or a long thin tail, then neither shifts nor shrinks it.
    """
    return read(alike_dense, DENSE_SPREAD, True, images)


def edges(images: Tensor) -> Tensor:
    """Return the half-rectified Sobel maps, (N, 4, 28, 28) in [0, 1]: light to the right, left, below and above."""
    kernel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=images.device) / 4
    both = F.conv2d(images, torch.stack([kernel, kernel.T])[:, None].to(images.dtype), padding=1)
    return torch.cat([both.clamp_min(0), (-both).clamp_min(0)], 1)[:, [0, 2, 1, 3]]


def _laid_back(
    frame: Callable[[Tensor], tuple[Tensor, Tensor]], maps: Tensor, images: Tensor, terms: bool
) -> Tensor:
    """Undo a view that reads images in this frame: maps resampled by its inverse, the absolute sum of terms kept."""
    matrix, centre = frame(images)
    inverse = torch.linalg.inv(matrix)
    # Where the view reads A (p - middle) + centre for p, its inverse reads A^-1 (p - centre) + middle.
    start = MIDDLE - (inverse @ (centre - MIDDLE)[..., None])[..., 0]
    laid = resample(maps, inverse, start)
    if not terms:
        return laid[:, 0]
    before, after = (m.abs().sum((1, 2, 3), keepdim=True) for m in (maps, laid))
    return (laid * (before / after.where(after > 0, 1)))[:, 0]


# The view in which neighbours are compared, too.
SETTLED = View("settled", "normalised by its dense ink", settled, back=partial(_laid_back, alike_dense))

PIXELS = View("pixels", "the image as it is", pixels)
DESKEWED = View(
    "deskewed", "sheared upright and centred by its moments", deskewed, back=partial(_laid_back, upright)
)
NORMALISED = View(
    "normalised", "deskewed, and scaled to a common spread", normalised, back=partial(_laid_back, alike)
)
EDGES = View(
    "edges",
    "its four half-rectified Sobel maps, rebuilt from its pixels",
    pixels,
    edges,
    channels=4,
)
