"""Picture files to grey arrays, by Pillow."""

from __future__ import annotations

import contextlib
import itertools
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
# Most pixels of its longer side: a strip takes more memory than its pixels say, on the way to a square.
MAX_SIDE = 32_768
# Formats whose files may hold several pictures: pages of a TIFF, frames of an animation.
PAGED = ("TIFF", "GIF", "WEBP")
# Most pages of a file, and most pixels of all together: of scanned pages, and of frames, which hold the whole canvas
# each, however little a file says of it.
MAX_PAGES, MAX_PAGED_PIXELS, MAX_FRAMED_PIXELS = 10_000, 40 * MAX_PIXELS, 4 * MAX_PIXELS
# TIFF's tag that says what a page is, and its bit for a smaller version of another page.
SUBFILE_TYPE, REDUCED = 254, 1
# EXIF's tag that says how a picture is turned, 1 where it is upright.
ORIENTATION = 0x0112
# A transparent picture with fewer grey levels from darkest to lightest has vanished on its sheet.
FAINT = 16
# Chroma from which a pixel is coloured: more than the fringes of scans and JPEG.
COLOURED = 24


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
    except Exception as error:
        raise image_error(error) from None


def image_error(error: Exception, what: str = "broken file") -> ImageError:
    """Return whatever was raised as an ImageError, in one line; `what` comes before what has no words of its own."""
    match error:
        case ImageError():
            return error
        case Image.DecompressionBombWarning() | Image.DecompressionBombError():
            size = re.search(r"\((\d+) pixels\)", str(error))
            return too_large(f"{int(size[1]):,} pixels" if size else "too many pixels")
        case UnidentifiedImageError():
            return ImageError(f"not an image ({', '.join(FORMATS)})")
        case MemoryError():
            return ImageError("not enough memory")
        case OSError():
            return ImageError(printable(error.strerror or str(error) or type(error).__name__))
    return ImageError(printable(f"{what}: {str(error) or type(error).__name__}"))


def decode(path: Path) -> np.ndarray:
    """Read the first page of a picture file, upright, as `read_image` returns it; errors do not name the path."""
    with reasons(), _opened(path) as image:
        return _pixels(image)


def decode_pages(path: Path) -> Iterator[tuple[str, np.ndarray | ImageError]]:
    """Read each page of a picture file as `decode` does, with what its name adds to the path: `[1]`.

    A file of one page adds nothing. A TIFF's smaller versions of a page are no pages. A page that is broken gives its
    error; where the next cannot be found after it, and beyond MAX_PAGES and MAX_PAGED_PIXELS, or for frames
    MAX_FRAMED_PIXELS, that is the last.
    """
    with contextlib.ExitStack() as stack:
        try:
            with reasons():
                image = stack.enter_context(_opened(path))
        except ImageError as error:
            yield "", error
            return
        several, total = _count_pages(image) > 1, 0
        most = MAX_PAGED_PIXELS if image.format == "TIFF" else MAX_FRAMED_PIXELS
        for number in itertools.count():
            label = f"[{number}]" if several else ""
            try:
                with reasons():
                    if not _go_to(image, number):
                        return
                    if _is_reduced(image):
                        continue
            except ImageError as error:
                yield label, error
                return
            try:
                with reasons():
                    total += image.width * image.height
                    if number >= MAX_PAGES:
                        raise ImageError(f"more than {MAX_PAGES:,} pages; nothing is read from here on")
                    if several and total > most:
                        raise ImageError(
                            f"more than {most:,} pixels in all pages; nothing is read from here on"
                        )
                    pixels = _pixels(image)
            except ImageError as error:
                yield label, error
                # The pages of a TIFF stand alone; the frames of an animation build on one another.
                if image.format != "TIFF" or number >= MAX_PAGES or total > most:
                    return
            else:
                yield label, pixels
            if not several:
                return


def count_pages(path: Path) -> int:
    """Count the pages of a picture file by its headers, one that is broken included. ImageError for no picture."""
    with reasons(), _opened(path) as image:
        return _count_pages(image)


def mean_colour(path: Path) -> tuple[float, float] | None:
    """Return the mean blue and red chroma of what is coloured in a picture, in [-128, 127]; None for a grey one.

    ImageError for what is no picture.
    """
    with reasons(), _opened(path) as image:
        if image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16"):
            return None
        image.draft("RGB", (64, 64))
        image.thumbnail((64, 64))
        chroma = np.asarray(image.convert("RGB").convert("YCbCr"))[..., 1:].astype(np.float32) - 128
        coloured = np.abs(chroma).max(axis=-1) >= COLOURED
        if not coloured.any():
            return None
        blue, red = chroma[coloured].mean(axis=0)
        return float(blue), float(red)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture file of one of FORMATS."""
    if path.stat().st_size == 0:
        raise ImageError("the file is empty")
    with Image.open(path, formats=tuple(FORMATS)) as image:
        yield image


def _pixels(image: Image.Image) -> np.ndarray:
    """Decode the page that a picture file is at."""
    width, height = image.size
    if not width or not height:
        raise ImageError(f"no pixels: {width} x {height}")
    check_extent(width, height)
    image.load()
    return _gray(_upright(image))


def _count_pages(image: Image.Image) -> int:
    """Count pages, as far as MAX_PAGES and one more; a broken one is the last."""
    if image.format not in PAGED:
        return 1
    if image.format != "TIFF":
        with contextlib.suppress(ImageError), reasons():
            return min(int(getattr(image, "n_frames", 1)), MAX_PAGES + 1)
        return 2
    count = 0
    with contextlib.suppress(ImageError):
        for number in range(MAX_PAGES + 1):
            with reasons():
                count += 1
                if not _go_to(image, number):
                    count -= 1
                    break
                count -= _is_reduced(image)
    with contextlib.suppress(ImageError), reasons():
        image.seek(0)
    return count


def _go_to(image: Image.Image, number: int) -> bool:
    """Go to a page; False where there is none."""
    try:
        image.seek(number)
    except EOFError:
        return False
    return True


def _is_reduced(image: Image.Image) -> bool:
    """Tell whether a TIFF's page is a smaller version of another one."""
    tags = getattr(image, "tag_v2", {})
    return image.tell() > 0 and bool(int(tags.get(SUBFILE_TYPE, 0)) & REDUCED)


def gray_levels(image: Image.Image) -> np.ndarray:
    """Return grey levels (H, W) of a picture in memory as `read_image` returns those of a file."""
    with reasons():
        return _gray(_upright(image))


def check_extent(width: int, height: int, what: str = "") -> None:
    """Raise ImageError for more than MAX_PIXELS, or MAX_SIDE along a side; `what` comes before them."""
    if width * height > MAX_PIXELS:
        raise too_large(f"{what}{width:,} x {height:,} pixels")
    check_side(width, height, what)


def check_side(width: int, height: int, what: str = "") -> None:
    """Raise ImageError for more than MAX_SIDE pixels along a side."""
    if max(width, height) > MAX_SIDE:
        raise ImageError(f"too large: {what}{width:,} x {height:,} pixels, the limit is {MAX_SIDE:,} a side")


def too_large(size: str) -> ImageError:
    """Return the error for a picture or array of more than MAX_PIXELS."""
    return ImageError(f"too large: {size}, the limit is {MAX_PIXELS:,} pixels")


def _upright(image: Image.Image) -> Image.Image:
    """Obey the EXIF orientation; a picture whose EXIF part is broken stays as it is."""
    with contextlib.suppress(Exception):
        if image.getexif().get(ORIENTATION, 1) != 1:
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
    return np.array(image if image.mode == "L" else image.convert("L"))


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
