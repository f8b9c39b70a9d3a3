"""From a picture to a digit as in MNIST: a scan of a digit gives the digit, a scan of nothing gives nothing.

`smooth_error` is the library's default distance: 1 - cosine of the two images blurred with sigma 1.5.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from anomalae.datasets.load import load_dataset
from anomalae.errors import ConfigError, ImageError
from anomalae.images.canonical import POLARITIES, PREPROCESSES, preprocess
from tests.scans import redraw_as_scan

STROKES = {
    "one": [[(0, 6), (6, 0), (3, 31)]],
    "two": [[(0, 6), (6, 0), (14, 0), (18, 8), (0, 30), (19, 29)]],
    "four": [[(12, 0), (0, 20), (20, 20)], [(13, 12), (11, 32)]],
    "five": [[(18, 0), (4, 1), (2, 13), (14, 12), (17, 24), (8, 31), (0, 28)]],
    "seven": [[(0, 2), (19, 0), (7, 31)], [(5, 16), (18, 15)]],
    "zero": [[(9, 0), (2, 5), (0, 15), (3, 26), (9, 29), (15, 25), (18, 13), (15, 4), (9, 0)]],
    "wide": [[(0, 8), (30, 0), (15, 16), (38, 12)]],
}


def strokes(name: str, width: int = 28) -> np.ndarray:
    """A pen drawing at ten pixels a unit, uint8, light ink on black, cut out."""
    canvas = Image.new("L", (500, 450))
    for line in STROKES[name]:
        points = [(10 * x + 50, 10 * y + 50) for x, y in line]
        ImageDraw.Draw(canvas).line(points, fill=255, width=width, joint="curve")
        for x, y in points:
            half = width / 2
            ImageDraw.Draw(canvas).ellipse((x - half, y - half, x + half, y + half), fill=255)
    drawn = np.array(canvas)
    rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
    return drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def as_in_mnist(drawn: np.ndarray) -> np.ndarray:
    """MNIST's recipe, word for word, for a drawing without noise: fit into 20x20, centre of mass to the middle."""
    side = max(drawn.shape)
    above, before = ((side - n) // 2 for n in drawn.shape)
    square = np.zeros((side, side), np.uint8)
    square[above : above + drawn.shape[0], before : before + drawn.shape[1]] = drawn
    field = np.zeros((60, 60), np.uint8)
    field[20:40, 20:40] = Image.fromarray(square).resize((20, 20), Image.Resampling.BOX)
    y, x = ndimage.center_of_mass(field)
    return field[round(y) - 14 : round(y) + 14, round(x) - 14 : round(x) + 14]


def smooth_error(a: np.ndarray, b: np.ndarray) -> float:
    x, y = (ndimage.gaussian_filter(image.astype(float), 1.5) for image in (a, b))
    return 1 - float((x * y).sum() / max(np.linalg.norm(x) * np.linalg.norm(y), 1e-12))


def as_jpeg(levels: np.ndarray, quality: int = 80) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def on_paper(drawn: np.ndarray, contrast: float = 160, margin: int = 40, paper: float = 220) -> np.ndarray:
    return np.rint(paper - contrast * np.pad(drawn, margin).astype(float) / 255).astype(np.uint8)


@pytest.mark.mnist
def test_mnist_digits_survive_a_scan() -> None:
    test = load_dataset("mnist").test
    errors = []
    for index in range(0, 10_000, 100):
        scan = redraw_as_scan(test.images[index], np.random.default_rng(index), light_ink=index % 4 == 0)
        errors.append(smooth_error(test.images[index], preprocess(np.asarray(scan))))
    assert np.mean(errors) < 0.0065
    assert np.percentile(errors, 95) < 0.03
    assert max(errors) < 0.1


@pytest.mark.mnist
def test_mnist_itself_is_taken_as_it_is() -> None:
    for image in load_dataset("mnist").test.images[::5]:
        assert preprocess(image) is not image
        assert np.array_equal(preprocess(image), image)


@pytest.mark.parametrize("name", STROKES)
@pytest.mark.parametrize("light_ink", [False, True])
def test_drawings_survive_a_scan(name: str, light_ink: bool) -> None:
    digit = as_in_mnist(strokes(name))
    for seed in range(6):
        scan = redraw_as_scan(digit, np.random.default_rng(seed), light_ink=light_ink, shading=0.4)
        found = preprocess(np.asarray(scan), "mnist")
        assert smooth_error(digit, found) < 0.04
        assert found.max() == 255
        assert np.median(found) == 0


@pytest.mark.parametrize("name", STROKES)
@pytest.mark.parametrize("width", [14, 28, 60])
def test_mnist_recipe_on_clean_drawings(name: str, width: int) -> None:
    drawn = strokes(name, width)
    expected = as_in_mnist(drawn)
    assert smooth_error(expected, preprocess(255 - np.pad(drawn, 30))) < 0.02
    found = preprocess(np.pad(drawn, 30))
    rows, columns = np.flatnonzero((found > 60).any(1)), np.flatnonzero((found > 60).any(0))
    assert abs(max(np.ptp(rows), np.ptp(columns)) + 1 - 20) <= 1
    assert np.abs(np.array(ndimage.center_of_mass(found)) - 14).max() < 0.65


@pytest.mark.parametrize("polarity", POLARITIES)
def test_polarity_is_found_and_obeyed(polarity: str) -> None:
    picture = on_paper(strokes("five"))
    if polarity == "light":
        picture = 255 - picture
    expected = preprocess(on_paper(strokes("five")), "mnist", "dark")
    assert smooth_error(expected, preprocess(picture, "mnist", polarity)) < 1e-3
    assert smooth_error(expected, preprocess(picture, "mnist", "auto")) < 1e-3


def test_wrong_polarity_finds_no_digit() -> None:
    assert (
        smooth_error(
            preprocess(on_paper(strokes("five")), "mnist", "dark"),
            preprocess(on_paper(strokes("five")), "mnist", "light"),
        )
        > 0.3
    )


def test_place_size_and_tone_do_not_matter() -> None:
    digit = strokes("two")
    expected = preprocess(on_paper(digit), "mnist")
    there = np.pad(on_paper(digit), ((0, 331), (217, 3)), constant_values=220)
    assert smooth_error(expected, preprocess(there, "mnist")) < 1e-3
    for factor in (2, 5, 9):
        assert smooth_error(expected, preprocess(np.asarray(Image.fromarray(there).reduce(factor)))) < 0.02
    large = np.asarray(Image.fromarray(on_paper(digit)).resize((2400, 3000)))
    small = np.asarray(Image.fromarray(on_paper(digit)).resize((240, 300)))
    assert smooth_error(preprocess(small), preprocess(large)) < 5e-3
    for contrast in (15, 30, 200):
        faint = preprocess(on_paper(digit, contrast), "mnist")
        assert smooth_error(expected, faint) < 2e-3
        assert faint.max() == 255


def test_a_small_digit_on_a_large_photo() -> None:
    digit = as_in_mnist(strokes("seven"))
    scan = redraw_as_scan(digit, np.random.default_rng(1), scale=4, side=2400, shading=0.5)
    assert smooth_error(digit, preprocess(np.asarray(scan))) < 0.04


@pytest.mark.parametrize("noise", [2, 8])
def test_faint_strokes_are_not_eaten(noise: float) -> None:
    """A stroke of a quarter of the others' strength belongs to the digit; the noise beside it does not."""
    drawn = strokes("five")
    drawn[: len(drawn) // 3] //= 4
    digit = as_in_mnist(drawn)
    enlarged = np.asarray(Image.fromarray(digit).resize((168, 168), Image.Resampling.BICUBIC))
    rng = np.random.default_rng(0)
    picture = on_paper(enlarged) + rng.normal(0, noise, (248, 248))
    found = preprocess(as_jpeg(picture))
    assert smooth_error(digit, found) < 0.02
    assert 0.1 < found[4:9].max() / 255 < 0.5
    outside = ndimage.binary_dilation(digit > 0, iterations=2)
    assert not found[~outside].any()


@pytest.mark.parametrize("seed", range(8))
def test_blank_sheets_give_zeros(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(20, 400, 2)
    y, x = np.mgrid[0:height, 0:width]
    sheet = rng.uniform(40, 240) * (1 - rng.uniform(0, 0.6) * (y / height + x / width) / 2)
    sheet += rng.normal(0, rng.uniform(0, 10), sheet.shape)
    assert not preprocess(as_jpeg(sheet), "mnist").any()


def test_dust_is_no_digit() -> None:
    sheet = np.full((200, 150), 230, np.uint8)
    sheet[50, 60] = 0
    sheet[120:122, 30:32] = 10
    assert not preprocess(sheet).any()
    digit = on_paper(strokes("four"))
    expected = preprocess(digit)
    digit[2, 3] = digit[-9:-7, -5:-3] = 0
    np.testing.assert_allclose(preprocess(digit), expected, atol=2)


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("mode", ["auto", "mnist"])
def test_one_tone_is_blank(level: int, mode: str) -> None:
    for shape in ((28, 28), (60, 40)):
        found = preprocess(np.full(shape, level, np.uint8), mode)
        assert found.shape == (28, 28)
        assert not found.any()


@pytest.mark.parametrize("mode", ["auto", "mnist", "resize"])
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 2), (2, 1), (1, 300), (300, 1), (3, 3), (5, 7), (8, 8), (27, 28), (700, 3)]
)
def test_any_size_goes_through(mode: str, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for gray in (rng.integers(0, 256, shape, np.uint8), (rng.random(shape) < 0.2).astype(np.float32)):
        for polarity in POLARITIES:
            found = preprocess(gray, mode, polarity)
            assert found.shape == (28, 28)
            assert found.dtype == np.uint8


def test_types_of_pixels_agree() -> None:
    levels = on_paper(strokes("two"))
    expected = preprocess(levels)
    assert smooth_error(expected, preprocess((levels / 255).astype(np.float64))) < 1e-4
    assert smooth_error(expected, preprocess(levels.astype(np.uint16) * 257)) < 1e-4
    twelve_bits = preprocess(levels.astype(np.uint16) * 16)
    assert smooth_error(expected, twelve_bits) < 1e-4
    assert twelve_bits.max() == 255
    chalk = 255 - levels
    assert smooth_error(preprocess(chalk), preprocess(chalk.astype(np.uint16) * 16)) < 1e-4


def test_input_is_not_modified() -> None:
    picture = on_paper(strokes("two"))
    before = picture.copy()
    picture.flags.writeable = False
    for mode in ("auto", "mnist", "resize"):
        preprocess(picture, mode)
    np.testing.assert_array_equal(picture, before)


def test_auto_takes_only_light_ink_on_black_as_it_is() -> None:
    digit = as_in_mnist(strokes("two")) // 2
    assert np.array_equal(preprocess(digit), digit)
    assert np.array_equal(preprocess(digit, polarity="light"), digit)
    assert np.array_equal(preprocess((digit / 255).astype(np.float32)), digit)
    assert np.array_equal(preprocess(digit.astype(np.uint16) * 257), digit)
    assert smooth_error(digit, preprocess(255 - digit)) < 0.02
    assert preprocess(255 - digit).max() == 255
    assert preprocess(digit + 60).max() == 255
    garment = np.zeros((28, 28), np.uint8)
    garment[:, 4:24] = 200  # from edge to edge, corners black
    garment[6:, :] = 200
    garment[24:, :4] = 0
    assert np.array_equal(preprocess(garment), garment)


def test_none_takes_28x28_only() -> None:
    digit = as_in_mnist(strokes("two"))
    assert np.array_equal(preprocess(255 - digit, "none"), 255 - digit)
    assert np.array_equal(preprocess(255 - digit, "none", "light"), 255 - digit)
    assert np.array_equal(preprocess(255 - digit, "none", "dark"), digit)
    with pytest.raises(ImageError, match="40x60 pixels, preprocess 'none' takes 28x28 only"):
        preprocess(np.zeros((60, 40), np.uint8), "none")


def test_resize_keeps_the_aspect_and_the_frame() -> None:
    picture = np.full((56, 28), 230, np.uint8)
    picture[0:56, 10:18] = 30
    found = preprocess(picture, "resize")
    ground = 255 - 230
    assert np.abs(found[:, :10].astype(int) - ground).max() <= 12
    assert found[:, 13].min() > 180
    assert (found[:, 11:17] > 128).sum() == 28 * 4
    dark_ground = preprocess(255 - picture, "resize", "light")
    np.testing.assert_allclose(dark_ground, found, atol=1)


@pytest.mark.parametrize(
    ("gray", "words"),
    [
        (np.zeros((3, 28, 28), np.uint8), "shape"),
        (np.zeros((0, 28), np.uint8), "shape"),
        (np.zeros((28, 28), np.int32), "int32"),
        (np.zeros((28, 28), bool), "bool"),
        (np.full((28, 28), np.nan), "not finite"),
        (np.full((28, 28), 1.5), r"\[1.5, 1.5\]"),
        (np.full((28, 28), -0.5), r"\[-0.5, -0.5\]"),
    ],
)
def test_what_is_no_picture_is_refused(gray: np.ndarray, words: str) -> None:
    for mode in PREPROCESSES:
        with pytest.raises(ImageError, match=words):
            preprocess(gray, mode)


def test_unknown_choices_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="unknown preprocess 'scan'; it is one of auto, mnist, resize, none"
    ):
        preprocess(np.zeros((28, 28), np.uint8), "scan")
    with pytest.raises(ConfigError, match="unknown polarity 'black'"):
        preprocess(np.zeros((28, 28), np.uint8), "auto", "black")
