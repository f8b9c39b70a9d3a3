"""A picture as a sheet: reduced to a working size, its paper and ink told apart, with paper around ink at the edge."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from anomalae.errors import ImageError
from anomalae.images.ink import (
    TOLERANCE,
    Paper,
    Strokes,
    contrast,
    coordinates,
    find_paper,
    find_polarity,
    frame,
    reduce,
)
from anomalae.images.pictures import MAX_PIXELS
from anomalae.images.tight import find_tight

# Rows above and below, columns to the left and to the right.
Room = tuple[tuple[int, int], tuple[int, int]]
NO_ROOM: Room = ((0, 0), (0, 0))
# Of the pixels along the edges at most this share is anything but paper, where no ink reaches them.
MOST_AWAY = 0.1
# A picture with room around it has at most so many pixels: enough for a square one of the most pixels a file may have.
MOST_ROOMY = 3 * MAX_PIXELS
# The level of white.
FULL = {"uint8": 255, "uint16": 65535}


@dataclass(frozen=True)
class Sheet:
    """A sheet is a picture reduced to a working size, and what on it is paper and ink.

    gray: the picture, with room around it.
    room: what was added to it where its ink reaches the edges: paper.
    factor: pixels of the picture in one of the sheet, each way.
    tones, ground: float32 (H, W) in [0, 1], the sheet's and those of its paper there.
    paper: by which the ground is found at any place.
    white, least: the brightest tone, and the least by which contrast is measured.
    light_ink: whether the ink is lighter than the paper.
    strokes: what is ink.
    """

    gray: np.ndarray
    room: Room
    factor: int
    tones: np.ndarray
    ground: np.ndarray
    paper: Paper
    white: float
    least: float
    light_ink: bool
    strokes: Strokes

    @classmethod
    def of(cls, gray: np.ndarray, polarity: str, side: int, *, close: bool = True) -> Sheet | None:
        """Return the sheet of a picture, reduced to at most this side; None where there is no ink.

        gray: uint8, uint16, or float in [0, 1]; it is not modified.
        polarity: `light`, `dark`, or `auto` to find out.
        side: in pixels.
        close: whether ink at the edge of the picture is a digit's, so that room is made for it. On a page it may be the
            dark edge of the scan; then room is made only where the tones along the edges hid what is paper.
        """
        sheet = cls._as_it_is(gray, polarity, side)
        if sheet is not None and sheet._has_paper_around():
            return sheet
        factor = math.ceil(max(gray.shape) / side)
        tight = find_tight(reduced_tones(gray, factor), polarity)
        if tight is not None and (close or sheet is None or sheet.light_ink != tight.light_ink):
            light_ink, paper, reached = tight.light_ink, tight.paper, ((1, 1), (1, 1))
        elif sheet is not None and close and sheet._sides_reached() != NO_ROOM:
            light_ink, paper, reached = sheet.light_ink, sheet.paper, sheet._sides_reached()
        else:
            return sheet
        # As much as is kept around a digit that lies well inside; a long strip gets no room of its length.
        margin = min(max(gray.shape) // 4, 4 * min(gray.shape)) + 4 * factor
        (above, below), (before, behind) = reached
        room = ((margin * above, margin * below), (margin * before, margin * behind))
        with_room = cls._as_it_is(_with_room(gray, room, paper), "light" if light_ink else "dark", side)
        return sheet if with_room is None else replace(with_room, room=room)

    @classmethod
    def _as_it_is(cls, gray: np.ndarray, polarity: str, side: int) -> Sheet | None:
        factor = math.ceil(max(gray.shape) / side)
        tones = reduced_tones(gray, factor)
        paper = find_paper(tones)
        ground = paper.at(*(coordinates(0, n, n) for n in tones.shape))
        least = least_tone(gray)
        white = max(float(tones.max()), least)
        light_ink, strokes = find_polarity((tones - ground) / np.float32(white), polarity)
        if strokes is None:
            return None
        return cls(gray, NO_ROOM, factor, tones, ground, paper, white, least, light_ink, strokes)

    def _has_paper_around(self) -> bool:
        """Tell whether what was taken for paper is all that lies along the edges."""
        away = np.abs(frame(self.tones - self.ground)) > TOLERANCE * self.strokes.strength * self.white
        return bool(self._sides_reached() == NO_ROOM and away.mean() <= MOST_AWAY)

    def _sides_reached(self) -> Room:
        """Return 1 for each side of the picture that its ink reaches, 0 for the others."""
        mask = self.strokes.mask
        top, bottom, left, right = (int(side.any()) for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
        return (top, bottom), (left, right)

    def contrast_in(self, rows: slice, columns: slice, factor: int) -> np.ndarray:
        """Return the contrast of ink to paper in a part of the picture, reduced by a factor."""
        height, width = self.gray.shape
        part = reduced_tones(self.gray[rows, columns], factor)
        down = coordinates(rows.start, rows.stop, height, factor)
        across = coordinates(columns.start, columns.stop, width, factor)
        return contrast(part, self.paper.at(down, across), self.light_ink, self.white, self.least)


def tones_of(gray: np.ndarray) -> np.ndarray:
    """Return a grey picture, uint8, uint16 or float in [0, 1], as float32 in [0, 1]."""
    full = FULL.get(gray.dtype.name, 1)
    return gray.astype(np.float32) / np.float32(full)


def reduced_tones(gray: np.ndarray, factor: int) -> np.ndarray:
    """Return the tones of a grey picture, averaged over blocks of `factor` by `factor` pixels, less at the edges.

    Levels of whole numbers are summed before they become floats.
    """
    full = FULL.get(gray.dtype.name)
    if full is None or factor <= 1:
        return reduce(tones_of(gray), factor)
    from anomalae.images.compiled import reduce_levels

    return reduce_levels(gray, factor, full)


def least_tone(gray: np.ndarray) -> float:
    """Return the tone below which nothing is told apart: 64 of the picture's own levels."""
    return 64 / (255 if gray.dtype == np.uint8 else 65535)


def _with_room(gray: np.ndarray, room: Room, paper: Paper) -> np.ndarray:
    """Return a picture with paper around it, as light as the paper at the nearest edge of the picture."""
    (height, width), ((above, below), (before, behind)) = gray.shape, room
    if (above + height + below) * (before + width + behind) > MOST_ROOMY:
        raise ImageError(f"too large for ink that reaches its edges: {width:,} x {height:,} pixels")
    down, across = (coordinates(0, n, n) for n in gray.shape)
    full = FULL.get(gray.dtype.name)

    def level(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        ground = np.clip(paper.at(rows, columns), 0, 1)
        return (ground if full is None else np.rint(ground * full)).astype(gray.dtype)

    roomy = np.empty((above + height + below, before + width + behind), gray.dtype)
    inside = slice(above, above + height), slice(before, before + width)
    roomy[inside] = gray
    roomy[inside[0], :before] = level(down, across[:1])
    roomy[inside[0], before + width :] = level(down, across[-1:])
    columns = np.pad(across, (before, behind), mode="edge")
    roomy[:above] = level(down[:1], columns)
    roomy[above + height :] = level(down[-1:], columns)
    return roomy
