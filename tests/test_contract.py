"""All built-in parts keep the contract, and a part that is wrong in one way fails the check of that property."""

from __future__ import annotations

import dataclasses
import json
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from anomalae import Kind, Score, View, contract, register_model, register_score, register_view
from anomalae.contract import of_models, of_scores, of_views
from anomalae.errors import AnomalaeError, ConfigError, ContractError
from anomalae.models.vae import VariationalAutoencoder
from anomalae.models.vae import make as make_vae
from anomalae.network_kinds import MODELS, REGISTRIES
from tests.cli import fails, ok, parsed, run

BUILT_IN = [(sort, name) for sort, registry in REGISTRIES.items() for name in registry.names()]
# Several latent variables cost several times as much as one, and scores of one draw as the ELBO does.
COSTLY = {
    "adgm",
    "ladder-vae",
    "llr-2",
    "llr-3",
    "llr-4",
    "llr-5",
    "iwae",
    "kl",
    "reconstruction-probability",
}


@pytest.fixture(autouse=True)
def _nothing_stays_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in REGISTRIES.values():
        monkeypatch.setattr(registry, "_own", {})


@pytest.mark.parametrize(
    ("sort", "name"),
    [
        pytest.param(*part, id=" ".join(part), marks=[pytest.mark.slow] if part[1] in COSTLY else [])
        for part in BUILT_IN
    ],
)
def test_a_part_that_comes_with_anomalae_keeps_the_contract(sort, name):
    assert [result for result in contract.run(name, sort) if result.error] == []


@contract.parametrize("deskewed")
def test_each_check_is_a_test_of_its_own(check):
    check()


# --- networks that are wrong in one way ---


class Tiny(nn.Module):
    """A network that keeps the contract."""

    def __init__(self, settings, channels):
        super().__init__()
        self.channels = channels
        self.down = nn.Linear(784, settings.latent_dim)
        self.up = nn.Linear(settings.latent_dim, channels * 784)

    def encode(self, images):
        return self.down(images.flatten(1))

    def decode(self, codes):
        return torch.sigmoid(self.up(codes)).unflatten(1, (self.channels, 28, 28))

    def reconstruct(self, images):
        return self.decode(self.encode(images))

    def hidden(self, images):
        return [images.flatten(1), self.encode(images)]

    def loss(self, corrupted, clean, source, warmth):
        return (self.decode(self.encode(corrupted)) - clean).square().flatten(1).sum(1)


class SeedlessWeight(Tiny):
    def __init__(self, settings, channels):
        super().__init__(settings, channels)
        self.shift = nn.Parameter(torch.tensor(np.random.default_rng().normal(), dtype=torch.float32))


class SameWeights(Tiny):
    def __init__(self, settings, channels):
        super().__init__(settings, channels)
        del self.down
        del self.up
        self.a = nn.Parameter(torch.linspace(-0.1, 0.1, 784 * settings.latent_dim).view(784, -1))
        self.b = nn.Parameter(
            torch.linspace(-0.1, 0.1, 784 * channels * settings.latent_dim).view(-1, 784 * channels)
        )

    def encode(self, images):
        return images.flatten(1) @ self.a

    def up(self, codes):
        return codes @ self.b


class DoubleLoss(Tiny):
    def loss(self, *given):
        return super().loss(*given).double()


class Unbounded(Tiny):
    def decode(self, codes):
        return self.up(codes).unflatten(1, (self.channels, 28, 28))


class DividesByInk(Tiny):
    def encode(self, images):
        return self.down((images / images.sum((1, 2, 3), keepdim=True)).flatten(1))


class BatchNorm(Tiny):
    def __init__(self, settings, channels):
        super().__init__(settings, channels)
        self.norm = nn.BatchNorm1d(settings.latent_dim)

    def encode(self, images):
        return self.norm(super().encode(images))


class Counts(Tiny):
    calls = 0

    def encode(self, images):
        self.calls += 1
        return super().encode(images) * (1 + self.calls / 100)


class CentresBatch(Tiny):
    def encode(self, images):
        codes = super().encode(images)
        return codes - codes.mean(0)


class AveragesLoss(Tiny):
    def loss(self, *given):
        loss = super().loss(*given)
        return loss + loss.mean()


class Dropout(Tiny):
    def encode(self, images):
        return nn.functional.dropout(super().encode(images), training=self.training)


class ChangesImages(Tiny):
    def loss(self, corrupted, *given):
        return super().loss(corrupted.mul_(0.5), *given)


class NoGradient(Tiny):
    def loss(self, *given):
        return super().loss(*given).detach() + 0 * self.up.bias.sum()


class KeepsScaleAside(Tiny):
    scale = 1.0

    def loss(self, *given):
        if self.training:
            self.scale = 1.5
        return super().loss(*given)

    def encode(self, images):
        return super().encode(images) * self.scale


class KeepsStepsAside(Tiny):
    steps = 0

    def loss(self, *given):
        self.steps += self.training
        return super().loss(*given) / (1 + self.steps)


