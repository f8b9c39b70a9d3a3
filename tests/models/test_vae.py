"""The VAE is right, not only running: densities, KL and bounds against independent answers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.distributions import Normal, kl_divergence

from anomalae.models import VariationalAutoencoder, build
from anomalae.models import likelihoods as lik
from anomalae.models.blur import SmoothMetric
from anomalae.models.gaussians import kl_to_standard
from anomalae.network_kinds import LIKELIHOODS
from anomalae.settings import Settings
from tests.models.densities import density_scores

D = 784


def tiny(
    likelihood: str = "gaussian", latent_dim: int = 1, samples: int = 64, seed: int = 0
) -> VariationalAutoencoder:
    model = build(
        Settings.of(
            model="vae",
            likelihood=likelihood,
            latent_dim=latent_dim,
            hidden=(16,),
            samples=samples,
            seed=seed,
        ).network("pixels")
    )
    assert isinstance(model, VariationalAutoencoder)
    return model.double()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_kl_equals_torch_distributions():
    mean, log_variance = torch.randn(2, 6, 4, dtype=torch.float64)
    q = Normal(mean, torch.exp(log_variance / 2))
    expected = kl_divergence(q, Normal(torch.zeros_like(mean), torch.ones_like(mean))).sum(1)
    torch.testing.assert_close(kl_to_standard(mean, log_variance), expected)


# --- likelihoods ------------------------------------------------------------------------------------------------


def pair(d: int = D) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(1)
    x = torch.rand(3, d, generator=source, dtype=torch.float64)
    return x, torch.randn(3, d, generator=source, dtype=torch.float64)


def test_bernoulli_equals_scipy_and_sums_to_one():
    x, logits = pair()
    x = x.round()
    expected = stats.bernoulli.logpmf(x.numpy(), torch.sigmoid(logits).numpy()).sum(1)
    np.testing.assert_allclose(lik.Bernoulli()(x, logits).numpy(), expected)
    corners = torch.tensor(list(itertools.product([0.0, 1.0], repeat=5)), dtype=torch.float64)
    total = lik.Bernoulli()(corners, torch.randn(5, dtype=torch.float64)).exp().sum()
    assert total.item() == pytest.approx(1)


def test_bernoullis_best_is_no_worse_than_any_other():
    x, _ = pair()
    at_itself = lik.Bernoulli()(x, torch.logit(x))
    torch.testing.assert_close(lik.Bernoulli.best(x), at_itself)
    assert lik.Bernoulli.best(torch.zeros(1, D)).item() == 0


def test_gaussian_equals_scipy():
    x, logits = pair()
    module = lik.Gaussian()
    sigma = module.log_sigma.exp().item()
    expected = stats.norm.logpdf(x.numpy(), torch.sigmoid(logits).numpy(), sigma).sum(1)
    np.testing.assert_allclose(module(x, logits).detach().numpy(), expected, rtol=1e-6)


def dense_metric(height: int, width: int, sigma: float, cut: int, eps: float) -> np.ndarray:
    """M = B'B + eps I by loops over pixels."""
    weight = {d: math.exp(-(d**2) / (2 * sigma**2)) for d in range(-cut, cut + 1)}
    total = sum(weight.values())
    places = list(itertools.product(range(height), range(width)))
    blur = np.array(
        [[weight.get(a - c, 0) * weight.get(b - d, 0) / total**2 for c, d in places] for a, b in places]
    )
    return blur.T @ blur + eps * np.eye(len(places))


@pytest.mark.parametrize("shape", [(1, 2), (1, 3), (3, 2), (28, 28)])
def test_metric_equals_its_matrix(shape):
    metric, matrix = SmoothMetric(*shape, 1.5, 5, 0.01), dense_metric(*shape, 1.5, 5, 0.01)
    a, b = torch.rand(2, shape[0] * shape[1], dtype=torch.float64)
    assert metric.dot(a, b).item() == pytest.approx(a.numpy() @ matrix @ b.numpy())
    assert metric.square(a).item() == pytest.approx(a.numpy() @ matrix @ a.numpy())
    assert metric.log_det == pytest.approx(np.linalg.slogdet(matrix)[1], rel=1e-8)


