"""A printed command, read by the real command line, asks for what it was printed for."""

from __future__ import annotations

import copy
import dataclasses
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from anomalae.cli.commands import benchmark, compare, train
from anomalae.cli.setting_options import make_settings
from anomalae.datasets.classes import parse_classes
from anomalae.datasets.dataset import Dataset
from anomalae.experiments.command_lines import (
    benchmark_command,
    compare_command,
    flags,
    report_command,
    train_command,
)
from anomalae.experiments.grid import Grid
from anomalae.network_kinds import MODELS
from anomalae.plugins import VIEWS
from anomalae.runs.environment import Environment
from anomalae.runs.record import Data
from anomalae.settings import ARCHITECTURES, PRESETS, Settings

N_TRAIN = 80
DENSITIES = [kind.name for kind in MODELS if kind.density]
LADDER, ADGM = {"model": "ladder-vae"}, {"model": "adgm"}

# Each setting changed alone, or with the model that has it.
CHANGED: dict[str, list[dict[str, Any]]] = {
    "model": [{"model": model} for model in MODELS.names()],
    "architecture": [{"architecture": kind, "model": model} for kind in ARCHITECTURES for model in MODELS.names()],
    "latent_dim": [{"latent_dim": 1}, {"latent_dim": 784}],
    "hidden": [{"hidden": (64, 32, 16)}, {"hidden": (9,)}, {"hidden": ()},
               {"architecture": "conv", "hidden": (3, 4)}, {"architecture": "conv", "hidden": (256, 128)}],
    "epochs": [{"epochs": 7}],
    "batch_size": [{"batch_size": 64}, {"batch_size": 8, "epochs": 3}],
    "learning_rate": [{"learning_rate": 1 / 3}, {"learning_rate": 1e-5}],
    "weight_decay": [{"weight_decay": 0.0}, {"weight_decay": 0.01}],
    "noise": [{"noise": 0.0}, {"noise": 0.5}, {"noise": 0, "passes": 2}],
    "score": [{"score": "mse"}, {"model": "vae", "score": "iwae"}, {"score": "nap"}],
    "likelihood": [{"model": "vae", "likelihood": "bernoulli", "score": "elbo-excess"}],
    "beta": [{"model": model, "beta": 2.5} for model in DENSITIES],
    "samples": [{"model": "vae", "samples": 3}],
    "layers": [{**LADDER, "layers": 4}, {**LADDER, "layers": 3, "score": "llr-2"}],
    "auxiliary_dim": [{**ADGM, "auxiliary_dim": 5}],
    "passes": [{"passes": 2}, {"passes": 3, "model": "vae"}],
    "views": [{"views": VIEWS.names()}, {"views": ("edges",), "model": "vae"}],
    "members": [{"members": 3}, {"members": 2, "views": ("pixels", "edges"), "neighbours": 4}],
    "neighbours": [{"neighbours": 9}],
    "distance": [{"distance": "sum"}, {"neighbours": 3, "distance": "sum"}],
    "seed": [{"seed": 5}],
}  # fmt: skip
PRESET = [{**values, **more} for values in PRESETS.values() for more in ({}, {"seed": 2}, {"latent_dim": 7})]
BESIDE_PRESETS = [{**values, "architecture": "conv"} for values in PRESETS.values()]
TABLE = [{}, *(row for rows in CHANGED.values() for row in rows), *PRESET, *BESIDE_PRESETS]

ODD = ("a,b", "c d", "it's", 'a "quote"', "-dash", "$HOME", "ä;x")


def parsed(command: click.Command, line: str) -> dict[str, Any]:
    """What the real command makes of a line: the arguments of its callback."""
    words = shlex.split(line)
    assert words[:2] == ["anomalae", command.name]
    reading = copy.copy(command)
    reading.callback = lambda **given: given
    given: dict[str, Any] = reading.main(words[2:], standalone_mode=False)
    return given


def grid_of(dataset: Dataset, **more: Any) -> Grid:
    values: dict[str, Any] = {"classes": dataset.classes, "seeds": (0,), "settings": Settings(), **more}
    return Grid(dataset, **values)


def test_every_setting_is_in_the_table():
    assert set(CHANGED) == {field.name for field in dataclasses.fields(Settings)}


@pytest.mark.parametrize("settings", TABLE, ids=str)
def test_a_train_command_gives_the_settings_back(settings: dict[str, Any]):
    asked = Settings.of(**settings).for_images(N_TRAIN)
    data = Data(name="digits", normal=(0,), n_train=N_TRAIN)
    line = train_command(data, asked, Environment(threads=2))
    given = parsed(train.command, line)
    assert make_settings(given, seed=given["seed"]).for_images(N_TRAIN) == asked
    assert (given["dataset"], given["normal"], given["threads"]) == ("digits", ("0",), 2)
    assert (given["alpha"], given["device"], given["name"]) == (0.05, "auto", None)