class Copies(Tiny):
    def reconstruct(self, images):
        return images.expand(-1, self.channels, -1, -1)


class NoPixels(Tiny):
    def hidden(self, images):
        return [self.encode(images), self.encode(images)]


class DoubleKL(VariationalAutoencoder):
    def kl_units(self, inferred):
        return 2 * super().kl_units(inferred)


def _double_kl(settings, channels):
    network = make_vae(settings, channels)
    network.__class__ = DoubleKL
    return network


def kind(maker, **more):
    return Kind("wrong", "wrong in one way", maker, **{"hidden": True, **more})


def kind_of_vae(maker):
    return dataclasses.replace(MODELS["vae"], name="wrong", maker=maker)


WRONG_MODELS = [
    (kind(Tiny, schedule=(0, 0)), of_models.name_works),
    (kind(Tiny, score="elbo"), of_models.name_works),
    (kind(SeedlessWeight), of_models.same_seed),
    (kind(SameWeights), of_models.other_seed),
    (kind(DoubleLoss), of_models.shapes),
    (kind(Unbounded), of_models.in_range),
    (kind(DividesByInk), of_models.blank_images),
    (kind(BatchNorm), of_models.one_image),
    (kind(Counts), of_models.same_each_time),
    (kind(CentresBatch), of_models.images_by_themselves),
    (kind(AveragesLoss), of_models.loss_by_itself),
    (kind(Dropout), of_models.left_as_they_were),
    (kind(ChangesImages), of_models.left_as_they_were),
    (kind(NoGradient), of_models.trains),
    (kind(KeepsScaleAside), of_models.saved_and_loaded),
    (kind(KeepsStepsAside), of_models.resumed),
    (kind(Copies), of_models.tells_crosses_from_bars),
    (kind(NoPixels), of_models.hidden),
    (kind_of_vae(_double_kl), of_models.density),
]


# --- scores ---


class Plain(Score):
    """A score that keeps the contract."""

    name, line = "wrong", "wrong in one way"

    def score(self, seen, learned):
        return (seen.target - seen.rebuilt).double().abs().flatten(1).mean(1)


class Unsaid(Plain):
    line = ""


class FitsNone(Plain):
    def fits(self, network):
        return False


class Single(Plain):
    def score(self, seen, learned):
        return super().score(seen, learned).float()


class Negative(Plain):
    def score(self, seen, learned):
        return super().score(seen, learned) - 1


class PerInk(Plain):
    def score(self, seen, learned):
        return super().score(seen, learned) / seen.target.double().sum((1, 2, 3))


class CountsScores(Plain):
    calls = 0

    def score(self, seen, learned):
        self.calls += 1
        return super().score(seen, learned) * self.calls


class AgainstBatch(Plain):
    def score(self, seen, learned):
        scores = super().score(seen, learned)
        return scores + scores.mean()


class Draws(Plain):
    def score(self, seen, learned):
        return super().score(seen, learned) + 1e-9 * torch.rand(()).double()


class LearnsDouble(Plain):
    learned = ("mean",)

    def learn(self, seen):
        return {"mean": seen.rebuilt.double().mean(0).numpy()}


class TwiceTheTerms(Plain):
    has_terms = True

    def terms(self, seen):
        return (seen.target - seen.rebuilt).double() / 392


class NoTerms(Plain):
    has_terms = True


class KeepsOnNetwork(Plain):
    learned = ("nothing",)

    def learn(self, seen):
        seen.network.usual = 2.0
        return {"nothing": np.zeros(1, dtype=np.float32)}

    def score(self, seen, learned):
        return super().score(seen, learned) * getattr(seen.network, "usual", 1.0)


class FirstNetworkOnly(Plain):
    def score(self, seen, learned):
        if seen.settings.seed:
            raise KeyError(seen.settings.seed)
        return super().score(seen, learned)


class Reversed(Plain):
    def score(self, seen, learned):
        return 1 / (1 + super().score(seen, learned))


WRONG_SCORES = [
    (Unsaid(), of_scores.name_works),
    (FitsNone(), of_scores.name_works),
    (Single(), of_scores.float64),
    (Negative(), of_scores.at_least_0),
    (PerInk(), of_scores.blank_images),
    (CountsScores(), of_scores.same_each_time),
    (AgainstBatch(), of_scores.images_by_themselves),
    (Draws(), of_scores.left_as_they_were),
    (CountsScores(), of_scores.left_as_they_were),
    (LearnsDouble(), of_scores.learned),
    (TwiceTheTerms(), of_scores.terms),
    (NoTerms(), of_scores.heatmap),
    (KeepsOnNetwork(), of_scores.saved_and_loaded),
    (FirstNetworkOnly(), of_scores.ensemble),
    (Reversed(), of_scores.tells_crosses_from_bars),
]


# --- views ---


def view(source, line="wrong in one way", **more):
    return View("wrong", line, source, **more)


def _counting():
    calls = [0]

    def counted(images):
        calls[0] += 1
        return images / (1 + calls[0] / 100)

    return counted


