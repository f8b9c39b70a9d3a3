"""Ensembles: one member scores as itself, several as the mean of their standardised log scores; saving and resuming
are exact; views leave and undo what they say; heatmaps lie over the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anomalae import Detector, members
from anomalae.config import VIEWS as NAMES
from anomalae.config import Settings
from anomalae.errors import ConfigError
from anomalae.models import networks
from anomalae.record import read_checkpoint
from anomalae.views import VIEWS, deskewed, edges
from tests.conftest import SMALL

THREE = {**SMALL, "views": NAMES, "seed": 3}


@pytest.fixture(scope="module")
def split(digits):
    return digits.one_class(normal=[0], seed=0)


def fitted(split, **settings) -> Detector:
    return Detector(**settings).fit(split.train.images, split.validation.images, split.calibration.images)


@pytest.fixture(scope="module")
def three(split) -> Detector:
    return fitted(split, **THREE)


# --- views --------------------------------------------------------------------------------------------------------


def test_every_view_has_a_name_in_the_settings():
    assert tuple(VIEWS) == NAMES


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


def test_a_blank_image_stays_blank():
    blank = torch.zeros(1, 1, 28, 28)
    for view in VIEWS.values():
        assert (view.target(blank) == 0).all()
        assert (view.back(view.target(blank), blank) == 0).all()


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
    maps = VIEWS[name].target(x)
    assert maps.shape == (len(x), VIEWS[name].channels, 28, 28)
    assert maps.min() >= 0
    assert maps.max() <= 1 + 1e-6
    alone = torch.cat([VIEWS[name].target(one[None]) for one in x])
    torch.testing.assert_close(maps, alone, atol=1e-5, rtol=0)


def test_shearing_back_lies_over_the_image(images):
    x = torch.from_numpy(images[:, None].astype(np.float32) / 255)
    back = VIEWS["deskewed"].back(deskewed(x), x)
    torch.testing.assert_close(back.sum((1, 2)), deskewed(x).sum((1, 2, 3)), rtol=1e-4, atol=1e-4)
    assert (back - x[:, 0]).square().mean() < 0.25 * (deskewed(x) - x).square().mean()


# --- ensembles ----------------------------------------------------------------------------------------------------


def test_each_network_has_a_view_and_a_seed_of_its_own():
    found = networks(Settings(views=("pixels", "edges"), members=2, seed=5))
    assert [one.views for one in found] == [("pixels",), ("pixels",), ("edges",), ("edges",)]
    assert found[0].seed == 5
    assert len({one.seed for one in found}) == 4
    assert [one.seed for one in networks(Settings(members=3, seed=5))][1] == found[1].seed


def test_one_member_scores_as_its_network(split, images, three):
    alone = fitted(split, **SMALL, seed=3)
    first = three._members[0].scores(three._batches(images)[0], three.rules)
    for rule in three.rules:
        np.testing.assert_array_equal(first[rule].numpy(), alone.score(images, rule))


def test_the_score_is_the_mean_of_standardised_logs(split, images, three):
    for rule in three.rules:
        apart = three._apart(images, (rule,))[rule]
        held_out = np.log(three._apart(split.validation.images, (rule,))[rule])
        expected = np.mean(
            [(np.log(s) - v.mean()) / v.std() for s, v in zip(apart, held_out, strict=True)], axis=0
        )
        np.testing.assert_allclose(three.score(images, rule), expected, rtol=1e-9)


def test_densities_are_averaged_in_nats():
    scores = np.array([[-3.0, 1.0], [5.0, 9.0]])
    standards = members.standard("elbo", scores)
    np.testing.assert_allclose(members.combine("elbo", scores, standards), [-1.0, 1.0])


def test_saved_and_loaded_it_scores_the_same(tmp_path, images, three):
    three.save(tmp_path / "run")
    again = Detector.load(tmp_path / "run")
    for rule, scores in three.score_all(images).items():
        np.testing.assert_array_equal(scores, again.score(images, rule))
        np.testing.assert_array_equal(three.calibration_scores(rule), again.calibration_scores(rule))
    assert again.settings == three.settings
    np.testing.assert_array_equal(three.heatmap(images), again.heatmap(images))


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
    heat = three.heatmap(images)
    assert heat.shape == images.shape
    apart = three._apart(images, ("smooth",))["smooth"]
    usual = np.exp(three._standards["smooth"][:, 0])
    assert (np.abs(heat).sum((1, 2)) <= (apart / usual[:, None]).mean(0) * (1 + 1e-6)).all()
    for member in three._members:
        terms = member.terms("smooth", three._batches(images)[0])
        scores = member.scores(three._batches(images)[0], ("smooth",))["smooth"]
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
    apart = np.log(detector._apart(split.train.images, ("mse",))["mse"])
    np.testing.assert_allclose(detector._standards["mse"][:, 0], apart.mean(1))


@pytest.mark.parametrize("name", ["deskewed", "edges"])
def test_a_single_view_other_than_pixels_works_throughout(name, split, images):
    detector = fitted(split, **{**SMALL, "views": (name,)})
    assert detector.reconstruct(images).shape == images.shape
    assert detector.decode(detector.encode(images)).shape == images.shape
    assert ((detector.reconstruct(images) >= 0) & (detector.reconstruct(images) <= 1)).all()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"views": ("pixels", "sideways")}, "view 'sideways': must be one of pixels, deskewed, edges"),
        ({"views": ("edges", "edges")}, "view 'edges': named twice"),
        ({"views": ()}, "at least one"),
        ({"members": 0}, "members 0: must be at least 1"),
    ],
)
def test_wrong_settings_are_named(given, said):
    with pytest.raises(ConfigError, match=said):
        Settings(**given)
