"""A VAE from the command line: train, score by the ELBO, generate, interpolate, traverse; and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalae import Detector
from anomalae.detectors.latent import traverse
from anomalae.errors import ConfigError
from anomalae.network_kinds import LIKELIHOODS
from tests.cli import QUICK, fails, ok, parsed

VAE = [*QUICK, "--model", "vae", "--samples", "4"]


@pytest.fixture
def trained() -> Path:
    ok("train", "--normal", "0", *VAE, "--quiet")
    return Path("runs/digits-0-vae")


# To find blocks of images that give the same bits takes convolutions seconds, whatever the likelihood.
@pytest.mark.parametrize(
    ("likelihood", "architecture"),
    [(name, "dense") for name in LIKELIHOODS]
    + [
        pytest.param(name, "conv", marks=[] if name == "gaussian" else [pytest.mark.slow])
        for name in LIKELIHOODS
    ],
)
def test_every_likelihood_trains_scores_saves_and_loads(likelihood, architecture, images, tmp_path):
    shape = {"hidden": (4, 8)} if architecture == "conv" else {"hidden": (16,)}
    detector = Detector(
        model="vae",
        likelihood=likelihood,
        architecture=architecture,
        latent_dim=3,
        epochs=1,
        samples=3,
        **shape,
    ).fit(images, conformal="split")
    images = images[::4]
    scores = detector.score_all(images)
    assert ("elbo-excess" in scores) == (likelihood == "bernoulli")
    detector.save(tmp_path / "run")
    loaded = Detector.load(tmp_path / "run")
    assert loaded.settings == detector.settings
    for rule, expected in scores.items():
        assert expected.dtype == np.float64
        assert expected.shape == (len(images),)
        np.testing.assert_array_equal(loaded.score(images, rule), expected)
        backwards = detector.score(images[::-1], rule)[::-1]
        np.testing.assert_allclose(backwards, expected, rtol=1e-5, atol=2e-3)
        assert np.array_equal(detector.flags(images, 0.2, rule), detector.p_values(images, rule) <= 0.2)
    np.testing.assert_allclose(scores["elbo"], scores["kl"] + scores["reconstruction-probability"])


def test_train_evaluate_and_show(trained: Path):
    assert parsed("evaluate", "--json")["score"] == "elbo"
    for rule in ("iwae", "kl", "reconstruction-probability", "smooth", "mse"):
        assert parsed("evaluate", "--score", rule, "--json")["score"] == rule
    shown = ok("runs", "digits-0-vae").stdout
    for word in ("gaussian", "ELBO", "log-likelihood", "KL", "active latent units", "beta"):
        assert word in shown
    found = parsed("runs", "digits-0-vae", "--json")["validation"]
    assert found["elbo"] == pytest.approx(found["log_likelihood"] - found["kl"])
    assert 0 <= found["active_units"] <= 8


def test_a_resumed_vae_is_bit_for_bit_the_same(digits):
    split = digits.one_class(normal=[0], seed=0)
    settings = {"model": "vae", "hidden": (16,), "latent_dim": 3, "epochs": 4, "samples": 2}

    class StoppedError(Exception):
        pass

    def stop(state):
        if state.epoch == 2:
            raise StoppedError

    whole = Detector(**settings).fit(split.train.images, conformal="split")
    Path("part").mkdir()
    with pytest.raises(StoppedError):
        Detector(**settings).fit(split.train.images, conformal="split", folder=Path("part"), on_epoch=stop)
    resumed = Detector(**settings).fit(
        split.train.images, conformal="split", folder=Path("part"), resume=True
    )
    np.testing.assert_array_equal(whole.score(split.test.images), resumed.score(split.test.images))


def test_generate_draws_from_the_prior(trained: Path):
    ok("generate", "--count", "5", "--output", "grid.png")
    ok("generate", "--count", "5", "--output", "images.npy")
    ok("generate", "--count", "5", "--seed", "1", "--output", "others.npy")
    images = np.load("images.npy")
    assert images.shape == (5, 28, 28)
    assert images.dtype == np.float32
    assert ((images >= 0) & (images <= 1)).all()
    assert not np.array_equal(images, np.load("others.npy"))
    np.testing.assert_array_equal(images, Detector.load(trained).generate(5))
    ok("generate", "--count", "5", "--seed", "7", "--output", "grid.svg")
    drawn = Path("grid.svg").read_text(encoding="utf-8")
    assert "digits-0-vae: 5 draws from the prior, seed 7" in drawn
    scores = Detector.load(trained).score(Detector.load(trained).generate(5, 7))
    assert all(f">{score:.4g}<" in drawn for score in scores)
    assert "Below each picture its score elbo" in drawn
    ok("generate", "--count", "101", "--output", "many.svg")
    assert "101 draws from the prior, seed 0" in Path("many.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("model", ["ae", "vae"])
def test_interpolate_goes_from_one_image_to_the_other(model, images):
    ok("train", "--normal", "0", *QUICK, "--model", model, "--quiet")
    for name, image in zip("ab", images, strict=False):
        Image.fromarray(image).save(f"{name}.png")
    ok("interpolate", "a.png", "b.png", "--steps", "4", "--output", "strip.png")
    ok("interpolate", "a.png", "b.png", "--steps", "4", "--output", "strip.svg")
    drawn = Path("strip.svg").read_text(encoding="utf-8")
    assert f"digits-0-{model}: from a.png to b.png" in drawn
    for mark in ("A", "0", "0.333", "0.667", "1", "B"):
        assert f">{mark}<" in drawn
    a, b = Detector.load(f"runs/digits-0-{model}").score(images[:2])
    assert f">{a:.4g}<" in drawn
    assert f">{b:.4g}<" in drawn
    assert "missing.png" in fails(1, "interpolate", "a.png", "missing.png", "--output", "strip.png")
    assert "suffix must be one of .png, .svg" in fails(
        2, "interpolate", "a.png", "b.png", "--output", "x.gif"
    )
    np.save("two.npy", images[:2])
    assert "holds 2 images" in fails(1, "interpolate", "two.npy", "b.png", "--output", "strip.png")


@pytest.mark.parametrize(("latent", "shape"), [(1, (1, 11)), (2, (15, 15))])
def test_traverse_of_a_line_or_a_plane_is_all_of_it(latent, shape, digits):
    split = digits.one_class(normal=[0], seed=0)
    detector = Detector(model="vae", latent_dim=latent, hidden=(16,), epochs=1, samples=2).fit(
        split.train.images
    )
    walked = traverse(detector, split.validation.images)
    assert walked.images.shape == (*shape, 28, 28)
    assert len(walked.rows) == shape[0]
    assert len(walked.values) == shape[1]


@pytest.mark.parametrize(
    ("settings", "what"),
    [({"model": "vae", "likelihood": "bernoulli"}, "unit"), ({"model": "ae"}, "direction")],
    ids=["vae", "ae"],
)
def test_traverse_changes_the_picture_in_every_row(settings, what, digits):
    """The largest changes come first, each said of its row; what changes little is left out."""
    split = digits.one_class(normal=[0, 1, 4], seed=0)
    detector = Detector(**settings, latent_dim=12, hidden=(64,), epochs=40, seed=0)
    detector.fit(split.train.images, conformal="split")
    normals = split.validation.images
    walked = traverse(detector, normals)
    changes = np.abs(walked.images[:, -1] - walked.images[:, 0]).sum((1, 2))
    assert 2 <= len(changes) <= 10
    assert (np.diff(changes) <= 1e-3).all()
    assert changes.min() >= detector.reconstruct(normals).sum((1, 2)).mean() / 4
    if what == "direction":
        codes = detector.encode(normals).astype(np.float64)
        widest = np.linalg.svd(codes - codes.mean(0))[2][0]
        ends = np.quantile((codes - codes.mean(0)) @ widest, [0.01, 0.99])
        first, last = detector.decode(codes.mean(0) + ends[:, None] * widest)
        assert np.abs(changes - np.abs(last - first).sum()).min() < 0.1
    for change, name in zip(changes, walked.rows, strict=True):
        assert name.startswith(what)
        assert f"change {change:.0f} px" in name


def test_plot_traverse_in_every_form(trained: Path):
    for suffix, head in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        ok("plot", "traverse", "--output", f"t.{suffix}")
        assert Path(f"t.{suffix}").read_bytes().startswith(head)
    assert "<text" in Path("t.svg").read_text()
    assert "suffix must be one of" in fails(2, "plot", "traverse", "--output", "t.gif")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--likelihood", "gaussian"], "likelihood 'gaussian': only a vae, ladder-vae or adgm has one"),
        (["--beta", "2"], "beta 2.0: only a vae, ladder-vae or adgm has one"),
        (["--samples", "3"], "samples 3: only a vae, ladder-vae or adgm has one"),
        (["--score", "elbo"], "score 'elbo': an ae has bent, worst-place, mse, relative, smooth"),
        (["--model", "vae", "--beta", "-1"], "-1.0 is not in the range x>=0"),
        (["--model", "vae", "--samples", "0"], "0 is not in the range 1<=x<=10000"),
        (["--model", "vae", "--likelihood", "poisson"], "'poisson' is not one of"),
        (["--model", "vae", "--score", "elbo-excess"], "a vae with likelihood gaussian has"),
    ],
)
def test_bad_settings_are_one_line(args, message):
    assert message in fails(2, "train", "--normal", "0", "--dataset", "digits", *args)


def test_an_autoencoder_does_not_generate(small):
    small.save("runs/plain")
    complaint = fails(1, "generate", "--output", "grid.png")
    assert "model 'ae'" in complaint
    assert "--model vae" in complaint
    assert "score 'elbo'" in fails(2, "score", "x.png", "--score", "elbo")
    with pytest.raises(ConfigError, match="count 0"):
        Detector(model="vae", hidden=(8,), latent_dim=2, epochs=1).fit(
            np.zeros((9, 28, 28), np.uint8)
        ).generate(0)


def test_a_loss_that_turns_nan_stops_and_keeps_the_last_good_epoch(monkeypatch):
    from anomalae.models import VariationalAutoencoder

    real, calls = VariationalAutoencoder.loss, []

    def spoiled(self, *args):
        calls.append(None)
        return real(self, *args) * (float("nan") if len(calls) > 8 else 1)

    monkeypatch.setattr(VariationalAutoencoder, "loss", spoiled)
    complaint = fails(1, "train", "--normal", "0", *VAE, "--epochs", "9", "--batch-size", "32")
    assert "became nan in epoch 3: lower --learning-rate" in complaint
    assert "epoch 2 was the last good one" in complaint
    assert parsed("runs", "--json")[0]["epoch"] == 2
