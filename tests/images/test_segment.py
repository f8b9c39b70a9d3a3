"""Pages are cut into their digits: each whole, in reading order, its image as that of the digit given alone."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from anomalae.errors import ImageError
from anomalae.images.canonical import preprocess
from anomalae.images.segment import cut_digits, holds_several
from anomalae.plots.boxes import page as draw_page
from tests.scans import scan_bytes

Truth = list[tuple[int, int, int, int]]


def written(
    images: np.ndarray,
    per_line: int,
    *,
    zoom: int = 3,
    pitch: int = 110,
    slope: float = 0.0,
    rules: float = 0.0,
    grid: float = 0.0,
    light_ink: bool = False,
    empty: tuple[int, ...] = (),
    seed: int = 0,
) -> tuple[np.ndarray, Truth]:
    """Write digits on a page, and tell where the ink of each is: left, top, right, bottom.

    empty: cells that hold no digit. slope: rows that a line sinks a column.
    rules, grid: tone of ruled lines, as a share of the ink's.
    """
    rng = np.random.default_rng(seed)
    cells = [cell for cell in range(len(images) + len(empty)) if cell not in empty]
    lines = -(-(max(cells) + 1) // per_line)
    height, width = lines * pitch + 120 + round(max(slope, 0) * per_line * 100), per_line * 100 + 100
    cover, boxes = np.zeros((height, width)), []
    for number, image in zip(cells, images, strict=True):
        digit = np.kron(image, np.ones((zoom, zoom))) / 255
        rows, columns = np.flatnonzero(digit.any(1)), np.flatnonzero(digit.any(0))
        digit = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        left = 50 + (number % per_line) * 100
        top = round(50 + (number // per_line) * pitch + slope * left)
        view = cover[top : top + digit.shape[0], left : left + digit.shape[1]]
        np.maximum(view, digit, out=view)
        boxes.append((left, top, left + digit.shape[1], top + digit.shape[0]))
    y, x = np.mgrid[0:height, 0:width]
    if rules:
        cover = np.maximum(cover, rules * (np.abs((y - slope * x - 95) % pitch - pitch / 2) < 1))
    if grid:
        cover = np.maximum(cover, grid * ((y % 37 < 2) | (x % 37 < 2)))
    dark, light = (220.0, 30.0) if light_ink else (40.0, 225.0)
    tones = light + (dark - light) * cover + rng.normal(0, 4, cover.shape)
    return np.clip(np.rint(tones), 0, 255).astype(np.uint8), boxes


def check(page: np.ndarray, truth: Truth, *, slack: int = 6) -> None:
    digits = cut_digits(page)
    assert len(digits) == len(truth)
    for digit, box in zip(digits, truth, strict=True):
        np.testing.assert_allclose(digit.box, box, atol=slack)


@pytest.mark.parametrize("light_ink", [False, True])
@pytest.mark.parametrize("ruling", [{}, {"rules": 1.0}, {"rules": 0.4}, {"grid": 0.3}])
@pytest.mark.parametrize("slope", [0.0, 0.08, -0.05])
def test_digits_are_cut_in_reading_order(
    images: np.ndarray, ruling: dict[str, float], slope: float, light_ink: bool
) -> None:
    check(*written(images[:12], 5, slope=slope, light_ink=light_ink, **ruling))


def test_a_sloping_line_goes_on_after_a_gap(images: np.ndarray) -> None:
    check(*written(images[:8], 12, slope=0.13, empty=(*range(2, 10), *range(14, 22))))


def test_a_digit_cut_from_a_page_is_the_one_given_alone(images: np.ndarray) -> None:
    page, truth = written(images[:8], 4, rules=0.8)
    plain, _ = written(images[:8], 4)
    for digit, (left, top, right, bottom) in zip(cut_digits(page), truth, strict=True):
        alone = preprocess(plain[top - 12 : bottom + 12, left - 12 : right + 12])
        close = np.corrcoef(digit.image.ravel().astype(float), alone.ravel().astype(float))[0, 1]
        assert close > 0.95


def test_boxes_are_in_pixels_of_a_large_page(images: np.ndarray) -> None:
    page, truth = written(images[:6], 3)
    large = np.kron(page, np.ones((5, 5), np.uint8))
    check(large, [tuple(5 * edge for edge in box) for box in truth], slack=30)  # type: ignore[misc]


def test_a_hat_apart_from_its_digit_belongs_to_it() -> None:
    five = np.full((200, 400), 230, np.uint8)
    for left in (60, 250):
        five[60:70, left + 12 : left + 60] = 30
        five[76:110, left : left + 9] = 30
        five[104:112, left : left + 50] = 30
        five[104:150, left + 45 : left + 54] = 30
        five[142:150, left : left + 50] = 30
    boxes = [digit.box for digit in cut_digits(five)]
    assert len(boxes) == 2
    np.testing.assert_allclose(boxes, [(60, 60, 120, 150), (250, 60, 310, 150)], atol=4)
    assert not holds_several(five[:, :190])
    assert holds_several(five)


def test_digits_that_touch_are_cut_apart() -> None:
    page = np.full((220, 420), 230, np.uint8)
    yy, xx = np.mgrid[0:220, 0:420]
    for centre in (80, 152, 300):
        ring = np.hypot((yy - 110) / 1.25, xx - centre)
        page[(ring > 26) & (ring < 36)] = 30
    boxes = [digit.box for digit in cut_digits(page)]
    assert len(boxes) == 3
    np.testing.assert_allclose([box[0] for box in boxes], [44, 117, 264], atol=5)


def test_what_is_no_page() -> None:
    assert cut_digits(np.full((300, 200), 240, np.uint8)) == []
    with pytest.raises(ImageError, match="at least one pixel"):
        cut_digits(np.zeros((0, 5), np.uint8))


def specks(size: float) -> np.ndarray:
    """Draw a page full of random specks of about a size, in pixels."""
    field = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(640, 640)), size)
    return np.where(field > 1.3 * field.std(), 30, 225).astype(np.uint8)


def test_a_page_has_at_most_so_many_marks() -> None:
    few, many = specks(2), specks(1.5)
    assert 1000 < len(cut_digits(few)) < 2000
    assert holds_several(few)
    with pytest.raises(
        ImageError, match=r"^too many marks for a page of digits: 2,\d{3}, the limit is 2,000$"
    ):
        cut_digits(many)
    assert not holds_several(many)


def test_a_canonical_image_is_one_digit_as_it_is(images: np.ndarray) -> None:
    (digit,) = cut_digits(images[0])
    assert digit.box == (0, 0, 28, 28)
    np.testing.assert_array_equal(digit.image, images[0])
    assert not holds_several(images[0])


def test_single_digits_are_never_taken_for_several(images: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    for image in images[:60]:
        scan = np.asarray(Image.open(io.BytesIO(scan_bytes(image, rng, shading=rng.uniform(0, 0.5)))))
        assert not holds_several(scan)


def test_pages_of_digits_are_taken_for_several(images: np.ndarray) -> None:
    for seed in range(3):
        assert holds_several(written(images[8 * seed : 8 * seed + 8], 4, rules=0.5, seed=seed)[0])


def test_boxes_are_drawn_in_two_colours() -> None:
    drawn = draw_page(
        np.full((500, 500), 255, np.uint8), [(50, 100, 150, 200), (300, 100, 400, 200)], [False, True]
    )
    assert drawn.shape == (1000, 1000, 3)
    colours = [
        tuple(drawn[300, :500][(drawn[300, :500] != 255).any(-1)][0]),
        tuple(drawn[300, 500:][(drawn[300, 500:] != 255).any(-1)][0]),
    ]
    assert colours == [(0, 114, 178), (213, 94, 0)]
    thick = [int((drawn[300, half] != 255).any(-1).sum()) for half in (slice(0, 500), slice(500, 1000))]
    assert thick[1] > 2 * thick[0]
