"""How many digits `anomalae score --segment` cuts out whole from pages that are made of MNIST's digits.

    python benchmarks/segment.py            # --data-dir DIR --pages 20

Pages hold 8 to 20 digits in two to five lines, every other page ruled (lines, or a light grid, of any tone up to the
ink's); size, tone, noise, light, slant, spacing and JPEG quality vary, and some pages are chalk on a board. Seed 0
and the test part make the pages that count; everything was tuned on other seeds with digits of the train part
(`--part train --seed 1`).

A digit is cut out whole if some box covers at least 90% of its ink, is no more than 1.5 times as wide and as tall as
it (and 4 pixels), and covers at most 5% of the ink of any other digit. Each box counts for one digit; boxes that are
no digit's are extra. Writes reports/segment/table.md and table.json. With --show FOLDER the pages are drawn there.

With --run RUN it also compares the scores of digits cut from the pages with those of the same digits given alone.
"""

import argparse
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from anomalae import files, load_dataset
from anomalae.experiments.run import Run, truth
from anomalae.images.segment import Digit, cut_digits
from anomalae.images.sources import Canonical

COVERED, TRACE, LARGER, SLACK = 0.9, 0.05, 1.5, 4


@dataclass
class Page:
    """A page as it is scanned, and where the ink of each of its digits truly lies."""

    gray: np.ndarray
    ruled: bool
    # Index of each digit in the data set, in reading order.
    indices: list[int]
    # Left and top corner of each digit's ink, and the ink itself in [0, 1].
    inks: list[tuple[int, int, np.ndarray]]


