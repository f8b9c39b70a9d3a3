"""Writing pixels to PNG and NPY files, atomically."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from anomalae import files


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write uint8 pixels, gray (H, W) or RGB (H, W, 3), as a PNG file. BundleError where that fails."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG")
    files.write_bytes(path, content.getvalue())


def write_npy(path: Path, images: np.ndarray) -> None:
    """Write an array as an NPY file, never pickled. BundleError where that fails."""
    content = io.BytesIO()
    np.save(content, images, allow_pickle=False)
    files.write_bytes(path, content.getvalue())
