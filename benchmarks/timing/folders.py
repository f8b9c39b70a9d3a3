"""Folders of pictures, beside the same loop of Pillow alone: 2,000 of 28 x 28, and 40 scans of 600 x 800."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from anomalae.images.inputs import read_inputs
from timing.rounds import Row, Task, interleaved, ratios, scaled

SECTION = "folders"
ROUNDS = 5
SMALL, SCANS = 2000, 40
WIDTH, HEIGHT = 600, 800


def measure(task: Task) -> list[Row]:
    """Rows of reading a folder, and of scoring it by the default."""
    detector = task.detector(**{**task.kinds()["default"], "epochs": 1}).fit(*task.parts)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        small, scans = Path(folder, "small"), Path(folder, "scans")
        write_small(small, task.images(SMALL))
        write_scans(scans, task.images(SCANS)[: 2 if task.quick else SCANS])
        for name, path in {"28 x 28 PNG": small, "scan of 600 x 800": scans}.items():
            n = len(list(path.iterdir()))
            works = {
                "read": partial(_read, path),
                "score": partial(detector.score, path),
                "Pillow": partial(pillow, path),
            }
            for work in works.values():
                work()
            seconds = interleaved(works, task.times(ROUNDS))
            rows += [Row(SECTION, f"{name}: {work}", "us a file", scaled(seconds[work], n)) for work in works]
            rows += [
                Row(SECTION, f"{name}: {work} / Pillow", "times", ratios(seconds[work], seconds["Pillow"]))
                for work in ("read", "score")
            ]
    return rows


def write_small(folder: Path, images: np.ndarray) -> None:
    """Write images, uint8 (N, 28, 28), as PNG files."""
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:05d}.png")


def write_scans(folder: Path, images: np.ndarray) -> None:
    """Write images as dark ink on noisy paper, a large digit a JPEG file of 600 x 800."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, image in enumerate(images):
        side = int(rng.integers(280, 500))
        digit = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
        cover = Image.new("L", (WIDTH, HEIGHT))
        cover.paste(digit, (int(rng.integers(WIDTH - side)), int(rng.integers(HEIGHT - side))))
        sheet = 225 - 180 * (np.asarray(cover) / 255) + rng.normal(0, 6, (HEIGHT, WIDTH))
        scan = Image.fromarray(np.clip(np.rint(sheet), 0, 255).astype(np.uint8))
        scan.save(folder / f"{number:05d}.jpg", quality=85)


def pillow(folder: Path) -> Iterable[np.ndarray]:
    """What anybody would write: every file of a folder as an array."""
    arrays = []
    for path in sorted(folder.iterdir()):
        with Image.open(path) as picture:
            arrays.append(np.asarray(picture.convert("L")))
    return arrays


def _read(folder: Path) -> None:
    errors = [entry.error for entry in read_inputs([folder]) if entry.error]
    if errors:
        raise SystemExit(f"{len(errors)} pictures could not be read: {errors[0]}")
