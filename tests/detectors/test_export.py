"""Every kind of network, view and score as a graph: verdicts are those of the detector."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anomalae import Detector, Kind, Score, register_model, register_score
from anomalae.detectors.export import OnnxDetector, compare, export
from anomalae.detectors.export.names import TOLERANCE
from anomalae.detectors.export.verifying import verify_model
from anomalae.detectors.export.writing import make_model
from anomalae.detectors.judging import Judge
from anomalae.errors import PartError
from anomalae.evaluation import p_values
from anomalae.images.sources import Canonical
from anomalae.models import Autoencoder
from anomalae.plugins import VIEWS
from tests.conftest import SMALL
from tests.detectors.ensembles import fitted

VAE = {**SMALL, "model": "vae", "samples": 4}
CASES = {
    "every view": ({"views": VIEWS.names()}, ("bent", "worst-place", "mse")),
    "errors": ({}, ("worst-place", "mse", "relative", "smooth", "sap", "nap")),
    "convolutions, several passes": (
        {"architecture": "conv", "hidden": (8, 8), "passes": 2, "views": ("pixels",)},
        ("bent", "nap"),
    ),
    "several networks of maps": ({"members": 2, "views": ("edges",)}, ("bent", "worst-place")),
    "neighbours by rms": ({"views": ("normalised",), "neighbours": 5}, ("bent",)),
    "neighbours by sum": ({"views": ("deskewed",), "neighbours": 3, "distance": "sum"}, ("smooth",)),
    "vae": (VAE, ("elbo", "iwae", "reconstruction-probability", "kl")),
    "vae, bernoulli": (
        {**VAE, "likelihood": "bernoulli", "views": ("pixels", "edges"), "neighbours": 2},
        ("elbo-excess",),
    ),
    "vae, smooth gaussian": ({**VAE, "likelihood": "smooth-gaussian"}, ("elbo",)),
    "vae, smooth direction": ({**VAE, "likelihood": "smooth-direction"}, ("elbo",)),
    "ladder": ({**VAE, "model": "ladder-vae", "layers": 3}, ("elbo", "llr-1", "llr-2")),
    "adgm": ({**VAE, "model": "adgm"}, ("elbo", "iwae")),
}


@pytest.fixture(scope="module")
def images(digits) -> np.ndarray:
    """Digits of all classes, a blank image, a white one, and noise."""
    odd = [np.zeros((28, 28)), np.full((28, 28), 255), np.random.default_rng(0).integers(0, 256, (28, 28))]
    return np.concatenate([digits.test.images[:300], np.array(odd, np.uint8)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        pytest.param(asked, rule, id=f"{case}-{rule}")
        for case, (asked, rules) in CASES.items()
        for rule in rules
    ],
)
def test_a_graph_has_the_verdicts_of_the_detector(asked, rule, split, images, tmp_path):
    detector = fitted(split, **{**SMALL, "seed": 3, **asked})
    compared = export(detector, tmp_path / "model.onnx", images, rule=rule)
    assert compared.relative <= TOLERANCE
    assert compared.n_verdicts <= compared.n_near
    assert compared.n_p_values <= compared.n_near
    assert compared.reconstruction < 1e-4
    # Where the draws of a density nearly balance, a last bit decides on the sign of a term.
    assert compared.heatmap < 1e-2
    model = OnnxDetector(tmp_path / "model.onnx")
    assert model.rule == rule
    assert model.heatmap_level(0.1) == pytest.approx(detector.heatmap_level(0.1, rule))
    known = detector.calibration_scores(rule)
    again = model.judge(Canonical(split.calibration.images), ("p_value",))["p_value"]
    # Of ratios rounding is larger, and may be as large as the distance of two calibration scores.
    assert (again != p_values(known, known)).sum() <= (1 if compared.relative > 2e-5 else 0)
    if detector.settings.neighbours:
        (nearest,) = model.run(("nearest",), images[:3])
        assert nearest.shape == (3, detector.settings.neighbours, 28, 28)
        kept = detector._ensemble.members[-1].kept
        assert all((kept == near).all((1, 2)).any() for near in nearest.reshape(-1, 28, 28))


FOLDS = {
    "one network a fold": ({"views": ("pixels",)}, "mse", None),
    "a calibration of one's own": ({"views": ("pixels",)}, "smooth", "mine"),
    "views and neighbours": ({"views": ("settled", "pixels"), "neighbours": 2}, "bent", None),
    "vae": ({**VAE, "views": ("pixels",)}, "elbo", None),
}


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "rule", "calibration"), FOLDS.values(), ids=FOLDS)
def test_folds_are_in_the_graph(asked, rule, calibration, digits, images, tmp_path):
    zeros = digits.whole.images[digits.whole.labels == 0]
    few = Detector(**{**SMALL, "seed": 3, **asked}).fit(zeros[:40])
    few.calibrate(zeros[60:110] // 2, "mine")
    # Those that it was trained on have the very scores that they calibrate by: by rounding alone one is above itself.
    judged = np.concatenate([images, zeros[:60]])
    compared = export(few, tmp_path / "model.onnx", judged, rule=rule, calibration=calibration)
    assert compared.relative <= TOLERANCE
    assert compared.n_p_values <= compared.n_near
    assert compared.n_verdicts <= compared.n_near
    assert compared.reconstruction < 1e-4
    assert compared.heatmap < 1e-2
    model = OnnxDetector(tmp_path / "model.onnx")
    far = compare(few, model, images, calibration=calibration)
    assert far.n_images - far.n_near > 250
    np.testing.assert_array_equal(
        model.calibration_scores(), np.sort(few.calibration_scores(rule, calibration=calibration))
    )
    assert Judge(model).calibration_hash == Judge(few, rule, calibration=calibration).calibration_hash
    assert model.heatmap_level(0.1) == pytest.approx(few.heatmap_level(0.1, rule, calibration=calibration))
    assert verify_model(tmp_path / "model.onnx").sound
    if few.settings.neighbours:
        near = model.judge(Canonical(images[:5]), ("nearest",))["nearest"]
        np.testing.assert_array_equal(near, few.nearest(images[:5]))
    # Another seed's networks differ by more than any rounding, though their ranks be set against the same.
    other = Detector(**{**SMALL, "seed": 4, **asked}).fit(zeros[:40])
    other.calibrate(zeros[60:110] // 2, "mine")
    assert compare(other, model, images, calibration=calibration).relative > TOLERANCE


@pytest.mark.slow
def test_a_calibration_of_ones_own_is_in_the_graph(small, digits, tmp_path):
    small = Detector.load(saved(small, tmp_path / "run"))
    zeros = digits.whole.images[digits.whole.labels == 0]
    small.calibrate(zeros[:60] // 2, "mine")
    images = digits.test.images[:60] // 2
    compared = export(small, tmp_path / "model.onnx", images, calibration="mine")
    model = OnnxDetector(tmp_path / "model.onnx")
    assert model.calibration == "mine"
    np.testing.assert_array_equal(
        model.calibration_scores(), np.sort(small.calibrations["mine"].scores["bent"])
    )
    differing = model.p_values(images) != small.p_values(images, calibration="mine")
    assert differing.sum() == compared.n_p_values
    assert model.threshold(0.1) == small.threshold(0.1, calibration="mine") != small.threshold(0.1)


def saved(detector: Detector, folder):
    detector.save(folder)
    return folder


class Ink(Score):
    """A score in torch alone: it can be in a graph."""

    name = "ink"

    def score(self, seen, learned):
        return (seen.source - seen.rebuilt).abs().mean((1, 2, 3)).cpu().double()


class NumpyInk(Score):
    """One that leaves torch: it cannot."""

    name = "numpy-ink"

    def score(self, seen, learned):
        return torch.from_numpy(seen.source.numpy().mean((1, 2, 3)).astype(np.float64))


@pytest.mark.slow
def test_parts_of_ones_own_are_in_the_graph_if_they_can_be(split, images, tmp_path):
    register_score(Ink())
    register_score(NumpyInk())
    register_model(
        Kind(
            "own",
            "a network of one's own",
            lambda settings, channels: Autoencoder("dense", (8,), 4, channels),
        )
    )
    detector = fitted(
        split, **{**SMALL, "model": "own", "score": "ink", "views": ("pixels",), "latent_dim": 4}
    )
    compared = export(detector, tmp_path / "model.onnx", images)
    assert compared.relative <= TOLERANCE
    with pytest.raises(PartError, match=r"model own \(of module .*\), .*cannot be part of an ONNX model: "):
        export(detector, tmp_path / "other.onnx", images, rule="numpy-ink")
    assert [path.name for path in tmp_path.glob("*onnx*")] == ["model.onnx"]


@pytest.mark.slow
def test_a_comparison_sees_a_model_of_another_detector(small, split, images):
    from anomalae.detectors.export.writing import _described, _tell

    other = fitted(split, **{**SMALL, "seed": 4})
    model = make_model(other, "bent")
    _tell(model, _described(other, "bent", 0.05, None, ""))
    compared = compare(small, OnnxDetector(model.SerializeToString()), images)
    assert compared.relative > 1
    assert compared.n_p_values > 100
    assert len(compared.rows) == 20
    number, score, there, p, p_there = compared.rows[0]
    assert (score, p) == (small.score(images)[number], small.p_values(images)[number])
    assert score != there
    assert p != p_there