def _twice_terms(maps, images, terms):
    return maps[:, 0] * (2 if terms else 1)


def _twice_maps(maps, images, terms):
    return maps[:, 0] * (1 if terms else 2)


WRONG_VIEWS = [
    (view(lambda images: 1 - images, line=""), of_views.name_works),
    (view(lambda images: images.double()), of_views.shapes),
    (view(lambda images: images, target=lambda images: images, channels=2), of_views.shapes),
    (view(lambda images: images * 2), of_views.in_range),
    (view(lambda images: images / images.amax((1, 2, 3), keepdim=True)), of_views.blank_images),
    (view(_counting()), of_views.same_each_time),
    (view(lambda images: (images - images.mean(0)).clamp(0, 1)), of_views.images_by_themselves),
    (view(lambda images: images.clamp_(0, 0.5)), of_views.left_as_they_were),
    (view(lambda images: images, back=_twice_terms), of_views.terms_laid_back),
    (view(lambda images: images, back=_twice_maps), of_views.maps_laid_back),
    (view(_counting()), of_views.saved_and_loaded),
    (view(torch.zeros_like), of_views.tells_crosses_from_bars),
]

REGISTER = {"model": register_model, "score": register_score, "view": register_view}
WRONG = [
    (sort, part, check)
    for sort, parts in (("model", WRONG_MODELS), ("score", WRONG_SCORES), ("view", WRONG_VIEWS))
    for part, check in parts
]
RIGHT = [
    ("model", kind(Tiny)),
    ("model", kind_of_vae(make_vae)),
    ("score", Plain()),
    ("view", view(lambda images: 1 - images)),
]


@pytest.mark.parametrize(("sort", "part"), RIGHT, ids=lambda value: getattr(value, "name", value))
def test_the_parts_that_the_wrong_ones_are_made_of_keep_it(sort, part):
    REGISTER[sort](part)
    assert [result for result in contract.run("wrong", sort) if result.error] == []


@pytest.mark.parametrize(("sort", "part", "check"), WRONG, ids=[f"{s} {c.__name__}" for s, _, c in WRONG])
def test_a_wrong_part_fails_the_check_of_what_is_wrong(sort, part, check):
    REGISTER[sort](part)
    (tried,) = (made for _, made in contract.checks(sort, "wrong") if made.func is check)
    with pytest.raises(Exception, match=r".") as raised:
        tried()
    # What was not meant to be raised is cut to a line by `run`.
    assert not isinstance(raised.value, AnomalaeError) or "\n" not in str(raised.value)


def test_every_check_has_a_wrong_part():
    tried = {check for _, _, check in WRONG}
    for sort, part in RIGHT:
        REGISTER[sort](part)
        assert {made.func for _, made in contract.checks(sort, "wrong")} <= tried


# --- the command ---


def test_check_prints_a_line_a_property():
    lines = ok("check", "edges").stdout.splitlines()
    assert len(lines) == len(of_views.CHECKS)
    assert all(line.startswith("ok: ") for line in lines)
    assert ok("check", "edges", "--quiet").stdout == ""
    assert {row["error"] for row in parsed("check", "edges", "--json")} == {None}


def test_check_of_a_wrong_part_says_what_is_wrong():
    register_view(view(lambda images: images * 2))
    done = run("check", "wrong", "--quiet")
    assert done.exit_code == 1
    assert "failed: what is seen and rebuilt is in [0, 1]: source gives values from 0 to 2" in done.stdout
    assert "properties do not hold" in done.stderr
    assert any(row["error"] for row in json.loads(run("check", "wrong", "--json").stdout))


def test_names_that_check_does_not_know():
    assert "no model, score or view has this name" in fails(2, "check", "os:system")
    assert "say which part" in fails(2, "check")
    assert "exclude it" in fails(2, "check", "vae", "--list")
    register_view(view(lambda images: images))
    register_score(Plain())
    assert "is a score and a view: say which" in fails(2, "check", "wrong")
    assert len(parsed("check", "wrong", "--view", "--json")) == len(of_views.CHECKS)


def test_list_names_all_parts_and_where_they_are_from():
    register_score(Plain())
    rows = {(row["sort"], row["name"]): row for row in parsed("check", "--list", "--json")}
    assert set(BUILT_IN) < set(rows)
    assert rows["model", "ae"] == {
        "sort": "model", "name": "ae", "line": "autoencoder", "origin": "anomalae", "error": None
    }  # fmt: skip
    assert rows["score", "wrong"]["origin"] == f"module {__name__}"
    assert "elbo-excess" in ok("check", "--list").stdout


def test_errors_of_the_contract_are_assertions_and_ours():
    with pytest.raises(ConfigError, match="sort 'network'"):
        contract.checks("network", "ae")
    register_view(view(lambda images: images * 2))
    check = dict(contract.checks("view", "wrong"))["what is seen and rebuilt is in [0, 1]"]
    with pytest.raises(ContractError), warnings.catch_warnings():
        check()
    assert issubclass(ContractError, AssertionError)