@pytest.mark.parametrize("settings", TABLE, ids=str)
def test_a_benchmark_command_gives_the_settings_back(settings: dict[str, Any], digits: Dataset):
    asked = dataclasses.replace(Settings.of(**settings), seed=0)
    line = benchmark_command(grid_of(digits, settings=asked))
    given = parsed(benchmark.command, line)
    assert make_settings(given) == asked
    assert (given["dataset"], given["normal"], given["seeds"]) == ("digits", (), "0")
    assert (given["alpha"], given["part"], given["baselines"]) == (0.05, "test", ())


@pytest.mark.parametrize("classes", [(0,), (2, 3, 5), ODD[:1], ODD[1:3], ODD[3:]], ids=str)
def test_names_of_classes_and_data_stay_what_they_are(classes: tuple[int | str, ...], digits: Dataset):
    known = tuple(range(10)) if isinstance(classes[0], int) else ODD
    folder = "/data/odd name's/x"
    data = Data(name=folder, normal=classes, n_train=N_TRAIN, preprocess="resize", polarity="dark")
    settings = Settings().for_images(N_TRAIN)
    line = train_command(data, settings, Environment(device="cuda"), alpha=0.1, name="a")
    given = parsed(train.command, line)
    assert parse_classes(given["normal"], known) == classes
    assert (given["dataset"], given["preprocess"], given["polarity"]) == (folder, "resize", "dark")
    assert (given["alpha"], given["device"], given["name"]) == (0.1, "cuda", "a")
    provenance = {**digits.provenance, "preprocess": "none", "polarity": "light"}
    dataset = dataclasses.replace(digits, name=folder, classes=known, provenance=provenance)
    for side in ("normal", "anomalous"):
        grid = grid_of(dataset, classes=classes, seeds=(3, 1), alpha=0.01, part="development", side=side)
        given = parsed(benchmark.command, benchmark_command(grid))
        assert parse_classes(given[side], known) == classes
        assert (given["seeds"], given["alpha"], given["part"]) == ("3,1", 0.01, "development")
        assert (given["dataset"], given["preprocess"], given["polarity"]) == (folder, "none", "light")


def test_a_benchmark_names_its_baselines_and_each_anomalous_class(digits: Dataset):
    grid = grid_of(digits, side="anomalous")
    line = benchmark_command(grid, baselines=["knn", "pca (fair)"], time_limit=600.0, threads=1)
    assert line.endswith(
        "--anomalous each --seeds 0 --baseline 'knn,pca (fair)' --time-limit 600 --threads 1"
    )
    given = parsed(benchmark.command, line)
    assert (given["anomalous"], given["baselines"]) == (("each",), ("knn,pca (fair)",))
    assert (given["time_limit"], given["threads"]) == (600.0, 1)


def test_a_benchmark_names_the_other_data_and_how_they_were_read(digits: Dataset):
    provenance = {**digits.provenance, "preprocess": "resize", "polarity": "dark"}
    other = dataclasses.replace(digits, name="/data/it's.npz", provenance=provenance)
    given = parsed(benchmark.command, benchmark_command(grid_of(digits, also=(other,))))
    assert (given["also"], given["dataset"]) == (("/data/it's.npz",), "digits")
    assert (given["preprocess"], given["polarity"]) == ("resize", "dark")


def test_a_preset_is_named(digits: Dataset):
    def line(**settings: Any) -> str:
        return benchmark_command(grid_of(digits, settings=Settings.of(**settings)))

    assert line(**PRESETS["textbook"]).endswith("--preset textbook")
    assert line(**{**PRESETS["accurate"], "epochs": 3}).endswith("--preset accurate --epochs 3")
    assert "--preset" not in line(views=("normalised",))


def test_compare_and_report_commands():
    line = compare_command(
        "a b", "pca (fair),knn", runs_dir=Path("my runs"), seed=3, pca=9, time_limit=0.5, threads=2
    )
    given = parsed(compare.command, line)
    assert (given["run"], given["runs_dir"], given["baselines"]) == (
        "a b",
        Path("my runs"),
        ("pca (fair),knn",),
    )
    assert (given["seed"], given["pca"], given["time_limit"], given["threads"]) == (3, 9, 0.5, 2)
    assert compare_command("a", "knn", seed=0) == "anomalae compare --run a --baseline knn --seed 0"
    assert report_command("a") == "anomalae report a"
    assert report_command("a", "it's.csv") == """anomalae report a --scores 'it'"'"'s.csv'"""


def test_flags_say_what_differs():
    assert flags(Settings(), Settings()) == []
    assert flags(Settings(latent_dim=3, hidden=()), Settings()) == ["--latent-dim", "3", "--hidden", ""]
    assert flags({"hidden": [4, 4], "epochs": None}, {"hidden": (4, 4)}) == []
    assert flags({"noise": 0.0, "name": "a b"}) == ["--noise", "0", "--name", "a b"]
