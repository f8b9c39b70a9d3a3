"""Cut a page of handwritten digits into its digits, in reading order, each brought to canonical form.

The sheet's tone and the ink's polarity are found once for the page. Ruled lines are left out, the parts of a broken
digit are joined, digits that plainly touch are cut apart, and what is much smaller than the others is no digit.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from anomalae.errors import ImageError
from anomalae.images.canonical import DIGIT_SIDE, check_gray, fit_ink, preprocess
from anomalae.images.check import SIDE
from anomalae.images.ink import GRAIN, contrast
from anomalae.images.ruled import find_ruled
from anomalae.images.sheet import Sheet
from anomalae.lazy import Deferred

ndimage = Deferred("scipy.ndimage")
spatial = Deferred("scipy.spatial")

# Digits are looked for in a page reduced to this side; whether there are several, to that side.
PAGE_SIDE, GLANCE_SIDE = 1600, 640
# A page of digits holds at most so many marks.
MOST_MARKS = 2000
# Ink is what has this share of a full stroke's contrast, next to some that has half of it.
FAINT_INK, FULL_INK = 0.3, 0.5
# All sizes below are shares of the height of the page's digits.
# A digit is at least this tall, and a part of one this large.
SMALLEST, SMALLEST_PART = 0.4, 0.12
# A part this far from a digit belongs to it if it is less than FRAGMENT tall and both together are no larger than ...
REACH, FRAGMENT = 0.2, 0.7
TALLEST, WIDEST = 1.35, 1.2
# Wider, or taller, than this are several digits that touch.
TOO_WIDE, TOO_TALL = 1.25, 1.8
# Where digits touch, the cut goes through at most so many strokes' thickness of ink.
CUT, ENTERED = 2.2, 0.5
# Digits of one line lie at most this far above or below one another.
SAME_LINE = 0.75
# Pieces this far apart, and alike in height to this share, are surely not parts of one digit.
APART, ALIKE = 0.15, 0.65
# Nor is what has less than this share of the ink of the one with the most.
LEAST_INK = 0.35
# Two pieces alone must lie side by side, and share this much of their height.
LEVEL = 0.6

# Left, top, right, bottom in pixels of the page, right and bottom just beyond the digit.
Bounds = tuple[int, int, int, int]


@dataclass(frozen=True)
class Digit:
    """A digit of a page.

    box: left, top, right and bottom in pixels of the page, right and bottom just beyond the digit.
    image: uint8 (28, 28), light ink on black.
    """

    box: Bounds
    image: np.ndarray


@dataclass(frozen=True)
class _Piece:
    """A piece is some ink: its slices of rows and columns in the page's map, and its pixels in them."""

    rows: slice
    columns: slice
    mask: np.ndarray

    @property
    def height(self) -> int:
        return self.rows.stop - self.rows.start

    @property
    def width(self) -> int:
        return self.columns.stop - self.columns.start

    def points(self, most: int = 400) -> np.ndarray:
        """Return coordinates of its pixels, (n, 2), at most about so many."""
        found = np.argwhere(self.mask & ~ndimage.binary_erosion(self.mask))
        found = found[:: max(1, len(found) // most)]
        return found + np.array([self.rows.start, self.columns.start])

    def together(self, other: _Piece) -> _Piece:
        """Return both as one."""
        rows, columns = _hull(self.rows, other.rows), _hull(self.columns, other.columns)
        mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
        for piece in (self, other):
            mask[_within(piece.rows, rows), _within(piece.columns, columns)] |= piece.mask
        return _Piece(rows, columns, mask)

    def turned(self) -> _Piece:
        """Return it with rows and columns exchanged."""
        return _Piece(self.columns, self.rows, self.mask.T)


class _TooManyMarksError(ImageError):
    """A picture has more marks than a page of digits."""


@dataclass(frozen=True)
class _Page:
    """A page is what was found on a sheet: the pieces that are digits, and ruled lines.

    pieces: in reading order.
    height: of a digit, in pixels of the reduced page.
    ruled: bool (H, W), ink of ruled lines.
    """

    sheet: Sheet
    pieces: list[_Piece]
    height: float
    ruled: np.ndarray


def cut_digits(gray: np.ndarray, polarity: str = "auto") -> list[Digit]:
    """Cut a grey page (H, W) into its digits, in reading order: lines from top to bottom, each from left to right.

    gray: uint8 in [0, 255], uint16 in [0, 65535], or float in [0, 1]; it is not modified. A page of 28x28 pixels is
        one digit, whole.
    polarity: the ink's tone, `light` or `dark`; `auto` finds it out.

    Returns the digits, none for an empty page. Raises ImageError for a picture that is not usable, or holds more
    than MOST_MARKS marks.
    """
    check_gray(gray)
    if gray.shape == (SIDE, SIDE):
        return [Digit((0, 0, SIDE, SIDE), preprocess(gray, "auto", polarity))]
    page = _find(gray, polarity, PAGE_SIDE)
    if page is None:
        return []
    boxes = _boxes(page.pieces)
    return [_cut(page, piece, boxes) for piece in page.pieces]


def holds_several(gray: np.ndarray, polarity: str = "auto") -> bool:
    """Tell whether a picture plainly holds several digits; in doubt it does not.

    gray, polarity: as for `cut_digits`.

    Parts of a digit are never taken for several: each must be as tall as the others, and well apart from them.
    """
    if gray.shape == (SIDE, SIDE):
        return False
    try:
        page = _find(gray, polarity, GLANCE_SIDE)
    except _TooManyMarksError:
        return False
    if page is None or len(page.pieces) < 2:
        return False
    tallest = max(piece.height for piece in page.pieces)
    most = max(int(piece.mask.sum()) for piece in page.pieces)
    large = [
        piece
        for piece in page.pieces
        if piece.height >= ALIKE * tallest and piece.mask.sum() >= LEAST_INK * most
    ]
    if len(large) < 2:
        return False
    first, second = large[:2]
    if len(large) == 2 and (
        _gap(first.columns, second.columns) == 0 or _shared(first.rows, second.rows) < LEVEL
    ):
        return False
    points = [piece.points() for piece in large]
    trees = [spatial.cKDTree(found) for found in points]
    boxes, apart = _boxes(large), 0
    for index, piece in enumerate(large):
        down, across = _gaps(piece, boxes)
        near = np.flatnonzero(np.hypot(down, across) <= APART * tallest)
        apart += all(
            _distance(trees[other], points[index]) > APART * tallest for other in near if other != index
        )
        if apart == 2:
            return True
    return False


def _find(gray: np.ndarray, polarity: str, side: int) -> _Page | None:
    """Find the digits of a page; None where there is no ink."""
    sheet = Sheet.of(gray, polarity, side, close=False)
    if sheet is None:
        return None
    ink = contrast(sheet.tones, sheet.ground, sheet.light_ink, sheet.white, sheet.least)
    smooth = ndimage.gaussian_filter(ink, 0.7)
    negative = smooth[smooth < 0]
    noise = 1.4826 * float(np.median(-negative)) if negative.size else 0.0
    drawn = smooth[sheet.strokes.mask]
    strength = float(np.median(drawn[drawn >= FULL_INK * np.percentile(drawn, 99)]))
    mask = smooth > max(FAINT_INK * strength, 4 * noise, GRAIN)
    ruled = find_ruled(smooth, mask, strength)
    pieces = _pieces(mask & ~ruled, smooth, FULL_INK * strength)
    if not pieces and ruled.any():
        ruled = np.zeros_like(mask)
        pieces = _pieces(mask, smooth, FULL_INK * strength)
    if not pieces:
        return None
    height = _usual_height(pieces)
    pieces = [p for p in pieces if max(p.height, p.width) >= SMALLEST_PART * height]
    if len(pieces) > MOST_MARKS:
        raise _TooManyMarksError(
            f"too many marks for a page of digits: {len(pieces):,}, the limit is {MOST_MARKS:,}"
        )
    pieces = _joined(pieces, height)
    pieces = [part for piece in pieces for part in _cut_apart(piece, smooth, strength, height)]
    height = _usual_height(pieces)
    pieces = [p for p in pieces if SMALLEST * height <= p.height <= 2.5 * height and p.width <= 4 * height]
    return _Page(sheet, _in_order(pieces, height), height, ruled)


def _pieces(mask: np.ndarray, smooth: np.ndarray, full: float) -> list[_Piece]:
    """Return the connected parts of a mask that somewhere have full ink and are no edge of the sheet."""
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    peaks = ndimage.maximum(smooth, labels, np.arange(1, count + 1)) if count else []
    found = []
    for number, (place, peak) in enumerate(zip(ndimage.find_objects(labels, count), peaks, strict=True), 1):
        rows, columns = place
        piece = _Piece(rows, columns, labels[place] == number)
        if peak >= full and not _is_edge(piece, mask.shape):
            found.append(piece)
    return found


def _is_edge(piece: _Piece, shape: tuple[int, ...]) -> bool:
    """Tell whether a piece is the dark edge of a scan: along one side of the sheet, and long."""
    along_row = piece.rows.start == 0 or piece.rows.stop == shape[0]
    along_column = piece.columns.start == 0 or piece.columns.stop == shape[1]
    return (along_row and piece.width >= 0.5 * shape[1] and piece.width > 3 * piece.height) or (
        along_column and piece.height >= 0.5 * shape[0] and piece.height > 6 * piece.width
    )


def _usual_height(pieces: list[_Piece]) -> float:
    """Return the height of a digit: the median of the pieces' heights, each counted by its ink."""
    if not pieces:
        return 1.0
    heights = np.array([piece.height for piece in pieces], np.float64)
    masses = np.array([piece.mask.sum() for piece in pieces], np.float64)
    # One large blot must not decide.
    masses = np.minimum(masses, 3 * np.median(masses[masses >= 0.2 * masses.max()]))
    order = np.argsort(heights)
    shares = np.cumsum(masses[order]) / masses.sum()
    return float(heights[order][np.searchsorted(shares, 0.5)])


def _joined(pieces: list[_Piece], height: float) -> list[_Piece]:
    """Join the parts of broken digits, the nearest first."""
    # A part keeps its index; what two are joined to is added at the end, and they are None.
    parts: list[_Piece | None] = []
    points: list[np.ndarray] = []
    trees: list[Any] = []
    boxes = np.empty((2 * len(pieces), 4), np.int64)
    # Distance and indices of each pair that may be joined, as a heap; some of them are joined to others by then.
    pairs: list[tuple[float, int, int]] = []

    def add(part: _Piece) -> None:
        index = len(parts)
        down, across = _gaps(part, boxes[:index])
        near = np.flatnonzero(np.hypot(down, across) <= REACH * height)
        points.append(part.points())
        for i in map(int, near):
            other = parts[i]
            if other is not None and (_may_join(other, part, height) or _may_join(part, other, height)):
                distance = _distance(trees[i], points[index])
                if distance <= _reach(other, part, height):
                    heapq.heappush(pairs, (distance, i, index))
        parts.append(part)
        trees.append(spatial.cKDTree(points[index]))
        boxes[index] = _box(part)

    for piece in pieces:
        add(piece)
    while pairs:
        _, i, j = heapq.heappop(pairs)
        part, other = parts[i], parts[j]
        if part is not None and other is not None:
            parts[i] = parts[j] = None
            add(part.together(other))
    return [part for part in parts if part is not None]


def _distance(tree: Any, points: np.ndarray) -> float:
    """Return how many pixels lie between some points and the nearest of the points in a tree."""
    distances, _ = tree.query(points)
    return float(np.min(distances))


def _may_join(part: _Piece, other: _Piece, height: float) -> bool:
    """Tell whether two pieces are near and small enough to be one digit, as far as their boxes say."""
    if _gap(part.rows, other.rows) > REACH * height or _gap(part.columns, other.columns) > REACH * height:
        return False
    rows, columns = _hull(part.rows, other.rows), _hull(part.columns, other.columns)
    widest = max(WIDEST * height, part.width, other.width)
    if rows.stop - rows.start > TALLEST * height or columns.stop - columns.start > widest:
        return False
    return part.height < FRAGMENT * height or _shared(part.columns, other.columns) > 0.5


def _reach(part: _Piece, other: _Piece, height: float) -> float:
    """Return how far apart two pieces may be: less for parts side by side than for one above the other."""
    return (REACH if _shared(part.columns, other.columns) > 0.25 else REACH / 2) * height


def _cut_apart(piece: _Piece, smooth: np.ndarray, strength: float, height: float) -> list[_Piece]:
    """Cut a piece where digits touch, if it is too large for one and there is a thin place."""
    if piece.width > TOO_WIDE * height and piece.height < TOO_TALL * height:
        parts = _halves(piece, smooth, strength, height)
    elif piece.height > TOO_TALL * height:
        parts = [part.turned() for part in _halves(piece.turned(), smooth.T, strength, height)]
    else:
        return [piece]
    if len(parts) == 1:
        return [piece]
    return [smaller for part in parts for smaller in _cut_apart(part, smooth, strength, height)]


def _halves(piece: _Piece, smooth: np.ndarray, strength: float, height: float) -> list[_Piece]:
    """Cut a piece along the path from top to bottom that goes through the least ink; whole where that is too much."""
    thickness = 4 * float(
        ndimage.distance_transform_edt(np.pad(piece.mask, 1))[1:-1, 1:-1][piece.mask].mean()
    )
    ink = np.where(piece.mask, smooth[piece.rows, piece.columns], 0) / strength
    # Each stroke that the cut enters costs more than its ink: one place where digits touch is better than two strokes.
    ink[1:][piece.mask[1:] & ~piece.mask[:-1]] += ENTERED * thickness
    margin = round(0.3 * height)
    if piece.width <= 2 * margin + 1:
        return [piece]
    # A step to the side goes through more ink, and costs a little, so that the cut is straight where there is none.
    cost = np.pad(ink[:, margin:-margin], ((0, 0), (1, 1)), constant_values=np.inf)
    total, came = cost.copy(), np.zeros(cost.shape, np.int64)
    for row in range(1, len(cost)):
        aside = math.sqrt(2) * cost[row] + 0.02
        ways = np.stack(
            [
                np.roll(total[row - 1], 1) + aside,
                total[row - 1] + cost[row],
                np.roll(total[row - 1], -1) + aside,
            ]
        )
        came[row] = np.argmin(ways, axis=0) - 1
        total[row] = ways.min(axis=0)
    column = int(np.argmin(total[-1]))
    if total[-1, column] > CUT * thickness:
        return [piece]
    left = np.zeros_like(piece.mask)
    for row in range(len(cost) - 1, -1, -1):
        left[row, : column - 1 + margin] = True
        column += int(came[row, column])
    parts = [_trimmed(piece, piece.mask & side) for side in (left, ~left)]
    large = all(part is not None and part.height >= 0.6 * height for part in parts)
    return [part for part in parts if part is not None] if large else [piece]


def _trimmed(piece: _Piece, mask: np.ndarray) -> _Piece | None:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return None
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    return _Piece(
        slice(piece.rows.start + int(top), piece.rows.start + int(bottom)),
        slice(piece.columns.start + int(left), piece.columns.start + int(right)),
        mask[top:bottom, left:right],
    )


def _in_order(pieces: list[_Piece], height: float) -> list[_Piece]:
    """Sort pieces as they are read, also where the lines of writing slope."""
    if not pieces:
        return []
    x = np.array([(piece.columns.start + piece.columns.stop) / 2 for piece in pieces])
    y = np.array([(piece.rows.start + piece.rows.stop) / 2 for piece in pieces])
    level = y - _slope(x, y, height) * x
    lines: list[list[int]] = []
    # Level of each line's last piece.
    ends = np.full(len(pieces), np.inf)
    for index in np.argsort(x, kind="stable"):
        away = np.abs(ends - level[index])
        line = int(np.argmin(away))
        if away[line] > SAME_LINE * height:
            line = len(lines)
            lines.append([])
        lines[line].append(int(index))
        ends[line] = level[index]
    lines.sort(key=lambda line: float(np.mean(level[line])))
    return [pieces[index] for line in lines for index in line]


def _slope(x: np.ndarray, y: np.ndarray, height: float) -> float:
    """Return how far the lines of writing sink a pixel to the right: the median over neighbours."""
    # In these units neighbours lie within 1 of each other, both across and down.
    tree = spatial.cKDTree(np.stack([x / (4 * height), y / (0.5 * height)], axis=1))
    one, other = tree.query_pairs(1, p=np.inf, output_type="ndarray").T
    across, down = x[other] - x[one], y[other] - y[one]
    near = (np.abs(across) > 0.3 * height) & (np.abs(across) < 4 * height) & (np.abs(down) < 0.5 * height)
    return float(np.median(down[near] / across[near])) if near.any() else 0.0


def _cut(page: _Page, piece: _Piece, boxes: np.ndarray) -> Digit:
    """Return a digit of the page, everything beside it left out.

    boxes: of all the page's pieces, (n, 4).
    """
    factor = page.sheet.factor
    margin = max(piece.height, piece.width) // 4 + 4
    rows = slice(max(0, piece.rows.start - margin), min(page.sheet.tones.shape[0], piece.rows.stop + margin))
    columns = slice(
        max(0, piece.columns.start - margin), min(page.sheet.tones.shape[1], piece.columns.stop + margin)
    )
    own = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
    own[_within(piece.rows, rows), _within(piece.columns, columns)] = piece.mask
    around = ndimage.binary_dilation(own, np.ones((3, 3), bool), iterations=max(1, margin // 6))
    around &= ~page.ruled[rows, columns]
    down, across = _gaps(_Piece(rows, columns, own), boxes)
    for index in np.flatnonzero((down == 0) & (across == 0)):
        if page.pieces[index] is not piece:
            around &= ~_mask_in(page.pieces[index], rows, columns)
    around |= own
    height, width = page.sheet.gray.shape
    top, bottom = factor * rows.start, min(height, factor * rows.stop)
    left, right = factor * columns.start, min(width, factor * columns.stop)
    finer = max(1, factor * max(piece.height, piece.width) // DIGIT_SIDE)
    ink = page.sheet.contrast_in(slice(top, bottom), slice(left, right), finer)
    kept = around[
        np.minimum(np.arange(len(ink)) * finer // factor, len(around) - 1)[:, None],
        np.minimum(np.arange(ink.shape[1]) * finer // factor, around.shape[1] - 1)[None],
    ]
    (above, below), (before, behind) = page.sheet.room
    box = (
        max(0, factor * piece.columns.start - before),
        max(0, factor * piece.rows.start - above),
        min(width - behind, factor * piece.columns.stop) - before,
        min(height - below, factor * piece.rows.stop) - above,
    )
    return Digit(box, fit_ink(np.where(kept, ink, 0)))


def _mask_in(piece: _Piece, rows: slice, columns: slice) -> np.ndarray:
    """Return the piece's pixels in a window of the page, bool."""
    window = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
    shared_rows = slice(max(rows.start, piece.rows.start), min(rows.stop, piece.rows.stop))
    shared_columns = slice(max(columns.start, piece.columns.start), min(columns.stop, piece.columns.stop))
    window[_within(shared_rows, rows), _within(shared_columns, columns)] = piece.mask[
        _within(shared_rows, piece.rows), _within(shared_columns, piece.columns)
    ]
    return window


def _hull(one: slice, other: slice) -> slice:
    return slice(min(one.start, other.start), max(one.stop, other.stop))


def _within(inner: slice, outer: slice) -> slice:
    """Return a slice of the page as a slice of a part of it."""
    return slice(inner.start - outer.start, inner.stop - outer.start)


def _box(piece: _Piece) -> tuple[int, int, int, int]:
    """Return the first row and the row beyond the last one, then columns in the same way."""
    return piece.rows.start, piece.rows.stop, piece.columns.start, piece.columns.stop


def _boxes(pieces: list[_Piece]) -> np.ndarray:
    """Return the `_box` of each piece, (n, 4)."""
    return np.array([_box(piece) for piece in pieces], np.int64).reshape(-1, 4)


def _gaps(piece: _Piece, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and the columns that lie between a piece and each box, 0 where they overlap or touch."""
    top, bottom, left, right = _box(piece)
    tops, bottoms, lefts, rights = boxes.T
    down = np.maximum(0, np.maximum(tops - bottom, top - bottoms))
    return down, np.maximum(0, np.maximum(lefts - right, left - rights))


def _gap(one: slice, other: slice) -> int:
    """Return the pixels between two slices, 0 where they overlap or touch."""
    return max(0, other.start - one.stop, one.start - other.stop)


def _shared(one: slice, other: slice) -> float:
    """Return how much two slices overlap, as a share of the shorter."""
    overlap = min(one.stop, other.stop) - max(one.start, other.start)
    return max(0, overlap) / min(one.stop - one.start, other.stop - other.start)
