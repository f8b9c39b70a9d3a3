"""Bring a grey picture of a digit to the canonical form: uint8 (28, 28), light ink on black, as in MNIST.

MNIST was made from clean black-and-white scans: each digit was scaled to fit a box of 20x20 with its
aspect kept, and the box was laid into 28x28 so that the centre of mass comes to the middle
(Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits"). `preprocess(..., "mnist")`
does the same with pictures that are not clean; `anomalae.images.ink` tells it what is ink.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from anomalae.errors import ConfigError, ImageError
from anomalae.images.check import SIDE
from anomalae.images.ink import Strokes, find_strokes, frame, median
from anomalae.images.pictures import check_side
from anomalae.images.sheet import Sheet, reduced_tones, tones_of

PREPROCESSES = ("auto", "mnist", "resize", "none")
# The tone of the ink: light ink on a dark ground, dark ink on light paper.
POLARITIES = ("auto", "light", "dark")

# Side of the box that MNIST's digits fill.
FIT = 20
# Where MNIST's centres of mass lie, in pixels from the edge (measured: 14.0 to 15.0).
MIDDLE = SIDE / 2 + 0.5
# MNIST's digits lie this far to the left (tall) or up (wide) of the middle of their box (measured).
PHASE = 0.1
# A centre of mass this near to the middle between two shifts gets a shift between them.
SOFTENING = 0.3
# A digit ends where its contrast falls to this share of a full stroke.
EDGE = 0.5
# A ground up to this grey level counts as black.
BLACK = 16
# Places of the outermost pixels of a canonical image.
_EDGES = np.flatnonzero(np.pad(np.zeros((SIDE - 2, SIDE - 2), bool), 1, constant_values=True))
# The digit is looked for in a picture reduced to this side.
WORKING_SIDE = 512
# First in one of this side: a digit that takes up this share of it is found there, in a quarter of the time.
FIRST_SIDE, LARGE = 256, 0.25
# A digit is reduced to about this side before its edges are measured.
DIGIT_SIDE = 120


def preprocess(gray: np.ndarray, mode: str = "auto", polarity: str = "auto") -> np.ndarray:
    """Bring a grey picture (H, W) of any size to uint8 (28, 28), light ink on black.

    gray: uint8 in [0, 255], uint16 in [0, 65535], or float in [0, 1]; it is not modified.
    mode: `none` takes 28x28 as it is; `resize` scales the whole picture so that its longer side is 28 and
    pads the shorter one with the tone of its frame; `mnist` finds the digit and fits it as MNIST's were,
    with its strokes at 255 on 0; `auto` is `none` where the picture is 28x28 and its ground is black
    already, and `mnist` elsewhere.
    polarity: the ink's tone, `light` or `dark`; `auto` finds it out (in mode `none` it means `light`).

    Returns zeros for a picture without ink in mode `mnist`. Raises ImageError for a picture that is not usable,
    ConfigError for an unknown mode or polarity.
    """
    check_choices(mode, polarity)
    check_gray(gray)
    if mode == "none" and gray.shape != (SIDE, SIDE):
        size = f"{gray.shape[1]}x{gray.shape[0]}"
        raise ImageError(f"the picture is {size} pixels, preprocess 'none' takes {SIDE}x{SIDE} only")
    if mode == "none":
        levels = _levels(gray)
        return 255 - levels if polarity == "dark" else levels
    if mode == "auto" and polarity != "dark" and gray.shape == (SIDE, SIDE):
        levels = _levels(gray)
        if _on_black(levels):
            return levels
    return _resized(gray, polarity) if mode == "resize" else _fitted(gray, polarity)


def plainly_canonical(grays: np.ndarray, mode: str, polarity: str) -> np.ndarray:
    """Tell of which pictures it is plain, without a closer look, that `preprocess` leaves them as they are.

    grays: uint8 (N, H, W).
    mode, polarity: as for `preprocess`.

    Returns bool (N,); whether the others are left as they are it does not say.
    """
    if grays.shape[1:] != (SIDE, SIDE) or polarity == "dark" or mode not in ("none", "auto"):
        return np.zeros(len(grays), bool)
    if mode == "none":
        return np.ones(len(grays), bool)
    black = np.count_nonzero(grays.reshape(len(grays), -1)[:, _EDGES] <= BLACK, axis=1)
    return 2 * black > len(_EDGES) + 1


def check_choices(mode: str, polarity: str) -> None:
    """Raise ConfigError unless both are known."""
    if mode not in PREPROCESSES:
        raise ConfigError(f"unknown preprocess {mode!r}; it is one of {', '.join(PREPROCESSES)}")
    if polarity not in POLARITIES:
        raise ConfigError(f"unknown polarity {polarity!r}; it is one of {', '.join(POLARITIES)}")


def check_gray(gray: np.ndarray) -> None:
    """Raise ImageError unless a grey picture is usable."""
    if gray.ndim != 2 or gray.size == 0:
        raise ImageError(f"a grey picture has shape (H, W) with at least one pixel, not {gray.shape}")
    check_side(gray.shape[1], gray.shape[0])
    if gray.dtype.kind == "f":
        if not np.isfinite(gray).all():
            raise ImageError("the picture holds a value that is not finite")
        if gray.min() < 0 or gray.max() > 1:
            raise ImageError(f"float pixels lie in [0, 1], these in [{gray.min():g}, {gray.max():g}]")
    elif gray.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"pixels are uint8, uint16 or float, not {gray.dtype}")


def _levels(gray: np.ndarray) -> np.ndarray:
    """Return the picture as uint8, a copy."""
    return gray.copy() if gray.dtype == np.uint8 else np.rint(tones_of(gray) * 255).astype(np.uint8)


def _on_black(levels: np.ndarray) -> bool:
    """Tell whether the ground is black: most of the outermost pixels are, or three of the four corners.

    Garments of Fashion-MNIST reach the edges and leave only corners to look at.
    """
    edges = levels.ravel()[_EDGES]
    black = np.count_nonzero(edges <= BLACK)
    if abs(2 * black - len(edges)) > 1:
        if 2 * black > len(edges):
            return True
    elif np.median(edges) <= BLACK:
        return True
    corners = [
        levels[rows, columns]
        for rows in (slice(3), slice(-3, None))
        for columns in (slice(3), slice(-3, None))
    ]
    return bool(sum(np.median(corner) <= BLACK for corner in corners) >= 3)


def _resized(gray: np.ndarray, polarity: str) -> np.ndarray:
    """Scale the whole picture, ink light."""
    tones = reduced_tones(gray, max(gray.shape) // WORKING_SIDE)
    if polarity == "dark" or (polarity == "auto" and not _looks_light(gray)):
        tones = 1 - tones
    height, width = tones.shape
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    scaled = np.asarray(Image.fromarray(tones).resize(size, Image.Resampling.BICUBIC))
    field = np.full((SIDE, SIDE), np.median(frame(tones)), np.float32)
    top, left = (SIDE - size[1]) // 2, (SIDE - size[0]) // 2
    field[top : top + size[1], left : left + size[0]] = scaled
    return np.rint(np.clip(field, 0, 1) * 255).astype(np.uint8)


def _looks_light(gray: np.ndarray) -> bool:
    sheet = Sheet.of(gray, "auto", WORKING_SIDE)
    return sheet is not None and sheet.light_ink


def _fitted(gray: np.ndarray, polarity: str) -> np.ndarray:
    """Find the digit and fit it as MNIST's are; zeros where there is none."""
    ink = _digit(gray, polarity)
    return np.zeros((SIDE, SIDE), np.uint8) if ink is None else fit_ink(ink)


