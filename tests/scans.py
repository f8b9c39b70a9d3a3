"""Draw a 28x28 digit again as a scan would show it: dark ink on light paper, off centre, noisy, as a JPEG."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

RESAMPLING = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


def scan_bytes(
    image28: np.ndarray,
    rng: np.random.Generator,
    *,
    scale: float | None = None,
    side: int | None = None,
    noise: float = 8.0,
    quality: int = 80,
    shading: float = 0.0,
    light_ink: bool = False,
) -> bytes:
    """The bytes of a JPEG that shows `image28` (uint8, light ink on black) as ink on a sheet of paper.

    scale: size of a digit's pixel on the sheet (default: log-uniform in 1 to 8); side: longer side of the
    sheet in pixels (default: uniform in 40 to 400, never too small for the digit); noise: standard
    deviation of the sensor noise in grey levels; quality: of the JPEG; shading: how much of its light the
    sheet loses from one corner to the opposite one; light_ink: chalk on a board in place of a pen on paper.
    """
    scale = float(np.exp(rng.uniform(0, np.log(8)))) if scale is None else scale
    ink = _enlarge(image28, scale, rng)
    least = max(ink.shape) + 6
    longer = int(rng.integers(max(40, least), max(400, least) + 1)) if side is None else max(side, least)
    shorter = int(rng.integers(max(least, longer // 2), longer + 1))
    height, width = (longer, shorter) if rng.random() < 0.5 else (shorter, longer)
    top = int(rng.integers(3, height - ink.shape[0] - 2))
    left = int(rng.integers(3, width - ink.shape[1] - 2))
    cover = np.zeros((height, width))
    cover[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    dark, light = rng.uniform(15, 80), rng.uniform(190, 245)
    sheet = dark + (light - dark) * cover if light_ink else light - (light - dark) * cover
    rows, columns = np.mgrid[0:height, 0:width]
    sheet = sheet * (1 - shading * (rows / height + columns / width) / 2)
    sheet = sheet + rng.normal(0, noise, sheet.shape)
    stream = io.BytesIO()
    Image.fromarray(np.clip(np.rint(sheet), 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def redraw_as_scan(image28: np.ndarray, rng: np.random.Generator, **settings: float) -> Image.Image:
    """`scan_bytes` opened again: a grey `PIL.Image` that has been through JPEG."""
    return Image.open(io.BytesIO(scan_bytes(image28, rng, **settings)))  # type: ignore[arg-type]


def _enlarge(image28: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
    """Cut the digit out of its frame and enlarge it; float (H, W) in [0, 1], edges at fractions of a pixel."""
    rows, columns = np.flatnonzero(image28.any(1)), np.flatnonzero(image28.any(0))
    if not rows.size:
        return np.zeros((8, 8))
    digit = np.pad(image28[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 2).astype(np.float32)
    size = tuple(int(np.ceil(n * scale)) for n in digit.shape[::-1])
    # The part beyond the frame is empty; its size makes the scale exact and the edges fall anywhere.
    shift = rng.uniform(0, 0.9, 2) if scale > 1 else np.zeros(2)
    canvas = np.pad(digit, ((1, 2), (1, 2)))
    box = (1 - shift[0], 1 - shift[1], 1 - shift[0] + size[0] / scale, 1 - shift[1] + size[1] / scale)
    chosen = RESAMPLING[int(rng.integers(len(RESAMPLING)))]
    drawn = np.asarray(Image.fromarray(canvas).resize(size, chosen, box=box))
    return np.clip(drawn / 255, 0, 1)
