"""Ensembles: one member scores as itself, several as the mean of their standardised log scores; resuming is exact;
heatmaps lie over the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anomalae import Detector
from anomalae.detectors import ensemble as members
from anomalae.detectors.member import NetworkMember
from anomalae.errors import ConfigError
from anomalae.models import networks
from anomalae.runs.record import read_checkpoint
from anomalae.settings import Settings
from tests.conftest import SMALL
from tests.detectors.ensembles import THREE, apart_by, fitted, tensor


def test_each_network_has_a_view_and_a_seed_of_its_own():
    found = networks(Settings(views=("pixels", "edges"), members=2, seed=5))
    assert [one.view for one in found] == ["pixels", "pixels", "edges", "edges"]
    assert found[0].seed == 5
    assert len({one.seed for one in found}) == 4
    assert [one.seed for one in networks(Settings(members=3, seed=5))][1] == found[1].seed


def test_one_member_scores_as_its_network(split, images, three):
    alone = fitted(split, **{**SMALL, "views": ("pixels",)}, seed=3)
    first = three._ensemble.first.score(tensor(images), three.rules)
    for rule in three.rules:
        np.testing.assert_array_equal(first[rule].numpy(), alone.score(images, rule))


def test_the_score_is_the_mean_of_standardised_logs(split, images, three):
    for rule in three.rules:
        apart = apart_by(three, images, rule)
        held_out = np.log(apart_by(three, split.validation.images, rule))
        expected = np.mean(
            [(np.log(s) - v.mean()) / v.std() for s, v in zip(apart, held_out, strict=True)], axis=0
        )
        np.testing.assert_allclose(three.score(images, rule), expected, rtol=1e-9)


def test_neighbours_weigh_as_their_distance_says_and_networks_share_the_rest(split, images, near):
    of_neighbours = {"sum": 1 / 2, "rms": 2 / 3}[near.settings.distance]
    weights = [(1 - of_neighbours) / 2] * 2 + [of_neighbours]
    rule = near.settings.rule
    held_out = np.log(apart_by(near, split.validation.images, rule))
    standardised = [
        (np.log(s) - v.mean()) / v.std() for s, v in zip(apart_by(near, images, rule), held_out, strict=True)
    ]
    np.testing.assert_allclose(
        near.score(images), np.average(standardised, axis=0, weights=weights), rtol=1e-9
    )


def test_densities_are_averaged_in_nats():
    scores = np.array([[-3.0, 1.0], [5.0, 9.0]])
    two = [NetworkMember(name, 0.5, Settings().network("pixels"), None) for name in ("a", "b")]
    ensemble = members.Ensemble(two)
    ensemble.standardise_by({"elbo": scores})
    np.testing.assert_allclose(ensemble.combine("elbo", scores), [-1.0, 1.0])


def test_resumed_it_is_bit_for_bit_the_same(tmp_path, split, images, three):
    def stop(state):
        if state.epoch == 1:
            raise KeyboardInterrupt

    parts = (split.train.images, split.validation.images, split.calibration.images)
    with pytest.raises(KeyboardInterrupt):
        Detector(**THREE).fit(*parts, folder=tmp_path, on_epoch=stop)
    assert len(read_checkpoint(tmp_path)[1]) == 1
    resumed = Detector(**THREE).fit(*parts, folder=tmp_path, resume=True)
    np.testing.assert_array_equal(resumed.score(images), three.score(images))


def test_heatmaps_of_an_ensemble_lie_over_the_image(images, three):
    heat = three.heatmap(images, "smooth")
    assert heat.shape == images.shape
    apart = apart_by(three, images, "smooth")
    usual = np.exp(three._ensemble.standards["smooth"][:, 0])
    assert (np.abs(heat).sum((1, 2)) <= (apart / usual[:, None]).mean(0) * (1 + 1e-6)).all()
    for member in three._ensemble.members:
        terms = member.terms("smooth", tensor(images))
        scores = member.score(tensor(images), ("smooth",))["smooth"]
        torch.testing.assert_close(terms.abs().sum((1, 2)), scores, rtol=1e-6, atol=1e-9)
    assert three.heatmap_level() > 0


def test_an_ensemble_of_vaes_is_scored_by_its_density(split, images):
    detector = fitted(split, **{**THREE, "model": "vae", "samples": 2})
    scores = detector.score_all(images)
    assert set(scores) == set(detector.rules)
    assert all(np.isfinite(values).all() for values in scores.values())
    assert detector.generate(3).shape == (3, 28, 28)


def test_without_validation_images_training_images_standardise(split, images):
    detector = Detector(**THREE).fit(split.train.images, None, split.calibration.images)
    apart = np.log(apart_by(detector, split.train.images, "mse"))
    np.testing.assert_allclose(detector._ensemble.standards["mse"][:, 0], apart.mean(1))


@pytest.mark.parametrize("name", ["deskewed", "normalised", "edges"])
def test_a_single_view_other_than_pixels_works_throughout(name, split, images):
    detector = fitted(split, **{**SMALL, "views": (name,)})
    assert detector.reconstruct(images).shape == images.shape
    assert detector.decode(detector.encode(images)).shape == images.shape
    assert ((detector.reconstruct(images) >= 0) & (detector.reconstruct(images) <= 1)).all()


def test_members_are_combined_by_name_and_none_may_miss(near, images):
    apart = near.score_members(images)
    turned = {rule: dict(reversed(list(scores.items()))) for rule, scores in apart.items()}
    np.testing.assert_array_equal(near.combine(turned)["smooth"], near.score(images, "smooth"))
    with pytest.raises(ConfigError, match="must be normalised, edges, neighbours"):
        near.combine({"smooth": {"edges": apart["smooth"]["edges"]}})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"views": ("pixels", "sideways")},
            "view 'sideways': must be one of pixels, deskewed, normalised, settled, edges",
        ),
        ({"views": ("edges", "edges")}, "view 'edges': named twice"),
        ({"views": ()}, "at least one"),
        ({"views": "pixels"}, "views 'pixels': must be several names"),
        ({"views": 3}, "views 3: must be several names"),
        ({"members": 0}, "members 0: must be from 1 to 100"),
        ({"neighbours": -1}, "neighbours -1: must be from 0 to 1000000"),
    ],
)
def test_wrong_settings_are_named(given, said):
    with pytest.raises(ConfigError, match=said):
        Settings(**given)
