"""The detector's contract, one property a test."""

from __future__ import annotations

import numpy as np
import pytest

from anomalae import Detector, evaluate
from anomalae.errors import BundleError, ConfigError, ImageError
from anomalae.plugins import SCORES
from tests.conftest import SMALL

KINDS: dict[str, dict] = {
    "dense": {},
    "conv": {"architecture": "conv", "hidden": (4, 8)},
    "vae": {"model": "vae", "samples": 2},
    "ladder-vae": {"model": "ladder-vae", "samples": 2, "layers": 2},
    "adgm": {"model": "adgm", "samples": 2, "auxiliary_dim": 4},
    "ensemble": {"views": ("pixels", "deskewed", "edges")},
    "neighbours": {"views": ("normalised",), "neighbours": 3},
}
RULES = ("mse", "relative", "smooth", "sap", "nap", "elbo", "iwae", "llr-1")


@pytest.fixture(params=KINDS, scope="module")
def detector(request, digits) -> Detector:
    split = digits.one_class(normal=[0], seed=0)
    settings = {**SMALL, **KINDS[request.param]}
    return Detector(**settings).fit(split.train.images, split.validation.images, split.calibration.images)


@pytest.fixture(params=RULES)
def rule(request, detector) -> str:
    if request.param not in detector.rules:
        pytest.skip(f"{detector.settings.short} has no {request.param}")
    return request.param


class TestContract:
    def test_scores_are_float64_one_an_image_and_finite(self, detector, images, rule):
        scores = detector.score(images, rule)
        assert scores.dtype == np.float64
        assert scores.shape == (len(images),)
        assert np.isfinite(scores).all()

    def test_batch_size_order_and_neighbours_do_not_matter(self, detector, images, rule):
        scores = detector.score(images, rule)
        atol = 2e-3 if SCORES[rule].scale == "nats" else 1e-7  # single precision of some thousand nats
        np.testing.assert_allclose(detector.score(images[::-1], rule)[::-1], scores, rtol=1e-4, atol=atol)
        alone = np.concatenate([detector.score(image[None], rule) for image in images])
        np.testing.assert_allclose(alone, scores, rtol=1e-4, atol=atol)

    def test_images_are_left_as_they_were(self, detector, images, rule):
        before = images.copy()
        detector.score(images, rule)
        detector.heatmap(images, rule)
        assert np.array_equal(images, before)

    def test_saved_and_loaded_is_equal(self, detector, images, rule, tmp_path):
        detector.save(tmp_path / "run")
        loaded = Detector.load(tmp_path / "run")
        assert np.array_equal(loaded.score(images, rule), detector.score(images, rule))
        assert loaded.threshold(0.1, rule) == detector.threshold(0.1, rule)
        assert np.array_equal(loaded.p_values(images, rule), detector.p_values(images, rule))
        assert (loaded.settings, loaded.data, loaded.history) == (
            detector.settings,
            detector.data,
            detector.history,
        )

    def test_heatmap_sums_to_the_score(self, detector, images, rule):
        heat = detector.heatmap(images, rule)
        assert heat.shape == (len(images), 28, 28)
        several = detector.settings.n_networks > 1 or detector.settings.neighbours
        if several or rule != detector.heatmap_rule(rule):
            return  # no sum over pixels: see test_ensemble.py and test_vae.py
        np.testing.assert_allclose(np.abs(heat).sum((1, 2)), detector.score(images, rule), rtol=1e-9)

    def test_threshold_p_values_and_flags_agree(self, detector, images, rule):
        for alpha in (0.1, 0.2, 0.5):
            flags = detector.flags(images, alpha, rule)
            assert np.array_equal(flags, detector.p_values(images, rule) <= alpha)
            assert np.array_equal(flags, detector.score(images, rule) > detector.threshold(alpha, rule))

    def test_any_shape_and_dtype_of_the_same_images_scores_the_same(self, detector, images, rule):
        scores = detector.score(images, rule)
        floats = images / 255
        for same in (images[:, None], images.reshape(-1, 784), floats, floats.astype(np.float32)):
            np.testing.assert_allclose(detector.score(same, rule), scores, rtol=1e-5, atol=1e-8)


def test_hidden_scores_need_two_training_images(images):
    with pytest.raises(ConfigError, match="score 'nap': needs 2 training images"):
        Detector(**SMALL, score="nap").fit(images[:1], None, images)
    with pytest.raises(ConfigError, match="score 'nap'"):
        Detector(**SMALL).fit(images[:1], None, images).score(images, "nap")