def fit_ink(ink: np.ndarray) -> np.ndarray:
    """Fit what is drawn in a map of contrast as MNIST's digits are: uint8 (28, 28), zeros where nothing is drawn.

    ink: float32 (H, W), as `anomalae.images.ink.contrast` makes it of a digit and some paper around it.
    """
    from anomalae.images.compiled import grow

    strokes = find_strokes(ink, 1.0)
    if strokes is None:
        return np.zeros((SIDE, SIDE), np.uint8)
    # Now that the digit's size is known, blur as much as the final pixels will: less noise, no lost detail.
    per_pixel = max(_extent(strokes.mask)) / FIT
    strokes = find_strokes(ink, max(0.3 * per_pixel, 0.4)) or strokes
    grown = grow(strokes.mask, max(1, round(0.6 * per_pixel)))
    clean = np.where(grown, np.clip(ink, 0, strokes.strength), 0)
    box = Box.around(strokes)
    return _drawn(clean, box, *box.shift_to_middle(clean))


def _digit(gray: np.ndarray, polarity: str) -> np.ndarray | None:
    """Return the part of the picture that holds the digit, a map of contrast with its side near DIGIT_SIDE at most."""
    sheet = Sheet.of(gray, polarity, FIRST_SIDE)
    if max(gray.shape) > FIRST_SIDE and (
        sheet is None or max(_extent(sheet.strokes.mask)) < LARGE * FIRST_SIDE
    ):
        sheet = Sheet.of(gray, polarity, WORKING_SIDE)
    if sheet is None:
        return None
    height, width = sheet.gray.shape
    factor = sheet.factor
    rows, columns = (factor * np.flatnonzero(sheet.strokes.mask.any(axis)) for axis in (1, 0))
    side = max(rows[-1] - rows[0], columns[-1] - columns[0]) + factor
    margin = side // 4 + 4 * factor
    top, bottom = max(0, rows[0] - margin), min(height, rows[-1] + factor + margin)
    left, right = max(0, columns[0] - margin), min(width, columns[-1] + factor + margin)
    finer = max(1, math.ceil(side / DIGIT_SIDE))
    return sheet.contrast_in(slice(top, bottom), slice(left, right), finer)


