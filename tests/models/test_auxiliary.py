"""The auxiliary model is right: its bounds against a quadrature of log p(x), its densities against PyTorch's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from anomalae import seeds
from anomalae.models.auxiliary import AuxiliaryVAE
from anomalae.models.layers import initialise
from anomalae.models.vae import VariationalAutoencoder
from anomalae.network_kinds import LIKELIHOODS
from tests.models.densities import density_scores

SHAPE = ("dense", (16,))


def tiny(
    dims: tuple[int, int] = (1, 1), likelihood: str = "gaussian", samples: int = 64, seed: int = 0
) -> AuxiliaryVAE:
    model = AuxiliaryVAE(*SHAPE, *dims, likelihood, 1.0, samples, seed)
    initialise(model, seeds.generator(seed, seeds.WEIGHTS))
    return model.double()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def stirred(model: AuxiliaryVAE) -> AuxiliaryVAE:
    """The model with a posterior that hangs on a and is off, so that bounds lie apart, but not too far to sample."""
    units = model.latent_dim
    with torch.no_grad():
        model.to_latent[-1].weight[:units] *= 5
        model.to_latent[-1].bias[units:] += 1.0
        model.to_auxiliary[-1].weight[: model.auxiliary_dim] *= 3
        model.decoder[-2].weight *= 0.3
        for parameter in model.likelihood.parameters():
            parameter.zero_()  # log sigma
    return model


def gaussians(model: AuxiliaryVAE, images: torch.Tensor, draw: torch.Tensor) -> tuple:
    """z, a, q(z | a, x), q(a | x), p(a | x, z) by one draw, or one image's by many, as in the paper."""
    units, auxiliary = model.latent_dim, model.auxiliary_dim
    images = images.expand(max(len(images), len(draw) if draw.ndim > 1 else 1), 1, 28, 28)
    h = model.encoder[:-1](images)
    alone = model.auxiliary(h)
    q_a = Normal(alone[:, :auxiliary], (alone[:, auxiliary:] / 2).exp())
    a = q_a.mean + q_a.stddev * draw[..., units:]
    found = model.encoder(images) + model.to_latent(torch.cat([h, a], 1))
    q_z = Normal(found[:, :units], (found[:, units:] / 2).exp())
    z = q_z.mean + q_z.stddev * draw[..., :units]
    guess = alone + model.to_auxiliary(torch.cat([h, z], 1))
    return z, a, q_z, q_a, Normal(guess[:, :auxiliary], (guess[:, auxiliary:] / 2).exp())


def test_terms_equal_torch_distributions(images):
    model = stirred(tiny((3, 2), samples=3))
    costs = []
    for draw in model.bank:
        z, a, q_z, q_a, p_a = gaussians(model, images, draw)
        term, p_z = model.log_terms(images, model.infer(images), draw), Normal(0.0, 1.0)
        torch.testing.assert_close(term.prior, p_z.log_prob(z).sum(1) + p_a.log_prob(a).sum(1))
        torch.testing.assert_close(term.posterior, q_z.log_prob(z).sum(1) + q_a.log_prob(a).sum(1))
        torch.testing.assert_close(term.likelihood, model.likelihood(images.flatten(1), model.logits(z)))
        cost = [q_z.log_prob(z) - p_z.log_prob(z), q_a.log_prob(a) - p_a.log_prob(a)]
        costs.append(torch.cat(cost, dim=1))
    torch.testing.assert_close(model.kl_units(model.infer(images)), torch.stack(costs).mean(0))


def test_the_posterior_is_that_of_z_with_a_at_its_mean(images):
    model = stirred(tiny((3, 2)))
    _, a, q_z, _, _ = gaussians(model, images, torch.zeros(5, dtype=torch.float64))
    mean, log_variance = model.posterior(images)
    torch.testing.assert_close(mean, q_z.mean)
    torch.testing.assert_close(log_variance, 2 * q_z.stddev.log())
    assert torch.equal(model.encode(images), mean)
    with torch.no_grad():
        without_a = model.encoder(images)[:, :3]
    assert (mean - without_a).abs().max() > 0.1, "a has no say here"
    assert torch.equal(model.unit_means(images), torch.cat([mean, a], dim=1))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_elbo_is_the_mean_log_weight_and_never_above_iwae(likelihood, images):
    model = stirred(tiny((3, 2), likelihood, samples=7))
    scores = density_scores(model, images)
    terms = [model.log_terms(images, model.infer(images), draw) for draw in model.bank]
    weights = torch.stack([t.likelihood + t.prior - t.posterior for t in terms])
    torch.testing.assert_close(scores["elbo"], -weights.mean(0))
    torch.testing.assert_close(scores["iwae"], math.log(7) - torch.logsumexp(weights, 0))
    assert (scores["elbo"] >= scores["iwae"]).all()
    single = density_scores(tiny((3, 2), likelihood, samples=1), images)
    torch.testing.assert_close(single["elbo"], single["iwae"])


