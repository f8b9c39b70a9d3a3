"""A page with a box around each of its digits, as pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from anomalae.plots.style import ANOMALY, NORMAL

# The longer side of a picture: smaller pages are enlarged a whole number of times, larger ones scaled down.
LEAST, MOST = 1000, 2000


def page(gray: np.ndarray, boxes: Sequence[tuple[int, int, int, int]], flagged: Sequence[bool]) -> np.ndarray:
    """Return a page with numbered boxes, uint8 RGB (H, W, 3): thin blue ones, thick orange ones where flagged.

    gray: the page (H, W), uint8, uint16 or float in [0, 1].
    boxes: left, top, right, bottom in pixels of the page, in the order of their numbers from 0.
    flagged: for each box.

    >>> page(np.full((20, 20), 255, np.uint8), [(5, 5, 15, 15)], [False]).shape
    (1000, 1000, 3)
    """
    full = {"uint8": 255, "uint16": 65535}.get(gray.dtype.name, 1)
    levels = np.rint(gray / np.float32(full) * 255).astype(np.uint8)
    side = max(levels.shape)
    scale = MOST / side if side > MOST else max(1, round(LEAST / side))
    size = (max(1, round(levels.shape[1] * scale)), max(1, round(levels.shape[0] * scale)))
    picture = Image.fromarray(levels).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    draw = ImageDraw.Draw(picture)
    unit = max(1, round(max(size) / 600))
    font = ImageFont.load_default(9 * unit)
    for number, (box, is_flagged) in enumerate(zip(boxes, flagged, strict=True)):
        colour = ImageColor.getrgb(ANOMALY if is_flagged else NORMAL)
        thick = 3 * unit if is_flagged else unit
        left, top, right, bottom = (round(edge * scale) for edge in box)
        # Around the digit, not over it.
        corners = (left - thick - 1, top - thick - 1, right + thick, bottom + thick)
        draw.rectangle(corners, outline=colour, width=thick)
        tag = draw.textbbox((corners[0], corners[1]), str(number), font=font, anchor="lb")
        if tag[1] < 0:
            tag = draw.textbbox((corners[0], corners[3]), str(number), font=font, anchor="lt")
        draw.rectangle((tag[0] - unit, tag[1] - unit, tag[2] + unit, tag[3] + unit), fill=colour)
        draw.text(tag[:2], str(number), fill=(255, 255, 255), font=font, anchor="lt")
    return np.asarray(picture)
