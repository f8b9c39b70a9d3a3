"""Terminal pictures: half-blocks in the colours of the pixels, as many side by side as there is room for."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from anomalae import Detector
from anomalae.cli import terminal_pictures


def console(width: int, **settings: object) -> Console:
    terminal = {"force_terminal": True, "color_system": "truecolor", "legacy_windows": False} | settings
    return Console(file=io.StringIO(), width=width, record=True, **terminal)  # type: ignore[arg-type]


def shown(small: Detector, images: np.ndarray, where: Console, n: int = 6) -> list[str]:
    terminal_pictures.show(
        where,
        small,
        images[:n],
        [f"a/long/folder/of/images/{number}.png" for number in range(n)],
        [0.1 * number for number in range(n)],
        [number % 2 == 0 for number in range(n)],
        rule="smooth",
        alpha=0.05,
    )
    return where.export_text().splitlines()


def test_half_blocks_have_the_colours_of_their_two_pixels():
    pixels = np.array([[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]], np.uint8)
    (line,) = terminal_pictures.blocks(pixels)
    assert line.plain == "▀▀"
    colours = [
        (tuple(span.style.color.triplet), tuple(span.style.bgcolor.triplet))  # type: ignore[union-attr]
        for span in line.spans
    ]
    assert colours == [((1, 2, 3), (7, 8, 9)), ((4, 5, 6), (10, 11, 12))]


@pytest.mark.parametrize(("width", "columns"), [(60, 2), (80, 3), (120, 4), (20, 1)])
def test_as_many_as_fit_stand_side_by_side(small, images, width, columns):
    lines = shown(small, images, console(width))
    assert max(line.count("▀") for line in lines) == min(26 * columns, width)
    assert max(map(len, lines)) <= width


def test_captions_show_the_end_of_a_name_and_the_verdict(small, images):
    text = "\n".join(shown(small, images, console(80), n=2))
    assert "…ng/folder/of/images/0.png" in text
    assert "0 flagged" in text
    assert "Heatmaps: terms of smooth, whose absolute values sum to the score." in text


@pytest.mark.parametrize("settings", [{"force_terminal": False}, {"color_system": None}])
def test_nothing_is_drawn_where_nobody_could_see_it(small, images, settings):
    assert shown(small, images, console(80, **settings)) == []
