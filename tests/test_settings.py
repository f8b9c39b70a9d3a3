"""Settings: ranges are checked by name, JSON goes in and out, unknown keys are refused."""

from __future__ import annotations

import json

import pytest

from anomalae.errors import ConfigError
from anomalae.settings import Settings


def test_json_round_trip():
    settings = Settings(latent_dim=3, hidden=(5, 4), noise=0.5, seed=9)
    assert Settings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_missing_keys_take_defaults_and_unknown_ones_are_named():
    assert Settings.from_dict({"latent_dim": 3}) == Settings(latent_dim=3)
    with pytest.raises(ConfigError, match=r"^here: unknown key 'latnet_dim'$"):
        Settings.from_dict({"latnet_dim": 3}, "here")
    with pytest.raises(ConfigError, match="unknown setting 'latnet_dim'"):
        Settings.of(latnet_dim=3)


def test_of_takes_none_as_not_given_and_the_architectures_defaults():
    assert Settings.of(latent_dim=None) == Settings()
    assert Settings.of(architecture="conv").hidden == (32, 64)
    assert Settings.of(architecture="conv", hidden=(8, 8)).hidden == (8, 8)
    assert Settings.of(noise=0).noise == 0


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("latent_dim", 0, "latent_dim 0: must be from 1 to 784"),
        ("latent_dim", 785, "latent_dim 785: must be from 1 to 784"),
        ("latent_dim", 2.0, "must be a whole number"),
        ("epochs", True, "must be a whole number"),
        ("epochs", 0, "epochs 0: must be at least 1"),
        ("batch_size", -1, "batch_size -1: must be at least 1"),
        ("learning_rate", 0, "learning_rate 0: must be above 0"),
        ("learning_rate", float("nan"), "must be a finite number"),
        ("weight_decay", -1.0, "weight_decay -1.0: must be at least 0"),
        ("noise", -0.1, "noise -0.1: must be at least 0"),
        ("noise", "much", "must be a finite number"),
        ("seed", -1, "seed -1: must be from 0"),
        ("model", "gan", "model 'gan': must be one of ae, vae"),
        ("architecture", "rnn", "must be one of dense, conv"),
        ("score", "elbo", "score 'elbo': an ae has mse"),
        ("hidden", (0,), "hidden 0: must be at least 1"),
    ],
)
def test_values_out_of_range_are_named_with_their_limit(name, value, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        Settings(**{name: value})


@pytest.mark.parametrize(
    ("n", "batch_size", "epochs"),
    [(5000, 128, 30), (46000, 128, 30), (107, 32, 300), (2000, 62, 37), (1, 32, 1200)],
)
def test_few_images_get_smaller_batches_and_more_epochs(n, batch_size, epochs):
    filled = Settings().for_images(n)
    assert (filled.batch_size, filled.epochs) == (batch_size, epochs)
    given = Settings(epochs=2, batch_size=7)
    assert given.for_images(n) == given


def test_conv_has_two_layers():
    with pytest.raises(ConfigError, match="2 layers"):
        Settings(architecture="conv", hidden=(8,))
