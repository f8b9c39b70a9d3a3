"""The ladder is right: with one layer it is the VAE; with more, bounds and ratios against independent answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.distributions import Normal, kl_divergence

from anomalae import seeds
from anomalae.errors import ConfigError
from anomalae.models.base import LogTerms
from anomalae.models.ladder import LadderVAE, kl_of_layer, layer_widths, multiply
from anomalae.models.layers import Encoder, initialise
from anomalae.models.training.corruption import corrupt
from anomalae.models.vae import VariationalAutoencoder
from anomalae.network_kinds import LIKELIHOODS
from tests.models.densities import density_scores
from tests.models.test_vae import Identity

SHAPE = ("dense", (16,))


def tiny(dims: tuple[int, ...] = (1, 1), likelihood: str = "gaussian", samples: int = 64) -> LadderVAE:
    model = LadderVAE(*SHAPE, dims, likelihood, 1.0, samples, 0)
    initialise(model, seeds.generator(0, seeds.WEIGHTS))
    return model.double()


def plain(latent_dim: int, likelihood: str, samples: int = 64) -> VariationalAutoencoder:
    model = VariationalAutoencoder(*SHAPE, latent_dim, likelihood, 1.0, samples, 0)
    initialise(model, seeds.generator(0, seeds.WEIGHTS))
    return model.double()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


# --- one layer --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_one_layer_is_the_vae(likelihood, images):
    ladder, vae = tiny((3,), likelihood, samples=5).float(), plain(3, likelihood, samples=5).float()
    images = images.float()
    weights = vae.state_dict()
    assert ladder.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in ladder.state_dict().items())
    found, expected = (density_scores(model, images) for model in (ladder, vae))
    assert found.keys() == expected.keys()
    for name, scores in expected.items():
        assert torch.equal(found[name], scores), name
    for name in LogTerms._fields:
        a, b = (
            getattr(model.log_terms(images, model.infer(images), vae.bank[1]), name)
            for model in (ladder, vae)
        )
        assert torch.equal(a, b), name
    for method in ("reconstruct", "encode", "unit_means"):
        assert torch.equal(getattr(ladder, method)(images), getattr(vae, method)(images)), method
    for ours, theirs in zip(ladder.posterior(images), vae.posterior(images), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(ladder.kl_units(ladder.infer(images)), vae.kl_units(vae.infer(images)))
    assert torch.equal(ladder.sample(vae.bank), vae.sample(vae.bank))
    for model in (ladder, vae):
        corrupted = corrupt(images, 1.0, seeds.generator(0, seeds.EPOCH))
        model.loss(corrupted, images, seeds.generator(1, seeds.EPOCH), 0.7).mean().backward()
    for (name, a), b in zip(ladder.named_parameters(), vae.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad), name


# --- parts ------------------------------------------------------------------------------------------------------


def test_multiply_is_the_normalised_product():
    (m, n), (v, w) = torch.randn(2, 5, dtype=torch.float64), torch.randn(2, 5, dtype=torch.float64)
    mean, log_variance = multiply(m, v, n, w)
    x = torch.linspace(-40, 40, 160_001, dtype=torch.float64)[:, None]
    product = (Normal(m, (v / 2).exp()).log_prob(x) + Normal(n, (w / 2).exp()).log_prob(x)).exp()
    product /= product.sum(0)
    torch.testing.assert_close(mean, (product * x).sum(0))
    torch.testing.assert_close(log_variance.exp(), (product * (x - mean).square()).sum(0))
    torch.testing.assert_close(log_variance, -torch.log(torch.exp(-v) + torch.exp(-w)))


def distributions(model: LadderVAE, images: torch.Tensor, draw: torch.Tensor) -> list[tuple]:
    """Codes, q and p of each layer, z_1 first, written as in the paper: layer by layer, with variances."""
    upward = model.infer(images)
    found = []
    for i in reversed(range(model.layers)):
        m, v = upward[2 * i], upward[2 * i + 1].exp()
        if found:
            of_prior = model.priors[i](found[-1][0])
            units = model.latent_dims[i]
            pm, pv = of_prior[:, :units], of_prior[:, units:].exp()
            precision = 1 / v + 1 / pv
            m, v = (m / v + pm / pv) / precision, 1 / precision
        else:
            pm, pv = torch.zeros_like(m), torch.ones_like(v)
        start = sum(model.latent_dims[:i])
        codes = m + v.sqrt() * draw[start : start + model.latent_dims[i]]
        found.append((codes, Normal(m, v.sqrt()), Normal(pm, pv.sqrt())))
    return found[::-1]


@pytest.mark.parametrize("dims", [(4,), (4, 2), (4, 3, 2)])
def test_the_posterior_is_that_of_the_lowest_layer_with_those_above_at_their_means(dims, images):
    """By precisions, in NumPy: the mean of a product of Gaussians is weighted by them, its variance 1 / their sum."""
    model = tiny(dims)
    with torch.no_grad():
        for prior in model.priors:
            prior[-1].weight *= 5  # so that the layers above have a say
            prior[-1].bias += 1
        upward = [part.numpy() for part in model.infer(images)]
        mean, variance = upward[-2], np.exp(upward[-1])
        for layer in reversed(range(len(dims) - 1)):
            of_prior = model.priors[layer](torch.from_numpy(mean)).numpy()
            prior_mean, prior_variance = of_prior[:, : dims[layer]], np.exp(of_prior[:, dims[layer] :])
            own_mean, own = upward[2 * layer], 1 / np.exp(upward[2 * layer + 1])
            variance = 1 / (own + 1 / prior_variance)
            mean = variance * (own * own_mean + prior_mean / prior_variance)
        found_mean, found_log_variance = (part.numpy() for part in model.posterior(images))
        np.testing.assert_allclose(found_mean, mean, rtol=1e-9)
        np.testing.assert_allclose(found_log_variance, np.log(variance), rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(model.encode(images).numpy(), found_mean)
        if len(dims) > 1:
            assert np.abs(mean - upward[0]).max() > 0.1


@pytest.mark.parametrize("dims", [(4, 2), (4, 3, 2)])
def test_terms_equal_torch_distributions(dims, images):
    model = tiny(dims, samples=3)
    kls = []
    for draw in model.bank:
        parts = distributions(model, images, draw)
        term = model.log_terms(images, model.infer(images), draw)
        expected = sum(p.log_prob(codes).sum(1) for codes, _, p in parts)
        torch.testing.assert_close(term.prior, expected)
        expected = sum(q.log_prob(codes).sum(1) for codes, q, _ in parts)
        torch.testing.assert_close(term.posterior, expected)
        rebuilt = model.likelihood(images.flatten(1), model.logits(parts[0][0]))
        torch.testing.assert_close(term.likelihood, rebuilt)
        kls.append(torch.cat([kl_divergence(q, p) for _, q, p in parts], dim=1))
        layers = model.descend(draw, model.infer(images))
        torch.testing.assert_close(kls[-1], torch.cat([kl_of_layer(layer) for layer in layers], dim=1))
    torch.testing.assert_close(model.kl_units(model.infer(images)), torch.stack(kls).mean(0))
    scores = density_scores(model, images)
    torch.testing.assert_close(scores["elbo"], scores["kl"] + scores["reconstruction-probability"])


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_loss_is_minus_the_bound_and_warms_up(likelihood, images):
    model = tiny((3, 2), likelihood)
    cold, warm = (
        model.loss(images, images, torch.Generator().manual_seed(5), warmth) for warmth in (0.0, 1.0)
    )
    draws = torch.randn(len(images), 5, generator=torch.Generator().manual_seed(5))
    layers = model.descend(draws, model.infer(images))
    kl = torch.cat([kl_of_layer(layer) for layer in layers], dim=1).sum(1)
    x, logits = images.flatten(1), model.logits(layers[0].codes)
    error = (torch.sigmoid(logits) - x).square().sum(1) * getattr(model.likelihood, "GUIDE", 0.0)
    torch.testing.assert_close(warm, kl - model.likelihood(x, logits) + error)
    torch.testing.assert_close(warm - cold, kl)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_gradients_reach_every_parameter_of_blank_images_too(likelihood, images):
    for x in (images, torch.zeros_like(images)):
        model = tiny((4, 3, 2), likelihood)
        model.loss(x, images, torch.Generator().manual_seed(0), 1.0).mean().backward()
        for name, parameter in model.named_parameters():
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.any() or (not x.any() and name == "encoder.1.weight"), name


def test_conv_trunks_and_shapes(images):
    model = LadderVAE("conv", (2, 3), (4, 2), "bernoulli", 1.0, 2, 0)
    x = images.float()
    assert model.encode(x).shape == (4, 4)
    assert model.unit_means(x).shape == model.kl_units(model.infer(x)).shape == (4, 6)
    assert model.sample(torch.randn(3, 6)).shape == (3, 1, 28, 28)
    torch.testing.assert_close(model.reconstruct(x), model.decode(model.unit_means(x)[:, :4]))
    assert layer_widths(64, 3) == (64, 32, 16)
    assert layer_widths(1, 2) == (1, 1)


# --- bounds -----------------------------------------------------------------------------------------------------


def log_marginal(model: LadderVAE, images: torch.Tensor) -> torch.Tensor:
    """log p(x) of a model with two layers of one unit, by quadrature over both."""
    z2 = torch.linspace(-8, 8, 401, dtype=torch.float64)[:, None]
    mean, log_variance = model.priors[0](z2).unbind(1)
    z1 = torch.linspace(-12, 12, 1201, dtype=torch.float64)
    conditional = Normal(mean[:, None], (log_variance / 2).exp()[:, None]).log_prob(z1)
    prior = torch.logsumexp(conditional + Normal(0, 1).log_prob(z2), dim=0) + math.log(16 / 400)  # of z_1
    joint = model.likelihood(images.flatten(1)[:, None], model.logits(z1[:, None])) + prior
    return torch.logsumexp(joint, dim=1) + math.log(24 / 1200)


def off(model: LadderVAE) -> LadderVAE:
    """The model with a posterior of z_1 that is off, so that bounds lie apart, but not too far to sample."""
    with torch.no_grad():
        model.encoder[-1].bias[0] += 4.0
        model.encoder[-1].bias[1] += 2.0
        model.decoder[-2].weight *= 0.3
        for parameter in model.likelihood.parameters():
            parameter.zero_()  # log sigma
    return model


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_elbo_below_iwae_below_log_p(likelihood, images):
    model = off(tiny(likelihood=likelihood, samples=256))
    bank, bounds = model.bank, []
    with torch.no_grad():
        for samples in (1, 4, 32, 256):  # each the mean over the bank in groups of so many draws
            groups = []
            for model.bank in bank.split(samples):
                groups.append(-density_scores(model, images, ("iwae",))["iwae"])
            bounds.append(torch.stack(groups).mean(0))
        exact = log_marginal(model, images)
        assert (-density_scores(model, images, ("elbo",))["elbo"] < bounds[1]).all()
    assert (bounds[0] < bounds[1]).all()
    assert (bounds[1] < bounds[2]).all()
    assert (bounds[2] < bounds[3]).all()
    torch.testing.assert_close(bounds[3], exact, rtol=0, atol=0.2)


def hermite(points: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes and weights of the mean over a standard normal."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    return torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())


def test_elbo_and_ratio_equal_a_quadrature(images):
    """ELBO and L^{>1} = L_K - LLR^{>1}, by Gauss-Hermite sums and by a bank of evenly spread quantiles."""
    model = off(tiny())
    quantiles = Normal(0, 1).icdf((torch.arange(24, dtype=torch.float64) + 0.5) / 24)
    quantiles /= quantiles.std(correction=0)
    model.bank = torch.cartesian_prod(quantiles, quantiles)
    with torch.no_grad():
        model.encoder[-1].bias[1] -= 5.0  # so that z_1's posterior is far from its prior
        scores = density_scores(model, images)
        nodes, weights = hermite()
        upward = model.infer(images)
        z2 = upward[2] + (upward[3] / 2).exp() * nodes  # (N, points)
        prior = model.priors[0](z2.reshape(-1, 1)).reshape(*z2.shape, 2)
        precision = torch.exp(-upward[1]) + torch.exp(-prior[..., 1])
        mean = (upward[0] * torch.exp(-upward[1]) + prior[..., 0] * torch.exp(-prior[..., 1])) / precision
        q2, p2 = Normal(upward[2], (upward[3] / 2).exp()), Normal(0.0, 1.0)
        q1, p1 = Normal(mean, precision**-0.5), Normal(prior[..., 0], (prior[..., 1] / 2).exp())
        bound = []
        for below in (q1, p1):  # z_1 from the posterior: the ELBO; from the prior: L^{>1}
            z1 = below.mean[..., None] + below.stddev[..., None] * nodes
            x = images.flatten(1)[:, None, None]
            rebuilt = model.likelihood(x, model.logits(z1.reshape(-1, 1)).reshape(*z1.shape, -1)) @ weights
            cost = kl_divergence(below, p1)
            bound.append((rebuilt - cost) @ weights - kl_divergence(q2, p2).squeeze(1))
    torch.testing.assert_close(-scores["elbo"], bound[0], rtol=0, atol=0.1)
    torch.testing.assert_close(-scores["iwae"] - scores["llr-1"], bound[1], rtol=0, atol=0.1)
    assert (bound[0] - bound[1]).abs().min() > 0.3


def test_in_a_linear_model_every_weight_is_p_of_x(images):
    """z_2 ~ N(0, 1), z_1 = a z_2 + s e, x = w z_1 + m + t e: precision weighting gives the exact posterior."""
    a, s, t = 0.7, 0.6, 0.5
    source = torch.Generator().manual_seed(3)
    w = torch.randn(784, generator=source, dtype=torch.float64) / 20
    m = torch.rand(784, generator=source, dtype=torch.float64)
    model = tiny(samples=8)
    gain = (w @ w).item() / t**2  # precision of z_1 given x alone, whose mean is then w'(x - m) / (t^2 gain)
    variance = 1 / gain + s**2  # of that mean around a z_2
    precision = 1 + a**2 / variance  # of z_2 given x
    estimate = w / (t**2 * gain)
    decode, encode = nn.Linear(1, 784).double(), nn.Linear(784, 2).double()
    head, prior = nn.Linear(784, 2).double(), nn.Linear(1, 2).double()
    zero = torch.zeros(784, dtype=torch.float64)
    with torch.no_grad():
        decode.weight.copy_(w[:, None])
        decode.bias.copy_(m)
        for linear, scale, log_variance in (
            (encode, 1.0, -math.log(gain)),
            (head, a / variance / precision, -math.log(precision)),
        ):
            linear.weight.copy_(torch.stack([scale * estimate, zero]))
            linear.bias.copy_(torch.tensor([-scale * (estimate @ m).item(), log_variance]))
        prior.weight.copy_(torch.tensor([[a], [0.0]]))
        prior.bias.copy_(torch.tensor([0.0, 2 * math.log(s)]))
    model.decoder = nn.Sequential(decode, nn.Unflatten(1, (1, 28, 28)))
    model.encoder = Encoder(nn.Flatten(), encode)
    model.climbs, model.heads = nn.ModuleList([nn.Identity()]), nn.ModuleList([head])
    model.priors, model.likelihood = nn.ModuleList([prior]), Identity(t)
    covariance = (a**2 + s**2) * torch.outer(w, w) + t**2 * torch.eye(784, dtype=torch.float64)
    exact = stats.multivariate_normal.logpdf(images.flatten(1).numpy(), m.numpy(), covariance.numpy())
    for draw in model.bank:
        term = model.log_terms(images, model.infer(images), draw)
        weight = (term.likelihood + term.prior - term.posterior).detach().numpy()
        np.testing.assert_allclose(weight, exact, rtol=1e-9)


# --- ratios -----------------------------------------------------------------------------------------------------


def test_ratios_are_differences_of_bounds(images):
    model = tiny((4, 3, 2), samples=6)
    scores = density_scores(model, images)
    assert list(scores)[-2:] == ["llr-1", "llr-2"]
    for k, above in ((1, 5), (2, 2)):
        rebuilt = torch.stack(
            [model.log_terms(images, model.infer(images), e, prior_below=k).likelihood for e in model.bank]
        ).mean(0)
        bound = rebuilt - model.kl_units(model.infer(images))[:, -above:].sum(1)
        torch.testing.assert_close(scores[f"llr-{k}"], -scores["iwae"] - bound)
    term = model.log_terms(images, model.infer(images), model.bank[0], prior_below=2)  # only z_3 is inferred
    _, _, (codes, q, p) = distributions(model, images, model.bank[0])
    torch.testing.assert_close(term.posterior, q.log_prob(codes).sum(1))
    torch.testing.assert_close(term.prior, p.log_prob(codes).sum(1))
    wanted = density_scores(model, images, ("elbo", "llr-2"))
    assert "llr-1" not in wanted
    assert torch.equal(wanted["llr-2"], scores["llr-2"])


def test_ratios_beyond_the_layers_are_refused(images):
    model = tiny((3, 2))
    with pytest.raises(ConfigError, match=r"llr-2: a ladder of 2 layers has llr-1$"):
        model.log_terms(images, model.infer(images), model.bank[0], prior_below=2)
    one_layer = tiny((3,))
    inferred = one_layer.infer(images)
    with pytest.raises(ConfigError, match="llr-1: a ladder of 1 layers has no llr"):
        one_layer.log_terms(images, inferred, torch.zeros(3), prior_below=1)


def test_same_scores_whatever_batch_size_and_order(images):
    model, x = tiny((4, 2), "smooth-direction", samples=8).float(), images.float()
    together, backwards = density_scores(model, x), density_scores(model, x.flip(0))
    alone = [density_scores(model, image[None]) for image in x]
    for name, scores in together.items():
        torch.testing.assert_close(torch.cat([a[name] for a in alone]), scores, rtol=1e-5, atol=1e-3)
        torch.testing.assert_close(backwards[name].flip(0), scores, rtol=1e-5, atol=1e-3)
