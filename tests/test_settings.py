"""Settings: ranges are checked by name, JSON goes in and out, unknown keys are refused.

Each is described once: its options, its keys of a TOML file and the networks' own settings follow.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import click
import pytest

from anomalae.cli.commands import benchmark, train
from anomalae.cli.setting_options import flag
from anomalae.errors import ConfigError
from anomalae.models import likelihoods
from anomalae.network_kinds import LIKELIHOODS, MODELS, owners
from anomalae.ranges import Choice, Real, Views, Whole, Widths
from anomalae.settings import DESCRIPTIONS, NetworkSettings, Settings

KINDS = [MODELS[name] for name in MODELS.names()]
# Copies, for a command remembers the first context it is read in.
COMMANDS = {"train": copy.copy(train.command), "benchmark": copy.copy(benchmark.command)}
TYPED = [name for name in DESCRIPTIONS if name != "seed"]  # `--seed` and `--seeds` are the commands' own
# What settings of an ensemble are about, and no network of it has: its schedule, its score, its members.
OF_ALL = {"epochs", "batch_size", "score", "views", "members", "neighbours", "distance"}


def test_json_round_trip():
    settings = Settings(latent_dim=3, hidden=(5, 4), noise=0.5, seed=9)
    assert Settings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_missing_keys_take_defaults_and_unknown_ones_are_named():
    before = Settings(latent_dim=3, views=("pixels",), distance="sum")
    assert Settings.from_dict({"latent_dim": 3}) == before, "the file is older than these settings"
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
        ("epochs", 0, "epochs 0: must be from 1 to 100000"),
        ("batch_size", -1, "batch_size -1: must be from 1 to 1000000"),
        ("learning_rate", 0, "learning_rate 0: must be above 0"),
        ("learning_rate", float("nan"), "must be a finite number"),
        ("weight_decay", -1.0, "weight_decay -1.0: must be at least 0"),
        ("noise", -0.1, "noise -0.1: must be at least 0"),
        ("noise", "much", "must be a finite number"),
        ("seed", -1, "seed -1: must be from 0"),
        ("model", "gan", "model 'gan': must be one of ae, vae"),
        ("architecture", "rnn", "must be one of dense, conv"),
        ("score", "elbo", "score 'elbo': an ae has bent, worst-place"),
        ("hidden", (0,), "hidden 0: must be from 1 to 16384"),
        ("hidden", (16385,), "hidden 16385: must be from 1 to 16384"),
        ("hidden", (64,) * 21, "hidden: 21 numbers, at most 20 are allowed"),
        ("hidden", {"64": 1}, "hidden {'64': 1}: must be several whole numbers"),
        ("views", {"pixels": 1}, "views {'pixels': 1}: must be several names"),
        ("noise", 2e30, "noise 2e.30: must be at most 1e.30"),
        ("members", 101, "members 101: must be from 1 to 100"),
        ("passes", 101, "passes 101: must be from 1 to 100"),
        ("neighbours", 10**7, "neighbours 10000000: must be from 0 to 1000000"),
    ],
)
def test_values_out_of_range_are_named_with_their_limit(name, value, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        Settings(**{name: value})


@pytest.mark.parametrize(
    ("n", "batch_size", "epochs"),
    [(5000, 128, 20), (46000, 128, 20), (107, 32, 200), (2000, 62, 25), (1, 32, 800)],
)
def test_few_images_get_smaller_batches_and_more_epochs(n, batch_size, epochs):
    filled = Settings().for_images(n)
    assert (filled.batch_size, filled.epochs) == (batch_size, epochs)
    given = Settings(epochs=2, batch_size=7)
    assert given.for_images(n) == given


def test_conv_has_two_layers():
    with pytest.raises(ConfigError, match="2 layers"):
        Settings(architecture="conv", hidden=(8,))


# --- descriptions -------------------------------------------------------------------------------------------------


def test_every_setting_is_described():
    assert list(DESCRIPTIONS) == [field.name for field in dataclasses.fields(Settings)]


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_a_description_is_a_sentence_and_holds_of_the_default(name):
    described, default = DESCRIPTIONS[name], Settings.__dataclass_fields__[name].default
    assert described.help[0].isupper()
    assert described.help.endswith(".")
    assert described.optional == (default is None)
    if default is None:
        assert described.shown, "what it is by default, nobody could tell"
    else:
        assert described.range.check(name, default) == default
    for kind in KINDS:
        if name in kind.own:
            assert described.range.check(name, kind.own[name]) == kind.own[name]


@pytest.mark.parametrize("name", [name for name in DESCRIPTIONS if not DESCRIPTIONS[name].optional])
def test_none_is_no_value_of_a_setting_that_has_a_default(name):
    with pytest.raises(ConfigError, match=rf"^{name} None: must be "):
        Settings(**{name: None})


def test_what_a_kind_has_of_its_own_are_settings():
    for kind in KINDS:
        assert set(kind.own) <= set(DESCRIPTIONS), kind.name
        for name in kind.own:
            assert DESCRIPTIONS[name].optional, name
            assert kind.name in owners(name)
            assert getattr(Settings(model=kind.name), name) == kind.own[name]
    assert Settings(model="ae").likelihood is None


def test_likelihoods_are_named_as_they_are_built():
    """Their names are known without torch, which their formulas need."""
    assert tuple(likelihoods.LIKELIHOODS) == LIKELIHOODS == DESCRIPTIONS["likelihood"].range.names()


def test_a_network_has_what_is_of_one_network():
    names = {field.name for field in dataclasses.fields(NetworkSettings)}
    assert names == (set(DESCRIPTIONS) - OF_ALL) | {"view"}
    settings = Settings(model="vae", views=("edges", "pixels"), members=2, latent_dim=3, neighbours=5, seed=7)
    network = settings.network("edges")
    assert all(getattr(network, name) == getattr(settings, name) for name in names - {"view"})
    assert network.view == "edges"
    assert settings.network("edges", seed=8) == dataclasses.replace(network, seed=8)


# --- options ------------------------------------------------------------------------------------------------------


def option(command: str, name: str) -> click.Option:
    return next(p for p in COMMANDS[command].params if flag(name) in p.opts)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", TYPED)
def test_every_setting_is_an_option_of_the_same_range(command, name):
    described, typed = DESCRIPTIONS[name], option(command, name)
    allowed = described.range
    assert (typed.name, typed.default, typed.multiple) == (name, None, False)
    assert typed.help.startswith(described.help)
    if isinstance(allowed, Whole):
        assert isinstance(typed.type, click.IntRange)
        assert (typed.type.min, typed.type.max) == (allowed.least, allowed.most)
        assert {typed.type.min_open, typed.type.max_open, typed.type.clamp} == {False}
    elif isinstance(allowed, Real):
        assert isinstance(typed.type, click.FloatRange)
        assert (typed.type.min, typed.type.max) == (allowed.least, None)
        assert (typed.type.min_open, typed.type.clamp) == (allowed.open, False)
    elif isinstance(allowed, Choice):
        assert [typed.type.convert(word, typed, None) for word in allowed.names()] == [*allowed.names()]
        with pytest.raises(click.BadParameter):
            typed.type.convert("another", typed, None)
    else:
        assert isinstance(typed.type, click.types.StringParamType)
        assert (typed.callback is not None) == isinstance(allowed, Views | Widths)


def test_the_seed_is_the_commands_own():
    assert option("train", "seed").type.min == DESCRIPTIONS["seed"].range.least
    assert "--seed" not in {opt for p in COMMANDS["benchmark"].params for opt in p.opts}


# Of each setting a line of TOML, and what it means.
LINES = {
    "model": ('"vae"', "vae"),
    "architecture": ('"conv"', "conv"),
    "latent_dim": ("16", 16),
    "hidden": ("[8, 4]", (8, 4)),
    "epochs": ("2", 2),
    "batch_size": ("7", 7),
    "learning_rate": ("1e-3", 1e-3),
    "weight_decay": ("0", 0),
    "noise": ("0.5", 0.5),
    "score": ('"mse"', "mse"),
    "likelihood": ('"gaussian"', "gaussian"),
    "beta": ("0.5", 0.5),
    "samples": ("4", 4),
    "layers": ("3", 3),
    "auxiliary_dim": ("5", 5),
    "passes": ("1", 1),
    "views": ('["edges", "pixels"]', ("edges", "pixels")),
    "members": ("2", 2),
    "neighbours": ("5", 5),
    "distance": ('"sum"', "sum"),
}


def test_lines_of_toml_are_of_all_settings():
    assert list(LINES) == TYPED


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("dashed", [True, False])
def test_every_setting_is_a_key_of_a_toml_file(command, dashed):
    keys = {name: name.replace("_", "-") if dashed else name for name in LINES}
    Path("all.toml").write_text("".join(f"{keys[name]} = {line}\n" for name, (line, _) in LINES.items()))
    context = COMMANDS[command].make_context(command, ["--config", "all.toml"])
    assert {name: context.params[name] for name in LINES} == {
        name: value for name, (_, value) in LINES.items()
    }
    typed = COMMANDS[command].make_context(command, ["--config", "all.toml", "--latent-dim", "3"])
    assert typed.params["latent_dim"] == 3


def test_an_empty_score_is_none():
    with pytest.raises(ConfigError, match="score '': an ae has bent, worst-place"):
        Settings(score="")
