"""Whoever sees two of the three primary colours tells apart what a figure tells apart by colour."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from anomalae.plots import style

# How linear RGB looks without one kind of cone: Machado, Oliveira and Fernandes, "A physiologically-based model for
# simulation of color vision deficiency", 2009, severity 1.
SIGHTS = {
    "all cones": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = np.array([0.95047, 1.0, 1.08883])


def lab(colour: str, sight: str) -> np.ndarray:
    """CIE 1976 L*a*b* of a colour as it is seen."""
    values = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    seen = np.clip(SIGHTS[sight] @ linear, 0, 1)
    ratios = XYZ @ seen / WHITE
    x, y, z = np.where(ratios > 216 / 24389, np.cbrt(ratios), (24389 / 27 * ratios + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def difference(one: str, other: str, sight: str) -> float:
    return float(np.linalg.norm(lab(one, sight) - lab(other, sight)))


def test_the_measure_knows_what_is_hard_to_tell():
    """Red and green of the same lightness are one colour to some; black and white differ by 100 to all."""
    assert difference("#000000", "#ffffff", "deuteranopia") == pytest.approx(100, abs=0.1)
    assert difference("#b05a00", "#7a7a00", "all cones") > 35
    assert difference("#b05a00", "#7a7a00", "protanopia") < 15
    assert difference("#2aa876", "#2a9fb8", "all cones") > 2 * difference("#2aa876", "#2a9fb8", "tritanopia")


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize(
    ("colours", "least"),
    [
        ((style.NORMAL, style.ANOMALY), 50),
        ((style.MODEL, style.MUTED), 14),
        ((style.MODEL, *(colour for colour, _ in style.BASELINES)), 15),
        ((style.NORMAL, *style.CLASSES), 15),
    ],
    ids=["kinds of image", "run and chance", "run and other methods", "classes"],
)
def test_colours_are_told_apart(sight: str, colours: tuple[str, ...], least: float):
    """A difference of 2 is just seen; thin lines and small points need several times that."""
    for one, other in itertools.combinations(colours, 2):
        assert difference(one, other, sight) >= least, (one, other)


def test_colour_is_nowhere_the_only_difference():
    assert len({dashes for _, dashes in style.BASELINES}) == len(style.BASELINES)
    assert len(set(style.MARKERS)) == len(style.MARKERS) == len(style.CLASSES) + 1


@pytest.mark.parametrize("sight", SIGHTS)
def test_heatmaps_show_too_much_and_too_little_apart(sight: str):
    from anomalae.plots import heat

    blue, white, red = (f"#{r:02x}{g:02x}{b:02x}" for r, g, b in heat(np.array([[-1.0, 0.0, 1.0]]), 1.0)[0])
    half = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in heat(np.array([[-0.5, 0.5]]), 1.0)[0]]
    for one, other in ((blue, red), (blue, white), (white, red), tuple(half)):
        assert difference(one, other, sight) >= 25
