"""What a likelihood loses against a perfect reconstruction is a sum over pixels, and that is what heatmaps show."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anomalae import Detector, Kind, register_model
from anomalae.models.likelihoods import LIKELIHOODS
from anomalae.models.vae import VariationalAutoencoder, densities
from anomalae.network_kinds import MODELS
from tests.conftest import SMALL

SHAPES: dict[str, dict] = {
    "vae": {"model": "vae"},
    "ladder-vae": {"model": "ladder-vae", "layers": 2},
    "adgm": {"model": "adgm", "auxiliary_dim": 4},
    "edges": {"model": "vae", "views": ("edges",)},
    "normalised": {"model": "vae", "views": ("normalised",)},
}


def fitted(digits, **settings) -> Detector:
    split = digits.one_class(normal=[0], seed=0)
    parts = (split.train.images, split.validation.images, split.calibration.images)
    return Detector(**{**SMALL, "samples": 3, **settings}).fit(*parts)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_terms_are_what_the_best_has_more(name: str, channels: int):
    """By the density itself: of images with and without ink, of one and of several maps."""
    likelihood = LIKELIHOODS[name](channels).double()
    source = torch.Generator().manual_seed(0)
    x = torch.rand(6, channels * 784, generator=source, dtype=torch.float64).mul(2).sub(1).clamp_min(0)
    x[0] = 0
    logits = torch.randn(6, channels * 784, generator=source, dtype=torch.float64)
    with torch.no_grad():
        lost = likelihood.best(x) - likelihood(x, logits)
        terms = likelihood.terms(x, logits)
    torch.testing.assert_close(terms.abs().sum(-1), lost, rtol=1e-10, atol=1e-9)
    assert (lost > 0).all()
    with torch.no_grad():
        perfect = torch.logit(x[1:].clamp(1e-9, 1 - 1e-9))
        torch.testing.assert_close(likelihood(x[1:], perfect), likelihood.best(x[1:]), rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_terms_are_positive_where_ink_is_too_much(name: str):
    likelihood = LIKELIHOODS[name]()
    x, y = torch.zeros(2, 28, 28)
    x[4:9, 4:9] = y[18:23, 18:23] = 0.9
    both = x[12:16, 12:16] = y[12:16, 12:16] = 0.9
    assert both
    with torch.no_grad():
        terms = likelihood.terms(x.flatten(), torch.logit(y.clamp(0.01, 0.99)).flatten()).reshape(28, 28)
    assert terms[4:9, 4:9].min() > 0
    assert terms[18:23, 18:23].max() < 0
    assert terms[4:9, 4:9].sum() > 10 * terms[12:16, 12:16].abs().sum()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_heatmap_sums_to_the_reconstruction_s_share_of_the_elbo(shape, likelihood, digits, images):
    detector = fitted(digits, likelihood=likelihood, **SHAPES[shape])
    scores = detector.score_all(images)
    heat = detector.heatmap(images)
    assert heat.shape == images.shape
    left = scores["elbo"] - scores["kl"] - np.abs(heat).sum((1, 2))
    if likelihood == "bernoulli":
        # What gray pixels cost whatever the network does.
        expected = scores["elbo"] - scores["elbo-excess"]
    else:
        expected = np.full(len(images), left.mean())
    np.testing.assert_allclose(left, expected, atol=2e-3 + 2e-6 * np.abs(scores["elbo"]).max())
    for rule in ("iwae", "reconstruction-probability"):
        np.testing.assert_array_equal(detector.heatmap(images, rule), heat)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_level_is_that_of_an_image_at_the_threshold(likelihood, digits):
    """Of calibration images about the asked share has a heatmap that sums to more."""
    detector = fitted(digits, likelihood=likelihood, model="vae")
    held_out = digits.one_class(normal=[0], seed=0).calibration.images
    sums = np.abs(detector.heatmap(held_out)).sum((1, 2))
    for alpha in (0.1, 0.3, 0.5):
        share = float((sums > detector.heatmap_level(alpha)).mean())
        assert share == pytest.approx(alpha, abs=0.12)


@pytest.mark.parametrize("likelihood", ["smooth-direction", "bernoulli"])
def test_an_ensemble_s_usual_image_sums_to_about_1(likelihood, digits):
    split = digits.one_class(normal=[0], seed=0)
    detector = fitted(digits, model="vae", likelihood=likelihood, views=("pixels", "edges"), neighbours=3)
    assert detector.heatmap_rule() == "reconstruction-probability"
    sums = np.abs(detector.heatmap(split.calibration.images)).sum((1, 2))
    # Terms of different sign from different members cancel, so somewhat less.
    assert 0.5 < np.median(sums) < 1.2
    level = detector.heatmap_level(0.1)
    assert 1 < level < 3
    assert (sums > level).mean() < 0.2
    assert detector.heatmap_note().startswith("mean over the members")


def test_what_stands_in_is_said(digits, images):
    detector = fitted(digits, model="ladder-vae", layers=2)
    assert detector.heatmap_rule("elbo") == "reconstruction-probability"
    assert "the KL term of elbo lies in no pixel" in detector.heatmap_note("elbo")
    assert "iwae itself is no sum over pixels" in detector.heatmap_note("iwae")
    assert detector.heatmap_note("mse") == "terms of mse, whose absolute values sum to the score"
    for rule in ("kl", "llr-1", "sap"):
        assert detector.heatmap_rule(rule) == "smooth"
        assert detector.heatmap_note(rule) == f"terms of smooth, for {rule} is no sum over pixels"
        np.testing.assert_array_equal(detector.heatmap(images, rule), detector.heatmap(images, "smooth"))


class Closed(VariationalAutoencoder):
    """A density of one's own that has what the contract asks for, and does not show what its likelihood is given."""

    @property
    def drawn_logits(self):  # type: ignore[override]
        raise AttributeError


def test_a_network_that_does_not_show_its_mean_has_heatmaps_of_smooth(digits, images, monkeypatch):
    monkeypatch.setattr(MODELS, "_own", {})
    kind = Kind(
        "closed-vae",
        "closed variational autoencoder",
        lambda settings, channels: Closed(latent_dim=settings.latent_dim, **densities(settings, channels)),
        score="elbo",
        density=True,
        own=MODELS["vae"].own,
    )
    register_model(kind)
    detector = fitted(digits, model="closed-vae")
    assert detector.heatmap_rule() == "smooth"
    assert detector.heatmap_note() == "terms of smooth, for elbo is no sum over pixels"
    np.testing.assert_array_equal(detector.heatmap(images), detector.heatmap(images, "smooth"))
