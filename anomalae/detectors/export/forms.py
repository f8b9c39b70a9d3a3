"""Plain forms, for a graph, of what is compiled, or shared out, where a detector scores: views, scores, neighbours."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from anomalae.detectors.neighbours import SEARCH_CUT, SEARCH_SIGMA, Neighbours
from anomalae.models import bent, frames
from anomalae.models.blur import blur_matrix
from anomalae.models.views import View
from anomalae.plugins import SCORES, VIEWS
from anomalae.scores import Evidence, Score
from anomalae.scores.base import Arrays
from anomalae.scores.reconstruction import (
    BENT_BLANK,
    LEAST_ENERGY,
    PLACE,
    PLACE_CUT,
    PLACE_SIGMA,
    BentError,
    WorstPlace,
)

# Scales across and down, the shear, and the centre, x first: (N,) each, float64, as what is compiled has them.
Frame = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def view_form(view: View) -> View:
    """Return a view as it can be part of a graph: one of ours reads images in torch alone, another is as it is."""
    spreads = {
        "deskewed": (None, False),
        "normalised": (frames.SPREAD, False),
        "settled": (frames.DENSE_SPREAD, True),
    }
    if view.name not in spreads or not VIEWS.is_ours(view.name):
        return view
    frames_ = _Frames(*spreads[view.name])
    return replace(view, source=frames_.read, back=frames_.laid_back)


def score_form(rule: str) -> Score:
    """Return the score of this name as it can be part of a graph."""
    forms: dict[str, Score] = {"bent": _PlainBent(), "worst-place": _PlainWorstPlace()}
    score: Score = forms[rule] if rule in forms and SCORES.is_ours(rule) else SCORES[rule]
    return score


# --- views --------------------------------------------------------------------------------------------------------


class _Frames:
    """Frames in which images are read, and laid back; see `anomalae.models.frames`.

    spread, dense: as for `anomalae.models.compiled.frames.read`; None does not scale.
    """

    def __init__(self, spread: tuple[float, float] | None, dense: bool) -> None:
        self.spread, self.dense = spread, dense
        # Found once for the same images.
        self._known: tuple[Tensor, Frame] | None = None

    def read(self, images: Tensor) -> Tensor:
        """Return images (N, 1, 28, 28) as they are read in their frames."""
        return _sampled(images, self._of(images))

    def laid_back(self, maps: Tensor, images: Tensor, terms: bool) -> Tensor:
        """Undo `read`: maps (N, channels, 28, 28) laid over the images, (N, 28, 28); see `anomalae.models.views`."""
        wide, high, shear, x, y = self._of(images)
        x, y = x - frames.MIDDLE, y - frames.MIDDLE
        lean = -shear / (wide * high)
        back = (1 / wide, 1 / high, lean, frames.MIDDLE - x / wide - lean * y, frames.MIDDLE - y / high)
        laid = _sampled(maps, back)
        if not terms:
            return laid[:, 0]
        before, after = (m.abs().sum((1, 2, 3), keepdim=True) for m in (maps, laid))
        return (laid * (before / after.where(after > 0, 1)))[:, 0]

    def _of(self, images: Tensor) -> Frame:
        if self._known is None or self._known[0] is not images:
            self._known = images, self._made(images)
        return self._known[1]

    def _made(self, images: Tensor) -> Frame:
        images = images.float()
        ink = images * _densities(images) if self.dense else images
        centre, slope, across, down = frames.moments(ink.double())
        if self.spread is None:
            wide = high = torch.ones_like(slope)
        else:
            wide, high = (
                (variance.sqrt() / deviation).clamp(frames.LEAST_SCALE, frames.MOST_SCALE)
                for variance, deviation in zip((across, down), self.spread, strict=True)
            )
        return wide, high, slope * high, centre[:, 0], centre[:, 1]


def _sampled(maps: Tensor, frame: Frame) -> Tensor:
    """Read maps (N, channels, 28, 28) in a frame, bilinearly; outside is blank. Returns float32."""
    wide, high, shear, x, y = frame
    side = maps.shape[-1]
    place = torch.arange(side, dtype=torch.float64, device=maps.device) - frames.MIDDLE
    down, across = (part.flatten() for part in torch.meshgrid(place, place, indexing="ij"))
    # Of each pixel where it is read, x first, in parts of half a side from the middle.
    affine = torch.stack([wide, shear, x - frames.MIDDLE, torch.zeros_like(high), high, y - frames.MIDDLE], 1)
    grid = affine.unflatten(1, (2, 3)) @ torch.stack([across, down, torch.ones_like(down)])
    grid = (grid / (side / 2)).float().transpose(1, 2).unflatten(1, (side, side))
    return F.grid_sample(maps.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _densities(images: Tensor) -> Tensor:
    """Return the mean of the square of DENSE x DENSE around each pixel, zeros beside the image: (N, 1, 28, 28)."""
    place = torch.arange(images.shape[-1], device=images.device)
    near = ((place[:, None] - place).abs() <= frames.DENSE // 2).float() / frames.DENSE
    return near @ images @ near


# --- scores -------------------------------------------------------------------------------------------------------


class _PlainBent(BentError):  # noqa: N818 - no exception, but what images and reconstructions differ by
    """`bent` in torch alone."""

    def __init__(self) -> None:
        # Found once for the same evidence, of which terms are made of both.
        self._apart: tuple[Evidence, Tensor] | None = None
        self._score: tuple[Evidence, Tensor] | None = None

    def apart(self, seen: Evidence) -> Tensor:
        if self._apart is None or self._apart[0] is not seen:
            x, y = (part.detach().float() for part in (seen.target, seen.rebuilt))
            a, b = (bent.maps(part.flatten(0, 1)[:, None]) for part in (x, y))
            self._apart = seen, differing(a, b).double().unflatten(0, (-1, x.shape[1]))
        return self._apart[1]

    def score(self, seen: Evidence, learned: Arrays) -> Tensor:
        if self._score is None or self._score[0] is not seen:
            x, y = (part.detach().float() for part in (seen.target, seen.rebuilt))
            errors = (x - y).square().flatten(1).sum(1).double()
            scores = (errors / x[0].numel()).sqrt() * self.apart(seen).flatten(1).sum(1)
            self._score = seen, torch.where(x.flatten(1).amax(1) <= 0, BENT_BLANK, scores)
        return self._score[1]


class _PlainWorstPlace(WorstPlace):
    """`worst-place` in torch alone."""

    def score(self, seen: Evidence, learned: Arrays) -> Tensor:
        x, y = (part.detach().float() for part in (seen.target, seen.rebuilt))
        blur = blur_matrix(x.shape[-1], PLACE_SIGMA, PLACE_CUT).float()
        squares = (blur @ (x - y) @ blur.T).square().sum(1, keepdim=True)
        error = squares.flatten(1).sum(1).double()
        energy = (blur @ y @ blur.T).square().flatten(1).sum(1).double()
        # A mean over the square; that of the maps follows.
        worst = F.avg_pool2d(squares, PLACE, 1).flatten(1).amax(1).double() / x.shape[1]
        root = energy.clamp_min(LEAST_ENERGY).sqrt()
        return error * worst.sqrt() / (root * root.sqrt())


def differing(a: Tensor, b: Tensor) -> Tensor:
    """Return where maps (P, C, 28, 28) differ though either may bend, (P, 28, 28).

    As `anomalae.models.bent.bent`, all shifts at once: a graph of few nodes is fast for few images.
    """
    margin, rim, height, width = bent.BEND, bent.PATCH // 2, a.shape[-2], a.shape[-1]
    wide, wider = F.pad(a, (margin + rim,) * 4), F.pad(b, (2 * margin + rim,) * 4)
    shifts = [(down, across) for down in range(-margin, margin + 1) for across in range(-margin, margin + 1)]
    others = [
        wider[
            ...,
            margin + down : margin + down + height + 2 * (margin + rim),
            margin + across : margin + across + width + 2 * (margin + rim),
        ]
        for down, across in shifts
    ]
    # (P, 9, C, ...): of a's patches and b's, shifted.
    apart = wide[:, None] - torch.stack(others, 1)
    squares = (apart * apart).sum(2)
    distances = F.avg_pool2d(squares, bent.PATCH, 1)
    forth = distances[..., margin:-margin, margin:-margin].amin(1)
    back = [
        distances[:, place, margin - down : margin - down + height, margin - across : margin - across + width]
        for place, (down, across) in enumerate(shifts)
    ]
    return forth + torch.stack(back, 1).amin(1)


# --- neighbours ---------------------------------------------------------------------------------------------------


class GraphNeighbours(Neighbours):
    """Neighbours in torch alone, all images of a batch at once; the training images are constants of a graph."""

    def __init__(self, neighbours: Neighbours) -> None:
        super().__init__(
            neighbours.kept,
            neighbours.count,
            view_form(neighbours.view),
            neighbours.distance,
            neighbours.arithmetic,
        )
        self.weight = neighbours.weight

    def kept_images(self, near: Tensor) -> Tensor:
        """Return the training images of these indices (N, count), uint8 (N, count, 28, 28), in the view."""
        return self._kept[near]

    def _seen(self, images: Tensor) -> tuple[Tensor, Tensor]:
        source = self.view.source(images)
        return source, self._likely(source)

    def _likely(self, source: Tensor, own_places: Tensor | None = None) -> Tensor:
        return (self._numbers(source) @ self._searched.T).topk(self.candidates, 1).indices

    def _numbers(self, source: Tensor) -> Tensor:
        if self.distance != "sum":
            return bent.edge_numbers(source)
        blur = blur_matrix(28, SEARCH_SIGMA, SEARCH_CUT).float()
        return F.normalize((blur @ source @ blur.T).flatten(1))

    def _figures(self, source: Tensor, likely: Tensor) -> tuple[Tensor, Tensor]:
        terms = self._differing(source, likely)
        return terms.sum((2, 3)), terms.square().sum((2, 3))

    def _differing(self, source: Tensor, near: Tensor) -> Tensor:
        ours = bent.maps(source)[:, None].expand(-1, near.shape[1], -1, -1, -1).flatten(0, 1)
        theirs = bent.maps(bent.floats(self._kept[near.flatten()]))
        return differing(ours, theirs).unflatten(0, (-1, near.shape[1]))