def test_smooth_gaussian_equals_scipy():
    module = lik.SmoothGaussian(1, 4, 3)
    x, logits = pair(12)
    matrix = dense_metric(4, 3, module.BLUR, module.CUT, module.EPS)
    covariance = module.log_sigma.exp().item() ** 2 * np.linalg.inv(matrix)
    expected = [
        stats.multivariate_normal.logpdf(a, torch.sigmoid(b).numpy(), covariance)
        for a, b in zip(x, logits, strict=True)
    ]
    np.testing.assert_allclose(module(x, logits).detach().numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("pixels", [2, 3])
def test_smooth_gaussian_integrates_to_one(pixels):
    module = lik.SmoothGaussian(1, 1, pixels).double()
    with torch.no_grad():
        module.log_sigma.fill_(math.log(0.3))
    matrix = dense_metric(1, pixels, module.BLUR, module.CUT, module.EPS)
    spread = 6 * 0.3 * np.sqrt(np.diag(np.linalg.inv(matrix)).max())
    logits = torch.randn(pixels, dtype=torch.float64)
    total, cell = integral(
        module, logits, torch.sigmoid(logits) - spread, torch.sigmoid(logits) + spread, 161
    )
    assert total * cell == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("pixels", [2, 3])
@pytest.mark.parametrize("kappa", [0.5, 8.0])
def test_smooth_direction_integrates_to_one(pixels, kappa):
    module = lik.SmoothDirection(1, 1, pixels, kappa)
    module.metric.eps = 0.2  # a rounder ball than the default's, so that a coarse grid will do
    module = rebuilt_with_eps(pixels, kappa, 0.2)
    radius = math.sqrt(module.metric.square(torch.ones(pixels, dtype=torch.float64)))
    reach = radius / math.sqrt(np.linalg.eigvalsh(dense_metric(1, pixels, 1.5, 5, 0.2)).min())
    logits = torch.randn(pixels, dtype=torch.float64)
    box = torch.full((pixels,), reach, dtype=torch.float64)
    total, cell = integral(
        module, logits, -box, box, 201, inside=lambda x: module.metric.square(x) <= radius**2
    )
    assert total * cell == pytest.approx(1, abs=0.02)


def rebuilt_with_eps(pixels: int, kappa: float, eps: float) -> lik.SmoothDirection:
    class Rounder(lik.SmoothDirection):
        EPS = eps

    return Rounder(1, 1, pixels, kappa)


def integral(module, logits, low, high, points, inside=None):
    """Sum of the density over a grid, and the volume of a cell."""
    axes = [torch.linspace(a, b, points, dtype=torch.float64) for a, b in zip(low, high, strict=True)]
    cell = math.prod(float(axis[1] - axis[0]) for axis in axes)
    total = 0.0
    for first in axes[0]:
        x = torch.cartesian_prod(first[None], *axes[1:]).reshape(-1, len(axes))
        values = module(x, logits).detach().exp()
        total += float((values if inside is None else values[inside(x)]).sum())
    return total, cell


def test_von_mises_fisher_normaliser():
    kappa = 3.0  # on the sphere of R^3 it is kappa / (4 pi sinh kappa)
    assert lik.log_vmf(3, kappa) == pytest.approx(math.log(kappa / (4 * math.pi * math.sinh(kappa))))
    assert lik.log_vmf(3, 0.0) == pytest.approx(-math.log(4 * math.pi))
    assert lik.log_vmf(D, 900.0) == pytest.approx(
        stats.vonmises_fisher(np.eye(D)[0], 900.0).logpdf(np.eye(D)[0]) - 900
    )
    assert lik._log_bessel_large_order(391.0, 500.0) == pytest.approx(
        float(np.log(lik.ive(391.0, 500.0)) + 500.0), rel=1e-10
    )


def test_smooth_direction_is_the_smooth_score_in_nats():
    module = lik.SmoothDirection()
    x, logits = pair()
    matrix = dense_metric(28, 28, module.BLUR, module.CUT, module.EPS)
    y = torch.sigmoid(logits).numpy()
    for a, b, found in zip(x.numpy(), y, module(x, logits), strict=True):
        cosine = a @ matrix @ b / math.sqrt((a @ matrix @ a) * (b @ matrix @ b))
        assert found.item() - module.constant == pytest.approx(module.kappa * cosine, rel=1e-9)
    assert torch.isfinite(module(torch.zeros(1, D), logits[:1])).all()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_blank_images_have_finite_losses_and_gradients(likelihood):
    model = tiny(likelihood, latent_dim=2)
    blank = torch.zeros(2, 1, 28, 28, dtype=torch.float64)
    model.loss(blank, blank, torch.Generator().manual_seed(0), 1.0).mean().backward()
    for parameter in model.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_likelihoods_are_per_image_and_broadcast(likelihood):
    module = lik.LIKELIHOODS[likelihood]()
    x, logits = pair()
    assert module(x, logits).shape == (3,)
    samples = torch.stack([logits, logits])
    torch.testing.assert_close(module(x, samples)[1], module(x, logits))


# --- bounds -----------------------------------------------------------------------------------------------------


def log_marginal(model: VariationalAutoencoder, images: torch.Tensor) -> torch.Tensor:
    """log p(x) of a model with one latent dimension, by quadrature over z."""
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    logits = model.logits(z[:, None])
    joint = model.likelihood(images.flatten(1)[:, None], logits) + Normal(0, 1).log_prob(z)
    return torch.logsumexp(joint, dim=1) + math.log(16 / 4000)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_elbo_below_iwae_below_log_p(likelihood, images):
    exact, by_samples = None, []
    for samples in (1, 8, 64, 512):
        model = tiny(likelihood, samples=samples)
        with torch.no_grad():  # a posterior that is off, so that the bounds lie apart
            model.encoder[-1].bias[1] -= 1.0
        scores = density_scores(model, images)
        exact = log_marginal(model, images).detach()
        by_samples.append(-scores["iwae"].mean())
        error = (
            4
            * torch.stack(
                [model.log_terms(images, model.infer(images), e).likelihood for e in model.bank]
            ).std()
            if (samples > 1)
            else torch.tensor(math.inf)
        )
        assert (-scores["elbo"] <= exact + error / math.sqrt(samples) + 1e-9).all()
    assert by_samples[1] <= by_samples[2] + 0.2
    assert by_samples[2] <= by_samples[3] + 0.1
    assert by_samples[0] <= by_samples[3] + 1.0
    torch.testing.assert_close(by_samples[3], exact.mean(), rtol=0, atol=0.3)
    assert -scores["elbo"].mean() <= by_samples[3]


def test_elbo_is_its_two_parts_and_iwae_of_one_sample_is_the_log_weight(images):
    model = tiny(samples=1)
    scores = density_scores(model, images)
    torch.testing.assert_close(scores["elbo"], scores["reconstruction-probability"] + scores["kl"])
    term = model.log_terms(images, model.infer(images), model.bank[0])
    torch.testing.assert_close(scores["iwae"], -(term.likelihood + term.prior - term.posterior))
    mean, log_variance = model.posterior(images)
    z = mean + torch.exp(log_variance / 2) * model.bank[0]
    torch.testing.assert_close(term.prior, Normal(0.0, 1.0).log_prob(z).sum(1))
    torch.testing.assert_close(term.posterior, Normal(mean, torch.exp(log_variance / 2)).log_prob(z).sum(1))


class Identity(nn.Module):
    """A Gaussian around the decoder's output itself, so that the model is linear."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        return Normal(logits, self.sigma).log_prob(x).sum(-1)


def test_a_linear_gaussian_vae_equals_probabilistic_pca(images):
    """Tipping and Bishop 1999: x ~ N(m, W W' + s^2 I), and q can be the exact posterior, so the bound is tight."""
    k, sigma = 3, 0.5
    model = tiny(latent_dim=k, samples=2000)
    source = torch.Generator().manual_seed(2)
    w = torch.randn(D, k, generator=source, dtype=torch.float64) / 20
    m = torch.rand(D, generator=source, dtype=torch.float64)
    precision = w.T @ w / sigma**2 + torch.eye(k, dtype=torch.float64)
    # A diagonal q is exact where W'W is diagonal: rotate W so that it is.
    _, basis = torch.linalg.eigh(precision)
    w = w @ basis
    precision = (w.T @ w / sigma**2).diagonal() + 1
    linear = nn.Linear(k, D).double()
    encode = nn.Linear(D, 2 * k).double()
    with torch.no_grad():
        linear.weight.copy_(w)
        linear.bias.copy_(m)
        to_mean = (w / sigma**2 / precision).T
        encode.weight.copy_(torch.cat([to_mean, torch.zeros_like(to_mean)]))
        encode.bias.copy_(torch.cat([-to_mean @ m, -precision.log()]))
    model.decoder = nn.Sequential(linear, nn.Unflatten(1, (1, 28, 28)))
    model.encoder = nn.Sequential(nn.Flatten(), encode)
    model.likelihood = Identity(sigma)
    covariance = (w @ w.T + sigma**2 * torch.eye(D, dtype=torch.float64)).numpy()
    exact = stats.multivariate_normal.logpdf(images.flatten(1).numpy(), m.numpy(), covariance)
    scores = density_scores(model, images)
    np.testing.assert_allclose(-scores["iwae"].numpy(), exact, rtol=1e-9)  # every weight is p(x)
    np.testing.assert_allclose(-scores["elbo"].numpy(), exact, atol=0.5)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_same_scores_whatever_batch_size_and_order(likelihood, images):
    model = tiny(likelihood, latent_dim=4).float()
    x = images.float()
    together = density_scores(model, x)
    for name, scores in together.items():
        alone = torch.cat([density_scores(model, image[None])[name] for image in x])
        backwards = density_scores(model, x.flip(0))[name].flip(0)
        torch.testing.assert_close(alone, scores, rtol=1e-5, atol=1e-3)
        torch.testing.assert_close(backwards, scores, rtol=1e-5, atol=1e-3)


def test_loss_is_minus_the_elbo_and_warms_up(images):
    model = tiny(latent_dim=3)
    draw = lambda: torch.Generator().manual_seed(5)  # noqa: E731
    cold, warm = (model.loss(images, images, draw(), warmth) for warmth in (0.0, 1.0))
    torch.testing.assert_close(warm - cold, model.kl_units(model.infer(images)).sum(1))
    assert warm.shape == (5,)
    guided = tiny("smooth-direction", latent_dim=3)
    mean, log_variance = guided.posterior(images)
    noise = torch.randn(mean.shape, generator=draw())
    logits = guided.logits(mean + torch.exp(log_variance / 2) * noise)
    x = images.flatten(1)
    error = (torch.sigmoid(logits) - x).square().sum(1)
    expected = (
        guided.kl_units(guided.infer(images)).sum(1)
        - guided.likelihood(x, logits)
        + guided.likelihood.GUIDE * error
    )
    torch.testing.assert_close(guided.loss(images, images, draw(), 1.0), expected)


def test_longer_banks_begin_with_shorter_ones():
    assert torch.equal(tiny(samples=4, latent_dim=3).bank, tiny(samples=9, latent_dim=3).bank[:4])
    assert not torch.equal(tiny(samples=4, seed=1).bank, tiny(samples=4).bank)
