"""A picture cut close to its digit becomes what it becomes with paper around it, whatever its size and its tones."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from anomalae.images.canonical import preprocess
from anomalae.images.ink import find_strokes
from anomalae.images.segment import cut_digits, holds_several
from anomalae.images.sheet import Sheet
from anomalae.images.tight import find_tight
from tests.images.test_canonical import STROKES, smooth_error, strokes

# Ink and paper.
TONES = {"light": (255, 0), "dark": (0, 255), "light grey": (210, 60), "dark grey": (60, 220)}
SIZES = ((8, 8), (12, 9), (16, 16), (20, 14), (50, 40), (200, 150))


def crop(name: str, size: tuple[int, int], tones: str = "light", width: int = 50) -> np.ndarray:
    """A drawing stretched to (H, W), its ink up to the edges, of two tones."""
    ink, paper = TONES[tones]
    drawn = Image.fromarray(strokes(name, width)).resize(size[::-1], Image.Resampling.BOX)
    return np.where(np.asarray(drawn) > 127, ink, paper).astype(np.uint8)


def with_paper(picture: np.ndarray, tones: str) -> np.ndarray:
    return np.pad(picture, max(picture.shape), constant_values=TONES[tones][1])


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other).mean())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tones", TONES)
def test_a_tight_crop_is_what_it_is_with_paper_around_it(size: tuple[int, int], tones: str) -> None:
    polarity = tones.split()[0]
    for name in STROKES:
        picture = crop(name, size, tones)
        expected = preprocess(with_paper(picture, tones), "mnist", polarity)
        assert expected.any()
        for given in ("auto", polarity):
            assert difference(preprocess(picture, "mnist", given), expected) < 0.5, (name, given)


def test_both_tones_give_the_same() -> None:
    for size in SIZES:
        for name in STROKES:
            light = preprocess(crop(name, size), "mnist")
            np.testing.assert_allclose(preprocess(crop(name, size, "dark"), "mnist"), light, atol=1)


@pytest.mark.parametrize("tones", TONES)
def test_ink_may_have_most_of_the_edges(tones: str) -> None:
    """Bold digits whose ink has the median of the frame: a 0, and a 1 as narrow as it is."""
    ink, paper = TONES[tones]
    y, x = np.mgrid[-1:1:16j, -1:1:16j]
    zero = np.where((x**4 + y**4 < 1.1) & (x**2 + 0.7 * y**2 > 0.35), ink, paper).astype(np.uint8)
    one = np.full((20, 6), ink, np.uint8)
    one[:6, :2] = one[3:6, 2] = one[-5:, -1] = paper
    for picture in (zero, one):
        edges = np.concatenate([picture[0], picture[-1], picture[1:-1, 0], picture[1:-1, -1]])
        assert np.median(edges) == ink
        expected = preprocess(with_paper(picture, tones), "mnist", tones.split()[0])
        assert difference(preprocess(picture), expected) < 0.5


@pytest.mark.parametrize("sides", [(0,), (3,), (0, 1), (1, 2), (0, 1, 3)])
def test_some_sides_may_have_paper(sides: tuple[int, ...]) -> None:
    whole = with_paper(crop("two", (40, 30), "dark grey"), "dark grey")
    ends = [0 if side not in sides else 40 for side in range(4)]
    part = whole[ends[0] : len(whole) - ends[1], ends[2] : whole.shape[1] - ends[3]]
    assert difference(preprocess(part), preprocess(whole)) < 0.5


def test_in_a_small_picture_a_stroke_is_no_shadow() -> None:
    """The blur alone makes it soft, as shares of so small a picture go."""
    for name in STROKES:
        digit = np.pad(crop(name, (12, 12), width=90), 2)
        assert find_strokes(digit.astype(np.float32) / 255, 1.0) is not None, name


@pytest.mark.parametrize("tones", TONES)
def test_a_soft_1_fills_a_narrow_picture(tones: str) -> None:
    """Its paper, nearly all of it beside the ink, must not be bent to the ink."""
    ink, paper = TONES[tones]
    for width, share, slant in itertools.product((28, 40), (0.3, 0.6), (0, 0.1)):
        y, x = np.mgrid[0:130, 0:width]
        bar = (np.abs(x - (width - 1) / 2 - slant * (y - 65)) < share * width / 2) & (abs(y - 65) < 55)
        soft = ndimage.gaussian_filter(bar.astype(float), 4)
        picture = np.rint(paper + (ink - paper) * soft).astype(np.uint8)
        expected = preprocess(with_paper(picture, tones), "mnist", tones.split()[0])
        assert smooth_error(preprocess(picture), expected) < 0.01, (width, share, slant)


def test_a_faint_digit_may_reach_one_side_of_an_unevenly_lit_sheet() -> None:
    """Such a sheet has no two tones; the ink at its edge is found all the same, and not cut off there."""
    differences = []
    for name in STROKES:
        digit = crop(name, (60, 45)) / 255
        whole = (220 - 80 * np.pad(digit, ((80, 80), (100, 100)))) * np.linspace(1, 0.5, 245)
        part = np.rint(whole[80:]).astype(np.uint8)
        assert find_tight(part / np.float32(255), "auto") is None
        differences.append(difference(preprocess(part), preprocess(np.rint(whole).astype(np.uint8))))
    assert max(differences) < 0.3


def test_a_part_that_is_one_thin_line_is_kept() -> None:
    """The bar of a 5 that is a pixel thick, and hangs on nothing, is wide as a shadow is."""
    five = crop("five", (16, 16), width=40)
    five[:2], five[0, 4:] = 0, 255
    found = preprocess(five)
    assert found[:6].max() > 100
    # The bar is above the rest.
    assert (found[:6] > 60).any(axis=0).sum() >= 10


def test_shade_on_the_paper_goes_on_around_it() -> None:
    picture = crop("two", (60, 50), "dark grey")
    shade = np.linspace(1, 0.75, 50)[None] * np.linspace(1, 0.9, 60)[:, None]
    shaded = np.rint(picture * shade).astype(np.uint8)
    assert difference(preprocess(shaded), preprocess(with_paper(picture, "dark grey"))) < 2.5


def test_the_types_of_pixels_agree() -> None:
    picture = crop("five", (16, 16), "dark grey")
    expected = preprocess(picture)
    assert difference(preprocess(picture.astype(np.uint16) * 257), expected) < 0.1
    assert difference(preprocess((picture / 255).astype(np.float32)), expected) < 0.1


@pytest.mark.parametrize("tones", ["light", "dark grey"])
def test_resized_it_is_not_turned_over(tones: str) -> None:
    for name in STROKES:
        found = preprocess(crop(name, (16, 16), tones), "resize")
        expected = preprocess(crop(name, (16, 16), tones), "resize", tones.split()[0])
        np.testing.assert_array_equal(found, expected)


def test_a_page_may_be_cut_close() -> None:
    """Digits are found in a picture whose paper does not have the frame, with boxes in its own pixels."""
    y, x = np.mgrid[-1:1:60j, -1:1:60j]
    zero = np.where((x**4 + y**4 < 1.1) & (x**2 + 0.7 * y**2 > 0.35), 255, 0).astype(np.uint8)
    [digit] = cut_digits(zero)
    assert digit.box == (0, 0, 60, 60)
    assert smooth_error(digit.image, preprocess(np.pad(zero, 40))) < 0.01
    assert not holds_several(zero)
    sheet = Sheet.of(zero, "auto", 512, close=False)
    assert sheet is not None
    assert sheet.room != ((0, 0), (0, 0))


def test_a_long_strip_gets_no_room_of_its_length() -> None:
    strip = np.pad(crop("four", (20, 16)), ((0, 0), (0, 624)))
    sheet = Sheet.of(strip, "auto", 512)
    assert sheet is not None
    assert sheet.room[0][0] == 4 * 20 + 4 * sheet.factor


def test_a_picture_with_paper_around_its_digit_is_left_as_it_is() -> None:
    sheet = Sheet.of(with_paper(crop("four", (40, 30)), "light"), "auto", 512)
    assert sheet is not None
    assert sheet.room == ((0, 0), (0, 0))


def test_neither_ramps_nor_noise_have_two_tones() -> None:
    ramp = np.tile(np.linspace(0, 1, 40, dtype=np.float32), (30, 1))
    noise = np.clip(np.random.default_rng(0).normal(0.5, 0.1, (30, 20)), 0, 1).astype(np.float32)
    for tones in (np.full((16, 16), 0.5, np.float32), ramp, noise):
        assert find_tight(tones, "auto") is None


def test_a_wrong_polarity_is_not_overruled_where_paper_is_around() -> None:
    assert find_tight(with_paper(crop("four", (40, 30)), "light") / np.float32(255), "dark") is None
    assert not preprocess(with_paper(crop("four", (40, 30)), "light"), "mnist", "dark").any()


def test_a_shadow_in_a_picture_of_usual_size_is_none_still() -> None:
    y, x = np.mgrid[-1:1:60j, -1:1:60j]
    shadow = np.exp(-4 * (x**2 + y**2)).astype(np.float32)
    assert find_strokes(shadow - 0.001, 1.0) is None
