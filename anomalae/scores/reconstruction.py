"""Scores of images and their reconstructions, float64 (N,), higher = more anomalous.

Each rule is a sum over pixels of non-negative terms, so that it has a heatmap: `terms` gives them signed,
positive where the image has ink that the model did not expect, negative where expected ink is missing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from anomalae.models.blur import blur_matrix

SMOOTH_SIGMA = 1.5  # pixels, of the blur in `smooth`
SMOOTH_CUT = 5  # pixels from the centre at which the blur's kernel ends
LEAST_ENERGY = 1.0  # floor of `relative`'s denominator: the energy of one pixel of full ink


def mse(images: Tensor, reconstructions: Tensor) -> Tensor:
    """Mean squared error: `mean over pixels of (x - y)^2`, in [0, 1].

    Both arguments (N, C, 28, 28) in [0, 1], C = 1 but for maps of a view; returns float64 (N,), as do the other rules.
    """
    return terms("mse", images, reconstructions).abs().flatten(1).sum(1)


def relative(images: Tensor, reconstructions: Tensor) -> Tensor:
    """Squared error over image energy: `|x - y|^2 / max(|x|^2, 1)`, at least 0.

    Thick digits have more ink to get wrong; dividing by the energy makes up for it. The floor of 1, one pixel of
    full ink, matters for next to blank images only (MNIST's faintest digit has an energy of about 16).
    """
    return terms("relative", images, reconstructions).abs().flatten(1).sum(1)


def smooth(images: Tensor, reconstructions: Tensor) -> Tensor:
    """Scale-free smoothed reconstruction error: `|Gx/|Gx| - Gy/|Gy||^2 / 2 = 1 - cos(Gx, Gy)`, in [0, 1].

    G is a Gaussian blur (sigma 1.5 px, cut at 5 px, zero padding): one-pixel shifts are forgiven, and neither
    thickness nor brightness alone makes a digit anomalous. A cosine with a blank image or reconstruction counts
    as 0, so that a blank image scores 1.
    """
    scores = terms("smooth", images, reconstructions).abs().flatten(1).sum(1)
    blank = (images.flatten(1).amax(1) <= 0) & (reconstructions.flatten(1).amax(1) <= 0)
    return torch.where(blank.to(scores.device), 1.0, scores)


RULES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": mse, "relative": relative, "smooth": smooth}


def terms(rule: str, images: Tensor, reconstructions: Tensor) -> Tensor:
    """The signed pixel terms of a rule, float64 (N, C, 28, 28): their absolute values sum to the score.

    (For `smooth` of a blank image rebuilt as blank, a score of 1 by convention, the terms are 0.)
    """
    x, y = images.detach().cpu().double(), reconstructions.detach().cpu().double()
    if rule == "smooth":
        return _smooth_terms(x, y)
    difference = x - y
    signed = difference * difference.abs()
    if rule == "relative":
        return signed / x.square().sum((1, 2, 3), keepdim=True).clamp_min(LEAST_ENERGY)
    return signed / x[0].numel()


def _smooth_terms(x: Tensor, y: Tensor) -> Tensor:
    blur = blur_matrix(x.shape[-1], SMOOTH_SIGMA, SMOOTH_CUT)
    x, y = blur @ x @ blur.T, blur @ y @ blur.T
    x_norm, y_norm = (v.square().sum((1, 2, 3), keepdim=True).sqrt() for v in (x, y))
    difference = x / x_norm.where(x_norm > 0, 1) - y / y_norm.where(y_norm > 0, 1)
    # Half the squared distance of two unit vectors is 1 - cosine; against a zero vector it would be 1/2, and the
    # convention of a zero cosine asks for 1.
    half = torch.where((x_norm > 0) & (y_norm > 0), 0.5, 1.0)
    return half * difference * difference.abs()