def _extent(mask: np.ndarray) -> tuple[int, int]:
    """Return height and width of what is True in (H, W)."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1


@dataclass(frozen=True)
class Box:
    """A box is the square around a digit that becomes FIT x FIT, in pixels from the corner of the map of contrast."""

    top: float
    left: float
    side: float

    @classmethod
    def around(cls, strokes: Strokes) -> Box:
        """Return the square with the digit in its middle, its edges found to a fraction of a pixel."""
        reach = max(1, round(2 * max(_extent(strokes.mask)) / FIT))
        top, bottom = _ends(strokes.smooth.max(axis=1), strokes.strength, reach)
        left, right = _ends(strokes.smooth.max(axis=0), strokes.strength, reach)
        height, width = bottom - top, right - left
        side = max(height, width)
        nudge = PHASE * side / FIT
        middle_y = (top + bottom) / 2 + (nudge if height < width else 0)
        middle_x = (left + right) / 2 + (nudge if width < height else 0)
        return cls(middle_y - side / 2, middle_x - side / 2, side)

    def shift_to_middle(self, clean: np.ndarray) -> tuple[float, float]:
        """Return how far down and right, in final pixels, the box goes to bring the ink's centre of mass to the middle.

        MNIST's shifts are whole pixels. Near the middle between two of them the least noise would decide,
        so there the shift glides from one to the other.
        """
        mass = clean.sum()
        y = (clean.sum(axis=1) @ (np.arange(clean.shape[0]) + 0.5)) / mass
        x = (clean.sum(axis=0) @ (np.arange(clean.shape[1]) + 0.5)) / mass
        scale = FIT / self.side
        return _glide(MIDDLE - (y - self.top) * scale), _glide(MIDDLE - (x - self.left) * scale)


def _ends(profile: np.ndarray, strength: float, reach: int) -> tuple[float, float]:
    """Return where ink begins and ends along a profile (n,) that is 0 beyond it; pixel i reaches from i to i + 1."""
    return _begin(profile, strength, reach), len(profile) - _begin(profile[::-1], strength, reach)


def _begin(profile: np.ndarray, strength: float, reach: int) -> float:
    """Return where a profile first rises to the share EDGE of a full stroke, or of the faint one it begins with."""
    first = int(np.argmax(profile > 0))
    level = EDGE * min(strength, float(profile[first : first + reach].max()))
    inside = first + int(np.argmax(profile[first:] >= level))
    if inside == 0:
        return 0.0
    step = (profile[inside] - level) / (profile[inside] - profile[inside - 1])
    return inside + 0.5 - float(step)


def _glide(shift: float) -> float:
    """Round a shift, with a ramp in place of the jump."""
    whole = math.floor(shift)
    return whole + min(1.0, max(0.0, (shift - whole - 0.5) / SOFTENING + 0.5))


def _drawn(clean: np.ndarray, box: Box, down: float, right: float) -> np.ndarray:
    """Scale the box into the field of 28x28, shifted, and set the strokes to 255."""
    pixel = box.side / FIT
    top, left, side = box.top - down * pixel, box.left - right * pixel, SIDE * pixel
    height, width = clean.shape
    border = max(0, math.ceil(max(-top, -left, top + side - height, left + side - width)))
    canvas = Image.fromarray(np.pad(clean.astype(np.float32), border))
    window = (left + border, top + border, left + border + side, top + border + side)
    drawn = np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=window))
    full = median(drawn[drawn >= 0.7 * drawn.max()])
    return np.rint(np.clip(drawn / full, 0, 1) * 255).astype(np.uint8)
