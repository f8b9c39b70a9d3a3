"""Parts are registered, refused and passed over as they should."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from anomalae import Detector, Kind, Score, Settings, View, register_model, register_score, register_view
from anomalae.cli.commands import train
from anomalae.detectors.verifying import verify
from anomalae.errors import ConfigError, PartError, PartWarning
from anomalae.models.base import build
from anomalae.models.views import EDGES, as_it_lies
from anomalae.network_kinds import MODELS, REGISTRIES
from anomalae.plugins import SCORES
from tests.cli import ok

SMALL = {"hidden": (16,), "latent_dim": 4, "epochs": 1, "device": "cpu"}


@pytest.fixture(autouse=True)
def _nothing_stays_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in REGISTRIES.values():
        monkeypatch.setattr(registry, "_own", {})
        monkeypatch.setattr(registry, "_warned", set())


class Brightness(Score):
    name, line = "brightness", "mean of the image"

    def score(self, seen, learned):
        return seen.images.cpu().double().flatten(1).mean(1)


class Failing(Brightness):
    def score(self, seen, learned):
        raise KeyError("no such thing\nat all")


class NotFinite(Brightness):
    def score(self, seen, learned):
        return super().score(seen, learned) / 0


class Unfit(Brightness):
    def fits(self, network):
        raise AttributeError("fits")


def zeros(digits):
    split = digits.one_class(normal=[0], seed=0)
    return split.train.images, split.validation.images, split.calibration.images


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        (Brightness, "is a class: an instance of it is needed"),
        (View("x y", "", torch.abs), "a name must be letters"),
        (View("-x", "", torch.abs), "begin with a letter"),
        (View("pixels", "", torch.abs), "is taken by anomalae"),
        (object(), "object has no name"),
    ],
)
def test_parts_that_are_refused(part, fault):
    register = register_view if isinstance(part, View) else register_score
    with pytest.raises(ConfigError, match=fault):
        register(part)


def test_a_part_registered_again_replaces_the_first():
    register_view(View("mine", "first", torch.abs))
    second = register_view(View("mine", "second", torch.abs))
    assert REGISTRIES["view"]["mine"] is second


def test_what_a_kind_and_a_view_may_not_say():
    with pytest.raises(ConfigError, match="own \\['depth'\\]: must be of likelihood"):
        Kind("mine", "", nn.Linear, own={"depth": 3})
    with pytest.raises(ConfigError, match="channels 0"):
        View("mine", "", torch.abs, torch.abs, channels=0)
    with pytest.raises(ConfigError, match="where there is a target"):
        View("mine", "", torch.abs, channels=2)


@pytest.mark.parametrize("made", [lambda *_: None, lambda *_: nn.Flatten()])
def test_a_kind_that_makes_no_network_is_named(made):
    register_model(Kind("mine", "none", made))
    with pytest.raises(
        PartError, match=r"model 'mine': makes a .*, which is no torch.nn.Module with weights"
    ):
        build(Settings(model="mine").network("pixels"))


def test_a_kind_judges_by_a_score_it_has():
    register_model(Kind("mine", "autoencoder", MODELS["ae"].maker, score="sap"))
    with pytest.raises(ConfigError, match="score 'sap': a mine has bent, worst-place"):
        Settings(model="mine")


@pytest.mark.parametrize("score", [Failing(), NotFinite(), Unfit()], ids=lambda score: type(score).__name__)
def test_a_score_that_fails_costs_no_training_that_is_not_judged_by_it(score, digits):
    register_score(score)
    with pytest.warns(PartWarning, match=r"score 'brightness': of module .*it is left out") as caught:
        detector = Detector(**SMALL).fit(*zeros(digits))
    assert len([warning for warning in caught if warning.category is PartWarning]) == 1
    assert "\n" not in str(caught[0].message)
    assert "brightness" not in detector.rules
    assert detector.parts == {}
    with warnings.catch_warnings():
        Settings()
        assert "mse" in Settings().rules  # told once


def test_a_score_that_judges_and_fails_is_named(digits):
    register_score(Failing())
    with pytest.raises(PartError, match=r"score 'brightness': of module .*: fails: KeyError: 'no such thing"):
        Detector(**SMALL, score="brightness").fit(*zeros(digits))


def test_a_score_is_kept_and_left_out_again(digits, tmp_path):
    register_score(Brightness())
    detector = Detector(**SMALL, members=2).fit(*zeros(digits))
    detector.save(tmp_path / "run")
    images = digits.test.images[:5]
    again = Detector.load(tmp_path / "run", device="cpu")
    np.testing.assert_array_equal(again.score(images, "brightness"), detector.score(images, "brightness"))
    SCORES._own.clear()
    without = Detector.load(tmp_path / "run", device="cpu")
    assert without.rules == tuple(rule for rule in detector.rules if rule != "brightness")
    np.testing.assert_array_equal(without.score(images), detector.score(images))
    with pytest.raises(PartError, match=r"comes from module .*, which is not installed here"):
        without.score(images, "brightness")
    without.save(tmp_path / "again")
    assert Detector.load(tmp_path / "again", device="cpu").rules == without.rules


def test_the_command_line_knows_what_was_registered_after_it_was_made():
    assert "--model" in {option for parameter in train.command.params for option in parameter.opts}
    register_model(dataclasses.replace(MODELS["ae"], name="mine"))
    words = ["--dataset", "digits", "--normal", "0", "--hidden", "16", "--epochs", "1", "--quiet"]
    ok("train", *words, "--model", "mine")
    assert "|mine]" in ok("train", "--help").stdout.replace("\n", "").replace(" ", "")


def test_several_maps_that_lie_over_the_image_are_added_up():
    maps = torch.randn(2, 4, 28, 28)
    assert EDGES.back is as_it_lies
    laid = as_it_lies(maps, maps[:, :1], True)
    torch.testing.assert_close(laid.abs(), maps.abs().sum(1))
    torch.testing.assert_close(as_it_lies(maps[:, :1], maps[:, :1], True), maps[:, 0])


class Learning(Brightness):
    name, learned = "learning", ("level",)
    level: object = np.zeros(1, np.float32)

    def learn(self, seen):
        return {"level": self.level}


@pytest.mark.parametrize(
    ("level", "fault"),
    [
        (np.zeros(1), "learned level is float64: must be a float32 array"),
        ([0.0], "learned level is list"),
        (np.full(1, np.nan, np.float32), "learned level is not all finite numbers"),
    ],
)
def test_what_could_not_be_kept_is_not_learned(level, fault, digits, tmp_path):
    score = Learning()
    score.level = level
    register_score(score)
    with pytest.warns(PartWarning, match=fault):
        detector = Detector(**SMALL).fit(*zeros(digits))
    assert "learning" not in detector.rules
    detector.save(tmp_path / "run")
    assert Detector.load(tmp_path / "run").rules == detector.rules


def test_other_arrays_than_were_named_are_not_learned(digits):
    class Misnamed(Learning):
        def learn(self, seen):
            return {"other": np.zeros(1, np.float32)}

    register_score(Misnamed())
    with pytest.warns(PartWarning, match="learned other: must be level"):
        assert "learning" not in Detector(**SMALL).fit(*zeros(digits)).rules


def test_a_score_that_cannot_score_a_blank_image_is_read_all_the_same(digits, tmp_path):
    class PerInk(Learning):
        def score(self, seen, learned):
            return 1 / super().score(seen, learned)

    register_score(PerInk())
    Detector(**SMALL).fit(*zeros(digits)).save(tmp_path / "run")
    assert "learning" in Detector.load(tmp_path / "run").rules


def test_a_score_that_fails_on_the_last_image_costs_no_training(digits):
    train, validation, calibration = zeros(digits)
    many = np.concatenate([calibration] * 4)
    many[-1] = 255

    class NotOfWhite(Brightness):
        def score(self, seen, learned):
            scores = super().score(seen, learned)
            if (scores == 1).any():
                raise ValueError("white")
            return scores

    register_score(NotOfWhite())
    with pytest.warns(PartWarning, match="white"):
        assert "brightness" not in Detector(**SMALL).fit(train, validation, many).rules


def test_no_view_takes_the_name_of_the_neighbours():
    with pytest.raises(ConfigError, match="view 'neighbours': the name means something else here"):
        register_view(View("neighbours", "", lambda images: images))


def test_a_view_that_fails_or_changes_the_images_number_is_named(digits):
    register_view(View("boom", "", lambda images: images / [][0]))
    with pytest.raises(PartError, match=r"view 'boom': of module tests\.test_plugins: fails: IndexError"):
        Detector(**SMALL, views=("boom",)).fit(*zeros(digits))
    register_view(View("half", "", lambda images: images[::2]))
    with pytest.raises(PartError, match=r"view 'half'.*of images"):
        Detector(**SMALL, views=("half",)).fit(*zeros(digits))


def test_a_kind_that_fails_is_named(digits):
    register_model(Kind("broken", "broken", lambda settings, channels: 1 / 0))
    with pytest.raises(PartError, match=r"model 'broken'.*cannot be made: ZeroDivisionError"):
        Detector(**SMALL, model="broken").fit(*zeros(digits))


def test_a_kind_that_cannot_make_is_refused():
    fields = {field.name: None for field in dataclasses.fields(Kind)}
    with pytest.raises(ConfigError, match="has no make"):
        register_model(type("Odd", (), {**fields, "name": "odd"})())


def test_a_score_that_fails_on_the_probe_costs_no_training_and_is_not_in_it(digits, tmp_path):
    class NotOfNoise(Brightness):
        def score(self, seen, learned):
            scores = super().score(seen, learned)
            if (scores > 0.4).any():
                raise ValueError("noise")
            return scores

    register_score(NotOfNoise())
    Detector(**SMALL, score="brightness").fit(*zeros(digits)).save(tmp_path / "run")
    found = verify(tmp_path / "run")
    assert found.sound
    assert found.probe is not None
    assert found.probe.differences
    assert "brightness" not in found.probe.differences


def test_a_score_that_is_not_there_any_more_is_not_compared(digits, tmp_path):
    register_score(Brightness())
    Detector(**SMALL).fit(*zeros(digits)).save(tmp_path / "run")
    SCORES._own.clear()
    found = verify(tmp_path / "run")
    assert found.sound
    assert found.notes == ("score brightness: its package is not installed here",)


def test_a_training_by_an_own_network_starts_from_another(digits):
    register_model(dataclasses.replace(MODELS["ae"], name="mine"))
    first = Detector(**SMALL, model="mine").fit(*zeros(digits))
    still = {**SMALL, "learning_rate": 1e-30, "weight_decay": 0.0, "seed": 5}
    second = Detector(**still, model="mine").fit(*zeros(digits), start=first)
    images = digits.test.images[:3]
    np.testing.assert_allclose(second.reconstruct(images), first.reconstruct(images), atol=1e-6)
    with pytest.raises(
        ConfigError, match="start: the networks of that detector have another shape: latent_dim 4"
    ):
        Detector(**{**still, "latent_dim": 3}, model="mine").fit(*zeros(digits), start=first)