def log_marginal(model: AuxiliaryVAE, images: torch.Tensor) -> torch.Tensor:
    """log p(x) of a model with one latent unit, by quadrature over z: a has no part in it."""
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    joint = model.likelihood(images.flatten(1)[:, None], model.logits(z[:, None])) + Normal(0, 1).log_prob(z)
    return torch.logsumexp(joint, dim=1) + math.log(16 / 4000)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_iwae_rises_to_log_p(likelihood, images):
    model = stirred(tiny(likelihood=likelihood, samples=256))
    bank, bounds = model.bank, []
    with torch.no_grad():
        for samples in (1, 4, 32, 256):  # each the mean over the bank in groups of so many draws
            groups = []
            for model.bank in bank.split(samples):
                groups.append(-density_scores(model, images)["iwae"])
            bounds.append(torch.stack(groups).mean(0))
        exact = log_marginal(model, images)
        assert (-density_scores(model, images)["elbo"] < bounds[1]).all()
    assert (bounds[0] < bounds[1]).all()
    assert (bounds[1] < bounds[2]).all()
    assert (bounds[2] < bounds[3]).all()
    torch.testing.assert_close(bounds[3], exact, rtol=0, atol=0.2)


def test_elbo_equals_a_quadrature(images):
    """The expectation over a and z by Gauss-Hermite sums and by the mean over a bank of evenly spread quantiles."""
    model = stirred(tiny())
    quantiles = Normal(0, 1).icdf((torch.arange(24, dtype=torch.float64) + 0.5) / 24)
    quantiles /= quantiles.std(correction=0)
    model.bank = torch.cartesian_prod(quantiles, quantiles)
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    nodes, weights = torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())
    draws = torch.cartesian_prod(nodes, nodes)
    with torch.no_grad():
        found = []
        for image in images:
            z, a, q_z, q_a, p_a = gaussians(model, image[None], draws)
            value = model.likelihood(image.flatten()[None], model.logits(z))
            cost = q_z.log_prob(z) - Normal(0, 1).log_prob(z) + q_a.log_prob(a) - p_a.log_prob(a)
            found.append((weights[:, None] * weights).flatten() @ (value - cost[:, 0]))
        elbo = -density_scores(model, images)["elbo"]
    torch.testing.assert_close(elbo, torch.stack(found), rtol=0, atol=0.1)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_where_a_says_nothing_it_is_the_vae(likelihood, images):
    model = tiny((3, 2), likelihood, samples=5)
    vae = VariationalAutoencoder(*SHAPE, 3, likelihood, 1.0, 5, 0).double()
    with torch.no_grad():
        for network in (model.to_latent, model.to_auxiliary):
            network[-1].weight.zero_()
            network[-1].bias.zero_()
    shared = {name: value for name, value in model.state_dict().items() if name in vae.state_dict()}
    vae.load_state_dict(shared | {"bank": model.bank[:, :3]})
    found, expected = density_scores(model, images), density_scores(vae, images)
    for name in ("iwae", "reconstruction-probability"):
        torch.testing.assert_close(found[name], expected[name])
    assert torch.equal(model.reconstruct(images), vae.reconstruct(images))
    assert torch.equal(model.sample(model.bank), vae.sample(vae.bank))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_gradients_reach_every_parameter_of_blank_images_too(likelihood, images):
    for x in (images, torch.zeros_like(images)):
        model = tiny((3, 2), likelihood)
        model.loss(x, images, torch.Generator().manual_seed(0), 1.0).mean().backward()
        for name, parameter in model.named_parameters():
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.any() or (not x.any() and name == "encoder.1.weight"), name


def test_loss_is_minus_the_elbo_in_the_mean(images):
    """Of many losses of one image, the mean is minus its ELBO, whose bank has other draws."""
    model = stirred(tiny((2, 2), samples=1000))
    with torch.no_grad():
        many = images[:1].expand(2000, 1, 28, 28)
        losses = model.loss(many, many, torch.Generator().manual_seed(0), 1.0)
        cold = model.loss(many, many, torch.Generator().manual_seed(0), 0.0)
        scores = density_scores(model, images[:1])
    assert losses.mean().item() == pytest.approx(scores["elbo"].item(), abs=0.25)
    assert (losses - cold).mean().item() == pytest.approx(scores["kl"].item(), abs=0.15)


def test_same_seed_same_weights_and_bank():
    first, again, other = tiny(), tiny(), tiny(seed=1)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert not torch.equal(first.to_latent[0].weight, other.to_latent[0].weight)
    assert not torch.equal(first.bank, other.bank)


def test_conv_trunks_and_shapes(images):
    model, x = AuxiliaryVAE("conv", (2, 3), 4, 2, "bernoulli", 1.0, 2, 0), images.float()
    assert model.encode(x).shape == (4, 4)
    assert model.unit_means(x).shape == model.kl_units(model.infer(x)).shape == (4, 6)
    assert model.sample(torch.randn(3, 6)).shape == model.reconstruct(x[:3]).shape == (3, 1, 28, 28)


def test_same_scores_whatever_batch_size_and_order(images):
    model, x = tiny((4, 2), "smooth-direction", samples=8).float(), images.float()
    together, backwards = density_scores(model, x), density_scores(model, x.flip(0))
    alone = [density_scores(model, image[None]) for image in x]
    for name, scores in together.items():
        torch.testing.assert_close(torch.cat([a[name] for a in alone]), scores, rtol=1e-5, atol=1e-3)
        torch.testing.assert_close(backwards[name].flip(0), scores, rtol=1e-5, atol=1e-3)
