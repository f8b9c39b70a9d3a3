"""Ink that is lost on the way: a picture that shows ink must not become a blank image without a word.

Whether a picture shows ink is told by its sharp edges, or, of a small one, by its two tones; and so neither by its
paper nor by its polarity: what finds a digit does not judge itself.
"""

from __future__ import annotations

import math

import numpy as np

from anomalae.errors import ImageError
from anomalae.images.canonical import WORKING_SIDE, preprocess
from anomalae.images.check import SIDE
from anomalae.images.ink import noise_level
from anomalae.images.sheet import Sheet, least_tone, reduced_tones
from anomalae.images.tight import two_tones

# Edges are looked for in a picture reduced to this side, as steps over this share of it.
LOOK_SIDE, STEP = 256, 0.015
# A step of ink is at least this share of the brightest tone, and so many times what noise makes.
PLAIN, ABOVE_NOISE = 0.15, 8.0
# Steps of ink make up at least this share of the picture, and so many pixels: fewer are dust.
LEAST_SHARE, LEAST_STEPS = 0.001, 6
# A picture up to this side may be an enlarged one, without a sharp edge: it shows ink where its tones go from black to
# white, this share of the way, and two of them make up this share of their variance (of a ramp's it is 0.75).
SMALL_SIDE, WHOLE_WAY, TWO_TONED = 128, 0.8, 0.8


class LostInkError(ImageError):
    """A picture shows ink, and its canonical image has none."""


def to_canonical(gray: np.ndarray, mode: str = "auto", polarity: str = "auto") -> np.ndarray:
    """Bring a grey picture (H, W) to canonical form, as `preprocess` does, and see that no ink is lost.

    gray, mode, polarity: as for `anomalae.images.canonical.preprocess`.

    Returns uint8 (28, 28), zeros for a picture that shows no ink. Raises LostInkError, an ImageError, where it does and
    zeros came out, and what `preprocess` raises.

    >>> to_canonical(np.full((40, 30), 200, np.uint8)).any()
    np.False_
    """
    image = preprocess(gray, mode, polarity)
    if not image.any():
        check_lost(gray, mode, polarity)
    return image


def check_lost(gray: np.ndarray, mode: str, polarity: str, outcome: str = "it turned blank") -> None:
    """Raise LostInkError if a picture that came out blank shows ink.

    gray, mode, polarity: what `preprocess` made zeros of.
    outcome: what has become of the picture, as the error says it.
    """
    sheet = Sheet.of(gray, "auto", WORKING_SIDE) if polarity != "auto" else None
    tone, paper = ("light", "dark") if sheet is not None and sheet.light_ink else ("dark", "light")
    if sheet is not None and tone != polarity:
        raise LostInkError(
            f"{outcome} though it has ink, {tone} on {paper}: give polarity {tone} or auto (now {polarity})",
            setting="polarity",
        )
    if not shows_ink(gray):
        return
    if mode != "resize" and preprocess(gray, "resize", polarity).any():
        raise LostInkError(
            f"{outcome} though it has ink, none of it like the strokes of a digit: preprocess resize takes it as a "
            f"whole (now {mode})",
            setting="preprocess",
        )
    raise LostInkError(f"{outcome} though it has ink, which is black at {SIDE} x {SIDE}: stretch its levels")


def shows_ink(gray: np.ndarray) -> bool:
    """Tell whether a picture (H, W) has sharp edges well above its noise, more of them than dust has, or two tones."""
    tones = reduced_tones(gray, math.ceil(max(gray.shape) / LOOK_SIDE))
    white = max(float(tones.max()), least_tone(gray))
    least = max(PLAIN * white, ABOVE_NOISE * noise_level(tones))
    reach = max(1, round(STEP * max(tones.shape)))
    steps = sum(
        np.count_nonzero(np.abs(along[reach:] - along[:-reach]) > least) for along in (tones, tones.T)
    )
    if steps >= max(LEAST_STEPS, LEAST_SHARE * tones.size):
        return True
    if max(gray.shape) > SMALL_SIDE or np.ptp(tones) < WHOLE_WAY * white:
        return False
    tones_apart = two_tones(tones)
    return tones_apart is not None and tones_apart[1] >= TWO_TONED