def test_same_seed_same_scores_other_seed_others(digits, images):
    train = digits.one_class(normal=[0], seed=0).train.images
    one, two = (Detector(**SMALL, seed=4).fit(train).score(images) for _ in range(2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, Detector(**SMALL, seed=5).fit(train).score(images))


def test_auc_is_above_chance_on_easy_images():
    rng = np.random.default_rng(0)
    bars = np.zeros((200, 28, 28), np.uint8)
    for image in bars:
        image[:, (column := int(rng.integers(6, 20))) : column + 3] = 255
    detector = Detector(hidden=(64,), latent_dim=8, epochs=10, batch_size=16).fit(bars[:150])
    lying = bars[150:].transpose(0, 2, 1)
    scores = detector.score(np.concatenate([bars[150:], lying]))
    assert evaluate(scores, np.repeat([False, True], 50)).roc_auc > 0.95


def test_fit_with_images_alone_makes_the_split():
    images = np.random.default_rng(0).integers(0, 256, (100, 28, 28), dtype=np.uint8)
    detector = Detector(**SMALL).fit(images, conformal="split")
    data = detector.data
    assert (data.n_train, data.n_validation, data.n_calibration) == (62, 5, 33)
    assert detector.n_calibration == 33
    assert detector.threshold(0.02) is None
    assert not detector.flags(images, 0.02).any()
    with pytest.raises(ConfigError, match="calibration images are needed"):
        Detector(**SMALL).fit(images, images)


def test_reconstructions_and_embeddings(small, images):
    rebuilt = small.reconstruct(images)
    assert rebuilt.shape == images.shape
    assert ((rebuilt >= 0) & (rebuilt <= 1)).all()
    assert small.encode(images).shape == (len(images), 8)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((3, 27, 28), np.uint8),
        np.full((3, 28, 28), 256),
        np.full((3, 28, 28), 1.5),
        np.full((3, 28, 28), np.nan),
        np.full((3, 28, 28), -0.1),
        np.zeros((0, 28, 28), np.uint8),
        "images",
        None,
    ],
)
def test_unusable_images_are_refused(small, bad):
    for call in (small.score, small.fit, small.heatmap):
        with pytest.raises(ImageError):
            call(bad)


def test_passes_rebuild_the_reconstruction(digits, images):
    train = digits.one_class(normal=[0], seed=0).train.images
    once, twice = (Detector(**SMALL, views=("pixels",), passes=n).fit(train) for n in (1, 2))
    assert Detector(**SMALL).settings.passes == 1
    first = once.reconstruct(images)
    np.testing.assert_allclose(twice.reconstruct(images), (first + once.reconstruct(first)) / 2, atol=1e-6)


def test_unknown_rules_alphas_and_settings_are_refused(small, images):
    with pytest.raises(
        ConfigError, match="score 'elbo': a run of model ae has bent, worst-place, mse, relative, smooth"
    ):
        small.score(images, "elbo")
    for alpha in (0, 1, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="alpha"):
            small.flags(images, alpha)
        with pytest.raises(ConfigError, match="alpha"):
            small.threshold(alpha)
    with pytest.raises(ConfigError, match="unknown setting 'latent'"):
        Detector(latent=3)
    with pytest.raises(ConfigError, match="device 'tpu'"):
        Detector(device="tpu")
    with pytest.raises(ConfigError, match="not fitted yet"):
        Detector().score(images)
    with pytest.raises(ConfigError, match="not fitted yet"):
        Detector().save("x")


def test_fitting_again_starts_from_the_settings_given(images):
    detector = Detector(hidden=(8,), latent_dim=2).fit(images[:12], conformal="split")
    first = detector.settings
    again = detector.fit(np.concatenate([images] * 3), conformal="split")
    assert again.settings.epochs < first.epochs


def test_a_checkpoint_of_another_training_is_not_taken_up(images, tmp_path):
    def stop(state):
        raise KeyboardInterrupt

    settings = {"hidden": (8,), "latent_dim": 2, "epochs": 2}
    with pytest.raises(KeyboardInterrupt):
        Detector(**settings).fit(images[:40], folder=tmp_path, on_epoch=stop)
    for other, said in (({"seed": 5}, "seed 0 there, 5 here"), ({"members": 2}, "members 1 there, 2 here")):
        with pytest.raises(BundleError, match=f"its checkpoint is of another training: {said}"):
            Detector(**settings, **other).fit(images[:40], folder=tmp_path, resume=True)
    with pytest.raises(BundleError, match=r"other images \(n_train\)"):
        Detector(**settings).fit(images[:50], folder=tmp_path, resume=True)
    assert len(Detector(**settings).fit(images[:40], folder=tmp_path, resume=True).history) == 2
