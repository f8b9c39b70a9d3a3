"""Neighbours are those that a plain search finds; alone and beside networks, their scores and heatmaps hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anomalae import Detector
from anomalae.detectors.neighbours import DISTANCES, Neighbours
from anomalae.errors import ConfigError
from anomalae.models.bent import bent, terms
from anomalae.models.views import settled
from tests.conftest import SMALL
from tests.detectors.ensembles import NEAR, apart_by, fitted, networks_of, tensor


def test_neighbours_are_found_as_a_plain_search_finds_them(split, images):
    """The distance written out in NumPy, every pair, pixel, shift and patch; candidates are all images here."""
    some, x = tensor(split.train.images[:12]), tensor(images[:3])
    found = Neighbours.fit(some, 4)
    np.testing.assert_allclose(
        found.score(x, ("smooth",))["smooth"].numpy(), by_hand(x, found.kept, 4), rtol=1e-4
    )


def by_hand(x: torch.Tensor, kept: np.ndarray, count: int) -> list[float]:
    def maps(image):
        one = sobel_maps(image)
        return np.pad(one / np.sqrt((one**2).sum()), ((0, 0), (4, 4), (4, 4)))

    def patch(a, row, column):
        return a[:, row + 3 : row + 6, column + 3 : column + 6]

    def one_way(a, b):
        total = 0.0
        for row in range(28):
            for column in range(28):
                total += min(
                    ((patch(a, row, column) - patch(b, row + i, column + j)) ** 2).sum() / 9
                    for i in (-1, 0, 1)
                    for j in (-1, 0, 1)
                )
        return total

    scores = []
    for seen in settled(x)[:, 0].numpy():
        a = maps(seen)
        apart = sorted(one_way(a, maps(k / 255)) + one_way(maps(k / 255), a) for k in kept)
        scores.append(float(np.mean(apart[:count])))
    return scores


def sobel_maps(image: np.ndarray) -> np.ndarray:
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4
    padded = np.pad(image, 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    return np.stack([(windows * k).sum((2, 3)) for k in (kernel, kernel.T)])


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_distance_is_made_of_the_terms(split, images, distance):
    """Candidates are all images here; the terms are torch's."""
    some, x = tensor(split.train.images[:12]), tensor(images[:5])
    found = Neighbours.fit(some, 4, distance=distance)
    likely = torch.arange(12).expand(5, -1)
    apart = terms(settled(x), torch.from_numpy(found.kept), likely).double().numpy()
    expected = {"sum": apart.mean((2, 3)), "rms": np.sqrt((apart**2).mean((2, 3)))}
    of_nearest = np.sort(expected[distance] * 784, 1)[:, :4].mean(1)
    np.testing.assert_allclose(found.score(x, ("mse",))["mse"].numpy(), of_nearest, rtol=1e-5)
    torch.testing.assert_close(found.terms("mse", x).abs().sum((1, 2)), found.score(x, ("mse",))["mse"])
    assert found.score(torch.zeros(1, 1, 28, 28), ("mse",))["mse"] == DISTANCES[distance].blank


def test_a_distance_that_is_none_is_named():
    with pytest.raises(ConfigError, match=r"distance 'far': must be one of sum, rms"):
        Neighbours(np.zeros((1, 28, 28), np.uint8), 1, distance="far")


def test_among_many_neighbours_are_searched_in_parts(split, images, monkeypatch):
    """Parts in which images are searched are no more than a matter of memory."""
    some, x = tensor(split.train.images), tensor(images)
    whole = Neighbours.fit(some, 3)
    scores, own = whole.score(x, ("mse",))["mse"], whole.score_training([], ("mse",))["mse"]
    monkeypatch.setattr("anomalae.detectors.neighbours.AMONG", 7)
    parts = Neighbours.fit(some, 3)
    torch.testing.assert_close(parts.score(x, ("mse",))["mse"], scores, rtol=1e-6, atol=0)
    torch.testing.assert_close(parts.score_training([], ("mse",))["mse"], own, rtol=1e-6, atol=0)


def test_an_image_that_was_kept_is_its_own_nearest(split):
    kept = Neighbours.fit(tensor(split.train.images), 1)
    own = kept.score(torch.from_numpy(kept.kept[:, None]) / 255, ("mse",))["mse"]
    assert kept.score(tensor(split.train.images), ("mse",))["mse"].median() < 0.01
    assert own.min() >= 0
    assert kept.score_training([], ("mse",))["mse"].min() > 0.01