def make_page(images: np.ndarray, rng: np.random.Generator, ruled: bool) -> Page:
    """Write some of the images (N, 28, 28) on a page."""
    count = int(rng.integers(8, 21))
    indices = [int(i) for i in rng.choice(len(images), count, replace=False)]
    scale = float(np.exp(rng.uniform(math.log(1.3), math.log(5))))
    tall = 20 * scale
    n_lines = int(rng.integers(2, min(5, count // 3) + 1))
    lines = np.array_split(np.array(indices), n_lines)
    pitch = tall * rng.uniform(1.5, 2.4)
    margin = tall * rng.uniform(0.6, 1.5)
    places, widest = [], 0.0
    for number, line in enumerate(lines):
        x = margin + tall * rng.uniform(0, 0.5)
        for index in line:
            own = scale * rng.uniform(0.85, 1.15)
            columns = np.flatnonzero(images[index].any(0))
            half = own * (columns[-1] - columns[0] + 1) / 2
            x += half
            y = margin + tall / 2 + number * pitch + tall * rng.uniform(-0.1, 0.1)
            places.append((int(index), x, y, own))
            x += half + tall * rng.uniform(0.1, 0.8)
        widest = max(widest, x)
    width, height = math.ceil(widest + margin), math.ceil(2 * margin + tall + (n_lines - 1) * pitch)
    angle = math.radians(rng.uniform(-3, 3))
    cover = np.zeros((height, width))
    inks = []
    for index, x, y, own in places:
        left, top, ink = _placed(images[index], x, y, own, angle, (height, width))
        inks.append((left, top, ink))
        view = cover[top : top + ink.shape[0], left : left + ink.shape[1]]
        np.maximum(view, ink, out=view)
    paper, dark = rng.uniform(190, 250), rng.uniform(10, 90)
    if rng.random() < 0.2:
        paper, dark = rng.uniform(10, 60), rng.uniform(180, 245)
    rules = _rules(rng, (height, width), margin, pitch, tall, angle) if ruled else np.zeros_like(cover)
    sheet = paper + (dark - paper) * np.maximum(cover, rules)
    rows, columns = np.mgrid[0:height, 0:width]
    sheet = sheet * (1 - rng.uniform(0, 0.3) * (rows / height + columns / width) / 2)
    sheet = sheet + rng.normal(0, rng.uniform(1, 10), sheet.shape)
    stream = io.BytesIO()
    scan = Image.fromarray(np.clip(np.rint(sheet), 0, 255).astype(np.uint8))
    scan.save(stream, "JPEG", quality=int(rng.integers(70, 96)))
    return Page(np.array(Image.open(stream)), ruled, indices, inks)


def _placed(
    image: np.ndarray, x: float, y: float, scale: float, angle: float, shape: tuple[int, int]
) -> tuple[int, int, np.ndarray]:
    """Draw a digit with the middle of its ink at (x, y) of a page that is then turned about its centre."""
    rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
    middle_y, middle_x = (rows[0] + rows[-1] + 1) / 2, (columns[0] + columns[-1] + 1) / 2
    cosine, sine = math.cos(angle), math.sin(angle)
    centre_y, centre_x = shape[0] / 2, shape[1] / 2
    turned_x = centre_x + cosine * (x - centre_x) - sine * (y - centre_y)
    turned_y = centre_y + sine * (x - centre_x) + cosine * (y - centre_y)
    half = math.ceil(scale * 15) + 2
    left, top = math.floor(turned_x) - half, math.floor(turned_y) - half
    # From a pixel of the crop back to one of the image.
    a, b = cosine / scale, sine / scale
    dx, dy = left - turned_x, top - turned_y
    matrix = (a, b, middle_x + a * dx + b * dy, -b, a, middle_y - b * dx + a * dy)
    crop = Image.fromarray(image).transform(
        (2 * half, 2 * half), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
    )
    ink = np.asarray(crop).astype(np.float64) / 255
    right, bottom = min(left + 2 * half, shape[1]), min(top + 2 * half, shape[0])
    cut_left, cut_top = max(left, 0), max(top, 0)
    return cut_left, cut_top, ink[cut_top - top : bottom - top, cut_left - left : right - left]


def _rules(
    rng: np.random.Generator, shape: tuple[int, int], margin: float, pitch: float, tall: float, angle: float
) -> np.ndarray:
    """Draw ruled lines, (H, W) in [0, 1] of the ink's tone: through the feet of the digits or near, or a light grid."""
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5
    down = (rows - shape[0] / 2) * math.cos(angle) - (columns - shape[1] / 2) * math.sin(angle) + shape[0] / 2
    across = (
        (rows - shape[0] / 2) * math.sin(angle) + (columns - shape[1] / 2) * math.cos(angle) + shape[1] / 2
    )
    thickness = rng.uniform(1, max(1.2, min(4, tall / 25)))

    def drawn(position: np.ndarray, offset: float, step: float) -> np.ndarray:
        distance = np.abs((position - offset + step / 2) % step - step / 2)
        return np.clip(thickness / 2 + 0.5 - distance, 0, 1)

    if rng.random() < 0.4:
        step = tall * rng.uniform(0.5, 0.9)
        return rng.uniform(0.1, 0.4) * np.maximum(
            drawn(down, rng.uniform(0, step), step), drawn(across, rng.uniform(0, step), step)
        )
    foot = margin + tall * rng.uniform(0.7, 1.2)
    return rng.uniform(0.3, 1) * drawn(down, foot, pitch)


def match(page: Page, digits: list[Digit]) -> list[int | None]:
    """Return for each digit of a page the position of the box that cuts it out whole; None where there is none."""
    shares = np.array([[_inside(ink, digit.box) for digit in digits] for ink in page.inks])
    matched: list[int | None] = []
    for number, (*_, ink) in enumerate(page.inks):
        rows, columns = np.flatnonzero((ink > 0.3).any(1)), np.flatnonzero((ink > 0.3).any(0))
        high, wide = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        found = None
        for position, digit in enumerate(digits):
            box = digit.box
            others = np.delete(shares[:, position], number)
            fits = box[2] - box[0] <= LARGER * wide + SLACK and box[3] - box[1] <= LARGER * high + SLACK
            if shares[number, position] >= COVERED and others.max(initial=0) <= TRACE and fits:
                found = position
        matched.append(found)
    return matched


def _inside(placed: tuple[int, int, np.ndarray], box: tuple[int, int, int, int]) -> float:
    left, top, ink = placed
    inner = ink[max(0, box[1] - top) : max(0, box[3] - top), max(0, box[0] - left) : max(0, box[2] - left)]
    return float(inner.sum() / ink.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir")
    parser.add_argument("--pages", type=int, default=20)
    parser.add_argument("--part", choices=["train", "test"], default="test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", help="folder of a run")
    parser.add_argument("--show", type=Path)
    parser.add_argument("--output", type=Path, default=Path("reports/segment"))
    given = parser.parse_args()
    dataset = load_dataset("mnist", given.data_dir)
    images = getattr(dataset, given.part).images
    rng = np.random.default_rng(given.seed)
    rows: list[dict[str, Any]] = []
    cut, alone = [], []
    for number in range(given.pages):
        page = make_page(images, rng, ruled=number % 2 == 1)
        digits = cut_digits(page.gray)
        matched = match(page, digits)
        whole = [position for position in matched if position is not None]
        rows.append({
            "page": number, "ruled": page.ruled, "size": [page.gray.shape[1], page.gray.shape[0]],
            "digits": len(matched), "whole": len(whole), "extra": len(digits) - len(set(whole)),
            "in_order": whole == sorted(whole),
        })  # fmt: skip
        for index, position in zip(page.indices, matched, strict=True):
            if position is not None:
                cut.append(digits[position].image)
                alone.append(index)
        print(rows[-1], flush=True)
        if given.show:
            _draw(given.show / f"{given.part}-{given.seed}-{number:02d}.png", page, digits, matched)
    document: dict[str, Any] = {"part": given.part, "seed": given.seed, "pages": rows}
    if given.run:
        labels = getattr(dataset, given.part).labels
        document["scores"] = _compared(given.run, np.stack(cut), images[alone], labels[alone])
    text = _table(document)
    print(text)
    given.output.mkdir(parents=True, exist_ok=True)
    files.write_json(given.output / "table.json", document)
    (given.output / "table.md").write_text(text)


def _compared(folder: str, cut: np.ndarray, alone: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Compare scores of digits cut from pages with those of the same digits in the data set."""
    run = Run(folder)
    is_anomaly = truth(labels, run.record.data.normal)
    scores = {
        "cut from a page": run.detector.score(Canonical(cut)),
        "given alone": run.detector.score(Canonical(alone)),
    }
    return {
        "run": run.name,
        "digits": len(labels),
        "roc_auc": {name: float(roc_auc_score(is_anomaly, values)) for name, values in scores.items()},
        "rank_correlation": float(spearmanr(*scores.values()).statistic),
    }


def _table(document: dict[str, Any]) -> str:
    lines = [
        "| pages | digits | cut out whole | share | extra boxes | pages in reading order |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    pages = document["pages"]
    for name, some in (
        ("plain", [page for page in pages if not page["ruled"]]),
        ("ruled", [page for page in pages if page["ruled"]]),
        ("in all", pages),
    ):
        n, whole, extra = (sum(page[key] for page in some) for key in ("digits", "whole", "extra"))
        in_order = sum(page["in_order"] for page in some)
        lines.append(f"| {len(some)} {name} | {n} | {whole} | {whole / n:.1%} | {extra} | {in_order} |")
    text = (
        f"Digits of MNIST's {document['part']} part, seed {document['seed']}.\n\n" + "\n".join(lines) + "\n"
    )
    if "scores" in document:
        scores = document["scores"]
        aucs = ", ".join(f"{value:.4f} {name}" for name, value in scores["roc_auc"].items())
        text += f"\nROC-AUC of run {scores['run']} on the {scores['digits']} digits: {aucs}; "
        text += f"rank correlation of the scores {scores['rank_correlation']:.3f}.\n"
    return text


def _draw(path: Path, page: Page, digits: list[Digit], matched: list[int | None]) -> None:
    from PIL import ImageDraw

    picture = Image.fromarray(page.gray).convert("RGB")
    draw = ImageDraw.Draw(picture)
    good = set(matched)
    for position, digit in enumerate(digits):
        left, top, right, bottom = digit.box
        draw.rectangle(
            (left, top, right - 1, bottom - 1), outline=(0, 90, 200) if position in good else (220, 0, 0)
        )
        draw.text((left, top - 10), str(position), fill=(0, 90, 200))
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_png(path, np.asarray(picture))


if __name__ == "__main__":
    main()
