"""Scores of images and their reconstructions: sums over pixels of terms, so that each has a heatmap.

The terms are signed: positive where the image has ink that the network did not expect, negative where expected ink is
missing. Their absolute values sum to the score.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from anomalae.models.blur import blur_matrix
from anomalae.scores.base import Arrays, Evidence, Score

SMOOTH_SIGMA = 1.5  # pixels, of the blur in `smooth`
SMOOTH_CUT = 5  # pixels from the centre at which the blur's kernel ends
PLACE_SIGMA, PLACE_CUT = 0.7, 3  # of the blur in `worst-place`
PLACE = 11  # side of the square in which `worst-place` looks for most error, in pixels
BENT_BLANK = (
    4.0  # of a blank image by `bent`: what no other has, all of whose ink were wrong and all its edges
)
LEAST_ENERGY = 1.0  # floor of `relative`'s denominator: the energy of one pixel of full ink


class PixelScore(Score):
    """A score that is the sum over pixels of the absolute values of `formula(x, y)`.

    x and y are float64 (N, C, 28, 28) in [0, 1], C = 1 but for maps of a view; so are the terms.
    """

    has_terms = True
    formula: Callable[[Tensor, Tensor], Tensor]

    def terms(self, seen: Evidence) -> Tensor:
        """Signed terms, float64 (N, C, 28, 28)."""
        x, y = (part.detach().cpu().double() for part in (seen.target, seen.rebuilt))
        return type(self).formula(x, y)

    def score(self, seen: Evidence, learned: Arrays) -> Tensor:
        """Scores, float64 (N,), at least 0."""
        return self.terms(seen).abs().flatten(1).sum(1)


def mse_terms(x: Tensor, y: Tensor) -> Tensor:
    """Terms of the mean squared error: `(x - y)^2 / number of pixels`, signed."""
    difference = x - y
    return difference * difference.abs() / x[0].numel()


def relative_terms(x: Tensor, y: Tensor) -> Tensor:
    """Terms of the squared error over image energy: `(x - y)^2 / max(|x|^2, 1)`, signed."""
    difference = x - y
    return difference * difference.abs() / x.square().sum((1, 2, 3), keepdim=True).clamp_min(LEAST_ENERGY)


def smooth_terms(x: Tensor, y: Tensor) -> Tensor:
    """Terms of `|Gx/|Gx| - Gy/|Gy||^2 / 2`, signed; G blurs."""
    blur = blur_matrix(x.shape[-1], SMOOTH_SIGMA, SMOOTH_CUT)
    x, y = blur @ x @ blur.T, blur @ y @ blur.T
    x_norm, y_norm = (v.square().sum((1, 2, 3), keepdim=True).sqrt() for v in (x, y))
    difference = x / x_norm.where(x_norm > 0, 1) - y / y_norm.where(y_norm > 0, 1)
    # Half the squared distance of two unit vectors is 1 - cosine; against a zero vector it would be 1/2, and the
    # convention of a zero cosine asks for 1.
    half = torch.where((x_norm > 0) & (y_norm > 0), 0.5, 1.0)
    return half * difference * difference.abs()


class MeanSquaredError(PixelScore):
    """Mean squared error: `mean over pixels of (x - y)^2`, in [0, 1]."""

    name = "mse"
    line = "mean squared error"
    formula = staticmethod(mse_terms)


class RelativeError(PixelScore):
    """Squared error over image energy: `|x - y|^2 / max(|x|^2, 1)`, at least 0.

    Thick digits have more ink to get wrong; dividing by the energy makes up for it. The floor of 1, one pixel of
    full ink, matters for next to blank images only (MNIST's faintest digit has an energy of about 16).
    """

    name = "relative"
    line = "squared error over the image's energy"
    formula = staticmethod(relative_terms)


class SmoothError(PixelScore):
    """Scale-free smoothed reconstruction error: `|Gx/|Gx| - Gy/|Gy||^2 / 2 = 1 - cos(Gx, Gy)`, in [0, 1].

    G is a Gaussian blur (sigma 1.5 px, cut at 5 px, zero padding): one-pixel shifts are forgiven, and neither
    thickness nor brightness alone makes a digit anomalous. A cosine with a blank image or reconstruction counts
    as 0, so that a blank image scores 1 (rebuilt as blank too, where the terms are 0).
    """

    name = "smooth"
    line = "1 - cosine of the blurred image and the blurred reconstruction"
    formula = staticmethod(smooth_terms)

    def score(self, seen: Evidence, learned: Arrays) -> Tensor:
        """Scores, float64 (N,), in [0, 1]."""
        scores = super().score(seen, learned)
        blank = (seen.target.flatten(1).amax(1) <= 0) & (seen.rebuilt.flatten(1).amax(1) <= 0)
        return torch.where(blank.to(scores.device), 1.0, scores)


class BentError(PixelScore):
    """Root mean squared error, weighed by how far both differ though either may bend: `R D`, at least 0.

    R is the root of the mean over pixels of (x - y)^2. D, 0 to about 4, compares edges, not ink: the sum over pixels of
    the least squared distance of the 3 x 3 patch around each, on Sobel maps of length 1, to the other's patches at most
    one pixel away, of image and reconstruction both (the distance by which neighbours are set against an image, see
    `anomalae.detectors.neighbours`). A stroke that stands elsewhere, or is not there at all, makes both large; another
    pen or an unsteady hand makes R large and leaves D small. Of several maps D is the sum of theirs.

    A blank image, which a network may well rebuild as blank, scores 4, more than any other.

    The image distortion model is of Keysers, Deselaers, Gollan and Ney, "Deformation models for image recognition",
    IEEE Transactions on Pattern Analysis and Machine Intelligence 29, 2007.
    """

    name = "bent"
    line = "root mean squared error, weighed by how far both differ though either may bend by a pixel"

    def terms(self, seen: Evidence) -> Tensor:
        """Signed terms, float64 (N, C, 28, 28): the score, shared out among pixels with part in both R and D."""
        error, apart = _error(seen), self.apart(seen)
        both = error.abs() * apart
        # Where no pixel has part in both, in R alone; then the score is 0, or as good as that.
        both = torch.where(both.sum((1, 2, 3), keepdim=True) > 0, both, error.square())
        score = self.score(seen, {})
        shares = both / _positive(both.sum((1, 2, 3), keepdim=True))
        return score[:, None, None, None] * torch.where(error < 0, -shares, shares)

    def score(self, seen: Evidence, learned: Arrays) -> Tensor:
        """Scores, float64 (N,), at least 0."""
        from anomalae.models.compiled import pairs

        x, y = (part.detach().cpu().float() for part in (seen.target, seen.rebuilt))
        figures = pairs.matched(x.flatten(0, 1).numpy(), y.flatten(0, 1).numpy())
        errors, apart = (torch.from_numpy(figure).unflatten(0, x.shape[:2]).sum(1) for figure in figures)
        scores = (errors / x[0].numel()).sqrt() * apart
        return torch.where(x.flatten(1).amax(1) <= 0, BENT_BLANK, scores)

    def apart(self, seen: Evidence) -> Tensor:
        """Where image and reconstruction differ though either may bend, float64 (N, C, 28, 28)."""
        from anomalae.models.compiled import pairs

        x, y = (part.detach().cpu().float() for part in (seen.target, seen.rebuilt))
        apart = pairs.matched_terms(x.flatten(0, 1).numpy(), y.flatten(0, 1).numpy())
        return torch.from_numpy(apart).double().unflatten(0, x.shape[:2])


class WorstPlace(PixelScore):
    """Blurred squared error, weighed by its worst place: `S sqrt(W) / E^(3/4)`, at least 0.

    S is the sum over pixels of r^2, r the difference of image and reconstruction, blurred (sigma 0.7 px, cut at 3 px,
    zero padding); W the largest mean of r^2 in a square of 11 x 11 pixels; E the sum of squares of the blurred
    reconstruction, at least 1. A stroke too many or too few is one large error in one place; a hand unlike those of the
    training images has small ones everywhere. Thicker or brighter ink makes all errors larger: E^(3/2) would make up
    for it wholly, and forgive too much. Of several maps S and E are sums, W is a mean.
    """

    name = "worst-place"
    line = "squared error of the blurred images, weighed by that of its worst place"

    def terms(self, seen: Evidence) -> Tensor:
        """Signed terms, float64 (N, C, 28, 28): those of r^2, so scaled that they sum to the score."""
        x, y = (part.detach().cpu().double() for part in (seen.target, seen.rebuilt))
        blur = blur_matrix(x.shape[-1], PLACE_SIGMA, PLACE_CUT)
        error = blur @ (x - y) @ blur.T
        squares = error.square()
        return (
            error
            * error.abs()
            * (self.score(seen, {}) / _positive(squares.sum((1, 2, 3))))[:, None, None, None]
        )

    def score(self, seen: Evidence, learned: Arrays) -> Tensor:
        """Scores, float64 (N,), at least 0."""
        from anomalae.models.compiled import places

        x, y = (part.detach().cpu().float().numpy() for part in (seen.target, seen.rebuilt))
        middle = x.shape[-1] // 2
        kernel = blur_matrix(x.shape[-1], PLACE_SIGMA, PLACE_CUT)[
            middle, middle - PLACE_CUT : middle + PLACE_CUT + 1
        ]
        figures = places.figures(x, y, kernel.float().numpy()).astype(np.float64)
        error, energy, worst = torch.from_numpy(figures)
        worst = worst / (x.shape[1] * PLACE**2)
        # By roots, which have the same bits wherever in a batch they are taken; a power has not.
        root = energy.clamp_min(LEAST_ENERGY).sqrt()
        return error * worst.sqrt() / (root * root.sqrt())


def _error(seen: Evidence) -> Tensor:
    """What image and reconstruction differ by, float64 (N, C, 28, 28)."""
    return seen.target.detach().cpu().double() - seen.rebuilt.detach().cpu().double()


def _positive(values: Tensor) -> Tensor:
    return values.where(values > 0, 1)


SCORES = (BentError(), WorstPlace(), MeanSquaredError(), RelativeError(), SmoothError())
