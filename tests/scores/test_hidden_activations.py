"""RaPP's scores equal a NumPy computation layer by layer, and NAP has the invariances of a whitening."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from anomalae.errors import ConfigError
from anomalae.models import Autoencoder, VariationalAutoencoder
from anomalae.models.ladder import LadderVAE
from anomalae.models.views import PIXELS
from anomalae.plugins import SCORES
from anomalae.scores.base import Evidence
from anomalae.scores.hidden_activations import DIRECTIONS, whitened, whitening


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def pathway(model, images: torch.Tensor, rebuilt: torch.Tensor) -> torch.Tensor:
    """Differences of hidden activations of images and given reconstructions."""
    seen = Evidence(model, None, images, PIXELS)
    seen.rebuilt = rebuilt
    return seen.pathway


def sap(pathway: torch.Tensor) -> torch.Tensor:
    return SCORES["sap"].score(SimpleNamespace(pathway=pathway), {})


def differences(n: int, width: int, seed: int = 0) -> torch.Tensor:
    """Correlated, with spreads from 1 to 100, and not centred."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((width, width)) * np.geomspace(1, 100, width)
    return torch.from_numpy(rng.standard_normal((n, width)) @ mixing + rng.standard_normal(width) * 10)


def dense_pathway(model: torch.nn.Module, images: np.ndarray, outputs: int) -> list[np.ndarray]:
    """Activations of a dense encoder, by matrices; of the last layer the first `outputs`."""
    h = images.reshape(len(images), -1).astype(np.float64)
    found = [h]
    linear = [layer for layer in model.encoder if isinstance(layer, torch.nn.Linear)]
    for layer in linear:
        h = h @ layer.weight.detach().numpy().T.astype(np.float64) + layer.bias.detach().numpy()
        if layer is not linear[-1]:
            h = np.where(h > 0, h, 0.1 * h)
        found.append(h)
    found[-1] = found[-1][:, :outputs]
    return found


@pytest.mark.parametrize("kind", ["ae", "vae", "ladder"])
def test_sap_and_pathway_equal_numpy(kind, images):
    if kind == "ae":
        model = Autoencoder("dense", (20, 10), 3)
    elif kind == "vae":
        model = VariationalAutoencoder("dense", (20, 10), 3, "bernoulli", 1.0, 2, 0)
    else:
        model = LadderVAE("dense", (20, 10), (3, 2), "bernoulli", 1.0, 2, 0)
    rebuilt = model.reconstruct(images).detach()
    found = pathway(model, images, rebuilt)
    layers = zip(*(dense_pathway(model, x.numpy(), 3) for x in (images, rebuilt)), strict=True)
    expected = [a - b for a, b in layers]
    assert [part.shape[1] for part in expected] == [784, 20, 10, 3]
    np.testing.assert_allclose(found.numpy(), np.concatenate(expected, axis=1), atol=1e-5)
    scores = sap(found)
    assert scores.dtype == torch.float64
    assert not found.requires_grad
    np.testing.assert_allclose(scores.numpy(), sum((part**2).sum(1) for part in expected), rtol=1e-5)


def test_pathway_of_conv_encoders(images):
    model = Autoencoder("conv", (2, 3), 5)
    found = pathway(model, images, torch.zeros_like(images))
    assert found.shape == (6, 784 + 2 * 14 * 14 + 3 * 7 * 7 + 5)
    torch.testing.assert_close(found[:, :784], images.flatten(1))
    torch.testing.assert_close(found[:, -5:], (model.encode(images) - model.encode(0 * images)).detach())
    hidden = model.encoder[1](model.encoder[0](images)) - model.encoder[1](model.encoder[0](0 * images))
    torch.testing.assert_close(found[:, 784 : 784 + 392], hidden.flatten(1).detach())
    assert torch.equal(sap(pathway(model, images, images)), torch.zeros(6, dtype=torch.float64))


@pytest.mark.parametrize(("n", "width"), [(50, 8), (12, 30)])
def test_nap_equals_numpy(n, width):
    """Taller and wider than long: the two ways of finding the same directions."""
    train, test = differences(n, width), differences(7, width, seed=1)
    mean = train.numpy().mean(0)
    _, s, vt = np.linalg.svd(train.numpy() - mean, full_matrices=False)
    s, vt = s[s > 1e-3 * s[0]], vt[s > 1e-3 * s[0]]
    expected = n * (((test.numpy() - mean) @ vt.T / s) ** 2).sum(1)
    learned = whitening(train)
    scores = whitened(test, learned)
    assert scores.dtype == torch.float64
    assert set(learned) == set(SCORES["nap"].learned)
    assert learned["mean"].dtype == learned["projection"].dtype == np.float32
    assert learned["projection"].shape == (width, len(s)) == (width, min(width, n - 1))
    np.testing.assert_allclose(scores.numpy(), expected, rtol=2e-4)
    assert whitened(train, learned).mean().item() == pytest.approx(len(s), rel=1e-4)


def test_nap_does_not_mind_rotations_nor_the_unit():
    train, test = differences(50, 8), differences(7, 8, seed=1)
    turn, _ = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))
    plain = whitened(test, whitening(train))
    torch.testing.assert_close(whitened(test @ turn, whitening(train @ turn)), plain, rtol=1e-4, atol=0)
    scaled = whitened(100 * test + 5, whitening(100 * train + 5))
    torch.testing.assert_close(scaled, plain, rtol=1e-4, atol=0)


def test_nap_cuts_small_and_surplus_directions():
    train = differences(50, 8)
    assert whitening(train, directions=3)["projection"].shape == (8, 3)
    assert whitening(torch.randn(300, 100))["projection"].shape == (100, DIRECTIONS)
    flat = train.clone()
    flat[:, 5:] = flat[:, :3] + 1e-9 * train[:, 5:]  # three directions of next to no spread
    learned = whitening(flat)
    assert learned["projection"].shape == (8, 5)
    assert whitened(flat, learned).mean().item() == pytest.approx(5, rel=1e-4)
    same = train[:1].expand(4, 8)
    assert (whitened(train, whitening(same)) == 0).all()  # nothing was learned, nothing is blown up


def test_nap_takes_an_image_at_a_time_and_refuses_arrays_that_do_not_fit():
    learned, test = whitening(differences(50, 8)), differences(7, 8, seed=1)
    assert torch.equal(whitened(test[:1], learned), whitened(test, learned)[:1])
    for arrays in (
        {**learned, "mean": learned["mean"][:3]},
        {**learned, "projection": learned["mean"]},
    ):
        with pytest.raises(ConfigError, match="nap: mean"):
            whitened(test, arrays)


def test_nap_refuses_too_few_images_and_other_widths():
    with pytest.raises(ConfigError, match="nap: 1 training images: must be at least 2"):
        whitening(differences(1, 8))
    with pytest.raises(ConfigError, match="nap: differences 5 wide, learned from 8"):
        whitened(differences(3, 5), whitening(differences(20, 8)))
