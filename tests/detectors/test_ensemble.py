"""Ensembles: one member scores as itself, several as the mean of their standardised log scores; saving and resuming
are exact; views leave and undo what they say; heatmaps lie over the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anomalae import Detector, files
from anomalae.detectors import ensemble as members
from anomalae.detectors.member import NetworkMember
from anomalae.detectors.neighbours import BLANK, Neighbours, bent
from anomalae.errors import BundleError, ConfigError
from anomalae.models import networks
from anomalae.models.frames import SPREAD, moments
from anomalae.models.views import deskewed, edges, normalised, settled
from anomalae.plugins import VIEWS
from anomalae.runs.record import read_checkpoint
from anomalae.settings import Settings
from tests.conftest import SMALL

NAMES = VIEWS.names()
THREE = {**SMALL, "views": NAMES, "seed": 3}  # one network a view
NEAR = {**SMALL, "views": ("normalised", "edges"), "neighbours": 5, "seed": 3}


@pytest.fixture(scope="module")
def split(digits):
    return digits.one_class(normal=[0], seed=0)


def apart_by(detector: Detector, images: np.ndarray, rule: str) -> np.ndarray:
    """Scores of each member, (M, N)."""
    return np.stack(list(detector.score_members(images)[rule].values()))


def networks_of(detector: Detector, by_member: dict) -> dict:
    """The scores of the networks alone."""
    return {rule: {n: scores[n] for n in detector.network_names} for rule, scores in by_member.items()}


def fitted(split, **settings) -> Detector:
    return Detector(**settings).fit(split.train.images, split.validation.images, split.calibration.images)


@pytest.fixture(scope="module")
def three(split) -> Detector:
    return fitted(split, **THREE)


# --- views --------------------------------------------------------------------------------------------------------


def test_every_view_is_known_by_its_name():
    assert [view.name for view in VIEWS] == list(NAMES) == ["pixels", "deskewed", "normalised", "edges"]


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
    for view in VIEWS:
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


# --- ensembles ----------------------------------------------------------------------------------------------------


def test_each_network_has_a_view_and_a_seed_of_its_own():
    found = networks(Settings(views=("pixels", "edges"), members=2, seed=5))
    assert [one.view for one in found] == ["pixels", "pixels", "edges", "edges"]
    assert found[0].seed == 5
    assert len({one.seed for one in found}) == 4
    assert [one.seed for one in networks(Settings(members=3, seed=5))][1] == found[1].seed


def test_one_member_scores_as_its_network(split, images, three):
    alone = fitted(split, **SMALL, seed=3)
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


def test_densities_are_averaged_in_nats():
    scores = np.array([[-3.0, 1.0], [5.0, 9.0]])
    two = [NetworkMember(name, 0.5, Settings().network("pixels"), None) for name in ("a", "b")]
    ensemble = members.Ensemble(two)
    ensemble.standardise_by({"elbo": scores})
    np.testing.assert_allclose(ensemble.combine("elbo", scores), [-1.0, 1.0])


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


# --- neighbours ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def near(split) -> Detector:
    return fitted(split, **NEAR)


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


def tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images[:, None].astype(np.float32) / 255)


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
    assert Neighbours.fit(tensor(split.train.images[:1]), 5).score_training([], ("mse",))["mse"] == BLANK


def test_a_bend_of_a_pixel_costs_little():
    shift = torch.zeros(1, 2, 28, 28)
    shift[0, :, 8:20, 8:20] = torch.rand(2, 12, 12)
    moved = shift.roll((1, -1), (2, 3))
    assert bent(shift, moved).sum() == pytest.approx(0.0, abs=1e-9)
    assert bent(shift, shift.roll(3, 3)).sum() > 1


def test_a_blank_image_has_no_neighbours(near):
    blank = np.zeros((1, 28, 28), np.uint8)
    assert near.score_members(blank)["smooth"]["neighbours"] == BLANK
    assert near.score(blank) > near.calibration_scores().max()


def test_neighbours_count_as_much_as_all_networks(near, images):
    apart = apart_by(near, images, "smooth")
    mean, spread = near._ensemble.standards["smooth"].T
    z = (np.log(apart) - mean[:, None]) / spread[:, None]
    np.testing.assert_allclose(near.score(images), (z[0] + z[1]) / 4 + z[2] / 2)
    members_ = near.score_members(images)
    assert list(members_["smooth"]) == ["normalised", "edges", "neighbours"]
    np.testing.assert_array_equal(near.combine(members_)["smooth"], near.score(images))
    np.testing.assert_allclose(near.combine(networks_of(near, members_))["smooth"], (z[0] + z[1]) / 2)


def test_members_are_combined_by_name_and_none_may_miss(near, images):
    apart = near.score_members(images)
    turned = {rule: dict(reversed(list(scores.items()))) for rule, scores in apart.items()}
    np.testing.assert_array_equal(near.combine(turned)["smooth"], near.score(images))
    with pytest.raises(ConfigError, match="must be normalised, edges, neighbours"):
        near.combine({"smooth": {"edges": apart["smooth"]["edges"]}})


def test_standards_of_no_spread_are_refused(tmp_path, near):
    near.save(tmp_path / "run")
    path = tmp_path / "run" / "calibration.safetensors"
    arrays, _ = files.read_arrays(path)
    arrays["standard.smooth"] = arrays["standard.smooth"] * [1, -1]
    files.write_arrays(path, arrays)
    with pytest.raises(BundleError, match=r"standard\.smooth.*above 0"):
        Detector.load(tmp_path / "run")


def test_what_nap_learned_must_fit(tmp_path, small):
    def broken(change):
        small.save(tmp_path / "run")
        path = tmp_path / "run" / "pathway.safetensors"
        files.write_arrays(path, change(files.read_arrays(path)[0]))
        with pytest.raises(BundleError, match=r"pathway\.safetensors"):
            Detector.load(tmp_path / "run")

    broken(lambda arrays: {name: array.astype(np.float64) for name, array in arrays.items()})
    broken(lambda arrays: {name: array[:5] for name, array in arrays.items()})
    broken(lambda arrays: {**arrays, "more": arrays["0.mean"]})
    small.save(tmp_path / "run")
    (tmp_path / "run" / "pathway.safetensors").unlink()
    with pytest.raises(BundleError, match=r"pathway\.safetensors: no such file"):
        Detector.load(tmp_path / "run")


def test_the_networks_beside_neighbours_are_those_without(split, near, images):
    alone = fitted(split, **{**NEAR, "neighbours": 0})
    np.testing.assert_array_equal(
        alone.score(images), near.combine(networks_of(near, near.score_members(images)))["smooth"]
    )


def test_saved_and_loaded_neighbours_score_the_same(tmp_path, near, images):
    near.save(tmp_path / "run")
    again = Detector.load(tmp_path / "run")
    np.testing.assert_array_equal(near.score(images), again.score(images))
    np.testing.assert_array_equal(near.heatmap(images), again.heatmap(images))
    (tmp_path / "run" / "neighbours.safetensors").unlink()
    with pytest.raises(BundleError, match=r"neighbours\.safetensors: no such file"):
        Detector.load(tmp_path / "run")


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


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"views": ("pixels", "sideways")},
            "view 'sideways': must be one of pixels, deskewed, normalised, edges",
        ),
        ({"views": ("edges", "edges")}, "view 'edges': named twice"),
        ({"views": ()}, "at least one"),
        ({"views": "pixels"}, "views 'pixels': must be several names"),
        ({"views": 3}, "views 3: must be several names"),
        ({"members": 0}, "members 0: must be at least 1"),
        ({"neighbours": -1}, "neighbours -1: must be at least 0"),
    ],
)
def test_wrong_settings_are_named(given, said):
    with pytest.raises(ConfigError, match=said):
        Settings(**given)
