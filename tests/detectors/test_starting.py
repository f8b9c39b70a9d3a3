"""A training begins with another's weights: the very same ones, of the same shapes only, kept with the run."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anomalae import Detector, files, runs
from anomalae.errors import ConfigError
from anomalae.models.training.state import Training
from anomalae.runs.record import VERSION_WITH_START, read_record
from tests.detectors.ensembles import THREE


def weights(detector: Detector) -> dict[str, torch.Tensor]:
    return {
        f"{member.name}.{name}": tensor.clone()
        for member in detector.as_start().members
        for name, tensor in member.network.state_dict().items()
    }


def fitted(split, start: Detector | None = None, **settings) -> Detector:
    parts = (split.train.images, split.validation.images, split.calibration.images)
    return Detector(**settings).fit(*parts, start=start)


# A step this small moves no weight.
STILL = {"epochs": 1, "learning_rate": 1e-30, "weight_decay": 0.0}


def test_it_begins_with_the_weights_of_each_network_by_its_view(three: Detector, split):
    before = weights(three)
    settings = THREE | STILL | {"views": three.settings.views[::-1], "seed": 9}
    after = weights(fitted(split, three, **settings))
    assert set(after) == set(before)
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-20)


def test_the_other_is_left_as_it_is(small: Detector, split):
    before = weights(small)
    started = fitted(split, small, **{**SHAPE, "epochs": 2})
    assert any(not torch.equal(weights(started)[name], before[name]) for name in before)
    for name, tensor in weights(small).items():
        assert torch.equal(tensor, before[name])


SHAPE = {"hidden": (32,), "latent_dim": 8}


def test_the_run_keeps_with_what_it_began(small: Detector, split, tmp_path):
    small.save(tmp_path / "first")
    fitted(split, Detector.load(tmp_path / "first"), **SHAPE, epochs=1).save(tmp_path / "second")
    record = read_record(tmp_path / "second")
    kept = {"run": "first", "weights": files.sha256(tmp_path / "first" / runs.WEIGHTS)}
    assert record.start == kept == Detector.load(tmp_path / "second").start
    assert record.to_dict()["format_version"] == VERSION_WITH_START
    assert "start" not in read_record(tmp_path / "first").to_dict()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hidden": (16,), "latent_dim": 8}, r"hidden \[32\] there, \[16\] here"),
        ({**SHAPE, "latent_dim": 4}, "latent_dim 8 there, 4 here"),
        ({**SHAPE, "members": 2}, "members 1 there, 2 here"),
        ({**SHAPE, "model": "vae"}, "model 'ae' there, 'vae' here"),
    ],
)
def test_other_shapes_are_refused(settings, words: str, small: Detector, split):
    with pytest.raises(ConfigError, match=rf"start: the networks of .* have another shape: .*{words}"):
        fitted(split, small, epochs=1, **settings)


def test_a_resumed_training_does_not_need_the_other(small: Detector, split, tmp_path):
    parts = (split.train.images, split.validation.images, split.calibration.images)

    def interrupt(state: Training) -> None:
        raise KeyboardInterrupt

    whole = Detector(**SHAPE, epochs=2).fit(*parts, start=small)
    with pytest.raises(KeyboardInterrupt):
        Detector(**SHAPE, epochs=2).fit(*parts, start=small, folder=tmp_path, on_epoch=interrupt)
    with pytest.raises(ConfigError, match="cannot be given with resume"):
        Detector(**SHAPE, epochs=2).fit(*parts, start=small, folder=tmp_path, resume=True)
    again = Detector(**SHAPE, epochs=2).fit(*parts, folder=tmp_path, resume=True)
    np.testing.assert_array_equal(again.score(split.test.images), whole.score(split.test.images))
    assert again.start == whole.start != {}