def test_none_of_few_training_images_is_its_own_neighbour(split):
    for n in (2, 5, 19):
        kept = Neighbours.fit(tensor(split.train.images[:n]), 5)
        assert kept.score_training([], ("mse",))["mse"].min() > 0.01
    assert (
        Neighbours.fit(tensor(split.train.images[:1]), 5).score_training([], ("mse",))["mse"]
        == DISTANCES["sum"].blank
    )


def test_a_bend_of_a_pixel_costs_little():
    shift = torch.zeros(1, 2, 28, 28)
    shift[0, :, 8:20, 8:20] = torch.rand(2, 12, 12)
    moved = shift.roll((1, -1), (2, 3))
    assert bent(shift, moved).sum() == pytest.approx(0.0, abs=1e-9)
    assert bent(shift, shift.roll(3, 3)).sum() > 1


def test_a_blank_image_has_no_neighbours(near):
    blank = np.zeros((1, 28, 28), np.uint8)
    assert near.score_members(blank)["smooth"]["neighbours"] == DISTANCES["rms"].blank
    assert near.score(blank) > near.calibration_scores().max()


@pytest.mark.parametrize(("distance", "share"), [("rms", 2 / 3), ("sum", 1 / 2)])
def test_neighbours_count_twice_as_much_as_all_networks_and_as_much_once(split, images, distance, share):
    near = fitted(split, **NEAR, distance=distance)
    apart = apart_by(near, images, "smooth")
    mean, spread = near._ensemble.standards["smooth"].T
    z = (np.log(apart) - mean[:, None]) / spread[:, None]
    np.testing.assert_allclose(near.score(images, "smooth"), (z[0] + z[1]) * (1 - share) / 2 + z[2] * share)
    members_ = near.score_members(images)
    assert list(members_["smooth"]) == ["normalised", "edges", "neighbours"]
    np.testing.assert_array_equal(near.combine(members_)["smooth"], near.score(images, "smooth"))
    np.testing.assert_allclose(near.combine(networks_of(near, members_))["smooth"], (z[0] + z[1]) / 2)


def test_the_networks_beside_neighbours_are_those_without(split, near, images):
    alone = fitted(split, **{**NEAR, "neighbours": 0})
    np.testing.assert_array_equal(
        alone.score(images, "smooth"),
        near.combine(networks_of(near, near.score_members(images)))["smooth"],
    )


def test_scores_by_neighbours_do_not_hang_on_the_batch(near, images):
    alone = np.concatenate([near.score(one[None]) for one in images[:8]])
    np.testing.assert_allclose(near.score(images)[:8], alone, rtol=1e-4, atol=1e-4)


def test_heatmaps_and_pictures_of_neighbours_lie_over_the_image(near, images):
    x = tensor(images)
    terms = near._ensemble.members[-1].terms("smooth", x)
    scores = near._ensemble.members[-1].score(x, ("smooth",))["smooth"]
    torch.testing.assert_close(terms.abs().sum((1, 2)), scores, rtol=1e-5, atol=1e-9)
    picture = near._ensemble.members[-1].picture(x)
    assert picture.shape == images.shape
    assert ((picture >= 0) & (picture <= 1)).all()


def test_neighbours_stand_beside_a_single_network_and_a_vae(split, images):
    single = fitted(split, **SMALL, neighbours=3)
    assert single.heatmap(images).shape == images.shape
    assert single.heatmap_level() > 0
    assert set(single.combine(networks_of(single, single.score_members(images)))) == set(single.rules)
    vae = fitted(split, **SMALL, model="vae", samples=2, neighbours=3)
    apart = vae.score_members(images)
    np.testing.assert_allclose(apart["elbo"]["neighbours"], np.log(apart["smooth"]["neighbours"]))


def test_without_validation_images_a_training_image_is_no_neighbour_of_its_own(split):
    detector = Detector(**NEAR).fit(split.train.images, None, split.calibration.images)
    usual = np.exp(detector._ensemble.standards["smooth"][-1, 0])
    held_out = detector.score_members(split.validation.images)["smooth"]["neighbours"]
    assert 0.5 * usual < np.median(held_out) < 2 * usual


def test_fewer_training_images_than_neighbours_are_all_taken(images):
    few = Neighbours.fit(tensor(images[:2]), 5)
    assert few.count == 2
    assert few.score(tensor(images), ("smooth",))["smooth"].shape == (len(images),)
    with pytest.raises(ConfigError, match="n at least 1"):
        Neighbours(np.zeros((0, 28, 28), np.uint8), 5)
