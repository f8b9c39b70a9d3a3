"""Ink that is lost on the way is an error; a picture without ink is a blank image, as it always was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalae.errors import ImageError
from anomalae.images.canonical import PREPROCESSES, preprocess
from anomalae.images.inputs import read_inputs
from anomalae.images.lost import LostInkError, shows_ink, to_canonical
from anomalae.images.sources import Preparation, gather_images
from tests.images.test_canonical import as_jpeg, on_paper, strokes


def blot() -> np.ndarray:
    """Ink that is no digit's: a sheet full of specks, each no larger than dust."""
    sheet = np.full((300, 300), 230, np.uint8)
    sheet[10:290:12, 10:290:12] = sheet[11:290:12, 10:290:12] = 20
    sheet[10:290:12, 11:290:12] = sheet[11:290:12, 11:290:12] = 20
    return sheet


def dusty() -> np.ndarray:
    sheet = np.full((200, 150), 230, np.uint8)
    sheet[50, 60] = 0
    sheet[120:122, 30:32] = 10
    return sheet


@pytest.mark.parametrize(("ink", "paper", "wrong"), [("dark", "light", "light"), ("light", "dark", "dark")])
def test_the_wrong_polarity_is_told(ink: str, paper: str, wrong: str) -> None:
    picture = on_paper(strokes("five")) if ink == "dark" else 255 - on_paper(strokes("five"))
    assert not preprocess(picture, "auto", wrong).any()
    line = f"it turned blank though it has ink, {ink} on {paper}: give polarity {ink} or auto"
    with pytest.raises(LostInkError, match=line) as caught:
        to_canonical(picture, "auto", wrong)
    assert caught.value.setting == "polarity"
    for right in ("auto", ink):
        np.testing.assert_array_equal(
            to_canonical(picture, "auto", right), preprocess(picture, "auto", right)
        )


def test_ink_that_is_no_digit_is_told() -> None:
    assert not preprocess(blot()).any()
    with pytest.raises(LostInkError, match=r"preprocess resize takes it as a whole \(now auto\)") as caught:
        to_canonical(blot())
    assert caught.value.setting == "preprocess"
    assert to_canonical(blot(), "resize").any()


@pytest.mark.parametrize("mode", PREPROCESSES)
def test_levels_of_8_bits_in_16_are_told(mode: str) -> None:
    """100 of 65535 is black."""
    drawn = np.zeros((28, 28), np.uint16)
    drawn[4:24, 4:24] = np.asarray(Image.fromarray(strokes("five")).resize((20, 20))).astype(np.uint16) // 3
    assert not preprocess(drawn, mode, "light").any()
    with pytest.raises(LostInkError, match="which is black at 28 x 28: stretch its levels"):
        to_canonical(drawn, mode, "light")


@pytest.mark.parametrize("polarity", ["auto", "light", "dark"])
@pytest.mark.parametrize("mode", ["auto", "mnist"])
def test_pictures_without_ink_are_blank(mode: str, polarity: str) -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:120, 0:90]
    sheets = [np.full((60, 40), level, np.uint8) for level in (0, 128, 255)]
    sheets += [
        as_jpeg(200 * (1 - 0.3 * (y / 120 + x / 90)) + rng.normal(0, noise, y.shape)) for noise in (0, 3, 12)
    ]
    sheets.append(np.rint(120 + rng.normal(0, 8, (16, 16))).astype(np.uint8))
    for sheet in [*sheets, dusty()]:
        assert not shows_ink(sheet)
        assert not to_canonical(sheet, mode, polarity).any()


@pytest.mark.parametrize("size", [8, 16, 100, 900])
def test_ink_is_seen_at_any_size_and_polarity(size: int) -> None:
    drawn = np.asarray(Image.fromarray(strokes("two")).resize((size, size), Image.Resampling.BOX))
    picture = np.where(drawn > 127, 60, 220).astype(np.uint8)
    assert shows_ink(picture)
    assert shows_ink(255 - picture)
    noisy = picture + np.random.default_rng(0).normal(0, 5, picture.shape)
    assert shows_ink(np.rint(noisy).astype(np.uint8))


def test_inputs_have_an_error_each(tmp_path: Path) -> None:
    picture = on_paper(strokes("five"))
    pages = [Image.fromarray(page) for page in (255 - picture, picture, np.full_like(picture, 200))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    np.save(tmp_path / "b.npy", np.stack([picture, 255 - picture]))
    entries = list(read_inputs([tmp_path / "a.tif", tmp_path / "b.npy"], "auto", "light"))
    assert [entry.lost for entry in entries] == [False, True, False, True, False]
    assert [entry.blank for entry in entries] == [False, False, True, False, False]
    for entry in entries:
        assert (entry.image is None) == entry.lost
    assert str(entries[1].error).startswith(
        f"{tmp_path / 'a.tif[1]'}: it turned blank though it has ink, dark on"
    )
    assert entries[1].setting == "polarity"


def test_a_page_says_which_polarity_has_digits(tmp_path: Path) -> None:
    Image.fromarray(on_paper(strokes("five"))).save(tmp_path / "page.png")
    Image.new("L", (80, 90), 200).save(tmp_path / "empty.png")
    paths = [tmp_path / "page.png", tmp_path / "empty.png"]
    wrong, empty = read_inputs(paths, polarity="light", segment=True)
    assert "no digits found on this page though it has ink, dark on light: give polarity dark" in str(
        wrong.error
    )
    assert (wrong.lost, empty.lost) == (True, False)
    assert str(empty.error).endswith("no digits found on this page")
    [found] = read_inputs(paths[:1], segment=True)
    assert found.image is not None


def test_arrays_and_pictures_are_refused_by_index(tmp_path: Path) -> None:
    picture = on_paper(strokes("five"))
    preparation = Preparation("mnist", "light", "grey")
    with pytest.raises(
        ImageError, match=r"images\[1\]: it turned blank though it has ink, dark on light"
    ) as caught:
        gather_images(np.stack([255 - picture, picture]), preparation=preparation)
    assert caught.value.setting == "polarity"
    with pytest.raises(ImageError, match=r"images\[1\]: it turned blank"):
        gather_images([Image.fromarray(255 - picture), Image.fromarray(picture)], preparation=preparation)
    Image.fromarray(picture).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"a\.png: it turned blank"):
        gather_images(tmp_path / "a.png", preparation=preparation)


def test_an_enlarged_digit_without_a_sharp_edge_shows_ink_and_a_shade_does_not() -> None:
    from PIL import Image
    from sklearn.datasets import load_digits

    for number in (768, 1040, 1766):
        small = (load_digits().images[number] / 16 * 255).astype(np.uint8)
        large = np.asarray(Image.fromarray(small).resize((64, 64), Image.Resampling.BICUBIC))
        assert shows_ink(large)
    across = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    far = np.hypot(*np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64)))
    for shade in (across, across.T, np.rint(255 * np.exp(-2 * far**2)).astype(np.uint8)):
        assert not shows_ink(shade)
