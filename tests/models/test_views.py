"""Views leave and undo what they say, take an image at a time, and lay what they made back over the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anomalae.models.frames import SPREAD, moments
from anomalae.models.views import deskewed, edges, normalised, settled
from anomalae.plugins import VIEWS

NAMES = VIEWS.names()


def test_every_view_is_known_by_its_name():
    assert [VIEWS[name].name for name in NAMES] == list(NAMES)
    assert NAMES[:5] == ("pixels", "deskewed", "normalised", "settled", "edges")


def bar(slope: float, x: float = 13.5, y: float = 13.5) -> torch.Tensor:
    """A smooth bar 16 pixels high that leans by `slope` columns a row."""
    rows, columns = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    middle = x + slope * (rows - y)
    return (torch.exp(-((columns - middle) ** 2) / 8) * ((rows - y).abs() < 8))[None, None]


def test_deskewing_leaves_an_upright_centred_digit_alone():
    torch.testing.assert_close(deskewed(bar(0.0)), bar(0.0), atol=1e-4, rtol=0)


@pytest.mark.parametrize("slope", [-0.5, 0.2, 0.7])
def test_deskewing_undoes_a_shear_and_a_shift(slope):
    torch.testing.assert_close(deskewed(bar(slope)), bar(0.0), atol=0.05, rtol=0)
    torch.testing.assert_close(deskewed(bar(slope, 15.5, 12.5)), bar(0.0), atol=0.05, rtol=0)


def test_normalising_leaves_an_upright_digit_of_its_spread_alone():
    x = blob(4.19, 5.49)  # the soft rim adds to the spread
    assert (normalised(x) - x).abs().mean() < 0.005


@pytest.mark.parametrize(("across", "down", "x", "y"), [(3.0, 4.0, 12.5, 15.0), (4.8, 5.0, 13.5, 13.5)])
def test_normalising_undoes_a_scale_and_a_shift(across, down, x, y):
    centre, slope, *variances = moments(normalised(blob(across, down, x, y)))
    torch.testing.assert_close(centre, torch.full((1, 2), 13.5), atol=0.02, rtol=0)
    torch.testing.assert_close(slope, torch.zeros(1), atol=0.01, rtol=0)
    torch.testing.assert_close(torch.cat(variances).sqrt(), torch.tensor(SPREAD), atol=0, rtol=0.02)


def test_a_speck_does_not_move_a_settled_digit():
    specked = blob(3.5, 5.0)
    specked[..., 2:5, 1:4] = 1.0
    moved, still = (view(specked)[..., 4:24, 8:24] for view in (normalised, settled))
    clean_moved, clean_still = (view(blob(3.5, 5.0))[..., 4:24, 8:24] for view in (normalised, settled))
    assert (still - clean_still).abs().mean() < 0.25 * (moved - clean_moved).abs().mean()


def test_normalising_scales_no_further_than_it_says():
    *_, across, down = moments(normalised(blob(1.0, 1.0)))
    torch.testing.assert_close(torch.stack([across, down]).sqrt(), torch.full((2, 1), 2.0), atol=0.4, rtol=0)


def blob(across: float, down: float, x: float = 13.5, y: float = 13.5) -> torch.Tensor:
    """A rectangle, soft at its rim, of these standard deviations."""
    rows, columns = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    half_width, half_height = 3**0.5 * across, 3**0.5 * down
    inside = (half_width + 0.5 - (columns - x).abs()).clamp(0, 1)
    return (inside * (half_height + 0.5 - (rows - y).abs()).clamp(0, 1))[None, None]


def test_a_blank_image_stays_blank():
    blank = torch.zeros(1, 1, 28, 28)
    for view in map(VIEWS.__getitem__, NAMES):
        target = view.see(blank)[1]
        assert (target == 0).all()
        assert (view.back(target, blank, True) == 0).all()
        assert (view.back(target, blank, False) == 0).all()


def test_edges_are_sobels_in_four_directions():
    step = torch.zeros(1, 1, 28, 28)
    step[..., 14:] = 1.0
    right, left, below, above = edges(step)[0, :, 5:20, 5:20]
    assert right.max() == 1.0
    assert (left == 0).all()
    assert (below == 0).all()
    assert (above == 0).all()
    turned = edges(step.flip(-1).transpose(-1, -2))[0, :, 5:20, 5:20]
    assert turned[3].max() == 1.0
    assert (turned[:3] == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_views_take_an_image_at_a_time_and_stay_in_range(name, images):
    x = torch.from_numpy(images[:, None].astype(np.float32) / 255)
    maps = VIEWS[name].see(x)[1]
    assert maps.shape == (len(x), VIEWS[name].channels, 28, 28)
    assert maps.min() >= 0
    assert maps.max() <= 1 + 1e-6
    alone = torch.cat([VIEWS[name].see(one[None])[1] for one in x])
    torch.testing.assert_close(maps, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("view", [deskewed, normalised])
def test_laid_back_it_lies_over_the_image(view, images):
    x = torch.from_numpy(images[:, None].astype(np.float32) / 255)
    terms = VIEWS[view.__name__].back(view(x), x, True)
    torch.testing.assert_close(terms.sum((1, 2)), view(x).sum((1, 2, 3)), rtol=1e-4, atol=1e-4)
    picture = VIEWS[view.__name__].back(view(x), x, False)
    torch.testing.assert_close(picture.sum((1, 2)), x.sum((1, 2, 3)), rtol=0.1, atol=0)
    assert (picture - x[:, 0]).square().mean() < 0.25 * (view(x) - x).square().mean()
