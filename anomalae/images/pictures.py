"""Picture files to grey arrays, by Pillow."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from anomalae.errors import ImageError
from anomalae.text import printable

# Suffixes of files, by Pillow's name of their format.
FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "PPM": (".pbm", ".pgm", ".ppm", ".pnm"),
}
# Most pixels of a picture. This is Pillow's own default: a quarter of a gibibyte of RGB.
MAX_PIXELS = 89_478_485
# A transparent picture with fewer grey levels from darkest to lightest has vanished on its sheet.
FAINT = 16


@contextlib.contextmanager
def reasons() -> Iterator[None]:
    """Turn whatever a decoder raises into ImageError, in one line; no warning gets out.

    Decoders raise nearly anything on broken input: OSError, SyntaxError, struct.error, IndexError, zlib.error.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except ImageError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        size = re.search(r"\((\d+) pixels\)", str(error))
        raise too_large(f"{int(size[1]):,} pixels" if size else "too many pixels") from None
    except UnidentifiedImageError:
        raise ImageError(f"not an image ({', '.join(FORMATS)})") from None
    except MemoryError:
        raise ImageError("not enough memory") from None
    except OSError as error:
        raise ImageError(printable(error.strerror or str(error) or type(error).__name__)) from None
    except Exception as error:
        raise ImageError(printable(f"broken file: {error or type(error).__name__}")) from None


def decode(path: Path) -> np.ndarray:
    """Read the first frame of a picture file, upright, as `read_image` returns it; errors do not name the path."""
    with reasons():
        if path.stat().st_size == 0:
            raise ImageError("the file is empty")
        with Image.open(path, formats=tuple(FORMATS)) as image:
            width, height = image.size
            if not width or not height:
                raise ImageError(f"no pixels: {width} x {height}")
            if width * height > MAX_PIXELS:
                raise too_large(f"{width:,} x {height:,} pixels")
            image.load()
            return _gray(_upright(image))


def gray_levels(image: Image.Image) -> np.ndarray:
    """Return grey levels (H, W) of a picture in memory as `read_image` returns those of a file."""
    with reasons():
        return _gray(_upright(image))


def too_large(size: str) -> ImageError:
    """Return the error for a picture or array of more than MAX_PIXELS."""
    return ImageError(f"too large: {size}, the limit is {MAX_PIXELS:,} pixels")


def _upright(image: Image.Image) -> Image.Image:
    """Obey the EXIF orientation; a picture whose EXIF part is broken stays as it is."""
    with contextlib.suppress(Exception):
        return ImageOps.exif_transpose(image)
    return image


def _gray(image: Image.Image) -> np.ndarray:
    """Return grey levels (H, W) of a picture in any of Pillow's modes: uint8, uint16, or float32 in [0, 1]."""
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.mode in ("I", "F"):
        return _wide(np.asarray(image))
    if image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        return _on_sheet(image.convert("RGBA"))
    if image.mode == "LAB":
        return np.array(image.getchannel("L"))
    if image.mode not in ("1", "L"):
        image = image.convert("RGB")
    return np.array(image.convert("L"))


def _wide(values: np.ndarray) -> np.ndarray:
    """Return numbers as levels: whole ones in [0, 65535] as 16 bit, floats in [0, 1] as they are, others stretched.

    Others have no agreed white; they are stretched from the least to the greatest.
    """
    if not np.isfinite(values).all():
        raise ImageError("holds a value that is not finite")
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind == "i" and low >= 0 and high <= 65535:
        return values.astype(np.uint16)
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        return values.astype(np.float32)
    stretched = (values.astype(np.float64) - low) / ((high - low) or 1.0)
    return np.clip(stretched, 0, 1).astype(np.float32)


def _on_sheet(image: Image.Image) -> np.ndarray:
    """Lay a transparent picture (RGBA) on white; on black if it would vanish there, as white ink does."""
    gray = np.asarray(image.convert("RGB").convert("L")).astype(np.float32)
    cover = np.asarray(image.getchannel("A")).astype(np.float32) / 255
    on_black = gray * cover
    on_white = on_black + 255 * (1 - cover)
    vanished = np.ptp(on_white) < FAINT <= np.ptp(on_black)
    return np.rint(on_black if vanished else on_white).astype(np.uint8)
